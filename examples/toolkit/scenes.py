"""Drawn scenes, each with the one right description in English and in French.

    at the top left two red squares, at the bottom right a green star
    en haut à gauche deux carrés rouges, en bas à droite une étoile verte

A scene has a group of equal things in one to three of its four corners. A description names the
groups in reading order, each by its corner, number, colour and shape, so that nothing is left to
taste: a perfect describer is always right. Size, exact place, shade and noise differ from drawing
to drawing and are not named.

Letters: S pixels a side, G groups of a scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolkit.english_french import Dice
from toolkit.samples import random_words
from toolkit.scene_words import COLOURS, CORNERS, NUMBERS, SHAPES, describe_group

__all__ = ["SIDE", "UNSEEN_PAIRS", "UNSEEN_TRIPLES", "Drawing", "Group", "Scene", "SceneSplits", "draw", "splits"]

SIDE = 32  # pixels; a corner has 16, and each of the four places in a corner 8
PLACE = SIDE // 4
FINE = 4  # samples a side of a pixel, so that edges are smooth
RADII = (3.2, 3.7)  # of a thing, in pixels: smallest and largest
SHADE, NOISE, DARK = 0.1, 0.03, 0.25  # largest change of a colour, of a pixel; lightest background

# A colour and a shape that are never together in a scene to train on: each shape once, each colour
# once. And with others that are, a number that they are never seen in.
UNSEEN_PAIRS = frozenset(zip(COLOURS, [*list(SHAPES)[2:], *list(SHAPES)[:2]], strict=True))
UNSEEN_TRIPLES = frozenset(
    (1 + i % len(NUMBERS), colour, shape)
    for i, (colour, shape) in enumerate(zip(COLOURS, [*list(SHAPES)[4:], *list(SHAPES)[:4]], strict=True))
)
SEEN, TRIPLE, PAIR = range(3)  # how new a scene is


@dataclass(frozen=True, order=True)
class Group:
    """Equal things in one corner."""

    corner: int  # its place in `CORNERS`, which is reading order
    count: int
    colour: str
    shape: str

    @property
    def novelty(self) -> int:
        """`PAIR` or `TRIPLE` if it is held out with others like it, otherwise `SEEN`."""
        if (self.colour, self.shape) in UNSEEN_PAIRS:
            return PAIR
        return TRIPLE if (self.count, self.colour, self.shape) in UNSEEN_TRIPLES else SEEN


@dataclass(frozen=True)
class Scene:
    """Groups in reading order, in different corners."""

    groups: tuple[Group, ...]

    @property
    def novelty(self) -> int:
        """That of its newest group."""
        return max(group.novelty for group in self.groups)

    def describe(self, language: str) -> str:
        """Its description in a language of `LANGUAGES`."""
        return ", ".join(describe_group(language, g.corner, g.count, g.colour, g.shape) for g in self.groups)


@dataclass(frozen=True)
class Drawing:
    """A picture of a scene: ``pixels`` (3, S, S) from 0 to 1, ``masks`` (G, S, S), True where a
    group is.
    """

    scene: Scene
    pixels: np.ndarray
    masks: np.ndarray


# --- drawing --------------------------------------------------------------------------------------


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points of radius 1, the notches between them of radius 0.42."""
    angle = (np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5  # from the nearest point's axis
    along, aside = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.abs(np.sin(angle))
    notch_along, notch_aside = 0.42 * np.cos(np.pi / 5), 0.42 * np.sin(np.pi / 5)
    return notch_aside * (1 - along) >= (1 - notch_along) * aside  # inside the edge from point to notch


# Where a thing of radius 1 is: x to the right, y down.
FORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.88,
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "triangle": lambda x, y: (y <= 0.85) & (abs(x) <= (y + 1) / 1.85),
    "star": _star,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 1),
    "heart": lambda x, y: (1.3 * x**2 + (1.15 * y) ** 2 - 0.75) ** 3 <= -(1.3 * x**2) * (1.15 * y) ** 3,
    "ring": lambda x, y: (x**2 + y**2 <= 1) & (x**2 + y**2 >= 0.3),
}
RGB = {
    "red": (0.9, 0.1, 0.1), "green": (0.1, 0.9, 0.1), "blue": (0.1, 0.1, 0.9), "yellow": (0.9, 0.9, 0.1),
    "white": (0.9, 0.9, 0.9), "purple": (0.9, 0.1, 0.9), "turquoise": (0.1, 0.9, 0.9),
}  # fmt: skip


