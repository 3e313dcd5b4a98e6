"""What a made review says and comes to: claims, and the rules by which they are joined.

A judgement has `words`, a side, `good` or not, and the one claim whose side `decisive` is; all
three follow from its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from toolkit.review_words import Frame

__all__ = ["LABELS", "Both", "Claim", "Contrast", "Hearsay", "Judgement", "Review"]

LABELS = {True: "positive", False: "negative"}


class Judgement(Protocol):
    """Words that praise or blame, and the claim of them that decides."""

    @property
    def words(self) -> str: ...

    @property
    def good(self) -> bool: ...

    @property
    def decisive(self) -> Claim: ...


@dataclass(frozen=True)
class Claim:
    """A part in a frame with an adjective: the good one of its pair, or the bad one."""

    frame: Frame
    part: str
    pair: tuple[str, str]
    praises: bool  # whether the adjective is the good one

    @property
    def words(self) -> str:
        """The clause."""
        return self.frame.words.format(it=self.part, so=self.pair[0 if self.praises else 1])

    @property
    def good(self) -> bool:
        """The adjective's side, or the other one in a frame that denies it."""
        return self.praises == (self.frame.sign > 0)

    @property
    def decisive(self) -> Claim:
        """Itself."""
        return self


@dataclass(frozen=True)
class Contrast:
    """Two judgements of which ``main`` stands: what follows "but", and what has no "although"."""

    pattern: str
    minor: Judgement
    main: Judgement

    @property
    def words(self) -> str:
        """Both."""
        return self.pattern.format(minor=self.minor.words, main=self.main.words)

    @property
    def good(self) -> bool:
        """That of the main one."""
        return self.main.good

    @property
    def decisive(self) -> Claim:
        """What decides the main one."""
        return self.main.decisive


@dataclass(frozen=True)
class Both:
    """Two claims, the stronger of which stands."""

    pattern: str
    first: Claim
    second: Claim

    @property
    def words(self) -> str:
        """Both."""
        return self.pattern.format(first=self.first.words, second=self.second.words)

    @property
    def good(self) -> bool:
        """That of the stronger one."""
        return self.decisive.good

    @property
    def decisive(self) -> Claim:
        """The stronger one."""
        return max(self.first, self.second, key=lambda claim: claim.frame.strength)


@dataclass(frozen=True)
class Hearsay:
    """A claim of others, and whether the writer agrees."""

    pattern: str
    claim: Claim
    agrees: bool
    verdict: str

    @property
    def words(self) -> str:
        """The claim and the verdict."""
        return self.pattern.format(claim=self.claim.words, verdict=self.verdict)

    @property
    def good(self) -> bool:
        """The claim's, or the opposite."""
        return self.claim.good == self.agrees

    @property
    def decisive(self) -> Claim:
        """The claim."""
        return self.claim


@dataclass(frozen=True)
class Review:
    """A judgement, and remarks before and after it that judge nothing, "" for none."""

    kind: str
    judgement: Judgement
    before: str = ""
    after: str = ""

    @property
    def text(self) -> str:
        """Its sentences, each with a capital letter and a full stop."""
        sentences = ". ".join(filter(None, [self.before, self.judgement.words, self.after])).split(". ")
        return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)

    @property
    def label(self) -> str:
        """What the judgement comes to."""
        return LABELS[self.judgement.good]
