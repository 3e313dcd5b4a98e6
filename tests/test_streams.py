"""Whatever a test draws, it would draw alone: here each draws from all streams, and must find each
at its start.
"""

import random
import sys

import numpy as np
import pytest
from streams import made_once

import minitensor as mt

RNG = np.random.default_rng(3)
FIRST = RNG.random()  # at import: the tests start after it


def draws():
    """The next number of each stream that tests share; of PyTorch's only once it is imported."""
    found = [RNG.random(), random.random(), np.random.random(), mt.random.uniform(dtype="float64").item()]  # noqa: NPY002
    torch = sys.modules.get("torch")
    return [*found, torch.rand(()).item()] if torch else found


def starts():
    """The same of streams made anew."""
    module, theirs = np.random.default_rng(3), np.random.RandomState(0)  # noqa: NPY002
    assert module.random() == FIRST
    ours = mt.random.Generator().uniform(dtype="float64").item()
    found = [module.random(), random.Random(0).random(), theirs.random(), ours]
    torch = sys.modules.get("torch")
    return [*found, torch.rand((), generator=torch.Generator().manual_seed(0)).item()] if torch else found


@pytest.fixture(scope="module")
def shared():
    return draws()


@made_once
def made():
    return draws()


@pytest.mark.parametrize("n", [0, pytest.param(1, marks=pytest.mark.torch)])  # the mark imports PyTorch
class TestDraws:
    def test_do_not_depend_on_those_before(self, n):
        assert draws() == starts()

    def test_nor_on_whether_a_shared_fixture_was_made_for_this_test(self, shared, n):
        assert shared == draws() == starts()

    def test_nor_on_whether_something_was_made_once_here(self, n):
        draws()
        assert made() == starts()
        assert draws() != starts()  # the test goes on where it was
