"""Made sentences with a word of two senses, and made texts with a word that stands for another.

    look , the old needle point at the window is sharp .        "point", a noun
    look , the old pupils point at the window and laugh .       "point", a verb

Up to "point" the two differ in the noun before it alone: a thing that has a point, or people. Each
noun is also in sentences without "point", which tell what it is. `NEW` nouns of either sense are
never beside "point" in training, and a quarter of all pairs of noun and target are held out.

    anna comes from france . bob comes from spain .
    anna says that in that country french is spoken .

Two people, two countries, and one of the two, the first or the second equally often, is named
again: "that country" is that person's. In training no person comes from the country of the same
number in its list, and a fifth of the other pairs of two people with their countries is held out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["COUNTRIES", "IDS", "LANGUAGES", "NEW", "PAD", "PEOPLE", "SENSES", "WORDS", "Texts"]
__all__ += ["country_texts", "other_sentences", "padded", "point_sentences"]

SENSES = (  # nouns before "point", a noun and a verb
    "needle pencil arrow knife spear pen nail thorn dart fork lance chisel".split(),
    "pupils children tourists hunters soldiers girls boys guests nurses sailors farmers singers".split(),
)
NEW = 4  # the last nouns of each, that training never has before "point"
TARGETS = "window door tower tree wall map clock bridge".split()
STARTS = ("", "look ,", "today", "you see that", "again")
ADJECTIVES = ("", "old", "small", "new", "strange")
ENDS = (
    ("", "is sharp", "is broken", "is made of iron", "hurts"),
    ("", "and laugh", "and wonder", "and cry out", "and wait"),
)
OTHER = (  # sentences without "point"; what is said of the nouns of either sense
    ("the _ lies on the table", "the _ is made of iron", "she bought a _ today", "the _ is broken", "he found a _"),
    ("the _ sing a song", "the _ walk home and laugh", "the _ wait at the door", "we met the _ today", "the _ cry out"),
)
PEOPLE = "anna bob carl dora emil frida gustav hanna".split()
COUNTRIES = "france spain italy norway egypt japan poland greece".split()
LANGUAGES = "french spanish italian norwegian arabic japanese polish greek".split()
VERBS = "says writes knows forgets".split()
TEXT = "{} comes from {} . {} comes from {} . {} {} that in that country {} is spoken ."

PAD = 0
_PHRASES = [*STARTS, *ADJECTIVES, *sum(ENDS + OTHER, ()), TEXT.replace("{}", ""), "the point at"]
_NAMES = [*sum(SENSES, []), *TARGETS, *PEOPLE, *COUNTRIES, *LANGUAGES, *VERBS]
WORDS = ["<pad>", *dict.fromkeys(word for word in [*_NAMES, *" ".join(_PHRASES).split()] if word != "_")]
IDS = {word: number for number, word in enumerate(WORDS)}


@dataclass(frozen=True)
class Texts:
    """N texts: ``ids`` (N, T), padded; ``place`` (N,) of the word that is asked about; ``labels``
    (N,), its sense or the country it stands for; ``others`` (N,), the other sense or country.
    """

    ids: np.ndarray
    place: np.ndarray
    labels: np.ndarray
    others: np.ndarray

    def told(self) -> list[str]:
        """The texts in words."""
        return [" ".join(WORDS[word] for word in row if word != PAD) for row in self.ids]


def padded(texts: list[str]) -> np.ndarray:
    """Ids (N, T) of texts of different lengths."""
    rows = [[IDS[word] for word in text.split()] for text in texts]
    ids = np.full((len(rows), max(map(len, rows))), PAD)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words)] = words
    return ids


def point_sentences(generator: np.random.Generator, count: int, kind: str) -> Texts:
    """Sentences with "point", of both senses in turn, of one kind: "training"; "unseen", pairs of
    noun and target that no sentence to train on has; "new", with the `NEW` nouns.
    """
    texts, places = [], []
    for number in range(count):
        sense, draws = number % 2, generator.random(5)
        nouns = SENSES[sense][-NEW:] if kind == "new" else SENSES[sense][:-NEW]
        held = np.add.outer(range(len(nouns)), range(len(TARGETS))) % 4 == 0
        pairs = np.argwhere(~held if kind == "training" else held if kind == "unseen" else held | True)
        noun, target = pairs[int(draws[0] * len(pairs))]
        start, adjective, end = (
            things[int(draw * len(things))]
            for draw, things in zip(draws[1:], (STARTS, ADJECTIVES, ENDS[sense]), strict=False)
        )
        before = f"{start} the {adjective} {nouns[noun]}"
        places.append(len(before.split()))
        texts.append(f"{before} point at the {TARGETS[target]} {end} .")
    labels = np.arange(count) % 2
    return Texts(padded(texts), np.array(places), labels, 1 - labels)


def other_sentences(generator: np.random.Generator, count: int) -> np.ndarray:
    """Ids (count, T) of sentences without "point", of all nouns."""
    texts = []
    for sense in generator.integers(0, 2, count):
        phrase, noun = (things[generator.integers(len(things))] for things in (OTHER[sense], SENSES[sense]))
        texts.append(f"{phrase.replace('_', noun)} .")
    return padded(texts)


def country_texts(generator: np.random.Generator, count: int, kind: str) -> Texts:
    """Texts with "that country" of one kind: "training"; "unseen", two people with two countries as
    no text to train on has them; "combination", in which the person named again, and that one
    alone, comes from a country from which training never has it come.
    """
    facts = _facts(kind)
    facts = facts[generator.integers(0, len(facts), count)]
    people, countries = facts[:, [0, 2]], facts[:, [1, 3]]  # (count, 2) each
    who = (people == countries).argmax(axis=1) if kind == "combination" else generator.integers(0, 2, count)
    verbs = generator.integers(0, len(VERBS), count)
    texts, rows = [], np.arange(count)
    labels, others = countries[rows, who], countries[rows, 1 - who]
    for (a, b), (c, d), again, verb, right in zip(people, countries, people[rows, who], verbs, labels, strict=True):
        names = PEOPLE[a], COUNTRIES[c], PEOPLE[b], COUNTRIES[d], PEOPLE[again]
        texts.append(TEXT.format(*names, VERBS[verb], LANGUAGES[right]))
    ids = padded(texts)
    return Texts(ids, (ids == IDS["country"]).argmax(axis=1), labels, others)


def _facts(kind: str) -> np.ndarray:
    """Person, country, person, country (facts, 4) by their numbers, all of one kind of text."""
    n = len(COUNTRIES)
    facts = np.stack(np.unravel_index(np.arange(n**4), (n,) * 4), axis=1)
    a, c, b, d = facts.T
    real = (a != b) & (c != d)
    new = (a == c).astype(int) + (b == d)  # people from the country that is withheld from them
    if kind == "combination":
        return facts[real & (new == 1)]
    held = np.random.default_rng(0).random(len(facts)) < 0.2
    return facts[real & (new == 0) & (held if kind == "unseen" else ~held)]
