"""The walk over a module's attributes that finds its state, and the tree that ``repr`` draws."""

from __future__ import annotations

from typing import Any

from minitensor.nn.parameter import Buffer, Parameter

__all__ = ["STATE", "Stateful", "contents", "holds_state", "named_children", "tree", "walk"]

STATE = (Parameter, Buffer)  # the tensors that are state; results of ops and other tensors are none
PLAIN = frozenset((type(None), bool, int, float, str))  # what most attributes are, and what holds no state


class Stateful:
    """Base of ``Module``: what the walk goes into.

    ``_items()`` gives ``(name, value)`` of all that may be state.
    """

    def _items(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if not name.startswith("_")]


def walk(value, path="", above=()):
    """``(path, module, parameter or buffer)`` of all at and below ``value``, under every path.

    above: the containers that lead here; one that contains itself would never end.
    """
    found: list = []
    _collect(value, path, above, found)
    return iter(found)


def _collect(value, path, above, found):
    """Append to ``found`` what `walk` gives; a list, since generators within generators are
    slow.
    """
    if isinstance(value, STATE):
        found.append((path, value))
        return
    items = contents(value)
    if items is None:
        return
    if any(value is one for one in above):
        raise ValueError(
            f"{path} leads back to the {type(value).__name__} that holds it: begin that attribute's name with _"
        )
    if isinstance(value, Stateful):
        found.append((path, value))
    above = (*above, value)
    for name, item in items:
        if item.__class__ not in PLAIN:
            _collect(item, f"{path}.{name}" if path else str(name), above, found)


def contents(value):
    """The named items of a module or container; None for what holds no state."""
    if isinstance(value, Stateful):
        return value._items()
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    return None


def named_children(value, path=""):
    """``(name, module)`` directly below a module, also inside its lists and dicts."""
    for name, item in contents(value) or ():
        inner = f"{path}.{name}" if path else str(name)
        if isinstance(item, Stateful):
            yield inner, item
        else:
            yield from named_children(item, inner)


def holds_state(value):
    """Whether a container holds a module, parameter or buffer."""
    return any(True for _ in walk(value))


# --- repr -----------------------------------------------------------------------------------------


def tree(module):
    """Class, hyper-parameters and children, one per line; equal neighbours in a list once."""
    plain = [
        (name, value)
        for name, value in module._items()
        if isinstance(value, (int, float, str, tuple)) and name != "training"
    ]
    told = [f"{name}={value!r}" for name, value in plain if not (isinstance(value, tuple) and holds_state(list(value)))]
    head = f"{type(module).__name__}({', '.join(told)}"
    rows: list = []  # [first name, last name, how many, text]
    for name, child in named_children(module):
        text = tree(child)
        if rows and rows[-1][3] == text and _follows(name, rows[-1][1]):
            rows[-1][1] = name
            rows[-1][2] += 1
        else:
            rows.append([name, name, 1, text])
    if not rows:
        return head + ")"
    lines = []
    for first, last, count, text in rows:
        label = f"{first}: " if count == 1 else f"{first} to {last}: {count} x "
        lines.append("  " + (label + text).replace("\n", "\n  "))
    return f"{head}\n" + "\n".join(lines) + "\n)"


def _follows(name, previous):
    """Whether two names are neighbours in one list, as "layers.0" and "layers.1" are."""
    (place, _, i), (other, _, j) = name.rpartition("."), previous.rpartition(".")
    return place == other and i.isdigit() and j.isdigit() and int(i) == int(j) + 1
