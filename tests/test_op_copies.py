"""Ops are as functions are: a copy is the op itself, and a pickle says where it is found."""

import copy
import pickle

import pytest

import minitensor as mt
from minitensor.engine.fused import FUSED
from minitensor.engine.op import OPS

square = mt.op(lambda xp, x: x * x)


@pytest.mark.parametrize("made", [square, *OPS.values(), *FUSED.values()], ids=lambda made: made.name)
def test_copies_and_pickles(made):
    assert copy.copy(made) is made and copy.deepcopy([made])[0] is made and pickle.loads(pickle.dumps(made)) is made


def test_an_op_that_nobody_else_can_find():
    made = mt.op(lambda xp, x: x + x)
    assert copy.deepcopy({"op": made})["op"] is made
    with pytest.raises((AttributeError, pickle.PicklingError), match="[Cc]an't pickle"):
        pickle.dumps(made)
