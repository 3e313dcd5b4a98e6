"""Lesson 6: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import exercise, frozen, need, op_rules, same


def sigmoid(x):
    """Of an array."""
    return 1.0 / (1.0 + np.exp(-x))


@exercise("6.1", "A definition")
def silu_definition(solution):
    """Values, then the derivatives that come of themselves."""
    x = np.array([-2.0, 0.0, 0.5, 3.0])
    got = solution(mt.tensor(x, requires_grad=True))
    need(isinstance(got, mt.Tensor), f"it should return a Tensor, and returns {type(got).__name__}")
    same(
        got, x * sigmoid(x), "x * sigmoid(x) at [-2, 0, 0.5, 3]",
        {
            "the factor x is missing: that is the sigmoid": sigmoid(x),
            "the sign is wrong: it is exp(-x)": x * sigmoid(-x),
            "that is relu, which it only resembles": np.maximum(x, 0),
        },
    )  # fmt: skip
    need(
        got.requires_grad,
        "the value is right, but the record is lost: compute with mt, not with np, so that gradients come",
    )
    op_rules(solution, [x], "compute all of it with mt.exp and operators", name="your definition")


@exercise("6.2", "Its kernel", gives=("array", ""))
def silu_kernel(solution):
    """Kernel and definition under check_op."""
    x, g = frozen(3, 2), frozen(3, 2, seed=1)
    got = solution(np, x)
    need(
        isinstance(got, tuple) and len(got) == 2 and callable(got[1]),
        "it should return a tuple: a value and a function backward",
    )
    same(got[0], x * sigmoid(x), "the value", {"the factor x is missing: that is the sigmoid": sigmoid(x)})
    pulled = got[1](g)
    need(
        isinstance(pulled, (tuple, list)) and len(pulled) == 1,
        "backward should return a tuple of one array: `return (dx,)`",
    )
    s = sigmoid(x)
    slope = s * (1 + x * (1 - s))
    same(
        pulled[0], g * slope, "the gradient of x",
        {
            "g is missing: backward passes on the gradient that it is given": slope,
            "that is the slope of the sigmoid: the factor x was forgotten": g * s * (1 - s),
            "x is a factor, too, and the product rule has two terms: this is only one of them": g * s,
            "x is a factor, too, and the product rule has two terms: this is only the other of them": g * x * s * (1 - s),
        },
    )  # fmt: skip
    again = got[1](g)
    same(again[0], g * slope, "the gradient, when backward is called a second time: it has changed what it keeps; it")

    op = mt.fused(lambda x: x / (1.0 + mt.exp(-x)), name="silu_of_yours")
    op.kernel(solution)
    op_rules(op, [x])


@exercise("6.3", "A softmax, backwards", gives="array")
def softmax_backward(solution):
    """Against the formula, by rows, and its invariant."""
    e = np.exp(frozen(4, 3))
    y, g = e / e.sum(axis=1, keepdims=True), frozen(4, 3, seed=1)
    y.flags.writeable = False
    right = y * (g - (g * y).sum(axis=1, keepdims=True))
    mistakes = {
        "the sum runs over everything: each row has its own": y * (g - (g * y).sum()),
        "the sum runs over the rows: it is along the last axis": y * (g - (g * y).sum(axis=0)),
        "only the diagonal of dy_i / dx_j is there: the entries of a row depend on each other": g * y * (1 - y),
        "the sum of g * y is missing": g * y,
        "the sum is of g alone, without y": y * (g - g.sum(axis=1, keepdims=True)),
        "the factor y is missing": g - (g * y).sum(axis=1, keepdims=True),
    }
    got = solution(g, y)
    same(got, right, "the gradient of x", mistakes)
    # adding a number to a whole row changes no softmax: the gradient has the sum 0
    same(np.asarray(got).sum(axis=1), np.zeros(4), "the sums of the gradient's rows")
