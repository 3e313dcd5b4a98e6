"""A small world for stories: six people walk between six places, and take, leave and give six
things.

`World` keeps what a listener knows after each line, with the numbers of the lines that said so, so
that every question about it has one right answer. Things happen as they can: a person takes what
lies where she is, leaves and gives what she has, and gives it to somebody at the same place.

The idea of stories whose facts change, with questions of named kinds and the lines that answer
them, is that of Weston et al. 2015, "Towards AI-Complete Question Answering: A Set of Prerequisite
Toy Tasks", arXiv:1502.05698; world, sentences and code are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.english_french import Dice

__all__ = ["HELD_OUT", "PEOPLE", "PLACES", "THINGS", "Cast", "Event", "Gift", "World", "happen"]

PEOPLE = {
    **dict.fromkeys(("Anna", "Carla", "Emma"), "she"),
    **dict.fromkeys(("Ben", "David", "Felix"), "he"),
}
PLACES = ("kitchen", "garden", "office", "attic", "school", "park")
THINGS = ("apple", "ball", "book", "key", "lamp", "cup")

# Pairs that no story to train on brings together: a person is never at the place, and never has the
# thing.
HELD_OUT = frozenset(
    pair
    for number, person in enumerate(PEOPLE)
    for pair in ((person, PLACES[number]), (person, THINGS[(number + 2) % len(THINGS)]))
)


# How often each is tried; most gifts cannot be, since nobody else is there, or there is nothing to
# give.
KINDS = ("goes",) * 3 + ("takes",) * 3 + ("leaves",) + ("gives",) * 4
MET = 0.4  # of the walks are to where somebody is


@dataclass(frozen=True)
class Event:
    """Who does what: "goes" to a place, "takes" or "leaves" a thing, "gives" a thing to another."""

    kind: str
    person: str
    place: str = ""
    thing: str = ""
    other: str = ""

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The people of the event with the place or the thing that they come to."""
        return {(self.other or self.person, self.place or self.thing)}


@dataclass(frozen=True)
class Gift:
    """Something given, and the line that says so."""

    giver: str
    thing: str
    receiver: str
    line: int


@dataclass(frozen=True)
class Cast:
    """Who and what a story is about."""

    people: tuple[str, ...]
    places: tuple[str, ...]
    things: tuple[str, ...]

    @classmethod
    def draw(cls, dice: Dice) -> Cast:
        """Two or three people, three or four places, two things."""
        return cls(
            some(dice, tuple(PEOPLE), dice.pick((2, 3, 3))),
            some(dice, PLACES, dice.pick((3, 4))),
            some(dice, THINGS, 2),
        )


def some(dice: Dice, options: Sequence[str], count: int) -> tuple[str, ...]:
    """``count`` different ones of ``options``, in a random order."""
    rest = list(options)
    return tuple(rest.pop(int(dice.random() * len(rest))) for _ in range(count))


@dataclass
class World:
    """What the lines so far say. Numbers are those of lines."""

    moves: dict[str, list[tuple[str, int]]] = field(default_factory=dict)  # the places of a person, the latest last
    owned: dict[str, dict[str, int]] = field(default_factory=dict)  # what a person has, in the order of getting it
    left: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # where a thing lies
    touched: dict[str, int] = field(default_factory=dict)  # the last line about a thing
    gifts: list[Gift] = field(default_factory=list)

    def apply(self, event: Event, line: int) -> None:
        """Let ``event`` happen, as line number ``line`` says."""
        if event.kind == "goes":
            self.moves.setdefault(event.person, []).append((event.place, line))
            return
        self.owned.setdefault(event.person, {}).pop(event.thing, None)
        self.left.pop(event.thing, None)
        self.touched[event.thing] = line
        if event.kind == "takes":
            self.owned[event.person][event.thing] = line
        elif event.kind == "gives":
            self.owned.setdefault(event.other, {})[event.thing] = line
            self.gifts.append(Gift(event.person, event.thing, event.other, line))
        else:
            place, came = self.moves[event.person][-1]
            self.left[event.thing] = (place, (came, line))

    def place_of(self, person: str) -> str:
        """Where a person is; "" if nothing has been said."""
        return self.moves[person][-1][0] if person in self.moves else ""

    def holder(self, thing: str) -> str:
        """Who has a thing; "" if nobody has."""
        return next((person for person, things in self.owned.items() if thing in things), "")

    def things_of(self, person: str) -> list[str]:
        """What a person has, in the order of getting it."""
        return list(self.owned.get(person, ()))


def happen(dice: Dice, world: World, cast: Cast, avoid: frozenset[tuple[str, str]] = frozenset()) -> Event:
    """An event that can happen now, and that brings no pair of ``avoid`` together."""
    while True:
        kind = dice.pick(KINDS)
        event = _draw(dice, world, cast, kind)
        if event is not None and event.pairs.isdisjoint(avoid):
            return event


def _draw(dice: Dice, world: World, cast: Cast, kind: str) -> Event | None:
    """An event of this kind; None if the people drawn cannot do so."""
    person = dice.pick(cast.people)
    here = world.place_of(person)
    if kind == "goes":
        place = world.place_of(dice.pick(cast.people)) if dice.chance(MET) else dice.pick(cast.places)
        return Event(kind, person, place) if place and place != here else None
    if not here:
        return None
    if kind == "takes":
        thing = dice.pick(cast.things)
        lies = world.left.get(thing, ("",))[0]
        new = thing not in world.touched
        return Event(kind, person, thing=thing) if new or lies == here else None
    things = world.things_of(person)
    if not things:
        return None
    if kind == "leaves":
        return Event(kind, person, thing=dice.pick(things))
    others = [other for other in cast.people if other != person and world.place_of(other) == here]
    return Event(kind, person, thing=dice.pick(things), other=dice.pick(others)) if others else None
