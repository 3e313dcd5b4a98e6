"""Lesson 2: the graders."""

import numpy as np

from lessons.grading import exercise, frozen, need, same

PAIRS = [
    ((3, 2), (2,)), ((2,), (3, 2)), ((4, 1), (1, 5)), ((3,), (3,)), ((), (2, 2)), ((7, 1, 2), (4, 1)), ((0, 3), (1, 3)),
    ((0,), (1,)),
]  # fmt: skip


@exercise("2.1", "The shape of a broadcast")
def broadcast_shape(solution):
    """Pairs of shapes, NumPy's word beside each, and pairs that do not fit."""
    for a, b in PAIRS:
        got, right = solution(a, b), np.broadcast_shapes(a, b)
        need(isinstance(got, tuple), f"it should return a tuple, and returns {type(got).__name__}")
        kind = ""
        if len(got) == min(len(a), len(b)) < len(right):
            kind = ": the axes that the shorter one lacks are missing"
        elif 0 in right and 0 not in got:
            kind = ": 0 and 1 give 0, an empty array, so the larger of two lengths will not do"
        elif len(a) != len(b) and len(got) == len(right):
            kind = ": are the shapes aligned at their last axes?"
        need(got == right, f"{a} and {b} give {got}, right is {right}{kind}")
    for a, b in (((2,), (3,)), ((2, 3), (2,)), ((4, 2), (2, 4))):
        try:
            got = solution(a, b)
        except ValueError:
            continue
        need(False, f"{a} and {b} do not fit, and it returns {got}: raise ValueError")


@exercise("2.2", "The adjoint of broadcasting", gives="array")
def unbroadcast(solution):
    """Gradients of many shapes, then the inner product that defines an adjoint."""
    g = frozen(3, 2)
    same(
        solution(g, (2,)), g.sum(axis=0), "a bias (2,) under g (3, 2): its gradient",
        {
            "that is the mean; a copy's adjoint is the sum": g.mean(axis=0),
            "that is one row; the others count as much": g[0],
            "that is the sum over the other axis": g.sum(axis=1),
        },
    )  # fmt: skip
    same(
        solution(g, (3, 1)), g.sum(axis=1, keepdims=True), "a column (3, 1) under g (3, 2): its gradient",
        {
            "the axis of length 1 has gone: keepdims=True": g.sum(axis=1),
            "axes of length 1 were copied too, and are added up": g,
        },
    )  # fmt: skip
    same(solution(g, (3, 2)), g, "an array that was not broadcast: its gradient")
    for small, large in (
        ((), (2, 3)),
        ((4, 1), (5, 4, 3)),
        ((1, 1), (2, 2)),
        ((1, 3), (1, 3)),
        ((2, 1, 3), (4, 2, 5, 3)),
    ):
        g, x = frozen(*large, seed=1), frozen(*small, seed=2)
        got = np.asarray(solution(g, small))
        need(
            got.shape == small,
            f"{small} broadcast to {large}: the gradient has the shape {got.shape}, right is {small}",
        )
        # <g, broadcast(x)> = <unbroadcast(g), x> for every x: that is what "adjoint" means
        same(
            (got * x).sum(), (g * np.broadcast_to(x, large)).sum(), f"{small} broadcast to {large}: <unbroadcast(g), x>"
        )


@exercise("2.3", "The rules of a matrix product", gives=("array", "array"))
def matmul_rules(solution):
    """Both gradients, each typical mistake by its value."""
    x, y, g = frozen(4, 3), frozen(3, 2), frozen(4, 2)
    got = solution(g, x, y)
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return two arrays: of x and of y")
    same(
        got[0], g @ y.T, "the gradient of x (4, 3)",
        {
            "the two gradients have changed places": x.T @ g,
            "the shape is that of x.T": y @ g.T,
        },
    )  # fmt: skip
    same(
        got[1], x.T @ g, "the gradient of y (3, 2)",
        {
            "the shape is that of y.T": g.T @ x,
            "g is missing: x has been added up as if g were all ones": np.repeat(x.sum(axis=0)[:, None], 2, axis=1),
        },
    )  # fmt: skip
    x, y, g = frozen(3, 3, seed=1), frozen(3, 3, seed=2), frozen(3, 3, seed=3)  # square: the shapes say nothing
    got = solution(g, x, y)
    mistakes = {"y is not transposed": g @ y, "the factors stand in the wrong order": y.T @ g}
    same(got[0], g @ y.T, "the gradient of x, all square", mistakes)
    mistakes = {"x is not transposed": x @ g, "the factors stand in the wrong order": g @ x.T}
    same(got[1], x.T @ g, "the gradient of y, all square", mistakes)
