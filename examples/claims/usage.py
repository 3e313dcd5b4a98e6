"""A made corpus in which a word is known by the company it keeps: by what is said of it.

    the king sat on the throne             one day the queen sat on the throne
    then the boy climbed a ladder          they peeled the apple quickly

Each noun is of some kinds, and stands in the phrases of its kinds and in no others. That is all
that the grammar says: no word has coordinates, none is called the like of another, and no two nouns
are ever in one sentence. The last word of a phrase, its key, is in no other phrase.

Of each kind of a noun one phrase is withheld from it: what is said of others of that kind, and was
never said of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["KINDS", "PAIRS", "PHRASES", "Corpus", "Withheld", "analogies", "key_of", "make_corpus"]

SAID = {  # of each kind: phrases, with "_" for the noun, or to be put behind "the" and the noun
    "person": "said hello, told a story, laughed aloud, opened the door, had breakfast",
    "male": "trimmed his beard, tied his necktie, sang bass, he is a good _ sir, put on his cap",
    "female": "sewed her gown, wore her brooch, sang alto, she is a good _ madam, put on her skirt",
    "royal": "sat on the throne, wore a crown, ruled the realm, left the palace, they bowed to the _ deeply",
    "grown": "paid the tax, drove the car, went to work, drank some wine, signed the contract",
    "young": "went to school, played with a doll, learned the alphabet, grew taller, climbed a ladder",
    "parent": "rocked the cradle, packed the lunchbox, calmed the baby, sang a lullaby, washed the bib",
    "stage": "learned the script, they applauded the _ loudly, took a bow, feared the critics, stood in the limelight",
    "magic": "stirred the cauldron, cast a spell, waved the wand, mixed a potion, rode on a broomstick",
    "convent": "knelt to pray, walked to the chapel, kept the vow, lit the candle, copied the psalm",
    "table": "brought the menu, poured the soup, got a tip, laid the tablecloth, they asked the _ for the bill",
    "fruit": "they peeled the _ quickly, fell from the branch, is sweet, they made the _ into jam, they ate the _ raw",
    "animal": "slept in the barn, they fed the _ hay, has four legs, wagged its tail, has soft fur",
    "place": "they went to _ by train, the map shows _ clearly, they read _ history, they fled from _ abroad, they left _ early",
}  # fmt: skip
PHRASES = {
    kind: [phrase if "_" in phrase else f"the _ {phrase}" for phrase in phrases.split(", ")]
    for kind, phrases in SAID.items()
}
PAIRS = {  # a man's word and a woman's, and the kinds of both
    ("king", "queen"): "royal grown", ("man", "woman"): "grown", ("prince", "princess"): "royal young",
    ("boy", "girl"): "young", ("father", "mother"): "parent grown", ("actor", "actress"): "stage grown",
    ("wizard", "witch"): "magic grown", ("monk", "nun"): "convent grown", ("waiter", "waitress"): "table grown",
}  # fmt: skip
OTHERS = {
    "fruit": "apple pear plum cherry peach grape lemon",
    "animal": "horse cow dog cat sheep goat",
    "place": "france spain italy norway egypt japan",
}
KINDS = {  # of each noun
    **{
        noun: ("person", gender, *kinds.split())
        for pair, kinds in PAIRS.items()
        for noun, gender in zip(pair, ("male", "female"), strict=True)
    },
    **{noun: (kind,) for kind, nouns in OTHERS.items() for noun in nouns.split()},
}
STARTS = ("", "one day", "in the morning", "last year", "then", "every week")

Withheld = tuple[str, str]  # a noun and a phrase


@dataclass(frozen=True)
class Corpus:
    """``words`` in the order of their ids; ``sentences`` as lists of ids; what is in none."""

    words: list[str]
    sentences: list[list[int]]
    withheld: list[Withheld]

    def pairs(self, window: int) -> np.ndarray:
        """Each word and each neighbour of it at most ``window`` places away, (pairs, 2) ids."""
        found = [
            (word, row[other])
            for row in self.sentences
            for place, word in enumerate(row)
            for other in range(max(0, place - window), min(len(row), place + window + 1))
            if other != place
        ]
        return np.array(found)


def key_of(phrase: str) -> str:
    """The word of a phrase that no other has: its last."""
    return phrase.split()[-1]


def make_corpus(seed: int, count: int) -> Corpus:
    """``count`` sentences, each of a noun, one of its kinds and a phrase of that kind drawn at
    random, and what is withheld from each noun, by the seed too.
    """
    generator = np.random.default_rng(seed)

    def one_of(things):
        return things[generator.integers(len(things))]

    nouns, withheld = list(KINDS), []
    for kind, phrases in PHRASES.items():  # by turns, so that no phrase is withheld from all
        order = generator.permutation(len(phrases))
        members = [noun for noun in nouns if kind in KINDS[noun]]
        withheld += [(noun, phrases[order[turn % len(order)]]) for turn, noun in enumerate(members)]
    texts: list[list[str]] = []
    while len(texts) < count:
        noun = one_of(nouns)
        phrase = one_of(PHRASES[one_of(KINDS[noun])])
        if (noun, phrase) not in withheld:
            texts.append([*one_of(STARTS).split(), *phrase.replace("_", noun).split()])
    every = [word for phrases in PHRASES.values() for phrase in phrases for word in phrase.split() if word != "_"]
    words = list(dict.fromkeys([*nouns, *every, *" ".join(STARTS).split()]))
    ids = {word: number for number, word in enumerate(words)}
    return Corpus(words, [[ids[word] for word in text] for text in texts], withheld)


def analogies() -> list[tuple[str, str, str, str]]:
    """All (a, b, c, d) with a to b as c to d, of two pairs of man's and woman's words, both ways:
    (man, woman, king, queen) and (woman, man, queen, king) among them.
    """
    pairs = list(PAIRS)
    both = [(one, other) for one in pairs for other in pairs if one != other]
    return [(*a, *c) for a, c in both] + [(*a[::-1], *c[::-1]) for a, c in both]
