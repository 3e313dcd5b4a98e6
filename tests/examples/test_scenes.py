"""The drawn scenes: their words, their splits, and that a drawing shows what its scene says."""

import doctest

import numpy as np
import pytest
from toolkit import scene_words, scenes
from toolkit.scene_words import COLOURS, CORNERS, LANGUAGES, NUMBERS, SHAPES
from toolkit.scenes import RGB, UNSEEN_PAIRS, UNSEEN_TRIPLES, Group, Scene, draw, splits


@pytest.fixture(scope="module")
def made():
    return splits(200, 20)


@pytest.mark.parametrize(
    ("groups", "english", "french"),
    [
        (
            [(0, 2, "red", "square"), (3, 1, "green", "star")],
            "at the top left two red squares, at the bottom right a green star",
            "en haut à gauche deux carrés rouges, en bas à droite une étoile verte",
        ),
        ([(1, 1, "turquoise", "cross")], "at the top right a turquoise cross", "en haut à droite une croix turquoise"),
        (
            [(2, 3, "turquoise", "star"), (3, 3, "white", "cross")],
            "at the bottom left three turquoise stars, at the bottom right three white crosses",
            "en bas à gauche trois étoiles turquoise, en bas à droite trois croix blanches",
        ),
        (
            [(0, 2, "purple", "heart"), (1, 3, "blue", "ring"), (2, 1, "white", "circle")],
            "at the top left two purple hearts, at the top right three blue rings, at the bottom left a white circle",
            "en haut à gauche deux cœurs violets, en haut à droite trois anneaux bleus, en bas à gauche un cercle blanc",
        ),
    ],
)
def test_known_descriptions(groups, english, french):
    scene = Scene(tuple(Group(*group) for group in groups))
    assert (scene.describe("English"), scene.describe("French")) == (english, french)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(scene_words).failed == 0


def test_different_groups_are_described_differently():
    """Otherwise a perfect describer could not be right."""
    groups = [
        Group(corner, count, colour, shape)
        for corner in range(len(CORNERS))
        for count in NUMBERS
        for colour in COLOURS
        for shape in SHAPES
    ]
    for language in LANGUAGES:
        assert len({Scene((group,)).describe(language) for group in groups}) == len(groups)


def test_no_part_has_a_scene_of_another(made):
    parts = (made.validation, made.unseen_scenes, made.unseen_triples, made.unseen_pairs, made.train)
    scenes = [{drawing.scene for drawing in part} for part in parts]
    assert [len(part) for part in scenes[:4]] == [20] * 4
    for i, part in enumerate(scenes):
        assert not any(part & other for other in scenes[i + 1 :])


def pairs(drawings):
    return {(group.colour, group.shape) for drawing in drawings for group in drawing.scene.groups}


def triples(drawings):
    return {(group.count, group.colour, group.shape) for drawing in drawings for group in drawing.scene.groups}


def test_what_is_held_out_is_never_trained_on(made):
    for held_out in (UNSEEN_PAIRS, {(colour, shape) for _, colour, shape in UNSEEN_TRIPLES}):
        assert len(held_out) == 7  # each colour and each shape once
        assert {colour for colour, _ in held_out} == set(COLOURS) and {shape for _, shape in held_out} == set(SHAPES)
    for part in (made.train, made.validation, made.unseen_scenes):
        assert not pairs(part) & UNSEEN_PAIRS and not triples(part) & UNSEEN_TRIPLES
    assert len(pairs(made.train)) == len(COLOURS) * len(SHAPES) - 7  # all others, also with few drawings
    assert not pairs(made.unseen_triples) & UNSEEN_PAIRS
    assert all(triples([drawing]) & UNSEEN_TRIPLES for drawing in made.unseen_triples)
    assert all(pairs([drawing]) & UNSEEN_PAIRS for drawing in made.unseen_pairs)


def test_the_same_seed_draws_the_same():
    one, two, other = splits(10, 2), splits(10, 2), splits(10, 2, seed=1)
    for first, second in zip(one.train, two.train, strict=True):
        assert first.scene == second.scene
        np.testing.assert_array_equal(first.pixels, second.pixels)
    assert [drawing.scene for drawing in other.train] != [drawing.scene for drawing in one.train]


def test_two_drawings_of_a_scene_differ():
    scene = Scene((Group(0, 2, "red", "star"),))
    assert np.abs(draw(scene, 0, 0).pixels - draw(scene, 0, 1).pixels).max() > 0.1


def test_a_drawing_shows_its_scene():
    """Each mask is in its corner, has as many pieces as the group has things, in the group's
    colour.
    """
    for number, shape in enumerate(SHAPES):
        groups = tuple(
            Group(corner, 1 + (corner + number) % 3, COLOURS[(corner + number) % 7], shape) for corner in range(4)
        )
        drawing = draw(Scene(groups), 0, number)
        assert drawing.pixels.dtype == np.float32 and 0 <= drawing.pixels.min() <= drawing.pixels.max() <= 1
        for group, mask in zip(groups, drawing.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert set(2 * (rows // 16) + columns // 16) == {group.corner}
            assert len(set(zip(rows // 8, columns // 8, strict=True))) == group.count
            colour = drawing.pixels[:, mask].mean(axis=1)  # darker than the thing by the pixels of its edge
            distances = {
                name: np.abs(colour / colour.max() - np.divide(rgb, max(rgb))).sum() for name, rgb in RGB.items()
            }
            assert min(distances, key=distances.get) == group.colour
        ground = drawing.pixels[:, ~drawing.masks.any(axis=0)]
        assert np.median(ground) <= scenes.DARK + scenes.NOISE


def test_shapes_are_told_apart_by_their_pixels():
    """The nearest of the mean pictures of the shapes is mostly right; by chance, 1 of 7."""

    def things(number):
        found = {}
        for shape in SHAPES:
            drawings = [draw(Scene((Group(0, 1, "white", shape),)), number, i) for i in range(12)]
            crops = []
            for d in drawings:
                rows, columns = np.nonzero(d.masks[0])
                row, column = rows.min() // 8 * 8, columns.min() // 8 * 8
                crops.append(d.pixels.mean(axis=0)[row : row + 8, column : column + 8])
            found[shape] = np.array(crops)
        return found

    means = {shape: crops.mean(axis=0) for shape, crops in things(1).items()}
    right = [
        min(means, key=lambda name: np.abs(crop - means[name]).sum()) == shape
        for shape, crops in things(2).items()
        for crop in crops
    ]
    assert np.mean(right) > 0.65
