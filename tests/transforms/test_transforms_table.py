"""Transforms of every row of the table of ops: jvp and vjp are transposes, vmap is a loop."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from table import TABLE

import minitensor as mt

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
ROWS = [pytest.param(row, id=str(row)) for row in TABLE]
few = settings(
    max_examples=25 if THOROUGH else 1, phases=(Phase.generate,), database=None, derandomize=True, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def parted(row, case):
    """Inputs, keywords, and the numbers of those inputs that are differentiated."""
    keywords = case[-1] if isinstance(case[-1], dict) else {}
    inputs = [value.data if isinstance(value, mt.Tensor) else value for value in case if value is not keywords]
    inputs = [np.asarray(v) if isinstance(v, np.ndarray) else v for v in inputs]
    floating = [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    return inputs, keywords, floating if row.wanted is None else [i for i in floating if i in row.wanted]


def leaves(out):
    """The tensors of a result."""
    return list(out) if isinstance(out, (tuple, list)) else [out]


def of_wanted(row, inputs, keywords, wanted):
    """The row's function of the wanted inputs alone; random numbers are the same in every call."""

    def function(*values):
        given = list(inputs)
        for i, value in zip(wanted, values):
            given[i] = value
        mt.random.seed(3)
        return leaves(row.function(*[mt.asarray(x) if isinstance(x, np.ndarray) else x for x in given], **keywords))

    return function


@pytest.mark.parametrize("row", ROWS)
def test_jvp_and_vjp_are_transposes(row):
    @few
    @given(row.cases, st.integers(0, 2**16))
    def check(case, seed):
        inputs, keywords, wanted = parted(row, case)
        draw = np.random.default_rng(seed).standard_normal
        function = of_wanted(row, inputs, keywords, wanted)
        primals = [mt.asarray(inputs[i]) for i in wanted]
        v = [mt.tensor(draw(x.shape), dtype=x.dtype) for x in primals]
        out, tangents = mt.jvp(function, primals, v)
        same, vjp_fun = mt.vjp(function, *primals)
        u = [mt.tensor(draw(y.shape), dtype=y.dtype) if y.dtype.kind == "f" else None for y in out]
        back = vjp_fun(u)
        assert [t is None for t in tangents] == [y.dtype.kind != "f" for y in out]
        for y, z in zip(out, same):
            np.testing.assert_array_equal(y.data, z.data)
        pairs = [(a.data, b.data) for a, b in zip(tangents, u) if a is not None]
        left = [a.astype(np.float64) * b for a, b in pairs]
        right = [a.data.astype(np.float64) * b.data for a, b in zip(v, back)]
        size = 1e-3 + sum(float(abs(part).sum()) for part in (*left, *right))
        difference = abs(sum(float(part.sum()) for part in left) - sum(float(part.sum()) for part in right))
        assert difference <= 1e-12 * size
        assert not any(x.requires_grad for x in (*out, *back, *tangents) if x is not None)

    check()


def moved(x, step):
    """Another example of the kind of ``x``: near it, so that it stays in the domain."""
    return x * (1.0 - 0.001 * step) if x.dtype.kind == "f" else x


@pytest.mark.parametrize("row", ROWS)
def test_vmap_is_a_loop(row):
    @few
    @given(row.cases, st.integers(1, 7))
    def check(case, chosen):
        inputs, keywords, _ = parted(row, case)
        arrays = [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray)]
        mapped = [i for k, i in enumerate(arrays) if chosen >> k % 3 & 1] or arrays[:1]
        if not mapped or row.name.startswith(("dropout", "unique", "nonzero")) or "with dropout" in row.name:
            return
        stacks = [np.stack([moved(inputs[i], step) for step in range(3)]) for i in mapped]
        function = of_wanted(row, inputs, keywords, mapped)

        def seeded(*values):
            return function(*values)

        every = mt.vmap(seeded)(*map(mt.asarray, stacks))
        for step in range(3):
            one = function(*[mt.asarray(stack[step]) for stack in stacks])
            assert len(one) == len(every)
            for a, b in zip(every, one):
                assert a.dtype == b.dtype and a[step].shape == b.shape
                np.testing.assert_allclose(a.data[step], b.data, rtol=1e-10, atol=1e-11)

    check()
