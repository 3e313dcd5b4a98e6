"""Tests made from the table of ops: values, gradients, memory layouts, types, and errors."""

import pytest
from table import TABLE

from minitensor.testing import check_op

ROWS = [pytest.param(row, id=str(row)) for row in TABLE]


def accuracy(row):
    """Analytic functions are held to the complex step, others to differences."""
    return {"complex_step": True, "rtol": 1e-10, "atol": 1e-12} if row.analytic else {}


@pytest.mark.parametrize("row", ROWS)
def test_drawn_inputs(row):
    options = {"reference": row.reference, "order": row.order, "wanted": row.wanted, "name": row.name, **accuracy(row)}
    check_op(row.function, row.cases, examples=row.examples, **options)


@pytest.mark.parametrize(("row", "example"), [pytest.param(row, e, id=f"{row}-{i}") for row in TABLE for i, e in enumerate(row.also)])
def test_given_inputs(row, example):
    keywords = example[-1] if isinstance(example[-1], dict) else {}
    inputs = [value for value in example if not isinstance(value, dict)]
    check_op(row.function, inputs, keywords=keywords, reference=row.reference, order=row.order, wanted=row.wanted, name=row.name)


@pytest.mark.parametrize(("row", "error"), [pytest.param(row, e, id=f"{row}-{i}") for row in TABLE for i, e in enumerate(row.errors)])
def test_errors_name_the_op_and_the_shapes(row, error):
    args, keywords, kind, pattern = error
    with pytest.raises(kind, match=pattern):
        row.function(*args, **keywords)



def test_the_table_names_every_row_once():
    names = [str(row) for row in TABLE]
    assert len(names) == len(set(names))
