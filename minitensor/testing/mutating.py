"""``mutants``: how good a check is, told by what it catches of an op's rules made wrong one at a
time.

A mutant is the op with one place of one rule, kernel or definition changed: ``mutated_ops.py``
makes them, by the changes of ``rewriting.py``, and ``mutant_judge.py`` says what became of each.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.engine.fused import Fused
from minitensor.engine.op import Op
from minitensor.testing.adapters import adapt
from minitensor.testing.mutant_judge import Judge
from minitensor.testing.mutated_ops import mutated
from minitensor.testing.planted import changed, planted
from minitensor.testing.problem import name_of
from minitensor.testing.rewriting import KINDS

__all__ = ["Mutant", "Mutants", "mutants"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


@dataclass
class Mutant:
    """One changed rule. part: which rule; kind: the sort of fault; diff: the lines before and
    after.

    outcome: "caught"; "survived"; "equivalent", if it gives what the op gives on every input tried;
    "kink", if it differs only on inputs at kinks, and there lies between the slopes of both sides
    as the op does; "crashed", if it raises on every input. said: what the check said of it, or the
    error.
    """

    op: str
    part: str
    kind: str
    diff: str
    outcome: str = ""
    said: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.kind} in {self.part} of {self.op}\n{self.diff}"


@dataclass
class Mutants:
    """What became of the mutants of an op."""

    op: str
    all: list[Mutant] = field(default_factory=list)
    compared: int = 0  # inputs on which those called equivalent were compared
    seconds: float = 0.0  # of the processor

    def of(self, outcome: str) -> list[Mutant]:
        """Those that were "caught", "survived", "equivalent", "kink" or "crashed"."""
        return [mutant for mutant in self.all if mutant.outcome == outcome]

    @property
    def caught(self) -> list[Mutant]:
        """Those that the check refused."""
        return self.of("caught")

    @property
    def survived(self) -> list[Mutant]:
        """Those that differ from the op and passed: holes in the net."""
        return self.of("survived")

    @property
    def share(self) -> float:
        """Caught of those that could be: caught and survived. 1 if there are none."""
        count = len(self.caught) + len(self.survived)
        return len(self.caught) / count if count else 1.0

    def __str__(self) -> str:
        count = len(self.caught) + len(self.survived)
        lines = [f"{self.op}: {len(self.caught)} of {count} mutants caught ({100 * self.share:.4g} %)"]
        kinds = Counter(m.kind for m in (*self.caught, *self.survived))
        lines += ["  " + ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS if kinds[kind])] * bool(kinds)
        if equal := self.of("equivalent"):
            lines.append(
                f"  {len(equal)} more are equivalent: outputs, first and second derivatives were those of the op, to rounding, on "
                f"{self.compared} inputs"
            )
        if choices := self.of("kink"):
            lines.append(
                f"  {len(choices)} more make another choice at a kink: they differ from the op only on inputs where some "
                "derivative does not exist, and lie between the slopes of both sides there"
            )
        if broken := self.of("crashed"):
            lines.append(f"  {len(broken)} more crashed: they raised on every input, which any test sees")
        return "\n".join([*lines, *(str(mutant) for mutant in self.survived)])


def mutants(
    op: Callable[..., Any],
    inputs: Any,
    *,
    function: Callable[..., Any] | None = None,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    order: int = 2,
    examples: int = 25,
    seed: int = 0,
    limit: int | None = None,
    name: str | None = None,
    **options: Any,
) -> Mutants:
    """Make the rules of ``op`` wrong, one place at a time, and count how many ``check_op`` catches.

    op: an elementary op (its rules are changed), a fused op (its kernel for all devices, and its
    definition) of the library or your own, with the functions of its own file that these call.
    inputs, keywords, wanted, order, examples, seed and ``options``: as for ``check_op``. function:
    what is checked, if it is not the op itself but a function that runs it. limit: at most so many
    mutants, spread over all kinds; default: all.

    Kinds: sign, factor, axis, lost sum, swapped operands, off by one, wrong tie, wrong mask,
    dropped term, wrong function, and a no-grad branch (a part taken for a constant, which second
    derivatives show). A mutant that gives the op's values and derivatives on all inputs drawn, on
    forty more, and on some of these much larger, smaller, or with zeros and ones put in, counts as
    equivalent; one that differs only at kinks, where it makes another choice that the check allows,
    as such; one that raises on every input as crashed. None of these is in the share.

    Returns a ``Mutants``: print it, or read ``.share`` and ``.survived``. The op itself is not
    changed, and other threads do not see the mutants. Raises TypeError for what has no rules of
    ours, ValueError if a source cannot be read, AssertionError if the op itself does not pass.

    >>> import minitensor as mt
    >>> print(mutants(mt.sin, [mt.tensor([0.3, 2.0])], limit=4))
    sin: 4 of 4 mutants caught (100 %)
      sign 1, factor 1, swapped operands 1, dropped term 1
    """
    if not isinstance(op, (Op, Fused)):
        raise TypeError(
            f"mutants takes an op or a fused op, whose rules it can change, got {name_of(adapt(op))}: give the op, and the "
            "function that runs it as function="
        )
    started = time.process_time()
    plain = changed(op, kernels={"any": op.kernels["any"]}) if isinstance(op, Fused) and op.kernels else changed(op)
    with planted(op, plain):
        report = Mutants(name or op.name)
        judge = Judge(
            op, plain, function or op, inputs, keywords=dict(keywords or {}), examples=examples, wanted=wanted, order=order,
            seed=seed, name=report.op, **options,
        )  # fmt: skip
        judge.check()
        made = [(Mutant(report.op, part, kind, diff), copy) for copy, part, kind, diff in mutated(op)]
        # Around them stands the op itself, with its kernel for all devices alone.
        for mutant, copy in _chosen(made, limit):
            with np.errstate(all="ignore"), planted(op, copy):
                mutant.outcome, mutant.said = judge.outcome()
            report.all.append(mutant)
    report.compared, report.seconds = judge.compared, time.process_time() - started
    return report


def _chosen(made, limit):
    """At most ``limit`` of the mutants, one of each kind in turns, in their own order."""
    if limit is None or len(made) <= limit:
        return made
    turns: Counter[str] = Counter()
    places = []
    for place, (mutant, _) in enumerate(made):
        turns[mutant.kind] += 1
        places.append((turns[mutant.kind], KINDS.index(mutant.kind), place))
    return [made[place] for place in sorted(place for _, _, place in sorted(places)[:limit])]
