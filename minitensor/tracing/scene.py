"""Where boxes and edges stand, some boxes open and others closed. ``scene.js`` does the same steps
in a browser, where boxes open and close.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from minitensor.tracing.boxes import Box
from minitensor.tracing.layout import positions
from minitensor.tracing.record import Node

__all__ = ["Drawn", "Scene", "scene", "shape_text", "title_of"]

HEAD, PAD, PORT = 26.0, 14.0, 8.0  # of an open box: its head, the room around what is in it, the width of an in or out
HEIGHT = 56.0  # of a closed box or a node: name, value, gradient
LETTERS = 7.4, 6.7  # widths of one in a name, in a line of numbers
LEAST = 122.0  # width of a closed box or a node


@dataclass
class Drawn:
    """A node, or a box that is closed or open, in the box ``around``. x, y: its left upper
    corner.
    """

    what: Box | int
    around: Box
    x: float
    y: float
    width: float
    height: float
    is_open: bool = False


@dataclass
class Scene:
    """drawn: boxes before what is in them. wires: the node whose value goes along an edge, and the
    points that the edge goes through, from above.
    """

    width: float
    height: float
    drawn: list[Drawn] = field(default_factory=list)
    wires: list[tuple[int, list[tuple[float, float]]]] = field(default_factory=list)


def shape_text(shape: tuple[int, ...]) -> str:
    """As "8×16×128"; of a scalar ""."""
    return "×".join(map(str, shape))


def title_of(node: Node, around: Box) -> str:
    """What a node is called in a box: its op, or the name of a leaf below the box's path."""
    inside = f"{around.path}."
    return (node.name.removeprefix(inside) if around.path else node.name) or f"{node.kind} #{node.id}"


def scene(root: Box, opened: Collection[str], nodes: Mapping[int, Node]) -> Scene:
    """The drawing of ``root`` with the boxes open whose keys are in ``opened``."""
    plan = _Plan(root, opened, nodes)
    made = Scene(plan.width, plan.height)
    plan.put(made, 0.0, 0.0)
    return made


class _Plan:
    """The inside of an open box."""

    def __init__(self, box, opened, nodes):
        self.box, self.n = box, len(box.children)
        self.head = 0.0 if box.parent is None else HEAD - PAD if box.ins else HEAD  # with ins, a gap is below it
        self.pad = PAD if box.parent is not None else 0.0
        self.width = self.height = 0.0
        self.inner: dict[int, _Plan] = {}
        self.sizes: list[tuple[float, float]] = []
        for i, child in enumerate(box.children):
            if isinstance(child, Box) and child.key in opened:
                self.inner[i] = _Plan(child, opened, nodes)
                self.sizes.append((self.inner[i].width, self.inner[i].height))
            else:
                self.sizes.append(_closed_size(child, box, nodes))
        self.sizes += [(PORT, 0.0)] * (len(box.ins) + len(box.outs))
        light = {
            i for i, child in enumerate(box.children) if not isinstance(child, Box) and nodes[child].kind == "leaf"
        }
        self.x, self.y, self.half, width, height = positions(box.layers, self.sizes, light, self._shifts())
        title = len(box.name) * LETTERS[0] + 40.0 if box.parent is not None else 0.0
        wide = max(width, title - 2 * self.pad)
        self.x = [one + (wide - width) / 2 + self.pad for one in self.x]
        self.y = [one + self.head for one in self.y]
        self.width, self.height = wide + 2 * self.pad, height + self.head + (0.0 if box.outs else self.pad)
        for i in range(len(box.ins)):
            self.y[self.n + i] = 0.0
        for i in range(len(box.outs)):
            self.y[self.n + len(box.ins) + i] = self.height

    def port(self, value, out):
        """Where an edge meets the border, from the left upper corner."""
        found = self.box.outs if out else self.box.ins
        return self.x[self.n + (len(self.box.ins) if out else 0) + found.index(value)]

    def _shifts(self) -> dict[tuple[int, int], tuple[float, float]]:
        """By link, how far from the middles of its boxes it ends: at the ports of open ones."""
        shifts: dict[tuple[int, int], tuple[float, float]] = {}
        for a, b, value in self.box.edges:
            chain = [a, *self.box.layers.bends.get((a, b), ()), b]
            if a in self.inner:
                _, end = shifts.get((a, chain[1]), (0.0, 0.0))
                shifts[a, chain[1]] = self.inner[a].port(value, True) - self.sizes[a][0] / 2, end
            if b in self.inner:
                start, _ = shifts.get((chain[-2], b), (0.0, 0.0))
                shifts[chain[-2], b] = start, self.inner[b].port(value, False) - self.sizes[b][0] / 2
        return shifts

    def put(self, made, left, top):
        """Draw it, its left upper corner at (left, top)."""
        corners = [
            (left + x - width / 2, top + y - height / 2) for x, y, (width, height) in zip(self.x, self.y, self.sizes)
        ]
        seen: dict[tuple[int, int], None] = {}
        for a, b, value in self.box.edges:
            if a in self.inner or b in self.inner or (a, b) not in seen:  # closed boxes: one edge stands for all
                seen[a, b] = None
                made.wires.append((value, self._wire(a, b, value, left, top, corners)))
        for i, child in enumerate(self.box.children):
            drawn = Drawn(child, self.box, *corners[i], *self.sizes[i], is_open=i in self.inner)
            made.drawn.append(drawn)
            if i in self.inner:
                self.inner[i].put(made, *corners[i])

    def _wire(self, a, b, value, left, top, corners):
        points = []
        for one in (a, *self.box.layers.bends.get((a, b), ()), b):
            x, y, half = left + self.x[one], top + self.y[one], self.half[one]
            points += [(x, y)] if one in (a, b) else [(x, y - half), (x, y + half)]  # upright along a rank
        if a < self.n:
            x = corners[a][0] + self.inner[a].port(value, True) if a in self.inner else points[0][0]
            points[0] = x, corners[a][1] + self.sizes[a][1]
        if b < self.n:
            x = corners[b][0] + self.inner[b].port(value, False) if b in self.inner else points[-1][0] + self._fan(a, b)
            points[-1] = x, corners[b][1]
        return points

    def _fan(self, a, b):
        """How far from the middle of the box ``b`` the edge from ``a`` ends: side by side, by where
        they come from.
        """
        come = {}
        for from_, to, _ in self.box.edges:
            if to == b:
                bends = self.box.layers.bends.get((from_, b), ())
                come[from_] = self.x[bends[-1] if bends else from_]
        order = sorted(come, key=lambda one: (come[one], one))
        step = min(20.0, (self.sizes[b][0] - 24.0) / max(len(order), 1))
        return (order.index(a) - (len(order) - 1) / 2) * step


def _closed_size(what, around, nodes):
    end = what.end() if isinstance(what, Box) else what
    name = what.name if isinstance(what, Box) else title_of(nodes[what], around)
    shape = shape_text(nodes[end].shape) if end in nodes else ""
    extra = 34.0 if isinstance(what, Box) or nodes[what].kind in ("fused", "checkpoint") else 20.0
    return max(LEAST, len(name) * LETTERS[0] + extra, len(shape) * LETTERS[1] + 50.0), HEIGHT
