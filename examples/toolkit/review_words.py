"""The words of the made reviews: what is judged, how it is judged, and the ways to say so."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ADJECTIVES", "ALTHOUGH", "ALTHOUGH_LAST", "BOTH", "BUT", "DOMAINS", "DOUBLE", "HEARSAY", "MILD", "NEGATED", "ORDINARY",
    "PLAIN", "STRONG", "VERDICTS", "Domain", "Frame",
]  # fmt: skip

MILD, ORDINARY, STRONG = 1, 2, 3  # how much a judgement counts beside another


@dataclass(frozen=True)
class Frame:
    """A way to say that ``{it}`` was ``{so}``: in words, by which ``sign`` the adjective counts,
    and how strongly.
    """

    words: str
    sign: int  # -1: the opposite of the adjective is meant
    strength: int = ORDINARY


PLAIN = (
    Frame("{it} was {so}", +1),
    Frame("I found {it} {so}", +1),
    Frame("{it} seemed {so} to us", +1),
    Frame("everybody could see how {so} {it} was", +1),
    Frame("{it} was fairly {so}", +1, MILD),
    Frame("{it} was somewhat {so}", +1, MILD),
    Frame("I found {it} a little {so}", +1, MILD),
    Frame("{it} was {so} here and there", +1, MILD),
    Frame("{it} was extremely {so}", +1, STRONG),
    Frame("I found {it} thoroughly {so}", +1, STRONG),
    Frame("{it} was {so} in every way", +1, STRONG),
    Frame("I have never seen anything as {so} as {it}", +1, STRONG),
)
NEGATED = (
    Frame("{it} was not {so}", -1),
    Frame("I did not find {it} {so}", -1),
    Frame("nobody could call {it} {so}", -1),
    Frame("{it} never seemed {so} to us", -1),
    Frame("{it} was not exactly {so}", -1, MILD),
    Frame("{it} was not particularly {so}", -1, MILD),
    Frame("I did not find {it} all that {so}", -1, MILD),
    Frame("{it} was perhaps not so {so}", -1, MILD),
    Frame("{it} was not {so} at all", -1, STRONG),
    Frame("{it} was far from {so}", -1, STRONG),
    Frame("{it} was anything but {so}", -1, STRONG),
    Frame("there was nothing {so} about {it}", -1, STRONG),
)
DOUBLE = (
    Frame("nobody could say that {it} was not {so}", +1),
    Frame("it is not true that {it} was not {so}", +1),
    Frame("I never thought that {it} was not {so}", +1),
    Frame("I would not call {it} anything but {so}", +1),
    Frame("nobody would deny that {it} was {so}", +1),
    Frame("there is no denying that {it} was {so}", +1),
    Frame("it is false that {it} was never {so}", +1),
    Frame("{it} did not fail to be {so}", +1),
)


@dataclass(frozen=True)
class Domain:
    """What a review may be of: its parts, adjectives that suit them, and remarks that judge
    nothing.
    """

    parts: tuple[str, ...]
    adjectives: tuple[tuple[str, str], ...]  # opposites: the good one, the bad one
    remarks: tuple[str, ...]


GENERAL = (
    ("good", "bad"), ("pleasant", "unpleasant"), ("impressive", "disappointing"), ("charming", "dreary"),
    ("remarkable", "forgettable"),
)  # fmt: skip
DOMAINS = (
    Domain(
        ("the plot", "the acting", "the dialogue", "the music", "the ending", "the opening scene"),
        (*GENERAL, ("gripping", "dull"), ("moving", "flat"), ("original", "trite")),
        ("we saw it on a Monday", "it lasted two hours", "my neighbour lent me the disc", "the cinema was half full"),
    ),
    Domain(
        ("the soup", "the fish", "the bread", "the sauce", "the dessert", "the salad"),
        (*GENERAL, ("tasty", "bland"), ("fresh", "stale"), ("delicate", "greasy")),
        ("we came at noon", "there were four of us", "we paid by card", "the table stood by the door"),
    ),
    Domain(
        ("the room", "the bed", "the lobby", "the terrace", "the breakfast room", "the garden"),
        (*GENERAL, ("comfortable", "shabby"), ("clean", "dirty"), ("inviting", "gloomy")),
        ("we stayed for two nights", "we arrived by train", "it stands near the station", "we had booked in May"),
    ),
    Domain(
        ("the story", "the style", "the first chapter", "the last chapter", "the preface", "the translation"),
        (*GENERAL, ("absorbing", "tedious"), ("vivid", "lifeless"), ("witty", "clumsy")),
        ("I read it on the train", "it has three hundred pages", "my sister gave it to me", "it came out last year"),
    ),
)
# Every pair of opposites, once.
ADJECTIVES = tuple(dict.fromkeys(pair for domain in DOMAINS for pair in domain.adjectives))

# Of two judgements {main} is the one that stands.
BUT = ("{minor}, but {main}", "{minor}, yet {main}", "{minor}. Still, {main}", "{minor}. However, {main}")
ALTHOUGH = ("although {minor}, {main}", "even if {minor}, {main}")
ALTHOUGH_LAST = ("{main}, although {minor}", "{main}, even if {minor}")
BOTH = ("{first}, and {second}", "{first}; {second}", "{first}. {second}")  # the stronger one stands
HEARSAY = (  # somebody else's claim, which stands or falls with the {verdict}
    "my friend said that {claim}. {verdict}",
    "the critics wrote that {claim}. {verdict}",
    "my aunt had told me that {claim}. {verdict}",
    "you may have heard that {claim}. {verdict}",
)
VERDICTS = {
    True: ("I agree", "that is true", "quite right", "so it was"),
    False: ("I disagree", "that is not true", "quite wrong", "it was not so"),
}
