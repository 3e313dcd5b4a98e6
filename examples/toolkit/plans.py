"""Made-up minutes of a club, and the one right summary of each: what holds of the plan that they
are about.

    We met about the picnic. The picnic is on Monday. Anna leads the picnic. By the way, the concert
    is on Friday. The tea was cold. Ben would like the picnic in the park. The picnic was moved to
    Sunday.

    The picnic is on Sunday, led by Anna.

The rule, `summary`: of the plan that the first sentence names, the last day, place and leader that
are told, in this order; what is not told is left out. What was last year, what somebody would like,
and what is said by the way of other plans does not count, nor does what stands behind "not". A plan
that is called off anywhere is "called off", and nothing else matters.

Sentences are made, and read by the rule, from the same tables of their forms. In the minutes to
train on, some pairs of a plan and a day, place or person (`HELD_OUT`) never share a sentence.

>>> summary("We met about the fair. Ben leads the fair. Not Ben but Emma leads the fair.")
'The fair is led by Emma.'
>>> made = corpus(n_train=50, n_validation=5, n_test=5)
>>> {name: len(pairs) for name, pairs in made.tests.items()}
{'unseen_texts': 5, 'unseen_combinations': 5, 'longer_texts': 5}
"""

from __future__ import annotations

import re

from toolkit.corpus import Corpus, Pair
from toolkit.documents import SENTENCE
from toolkit.english_french import Dice

__all__ = ["HELD_OUT", "PLANS", "VALUES", "corpus", "draw", "summary", "traits"]

PLANS = ("picnic", "concert", "fair", "play", "race", "dinner", "walk", "lecture")
VALUES = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "place": ("park", "hall", "garden", "school", "library", "barn", "square", "harbour"),
    "leader": ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Greta", "Hugo"),
}

OPENING = "We met about the {plan}."
FIRST = {  # how a fact is told at first
    "day": "The {plan} is on {value}.",
    "place": "The {plan} is in the {value}.",
    "leader": "{value} leads the {plan}.",
}
CHANGES = {  # how it is told later
    "day": ("The {plan} was moved to {value}.", "The {plan} is not on {other} but on {value}."),
    "place": ("The {plan} was moved to the {value}.", "The {plan} is not in the {other} but in the {value}."),
    "leader": ("{value} takes over the {plan}.", "Not {other} but {value} leads the {plan}."),
}
OFF = "The {plan} is called off."
ASIDE = "By the way, "  # before what is told of another plan
IDLE = {  # what does not count
    "day": ("Last year the {plan} was on {value}.", "{person} would like the {plan} on {value}."),
    "place": ("Last year the {plan} was in the {value}.", "{person} would like the {plan} in the {value}."),
    "leader": ("Last year {value} led the {plan}.", "{person} would like {value} to lead the {plan}."),
}
FILLERS = ("The tea was cold.", "{person} came late.", "Everybody thanked {person}.", "The treasurer was content.")
SAID = {"day": "on {}", "place": "in the {}", "leader": "led by {}"}  # in a summary

# Pairs of a plan and a word that share no sentence of training.
HELD_OUT = frozenset(
    (plan, values[(number + shift) % len(values)])
    for number, plan in enumerate(PLANS)
    for values, shift in zip(VALUES.values(), (0, 3, 5), strict=True)
)

TOLD, CHANGED, CALLED_OFF = 0.85, 0.35, 0.06  # shares of facts told, of those changed (and again), of plans
EXTRA, LONGER_EXTRA = range(1, 4), range(5, 8)  # sentences that do not count; in longer texts


# --- the rule -------------------------------------------------------------------------------------


def _reader(form: str) -> re.Pattern[str]:
    """What finds the words in a sentence of a form."""
    slots = {name: rf"(?P<{name}>\w+)" for name in ("plan", "value", "other", "person")}
    return re.compile(re.escape(form).replace(r"\{", "{").replace(r"\}", "}").format(**slots))


COUNTS = [(fact, _reader(form)) for fact in VALUES for form in (FIRST[fact], *CHANGES[fact])]
OPENS, ENDS = _reader(OPENING), _reader(OFF)


def _read(text: str) -> tuple[str, dict[str, list[str]], bool]:
    """The plan of a text, the values told of each of its facts, the last one last, and whether it
    is called off.
    """
    first, *others = SENTENCE.split(text)
    opening = OPENS.fullmatch(first)
    if opening is None:
        raise ValueError(f"the first sentence must be such as {OPENING!r}, not {first!r}")
    told: dict[str, list[str]] = {fact: [] for fact in VALUES}
    plan, off = opening["plan"], False
    for sentence in others:
        ended = ENDS.fullmatch(sentence)
        off |= ended is not None and ended["plan"] == plan
        for fact, reader in COUNTS:
            found = reader.fullmatch(sentence)
            if found and found["plan"] == plan and found["value"] in VALUES[fact]:
                told[fact].append(found["value"])
    return plan, told, off


