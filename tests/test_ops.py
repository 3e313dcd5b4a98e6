"""Tests made from the table of ops: values, gradients, memory layouts, types, and errors."""

import ast
import dis
import math
from pathlib import Path

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
from minitensor.backend import cpu
from minitensor.engine.fused import FUSED
from minitensor.engine.op import OPS
from minitensor.nn import functional
from minitensor.testing import check_op

ROWS = [pytest.param(row, id=str(row)) for row in TABLE]


def listed(field):
    """One parameter for each item of a field of each row."""
    return [pytest.param(row, item, id=f"{row}-{i}") for row in TABLE for i, item in enumerate(getattr(row, field))]


def accuracy(row):
    """Analytic functions are held to the complex step, others to differences."""
    return {"complex_step": True, "rtol": 1e-10, "atol": 1e-12} if row.analytic else {}


@pytest.mark.parametrize("row", ROWS)
def test_drawn_inputs(row):
    options = {"reference": row.reference, "order": row.order, "wanted": row.wanted, "name": row.name, **accuracy(row)}
    check_op(row.function, row.cases, examples=row.drawn, **options)


@pytest.mark.parametrize(("row", "example"), listed("also"))
def test_given_inputs(row, example):
    keywords = example[-1] if isinstance(example[-1], dict) else {}
    inputs = [value for value in example if not isinstance(value, dict)]
    empty = not any(np.size(value) for value in inputs if getattr(value, "dtype", np.dtype(bool)).kind == "f")
    order = 0 if empty else row.order  # without elements there is nothing to compare
    options = {"reference": row.reference, "order": order, "wanted": row.wanted, "name": row.name}
    check_op(row.function, inputs, keywords=keywords, **options)
    if empty and row.order:
        leaf, *rest = [mt.tensor(x, requires_grad=isinstance(x, np.ndarray) and x.dtype.kind == "f") for x in inputs]
        (gradient,) = mt.grad(row.function(leaf, *rest, **keywords).sum(), [leaf], create_graph=True)
        assert gradient.shape == leaf.shape


@pytest.mark.parametrize(("row", "error"), listed("errors"))
def test_errors_name_the_op_and_the_shapes(row, error):
    args, keywords, kind, pattern = error
    with pytest.raises(kind, match=pattern):
        row.function(*args, **keywords)


def test_the_table_names_every_row_once():
    names = [str(row) for row in TABLE]
    assert len(names) == len(set(names))


# --- the table is complete ------------------------------------------------------------------------

# Tested in tests/test_tensor.py.
CREATION = set(
    "tensor asarray arange empty empty_like from_dlpack eye full full_like linspace ones ones_like zeros zeros_like".split()
)
OF_TYPES = set("astype can_cast finfo iinfo isdtype result_type".split())  # tests/test_standard.py
NOT_OPS = (
    CREATION
    | OF_TYPES
    | set("grad no_grad enable_grad autocast autocast_ops detect_anomaly why_nan checkpoint".split())
    | set("op fused save load memory_report cuda_graph".split())
    | set("value_and_grad vjp jvp jacobian hessian hvp vmap".split())
)


def test_every_exported_function_has_a_row():
    rows = {row.name for row in TABLE if row.where == "mt"}
    public = {name: getattr(mt, name) for name in dir(mt) if not name.startswith("_")}
    exported = {name for name, value in public.items() if callable(value) and not isinstance(value, type)} - NOT_OPS
    covered = [public[name] for name in rows]
    # other names of one
    exported = {name for name in exported if not any(public[name] is function for function in covered)}
    assert not exported - rows, f"exported without a row in tests/table: {sorted(exported - rows)}"


def test_every_function_of_nn_functional_has_a_row():
    rows = {row.name for row in TABLE if row.where == "F"}
    assert not set(functional.__all__) - rows, f"without a row in tests/table: {sorted(set(functional.__all__) - rows)}"


def test_every_function_of_linalg_has_a_row():
    rows = {row.name for row in TABLE if row.where == "linalg"}
    again = {name for name in mt.linalg.__all__ if getattr(mt.linalg, name) is getattr(mt, name, None)}
    assert set(mt.linalg.__all__) - rows <= again == {"matmul", "matrix_transpose", "tensordot", "vecdot"}


def test_every_registered_op_has_a_row():
    rows = {name for row in TABLE for name in row.ops}
    registered = set(OPS) | set(FUSED)
    assert not registered - rows, f"registered without a row in tests/table: {sorted(registered - rows)}"


