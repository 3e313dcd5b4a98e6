"""What registering a hook returns."""

from __future__ import annotations

import itertools

__all__ = ["Handle"]

_numbers = itertools.count()


class Handle:
    """Takes a hook out again: ``remove()``, as often as you like, from inside the hook too; or leave a ``with`` block.

    hooks: the dict in which the hook stands, called in its order; hook: what is entered there. With ``first`` it is called before
    those that are there already. Whoever calls the hooks walks over a copy, as a hook may remove itself.
    """

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks, hook, first=False):
        self._hooks = hooks
        self._key = next(_numbers)
        others = dict(hooks) if first else {}
        if first:
            hooks.clear()
        hooks[self._key] = hook
        hooks.update(others)

    def remove(self):
        """The hook is called no more."""
        self._hooks.pop(self._key, None)

    __call__ = remove

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.remove()