def summary(text: str) -> str:
    """What the rule makes of a text; see the head of this file. Raises ValueError for one that does
    not begin as all do.
    """
    plan, told, off = _read(text)
    said = [SAID[fact].format(values[-1]) for fact, values in told.items() if values]
    if off or not said:
        return f"The {plan} is called off." if off else f"Nothing is known of the {plan}."
    *before, last = said
    return f"The {plan} is {' '.join(before)}{', ' if before and 'led' in last else ' ' if before else ''}{last}."


def traits(text: str) -> list[str]:
    """What may make a text hard: a fact that is changed, and how often in all; its plan is called
    off.
    """
    _, told, off = _read(text)
    if off:
        return ["called off"]
    changes = sum(max(0, len(values) - 1) for values in told.values())
    return [f"{changes} change{'' if changes == 1 else 's'}" if changes < 3 else "3 changes or more"]


# --- drawing --------------------------------------------------------------------------------------


def draw(dice: Dice, avoid: frozenset[tuple[str, str]] = frozenset(), extra: range = EXTRA) -> str:
    """Random minutes, none of whose sentences has a pair of ``avoid``; ``extra``: how many
    sentences that do not count.
    """
    plan = dice.pick(PLANS)
    others = [other for other in PLANS if other != plan]
    topics = [(plan, fact) for fact in VALUES for _ in range(_times(dice))]
    if not topics:
        topics = [(plan, dice.pick(tuple(VALUES)))]
    if dice.chance(CALLED_OFF):
        topics.append((plan, "off"))
    for _ in range(dice.pick(extra)):
        kind = dice.random()
        if kind < 0.4:
            topics.append((plan, "idle"))
        elif kind < 0.8:
            topics.append((dice.pick(others), "off" if dice.chance(CALLED_OFF) else dice.pick(tuple(VALUES))))
        else:
            topics.append((plan, "filler"))
    told: dict[tuple[str, str], str] = {}
    sentences = [OPENING.format(plan=plan)]
    while topics:
        place = int(dice.random() * len(topics))
        about, topic = topics[place]
        if topic == "off" and any(other == about and fact in VALUES for other, fact in topics):
            continue  # what is called off is not told of afterwards
        del topics[place]
        sentence = _sentence(dice, about, topic, told, avoid)
        sentences.append(sentence if about == plan else _aside(sentence))
    return " ".join(sentences)


def _aside(sentence: str) -> str:
    """A sentence told by the way; names keep their capitals."""
    return ASIDE + (sentence if sentence.startswith(VALUES["leader"]) else sentence[0].lower() + sentence[1:])


def _times(dice: Dice) -> int:
    """How often a fact is told: not, once, or again with each change."""
    if not dice.chance(TOLD):
        return 0
    return 1 + (dice.chance(CHANGED) and 1 + dice.chance(CHANGED))


def _sentence(
    dice: Dice, plan: str, topic: str, told: dict[tuple[str, str], str], avoid: frozenset[tuple[str, str]]
) -> str:
    """A sentence of a topic; ``told`` has the last values of the facts of each plan."""

    def value(fact: str, but: str = "") -> str:
        return dice.pick([one for one in VALUES[fact] if one != but and (plan, one) not in avoid])

    if topic == "off":
        return OFF.format(plan=plan)
    if topic == "filler":
        return dice.pick(FILLERS).format(person=dice.pick(VALUES["leader"]))
    if topic == "idle":
        fact = dice.pick(tuple(VALUES))
        person = value("leader")
        return dice.pick(IDLE[fact]).format(plan=plan, person=person, value=value(fact, person))
    before = told.get((plan, topic), "")
    told[plan, topic] = value(topic, before)
    form = dice.pick(CHANGES[topic]) if before else FIRST[topic]
    return form.format(plan=plan, value=told[plan, topic], other=before)


def corpus(seed: int = 0, n_train: int = 12_000, n_validation: int = 300, n_test: int = 500) -> Corpus:
    """Pairs (minutes, summary), no minutes twice. The test sets, ``n_test`` of each:

    unseen_texts, drawn as those of training; unseen_combinations, of which each summary has a pair
    of `HELD_OUT`; longer_texts, with more sentences that do not count than any of training.
    """
    dice = Dice(seed)
    seen: set[str] = set()

    def collect(count: int, avoid: frozenset[tuple[str, str]] = HELD_OUT, extra: range = EXTRA) -> list[Pair]:
        pairs: list[Pair] = []
        while len(pairs) < count:
            text = draw(dice, avoid, extra)
            made = summary(text)
            if text not in seen and (avoid or _has_held_out(made)):
                seen.add(text)
                pairs.append((text, made))
        return pairs

    tests = {
        "unseen_texts": collect(n_test),
        "unseen_combinations": collect(n_test, frozenset()),
        "longer_texts": collect(n_test, extra=LONGER_EXTRA),
    }
    return Corpus(collect(n_train), collect(n_validation), tests)


def _has_held_out(text: str) -> bool:
    """Whether a text has both words of a pair of `HELD_OUT`."""
    words = set(re.findall(r"\w+", text))
    return any(words.issuperset(pair) for pair in HELD_OUT)
