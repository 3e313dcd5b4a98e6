"""Kinds of inputs, each of which comes in its turn: example number k of a check takes kind k.

A strategy whose draws are all left to chance misses a kind in one seed of three, a broadcast last
axis for example, and gives another ten times. So strategies list their kinds and ask ``kind`` for
the one that is wanted. Within ``check_op`` the kinds come in an order that the seed shuffles, none
a second time before all were there; what else there is to an example is drawn. In a plain
``hypothesis.given`` the kind is drawn like the rest.

Hypothesis must see the same example if it repeats the same draws. So an example starts with a
number that is drawn, and a table gives each new number the next turn, for as long as the check
runs. The number (0, 0) has none: there the kind is drawn too, which is where shrinking leads.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar

import numpy as np
from hypothesis import strategies as st

__all__ = ["Strata", "is_first", "kind", "pick"]

NUMBERS = range(2**12)  # two of them number an example: hypothesis has favourites among numbers, but not among pairs
FREE = 0, 0
CHUNK = 9  # examples of one run: from ten on hypothesis repeats what it drew with parts exchanged
current: ContextVar[Strata | None] = ContextVar("strata", default=None)


class Strata:
    """Turns of the examples of one check. ``used``: whether a strategy has asked for one."""

    def __init__(self, seed):
        self.seed = seed
        self.turns = {}
        self.orders = {}
        self.used = False
        self.rounds = 0  # runs of hypothesis so far
        self.begin()

    def begin(self):
        """A new example: its number is drawn if a strategy asks for a kind."""
        self.turn, self.asked, self.repeated = None, 0, False

    def number(self, number):
        """Take the turn of the example with this number."""
        self.used = True
        self.repeated = number in self.turns
        if not self.repeated:
            self.turns[number] = len(self.turns) - (FREE in self.turns) if number != FREE else None
        self.turn = self.turns[number]

    def place(self, count):
        """Which of ``count`` kinds it is the turn of; None if it is to be drawn."""
        self.asked += 1
        if self.turn is None:
            return None
        cycle, place = divmod(self.turn, count)
        key = self.asked, count, cycle
        if key not in self.orders:
            self.orders[key] = np.random.default_rng([self.seed, *key]).permutation(count).tolist()
        return self.orders[key][place]

    @contextlib.contextmanager
    def lent(self):
        """Within, the strategies take their kinds from here."""
        token = current.set(self)
        try:
            yield
        finally:
            current.reset(token)

    def examples(self, strategy):
        """What ``strategy`` draws, with a turn for each example."""

        @st.composite
        def example(draw):
            self.begin()
            return draw(strategy)

        return example()


def is_first():
    """Whether the next kind is the first that is asked for in an example of a check."""
    strata = current.get()
    return strata is not None and strata.asked == 0


def kind(draw, count):
    """The number of one of ``count`` kinds: that whose turn it is, or a drawn one; 0 is the
    simplest.
    """
    strata = current.get()
    if strata is None:
        return draw(st.integers(0, count - 1))
    if strata.asked == 0:
        strata.number((draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(NUMBERS))))
    place = strata.place(count)
    return draw(st.integers(0, count - 1) if place is None else st.integers(place, place))  # shrinks from there


def pick(draw, items):
    """One of ``items``, the first the simplest."""
    return items[draw(st.integers(0, len(items) - 1))]
