"""Questions about a `toolkit.story_world.World`, each of a named relation, with the one right
answer and the lines that it follows from.

    Where is Anna?                garden          place of a person
    Where is the apple?           kitchen         place of a thing
    Where was she before?         park            place before
    Who has the apple?            Ben             holder
    What does he have?            apple and key   possession
    How many things does he have? two             number
    Who gave the key to him?      Anna            giver
    Is he in the park?            no              yes or no: place
    Does he have the lamp?        yes             yes or no: possession

What the story does not tell, such as the place of somebody whom it has not named, is "unknown", of
the relation "not told". Answers are the bare words: then the word that matters comes first, and a
dialogue is half as long to read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from toolkit.english_french import Dice
from toolkit.story_world import PEOPLE, PLACES, THINGS, World

__all__ = ["NOT_TOLD", "RELATIONS", "UNTOLD", "Answer", "Question", "answer", "ask", "follow_up"]

NUMBERS = ("none", "one", "two", "three")
NOT_TOLD = "not told"
ELLIPTICAL = 0.6  # of the questions behind a question are "And Ben?", if they can be
STRANGE = 0.05  # of the questions drawn are about somebody or something that the story has not named
LATEST = 0.3  # of the questions drawn whose answer is the place named last are asked, since that is easy to guess
KEPT = {"nothing": 0.2, "nobody": 0.4, "none": 0.2, "unknown": 0.15}  # of those drawn, not to have too many


@dataclass(frozen=True)
class Question:
    """A relation, and what it is asked of: a person, a thing, a place."""

    relation: str
    person: str = ""
    thing: str = ""
    place: str = ""

    @property
    def named(self) -> set[str]:
        """The person and the thing that it is about."""
        return {self.person, self.thing} - {""}


@dataclass(frozen=True)
class Answer:
    """What to say; who and what it names; the lines that it follows from; the pairs of a person
    with a place or a thing that it rests on.
    """

    text: str
    named: frozenset[str] = frozenset()
    lines: tuple[int, ...] = ()
    pairs: frozenset[tuple[str, str]] = frozenset()


UNTOLD = Answer("unknown")
Pairs = frozenset[tuple[str, str]]


# --- answers --------------------------------------------------------------------------------------


def answer(question: Question, world: World) -> Answer:
    """The right answer."""
    return RELATIONS[question.relation](question, world)


def _place_of_person(q: Question, world: World) -> Answer:
    if q.person not in world.moves:
        return UNTOLD
    place, line = world.moves[q.person][-1]
    return Answer(place, lines=(line,), pairs=frozenset({(q.person, place)}))


def _place_of_thing(q: Question, world: World) -> Answer:
    holder = world.holder(q.thing)
    if holder:
        place, line = world.moves[holder][-1]
        pairs = frozenset({(holder, place), (holder, q.thing)})
        return Answer(place, lines=(world.touched[q.thing], line), pairs=pairs)
    if q.thing not in world.left:
        return UNTOLD
    place, left = world.left[q.thing]
    return Answer(place, lines=left)


def _place_before(q: Question, world: World) -> Answer:
    moves = world.moves.get(q.person, [])
    if len(moves) < 2:
        return UNTOLD
    (place, line), (_, last) = moves[-2:]
    return Answer(place, lines=(line, last), pairs=frozenset({(q.person, place)}))


def _holder(q: Question, world: World) -> Answer:
    if q.thing not in world.touched:
        return UNTOLD
    holder, lines = world.holder(q.thing), (world.touched[q.thing],)
    if not holder:
        return Answer("nobody", lines=lines)
    return Answer(holder, frozenset({holder}), lines, frozenset({(holder, q.thing)}))


def _possession(q: Question, world: World) -> Answer:
    things = world.things_of(q.person)
    if not things:
        return Answer("nothing")
    return Answer(" and ".join(things), frozenset(things), *_owning(q, world))


def _number(q: Question, world: World) -> Answer:
    return Answer(NUMBERS[len(world.things_of(q.person))], frozenset(), *_owning(q, world))


def _owning(q: Question, world: World) -> tuple[tuple[int, ...], Pairs]:
    """The lines by which a person got what he has, and the pairs of him and these things."""
    owned = world.owned.get(q.person, {})
    return tuple(owned.values()), frozenset((q.person, thing) for thing in owned)


def _giver(q: Question, world: World) -> Answer:
    """Of the latest such gift."""
    gift = next((gift for gift in reversed(world.gifts) if (gift.thing, gift.receiver) == (q.thing, q.person)), None)
    if gift is None:
        return UNTOLD
    pairs = frozenset({(gift.giver, gift.thing), (gift.receiver, gift.thing)})
    return Answer(gift.giver, frozenset({gift.giver}), (gift.line,), pairs)


def _is_in(q: Question, world: World) -> Answer:
    place, line = world.moves[q.person][-1]
    return Answer(_yes(place == q.place), lines=(line,), pairs=frozenset({(q.person, q.place)}))


def _has(q: Question, world: World) -> Answer:
    true, lines = world.holder(q.thing) == q.person, (world.touched[q.thing],)
    return Answer(_yes(true), lines=lines, pairs=frozenset({(q.person, q.thing)}))


def _yes(true: bool) -> str:
    return "yes" if true else "no"


RELATIONS: dict[str, Callable[[Question, World], Answer]] = {
    "place of a person": _place_of_person,
    "place of a thing": _place_of_thing,
    "place before": _place_before,
    "holder": _holder,
    "possession": _possession,
    "number": _number,
    "giver": _giver,
    "yes or no: place": _is_in,
    "yes or no: possession": _has,
}
# Those drawn oftener, since only some stories have gifts to ask about.
OFTEN = (*RELATIONS, "place of a person", "place of a thing", "giver", "giver")

# --- questions ------------------------------------------------------------------------------------


def ask(dice: Dice, world: World, spoken: Collection[str], avoid: Pairs = frozenset()) -> Question:
    """A question about the story, half the time about what the line before names (``spoken``), and
    about no pair of ``avoid``.
    """
    while True:
        question = _draw(dice, world, spoken)
        if question and _is_good(dice, question, world, avoid):
            return question


def follow_up(dice: Dice, last: Question, world: World, avoid: Pairs = frozenset()) -> Question | None:
    """The question ``last`` about another person or thing, so that "And Ben?" will do; or None."""
    if not dice.chance(ELLIPTICAL) or last.relation == "giver":
        return None
    if last.relation.startswith("place of"):
        found = _where(_one(dice, world, PEOPLE) if dice.chance(0.5) else _one(dice, world, THINGS))
    elif last.relation == "holder":
        found = replace(last, thing=_one(dice, world, THINGS))
    else:
        found = replace(last, person=dice.pick(tuple(world.moves)))
    return found if found != last and _is_good(dice, found, world, avoid) else None


def _is_good(dice: Dice, question: Question, world: World, avoid: Pairs) -> bool:
    """Whether to ask it."""
    found = answer(question, world)
    if not found.pairs.isdisjoint(avoid) or found.text in KEPT and not dice.chance(KEPT[found.text]):
        return False
    latest = max((moves[-1] for moves in world.moves.values()), key=lambda move: move[1])[0]
    return found.text != latest or dice.chance(LATEST)


def _draw(dice: Dice, world: World, spoken: Collection[str]) -> Question | None:
    """A question of any relation; None if nothing of the kind can be asked."""
    relation = dice.pick(OFTEN)
    if relation == "giver":
        gift = dice.pick(world.gifts) if world.gifts else None
        return Question(relation, gift.receiver, gift.thing) if gift else None
    if relation in ("place of a thing", "holder"):
        return Question(relation, thing=_one(dice, world, THINGS, spoken))
    if relation == "place of a person":
        return Question(relation, _one(dice, world, PEOPLE, spoken))
    person = _about(dice, tuple(world.moves), spoken)
    if relation == "yes or no: place":
        here = world.place_of(person)
        return Question(relation, person, place=here if dice.chance(0.45) else _elsewhere(dice, here, world))
    if relation == "yes or no: possession":
        things = world.things_of(person) if dice.chance(0.5) else list(world.touched)
        return Question(relation, person, dice.pick(things)) if things else None
    return Question(relation, person)


def _elsewhere(dice: Dice, here: str, world: World) -> str:
    """Another place, of the story if it has one."""
    told = {place for moves in world.moves.values() for place, _ in moves}
    return dice.pick([place for place in PLACES if place != here and (place in told or told == {here})])


def _where(name: str) -> Question:
    if name in PEOPLE:
        return Question("place of a person", name)
    return Question("place of a thing", thing=name)


def _one(dice: Dice, world: World, kind: Collection[str], spoken: Collection[str] = ()) -> str:
    """A person or a thing of the story, or now and then one that it has not named."""
    told = world.touched if kind is THINGS else world.moves
    if told and not dice.chance(STRANGE):
        return _about(dice, tuple(told), spoken)
    return dice.pick([name for name in kind if name not in told])


def _about(dice: Dice, names: Sequence[str], spoken: Collection[str]) -> str:
    """One of ``names``, half the time one that the line before names."""
    just = [name for name in names if name in spoken]
    return dice.pick(just if just and dice.chance(0.5) else names)
