"""What people from PyTorch or NumPy write in their first minutes: it works, or the error says what
to write.
"""

import copy
import pickle

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F

X = mt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)

TAUGHT = {
    "a Tensor by its class": (lambda: mt.Tensor([1.0]), TypeError, r"write mt\.tensor\(\.\.\.\) of a list"),
    "a Tensor of a number": (lambda: mt.Tensor(1.0), TypeError, r"write mt\.tensor"),
    "lengths one by one": (lambda: mt.ones(2, 3), TypeError, r"write mt\.ones\(\(2, 3\)\)"),
    "a Tensor of lengths": (lambda: mt.Tensor(2, 3), TypeError, r"mt\.zeros\(shape\)"),
    "zeros too": (lambda: mt.zeros(2, 3), TypeError, r"write mt\.zeros\(\(2, 3\)\)"),
    "three lengths": (lambda: mt.zeros(2, 3, 4), TypeError, r"write mt\.zeros\(\(2, 3, 4\)\)"),
    "lengths as tensors": (lambda: mt.ones(mt.tensor(2), mt.tensor(3)), TypeError, r"the shape is one argument"),
    "lengths and a value": (lambda: mt.full(2, 3, 1.5), TypeError, r"write mt\.full\(\(2, 3\), 1\.5\)"),
    "view": (lambda: X.view(4), AttributeError, r"write x\.reshape\(shape\)"),
    "exp": (lambda: X.exp(), AttributeError, r"write mt\.exp\(x\)"),
    "softmax": (lambda: X.softmax(), AttributeError, r"write mt\.nn\.functional\.softmax\(x\)"),
    "det": (lambda: X.det(), AttributeError, r"write mt\.linalg\.det\(x\)"),
    "in place": (lambda: X.add_(1.0), AttributeError, r"tensors are values and never change in place"),
    "clone": (lambda: X.clone(), AttributeError, r"x itself"),
    "clamp": (lambda: X.clamp(0, 1), AttributeError, r"write x\.clip\(min, max\)"),
    "diagonal": (lambda: mt.triu(X, diagonal=1), TypeError, r"it is called k"),
    "cuda": (lambda: X.cuda(), AttributeError, r'write x\.to\("cuda"\)'),
    "dim": (lambda: X.sum(dim=1), TypeError, r"the axis is called axis"),
    "dim of a function": (lambda: mt.max(X, dim=1), TypeError, r"the axis is called axis"),
    "dim of a fused op": (lambda: F.softmax(X, dim=1), TypeError, r"the axis is called axis"),
    "keepdim": (lambda: X.sum(axis=1, keepdim=True), TypeError, r"it is called keepdims"),
    "dim of stack": (
        lambda: mt.stack([X, X], dim=1),
        TypeError,
        r"stack does not take 'dim'; the axis is called axis; it takes \(xs, axis=0, \*, dtype=None\)$",
    ),
    "dim of a method": (lambda: X.sort(dim=1), TypeError, r"sort does not take 'dim'; the axis is called axis"),
    "dim of linalg": (
        lambda: mt.linalg.norm(X, dim=1),
        TypeError,
        r"norm does not take 'dim'; the axis is called axis",
    ),
    "dims": (lambda: mt.flip(X, dims=(0,)), TypeError, r"the axes are called axis"),
    "unbiased": (lambda: X.var(unbiased=True), TypeError, r"write ddof=1"),
    "fill_": (lambda: X.fill_(0.0), AttributeError, r"tensors are values and never change in place"),
    "split": (lambda: X.split(2), AttributeError, r"write mt\.split\(x, indices_or_sections\)"),
    "relu": (lambda: mt.relu, AttributeError, r"it is mt\.nn\.functional\.relu"),
    "Linear": (lambda: mt.Linear, AttributeError, r"it is mt\.nn\.Linear"),
    "Adam": (lambda: mt.Adam, AttributeError, r"it is mt\.optim\.Adam"),
    "randn": (lambda: mt.randn(2), AttributeError, r"write mt\.random\.normal\(shape\)"),
    "cat": (lambda: mt.cat, AttributeError, r"write mt\.concat"),
    "manual_seed": (lambda: mt.manual_seed(0), AttributeError, r"write mt\.random\.seed"),
    "reshape as in NumPy": (lambda: mt.flatten, AttributeError, r"it is a method, x\.flatten"),
    "an equation that is none": (lambda: mt.einsum(3, X), TypeError, r"the equation comes first, as text"),
    "an equation behind": (lambda: mt.einsum(X, "ij->i"), TypeError, r"the equation comes first, as text"),
    "an equation in bytes": (lambda: mt.einsum(b"ij->i", X), TypeError, r"the equation comes first, as text"),
    "a letter that is none": (lambda: mt.einsum("\u00efj", X), ValueError, r"is no letter of an axis"),
    "axes that are none": (lambda: mt.einsum(X, [0, -1]), ValueError, r"axes are numbered from 0 to 51"),
}


@pytest.mark.parametrize("case", TAUGHT)
def test_the_error_says_what_to_write(case):
    call, kind, words = TAUGHT[case]
    with pytest.raises(kind, match=words):
        call()


def test_a_name_that_nobody_knows_is_just_missing():
    for owner, words in (
        (X, "'Tensor' object has no attribute 'foo'"),
        (mt, "module 'minitensor' has no attribute 'foo'"),
    ):
        with pytest.raises(AttributeError) as caught:
            owner.foo  # noqa: B018
        assert str(caught.value) == words
    assert not hasattr(X, "foo") and not hasattr(X, "__cuda_array_interface__") and not hasattr(mt, "relu")


def test_copies_and_pickles_ask_for_no_odd_names():
    for made in (copy.copy(X), copy.deepcopy(X), pickle.loads(pickle.dumps(X))):
        assert np.array_equal(made.numpy(), X.numpy()) and made.requires_grad and made.name is None
    for function in (mt.stack, mt.concat, mt.ones, mt.sum, mt.linalg.norm):
        assert pickle.loads(pickle.dumps(function)) is function


def test_every_cure_is_a_name_that_exists():
    from minitensor.engine import front_door

    for text in [*front_door.METHODS.values(), *front_door.NAMES.values(), *front_door.ARGUMENTS.values()]:
        for word in text.replace("(", " ").replace(",", " ").split():
            if word.startswith("mt."):
                owner = mt
                for part in word.split(".")[1:]:
                    owner = getattr(owner, part)


def test_einsum_with_numbered_axes_is_numpys():
    x, y = np.random.default_rng(0).normal(size=(2, 3)), np.random.default_rng(1).normal(size=(3, 4))
    for arguments in (
        (x, [0, 1], y, [1, 2], [0, 2]), (x, [0, 1], y, [1, 2]), (x, [27, 3]), (x, (1, 0)), (x, [..., 0], [0, ...]), (x, [0, 1], []),
    ):  # fmt: skip
        tracked = [mt.tensor(a, requires_grad=True) if isinstance(a, np.ndarray) else a for a in arguments]
        found = mt.einsum(*tracked)
        np.testing.assert_allclose(found.numpy(), np.einsum(*arguments), rtol=1e-12)
        assert found.requires_grad