# --- the array namespaces -------------------------------------------------------------------------

SOURCE = Path(mt.__file__).parent


def _names_used(tree):
    """The names of the array namespace in a file: ``xp.NAME``, and the rows of ops that are taken
    by name.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "xp":
            yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_unary", "_comparison"):
            yield node.args[0].value


USED = {
    (path.name, name)
    for folder in ("ops", "nn/functional")
    for path in sorted((SOURCE / folder).glob("*.py"))
    if path.name != "cuda.py" and not path.name.startswith(("compiled", "overrides"))  # kernels for one kind of device
    for name in _names_used(ast.parse(path.read_text(encoding="utf-8")))
}
OWN = {
    "add_at",
    "check_ids",
    "erf",
    "kernels",
    "name",
    "surely_moderate",
}  # what our namespaces have beside NumPy's functions
# Names that CuPy 14 has, kept here for machines without it.
CUPY = set(
    """
    abs add any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argsort asarray ascontiguousarray bitwise_and bitwise_or
    bitwise_xor bool
    broadcast_shapes broadcast_to ceil clip concatenate copysign copyto cos cosh cumprod cumsum diff divide dtype
    einsum empty empty_like equal exp expand_dims expm1 eye flatnonzero flip float32 float64 floor floor_divide fmin
    frexp from_dlpack full greater greater_equal hypot int32 int64 invert isfinite isinf isnan ldexp left_shift less less_equal
    linalg log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul max maximum min minimum
    moveaxis multiply nan_to_num negative nextafter not_equal ones ones_like pad permute_dims positive power
    promote_types remainder reshape result_type right_shift roll round searchsorted sign signbit sin sinh sqrt
    square stack subtract sum swapaxes take tan tanh tensordot tril triu trunc uint16 uint64 unique where zeros
    zeros_like
    """.split()
)


@pytest.mark.parametrize(("file", "name"), sorted(USED), ids=[f"{file}-{name}" for file, name in sorted(USED)])
def test_every_xp_name_exists(file, name):
    assert hasattr(cpu, name), f"{file} uses xp.{name}, which NumPy lacks"
    if name not in OWN:
        try:
            import cupy
        except ImportError:
            assert name in CUPY, f"{file} uses xp.{name}: see that CuPy has it, then add it to CUPY here"
        else:
            assert hasattr(cupy, name), f"{file} uses xp.{name}, which CuPy lacks"


def _names_in_rules():
    """(op, name) for every ``xp.name`` in a rule."""
    for op in OPS.values():
        for rule in op.rules or ():
            steps = list(dis.get_instructions(rule)) if rule else []
            for before, after in zip(steps, steps[1:]):
                if (
                    before.opname.startswith("LOAD_FAST")
                    and before.argval == "xp"
                    and after.opname in ("LOAD_ATTR", "LOAD_METHOD")
                ):
                    yield op.name, after.argval


def test_every_xp_name_in_a_rule_exists_in_minitensor():
    missing = sorted({(op, name) for op, name in _names_in_rules() if not hasattr(mt, name)})
    assert not missing, f"rules use names that minitensor lacks, so that they cannot be recorded: {missing}"


def test_erf_of_float32_is_right_everywhere():
    ends = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 1e-30, 4.3, -4.3, 1e20, -3e38], dtype=np.float32
    )
    x = np.concatenate([ends, np.linspace(-5, 5, 40_001, dtype=np.float32)])  # more than one piece
    right = np.array([math.erf(float(v)) for v in x])
    found = mt.erf(x).numpy()
    assert found.dtype == np.float32 and np.array_equal(np.signbit(found[:4]), np.signbit(right[:4]))
    assert np.isnan(found[4]) and np.array_equal(np.abs(found[[2, 3, 8, 9, 10, 11]]), np.ones(6))
    np.testing.assert_allclose(found, right, rtol=0, atol=2e-7)
    np.testing.assert_allclose(found, right, rtol=4e-7, atol=2e-45)
    assert (
        np.array_equal(mt.erf(x[::3]).numpy(), found[::3], equal_nan=True)
        and (np.diff(found[len(ends) :]) >= -1.2e-7).all()
    )
    assert np.array_equal(mt.erf(x[12:].reshape(-1, 1)).numpy()[:, 0], found[12:])
