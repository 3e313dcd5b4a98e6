"""What a trace has seen, as plain data: private copies of arrays on the host, numbers, text.

Nothing here refers to the graph, so a trace outlives it and keeps nothing of it alive. Nodes are
known by a number, ``Node.id``: the creation number of the engine's node, or a negative number for
what has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minitensor.backend import cpu, np

__all__ = ["SMALL", "Arrival", "Graph", "Input", "Line", "Node", "Pass", "Record", "Scattered", "Step", "Value"]

SMALL = 64  # elements: arrays that a page shows in full


@dataclass(frozen=True)
class Line:
    """A place in somebody's source. text: the line itself; of a rule or a function, all its
    lines.
    """

    path: str
    number: int
    text: str

    @property
    def file(self) -> str:
        """The last part of the path."""
        return self.path.replace("\\", "/").rpartition("/")[2]


class Value:
    """An array as it was at one moment. ``array``: a private copy on the host, in its own dtype."""

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray) -> None:
        self._array: Any = array

    @property
    def array(self) -> np.ndarray:
        """The elements."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._array.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def is_small(self) -> bool:
        """Whether it has at most ``SMALL`` elements."""
        return self.size <= SMALL

    @property
    def norm(self) -> float:
        """Root of the sum of squares; NaN and infinity keep their meaning, and 1e200 does not
        overflow.
        """
        array = self.array
        if not array.size:
            return 0.0
        magnitudes = np.abs(array.astype(np.float64)).ravel()
        greatest = float(magnitudes.max())
        if greatest == 0.0 or not np.isfinite(greatest):
            return greatest
        return greatest * float(np.sqrt(np.square(magnitudes / greatest).sum()))

    def __repr__(self) -> str:
        return f"<Value {self.shape} {self.dtype}>"


