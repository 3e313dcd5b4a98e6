"""The beam as a tree: what `minitensor.models.search.beam_search` kept, finished and dropped.

The search runs as it always does; the tree is what it asked the model, step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minitensor.models.explain.capture import Array, array_of
from minitensor.models.search import beam_search, penalty

__all__ = ["Beam", "Node", "search_tree"]


@dataclass
class Node:
    """A hypothesis: ``parent`` is the number of the node that it continues, -1 for the start.

    kind: "kept" lives on, "done" ended here, "dropped" was among the next best. log_probability is
    of the whole hypothesis, ``score`` that divided by the penalty of its length.
    """

    token: int
    parent: int
    depth: int
    log_probability: float
    score: float
    kind: str


@dataclass
class Beam:
    """All hypotheses of a search, and what it answered, the best first."""

    nodes: list[Node]
    found: list[list[int]]
    size: int
    length_penalty: float

    def path(self, node: int) -> list[int]:
        """The numbers of the nodes from the first token to this one."""
        numbers = []
        while node >= 0:
            numbers.append(node)
            node = self.nodes[node].parent
        return numbers[::-1]

    def best(self) -> list[int]:
        """The nodes of the answer, its stop token included if it has one."""
        done = [number for number, node in enumerate(self.nodes) if node.kind == "done"]
        for number in [*done, *range(len(self.nodes))]:
            path = self.path(number)
            ended = self.nodes[number].kind == "done"
            if [self.nodes[n].token for n in (path[:-1] if ended else path)] == self.found[0]:
                return path
        return []


class _Recorder:
    """A state that tells which rows lived on."""

    def __init__(self, state: Any) -> None:
        self.state, self.rows = state, np.zeros(1, dtype=int)

    def reorder(self, rows: Array) -> None:
        self.rows = np.asarray(rows)
        self.state.reorder(rows)


def search_tree(
    step: Callable[..., Any],
    state: Any,
    start_id: int,
    stops: tuple[int, ...],
    limit: int,
    size: int,
    alpha: float,
    penalty: Callable[..., Any] = penalty,
) -> Beam:
    """Search with a beam of ``size``, and keep what happened."""
    recorder, asked = _Recorder(state), []

    def asking(ids, state):
        found = array_of(step(ids, state.state)).astype(np.float64)
        asked.append((np.array(ids), state.rows, found))
        return found

    answers = beam_search(asking, recorder, [start_id], stops, limit, size, alpha, size, penalty)[0]
    nodes: list[Node] = []
    divisor = partial(penalty, alpha=alpha)  # of the score of a hypothesis, by its length
    rows, scores = [-1], np.zeros(1)  # the node of each live row
    for depth, (ids, parents, found) in enumerate(asked):
        if depth:
            kept = list(zip(parents.tolist(), ids.tolist(), strict=True))
            rows, scores = _keep(nodes, kept, rows, scores, asked[depth - 1][2], depth, divisor)
        _continue(nodes, rows, scores, found, depth + 1, stops, size, divisor)
    if len(asked) == limit:  # whatever was live then is an unfinished answer
        live = [node for node in nodes if node.depth == limit and node.kind == "dropped" and node.token not in stops]
        for node in live[:size]:
            node.kind = "kept"
    return Beam(_without_kept(nodes), answers, size, alpha)


def _continue(nodes, rows, scores, found, depth, stops, size, divisor):
    """The best continuations of all live rows, not yet known to live on."""
    totals = (scores[:, None] + found).reshape(-1)
    order = np.argsort(-totals, kind="stable")[: 2 * size]
    for rank, place in enumerate(order):
        row, token = divmod(int(place), found.shape[1])
        done = token in stops and rank < size
        if np.isfinite(totals[place]):
            value = float(totals[place])
            kind = "done" if done else "dropped"
            nodes.append(Node(token, rows[row], depth, value, float(value / divisor(depth)), kind))


def _keep(nodes, kept, rows, scores, found, depth, divisor):
    """Mark what lived on; returns the node and the score of each row."""
    numbers, values = [], []
    for row, token in kept:
        value = float(scores[row] + found[row, token])
        number = next(
            (
                n
                for n, node in enumerate(nodes)
                if (node.depth, node.parent, node.token) == (depth, rows[row], token) and node.kind != "done"
            ),
            None,
        )
        if number is None:
            number = len(nodes)
            nodes.append(Node(token, rows[row], depth, value, float(value / divisor(depth)), "kept"))
        nodes[number].kind = "kept"
        numbers.append(number)
        values.append(value)
    return numbers, np.array(values)


def _without_kept(nodes):
    """The nodes; of what was dropped, the two best of each step."""
    most: dict[int, int] = {}
    keep = []
    for number, node in enumerate(nodes):
        if node.kind == "dropped":
            most[node.depth] = most.get(node.depth, 0) + 1
        if node.kind != "dropped" or most[node.depth] <= 2:
            keep.append(number)
    new = {old: place for place, old in enumerate(keep)} | {-1: -1}
    return [Node(n.token, new[n.parent], n.depth, n.log_probability, n.score, n.kind) for n in (nodes[k] for k in keep)]
