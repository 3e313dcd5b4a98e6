"""The words of `toolkit.scenes`: what is drawn, in English and in French.

English puts the colour before the thing, which alone has a plural. French puts it behind, and both
agree: ``deux étoiles vertes``, ``un carré blanc``; ``trois anneaux turquoise`` never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLOURS", "CORNERS", "LANGUAGES", "NUMBERS", "SHAPES", "describe_group", "noun"]

LANGUAGES = ("English", "French")


@dataclass(frozen=True)
class Noun:
    """A shape."""

    english_plural: str
    french: str
    french_plural: str
    feminine: bool = False


@dataclass(frozen=True)
class Colour:
    """The four forms of a French adjective: masculine, feminine, and their plurals."""

    masculine: str
    feminine: str
    masculine_plural: str
    feminine_plural: str

    def agree(self, feminine: bool, plural: bool) -> str:
        """The form that goes with a noun."""
        forms = (self.masculine, self.feminine, self.masculine_plural, self.feminine_plural)
        return forms[2 * plural + feminine]


def _regular(masculine: str, feminine: str) -> Colour:
    return Colour(masculine, feminine, masculine + "s", feminine + "s")


SHAPES = {
    "square": Noun("squares", "carré", "carrés"),
    "circle": Noun("circles", "cercle", "cercles"),
    "triangle": Noun("triangles", "triangle", "triangles"),
    "star": Noun("stars", "étoile", "étoiles", feminine=True),
    "cross": Noun("crosses", "croix", "croix", feminine=True),
    "heart": Noun("hearts", "cœur", "cœurs"),
    "ring": Noun("rings", "anneau", "anneaux"),
}
FRENCH_COLOURS = {
    "red": _regular("rouge", "rouge"),
    "green": _regular("vert", "verte"),
    "blue": _regular("bleu", "bleue"),
    "yellow": _regular("jaune", "jaune"),
    "white": _regular("blanc", "blanche"),
    "purple": _regular("violet", "violette"),
    "turquoise": Colour("turquoise", "turquoise", "turquoise", "turquoise"),
}
COLOURS = tuple(FRENCH_COLOURS)
NUMBERS = {1: ("a", "un"), 2: ("two", "deux"), 3: ("three", "trois")}
CORNERS = (  # in reading order
    ("at the top left", "en haut à gauche"),
    ("at the top right", "en haut à droite"),
    ("at the bottom left", "en bas à gauche"),
    ("at the bottom right", "en bas à droite"),
)


def noun(language: str, count: int, shape: str) -> str:
    """The word for ``count`` things of a shape.

    >>> noun("English", 2, "cross"), noun("French", 2, "heart")
    ('crosses', 'cœurs')
    """
    word = SHAPES[shape]
    if language == "English":
        return word.english_plural if count > 1 else shape
    return word.french_plural if count > 1 else word.french


def describe_group(language: str, corner: int, count: int, colour: str, shape: str) -> str:
    """A group: where it is, its number, colour and shape.

    >>> describe_group("French", 0, 1, "white", "cross")
    'en haut à gauche une croix blanche'
    """
    which, word = LANGUAGES.index(language), noun(language, count, shape)
    number, place = NUMBERS[count][which], CORNERS[corner][which]
    if language == "English":
        return f"{place} {number} {colour} {word}"
    feminine = SHAPES[shape].feminine
    number += "e" if count == 1 and feminine else ""
    return f"{place} {number} {word} {FRENCH_COLOURS[colour].agree(feminine, count > 1)}"
