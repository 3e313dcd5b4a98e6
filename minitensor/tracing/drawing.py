"""The graph of a trace as a picture: SVG for a notebook, a tree of text for a terminal."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from minitensor.tracing.boxes import Box, boxes, first_sight, view
from minitensor.tracing.record import Node, Value
from minitensor.tracing.scene import Drawn, scene, shape_text, title_of

__all__ = ["Drawing", "drawing", "number_text"]

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = 100
STYLE = """
.mt-graph { --ink: #1c2430; --soft: #5a6472; --paper: #fff; --panel: #f5f6f8; --line: #8a94a3; --value: #1f4e8c;
  --grad: #a8480f; color: var(--ink); background: var(--paper); max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) { .mt-graph { --ink: #e6e9ee; --soft: #a4aebb; --paper: #14181e;
  --panel: #1d232b; --line: #6f7b8b; --value: #8db8ee; --grad: #f0a374 } }
.mt-graph text { font: 12px ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; fill: var(--ink) }
.mt-graph .name { font-weight: 600 }
.mt-graph .open .name { paint-order: stroke; stroke: var(--panel); stroke-width: 5px; stroke-linejoin: round }
.mt-graph .value { fill: var(--value); font-size: 11px }
.mt-graph .grad { fill: var(--grad); font-size: 11px }
.mt-graph rect { fill: var(--paper); stroke: var(--line); stroke-width: 1.2 }
.mt-graph .leaf rect { stroke-dasharray: 4 3 }
.mt-graph .open > rect, .mt-graph .constant rect { fill: var(--panel) }
.mt-graph path { fill: none; stroke: var(--line); stroke-width: 1.3 }
"""


def drawing(trace: Any, opened: bool = False) -> Drawing:
    """The graph of a trace: of the forward pass, or of what the backward passes came to if that is
    all there is.

    opened: whether all boxes are open; default: as many levels as show at most 40.
    """
    nodes = view(trace.nodes) or dict(trace.nodes)
    gradients: dict[int, Value] = {}
    for one in trace.passes[:1]:
        gradients.update((step.node, step.gradient) for step in one.steps)
    return Drawing(nodes, gradients, opened)


class Drawing:
    """A drawing of a graph: SVG for a notebook, text for ``print``."""

    def __init__(self, nodes: Mapping[int, Node], gradients: Mapping[int, Value], opened: bool) -> None:
        self._nodes, self._gradients = nodes, gradients
        self._root = boxes(nodes)
        self._opened = _keys(self._root) if opened else first_sight(self._root)

    @property
    def svg(self) -> str:
        """The picture: one SVG, which loads nothing and needs no program."""
        drawn = scene(self._root, self._opened, self._nodes)
        width, height = drawn.width + 24, drawn.height + 24
        said = f"graph of {len(self._nodes)} nodes"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="mt-graph" role="img" aria-label="{said}" '
                f'width="{width:.0f}" height="{height:.0f}" viewBox="-12 -12 {width:.1f} {height:.1f}">',
                f"<style>{STYLE}</style>",
                f'<rect x="-12" y="-12" width="{width:.1f}" height="{height:.1f}" style="stroke: none"/>',
                *(self._box(one) for one in drawn.drawn if one.is_open),
                *(f'<path d="{curve(points)}"/>' for _, points in drawn.wires),
                *(self._box(one) for one in drawn.drawn if not one.is_open),
                "</svg>",
            ]
        )

    def _repr_svg_(self) -> str:
        return self.svg

    def _box(self, one: Drawn) -> str:
        box = one.what if isinstance(one.what, Box) else None
        end = box.end() if box is not None else one.what
        node = self._nodes.get(end) if isinstance(end, int) else None
        kind = ("open" if one.is_open else "box") if box is not None or node is None else node.kind
        name = box.name if box is not None else title_of(node, one.around) if node is not None else ""
        x, y = one.x + (12 if one.is_open else one.width / 2), one.y + 18
        anchor = "start" if one.is_open else "middle"
        lines = [f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(name)}</text>']
        if node is not None and not one.is_open:
            gradient = self._gradients.get(node.id)
            value = number_text(node.value) or shape_text(node.shape)
            lines.append(f'<text class="value" x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{value}</text>')
            if gradient is not None:
                said = f"grad {number_text(gradient)}" if gradient.size == 1 else f"norm {gradient.norm:.3g}"
                lines.append(f'<text class="grad" x="{x:.1f}" y="{y + 31:.1f}" text-anchor="middle">{said}</text>')
        second = ""
        if kind in ("box", "fused", "checkpoint"):  # there is something inside
            second = _rect(one.x + 3, one.y + 3, one.width, one.height)
        return f'<g class="{kind}">{second}{_rect(one.x, one.y, one.width, one.height)}{"".join(lines)}</g>'

    def __str__(self) -> str:
        lines: list[str] = []
        self._tree(self._root, "", lines)
        return "\n".join(line if len(line) <= COLUMNS else line[: COLUMNS - 3] + "..." for line in lines) or "no nodes"

    def __repr__(self) -> str:
        return f"<graph of {len(self._nodes)} nodes>"

    def _tree(self, box, indent, lines):
        for i, child in enumerate(box.children):
            last = i == len(box.children) - 1
            start = indent + ("└ " if last else "├ ")
            if not isinstance(child, Box):
                lines.append(start + self._line(self._nodes[child]))
                continue
            count = len(child.nodes())
            lines.append(f"{start}{child.name}{'' if child.key in self._opened else f'  ({count} nodes)'}")
            if child.key in self._opened:
                self._tree(child, indent + ("  " if last else "│ "), lines)

    def _line(self, node):
        given = ", ".join(
            f"{one.name}=#{one.node}" if one.node is not None else f"{one.name}={_short(one.value)}"
            for one in node.inputs
        )
        value = number_text(node.value) or (f"({shape_text(node.shape)})" if node.shape else "?")
        said = f"#{node.id} {node.name or node.kind}{f'({given})' if node.inputs else ''} = {value}"
        gradient = self._gradients.get(node.id)
        if gradient is not None:
            said += f"  grad {number_text(gradient) or f'|{gradient.norm:.3g}|'}"
        return said


def number_text(value: Value | None) -> str:
    """A scalar as text; of other arrays ""."""
    return f"{value.array.reshape(())[()]:.5g}" if value is not None and value.size == 1 else ""


def curve(points: list[tuple[float, float]]) -> str:
    """The path of an edge through points, upright at each of them."""
    (x, y), *others = points
    path = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in others:
        middle = (y + to_y) / 2
        path.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(path)


def _rect(x, y, width, height):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'


def _short(value):
    if isinstance(value, Value):
        return number_text(value) or f"({shape_text(value.shape)})"
    return str(value)


def _keys(box):
    return {box.key}.union(*map(_keys, box.inner()))
