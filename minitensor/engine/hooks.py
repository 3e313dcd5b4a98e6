"""Hooks: functions that are called when something passes, until their handle is told to remove
them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

__all__ = ["Handle", "standing"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

_keys = itertools.count()


class Handle:
    """What registering a hook returns. ``remove()`` takes the hook off; a second call, or one from
    inside the hook, is fine.

    Calling the handle removes too, and so does the end of a ``with`` block::

        with x.register_hook(print):
            loss.backward()

    hooks: the dict in which the hooks stand under keys of no meaning, in their order; hook: what to
    enter there, behind the others or, with ``first``, before them.
    """

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Any, first: bool = False) -> None:
        self._hooks = hooks
        self._key = next(_keys)  # a number, as a dict that held its own handles would be a cycle
        others = dict(hooks) if first else {}
        if first:
            hooks.clear()
        hooks[self._key] = hook
        hooks.update(others)

    def remove(self) -> None:
        """Take the hook off; it is called no more, not even later in the pass that is going on."""
        self._hooks.pop(self._key, None)

    __call__ = remove

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def standing(hooks: dict[int, Any]) -> Iterator[Any]:
    """Yield the hooks of a dict in their order: those that stand there now and were not removed
    before their turn.
    """
    for key, hook in list(hooks.items()):
        if key in hooks:
            yield hook
