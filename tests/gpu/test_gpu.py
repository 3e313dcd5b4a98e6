"""On a real GPU: the same checks as on the fake device, and what only hardware can show."""

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
from minitensor.backend import cpu, namespace
from tests.backend import test_fake_device as fake
from tests.backend.parity import check_parity, check_row

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE if row.name != "to_device"])
def test_every_row_of_the_table(row):
    check_row(row, examples=10)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 1e-4), (np.float16, 3e-2)])
@pytest.mark.parametrize("function, inputs, keywords", [pytest.param(*row[1:], id=row[0]) for row in fake.OVERRIDES])
def test_kernels_equal_those_of_the_cpu(function, inputs, keywords, dtype, tolerance):
    check_parity(function, inputs, keywords, dtype=dtype, order=1, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("counter", [0, 1, 2**63, 2**64 - 3, 2**64])
@pytest.mark.parametrize("count", [0, 1, 5, 100_003])
def test_random_words_are_equal_bit_for_bit(counter, count):
    words = namespace("cuda").random_bits((7, 2**64 - 1), counter, count)
    assert np.array_equal(words.get(), cpu.random_bits((7, 2**64 - 1), counter, count))


def test_dropout_drops_the_same_elements():
    check_parity(lambda x: mt.nn.functional.dropout(x, 0.3), [np.ones((50, 41))], rtol=0, atol=0)


@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 2e-2), (np.float32, 1e-4), (np.float64, 1e-11)])
@pytest.mark.parametrize(
    "a, b",
    [
        (lambda x: x(64, 48), lambda x: x(48, 80)),
        (lambda x: x(6, 64, 48), lambda x: x(48, 80)),
        (lambda x: x(6, 64, 48), lambda x: x(6, 48, 80)),
        (lambda x: x(6, 64, 48), lambda x: x(6, 80, 48).swapaxes(1, 2)),
        (lambda x: x(6, 48, 64).swapaxes(1, 2), lambda x: x(1, 48, 80)),
        (lambda x: x(5, 33, 4, 16).swapaxes(1, 2), lambda x: x(5, 29, 4, 16).swapaxes(1, 2).swapaxes(2, 3)),
        (lambda x: x(5, 33, 12, 16).swapaxes(1, 2), lambda x: x(12, 16, 7)),
        (lambda x: x(2, 3, 7, 5), lambda x: x(5)),
        (lambda x: x(2, 3, 0, 5), lambda x: x(2, 3, 5, 4)),
        (lambda x: x(2, 3, 4, 0), lambda x: x(2, 3, 0, 4)),
    ],
)
def test_products_of_any_layout(a, b, dtype, tolerance):
    xp = namespace("cuda")
    rng = np.random.default_rng(0)
    left, right = (make(lambda *shape: rng.uniform(-1, 1, shape)) for make in (a, b))
    # The same views on the device: the maker is given arrays that lie there.
    rng = np.random.default_rng(0)
    there = [make(lambda *shape: xp.asarray(rng.uniform(-1, 1, shape).astype(dtype))) for make in (a, b)]
    product = xp.matmul(*there)
    assert product.dtype == dtype
    np.testing.assert_allclose(product.get(), np.matmul(left, right), rtol=tolerance, atol=tolerance)


def test_a_training_run_equals_the_cpus():
    here, weights, _ = fake.train("cpu")
    there, moved_weights, _ = fake.train("cuda")
    np.testing.assert_allclose(there, here, rtol=1e-9)
    for name, value in weights.items():
        np.testing.assert_allclose(moved_weights[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_run_is_repeated_bit_for_bit():
    first, second = fake.train("cuda"), fake.train("cuda")
    assert first[0] == second[0]
    assert all(np.array_equal(first[1][name], second[1][name]) for name in first[1])


def test_an_id_out_of_range_is_told_at_the_next_read():
    xp = namespace("cuda")
    xp.check_ids("id {id} is outside the table", xp.asarray([1, 7]), 0, 5)
    with pytest.raises(IndexError, match="id 7 is outside the table"):
        xp.synchronize()
