"""Watching what a function calls: which rules it runs into, and whether these have a part in what
is differentiated.

A rule, a ``torch.autograd.Function`` for example, whose backward never ran was not checked. It is
passed by all the same if another rule called it, which stands for it, or if what it was called with
stays as it is when the inputs move: weights that a rule unpacks, say.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager

from minitensor.engine.trees import leaves_of

__all__ = ["Watch", "as_bytes", "never_ran", "profiled_by"]

STILL = (1.0, 0.0)
MOVES = ((1.0 + 1e-6, 0.0), (1.25, 1e-3), (1.0, 1.0))  # what inputs are multiplied by, and what is added


@contextmanager
def profiled_by(look):
    """Within, ``look(frame, event, argument)`` sees what this thread calls: see ``sys.setprofile``.
    What looked before looks again afterwards.
    """
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        if before is None or callable(before):
            sys.setprofile(before)
        else:
            before.enable()  # a profiler in C, such as cProfile's, which sets itself


class Watch:
    """What runs within ``with watch.on():``.

    rule_of: gives for a frame ``(rule, arguments)`` if a rule is called by it (None for a rule that
    is nobody's business), None for any other. ran: code of all that ran. calls: for each rule that
    no other rule called, what it was called with, once for each call: by ``seen``, if that is
    given, a function that turns arguments into what can be compared.
    """

    def __init__(self, rule_of, seen=None):
        self.rule_of, self.seen = rule_of, seen
        self.ran: set = set()
        self.calls: dict = {}
        self.inside: list = []

    def on(self):
        """The block within which this watches."""
        return profiled_by(self.look)

    def look(self, frame, event, _):
        """See ``sys.setprofile``."""
        if event == "call":
            self.ran.add(frame.f_code)
            found = self.rule_of(frame)
            if found is None:
                return
            rule, arguments = found
            if rule is not None and not self.inside:
                self.calls.setdefault(rule, []).append(self.seen(arguments) if self.seen else None)
            self.inside.append(frame)
        elif event == "return" and self.inside and self.inside[-1] is frame:
            self.inside.pop()


def never_ran(rules, codes_of, again):
    """Those of ``rules`` whose backward does not run although they have a part in the function.

    codes_of: the code of which some must run for a rule, none if nobody knows. again: runs the
    function forward and backward at its inputs times a number and plus one, and gives the ``Watch``
    that saw it.
    """
    try:
        first = again(*STILL)
    except Exception:  # it cannot be run in the way in which one can look: nothing excuses them
        return [rule for rule in rules if codes_of(rule)]
    idle = [rule for rule in rules if (codes := codes_of(rule)) and not codes & first.ran]
    found: list = []
    for move in MOVES:
        left = [rule for rule in idle if rule not in found]
        if not left:
            break
        try:
            moved = again(*move)
        except Exception:  # outside the domain of the function: another step tells
            continue
        found += [rule for rule in left if moved.calls.get(rule) != first.calls.get(rule)]
    return found


def as_bytes(array_of, values):
    """``values`` as what can be compared: arrays, in lists and dicts too, by their bytes, as
    ``array_of`` gives them, anything else as it is written; what cannot be read equals nothing.
    """
    seen: list = []
    for value in leaves_of(values):
        try:
            seen.append(array_of(value).tobytes() if hasattr(value, "shape") else repr(value))
        except Exception:  # a traced value, say
            seen.append(object())
    return seen
