"""Trees: tensors in tuples, named tuples, lists and dicts, one in another as deep as it may be.

What is none of these is a leaf; None is a tree without leaves. The leaves of a dict stand in the
order of its keys as they were entered, those of a second tree in the order of the first. A tree
that is made like another has containers of the same classes, with the attributes of those.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from minitensor.engine.messages import a_kind

__all__ = [
    "containers_of", "leaves_of", "mapped", "matched", "named_leaves", "rebuilt", "spread", "structure"
]  # fmt: skip

CONTAINERS = dict, tuple, list


def named_leaves(tree: Any, place: str = "") -> list[tuple[str, Any]]:
    """The leaves with their places, such as ``[0]['weight']``."""
    if tree is None:
        return []
    parts = _parts(tree)
    if parts is None:
        return [(place, tree)]
    return [found for name, part in parts for found in named_leaves(part, place + name)]


def leaves_of(tree: Any) -> list[Any]:
    """The leaves, in their order."""
    if tree is None:
        return []
    if not isinstance(tree, CONTAINERS):
        return [tree]
    return [leaf for part in _members(tree) for leaf in leaves_of(part)]


def containers_of(tree: Any) -> list[Any]:
    """The containers, each before those within it."""
    if not isinstance(tree, CONTAINERS):
        return []
    return [tree, *(found for part in _members(tree) for found in containers_of(part))]


def structure(tree: Any, of_leaf: Callable[[Any], Any]) -> Any:
    """A tree as a key: equal for trees of the same classes and keys, in one order, whose leaves are
    equal as ``of_leaf`` sees them. It can be hashed if what that gives can be.
    """
    if tree is None:
        return None
    if not isinstance(tree, CONTAINERS):
        return of_leaf(tree)
    if isinstance(tree, dict):
        return type(tree), tuple(tree), tuple([structure(part, of_leaf) for part in tree.values()])
    return type(tree), tuple([structure(part, of_leaf) for part in tree])


def rebuilt(tree: Any, leaves: Any) -> Any:
    """A tree like ``tree`` with other leaves, taken one after the other."""
    return _rebuilt(tree, iter(leaves))


def mapped(function: Any, tree: Any) -> Any:
    """A tree like ``tree`` with what ``function`` makes of each leaf."""
    return rebuilt(tree, [function(leaf) for leaf in leaves_of(tree)])


def matched(owner: str, tree: Any, other: Any, what: str, like: str) -> list[Any]:
    """The parts of ``other`` that stand where ``tree`` has its leaves, in the order of ``tree``.

    Raises TypeError if the containers differ; ``what`` and ``like`` are what it calls the two.
    """
    return [part for _, part in _matched(owner, tree, other, what, like, "")]


def spread(owner: str, prefix: Any, tree: Any, what: str, like: str) -> list[Any]:
    """For each leaf of ``tree`` the leaf of ``prefix`` above it: a tree that may end earlier, where
    its leaf, or None, stands for all below.
    """
    if prefix is None or _parts(prefix) is None:
        return [prefix] * len(leaves_of(tree))
    _check_alike(owner, prefix, tree, what, like, "")
    pairs = _pairs(prefix, tree)
    return [found for _, above, part in pairs for found in spread(owner, above, part, what, like)]


def _matched(owner, tree, other, what, like, place):
    if tree is None:
        if other is not None:
            raise TypeError(f"{owner}: {what}{place} is {a_kind(other)}, {like}{place} is None: they must be alike")
        return []
    if _parts(tree) is None:
        return [(place, other)]
    _check_alike(owner, tree, other, what, like, place)
    return [
        found
        for name, part, another in _pairs(tree, other)
        for found in _matched(owner, part, another, what, like, place + name)
    ]


def _check_alike(owner, tree, other, what, like, place):
    """Raise TypeError unless both are the same kind of container, of as many parts or the same
    keys.
    """
    if _shape(tree) != _shape(other):
        raise TypeError(
            f"{owner}: {what}{place} is {_described(other)}, but {like}{place} is {_described(tree)}: they must be trees "
            "of one structure"
            if what != "in_axes" and what != "out_axes"
            else f"{owner}: {what} does not fit: it has {_described(tree)} where {like} has {_described(other)}"
        )


def _shape(tree):
    """What two containers must have in common: a list is no tuple."""
    if isinstance(tree, dict):
        return dict, frozenset(tree)
    if isinstance(tree, list):
        return list, len(tree)
    if isinstance(tree, tuple):
        return type(tree), len(tree)
    return None


def _members(tree):
    """The parts of a container."""
    return tree.values() if isinstance(tree, dict) else tree


def _parts(tree):
    """``(name, part)`` of a container's parts; None for a leaf."""
    if isinstance(tree, dict):
        return [(f"[{key!r}]", part) for key, part in tree.items()]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f".{name}", part) for name, part in zip(tree._fields, tree)]
    if isinstance(tree, (tuple, list)):
        return [(f"[{i}]", part) for i, part in enumerate(tree)]
    return None


def _pairs(tree, other):
    """``(name, part, part of other)``, in the order of ``tree``."""
    if isinstance(tree, dict):
        return [(f"[{key!r}]", part, other[key]) for key, part in tree.items()]
    return [(name, part, another) for (name, part), another in zip(_parts(tree) or [], other)]


def _rebuilt(tree, leaves):
    if tree is None:
        return None
    if not isinstance(tree, CONTAINERS):
        return next(leaves)
    parts = [_rebuilt(part, leaves) for part in _members(tree)]
    if type(tree) in CONTAINERS:
        return dict(zip(tree, parts)) if isinstance(tree, dict) else type(tree)(parts)
    return _made_like(tree, parts)


def _made_like(tree, parts):
    """A container of a class of the user's with other parts. The class is not called: nobody knows
    what it takes.
    """
    if not isinstance(tree, tuple):
        made = copy.copy(tree)
        for place, part in zip(tree if isinstance(tree, dict) else range(len(parts)), parts):
            made[place] = part
        return made
    try:
        made = tuple.__new__(type(tree), parts)
    except TypeError:  # a class of the interpreter's own, such as time.struct_time
        return type(tree)(parts)
    if hasattr(tree, "__dict__"):
        vars(made).update(vars(tree))
    return made


def _described(tree):
    """A container and its size, or a leaf, in words."""
    if isinstance(tree, dict):
        return f"a dict with the keys {list(tree)}"
    if isinstance(tree, (tuple, list)):
        return f"{a_kind(tree)} of {len(tree)}"
    return "None" if tree is None else a_kind(tree)