def draw(scene: Scene, seed: int, number: int) -> Drawing:
    """A picture of the scene, which depends on (seed, number) alone."""
    words = random_words(seed, number, 3 * SIDE * SIDE + 100)
    unit = (words >> np.uint64(11)) * 2.0**-53  # from 0 to 1
    noise, chances = unit[100:].reshape(3, SIDE, SIDE), iter(unit[:100].tolist())
    pixels = np.full((3, SIDE, SIDE), DARK * next(chances))
    masks = np.zeros((len(scene.groups), SIDE, SIDE), dtype=bool)
    for group, mask in zip(scene.groups, masks, strict=True):
        places = sorted(range(4), key=lambda _: next(chances))[: group.count]
        colour = np.array([part + SHADE * (2 * next(chances) - 1) for part in RGB[group.colour]])
        radius = RADII[0] + (RADII[1] - RADII[0]) * next(chances)
        for place in places:
            row, column = (2 * (group.corner // 2) + place // 2) * PLACE, (2 * (group.corner % 2) + place % 2) * PLACE
            cover = _cover(FORMS[group.shape], radius, next(chances), next(chances))
            rows, columns = slice(row, row + PLACE), slice(column, column + PLACE)
            pixels[:, rows, columns] += cover * (colour[:, None, None] - pixels[:, rows, columns])
            mask[rows, columns] |= cover >= 0.5
    return Drawing(scene, np.clip(pixels + NOISE * (2 * noise - 1), 0, 1).astype(np.float32), masks)


def _cover(form: Callable, radius: float, right: float, down: float) -> np.ndarray:
    """The share of each pixel of a place that a thing covers; ``right`` and ``down`` say where in
    the room left to it it is.
    """
    fine = (np.arange(PLACE * FINE) + 0.5) / FINE  # pixels
    x, y = ((fine - radius - at * (PLACE - 2 * radius)) / radius for at in (right, down))
    inside = form(x[None, :], y[:, None])
    return inside.reshape(PLACE, FINE, PLACE, FINE).mean(axis=(1, 3))


# --- which scenes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SceneSplits:
    """Drawings to train on, to validate by, and to report on; see `splits`."""

    train: list[Drawing]
    validation: list[Drawing]
    unseen_scenes: list[Drawing]
    unseen_triples: list[Drawing]
    unseen_pairs: list[Drawing]


def splits(train: int, held_out: int, seed: int = 0) -> SceneSplits:
    """``train`` drawings to train on, and ``held_out`` for each of the other parts.

    No scene of another part is trained on in any drawing. Scenes of the last part have a colour and
    a shape together that are together in no other part (`UNSEEN_PAIRS`); those of the one before
    have a pair that others have too, in a number that it has nowhere else (`UNSEEN_TRIPLES`).
    """
    dice, taken = Dice(seed), set()

    def fresh(novelty: int) -> Scene:
        """A scene that is in no part that is complete."""
        while True:
            scene = _scene(dice)
            if scene.novelty == novelty and scene not in taken:
                return scene

    parts: list[list[Scene]] = []
    for novelty in (SEEN, TRIPLE, PAIR, SEEN):
        parts.append([])
        for _ in range(held_out):
            parts[-1].append(fresh(novelty))
            taken.add(parts[-1][-1])
    parts.append([fresh(SEEN) for _ in range(train)])
    drawn, number = [], 0
    for part in parts:
        drawn.append([draw(scene, seed, number + i) for i, scene in enumerate(part)])
        number += len(part)
    unseen_scenes, unseen_triples, unseen_pairs, validation, trained = drawn
    return SceneSplits(trained, validation, unseen_scenes, unseen_triples, unseen_pairs)


def _scene(dice: Dice) -> Scene:
    """Any scene: first how many groups, then each group."""
    corners = list(range(len(CORNERS)))
    groups = []
    for _ in range(dice.pick((1, 2, 2, 3, 3))):
        corner = dice.pick(corners)
        corners.remove(corner)
        count, colour, shape = dice.pick(list(NUMBERS)), dice.pick(COLOURS), dice.pick(list(SHAPES))
        groups.append(Group(corner, count, colour, shape))
    return Scene(tuple(sorted(groups)))