class Scattered(Value):
    """Zeros of ``shape`` with ``values`` added at ``index``: the gradient of indexing. It is
    written out when ``array`` is read.
    """

    __slots__ = ("_dtype", "_shape", "index", "values")

    def __init__(self, values: Value, index: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.values, self.index, self._shape, self._dtype = values, index, shape, dtype
        self._array = None

    @property
    def array(self) -> np.ndarray:
        """The elements, zeros included."""
        if self._array is None:
            out = np.zeros(self._shape, dtype=self._dtype)
            self.add_to(out)
            self._array = out
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._dtype

    def add_to(self, out: np.ndarray) -> None:
        """``out[index] += values``, element by element as the engine does it."""
        cpu.add_at(out, self.index, self.values.array)


@dataclass(slots=True)
class Input:
    """One input of an op. name: of the parameter, such as "x" or "xs[1]". node: the id of the node
    that made it; None for a constant or a plain number. value: what it was then; a plain number as
    such; None if it is not known.
    """

    name: str
    node: int | None
    value: Value | bool | int | float | None


@dataclass(slots=True)
class Node:
    """An op that ran, or what it ran on.

    id: see the head of this file. kind: "leaf"; "op"; "fused", an op with a kernel beside its
    definition; "checkpoint"; or "constant": the result of an op that needed no gradient. name: of
    the op; of a leaf its parameter's name, or "". module: the path of the module that called it,
    "" outside. line: where the user's code called it. keywords: those that were given, as text.
    value: None if it is not known; of a leaf that an optimiser writes to, as it was met last: see
    ``Step.value``. shape and dtype: of the value; the gradient has the same, but
    float32 for values of 16 bits. made_by: ``(pass, step, rule)``, both counted from 0, if a
    backward pass computed it: a recorded one (``create_graph=True``), or a checkpoint that ran
    again. calls: ``(path, number)`` of the calls of modules around it, the innermost first; each
    call has a number of its own. definition: the inside of a fused op or a checkpoint, once
    ``open`` was asked for it.
    """

    id: int
    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    module: str = ""
    line: Line | None = None
    inputs: list[Input] = field(default_factory=list)
    keywords: dict[str, str] = field(default_factory=dict)
    value: Value | None = None
    made_by: tuple[int, int, str] | None = None
    calls: tuple[tuple[str, int], ...] = ()
    definition: Graph | None = None


@dataclass
class Graph:
    """nodes: by id, inputs before what was made of them. outputs: ids of those that no other op
    took.
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    outputs: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Arrival:
    """What the gradient of ``child`` contributes to that of ``parent``.

    parent, child: ids; child is None for the gradient that a pass starts from. input: the name of
    the child's input that it is the gradient of. rule: the source of the rule that computed it,
    None if it cannot be read. raw_shape: as the rule returned it; summed_axes: its axes that were
    then summed over, since the input was repeated along them. scattered: whether the rule gave
    values and the places to add them at (``mt.Scatter``). value: as it was added, in shape and
    dtype of the parent. nth: 1 for the first to arrive at the parent in this pass. before: the
    arrival before this one at the parent.
    """

    parent: int
    child: int | None
    input: str
    rule: Line | None
    raw_shape: tuple[int, ...]
    summed_axes: tuple[int, ...]
    scattered: bool
    value: Value
    nth: int = 1
    before: Arrival | None = field(default=None, repr=False)
    _total: Value | None = field(default=None, repr=False)

    @property
    def total(self) -> Value:
        """The sum of all that has arrived at the parent so far, bit for bit as the engine had
        it.
        """
        waiting, one = [], self
        while one._total is None and one.before is not None:
            waiting.append(one)
            one = one.before
        if one._total is None:
            one._total = one.value
        for later in reversed(waiting):
            assert later.before is not None
            later._total = Value(later.added_to(later.before.total.array))
        assert self._total is not None
        return self._total

    def added_to(self, before: np.ndarray) -> np.ndarray:
        """``before + value``, a new array. Values for places (see ``scattered``) are added one by
        one, which rounds otherwise than adding up ``value.array``.
        """
        if not isinstance(self.value, Scattered):
            return np.asarray(before + self.value.array)
        out = before.copy()
        self.value.add_to(out)
        return out


@dataclass(slots=True)
class Step:
    """A node that a pass has come to.

    gradient: complete, after hooks. value: of the node at that time, None if it is not known.
    hooked: whether a hook was called; before_hooks is then what it
    was given. arrivals: the contributions to the parents, in the order in which they were added.
    freed: names of what the node had saved and has let go. deposited: what was added to ``.grad``,
    and grad: what is there now; both None if nothing was deposited. Of values of 16 bits both are
    float32, and ``tensor.grad`` gives the latter rounded. inside: what a checkpoint ran
    again, or a recorded pass through a fused op its definition; the nodes of a recorded pass stand
    in the trace's own graph too.
    """

    node: int
    gradient: Value
    value: Value | None = None
    hooked: bool = False
    before_hooks: Value | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)
    deposited: Value | None = None
    grad: Value | None = None
    inside: Record | None = None


@dataclass
class Pass:
    """A backward pass. number: counted from 0. steps: in the order of the pass. roots: where it
    started, and with which gradients; seeds: the same as arrivals, as a root may be an input of
    another root. recorded: ``create_graph=True``. asked: the ids of the inputs of ``mt.grad``; None
    for ``backward``, which deposits. finished: False if an error ended it.
    """

    number: int
    recorded: bool = False
    roots: list[tuple[int, Value]] = field(default_factory=list)
    seeds: list[Arrival] = field(default_factory=list)
    asked: list[int] | None = None
    steps: list[Step] = field(default_factory=list)
    finished: bool = False

    def step_of(self, node: int) -> Step | None:
        """The step at a node; None if the pass did not come there."""
        return next((step for step in self.steps if step.node == node), None)

    def arrivals_at(self, node: int) -> list[Arrival]:
        """The contributions to the gradient of a node, in the order in which they were added."""
        found = [arrival for step in self.steps for arrival in step.arrivals if arrival.parent == node]
        return [*(arrival for arrival in self.seeds if arrival.parent == node), *found]


@dataclass
class Record:
    """All that was seen: the ops, and the passes over them. note: what is to be said of them, such
    as that they are the inside of an op.
    """

    graph: Graph = field(default_factory=Graph)
    passes: list[Pass] = field(default_factory=list)
    note: str = ""

    def all_nodes(self) -> list[Node]:
        """The nodes of the graph and of all that is inside it, each once."""
        found = {id(node): node for graph in self._graphs() for node in graph.nodes.values()}
        for node in list(found.values()):
            if node.definition is not None:
                found.update((id(one), one) for one in node.definition.nodes.values())
        return list(found.values())

    def settle(self) -> None:
        """Bring all nodes into the order in which they were made, and note those that nobody
        took.
        """
        for graph in self._graphs():
            places, newest = {}, 0
            for number in graph.nodes:  # what has no node stands behind the newest that was there
                newest = max(newest, number)
                places[number] = number if number > 0 else newest
            graph.nodes = {number: graph.nodes[number] for number in sorted(places, key=places.__getitem__)}
            taken = {one.node for node in graph.nodes.values() for one in node.inputs}
            graph.outputs = [number for number in graph.nodes if number not in taken]

    def _graphs(self) -> list[Graph]:
        """The graph, and those of what ran inside a step."""
        found = [self.graph]
        for one in self.passes:
            for step in one.steps:
                if step.inside is not None:
                    found += [graph for graph in step.inside._graphs() if all(graph is not known for known in found)]
        return found
