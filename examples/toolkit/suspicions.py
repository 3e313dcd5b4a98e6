"""What is suspicious in a corpus of sentence pairs, found before hours are spent on it.

Each kind of suspicion is a rule that reads as one; none of them knows a language. Which pairs
`without` leaves out, and which are only told, says `KINDS`.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from toolkit.console import UserError
from toolkit.corpus import Corpus, Pair

__all__ = ["KINDS", "Place", "Side", "find", "sides_of", "without"]

TRAIN, VALIDATION = "train", "validation"
LONG = 1000  # characters of a side that is no sentence any more
APART = 3.0  # times the usual ratio of lengths from which on a pair is suspicious
SPREAD = 6.0  # and so many times the usual distance from it
SHORT = 5  # characters added to each length, so that short sentences may differ more
WORDS = 3  # from which on a translation that equals its sentence is suspicious
LETTERS = 4  # of another script from which on a text is suspicious

CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
BROKEN = re.compile(
    f"[{CONTROL}\\ufffd\\ufeff\\ue000-\\uf8ff]|[ÃÂ][\x80-\xbf]|â€"
)  # the last two: UTF-8 read as Latin-1
INVISIBLE = re.compile("[\\u00ad\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2064]")
MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});")


class Place(NamedTuple):
    """A pair of a corpus: the name of its part, and which of it, from 1."""

    part: str
    number: int


class Kind(NamedTuple):
    """What is said of a kind of suspicion, and whether such pairs are left out by --skip-bad."""

    said: str
    left_out: bool


KINDS = {
    "repeated": Kind("pairs that training has already", True),
    "leak": Kind("training sentences that are validated or tested by", True),
    "several": Kind("sentences of training with more than one translation", False),
    "copied": Kind(f"translations that are the sentence itself, of {WORDS} words or more", True),
    "long": Kind(f"pairs with a side of more than {LONG:,} characters", True),
    "ratio": Kind("pairs of which one side is far too long for the other", True),
    "broken": Kind("pairs with broken characters: control, replacement, UTF-8 read as something else", True),
    "invisible": Kind("pairs with invisible characters: soft hyphens, blanks of no width, marks of direction", False),
    "markup": Kind("pairs with tags or entities, such as <b> and &amp;", True),
    "script": Kind("pairs with a side in another script than the others", True),
}


@dataclass(frozen=True)
class Side:
    """The texts of one language: the script of most, and their lengths in words or, without blanks
    between words, in characters.
    """

    script: str
    shortest: int
    middle: int
    longest: int


def find(corpus: Corpus) -> dict[str, list[Place]]:
    """The suspicious pairs of each kind of `KINDS`, in the order of the corpus; a kind without any
    is left out.
    """
    parts = {TRAIN: corpus.train, VALIDATION: corpus.validation, **corpus.tests}
    found: dict[str, list[Place]] = defaultdict(list)
    _compare_pairs(corpus, found)
    scripts = [_usual_script([pair[side] for pair in corpus.train]) for side in (0, 1)]
    usual, allowed = _usual_ratio(corpus.train)
    for part, pairs in parts.items():
        for number, pair in enumerate(pairs, start=1):
            for kind in _faults(pair, scripts, usual, allowed):
                found[kind].append(Place(part, number))
    return {kind: found[kind] for kind in KINDS if found[kind]}


def without(corpus: Corpus) -> Corpus:
    """The corpus without the pairs that `find` names and `KINDS` leaves out. Test sets are kept as
    they are: what they give is to be compared. Raises UserError if nothing is left.
    """
    bad = {place for kind, places in find(corpus).items() if KINDS[kind].left_out for place in places}
    train = [pair for number, pair in enumerate(corpus.train, start=1) if Place(TRAIN, number) not in bad]
    validation = [
        pair for number, pair in enumerate(corpus.validation, start=1) if Place(VALIDATION, number) not in bad
    ]
    if not (train and validation):
        raise UserError("of the pairs to train or to validate by none is left without suspicion; see what check says")
    dropped = len(corpus.train) + len(corpus.validation) - len(train) - len(validation)
    return replace(corpus, train=train, validation=validation, bad=dropped)


def sides_of(pairs: Sequence[Pair]) -> tuple[Side, Side]:
    """What the two sides of the pairs look like."""
    made = []
    for side in (0, 1):
        texts = [pair[side] for pair in pairs]
        script = _usual_script(texts)
        lengths = sorted(len(text) if script in UNSPACED else len(text.split()) for text in texts)
        made.append(Side(script, lengths[0], lengths[len(lengths) // 2], lengths[-1]))
    return made[0], made[1]


# --- rules of several pairs -----------------------------------------------------------------------


def _compare_pairs(corpus: Corpus, found: dict[str, list[Place]]) -> None:
    """What is suspicious of pairs beside others."""
    held_out = {source for pairs in (corpus.validation, *corpus.tests.values()) for source, _ in pairs}
    seen: set[Pair] = set()
    translations: dict[str, str] = {}
    for number, pair in enumerate(corpus.train, start=1):
        place = Place(TRAIN, number)
        if pair in seen:
            found["repeated"].append(place)
            continue
        seen.add(pair)
        if pair[0] in held_out:
            found["leak"].append(place)
        if translations.setdefault(*pair) != pair[1]:
            found["several"].append(place)


def _usual_ratio(pairs: Sequence[Pair]) -> tuple[float, float]:
    """The median of the logarithm of how much longer a translation is, and how far from it a pair
    may be.
    """
    ratios = np.array([_ratio(pair) for pair in pairs])
    usual = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - usual)))  # of a normal distribution: its standard deviation
    return usual, max(math.log(APART), SPREAD * spread)


def _ratio(pair: Pair) -> float:
    return math.log((len(pair[1]) + SHORT) / (len(pair[0]) + SHORT))


# --- rules of one pair ----------------------------------------------------------------------------


def _faults(pair: Pair, scripts: Sequence[str], usual: float, allowed: float) -> Iterator[str]:
    """The kinds of which a pair is, looked at by itself."""
    source, target = pair
    if source.casefold() == target.casefold() and len(source.split()) >= WORDS:
        yield "copied"
    if max(len(source), len(target)) > LONG:
        yield "long"
    if abs(_ratio(pair) - usual) > allowed:
        yield "ratio"
    both = f"{source} {target}"
    if not both.isascii() or not both.isprintable():
        if BROKEN.search(both):
            yield "broken"
        if INVISIBLE.search(both):
            yield "invisible"
    if ("<" in both or "&" in both) and MARKUP.search(both):
        yield "markup"
    if any(_is_of_another(text, script) for text, script in zip(pair, scripts, strict=True)):
        yield "script"


def _is_of_another(text: str, script: str) -> bool:
    """Whether most letters of ``text`` are not of ``script``."""
    if script == LATIN and text.isascii():
        return False
    counts = Counter(_script(letter) for letter in text if letter.isalpha())
    others = counts.total() - counts[script]
    return others >= LETTERS and 2 * others > counts.total()


# --- scripts --------------------------------------------------------------------------------------

LATIN, EAST_ASIAN = "Latin", "Chinese or Japanese"
UNSPACED = (EAST_ASIAN, "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
GATHERED = {"Cjk": EAST_ASIAN, "Hiragana": EAST_ASIAN, "Katakana": EAST_ASIAN, "Katakana-hiragana": EAST_ASIAN,
            "Halfwidth": EAST_ASIAN, "Fullwidth": LATIN}  # fmt: skip
SAMPLE = 2000  # texts from which the script of all is told


@functools.cache
def _script(letter: str) -> str:
    """The script of a letter: the first word of its name in Unicode."""
    first = unicodedata.name(letter, "unknown").split()[0].capitalize()
    return GATHERED.get(first, first)


def _usual_script(texts: Sequence[str]) -> str:
    """The script of most letters of some of the texts, spread over all; Latin if there are none."""
    some = texts[:: max(1, len(texts) // SAMPLE)]
    counts = Counter(_script(letter) for text in some for letter in text if letter.isalpha())
    return counts.most_common(1)[0][0] if counts else LATIN
