"""What an example is like, of many: so that what not each of them needs is done once a kind."""

from __future__ import annotations

import numpy as np

from minitensor.engine.autograd import raw

__all__ = ["Turns", "form_of", "kind_of"]


MOST = 12  # kinds of examples of which the first has everything


class Turns:
    """What not every one of many examples needs. ``everything``: each needs all, as once one has
    failed, so that it fails again.
    """

    def __init__(self):
        self.passed = 0  # examples
        self.kinds: set = set()  # theirs
        self.everything = False

    def clear(self):
        """Forget them all."""
        self.passed = 0
        self.kinds.clear()

    def is_first(self, problem):
        """Whether no example of the kind of ``problem`` has passed, and not too many kinds have."""
        return self.everything or (problem.kind not in self.kinds and len(self.kinds) < MOST)

    def pass_on(self, problem):
        """An example has passed."""
        self.passed += 1
        self.kinds.add(problem.kind)


def form_of(value):
    """Of an array its type, and of each length whether it is 0, 1 or more; of a container the forms
    of its parts; anything else itself, or its class if it has no hash.
    """
    value = raw(value)
    if isinstance(value, np.ndarray):
        return value.dtype, tuple(min(length, 2) for length in value.shape)
    if isinstance(value, dict):
        return dict, *((key, form_of(part)) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), *map(form_of, value)
    try:
        hash(value)
    except TypeError:
        return type(value)
    return type(value), value


def kind_of(value):
    """Of an array its type and dimensions, of a word, a flag and None these, of others the type."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim
    return value if value is None or isinstance(value, (bool, str)) else type(value)
