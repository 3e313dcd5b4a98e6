"""A layered drawing of a graph without circles: every edge points down.

The method of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
Structures", 1981: ranks, then the order within each rank, then coordinates. ``layered`` finds ranks
and order, which do not depend on how large the boxes are; ``positions`` the coordinates, and
``scene.js`` has the same steps for boxes that open in a browser.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["GAP", "Layers", "layered", "positions"]

GAP = (18.0, 30.0)  # between boxes side by side, between ranks
SWEEPS = 8  # of the search for an order; of the coordinates twice as many
MOST_BENDS = 40_000  # points on long edges; beyond it edges are drawn straight


@dataclass
class Layers:
    """Ranks from the top, each from the left. Numbers below ``n`` are the boxes that were given,
    others points at which a long edge passes a rank; all edges of a box that pass a rank pass it at
    the same point.

    links: pairs of points on neighbouring ranks. bends: by edge, the points on it.
    """

    n: int
    ranks: list[list[int]] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    bends: dict[tuple[int, int], list[int]] = field(default_factory=dict)


def layered(
    n: int, edges: Iterable[tuple[int, int]], top: Collection[int] = (), bottom: Collection[int] = ()
) -> Layers:
    """Ranks and order of boxes 0 to n - 1.

    edges: pairs (from, to). top, bottom: boxes that stand on the first and the last rank, alone.
    Raises ValueError if the edges lead in a circle.
    """
    edges = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    rank = _ranks(n, edges, frozenset(top), frozenset(bottom))
    made = Layers(n, [[] for _ in range(max(rank, default=-1) + 1)])
    for one in _first_order(n, edges):
        made.ranks[rank[one]].append(one)
    _bend(made, edges, rank)
    _uncross(made)
    return made


# --- ranks ----------------------------------------------------------------------------------------


def _ranks(n, edges, top, bottom):
    """The longest path from above; then each box as near to what it feeds as it can be, unless more
    comes in than goes out.
    """
    above: list[list[int]] = [[] for _ in range(n)]
    below: list[list[int]] = [[] for _ in range(n)]
    for a, b in edges:
        below[a].append(b)
        above[b].append(a)
    waiting = [len(one) for one in above]
    sorted_, first = [one for one in range(n) if not waiting[one]], 1 if top else 0
    rank = [0 if one in top else first for one in range(n)]
    for one in sorted_:  # it grows
        for b in below[one]:
            rank[b] = max(rank[b], rank[one] + 1)
            waiting[b] -= 1
            if not waiting[b]:
                sorted_.append(b)
    if len(sorted_) < n:
        raise ValueError("layered: the edges lead in a circle")
    last = max((rank[one] for one in range(n) if one not in bottom), default=-1) + 1
    for one in bottom:
        rank[one] = last
    for one in reversed(sorted_):
        if one not in top and one not in bottom and below[one] and len(above[one]) <= len(below[one]):
            rank[one] = min(rank[b] for b in below[one]) - 1
    return rank


# --- order ----------------------------------------------------------------------------------------


def _first_order(n, edges):
    """Boxes as one comes to them from the top, the first edge first."""
    below: list[list[int]] = [[] for _ in range(n)]
    fed = [False] * n
    for a, b in edges:
        below[a].append(b)
        fed[b] = True
    seen: dict[int, None] = {}
    stack = [one for one in reversed(range(n)) if not fed[one]]
    while stack:
        one = stack.pop()
        if one not in seen:
            seen[one] = None
            stack.extend(reversed(below[one]))
    return seen


def _bend(made, edges, rank):
    """Put points where long edges pass a rank."""
    many = sum(max(rank[b] - rank[a] - 1, 0) for a, b in edges) > MOST_BENDS
    points: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], None] = {}
    new = made.n
    for a, b in edges:
        chain = [a]
        for r in () if many else range(rank[a] + 1, rank[b]):
            if (a, r) not in points:
                points[a, r] = new
                made.ranks[r].append(new)
                new += 1
            chain.append(points[a, r])
        made.bends[a, b] = chain[1:]
        chain.append(b)
        if not many or rank[b] == rank[a] + 1:
            links.update(dict.fromkeys(zip(chain, chain[1:])))
    made.links = list(links)


def _uncross(made):
    """Sweeps down and up that put each point at the mean place of its neighbours; the order with
    the fewest crossings stays, and of two with as few the first.
    """
    up, down = _neighbours(made)
    best, fewest = [list(rank) for rank in made.ranks], _crossings(made.ranks, down)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        downward = sweep % 2 == 0
        near = up if downward else down
        order = range(1, len(made.ranks)) if downward else range(len(made.ranks) - 2, -1, -1)
        for r in order:
            fixed = {one: i for i, one in enumerate(made.ranks[r - 1 if downward else r + 1])}
            places = {}
            for i, one in enumerate(made.ranks[r]):
                around = [fixed[other] for other in near[one]]
                places[one] = sum(around) / len(around) if around else float(i)
            made.ranks[r].sort(key=places.__getitem__)
        crossings = _crossings(made.ranks, down)
        if crossings < fewest:
            best, fewest = [list(rank) for rank in made.ranks], crossings
    made.ranks = best


def _neighbours(made):
    points = range(max((one for rank in made.ranks for one in rank), default=-1) + 1)
    up: list[list[int]] = [[] for _ in points]
    down: list[list[int]] = [[] for _ in points]
    for a, b in made.links:
        down[a].append(b)
        up[b].append(a)
    return up, down


def _crossings(ranks, down):
    """How many pairs of links cross."""
    crossed = 0
    for upper, lower in zip(ranks, ranks[1:]):
        place = {one: i for i, one in enumerate(lower)}
        seen: list[int] = []
        for one in upper:
            ends = sorted(place[other] for other in down[one])
            crossed += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return crossed


# --- coordinates ----------------------------------------------------------------------------------


def positions(
    made: Layers,
    sizes: Sequence[tuple[float, float]],
    light: Collection[int] = (),
    shifts: Mapping[tuple[int, int], tuple[float, float]] | None = None,
    gap: tuple[float, float] = GAP,
) -> tuple[list[float], list[float], list[float], float, float]:
    """``(x, y, half, width, height)``: the middles of all points, half the height of the ranks that
    they are on, and how large the whole is.

    sizes: (width, height) of each box. light: boxes that what they feed need not stand below.
    shifts: of links that do not start and end at the middles of their boxes, how far from there.

    In each sweep a rank is placed so that the squares of the distances from where its points' links
    would have them are least, given that no two overlap: pools of neighbours that move together, as
    in isotonic regression. Links between bends weigh most, so that long edges are straight.
    """
    count = max((one for rank in made.ranks for one in rank), default=-1) + 1
    width = [sizes[one][0] if one < made.n else 2.0 for one in range(count)]
    up: list[list[tuple[int, float, float]]] = [[] for _ in range(count)]
    down: list[list[tuple[int, float, float]]] = [[] for _ in range(count)]
    for a, b in made.links:
        weight = 0.05 if a in light else (1.0, 2.0, 8.0)[(a >= made.n) + (b >= made.n)]
        start, end = shifts.get((a, b), (0.0, 0.0)) if shifts else (0.0, 0.0)
        down[a].append((b, weight, end - start))
        up[b].append((a, weight, start - end))
    x = [0.0] * count
    for rank in made.ranks:
        _pack(rank, width, gap[0], x, dict.fromkeys(rank, (0.0, 1.0)))
    for sweep in range(2 * SWEEPS + 1):
        downward = sweep % 2 == 0
        for rank in made.ranks if downward else reversed(made.ranks):
            wanted = {}
            for one in rank:
                near = up[one] if downward else down[one]
                if not near:
                    wanted[one] = (x[one], 0.01)
                    continue
                weight = sum(w for _, w, _ in near)
                wanted[one] = (sum((x[other] + shift) * w for other, w, shift in near) / weight, weight)
            _pack(rank, width, gap[0], x, wanted)
    left = min((x[one] - width[one] / 2 for rank in made.ranks for one in rank), default=0.0)
    x = [one - left for one in x]
    y, half, bottom = [0.0] * count, [0.0] * count, 0.0
    for i, rank in enumerate(made.ranks):
        high = max((sizes[one][1] for one in rank if one < made.n), default=0.0)
        bottom += gap[1] if i else 0.0
        for one in rank:
            y[one], half[one] = bottom + high / 2, high / 2
        bottom += high
    right = max((x[one] + width[one] / 2 for rank in made.ranks for one in rank), default=0.0)
    return x, y, half, right, bottom


def _pack(rank, width, gap, x, wanted):
    """Place a rank: ``wanted`` has for each point where it would stand, and what that weighs."""
    offset, before = 0.0, None
    pools: list[list[float]] = []  # weight, sum of weight * place, number of points
    offsets = []
    for one in rank:
        if before is not None:
            offset += (width[before] + width[one]) / 2 + gap
        before = one
        offsets.append(offset)
        place, weight = wanted[one]
        pools.append([weight, weight * (place - offset), 1])
        while len(pools) > 1 and pools[-2][1] * pools[-1][0] >= pools[-1][1] * pools[-2][0]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last)]
    place = (total / weight for weight, total, number in pools for _ in range(int(number)))
    for one, offset, start in zip(rank, offsets, place):
        x[one] = start + offset
