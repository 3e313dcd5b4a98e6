"""Every test here starts from the same random numbers, whatever ran before it."""

import pytest

import minitensor as mt


@pytest.fixture(autouse=True)
def seeded():
    mt.random.seed(0)
