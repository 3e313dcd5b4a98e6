"""The parts of a run on summaries: settings, the trained model that summarises, and what it is
compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from toolkit.batches import Units
from toolkit.console import UserError
from toolkit.corpus import Pair
from toolkit.english_french import Dice
from toolkit.made_pairs import MadePairSettings
from toolkit.plans import summary
from toolkit.rouge import first_words, rouge_l, rouge_of_beginnings, rouge_words
from toolkit.sentences import sentences
from toolkit.settings import option, refuse_options
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY
from toolkit.translator import Translator

__all__ = ["LEAD", "RULE", "Settings", "Write", "baselines", "best_sentence", "presets", "way_of_writing"]

LEAD = "first sentence (lead-1)"
RULE = "the rule (known best)"
CANDIDATES, JUDGES = 150, 200  # summaries of training that may stand for all, and those they are compared with
MOST_WORDS = 100  # of a beginning that is taken for a summary

Write = Callable[[Sequence[str], str], list[str]]  # of texts and what to call one of them: their summaries


@dataclass(frozen=True, kw_only=True)
class Settings(MadePairSettings):
    """Hyper-parameters; the defaults suit the made minutes, which are free of noise."""

    units = Units("text", verb="summarise", shorter="shorten it, or train with a larger --max-length")

    vocab: int = option(400, "sub-words, shared by texts and summaries", least=1, below=2**20)
    d_model: int = option(32, "features of each position; recurrent: of an embedding", least=1)
    hidden: int = option(64, "recurrent: features of the states", least=1)
    copy: bool = option(True, "recurrent: a word is written, or copied from where the attention looks")
    samples: int = option(
        1, "of so many drawn summaries, the one most like all; 1: the greedy one", least=1, below=10_000
    )
    temperature: float = option(0.6, "by which they are drawn", least=0.01, below=100)
    max_length: int = option(200, "longest text, in tokens", least=2, below=100_000)
    max_tokens: int = option(1024, "positions in a batch, padding included, on either side", least=2)
    lr: float = option(5e-3, "peak learning rate of Adam", least=0, below=1e6)
    warmup: int = option(100, "updates of linear warm-up", least=1)
    steps: int | None = option(1200, "stop after so many updates", least=1)
    validate_every: int | None = option(240, "updates between validations; an epoch if not given", least=1)


# In the place of those.
TRANSFORMER: dict[str, Any] = dict(d_model=64, layers=2, d_ff=128, pre_norm=True, lr=3e-3)
DOCSTRINGS: dict[str, Any] = dict(
    vocab=2000, d_model=64, hidden=64, dropout=0.3, label_smoothing=0.1, steps=2800, validate_every=200, warmup=40,
    samples=32,
)  # fmt: skip
# Of those the recurrent ones: as good as additive attention there, and less to compute.
RECURRENT_DOCSTRINGS: dict[str, Any] = dict(attention="dot")


def presets(given: dict[str, Any], made: bool) -> dict[str, Any]:
    """What suits the architecture that is ``given``, and the made minutes or other texts.

    Raises UserError for a setting that the architecture does not have.
    """
    arch = given.get("arch", Settings.arch)
    transformer = arch == "transformer"
    refuse_options(given, (*RECURRENT_ONLY, "copy") if transformer else TRANSFORMER_ONLY, f"--arch {arch}")
    suited = {} if made else DOCSTRINGS | ({} if transformer else RECURRENT_DOCSTRINGS)
    if given.get("attention") == "none":
        if given.get("copy"):
            raise UserError("--copy copies what the attention looks at; leave out --attention none")
        suited["copy"] = False
    return suited | (TRANSFORMER if transformer else {})


def way_of_writing(
    translator: Translator, beam: int | None = None, samples: int | None = None, temperature: float | None = None
) -> Write:
    """How summaries are written: by a beam, by the agreement of drawn ones, or greedily; what is
    not given is as the run's settings say. Raises UserError for options that exclude each other.
    """
    settings = cast(Settings, translator.settings)
    drawn = samples if samples is not None else settings.samples if beam is None else 1
    if beam is not None and (samples or temperature):
        raise UserError("--beam searches, --samples and --temperature draw: give one or the other")
    if drawn == 1:
        if temperature:
            raise UserError("--temperature is of drawn summaries, and none is drawn: give --samples 32 too")
        return lambda texts, where: translator.translate(texts, beam or 1, where=where)
    return lambda texts, where: translator.agreed(texts, drawn, temperature or settings.temperature, where)


# --- what it is compared with ---------------------------------------------------------------------


def baselines(train: Sequence[Pair], validation: Sequence[Pair], made: bool) -> dict[str, Callable[[str], str]]:
    """Simple methods by name, and of the made minutes the rule itself, which is the known best.

    train: the pairs of the training, of which one summary stands for all; validation: those by
    which the length of a beginning is chosen. Without pairs there is no such method.
    """
    found: dict[str, Callable[[str], str]] = {LEAD: lambda text: sentences(text)[0]}
    if validation:
        count = _best_length(validation)
        words = "first word" if count == 1 else f"first {count} words"
        found[f"{words} (lead)"] = lambda text: first_words(text, count)
    if train:
        usual = _most_usual([summary for _, summary in train])
        found["one summary for all"] = lambda text: usual
    if made:
        found[RULE] = summary
    return found


def _best_length(pairs: Sequence[Pair]) -> int:
    """How many first words of a text are the most like its summary by ROUGE-L, in the mean of the
    pairs; of several the fewest.
    """
    most = min(MOST_WORDS, max(len(rouge_words(text)) for text, _ in pairs) or 1)
    return 1 + int(np.mean([rouge_of_beginnings(*pair, most) for pair in pairs], axis=0).argmax())


def _most_usual(summaries: Sequence[str]) -> str:
    """Of some drawn ones, that which is the most like others by ROUGE-L."""
    dice = Dice(0)
    judges = [dice.pick(summaries) for _ in range(JUDGES)]
    candidates = dict.fromkeys(dice.pick(summaries) for _ in range(CANDIDATES))
    return max(candidates, key=lambda one: np.mean([rouge_l(one, judge) for judge in judges]))


def best_sentence(text: str, reference: str) -> float:
    """The ROUGE-L of the sentence of a text that is the most like the reference: more than any
    method that picks one sentence can reach.
    """
    return max(rouge_l(sentence, reference) for sentence in sentences(text))
