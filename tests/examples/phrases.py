"""Twenty pairs of phrases, and training a translator on such: for tests of how trainings begin."""

import numpy as np
from scripts import write_parallel

NOUNS = {"cats": "chats", "dogs": "chiens", "cars": "voitures", "trees": "arbres", "boats": "bateaux"}
COLOURS = {"red": "rouges", "golden": "dorés", "white": "blancs", "black": "noirs"}
PAIRS = [(f"{c} {w}", f"{v} {d}") for c, d in COLOURS.items() for w, v in NOUNS.items()]


def write_parts(folder, pairs):
    """A folder of data: fifteen pairs to train on, three to validate by, the others for tests."""
    return write_parallel(folder, ("en", "fr"), {"train": pairs[:15], "val": pairs[15:18], "test": pairs[18:]})


def train(data, out, *more, languages=("en", "fr")):
    """The arguments of a training."""
    return "train", "--data", data, "--source", languages[0], "--target", languages[1], "--out", out, *more


def same(one, two):
    """Whether two sets of weights are equal."""
    return one.keys() == two.keys() and all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)
