"""A trace as JSON can say it, for the page: nodes, passes, boxes, and three lists that all refer
to: values, rules, lines of source. Each thing is said once, so a page of a large step stays small.
"""

from __future__ import annotations

import linecache
from collections import deque
from typing import Any

from minitensor.backend import is_narrow, np
from minitensor.pages import thumbnail
from minitensor.tracing.boxes import Box, boxes, first_sight, view
from minitensor.tracing.record import Line, Value
from minitensor.tracing.table import place_of
from minitensor.tracing.telling import telling

__all__ = ["told"]

PICTURE = 12  # rows and columns of the picture of a large array, at most
AROUND = 12  # lines of source before and after one that ran
INSIDE = 1500  # nodes within fused ops and checkpoints, at most; what is beyond is not in the page


def told(trace: Any) -> dict[str, Any]:
    """``{"traces", "values", "rules", "files"}``; the first trace is the whole, the others are what
    is inside its nodes.
    """
    teller = Teller()
    waiting, room = deque([(trace, teller.trace(trace))]), INSIDE
    traces = [waiting[0][1]]
    while waiting:
        outer, said = waiting.popleft()
        nodes = sorted(outer.nodes.items(), key=lambda item: item[1].made_by is not None)  # those of passes last
        for one, node in nodes:
            if node.kind not in ("fused", "checkpoint") or room <= 0:
                continue
            try:
                inner = outer.open(one)
            except ValueError:  # its inputs are not known
                continue
            said["inside"][str(one)] = len(traces)
            traces.append(teller.trace(inner))
            waiting.append((inner, traces[-1]))
            room -= len(inner.nodes)
    return {"traces": traces, "values": teller.values, "rules": teller.rules, "files": teller.files()}


