"""Fine-tuning on few examples: one protocol for all architectures, pre-trained and from scratch
side by side.

Both starts have the same architecture and the same vocabulary. For each amount of examples and each
repetition they get the same examples in the same order, and as many updates; all are tested by the
same held-out examples, and what counts is the share right after the last update: none is chosen by
the test. Each start has a learning rate of its own, to be chosen by `Plan.validate`, which tests by
the validation part.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.console import Progress, counted
from toolkit.numbers import positive_integer, real
from toolkit.plots import SCORE, VALIDATION, empty_figure, save_figure
from toolkit.runlog import read_log
from toolkit.samples import random_words
from toolkit.settings import Training
from toolkit.trainer import Task, Trainer

__all__ = [
    "PRETRAINED",
    "SCRATCH",
    "Curve",
    "Plan",
    "add_options",
    "compare",
    "draw_curves",
    "fine_tune",
    "plan_of",
    "shuffled",
]

PRETRAINED, SCRATCH = STARTS = ("pre-trained", "from scratch")
TESTS = 5  # times that a fine-tuning is tested, if its updates are drawn
LARGEST_RATE = 1.0
Curve = list[tuple[int, float]]  # of one fine-tuning: updates done, share right


@dataclass(frozen=True)
class Plan:
    """What is compared: amounts of examples, repetitions with other examples, updates, and the
    learning rate of each start.
    """

    amounts: tuple[int, ...]
    seeds: int
    steps: int
    rates: Mapping[str, float]
    validate: bool = False  # test by the validation part

    @property
    def tests(self) -> int:
        """How often a fine-tuning is tested: only at its end if the amounts are drawn, not the
        updates.
        """
        return 1 if len(self.amounts) > 1 else TESTS


def add_options(parser: argparse.ArgumentParser, flag: str, help: str, plan: Plan) -> None:
    """The options of `plan_of`; ``flag`` is that of the amounts, ``help`` says what they count."""
    default = " ".join(map(str, plan.amounts))
    parser.add_argument(
        flag, dest="amounts", type=positive_integer, nargs="+", default=plan.amounts, metavar="N",
        help=f"{help}; several are drawn against each other ({default})",
    )  # fmt: skip
    for name, number, text in (
        ("seeds", plan.seeds, "repetitions with other examples, averaged"),
        ("steps", plan.steps, "updates of fine-tuning"),
    ):
        parser.add_argument(f"--{name}", type=positive_integer, default=number, metavar="N", help=f"{text} ({number})")
    rates = ", ".join(f"{start} {rate:g}" for start, rate in plan.rates.items())
    parser.add_argument("--lr", type=real(0, LARGEST_RATE), metavar="RATE", help=f"peak learning rate ({rates})")
    text = "test by the validation part, to choose settings by; what is drawn stays as it was"
    parser.add_argument("--validate", action="store_true", help=text)


def plan_of(options: argparse.Namespace, plan: Plan) -> Plan:
    """``plan`` with what the command line changes of it."""
    rates = plan.rates if options.lr is None else dict.fromkeys(STARTS, options.lr)
    amounts = tuple(sorted(set(options.amounts)))
    return dataclasses.replace(
        plan, amounts=amounts, seeds=options.seeds, steps=options.steps, rates=rates, validate=options.validate
    )


def shuffled(count: int, seed: int) -> np.ndarray:
    """The places (count,) of all examples, in an order drawn by ``seed``; of fewer examples the
    first are taken, which more then include.
    """
    return np.argsort(random_words(seed, 0, count), kind="stable")


def fine_tune(task: Task, plan: Plan, lr: float, seed: int) -> Curve:
    """Train all of ``task.model``; at each of `Plan.tests` tests how many updates there were, and
    the ``accuracy`` of ``task.validate``.
    """
    part = max(1, plan.steps // plan.tests)
    warmup = max(1, plan.steps // TESTS)
    settings = Training(lr=lr, schedule="cosine", warmup=warmup, steps=plan.steps, validate_every=part, seed=seed)
    # The progress of the trainer is not shown.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        outcome = Trainer(task, settings, Path(folder)).run()
        log = read_log(Path(folder) / "log.jsonl")
    if outcome.signal:
        raise KeyboardInterrupt
    return [(record["step"], record["accuracy"]) for record in log if "accuracy" in record]


def compare(
    plan: Plan, make_task: Callable[[str, int, int], Task], what: str, path: str | os.PathLike[str], label: str
) -> None:
    """Fine-tune by the plan, print the shares and draw them.

    ``make_task(start, amount, seed)`` is the task of one fine-tuning, ``what`` says what the
    amounts count, and ``label`` what is right.
    """
    found: dict[int, dict[str, list[Curve]]] = {}
    for amount in plan.amounts:
        curves: dict[str, list[Curve]] = {start: [] for start in STARTS}
        with Progress("fine-tuning", total=len(STARTS) * plan.seeds) as bar:
            for seed in range(plan.seeds):
                for start in STARTS:
                    task = make_task(start, amount, seed)
                    curves[start].append(fine_tune(task, plan, plan.rates[start], seed))
                    bar.advance()
        found[amount] = curves
        print(f"  {what}: {amount:,}")
        for start, runs in curves.items():
            last = [points[-1][1] for points in runs]
            shown = ", ".join(f"{share:.1%}" for share in last)
            print(
                f"    {start:13} {np.mean(last):6.1%} right after {counted(plan.steps, 'update')} ({shown})", flush=True
            )
    if plan.validate:
        return
    if len(plan.amounts) == 1:
        draw_curves(found[plan.amounts[0]], path, "update of fine-tuning", label)
    else:
        draw_curves(_by_amount(found), path, what, label, plan.amounts)
    print(f"see {path}")


def _by_amount(found: Mapping[int, Mapping[str, list[Curve]]]) -> dict[str, list[Curve]]:
    """Of each start and repetition the share right at the end, by the amount of examples."""
    return {
        start: [
            [(amount, points[-1][1]) for amount, points in zip(found, runs, strict=True)]
            for runs in zip(*(curves[start] for curves in found.values()), strict=True)
        ]
        for start in STARTS
    }


def draw_curves(
    curves: Mapping[str, Sequence[Curve]],
    path: str | os.PathLike[str],
    below: str,
    beside: str,
    amounts: Sequence[int] = (),
) -> None:
    """Draw shares against what is ``below``, each repetition faintly and their mean on top.

    ``amounts``, if given, are the places to be marked of an axis on which doubling is a step.
    """
    figure = empty_figure(6, 4)
    axes = figure.subplots()
    for color, (name, runs) in zip((VALIDATION, SCORE), curves.items()):
        points = np.array(runs)  # (repetitions, points, 2)
        axes.plot(points[:, :, 0].T, points[:, :, 1].T, color=color, alpha=0.25, linewidth=1)
        mean = points.mean(axis=0)
        axes.plot(mean[:, 0], mean[:, 1], color=color, linewidth=2, marker="o", markersize=4, label=name)
    if amounts:
        axes.set_xscale("log", base=2)
        axes.set_xticks(amounts, [str(amount) for amount in amounts], minor=False)
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path)
