"""Who runs the ops while a profile or a trace is open, or a function runs for many examples.

The engine asks the observer of the current mode, and knows nothing else of it: it hands over each
op, the two functions that a backward pass calls at a node, each function marked by ``timed``, and
each that is marked by ``reads_values``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Observer"]


class Observer:
    """Hands everything on to the observer around it, and the outermost to the engine; what is
    opened overrides what it wants to see.

    outer: the observer that was there when this one was opened, or None.
    """

    def __init__(self, outer: Observer | None = None) -> None:
        self.outer = outer

    def forward(self, op: Any, args: Any, params: Any) -> Any:
        """The result of an op."""
        return op.run(args, params, observed=True) if self.outer is None else self.outer.forward(op, args, params)

    def steps(self, serve: Any, pull_back: Any) -> tuple[Any, Any]:
        """The two functions of a backward pass that are to be called instead of these."""
        return (serve, pull_back) if self.outer is None else self.outer.steps(serve, pull_back)

    def part(self, name: str, function: Any, args: Any, keywords: Any) -> Any:
        """The result of a function that is no op; ``name`` is what a profile calls it."""
        return function(*args, **keywords) if self.outer is None else self.outer.part(name, function, args, keywords)

    def aside(self, function: Any) -> Any:
        """The result of ``function``, which is an observer's own work and not the block's."""
        return function() if self.outer is None else self.outer.aside(function)

    def reading(self, names: tuple[str, ...], function: Any, args: Any, keywords: Any) -> Any:
        """The result of a function that reads the values of its arguments ``names``."""
        if self.outer is None:
            return function(*args, **keywords)
        return self.outer.reading(names, function, args, keywords)