class Teller:
    """Collects what has been said."""

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.rules: list[list[Any]] = []
        self._kept: list[Value] = []  # so that no id is used twice
        self._value_of: dict[Any, int] = {}
        self._rule_of: dict[Line, int] = {}
        self._file_of: dict[str, int] = {}
        self._lines: dict[str, dict[int, str]] = {}

    # --- a trace ----------------------------------------------------------------------------------

    def trace(self, trace: Any) -> dict[str, Any]:
        """One trace; what is inside its nodes is entered under "inside" by the caller."""
        nodes, passes = trace.nodes, trace.passes
        self.nodes = nodes
        views = [view(nodes)]
        shown = []
        names = {(one.number, i): nodes[step.node].name or "leaf" for one in passes for i, step in enumerate(one.steps)}
        for one in passes:
            ends = [step.node for step in one.steps] + [root for root, _ in one.roots]
            if all(end in views[0] for end in ends):
                shown.append(0)
            else:
                shown.append(len(views))
                views.append(view(nodes, ends))
        drawn = [boxes(part, names) for part in views]
        wanted = set().union(*views)
        return {
            "nodes": [self.node(node) for one, node in nodes.items() if one in wanted],
            "passes": [self.run(one) for one in passes],
            "views": [{"box": _box(root), "open": sorted(first_sight(root))} for root in drawn],
            "shown": shown,
            "lines": any(node.line is not None for node in nodes.values()),
            "inside": {},
            "note": trace.record.note,
        }

    def node(self, node):
        """A node, with the inputs that are no nodes in full."""
        return _bare(
            id=node.id, kind=node.kind, name=node.name, module=node.module or None, line=self.line(node.line),
            inputs=[[one.name, one.node, self.given(one.value)] for one in node.inputs],
            keywords=node.keywords, value=self.value(node.value),
            shape=None if node.value is not None or node.shape == () else list(node.shape),
            by=None if node.made_by is None else [node.made_by[0], node.made_by[1]],
        )  # fmt: skip

    def run(self, one):
        """A pass."""
        return {
            "recorded": one.recorded, "grad": one.asked is not None, "finished": one.finished,
            "seeds": [[root, self.value(value)] for root, value in one.roots],
            "steps": [self.step(step) for step in one.steps],
        }  # fmt: skip

    def step(self, step):
        """A step, with its arrivals."""
        return _bare(
            node=step.node, gradient=self.value(step.gradient), was=self.value(step.value), hooked=step.hooked,
            before=self.value(step.before_hooks), freed=step.freed,
            deposited=self.value(step.deposited), grad=self.value(step.grad), rounded=self.rounded(step),
            arrivals=[
                _bare(
                    to=one.parent, input=one.input, rule=self.rule(one.rule), says=self.says(one),
                    scattered=one.scattered,
                    raw=list(one.raw_shape) if one.summed_axes else None, axes=list(one.summed_axes),
                    value=self.value(one.value), nth=one.nth, total=self.value(one.total) if one.nth > 1 else None,
                )
                for one in step.arrivals
            ],
        )  # fmt: skip

    def rounded(self, step):
        """The dtype to which ``tensor.grad`` rounds what was deposited; None if it does not."""
        node = self.nodes.get(step.node)
        return str(node.dtype) if step.deposited is not None and node is not None and is_narrow(node.dtype) else None

    # --- values -----------------------------------------------------------------------------------

    def given(self, value):
        """What an input was: a number as text, an array by its place among the values."""
        return self.value(value) if isinstance(value, Value) else None if value is None else str(value)

    def value(self, value):
        """The place of a value among all; None for None. Equal ones have one place."""
        if value is None:
            return None
        found = self._value_of.get(id(value))
        if found is None:
            array = value.array
            content = array.shape, str(array.dtype), array.tobytes()
            found = self._value_of.get(content)
            if found is None:
                found = self._value_of[content] = len(self.values)
                self.values.append(_said(value))
            self._kept.append(value)
            self._value_of[id(value)] = found
        return found

    # --- source -----------------------------------------------------------------------------------

    def rule(self, line):
        """The place of a rule's source among all."""
        if line is None:
            return None
        if line not in self._rule_of:
            self._rule_of[line] = len(self.rules)
            self.rules.append([line.file, line.number, line.text])
        return self._rule_of[line]

    def says(self, arrival):
        """``[line, code]``: of a rule of several lines the one that says most."""
        rule = arrival.rule
        if rule is None or "\n" not in rule.text:
            return None
        line, code = telling(rule.text, *place_of(arrival, self.nodes))
        return [rule.number + line, code]

    def line(self, line):
        """``[file, number]`` of a line of the user's."""
        if line is None:
            return None
        self._lines.setdefault(line.path, {})[line.number] = line.text
        return [self._file_of.setdefault(line.path, len(self._file_of)), line.number]

    def files(self):
        """The lines that ran and those around: ``{"name", "parts": [[first number, lines]]}``."""
        return [self._file(path) for path in self._file_of]

    def _file(self, path):
        ran = self._lines[path]
        text = [one.rstrip("\r\n") for one in linecache.getlines(path)]
        if any(number > len(text) or text[number - 1].strip() != said for number, said in ran.items()):
            text = []  # it has changed since
        shown = {number: said for number, said in ran.items()}
        for number in ran if text else ():
            for near in range(max(number - AROUND, 1), min(number + AROUND, len(text)) + 1):
                shown[near] = text[near - 1]
        parts: list[list[Any]] = []
        for number in sorted(shown):
            if not parts or parts[-1][0] + len(parts[-1][1]) != number:
                parts.append([number, []])
            parts[-1][1].append(shown[number])
        return {"name": path.replace("\\", "/").rpartition("/")[2], "parts": parts}


def _bare(**said):
    """A dict without what says nothing: None, False, empty."""
    return {name: value for name, value in said.items() if value not in (None, False, [], {}) or value.__class__ is int}


def _said(value):
    """A value: a small one in full, of another the norm and a picture."""
    array = value.array
    said = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if value.is_small:
        return {**said, "all": [_number(one) for one in array.ravel()]}
    picture = thumbnail(array, PICTURE)
    picture["low"], picture["high"] = (float(f"{picture[end]:.4g}") for end in ("low", "high"))
    return {**said, "norm": _number(np.float64(f"{value.norm:.6g}")), "picture": picture}


def _number(one):
    """A number in the fewest digits that tell it from its neighbours; text where JSON has none."""
    if one.dtype.kind in "biu":
        return one.item()
    number = float(str(one)) if np.isfinite(one) else float(one)
    return (
        number
        if np.isfinite(number)
        else {1: "Infinity", -1: "-Infinity"}.get(int(np.sign(number)) if number == number else 0, "NaN")
    )


def _box(box: Box):
    """A box and all that is in it. Its links are not told: they are the pieces of its edges."""
    return _bare(
        name=box.name, path=box.path, ins=box.ins, outs=box.outs, end=box.end(),
        children=[_box(child) if isinstance(child, Box) else child for child in box.children],
        ranks=box.layers.ranks,
        edges=[[a, b, value, *box.layers.bends.get((a, b), ())] for a, b, value in box.edges],
    )  # fmt: skip
