"""Settings of a translator that follow from how many pairs there are to train on.

Few pairs: few sub-words, so that each is seen often; small batches, so that there are many updates;
a short warm-up, and a rate that falls to 0 (Sennrich and Zhang, "Revisiting low-resource neural
machine translation: a case study", 2019, arXiv:1905.11901; Araabi and Monz, "Optimizing Transformer
for low-resource neural machine translation", 2020, arXiv:2011.02266). Many pairs: the base model of
Vaswani et al. (2017, arXiv:1706.03762, table 3), its peak rate, its averages, but layer norm first
and smaller batches. That was not trained here. What was measured is in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.console import counted, minutes_in_words
from toolkit.translation import Settings

__all__ = ["SIZES", "said", "slow_enough", "suited"]

TOKENS = 20  # of a pair, padding included, as a guess
FALLING: dict[str, Any] = dict(schedule="cosine", lr=3e-3, validate_every=100, average=5)


@dataclass(frozen=True)
class Size:
    """Settings of ``below`` pairs: of any architecture, and of the Transformer besides."""

    below: float
    shared: dict[str, Any]
    transformer: dict[str, Any]


SIZES = (
    Size(1_000, dict(vocab=1000, max_tokens=1024), FALLING | dict(layers=2, pre_norm=True, warmup=200, steps=1200)),
    Size(10_000, dict(vocab=3000, max_tokens=2048), FALLING | dict(pre_norm=True, warmup=400, steps=2200)),
    Size(300_000, {}, {}),  # the defaults themselves
    Size(
        1_000_000,
        dict(vocab=16_000, max_tokens=8192, dropout=0.1, epochs=20, validate_every=1000, average=5),
        dict(d_model=256, heads=8, d_ff=1024, pre_norm=True, lr=1e-3, warmup=4000),
    ),
    Size(
        float("inf"),
        dict(vocab=32_000, max_tokens=8192, dropout=0.1, epochs=10, validate_every=2000, average=5),
        dict(d_model=512, layers=6, heads=8, d_ff=2048, pre_norm=True, lr=7e-4, warmup=4000),
    ),
)


def suited(pairs: int, given: dict[str, Any]) -> dict[str, Any]:
    """The settings for so many pairs, in the place of the defaults. Heads must divide a width that
    is ``given``, or are left to the default; if another end is given, the warm-up is no more than a
    sixth of the updates, as nearly as they are known before.
    """
    size = next(size for size in SIZES if pairs < size.below)
    made = size.shared | (size.transformer if given.get("arch", "transformer") == "transformer" else {})
    if given.get("d_model", 0) % made.get("heads", 1):
        del made["heads"]
    return slow_enough(made, pairs, given)


def slow_enough(made: dict[str, Any], pairs: int, ends: dict[str, Any]) -> dict[str, Any]:
    """The settings ``made`` with a warm-up of no more than a sixth of the updates, as nearly as
    these are known before from ``ends``, the settings that say when training does.
    """
    updates = ends.get("steps")
    if ends.get("epochs"):
        updates = ends["epochs"] * max(1, pairs * TOKENS // ends.get("max_tokens", made.get("max_tokens", 4096)))
    if updates and "warmup" in made:
        made["warmup"] = max(1, min(made["warmup"], updates // 6))
    return made


def said(pairs: int, settings: Settings) -> str:
    """The settings that follow from the number of pairs, or from the run that training begins with,
    in words, and when training ends.
    """
    s = settings
    layers = f"{s.layers} + {s.decoder_depth} layers of {s.d_model if s.arch == 'transformer' else s.hidden}"
    rate = f"rate {s.lr:g} ({s.schedule}, {counted(s.warmup, 'update')} of warm-up)"
    ends = [counted(count, one) for count, one in ((s.epochs, "epoch"), (s.steps, "update")) if count]
    ends += [minutes_in_words(s.minutes)] if s.minutes is not None else []
    ends += [f"{counted(s.patience, 'validation')} without a better loss"] if s.patience else []
    whose = (
        f"begins with {s.start_from}"
        if s.start_from
        else f"settings for {counted(pairs, 'pair')}, but for what is given"
    )
    return (
        f"{whose}: up to {counted(s.vocab, 'sub-word')}, {layers},"
        f" dropout {s.dropout:g}, batches of {s.max_tokens:,} positions, {rate}, at most {' or '.join(ends)}"
    )
