"""What a node of the graph tells about itself: its rules, the names of its inputs, and the values
that it has saved.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any

from minitensor.backend import is_array, is_narrow, memory
from minitensor.engine.autograd import raw
from minitensor.engine.pullback import RulePullback, WidePullback
from minitensor.engine.tensor import Tensor
from minitensor.tracing.sources import code_of

__all__ = [
    "Call",
    "NO_RULE",
    "Plan",
    "Texts",
    "freed_names",
    "input_names",
    "kept",
    "keyword_texts",
    "numbers_of",
    "plan_of",
    "saved_inputs",
    "saved_output",
]

COMMON = (RulePullback, WidePullback)  # one of these says the same of all its nodes
NO_RULE: Any = False
LONGEST = 40  # characters of a keyword's value
_texts = reprlib.Repr()
_texts.maxother = _texts.maxstring = LONGEST


@dataclass(frozen=True)
class Call:
    """A fused op with what it was given, to be run again. inputs: Values, numbers and None."""

    op: Any
    inputs: list[Any]
    keywords: dict[str, Any]


def kept(op, params):
    """Keywords for another call; arrays among those of the library's own ops are theirs."""
    return memory.private(dict(params)) if op.foreign else dict(params)


class Texts(dict):
    """Keywords whose values are text already."""


class Plan:
    """What is called at a node, as far as it can be told before: for each parent the code of its
    rule, None if it has no source, ``NO_RULE`` where there is none.

    numbers: which inputs the parents are. names: of the inputs, by number. freed: of what is saved.
    """

    __slots__ = ("codes", "freed", "names", "numbers", "pullback")

    def __init__(self, node, recorded):
        self.pullback = node.pullback if node.pullback.__class__ in COMMON else None  # so that its id is its own
        functions = _functions_of(node, recorded)
        self.codes = [NO_RULE if function is None else code_of(function) for function in functions]
        self.numbers, self.names, self.freed = numbers_of(node), input_names(node), freed_names(node)


def plan_of(node, recorded, known):
    """The Plan of a node. known: those that all nodes of a kind have in common, by id of the
    pullback.
    """
    pullback = node.pullback
    plan = known.get(id(pullback))
    if plan is None:
        plan = Plan(node, recorded)
        if pullback.__class__ in COMMON and node.saved is not None:
            known[id(pullback)] = plan
    return plan


def _functions_of(node, recorded):
    """For each parent of a node the function that computes its part, None where there is none."""
    pullback = node.pullback
    if not hasattr(pullback, "op"):
        return [pullback.fn] * len(node.parents)
    if hasattr(pullback, "rules"):
        rules = [rule for rule, _ in pullback.rules]
        return rules if len(rules) == len(node.parents) else rules[:1] * len(node.parents)
    function = pullback.op.definition if recorded else node.saved[0] if node.saved else None
    return [function] * len(node.parents)


def numbers_of(node):
    """Which inputs the parents of a node are."""
    pullback = node.pullback
    if node.saved is not None and hasattr(pullback, "numbers_of"):
        return pullback.numbers_of(node)
    return getattr(pullback, "wanted", None) or range(len(node.parents))


def input_names(node):
    """The names of a node's inputs, by their number."""
    pullback = node.pullback
    if not hasattr(pullback, "op"):
        return [f"value {i}" for i in range(len(node.parents))]
    op = pullback.op
    return list(op.input_names(max(numbers_of(node), default=-1) + 1 if op.variadic else op.arity))


def saved_inputs(node):
    """``{number: value}`` of the inputs that a node has saved."""
    pullback, saved = node.pullback, node.saved
    if saved is None or not hasattr(pullback, "op"):
        return {}
    if not hasattr(pullback, "sources"):
        return dict(enumerate(saved[3:]))
    found = {}
    for (kind, key), value in zip(pullback.sources, saved):
        if kind == "input":
            found[key] = value
        elif kind == "inputs":
            found.update(enumerate(value))
    return found


def saved_output(node):
    """The value of a node, if it has saved it and nobody has written to it since; None if not."""
    pullback, saved = node.pullback, node.saved
    if saved is None:
        return None
    found = None
    if not hasattr(pullback, "op"):
        found = saved[2]
    elif hasattr(pullback, "sources"):
        found = next((value for (kind, _), value in zip(pullback.sources, saved) if kind == "out"), None)
    if found is None or not is_array(found) or memory.overwritten(found, node.order) is not None:
        return None
    return found if node.held is None or is_narrow(found.dtype) else found.astype(node.held)  # it was not rounded


def freed_names(node):
    """The names of the arrays that a node has saved."""
    pullback, saved = node.pullback, node.saved
    if saved is None:
        return []
    if not hasattr(pullback, "op"):
        return ["arguments", "result"]
    if hasattr(pullback, "sources"):
        names = {"input": lambda key: pullback.op.inputs[key], "inputs": lambda key: pullback.op.inputs[0]}
        return [
            names[kind](key) if kind in names else kind
            for kind, key in pullback.sources
            if kind in ("input", "inputs", "out")
        ]
    given = [name for name, value in zip(pullback.op.input_names(len(saved) - 3), saved[3:]) if is_array(value)]
    backward = saved[0]
    kept = [name for name, value in _closed_over(backward) if is_array(raw(value)) and name not in given]
    return [*given, *kept]


def _closed_over(function):
    """Names and values that a function has from around it."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    found = []
    for name, cell in zip(code.co_freevars if code else (), cells):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # an empty one
            continue
    return found


def keyword_texts(params):
    """Keywords as short text."""
    return {name: _short(value) for name, value in params.items()} if params else {}


def _short(value):
    array = value._array if isinstance(value, Tensor) else value
    if is_array(array) and array.size > 8:
        return f"array {array.shape} {array.dtype}"
    text = " ".join(_texts.repr(array).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
