"""The table of the benchmark in Markdown: columns, rows, the mean, and what misses its target."""

from __future__ import annotations

import math

from cases import CASES
from targets import WANTED, misses, wanted

__all__ = ["Table", "geometric_mean"]

NAMES = {"compiled": "torch.compile", "jax": "jax.jit"}


class Table:
    """Rows of certain modes of minitensor and certain peers; ``lines`` is the Markdown so far."""

    def __init__(self, modes, peers=()):
        self.modes, self.peers, self.rows = modes, peers, []
        columns = [*(f"{mode} ms" for mode in modes), "PyTorch ms", *(f"{mode} ratio" for mode in modes), "wanted"]
        columns += ["floor ms", f"{modes[-1]}/floor", "PyTorch alone ms"]
        columns += [title for peer in peers for title in (f"{NAMES[peer]} ms", f"{modes[-1]}/{NAMES[peer]}")]
        self.lines = [_line("case", columns), "|---|" + "---:|" * len(columns)]

    def add(self, row):
        """Take a row in; its line."""
        self.rows.append(row)
        unit = _milliseconds if CASES[row.name].measure == "time" else _megabytes
        cells = [unit(row.ours.get(mode)) for mode in self.modes] + [unit(row.other)]
        cells += [_shown(row.ratios.get(mode, "-")) for mode in self.modes]
        cells.append(" / ".join(f"{wanted(row.name, mode):.2f}" for mode in self.modes))
        mine = row.ours.get(self.modes[-1])
        cells += [unit(row.floor), "-" if row.floor is None else f"{mine / row.floor:.2f}", unit(row.alone)]
        for peer in self.peers:
            seconds, ratio = row.peers.get(peer, (None, "-"))
            cells += [unit(seconds), _shown(ratio)]
        self.lines.append(_line(row.name, cells))
        return self.lines[-1]

    def mean(self):
        """The line of the geometric mean over the rows so far."""
        means, n = self.means(), len(self.modes)
        counted = sum(row.ratios.get(self.modes[-1]) is not None for row in self.rows)
        cells = ["-"] * (n + 1) + [_shown(means[mode] or "-") for mode in self.modes]
        cells.append(" / ".join(f"{wanted('mean', mode):.2f}" for mode in self.modes) if self.whole() else "-")
        cells += ["-"] * (3 + 2 * len(self.peers))
        self.lines.append(_line(f"geometric mean of {counted}", cells))
        return self.lines[-1]

    def means(self):
        """By mode; None if there is no ratio."""
        return {mode: geometric_mean([row.ratios.get(mode) for row in self.rows]) for mode in self.modes}

    def whole(self):
        """Whether every ratio is there: the target of the mean is for all of them."""
        return {row.name for row in self.rows if row.ratios and row.sound} == set(WANTED)

    def withheld(self):
        """Names of the rows with a ratio that was withheld."""
        return [row.name for row in self.rows if not row.sound]

    def missed(self):
        """What is above its target, in words."""
        found = [line for row in self.rows for line in misses(row.name, row.ratios)]
        return found + (misses("mean", self.means()) if self.whole() else [])

    def closing(self):
        """What misses and what was withheld, in one line."""
        missed, withheld = self.missed(), self.withheld()
        said = f"above what is wanted: {', '.join(missed)}" if missed else "no ratio is above what is wanted"
        return said + (f"; withheld as disturbed: {', '.join(withheld)}" if withheld else "")


def geometric_mean(ratios):
    """Of those that are there, or None if none is."""
    logs = [math.log(ratio) for ratio in ratios if ratio is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _line(name, cells):
    return f"| {' | '.join([name, *cells])} |"


def _milliseconds(value):
    return "-" if value is None else f"{value * 1e3:.2f}"


def _megabytes(value):
    return "-" if value is None else f"{value / 1e6:.0f} MB"


def _shown(ratio):
    """A ratio, or "disturbed" in place of None."""
    return "disturbed" if ratio is None else ratio if isinstance(ratio, str) else f"{ratio:.2f}"
