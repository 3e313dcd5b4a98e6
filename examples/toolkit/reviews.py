"""Made reviews of films, meals, hotels and books, whose label follows from the rules of a grammar.

    plain      the adjective              The soup was tasty.
    negation   its opposite               Nobody could call the plot gripping.
    double     the adjective again        It is not true that the bed was not clean.
    but        what comes after "but"     The fish was stale, but the bread was not bad.
    although   the main clause            The bed was clean, although the lobby was shabby.
    intensity  the stronger judgement     The plot was fairly dull; the music was extremely moving.
    hearsay    whether the writer agrees  My friend said that the soup was bland. I disagree.
    nested     a "but", an "although"     The style was flat, but although the story was trite, ...

No word tells anything: in training, under either label, each adjective is said of something as
often as it is denied, and every other word is as frequent. The best answer is known by rule, and
always right.

Two parts are held out. *Unseen reviews* are new judgements in combinations that training has.
*Unseen combinations*: the claim that decides has an adjective in a frame, such as "not ... at all",
in which training has neither it nor its opposite, though it has both in other frames.

>>> review = draw(Dice(5), "although", good=True)
>>> review.text
'The lobby was not disappointing, although the garden was far from remarkable.'
>>> review.label, review.judgement.decisive.words
('positive', 'the lobby was not disappointing')
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from toolkit.english_french import Dice
from toolkit.labelled import Labelled, Pair
from toolkit.review_grammar import Both, Claim, Contrast, Hearsay, Judgement, Review
from toolkit.review_words import (
    ADJECTIVES,
    ALTHOUGH,
    ALTHOUGH_LAST,
    BOTH,
    BUT,
    DOMAINS,
    DOUBLE,
    HEARSAY,
    MILD,
    NEGATED,
    ORDINARY,
    PLAIN,
    STRONG,
    VERDICTS,
    Domain,
    Frame,
)

__all__ = ["KINDS", "UNSEEN", "draw", "reviews"]

# Kinds of reviews, and their proportions in the training data. Reviews of one claim are many, since
# in them it is first learned what a frame does to an adjective. There are as many negations as of
# plain and double together: what "good" says is no sign of what the review says.
KINDS = {"plain": 4, "negation": 5, "double": 1, "but": 1, "although": 1, "intensity": 2, "hearsay": 1, "nested": 1}
TRAIN, VALIDATION, TEST = 10_000, 800, 1200  # reviews; as many again of unseen combinations
UNSEEN = "unseen combinations"
FRAMES = PLAIN + NEGATED + DOUBLE
REPORTED = tuple(frame for frame in PLAIN + NEGATED if "I " not in frame.words)  # what others can have said


# --- drawing --------------------------------------------------------------------------------------


class _Writer:
    """Draws the judgements of one review: of one domain, each of its parts at most once."""

    def __init__(self, dice: Dice, unseen: bool) -> None:
        self.dice, self.unseen = dice, unseen
        self.domain: Domain = dice.pick(DOMAINS)
        self._parts = list(self.domain.parts)

    def claim(self, frames: tuple[Frame, ...], good: bool, decides: bool) -> Claim:
        """A claim in one of these frames. Only the one that decides may be an unseen combination,
        and it must be if those are wanted.
        """
        unseen = decides and self.unseen
        frame, pair = self.dice.pick(_combinations(frames, self.domain, unseen))
        part = self._parts.pop(int(self.dice.random() * len(self._parts)))
        return Claim(frame, part, pair, good == (frame.sign > 0))

    def any_claim(self, good: bool, decides: bool) -> Claim:
        """In any frame; one that denies its adjective as often as not."""
        return self.claim(self.dice.pick((PLAIN + DOUBLE, NEGATED)), good, decides)

    def contrast(self, patterns: tuple[str, ...], good: bool, decides: bool = True) -> Contrast:
        """Two opposite claims."""
        minor = self.any_claim(not good, False)
        return Contrast(self.dice.pick(patterns), minor, self.any_claim(good, decides))

    def both(self, good: bool) -> Both:
        """Two opposite claims, one stronger than the other, in either order."""
        weak, strong = self.dice.pick(((MILD, ORDINARY), (MILD, STRONG), (ORDINARY, STRONG)))
        claims = [
            self.claim(_of_strength(self.dice.pick((PLAIN, NEGATED)), strength), side, decides)
            for strength, side, decides in ((weak, not good, False), (strong, good, True))
        ]
        first = self.dice.chance(0.5)
        return Both(self.dice.pick(BOTH), claims[first], claims[not first])

    def hearsay(self, good: bool) -> Hearsay:
        """A claim of others, true or false."""
        agrees = self.dice.chance(0.5)
        denies = self.dice.chance(0.5)
        claim = self.claim(tuple(f for f in REPORTED if (f.sign < 0) == denies), good == agrees, True)
        return Hearsay(self.dice.pick(HEARSAY), claim, agrees, self.dice.pick(VERDICTS[agrees]))

    def nested(self, good: bool) -> Contrast:
        """A "but" with an "although" on one side of it. That stands first on its own side; behind
        its main clause it could be taken to reach over the "but".
        """
        if self.dice.chance(0.5):
            minor: Judgement = self.any_claim(not good, False)
            return Contrast(self.dice.pick(BUT), minor, self.contrast(ALTHOUGH, good))
        minor = self.contrast(ALTHOUGH, not good, False)
        return Contrast(self.dice.pick(BUT), minor, self.any_claim(good, True))

    def judgement(self, kind: str, good: bool) -> Judgement:
        """One of this kind."""
        if kind in ("plain", "negation", "double"):
            return self.claim({"plain": PLAIN, "negation": NEGATED, "double": DOUBLE}[kind], good, True)
        if kind in ("but", "although"):
            return self.contrast(BUT if kind == "but" else ALTHOUGH + ALTHOUGH_LAST, good)
        if kind == "intensity":
            return self.both(good)
        return self.hearsay(good) if kind == "hearsay" else self.nested(good)


def draw(dice: Dice, kind: str, good: bool, unseen: bool = False) -> Review:
    """A review of this kind that praises or blames; ``unseen``: by a combination that training does
    not have.
    """
    writer = _Writer(dice, unseen)
    judgement = writer.judgement(kind, good)
    place = dice.pick(("before", "after", "none"))
    remark = dice.pick(writer.domain.remarks)
    return Review(kind, judgement, **({} if place == "none" else {place: remark}))


@cache
def _combinations(frames: tuple[Frame, ...], domain: Domain, unseen: bool) -> list[tuple[Frame, tuple[str, str]]]:
    """Frames with the pairs of opposites that they have in training, or that are held out: one in
    seven, other ones for each frame.
    """
    return [
        (frame, pair)
        for frame in frames
        for pair in domain.adjectives
        if ((3 * FRAMES.index(frame) + ADJECTIVES.index(pair)) % 7 == 0) == unseen
    ]


def _of_strength(frames: tuple[Frame, ...], strength: int) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames if frame.strength == strength)


# --- the data -------------------------------------------------------------------------------------


def reviews(sizes: tuple[int, int, int] = (TRAIN, VALIDATION, TEST), seed: int = 0) -> Labelled:
    """Reviews to train on, to validate by and to test by, and as many of unseen combinations.

    No judgement is in two parts, whatever remarks are around it. Training has the kinds in the
    proportions of `KINDS`, the other parts have all alike.
    """
    dice, seen = Dice(seed), set()
    mixed = tuple(kind for kind, share in KINDS.items() for _ in range(share))

    def part(size: int, kinds: tuple[str, ...], unseen: bool = False) -> Iterator[Review]:
        for number in range(size):
            kind, good = kinds[number // 2 % len(kinds)], number % 2 == 0
            while True:
                review = draw(dice, kind, good, unseen)
                if review.judgement.words not in seen:
                    break
            seen.add(review.judgement.words)
            yield review

    test, unseen = list(part(sizes[2], tuple(KINDS))), list(part(sizes[2], tuple(KINDS), unseen=True))
    validation, train = list(part(sizes[1], tuple(KINDS))), list(part(sizes[0], mixed))
    others, kinds = {UNSEEN: _pairs(unseen)}, {review.text: review.kind for review in test + unseen}
    return Labelled(_pairs(train), _pairs(validation), _pairs(test), others, kinds)


def _pairs(made: list[Review]) -> list[Pair]:
    return [(review.text, review.label) for review in made]
