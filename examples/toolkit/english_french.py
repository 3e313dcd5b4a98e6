"""An English-French corpus that needs no download: sentence pairs of a small grammar, each with one
right answer.

>>> data = corpus(seed=0, n_train=1000, n_validation=10, n_test=10)
>>> len(data.train), len(data.unseen_combinations)
(1000, 10)

`draw` picks a random clause of `toolkit.english_french_grammar`, `corpus` collects distinct ones
and holds out two test sets.  Sentences of the one shape "(noun phrase) sees (noun phrase)" number
1.90e9 already, over three tenses and four polarities, so a held-out sentence tests the grammar and
not the memory; yet there are only some 240 English and 405 French words to learn.

Random numbers come from ``random.Random(seed).random()`` alone, the one method whose sequence
Python guarantees, so that a seed gives the same corpus on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from toolkit.english_french_grammar import Clause, NounPhrase
from toolkit.english_french_words import (
    ADJECTIVES,
    ADVERBS,
    DETERMINERS,
    NAMES,
    NOUNS,
    PREPOSITIONS,
    PRONOUNS,
    VERBS,
    Adjective,
    Noun,
    Subject,
    Verb,
)

__all__ = ["HELD_OUT", "Corpus", "Pair", "corpus", "draw"]

Pair = tuple[str, str]
T = TypeVar("T")

# Word pairs kept out of training: no training sentence has both, however far apart.
HELD_OUT = (
    *(
        ("small", "dog"),
        ("big", "garden"),
        ("huge", "orange"),
        ("beautiful", "tree"),
        ("old", "hotel"),
        ("young", "woman"),
    ),
    *(("good", "cake"), ("black", "horse"), ("red", "car"), ("white", "cat"), ("happy", "girl"), ("tired", "uncle")),
    *(("eat", "apple"), ("see", "bird"), ("find", "key"), ("look for", "aunt"), ("buy", "flower"), ("sell", "book")),
    *(("draw", "house"), ("take", "hat"), ("watch", "child"), ("love", "letter"), ("give", "egg"), ("show", "box")),
)

LENGTHS = range(3, 15)  # English words in a sentence
UNOWNED = ("child", "adult")  # no "my woman"
OWNED = ("kin", "animal")
PEOPLE = ("child", "adult", "kin")
STATEMENT_VERBS = tuple(verb for verb in VERBS.values() if verb.pattern != "that")
# Drawn oftener: "be", which carries the predicative adjectives, and the verbs whose participles
# have four forms.
VERB_LIST = (*VERBS.values(), *(verb for verb in VERBS.values() if verb.with_etre), *[VERBS["be"]] * 4)
DETERMINER_LIST = ("the",) * 6 + ("a",) * 3 + tuple(DETERMINERS)
# "je", "nous" and "vous" alone have their verb forms, so that each is seen often.
PRONOUN_LIST = (*PRONOUNS.values(), *(PRONOUNS[word] for word in ("I", "we", "you")))
WELL_OR_ILL = tuple(PRONOUNS[word] for word in ("you", "you", "he", "she", "we", "they"))
# Idioms, which no other sentence teaches: always among those to train on.
TAUGHT = tuple(Clause(PRONOUNS[word], VERBS["be"], question="how") for word in ("you", "he", "she", "we", "they"))
ADJECTIVE_LIST = tuple(ADJECTIVES.values())
LOCATED = (*PEOPLE, "animal", "food", "item", "paper", "box")  # what may lie under a tree
MOST = 500_000
WHO = Subject("who", "qui", 1, False)


class Dice:
    """Choices at random, the same for one seed in every version of Python."""

    def __init__(self, seed: int) -> None:
        """Start the sequence of ``seed``."""
        self.random = random.Random(seed).random

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``, all equally likely."""
        return options[int(self.random() * len(options))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability


@cache
def _nouns(kinds: Iterable[str]) -> tuple[Noun, ...]:
    return tuple(noun for noun in NOUNS.values() if noun.kind in kinds)


@cache
def _fitting(kind: str, precedes: bool) -> tuple[Adjective, ...]:
    return tuple(
        adjective for adjective in ADJECTIVE_LIST if kind in adjective.kinds and adjective.precedes == precedes
    )


@cache
def _predicates(kind: str) -> tuple[Adjective, ...]:
    return tuple(adjective for adjective in ADJECTIVE_LIST if kind in adjective.kinds and adjective.predicative)


def draw(dice: Dice) -> Clause:
    """A random clause: the verb first, then tense and negation, then who, what and where as the
    verb asks.
    """
    if dice.chance(0.02):
        return _how(dice)
    verb = dice.pick(VERB_LIST)
    if verb.pattern == "that":
        return Clause(_person(dice), verb, that=_clause(dice, dice.pick(STATEMENT_VERBS), ""))
    question = dice.pick(("do", "do", "why", "who", "where")) if dice.chance(0.25) else ""
    return _clause(dice, verb, "do" if question == "where" and verb.pattern != "place" else question)


def _clause(dice: Dice, verb: Verb, question: str) -> Clause:
    tense = dice.pick(("present", "present", "past", "past", "future"))  # "future" has one form, the others many
    negation = dice.pick(("not", "not", "never", "no longer")) if not question and dice.chance(0.4) else ""
    located = verb.pattern == "be" and dice.chance(0.3)
    subject = WHO if question == "who" else _subject(dice, verb, located)
    thing = predicate = place = None
    if verb.pattern in ("object", "give"):
        thing = _noun_phrase(dice, _nouns(verb.objects), indefinite=not verb.specific)
    if verb.pattern == "give":
        place = ("to", "à", _noun_phrase(dice, _nouns(PEOPLE), indefinite=False))
    elif "/" in verb.pattern:
        english, french = verb.pattern.split("/")
        place = (english, french, _noun_phrase(dice, _nouns(("place",)), indefinite=False))
    elif located or (verb.pattern == "place" and question != "where") or (thing and dice.chance(0.2)):
        preposition = dice.pick(tuple(PREPOSITIONS))
        french, nouns = PREPOSITIONS[preposition]
        place = (preposition, french, _noun_phrase(dice, nouns, indefinite=False))
    elif verb.pattern == "be":
        predicate = dice.pick(_predicates(subject.noun.kind if subject.noun else "adult"))
    timely = tense in ADVERBS and negation in ("", "not") and not predicate and dice.chance(0.25)
    adverb = dice.pick(ADVERBS[tense]) if timely else ("", "")
    return Clause(subject, verb, tense, negation, thing, predicate, place, adverb, question)


def _how(dice: Dice) -> Clause:
    """Somebody's health: "How are you, my king?", "How is the small cat tonight?"."""
    adverb = dice.pick((ADVERBS["past"][1], ADVERBS["future"][1])) if dice.chance(0.3) else ("", "")
    if dice.chance(0.4):
        who = _noun_phrase(dice, _nouns(VERBS["sleep"].subjects), indefinite=False)
        return Clause(who.subject(), VERBS["be"], adverb=adverb, question="how")
    addressed = None
    if dice.chance(0.8):
        noun, fine = dice.pick(_nouns(OWNED)), dice.chance(0.4)
        adjectives = (dice.pick(_fitting(noun.kind, True)),) if fine else ()
        phrase = NounPhrase("my", noun, False, adjectives)
        addressed = phrase.subject() if dice.chance(0.9) else dice.pick(tuple(NAMES.values()))
    return Clause(dice.pick(WELL_OR_ILL), VERBS["be"], adverb=adverb, question="how", addressed=addressed)


def _person(dice: Dice) -> Subject:
    """A pronoun or a name, or now and then two names."""
    if dice.chance(0.9):
        return dice.pick(PRONOUN_LIST)
    one, other = dice.pick(tuple(NAMES.values())), dice.pick(tuple(NAMES.values()))
    if one is other or dice.chance(0.5):
        return one
    # Marie et Alice sont parties, but Marie et Paul sont partis
    both = f"{one.english} and {other.english}", f"{one.french} et {other.french}"
    return Subject(*both, 4, one.feminine and other.feminine)


def _subject(dice: Dice, verb: Verb, located: bool) -> Subject:
    if dice.chance(0.5):
        return _person(dice)
    kinds = LOCATED if located else verb.subjects
    return _noun_phrase(dice, _nouns(kinds), indefinite=not located).subject()


def _noun_phrase(dice: Dice, nouns: Sequence[Noun], indefinite: bool) -> NounPhrase:
    noun = dice.pick(nouns)
    determiner = dice.pick(DETERMINER_LIST)
    unfit = determiner == "a" and not indefinite or noun.kind in UNOWNED and determiner not in ("the", "a", "this")
    adjectives: tuple[Adjective, ...] = ()
    if dice.chance(0.4):
        before, after = dice.chance(0.65), dice.chance(0.5)
        adjectives = (dice.pick(_fitting(noun.kind, True)),) if before else ()
        if after and _fitting(noun.kind, False):
            adjectives += (dice.pick(_fitting(noun.kind, False)),)
    return NounPhrase("the" if unfit else determiner, noun, dice.chance(0.3), adjectives)


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs to train on, to choose a model by, and to judge it by; no English sentence is
    in two lists.
    """

    train: list[Pair]
    validation: list[Pair]
    unseen_sentences: list[Pair]
    unseen_combinations: list[Pair]  # each has a pair of `HELD_OUT`, which no training sentence has


def corpus(seed: int = 0, n_train: int = 30_000, n_validation: int = 500, n_test: int = 1000) -> Corpus:
    """Draw ``n_train + n_validation + 2 * n_test`` distinct sentence pairs.

    ``unseen_sentences`` come from the same distribution as ``train``.  ``unseen_combinations`` have
    an adjective with its noun, or a verb with its object, that occur in training apart but never in
    one sentence.

    Raises ValueError for a negative number, or for more than the grammar is asked to give (`MOST`
    pairs).
    """
    sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
    for name, size in sizes.items():
        if not 0 <= size <= MOST:
            raise ValueError(f"corpus() got {name}={size}; write a number from 0 to {MOST}")
    dice, held_out = Dice(seed), frozenset(HELD_OUT)
    taught = [(clause.english(), clause.french()) for clause in TAUGHT[:n_train]]
    seen = {english for english, _ in taught}
    plain: list[Pair] = []
    combined: list[Pair] = []
    enough = n_test + n_validation + n_train - len(taught)
    while len(plain) < enough or len(combined) < n_test:
        clause = draw(dice)
        combination = not held_out.isdisjoint(clause.bonds)
        wanted = len(combined) < n_test if combination else len(plain) < enough and not _touches(clause.lemmas)
        english = clause.english() if wanted else ""
        if wanted and english not in seen and len(english.split()) in LENGTHS:
            seen.add(english)
            (combined if combination else plain).append((english, clause.french()))
    tests, rest = plain[:n_test], plain[n_test:]
    return Corpus(taught + rest[n_validation:], rest[:n_validation], tests, combined)


def _touches(lemmas: frozenset[str]) -> bool:
    return any(one in lemmas and other in lemmas for one, other in HELD_OUT)
