"""A trained model with its tokenizer: what translates, scores, and shows what it looks at."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.explain import Explanation, explain
from toolkit.batches import check_lengths, pad_sources, short_enough
from toolkit.blank import is_blank
from toolkit.consensus import most_alike
from toolkit.console import UserError, minutes_in_words, note
from toolkit.corpus import Pair
from toolkit.moses_text import TextForm
from toolkit.pairs import ROWS, cut_off, decode, log_probabilities, tell_cut_off
from toolkit.program import load_weights
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.tokenizer import START, STOP, Tokenizer, encode_tagged
from toolkit.translation import PairSettings, make_model

__all__ = ["Translator"]

TIMED, PATIENCE = 10, 15.0  # sentences whose drawing is timed; seconds of all others from which on they are told
SHARED = 100  # tokens of a sentence that take as long as what each takes whatever its length; by measurement


class Translator:
    """A trained model with its tokenizer.

    ``weights`` names the checkpoint: "result", or to compare "best" or "last"; "" is the first of
    them that exists.
    """

    tag = ""  # the token that each sentence begins with, if there is one
    form = TextForm()  # how texts become what the model reads and writes

    def __init__(self, run: Run, weights: str = "", device: str = "cpu", tokenizer: Any = None) -> None:
        """``tokenizer``: default: the one that is saved with the run."""
        self.settings: PairSettings = run.settings
        self.device = device
        self.tokenizer = Tokenizer.load(run.path("tokenizer.json")) if tokenizer is None else tokenizer
        self.model = make_model(self.settings, self.tokenizer.vocab_size, device)
        self.weights = load_weights(self.model, run, weights)
        if self.lower_case:
            self.form = TextForm.moses(run.about["data"]["source"], run.about["data"]["target"].split(",")[0])

    @property
    def lower_case(self) -> bool:
        """Whether it writes lower case alone, as a run with --moses does."""
        return bool(getattr(self.settings, "moses", False))  # a setting of one program

    def tagged(self, tag: str, language: str = "") -> Translator:
        """The same, but that each sentence begins with the special token ``tag``, which asks for a
        language.
        """
        made = copy.copy(self)
        made.tag, made.form = tag, self.form.into(language)
        return made

    def short_enough(self, pairs: Sequence[Pair], name: str) -> tuple[list[Pair], str]:
        """The pairs whose sources the model can read, and a remark on the others. Raises UserError
        if nothing is left.
        """
        ids = encode_tagged(self.tokenizer, [self.form.source(source) for source, _ in pairs], self.tag)
        return short_enough(pairs, ids, self.settings.max_length, name, self.settings.units)

    def encode(self, sentences: Sequence[str], where: str, numbers: Sequence[int] | None = None) -> list[list[int]]:
        """Ids of the sentences to translate. Raises UserError for a blank one, or one too long for
        the model, before any is translated.
        """
        return self._encode(sentences, self.form.source, self.tag, where, numbers)

    def _encode(
        self,
        sentences: Sequence[str],
        form: Callable[[str], str],
        tag: str,
        where: str,
        numbers: Sequence[int] | None = None,
    ) -> list[list[int]]:
        for number, sentence in zip(numbers or range(1, len(sentences) + 1), sentences):
            if is_blank(sentence):
                raise UserError(f"{where} {number} is empty; there is nothing to {self.settings.units.verb}")
        ids = encode_tagged(self.tokenizer, [form(sentence) for sentence in sentences], tag)
        check_lengths(ids, self.settings.max_length, where, numbers, self.settings.units)
        return ids

    def translate(
        self,
        sentences: Sequence[str],
        beam: int = 1,
        length_penalty: float | None = None,
        where: str = "sentence",
        n_best: int = 1,
        skip_blank: bool = False,
        scores: bool = False,
        rows: int = ROWS,
        whole: bool = False,
        length_reward: float = 0.0,
        patience: float | None = None,
        penalty: Callable[..., Any] | None = None,
        cut: list[bool] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[str]:
        """Translations in the order of ``sentences``, each one line; greedy if ``beam`` is 1.

        n_best: so many for each sentence, the best first. skip_blank: a blank sentence has blank
        translations. scores: each line begins with the log-probability of its tokens (nats) and a
        tab. rows: hypotheses decoded at a time. Outputs cut off at the longest length that the
        model was trained for are reported on stderr, by ``where`` and number (``numbers``, default:
        from 1); with ``whole`` they are blank instead. cut: a list that gets for each sentence
        whether its output is cut off; then nothing is said on stderr.
        """
        chosen = [n for n, sentence in enumerate(sentences) if not (skip_blank and is_blank(sentence))]
        named = [numbers[n] if numbers else n + 1 for n in chosen]
        ids = self.encode([sentences[n] for n in chosen], where, named)
        longest = self.settings.max_length
        judged: dict[str, Any] = dict(length_penalty=length_penalty, penalty=penalty)
        how: dict[str, Any] = dict(length_reward=length_reward, patience=patience, **judged)
        found = decode(self.model, ids, self.device, longest, beam, n_best, rows, **how)
        if cut is not None:
            known = dict(zip(chosen, cut_off(found, longest), strict=True))
            cut.extend(known.get(n, False) for n in range(len(sentences)))
        elif not whole:
            tell_cut_off(found, longest, where, named, self.settings.units)
        places = [n_best * n + k for n, hypotheses in zip(chosen, found) for k in range(len(hypotheses))]
        written = [tokens for hypotheses in found for tokens in hypotheses]
        made = [
            "" if whole and len(tokens) >= longest else self.form.back(_one_line(self.tokenizer.decode(tokens)))
            for tokens in written
        ]
        if scores and made:
            sources = [sentence for sentence, hypotheses in zip(ids, found) for _ in hypotheses]
            values = self._log_probabilities(sources, written)
            made = [f"{value:.4f}\t{text}" for value, text in zip(values, made, strict=True)]
        lines = ["\t" if scores else ""] * (n_best * len(sentences))
        for index, line in zip(places, made, strict=True):
            lines[index] = line
        return lines

    def agreed(self, sentences: Sequence[str], samples: int, temperature: float, where: str = "sentence") -> list[str]:
        """Of ``samples`` outputs drawn for each sentence the one that is the most like all of them,
        see `toolkit.consensus`.

        temperature: of the drawing, above 0. Each sentence draws the numbers that it would draw
        alone, and the same the next time: they are those of the run's seed. Outputs of several
        sentences are drawn at once, which now and then changes a token, see
        `minitensor.models.sampling`. Outputs that are cut off are reported as by `translate`.
        """
        longest, ids, size = self.settings.max_length, self.encode(sentences, where), max(1, ROWS // samples)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # equally long ones take the least time
        work = np.cumsum([0, *(SHARED + len(ids[index]) for index in order)])
        started, told = time.monotonic(), False
        found: list[list[int]] = [[]] * len(ids)
        for first in range(0, len(ids), size):
            if first >= TIMED and not told:
                seconds, told = (time.monotonic() - started) * (work[-1] / work[first] - 1), True
                if seconds > PATIENCE:
                    left = minutes_in_words(round(seconds / 60, 1))
                    note(f"{samples} outputs are drawn for each of {len(ids):,}: about {left}")
            chosen = order[first : first + size]
            for index, tokens in zip(chosen, self._agreed([ids[index] for index in chosen], samples, temperature)):
                found[index] = tokens
        tell_cut_off([[tokens] for tokens in found], longest, where, units=self.settings.units)
        return [self.form.back(_one_line(self.tokenizer.decode(tokens))) for tokens in found]

    def _agreed(self, ids: Sequence[list[int]], samples: int, temperature: float) -> list[list[int]]:
        """The tokens of the output that `agreed` takes for each sentence; all are drawn at once."""
        source, mask = (mt.asarray(array, device=self.device) for array in pad_sources(ids))
        numbers = [mt.random.Generator(self.settings.seed, stream=k) for _ in ids for k in range(samples)]
        how: dict[str, Any] = dict(mask=mask, start_ids=[START] * len(numbers), generator=numbers)
        drawn = self.model.generate(source, self.settings.max_length, temperature=temperature, **how)
        each = [drawn[i : i + samples] for i in range(0, len(drawn), samples)]
        return [some[most_alike([self.tokenizer.decode(tokens) for tokens in some])] for some in each]

    def score(
        self, pairs: Sequence[Pair], where: str = "pair", numbers: Sequence[int] | None = None
    ) -> list[tuple[float, int]]:
        """``log P(translation | sentence)`` in nats for each pair that is given, and the number of
        tokens that it is the sum over, the end among them (forced decoding).

        Raises UserError for a blank side, or one too long for the model, by ``where`` and number.
        """
        sources = self.encode([source for source, _ in pairs], f"the sentence of {where}", numbers)
        targets = self._encode(
            [target for _, target in pairs], self.form.target, "", f"the translation of {where}", numbers
        )
        values = self._log_probabilities(sources, targets)
        return [(float(value), len(ids) + 1) for value, ids in zip(values, targets, strict=True)]

    def _log_probabilities(self, sources: Sequence[list[int]], targets: Sequence[list[int]]) -> np.ndarray:
        return log_probabilities(self.model, sources, targets, self.settings.max_length, self.device)

    def attention(self, sentence: str, subwords: bool = False) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
        """What the translation of a sentence looks at: (H, T, S) by decoder layer, source words,
        and target words.

        A word takes what its sub-words take in the mean, and gets the sum of what they get (Clark
        et al. 2019, arXiv:1906.04341, section 4.1), so that rows still sum to 1; with ``subwords``
        they stay apart. There is no layer if the model has no attention.
        """
        units = self.settings.units
        ids = self.encode([sentence], units.one)
        source = mt.asarray(pad_sources(ids)[0], device=self.device)
        longest = self.settings.max_length
        found = self.model.generate(source, longest)[0]
        source_ids, target_ids = [*ids[0], STOP], [*found, STOP][:longest]
        target = mt.asarray(np.array([[START, *target_ids[:-1]]]), device=self.device)
        maps = self.model.attention_maps(source, target)
        cross = {name: mt.asarray(maps[name]).to("cpu").numpy()[0] for name in maps if name.endswith("cross")}
        if cross:
            tell_cut_off([[found]], longest, units.one, units=units)
        if subwords:
            return cross, self.tokenizer.labels(source_ids), self.tokenizer.labels(target_ids)
        source_words, columns = self.tokenizer.words(source_ids)
        target_words, rows = self.tokenizer.words(target_ids)
        into = np.eye(len(source_words))[columns]  # (S, source words)
        of = np.eye(len(target_words))[rows]  # (T, target words)
        of /= of.sum(axis=0)
        return {name: of.T @ weights @ into for name, weights in cross.items()}, source_words, target_words

    def explain(self, sentence: str, beam: int = 1, length_penalty: float | None = None) -> Explanation:
        """What the model computes while it translates: see `minitensor.models.explain`. An output
        that is cut off is reported as by `translate`.
        """
        units, longest = self.settings.units, self.settings.max_length
        ids = [*self.encode([sentence], units.one)[0], STOP][:longest]
        how: dict[str, Any] = dict(beam=beam, length_penalty=length_penalty, max_new_tokens=longest)
        made = explain(self.model, ids, tokens=self.tokenizer.labels, **how)
        tell_cut_off([[[step.id for step in made.steps if step.id != STOP]]], longest, units.one, units=units)
        return made


def _one_line(text: str) -> str:
    """The text, composed, with a blank for each line end; other kinds, such as U+2028, are kept."""
    return composed(text).replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
