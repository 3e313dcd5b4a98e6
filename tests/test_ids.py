"""Integers of every type number rows, classes and places, on every device: values, and gradients of
both orders.
"""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from tests.backend import emulator, fake_device

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
ROWS = 300  # more than 8 bits hold
RNG = np.random.default_rng(0)
IDS = np.array([[0, 5, 120], [5, 5, 7]])
ALONG = np.array([[0, 5, 120], [5, 1, 7]])
WIDE, NARROW = RNG.normal(size=(2, ROWS)), RNG.normal(size=(ROWS, 2))

USES = {
    "embedding": (lambda x, ids: F.embedding(ids, x), NARROW, IDS, False),
    "x[ids]": (lambda x, ids: x[ids], NARROW, IDS, True),
    "x[:, ids]": (lambda x, ids: x[:, ids], WIDE, IDS, True),
    "x[ids, ids]": (lambda x, ids: x[ids % 2, ids], WIDE, IDS, False),
    "take": (lambda x, ids: mt.take(x, ids, axis=0), NARROW, IDS, True),
    "take of the flat array": (mt.take, WIDE, IDS, True),
    "take, wrapped": (lambda x, ids: mt.take(x, ids, axis=1, mode="wrap"), WIDE, IDS, True),
    "take, clipped": (lambda x, ids: mt.take(x, ids, axis=1, mode="clip"), WIDE, IDS, True),
    "take_along_axis": (lambda x, ids: mt.take_along_axis(x, ids, 1), WIDE, IDS, True),
    "put_along_axis": (lambda x, ids: mt.put_along_axis(x, ids, x[:, :3] * 2.0, 1), WIDE, ALONG, True),
    "one_hot": (lambda x, ids: mt.matmul(F.one_hot(ids, ROWS).astype("float64"), x), NARROW, IDS, False),
    "cross_entropy": (lambda x, ids: F.cross_entropy(x, ids, reduction="none"), WIDE, IDS[:, 2], False),
    "smoothed": (lambda x, ids: F.cross_entropy(x, ids, label_smoothing=0.1), WIDE, IDS[:, 2], False),
    "nll_loss": (lambda x, ids: F.nll_loss(x, ids), WIDE, IDS[:, 2], False),
}


def results(function, x, ids, device):
    """Value, gradient, and the gradient of that."""
    x = mt.tensor(x, device=device, requires_grad=True)
    y = function(x, mt.tensor(ids, device=device))
    weights = [mt.tensor(np.cos(np.arange(y.size)).reshape(y.shape), device=device)]
    first = mt.grad((y * y * weights[0]).sum(), x, create_graph=True)
    plain = mt.grad((function(x, mt.tensor(ids, device=device)) ** 2 * weights[0]).sum(), x)
    second = mt.grad((first * first).sum(), x)
    return [value.to("cpu").numpy() for value in (y.detach(), first.detach(), plain, second)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_ids_of_every_type(use, device):
    function, x, ids, from_the_end = use
    expected = results(function, x, ids, "cpu")

    def check():
        for dtype in DTYPES:
            for found, right in zip(results(function, x, ids.astype(dtype), device), expected):
                np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12, err_msg=dtype)
            if from_the_end and dtype.startswith("int"):
                shifted = np.where(ids == 7, -3, ids)
                pair = (results(function, x, shifted.astype(kind), device) for kind in (dtype, "int64"))
                assert all(np.array_equal(a, b) for a, b in zip(*pair))

    if device == "cpu":
        return check()
    if emulator.compiler() is None:
        pytest.skip("no C++ compiler to run the kernels on the CPU with")
    with fake_device.installed():
        check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_ids_out_of_range_are_refused_in_every_type(dtype):
    greatest = np.array([np.iinfo(dtype).max], dtype=dtype)
    x = mt.tensor(np.ones((100, 2)), requires_grad=True)
    uses = [lambda: x[greatest], lambda: F.embedding(greatest, x), lambda: mt.take(x, greatest, axis=0)]
    uses += [lambda: mt.take_along_axis(x[:, 0], greatest, 0), lambda: F.one_hot(greatest, 100)]
    uses += [lambda: mt.put_along_axis(x[:, 0], greatest, [1.0], 0), lambda: F.cross_entropy(x.T[:1], greatest)]
    for use in uses:
        with pytest.raises(IndexError, match=str(min(int(greatest[0]), 2**63 - 1))):
            use()


@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_of_every_type(dtype):
    x = mt.tensor(np.ones((2, 130, 1)), requires_grad=True)
    lengths = np.array([120, 3], dtype=dtype)
    weights = [mt.tensor(np.full(shape, 0.1)) for shape in ((2, 1), (2, 2))]
    outputs, _ = F.rnn(x, *weights, lengths=lengths)
    expected, _ = F.rnn(x, *weights, lengths=lengths.astype("int64"))
    assert np.array_equal(outputs.numpy(), expected.numpy())
    assert mt.nn.padding_mask(lengths, 130).sum().item() == 123
