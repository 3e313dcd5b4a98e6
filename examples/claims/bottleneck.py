"""Claim 4: a fixed context is a bottleneck that long sentences do not fit through; attention
removes it.

Encoder-decoders (`Seq2Seq` and `Transformer`) learn to repeat a sentence of random symbols. Without
attention all of it has to pass through one vector (Cho et al. 2014, arXiv:1406.1078), and quality
falls with the length (Cho, van Merrienboer, Bahdanau and Bengio 2014, arXiv:1409.1259); with it,
each output looks at what it needs (Bahdanau, Cho and Bengio 2015, arXiv:1409.0473). The task has no
shortcut: n symbols are n log2(A) bits, whatever the language.

Sentences of all lengths occur equally often in training, one length to a batch. All models have
equal parameter counts and the same number of updates by Adam with clipping; each is trained at
every one of ``learning_rates``, and the training that ends with the lowest loss is reported.
Decoding is greedy, and a sentence counts as right only if every symbol and its end are.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from toolkit.plots import empty_figure, save_figure

import minitensor as mt
from claims.networks import COLOURS, KINDS, N_HEADS, N_LAYERS, NAMES, fit
from claims.processes import spread
from claims.report import ENOUGH, Table, axes_of, listed, reach
from claims.training import lowest, train
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.transformer import Transformer, TransformerConfig

__all__ = ["TITLE", "Settings", "conclusion", "draw", "measure", "tables"]

TITLE = "the bottleneck of a fixed context"

N_SYMBOLS = 16
RESERVED = 3  # ids of padding, start and stop, ahead of the symbols
CASES = (*((cell, attention) for attention in ("none", "additive") for cell in KINDS[:-1]), ("transformer", "itself"))


@dataclass(frozen=True)
class Settings:
    """Lengths to train on (from 1 to the last) and to test at, and the budget of each training."""

    lengths: tuple[int, ...] = (2, 5, 10, 15, 20, 25, 30)
    budget: int = 60_000
    d_model: int = 32  # of the recurrent models' embeddings
    steps: int = 2000
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)
    batch: int = 32
    sentences: int = 100  # of each test

    @classmethod
    def quick(cls) -> Settings:
        """Seconds of work, for the tests."""
        return cls((2, 4, 8), 8_000, d_model=8, steps=400, learning_rates=(1e-2,), sentences=40)


Config: TypeAlias = Seq2SeqConfig | TransformerConfig


def configure(cell: str, attention: str, settings: Settings) -> Config:
    """The configuration of a model whose parameters come closest to the budget in number."""
    longest = settings.lengths[-1] + 2
    common: dict[str, Any] = dict(vocab_size=RESERVED + N_SYMBOLS, dropout=0.0, label_smoothing=0.0, max_length=longest)
    # 44 D^2 parameters if d_ff = 2 D; D goes by whole heads, d_ff makes up for what that leaves
    d_model = N_HEADS * max(1, round(math.sqrt(settings.budget / (22 * N_LAYERS)) / N_HEADS))
    layers: dict[str, Any] = dict(
        n_encoder_layers=N_LAYERS, n_decoder_layers=N_LAYERS, n_heads=N_HEADS, norm_first=True
    )

    def make(size: int) -> Config:
        if cell == "transformer":
            return TransformerConfig(d_model=d_model, d_ff=size, **layers, **common)
        return Seq2SeqConfig(cell=cell, attention=attention, d_model=settings.d_model, hidden_size=size, **common)

    return fit(make, lambda config: build(config).num_parameters(), settings.budget)


def build(config: Config) -> EncoderDecoder:
    """The model of a configuration."""
    return Seq2Seq(config) if isinstance(config, Seq2SeqConfig) else Transformer(config)


def measure(settings: Settings, seed: int, workers: int) -> dict[str, Any]:
    """Exact matches and right symbols by model and length."""
    calls = [
        (cell, attention, rate, settings, seed) for cell, attention in CASES[::-1] for rate in settings.learning_rates
    ]
    runs = spread("bottleneck", _train_once, calls, workers)
    found = [
        lowest([run for run in runs if (run["cell"], run["attention"]) == (cell, attention)])
        for cell, attention in CASES
    ]
    return {"lengths": list(settings.lengths), "n_symbols": N_SYMBOLS, "models": found}


def _train_once(cell: str, attention: str, rate: float, settings: Settings, seed: int) -> dict[str, Any]:
    config = configure(cell, attention, settings)
    mt.random.seed(seed)
    model = build(config)
    generator = np.random.default_rng(seed)

    def loss_of(step: int) -> mt.Tensor:
        length = int(generator.integers(1, settings.lengths[-1] + 1))
        source = sentences(generator, settings.batch, length)
        start, stop = (np.full((settings.batch, 1), token) for token in (config.start_id, config.stop_id))
        return model.loss(source, np.hstack([start, source]), np.hstack([source, stop]))

    history = train(model, loss_of, settings.steps, mt.optim.Adam(model.parameters(), lr=rate))
    about = {"cell": cell, "attention": attention, "parameters": model.num_parameters(), "learning_rate": rate}
    if history.diverged:  # nothing can be read from such weights
        none = [0.0] * len(settings.lengths)
        return about | {"loss": history.final, "exact": none, "right": none}
    exact, right = [], []
    for length in settings.lengths:
        source = sentences(generator, settings.sentences, length)
        answers = model.generate(source, max_new_tokens=length + 1)
        exact.append(float(np.mean([answer == ids for answer, ids in zip(answers, source.tolist(), strict=True)])))
        padded = np.array([(answer + [config.pad_id] * length)[:length] for answer in answers])
        right.append(float((padded == source).mean()))
    return about | {"loss": history.final, "exact": exact, "right": right}


def sentences(generator: np.random.Generator, batch: int, length: int) -> np.ndarray:
    """Random ids (B, length) of symbols."""
    return generator.integers(RESERVED, RESERVED + N_SYMBOLS, (batch, length))


# --- telling --------------------------------------------------------------------------------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    """Exact matches by length."""
    columns = ("model", "parameters", *(f"n = {length}" for length in numbers["lengths"]))
    rows = [
        (_name(run), f"{run['parameters']:,}", *(f"{exact:.0%}" for exact in run["exact"])) for run in numbers["models"]
    ]
    chance = f"{numbers['n_symbols']}^-n"
    return [Table(f"sentences of n symbols repeated without an error (chance {chance})", columns, rows)]


def _name(run: dict[str, Any]) -> str:
    """The name of a model in table and picture."""
    return (
        NAMES[run["cell"]] + {"none": ", fixed context", "additive": " with attention", "itself": ""}[run["attention"]]
    )


def mastered(numbers: dict[str, Any]) -> dict[tuple[str, str], int]:
    """The longest length up to which each model, by cell and attention, has enough exact matches; 0
    for none.
    """
    return {(run["cell"], run["attention"]): reach(run["exact"], numbers["lengths"]) for run in numbers["models"]}


def conclusion(numbers: dict[str, Any]) -> str:
    """What attention adds to each recurrent model, and how the Transformer compares."""
    reaches = mastered(numbers)
    cells = [cell for cell, attention in reaches if attention == "none"]
    told = [f"the {NAMES[cell]} {reaches[cell, 'none']} and {reaches[cell, 'additive']}" for cell in cells]
    gaining = [cell for cell in cells if reaches[cell, "additive"] > reaches[cell, "none"]]
    verdict = "So attention removes the bottleneck" if gaining == cells else "So attention does not help here"
    if gaining and gaining != cells:
        verdict = f"So attention helps {listed([f'the {NAMES[cell]}' for cell in gaining])} alone"
    return (
        f"The longest sentences that are repeated without an error in at least {ENOUGH:.0%} of the cases have, without and with "
        f"attention: {'; '.join(told)} symbols; the Transformer {reaches['transformer', 'itself']}. {verdict}."
    )


def draw(numbers: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Exact matches against length: broken lines without attention, full ones with it."""
    figure = empty_figure(8.5, 4.4)
    axes = axes_of(figure.subplots(), "repeating a sentence of random symbols", "symbols", "exact matches")
    axes.set_xticks(numbers["lengths"])
    axes.set_ylim(0, 1.04)
    for run in numbers["models"]:
        style = "o--" if run["attention"] == "none" else "o-"
        axes.plot(numbers["lengths"], run["exact"], style, color=COLOURS[run["cell"]], label=_name(run), markersize=4)
    figure.legend(frameon=False, fontsize=9, loc="outside right center")
    save_figure(figure, path)
