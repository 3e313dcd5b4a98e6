"""The parts of a translation run: settings, data, training task, and the trained translator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

import minitensor as mt
from minitensor.models.explain import Explanation, explain
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.transformer import Transformer, TransformerConfig
from toolkit import english_french
from toolkit.batches import Batches, check_lengths, drop_long, pad_sources, short_enough
from toolkit.bpe_dropout import redrawn
from toolkit.console import UserError
from toolkit.corpus import Corpus, Pair, load_parallel
from toolkit.moses_text import TextForm
from toolkit.pairs import ROWS, PairTask, decode, log_probabilities, tell_cut_off
from toolkit.program import digest, load_weights, place
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.settings import Training, option, refuse_options
from toolkit.suspicions import without
from toolkit.tokenizer import PAD, START, STOP, Tokenizer, encode_tagged

__all__ = [
    "RECURRENT_ONLY",
    "TRANSFORMER_ONLY",
    "PairSettings",
    "Settings",
    "Task",
    "Translator",
    "fingerprint",
    "learn_tokenizer",
    "load_corpus",
    "presets",
]


@dataclass(frozen=True, kw_only=True)
class PairSettings(Training):
    """Hyper-parameters of a model that writes one sequence while it looks at another; the defaults
    suit some 30 000 sentence pairs, such as Multi30k (Wu et al. 2021, arXiv:2105.14462).
    """

    arch: str = option("transformer", "architecture", choices=("rnn", "lstm", "gru", "transformer"))
    d_model: int = option(128, "features of each position; recurrent: of an embedding", least=1)
    layers: int = option(4, "layers of the encoder, and as many of the decoder", least=1, below=1000)
    decoder_layers: int | None = option(
        None, "transformer: layers of the decoder, if not as many as of the encoder", least=1, below=1000
    )
    heads: int = option(4, "transformer: attention heads", least=1)
    d_ff: int = option(256, "transformer: features inside the feed-forward layers", least=1)
    pre_norm: bool = option(False, "transformer: layer norm before each sub-layer instead of after it")
    positions: str = option("sinusoidal", "transformer: positions", choices=("sinusoidal", "learned"))
    attention: str = option(
        "additive", "recurrent: what the decoder looks back by", choices=("none", "additive", "dot")
    )
    hidden: int = option(256, "recurrent: features of the states", least=1)
    input_feeding: bool = option(False, "recurrent: each step of the decoder also gets the last one's result")
    dropout: float = option(0.3, "dropout", least=0, below=1)
    label_smoothing: float = option(0.1, "label smoothing", least=0, below=1)
    r_drop: float = option(
        0.0, "weight of R-Drop: each sentence twice, with other dropout; to predict the same", least=0, below=1e6
    )
    max_length: int = option(256, "longest sentence, in tokens", least=2, below=100_000)
    max_tokens: int = option(4096, "positions in a batch, padding included, on either side", least=2)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.arch == "transformer" and self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")
        if self.r_drop and not self.dropout:
            raise UserError(
                f"--r-drop {self.r_drop:g} compares two passes with different dropout: give a --dropout above 0"
            )
        if self.arch == "transformer" and self.d_model % 2 and self.positions == "sinusoidal":
            raise UserError(f"--positions sinusoidal needs an even --d-model, not {self.d_model}")

    @property
    def decoder_depth(self) -> int:
        """The number of layers of the decoder."""
        return self.decoder_layers or self.layers


@dataclass(frozen=True, kw_only=True)
class Settings(PairSettings):
    """Those, and the number of sub-words."""

    vocab: int = option(10_000, "sub-words, shared by both languages", least=1, below=2**20)
    moses: bool = option(False, "both sides in lower case, as Moses tokens: what papers on Multi30k train on and score")
    bpe_dropout: float = option(
        0.0,
        "share of merges left out when a training sentence is cut into sub-words, anew each epoch",
        least=0,
        below=1,
    )


# What only one family of architectures has; the other refuses it.
TRANSFORMER_ONLY = ("decoder_layers", "heads", "d_ff", "pre_norm", "positions")
RECURRENT_ONLY = ("attention", "hidden", "input_feeding")

# The embedded corpus is free of noise, so nothing is to be regularised; found by a few short runs.
# With 1 500 sub-words each of its words is one (1 469 are all there are): sentences are shorter.
EMBEDDED: dict[str, Any] = dict(
    layers=2, dropout=0.0, label_smoothing=0.0, pre_norm=True, vocab=1500, max_length=64, max_tokens=512,
    lr=3e-3, schedule="cosine", warmup=200, steps=1600, beta2=0.98,
)  # fmt: skip
# Those of the table of recurrent models in docs/results.md, which compares them at these settings.
EMBEDDED_RECURRENT: dict[str, Any] = dict(
    layers=1, pre_norm=False, vocab=1000, max_tokens=1024, lr=4e-3, steps=1200,
)  # fmt: skip
RECURRENT: dict[str, Any] = dict(layers=1, lr=1.2e-3, warmup=300)


def presets(given: dict[str, Any], embedded: bool) -> dict[str, Any]:
    """Settings that suit the corpus and the architecture that are ``given`` on the command line, in
    the place of the defaults.

    Raises UserError for one that the architecture does not have.
    """
    arch = given.get("arch", Settings.arch)
    recurrent = arch != "transformer"
    refuse_options(given, TRANSFORMER_ONLY if recurrent else RECURRENT_ONLY, f"--arch {arch}")
    suited = dict(EMBEDDED) if embedded else {}
    if recurrent:
        suited |= EMBEDDED_RECURRENT if embedded else RECURRENT
    return suited


def load_corpus(data: str | None, source: str, target: str, skip_bad: bool = False, **how: bool) -> Corpus:
    """The corpus at path ``data``, read by `load_parallel`; default: the embedded one, English to
    French.

    skip_bad: without lines and pairs that cannot be used, and without suspicious ones.
    """
    if data is not None and skip_bad:
        read = load_parallel(data, source, target, **{**how, "skip_blank": True, "skip_ragged": True})
        return read if how.get("whole") else without(read)
    if data is not None:
        return load_parallel(data, source, target, **how)
    made = english_french.corpus()
    tests = {"unseen_sentences": made.unseen_sentences, "unseen_combinations": made.unseen_combinations}
    return Corpus(made.train, made.validation, tests)


def fingerprint(corpus: Corpus) -> str:
    """A hash of the pairs to train on and to validate by: a resumed run must find the same."""
    splits = corpus.train, corpus.validation
    return digest("\n".join(f"{source}\t{target}" for source, target in pairs) for pairs in splits)


def learn_tokenizer(corpus: Corpus, settings: Any) -> Tokenizer:
    """Sub-words of both sides of the training pairs, ``settings.vocab`` of them."""
    return Tokenizer.train([text for pair in corpus.train for text in pair], settings.vocab)


def make_model(settings: PairSettings, vocab_size: int, device: str) -> Transformer | Seq2Seq:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    shared: dict[str, Any] = dict(
        vocab_size=vocab_size, d_model=s.d_model, dropout=s.dropout, max_length=s.max_length,
        label_smoothing=s.label_smoothing, pad_id=PAD, start_id=START, stop_id=STOP,
    )  # fmt: skip
    if s.arch == "transformer":
        layers: dict[str, Any] = dict(n_encoder_layers=s.layers, n_decoder_layers=s.decoder_depth)
        shape: dict[str, Any] = dict(n_heads=s.heads, d_ff=s.d_ff, norm_first=s.pre_norm, positions=s.positions)
        model: Transformer | Seq2Seq = Transformer(TransformerConfig(**shared, **layers, **shape))
    else:
        shape = dict(n_layers=s.layers, hidden_size=s.hidden, input_feeding=s.input_feeding)
        shape["copy"] = getattr(s, "copy", False)  # a setting of few programs
        model = Seq2Seq(Seq2SeqConfig(**shared, cell=s.arch, attention=s.attention, **shape))
    return place(model, device)


class Task(PairTask):
    """Translation as a task for `toolkit.trainer`."""

    def __init__(self, corpus: Corpus | Mapping[str, Corpus], tokenizer: Any, settings: PairSettings) -> None:
        """Tokenise and batch the pairs, of several corpora by the token that their sources begin
        with (see `toolkit.targets`); ``dropped`` counts those that are too long to train on,
        ``left_out`` those that are blank, ragged and bad.

        Raises UserError for a test set of which all is too long: now, not after hours of training.
        """
        self.tokenizer, self.settings, self.r_drop = tokenizer, settings, settings.r_drop
        self.longest = min(settings.max_length, settings.max_tokens)
        corpora = {"": corpus} if isinstance(corpus, Corpus) else corpus
        for tag, part in corpora.items():
            for name, pairs in (part.tests or {"validation": part.validation}).items():  # what the report translates
                ids = encode_tagged(tokenizer, [source for source, _ in pairs], tag)
                short_enough(pairs, ids, settings.max_length, name)
        self.batches, dropped = self._batch({tag: part.train for tag, part in corpora.items()}, training=True)
        self.validation, more = self._batch({tag: part.validation for tag, part in corpora.items()})
        counts = zip(*((part.blank, part.ragged, part.bad) for part in corpora.values()), strict=True)
        self.dropped, self.left_out = dropped + more, tuple(map(sum, counts))
        self.model = make_model(settings, tokenizer.vocab_size, settings.device)

    def _batch(self, parts: Mapping[str, Sequence[Pair]], training: bool = False) -> tuple[Batches, int]:
        """The pairs of all parts, by the token that their sources begin with."""
        s = self.settings
        sources, targets = [], []
        for tag, pairs in parts.items():
            sources += encode_tagged(self.tokenizer, [source for source, _ in pairs], tag)
            targets += self.tokenizer.encode_batch([target for _, target in pairs])
        source_ids, target_ids, dropped = drop_long(sources, targets, self.longest)
        how: dict[str, Any] = {}
        if training and s.r_drop:
            how["copies"] = 2
        if training and (p := getattr(s, "bpe_dropout", 0.0)):  # a setting of one program
            short = [
                max(len(source), len(target)) < self.longest for source, target in zip(sources, targets, strict=True)
            ]
            tagged = list(compress([(*pair, tag) for tag, pairs in parts.items() for pair in pairs], short))
            how["redrawn"] = redrawn(self.tokenizer, tagged, p, s.seed, self.longest)
        return Batches(source_ids, target_ids, s.max_tokens, s.seed, **how), dropped


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
        if getattr(run.settings, "moses", False):  # a setting of one program
            self.form = TextForm.moses(run.about["data"]["source"], run.about["data"]["target"].split(",")[0])

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
        return short_enough(pairs, ids, self.settings.max_length, name)

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
            if not sentence.strip():
                raise UserError(f"{where} {number} is empty; there is nothing to translate")
        ids = encode_tagged(self.tokenizer, [form(sentence) for sentence in sentences], tag)
        check_lengths(ids, self.settings.max_length, where, numbers)
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
    ) -> list[str]:
        """Translations in the order of ``sentences``, each one line; greedy if ``beam`` is 1.

        n_best: so many for each sentence, the best first. length_penalty: of a beam; default: 0.6.
        skip_blank: a blank sentence has blank translations. scores: each line begins with the
        log-probability of its tokens (nats) and a tab. rows: hypotheses decoded at a time. Outputs
        cut off at the longest length that the model was trained for are reported on stderr, by
        ``where`` and number; with ``whole`` they are blank instead.
        """
        numbers = [n for n, sentence in enumerate(sentences, start=1) if sentence.strip() or not skip_blank]
        ids = self.encode([sentences[n - 1] for n in numbers], where, numbers)
        longest = self.settings.max_length
        penalty = 0.6 if length_penalty is None else length_penalty
        found = decode(self.model, ids, self.device, longest, beam, n_best, rows, length_penalty=penalty)
        if not whole:
            tell_cut_off(found, longest, where, numbers)
        places = [n_best * (n - 1) + k for n, hypotheses in zip(numbers, found) for k in range(len(hypotheses))]
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

    def score(self, pairs: Sequence[Pair], where: str = "pair") -> list[tuple[float, int]]:
        """``log P(translation | sentence)`` in nats for each pair that is given, and the number of
        tokens that it is the sum over, the end among them (forced decoding).

        Raises UserError for a blank side, or one too long for the model, by ``where`` and number.
        """
        sources = self.encode([source for source, _ in pairs], f"the sentence of {where}")
        targets = self._encode([target for _, target in pairs], self.form.target, "", f"the translation of {where}")
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
        ids = self.encode([sentence], "sentence")
        source = mt.asarray(pad_sources(ids)[0], device=self.device)
        longest = self.settings.max_length
        found = self.model.generate(source, longest)[0]
        source_ids, target_ids = [*ids[0], STOP], [*found, STOP][:longest]
        target = mt.asarray(np.array([[START, *target_ids[:-1]]]), device=self.device)
        maps = self.model.attention_maps(source, target)
        cross = {name: mt.asarray(maps[name]).to("cpu").numpy()[0] for name in maps if name.endswith("cross")}
        if cross:
            tell_cut_off([[found]], longest, "sentence")
        if subwords:
            return cross, self.tokenizer.labels(source_ids), self.tokenizer.labels(target_ids)
        source_words, columns = self.tokenizer.words(source_ids)
        target_words, rows = self.tokenizer.words(target_ids)
        into = np.eye(len(source_words))[columns]  # (S, source words)
        of = np.eye(len(target_words))[rows]  # (T, target words)
        of /= of.sum(axis=0)
        return {name: of.T @ weights @ into for name, weights in cross.items()}, source_words, target_words

    def explain(self, sentence: str, beam: int = 1, length_penalty: float | None = None) -> Explanation:
        """What the model computes while it translates: see `minitensor.models.explain`."""
        ids = [*self.encode([sentence], "sentence")[0], STOP][: self.settings.max_length]
        how: dict[str, Any] = dict(beam=beam, length_penalty=length_penalty, max_new_tokens=self.settings.max_length)
        return explain(self.model, ids, tokens=self.tokenizer.labels, **how)


def _one_line(text: str) -> str:
    """The text, composed, with a blank for each line end; other kinds, such as U+2028, are kept."""
    return composed(text).replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
