"""One row of the table: the sides of a case in turns, and whether the ratio is sound."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field

import memory
from cases import CASES, PEERS
from floor import products
from timing import Worker, in_turns

__all__ = ["MOST", "Row", "measure"]

MOST = 0.10  # by which the two times of what is compared with may differ
SECONDS = {"cpu": 0.3, "cuda": 0.15}  # of a turn, about
WHOLE = ("Adam", "Decode")  # kinds of work that are no step of fixed arrays: there is no graph of them
SPAN, FEWEST = 40, 5  # a case's turns take about so many seconds at most, unless they are so few


@dataclass
class Row:
    """What was found of a case, in seconds (in bytes for memory); None is what there is not.

    ours: by mode. other: PyTorch's, and ``alone`` the same while nothing else of the benchmark ran.
    ratios: by mode; None if what is compared with took another time alone than in the turns.
    peers: by name, the time and the ratio of the last mode to it, withheld alike.
    """

    name: str
    ours: dict[str, float] = field(default_factory=dict)
    other: float | None = None
    ratios: dict[str, float | None] = field(default_factory=dict)
    floor: float | None = None
    alone: float | None = None
    peers: dict[str, tuple[float, float | None]] = field(default_factory=dict)

    def take(self, mode, times, alone):
        """Enter what was found of a mode in turns with the others."""
        self.ours[mode] = statistics.median(times[mode])
        disturbed = abs(statistics.median(times["other"]) / alone - 1) > MOST
        self.ratios[mode] = None if disturbed else _median_ratio(times[mode], times["other"])
        self.floor = statistics.median(times["products"]) if "products" in times else None

    @property
    def sound(self):
        """Whether no ratio was withheld."""
        return None not in self.ratios.values()


def measure(name, place, modes, rounds, peers=(), kept=None):
    """The row of a case. kept: an existing PyTorch worker, which is not stopped."""
    case = CASES[name]
    if case.measure == "memory":
        return _memory(name, place, modes)
    if case.against:
        return _against_ourselves(name, place, modes, rounds)
    peers = [peer for peer in peers if name in PEERS]
    modes = [mode for mode in modes if mode != "graph" or case.kind not in WHOLE]
    sides = [*modes, *peers, *(["products"] if products(name) else [])]
    with Worker(name, "torch", place) if kept is None else contextlib.nullcontext(kept) as torch:
        torch.name = name
        times, alone = _times(torch, name, sides, place, rounds)
    row = Row(name, other=statistics.median(times["other"]), alone=alone)
    for mode in modes:
        row.take(mode, times, alone)
    for peer in peers:
        ratio = _median_ratio(times[modes[-1]], times[peer]) if row.sound else None
        row.peers[peer] = statistics.median(times[peer]), ratio
    return row


def _memory(name, place, modes):
    if not memory.supported():
        return Row(name)
    found = {program: memory.fresh(name, program, place) for program in (*modes, "torch")}
    other = found.pop("torch")
    return Row(name, ours=found, other=other, ratios={mode: value / other for mode, value in found.items()})


def _against_ourselves(name, place, modes, rounds):
    """With a comparison of its own for each mode."""
    row = Row(name)
    for mode in modes:
        sides = [mode, "products"] if mode == modes[-1] and products(name) else [mode]
        with Worker(name, mode, place, **CASES[name].against) as reference:
            row.take(mode, *_times(reference, name, sides, place, rounds))
    return row


def _times(reference, name, sides, place, rounds):
    """The times of all sides, and under "other" of the worker ``reference``, in turns; and the
    median of the reference alone, before and after.
    """
    (once,) = reference.turn(1)
    calls = max(1, min(50, round(SECONDS["cuda" if reference.pause == 0 else "cpu"] / once)))
    few = max(2, rounds // 3) if rounds > 1 else 1
    if once * (calls + 1) * few > SPAN / 8:
        few = min(few, 2)
    alone = reference.turns(few, calls)
    with contextlib.ExitStack() as stack:
        made = {side: stack.enter_context(Worker(name, side, place, wait=False)) for side in sides}
        turn = (len(made) + 1) * (reference.pause + once * (calls + 1))
        times = in_turns(made | {"other": reference}, min(rounds, max(FEWEST, int(SPAN / turn))), calls)
    alone += reference.turns(few, calls)
    return times, statistics.median(alone)


def _median_ratio(mine, other):
    return statistics.median(a / b for a, b in zip(mine, other))
