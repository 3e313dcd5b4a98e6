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
from collections.abc import Iterator, Mapping, Sequence
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
FAR = 3.0  # times as often on the other side as on its own that a word is of the other language
SHORT = 5  # characters added to each length, so that short sentences may differ more
WORDS, CHARACTERS = 3, 5  # from which on a translation that equals its sentence is suspicious; of an unspaced script
LETTERS = 4  # of another script from which on a text is suspicious

CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
BROKEN = re.compile(
    f"[{CONTROL}\\ufffd\\ufeff\\ue000-\\uf8ff]|[ÃÂ][\x80-\xbf]|â€"
)  # the last two: UTF-8 read as Latin-1
INVISIBLE = re.compile("[\\u00ad\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2064]")
WORD = re.compile(r"[^\W\d_]+")
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
    "repeated": Kind("pairs that their part has already", True),
    "leak": Kind("training sentences that are validated or tested by", True),
    "case": Kind("training sentences that are validated or tested by, but for case and blanks", True),
    "shared": Kind("sentences to validate or to test by that another test set has too, in any case", True),
    "several": Kind("sentences of training with more than one translation", False),
    "copied": Kind(
        f"translations that are the sentence itself, of {WORDS} words or more, or {CHARACTERS} characters without blanks",
        True,
    ),
    "swapped": Kind(
        f"pairs of which a side has {WORDS} words or more that are far more common on the other side, and none of its own",
        False,
    ),
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


def find(corpus: Corpus, told: bool = True) -> dict[str, list[Place]]:
    """The suspicious pairs of each kind of `KINDS`, in the order of the corpus; a kind without any
    is left out. told: also look for what is slow to find and only told.
    """
    parts = {TRAIN: corpus.train, VALIDATION: corpus.validation, **corpus.tests}
    found: dict[str, list[Place]] = defaultdict(list)
    _compare_pairs(parts, found)
    if told:
        found["swapped"] = list(_find_swapped(parts))
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
    bad = {place for kind, places in find(corpus, told=False).items() if KINDS[kind].left_out for place in places}
    parts = {TRAIN: corpus.train, VALIDATION: corpus.validation}
    good = {part: [n for n in range(len(pairs)) if Place(part, n + 1) not in bad] for part, pairs in parts.items()}
    train, validation = ([pairs[n] for n in good[part]] for part, pairs in parts.items())
    if not (train and validation):
        raise UserError("of the pairs to train or to validate by none is left without suspicion; see what check says")
    dropped = len(corpus.train) + len(corpus.validation) - len(train) - len(validation)
    lines = {part: [corpus.line(part, n + 1) for n in kept] for part, kept in good.items()}
    return replace(corpus, train=train, validation=validation, bad=dropped, lines={**corpus.lines, **lines})


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


def _compare_pairs(parts: Mapping[str, Sequence[Pair]], found: dict[str, list[Place]]) -> None:
    """What is suspicious of pairs beside others."""
    held_out = {part: {source for source, _ in pairs} for part, pairs in parts.items() if part != TRAIN}
    exact = set().union(*held_out.values())
    alike = {_alike(source) for source in exact}
    translations: dict[str, str] = {}
    for part, pairs in parts.items():
        seen: set[Pair] = set()
        held_out.pop(part, None)  # each two parts are compared once, the pairs of the first are named
        others = set() if part == TRAIN else {_alike(text) for texts in held_out.values() for text in texts}
        for number, pair in enumerate(pairs, start=1):
            place, source = Place(part, number), pair[0]
            if pair in seen:
                found["repeated"].append(place)
                continue
            seen.add(pair)
            if part != TRAIN:
                if _alike(source) in others:
                    found["shared"].append(place)
                continue
            if source in exact:
                found["leak"].append(place)
            elif _alike(source) in alike:
                found["case"].append(place)
            if translations.setdefault(*pair) != pair[1]:
                found["several"].append(place)


def _alike(text: str) -> str:
    """The same for texts that differ in case and in blanks alone."""
    return " ".join(text.casefold().split())


def _find_swapped(parts: Mapping[str, Sequence[Pair]]) -> Iterator[Place]:
    """The pairs with a side whose words are those of the other language: `WORDS` of them are more
    than `FAR` times as often on the other side of other training pairs, and none so on its own.
    """
    counts = tuple(Counter(word for pair in parts[TRAIN] for word in _words(pair[side])) for side in (0, 1))
    for part, pairs in parts.items():
        for number, pair in enumerate(pairs, start=1):
            if _alike(pair[0]) == _alike(pair[1]):  # copied, or a name
                continue
            both = _words(pair[0]), _words(pair[1])
            if any(_is_foreign(both, side, counts, part == TRAIN) for side in (0, 1)):
                yield Place(part, number)


def _is_foreign(both: Sequence[set[str]], side: int, counts: Sequence[Counter[str]], counted: bool) -> bool:
    """Whether the words of a side of a pair are the other language's; ``counted``: they are in the
    counts themselves.
    """
    foreign = 0
    for word in both[side]:
        here, there = counts[side][word], counts[1 - side][word]
        if counted:
            here, there = here - 1, there - (word in both[1 - side])
        if here > FAR * there:  # as almost always
            return False
        foreign += there > FAR * here
    return foreign >= WORDS


def _words(text: str) -> set[str]:
    """The different words of a text, in lower case, without digits and marks."""
    return set(WORD.findall(text.casefold()))


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
    if source.casefold() == target.casefold() and _is_long_for_a_name(source):
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


def _is_long_for_a_name(text: str) -> bool:
    """Whether it has so many words, or characters of a script without blanks between words, that
    two languages do not share it.
    """
    if len(text.split()) >= WORDS:
        return True
    return not text.isascii() and sum(_script(letter) in UNSPACED for letter in text if letter.isalpha()) >= CHARACTERS


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
