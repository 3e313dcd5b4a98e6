"""Stories and a dialogue about each, told of a `toolkit.story_world.World`.

    Anna went to the kitchen.
    She picked up the apple.
    Ben walked to the garden.
    Where is he?                garden
    And Anna?                   kitchen
    What does she have?         apple

A pronoun means the one person of its gender, or the one thing, that the line before speaks of, its
answer included: so "she" may go on from line to line, and "it" may be what was just answered. "And
Anna?" asks the same of another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from toolkit.english_french import Dice
from toolkit.story_questions import NOT_TOLD, UNTOLD, Question, answer, ask, follow_up
from toolkit.story_world import HELD_OUT, PEOPLE, Cast, Event, World, happen

__all__ = ["LONGEST_ANSWER", "Line", "Stories", "Story", "corpus", "tell"]

Pairs = frozenset[tuple[str, str]]

OBJECTIVE = {"she": "her", "he": "him", "it": "it"}
PRONOUNS = 0.6  # of the times that a pronoun would be clear, it is used
TRAIN, HELD = 20_000, 400  # stories to train on, and of each test set
UNSEEN_PAIRS = "unseen pairs"
LONGEST_ANSWER = 15  # words
EVENTS = range(2, 7)  # of a story
ASKING = range(4, 8)  # questions about a story
TRIES = 100  # questions drawn for a story at most
VERBS = {
    "goes": ("went to", "walked to", "ran to"),
    "takes": ("picked up", "took", "found"),
    "leaves": ("put down", "dropped", "left"),
    "gives": ("gave", "handed"),
}
ASKED = {
    "place of a person": "Where is {person}?",
    "place of a thing": "Where is {thing}?",
    "place before": "Where was {person} before?",
    "holder": "Who has {thing}?",
    "possession": "What does {person} have?",
    "number": "How many things does {person} have?",
    "giver": "Who gave {thing} to {them}?",
    "yes or no: place": "Is {person} in the {place}?",
    "yes or no: possession": "Does {person} have {thing}?",
}


@dataclass(frozen=True)
class Line:
    """A statement, or a question with its answer; and what is known of a question: its relation,
    its form ("whole", "pronoun" or "ellipsis"), the lines that it follows from, counted from 0, and
    whether it rests on a pair that is held out. ``number`` is that of the line in its file, 0 if it
    comes from none.
    """

    text: str
    answer: str = ""
    relation: str = ""
    form: str = ""
    lines: tuple[int, ...] = ()
    new: bool = False
    number: int = field(default=0, compare=False)


Story = tuple[Line, ...]


@dataclass(frozen=True)
class Stories:
    """Stories to train on, to choose the best weights by, and the test sets by name."""

    train: list[Story]
    validation: list[Story]
    tests: dict[str, list[Story]]


def corpus(seed: int = 0, n_train: int = TRAIN, n_validation: int = 200, n_test: int = HELD) -> Stories:
    """Stories of which no two say the same.

    The test set "unseen pairs" has the questions that rest on a pair of `HELD_OUT`, in stories
    where such pairs come together; in all others they never do.
    """
    dice, seen = Dice(seed), set()

    def draw(count: int, wanted: Callable[[Story], Story], avoid: Pairs = HELD_OUT) -> list[Story]:
        found: list[Story] = []
        while len(found) < count:
            story = wanted(tell(dice, avoid))
            said = statements(story)
            if said not in seen and any(line.answer for line in story):
                seen.add(said)
                found.append(story)
        return found

    tests = {"unseen stories": draw(n_test, tuple), UNSEEN_PAIRS: draw(n_test, _with_new, frozenset())}
    return Stories(draw(n_train, tuple), draw(n_validation, tuple), tests)


def statements(story: Story) -> str:
    """What a story says, without its questions."""
    return "\n".join(line.text for line in story if not line.answer)


def _with_new(story: Story) -> Story:
    """The story if a question of it rests on a pair that is held out; otherwise nothing."""
    return story if any(line.new for line in story) else ()


def tell(dice: Dice, avoid: Pairs = HELD_OUT) -> Story:
    """A story and questions about it, in which no pair of ``avoid`` comes together."""
    cast, world = Cast.draw(dice), World()
    lines: list[Line] = []
    spoken: set[str] = set()
    for number in range(dice.pick(EVENTS)):
        event = happen(dice, world, cast, avoid)
        world.apply(event, number)
        text, spoken = _statement(dice, event, spoken)
        lines.append(Line(text))
    return (*lines, *_questions(dice, world, spoken, dice.pick(ASKING), avoid))


def _questions(dice: Dice, world: World, spoken: set[str], count: int, avoid: Pairs) -> list[Line]:
    """``count`` questions, none of them twice; fewer if the story has no more to ask about."""
    made: list[Line] = []
    asked: list[Question] = []
    for _ in range(TRIES):
        follows = follow_up(dice, asked[-1], world, avoid) if asked else None
        question = follows or ask(dice, world, spoken, avoid)
        if question in asked:
            continue
        found = answer(question, world)
        text, form = (_ellipsis(question), "ellipsis") if follows else _spelled(dice, question, spoken)
        relation = NOT_TOLD if found is UNTOLD else question.relation
        made.append(Line(text, found.text, relation, form, found.lines, not found.pairs.isdisjoint(HELD_OUT)))
        asked.append(question)
        spoken = question.named | found.named
        if len(made) == count:
            break
    return made


# --- sentences ------------------------------------------------------------------------------------


def _statement(dice: Dice, event: Event, spoken: Collection[str]) -> tuple[str, set[str]]:
    """An event in words, and what it speaks of."""
    who, thing, other = (_name(dice, name, spoken) for name in (event.person, event.thing, event.other))
    verb = dice.pick(VERBS[event.kind])
    if event.kind == "goes":
        text = f"{who} {verb} the {event.place}."
    elif event.kind == "gives":
        text = f"{who} {verb} {thing} to {OBJECTIVE.get(other, other)}."
    elif event.kind == "leaves" and verb == "left":
        text = f"{who} left {thing} there."
    else:
        text = f"{who} {verb} {thing}."
    return _capital(text), {name for name in (event.person, event.thing, event.other) if name}


def _spelled(dice: Dice, q: Question, spoken: Collection[str]) -> tuple[str, str]:
    """A question in words, and its form."""
    person, thing = (_name(dice, name, spoken) for name in (q.person, q.thing))
    text = ASKED[q.relation].format(person=person, them=OBJECTIVE.get(person, person), thing=thing, place=q.place)
    return text, "pronoun" if {person, thing} & OBJECTIVE.keys() else "whole"


def _ellipsis(q: Question) -> str:
    changed = f"the {q.thing}" if q.relation in ("place of a thing", "holder") else q.person
    return f"And {changed}?"


def _name(dice: Dice, name: str, spoken: Collection[str]) -> str:
    """A person or a thing by name, or often by a pronoun if that is clear."""
    pronoun = PEOPLE.get(name, "it")
    alike = [other for other in spoken if PEOPLE.get(other, "it") == pronoun]
    if name and alike == [name] and dice.chance(PRONOUNS):
        return pronoun
    return name if not name or name in PEOPLE else f"the {name}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
