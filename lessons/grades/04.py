"""Lesson 4: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import Refused, exercise, frozen, need, op_rules, same


@exercise("4.1", "A rule that runs on Tensors")
def reciprocal_rule(solution):
    """The value on arrays, then what check_op says of an op with this rule, to the second order."""
    g, x = frozen(4), frozen(4, seed=1)
    out = 1 / x
    same(
        solution(g, out), -g * out * out, "the gradient of x",
        {
            "g is missing: the rule gets the gradient of the output and passes it on": -out * out,
            "the sign: 1 / x falls where x grows": g * out * out,
            "that is with x for out: here out is 1 / x already": -g / (out * out),
        },
    )  # fmt: skip

    @mt.op(name="reciprocal_of_yours")
    def op(xp, x):
        return 1.0 / x

    op.vjp(lambda g, out: solution(g, out))
    try:
        recorded = solution(mt.tensor(g), mt.tensor(out, requires_grad=True))
    except (TypeError, ValueError, RuntimeError) as error:
        raise Refused(
            f"on arrays it is right, on Tensors it fails: {error}: use operators, which both have, and no NumPy"
        ) from None
    need(
        isinstance(recorded, mt.Tensor) and recorded.requires_grad,
        "on arrays it is right, on Tensors the record is lost: without .numpy(), np or no_grad, the result is a Tensor again",
    )
    op_rules(op, [np.array([0.5, -1.5, 3.0])])


def bowl(p):
    """A function whose Hessian is neither constant nor diagonal."""
    return mt.exp(p[0] * p[1]) + (p * p * p).sum()


def hessian(point):
    """Of the bowl, by formula."""
    right = np.diag(6.0 * point)
    a, b = point[0], point[1]
    e = np.exp(a * b)
    right[:2, :2] += e * np.array([[b * b, 1 + a * b], [1 + a * b, a * a]])
    return right


@exercise("4.2", "The Hessian times a vector", gives="array")
def hessian_times(solution):
    """Against the formula, each typical mistake by its value."""
    point, vector = np.array([0.5, -1.0, 2.0]), np.array([1.0, 2.0, -1.0])
    h = hessian(point)
    gradient = np.exp(-0.5) * np.array([-1.0, 0.5, 0.0]) + 3 * point**2
    got = solution(bowl, point, vector)
    need(not isinstance(got, mt.Tensor), "it should return a NumPy array: .numpy() at the end")
    same(
        got, h @ vector, "the Hessian times the vector",
        {
            "the vector is missing: that is the Hessian times ones": h.sum(axis=1),
            "that is the vector times the gradient, the first derivative": gradient * vector,
            "that is the diagonal of the Hessian times the vector; the other entries count, too": np.diag(h) * vector,
            "that is the gradient": gradient,
        },
        tolerance=1e-6,
    )  # fmt: skip
    same(got, h @ vector, "the Hessian times the vector: computed in float64, it")


@exercise("4.3", "Newton's method")
def newton(solution):
    """A parabola in one step, then a function that needs a few."""
    same(
        solution(lambda x: (x - 3.0) ** 2 * 5.0 + 1.0, 10.0, 1), 3.0, "one step on a parabola, whose bottom it finds at once,",
        {
            "that is a step against the gradient: divide by the second derivative": 10.0 - 70.0,
            "the step has the wrong sign": 17.0,
            "that finds where the function is 0; its smallest value is where the slope is 0": 10.0 - 246.0 / 70.0,
        },
    )  # fmt: skip

    def function(x):
        return mt.exp(x) - 2.0 * x

    x = 0.0
    path = [x]
    for _ in range(3):
        x -= (np.exp(x) - 2.0) / np.exp(x)
        path.append(x)
    got = solution(function, 0.0, 3)
    same(
        got, path[3], "three steps on exp(x) - 2 x from 0",
        {
            "that is one step only": path[1],
            "that is one step too few": path[2],
            "the second derivative must be taken anew at each place": _stubborn(3),
        },
        tolerance=1e-6,
    )  # fmt: skip
    same(got, path[3], "three steps on exp(x) - 2 x: computed in float64, the result")
    same(solution(function, 0.0, 0), 0.0, "no step at all")


def _stubborn(steps):
    """Newton's method with the first second derivative throughout."""
    x = 0.0
    for _ in range(steps):
        x -= np.exp(x) - 2.0
    return x
