"""The parts of a translation run: settings, data, model, and training task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import minitensor as mt
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.transformer import Transformer, TransformerConfig
from toolkit import english_french
from toolkit.batches import SENTENCES, Batches, drop_long, short_enough
from toolkit.bpe_dropout import redrawn
from toolkit.console import UserError
from toolkit.corpus import Corpus, Pair, load_parallel
from toolkit.pairs import PairTask
from toolkit.program import digest, place
from toolkit.settings import Training, option, refuse_options
from toolkit.suspicions import without
from toolkit.teachers import Teachers
from toolkit.tokenizer import PAD, START, STOP, Tokenizer, encode_tagged

__all__ = [
    "RECURRENT_ONLY",
    "TRANSFORMER_ONLY",
    "PairSettings",
    "Settings",
    "Task",
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

    units = SENTENCES  # what the program reads, in its errors

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
    dropout: float = option(0.3, "dropout, in all places but those that have a number of their own", least=0, below=1)
    attention_dropout: float | None = option(
        None, "transformer: dropout of attention weights, if not that of --dropout", least=0, below=1, added=True
    )
    ff_dropout: float | None = option(
        None, "transformer: dropout in feed-forward layers, if not that of --dropout", least=0, below=1, added=True
    )
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
        if self.r_drop and not (self.dropout or self.attention_dropout or self.ff_dropout):
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
    start_from: str | None = option(
        None, "trained run whose weights, sub-words and architecture this one begins with (fine-tuning)", added=True
    )
    teachers: str | None = option(
        None,
        "trained runs, by commas, whose probabilities of each next token are learned too (distillation)",
        added=True,
    )
    teacher_weight: float = option(
        0.5, "share of --teachers in the loss; the rest is that of the references", added=True
    )

    def __post_init__(self) -> None:
        """Also check the share of the teachers."""
        super().__post_init__()
        if not 0 < self.teacher_weight <= 1:
            raise UserError(f"--teacher-weight {self.teacher_weight:g}: it must be above 0, and at most 1")


# What only one family of architectures has; the other refuses it.
TRANSFORMER_ONLY = ("decoder_layers", "heads", "d_ff", "pre_norm", "positions", "attention_dropout", "ff_dropout")
RECURRENT_ONLY = ("attention", "hidden", "input_feeding")

# Found by a few short runs. The embedded corpus is free of noise, so there is no dropout. Label
# smoothing is for words never seen together: more of these are right with it (docs/results.md).
# With 1 500 sub-words each of its words is one (1 469 are all there are): sentences are shorter.
EMBEDDED: dict[str, Any] = dict(
    layers=2, dropout=0.0, label_smoothing=0.1, pre_norm=True, vocab=1500, max_length=64, max_tokens=512,
    lr=3e-3, schedule="cosine", warmup=200, steps=1600, beta2=0.98,
)  # fmt: skip
# Those of the table of recurrent models in docs/results.md, which compares them at these settings.
EMBEDDED_RECURRENT: dict[str, Any] = dict(
    layers=1, label_smoothing=0.0, pre_norm=False, vocab=1000, max_tokens=1024, lr=4e-3, steps=1200,
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


def load_corpus(data: str | None, source: str, target: str, skip_bad: bool = False, **how: Any) -> Corpus:
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
        shape |= dict(attention_dropout=s.attention_dropout, ff_dropout=s.ff_dropout)
        model: Transformer | Seq2Seq = Transformer(TransformerConfig(**shared, **layers, **shape))
    else:
        shape = dict(n_layers=s.layers, hidden_size=s.hidden, input_feeding=s.input_feeding)
        shape["copy"] = getattr(s, "copy", False)  # a setting of few programs
        model = Seq2Seq(Seq2SeqConfig(**shared, cell=s.arch, attention=s.attention, **shape))
    return place(model, device)


class Task(PairTask):
    """Translation as a task for `toolkit.trainer`."""

    def __init__(
        self,
        corpus: Corpus | Mapping[str, Corpus],
        tokenizer: Any,
        settings: PairSettings,
        teachers: Teachers | None = None,
    ) -> None:
        """Tokenise and batch the pairs, of several corpora by the token that their sources begin
        with (see `toolkit.targets`); ``dropped`` counts those that are too long to train on,
        ``left_out`` those that are blank, ragged and bad.

        Raises UserError for a test set of which all is too long: now, not after hours of training.
        """
        self.tokenizer, self.settings, self.r_drop, self.teachers = tokenizer, settings, settings.r_drop, teachers
        self.longest = min(settings.max_length, settings.max_tokens)
        corpora = {"": corpus} if isinstance(corpus, Corpus) else corpus
        for tag, part in corpora.items():
            for name, pairs in (part.tests or {"validation": part.validation}).items():  # what the report translates
                ids = encode_tagged(tokenizer, [source for source, _ in pairs], tag)
                short_enough(pairs, ids, settings.max_length, name, settings.units)
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
        source_ids, target_ids, dropped = drop_long(sources, targets, self.longest, s.units)
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
