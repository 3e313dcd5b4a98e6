"""Lesson 8: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same


@exercise("8.1", "One step of a recurrent network")
def rnn_step(solution):
    """Values on random numbers, with H unlike I and with H = I; then derivatives."""
    for inputs in (3, 4):
        x, h, W_x, W_h, b = parts = [
            frozen(2, inputs),
            frozen(2, 4, seed=1),
            frozen(4, inputs, seed=2),
            frozen(4, 4),
            frozen(4),
        ]
        got = solution(*map(mt.tensor, parts))
        same(
            got, np.tanh(x @ W_x.T + h @ W_h.T + b), "the new state",
            {
                "the tanh is missing": x @ W_x.T + h @ W_h.T + b,
                "W_h is not transposed: rows of h times the columns of W_h.mT": np.tanh(x @ W_x.T + h @ W_h + b),
                "the tanh is around the input alone: it takes the whole sum": np.tanh(x @ W_x.T + b) + h @ W_h.T,
                "the old state is not used: nothing is remembered": np.tanh(x @ W_x.T + b),
                "the bias is missing": np.tanh(x @ W_x.T + h @ W_h.T),
                "this is the sigmoid, not tanh": 1 / (1 + np.exp(-(x @ W_x.T + h @ W_h.T + b))),
            },
        )  # fmt: skip
    need(isinstance(got, mt.Tensor), "it should return a Tensor: through an array no gradient gets back")
    derivatives(solution, parts)


@exercise("8.2", "All steps", gives="Tensor")
def run_rnn(solution):
    """A step that is no sum, so that each order and each lost state shows."""

    def step(x, h):
        return mt.tanh(0.7 * h + x)

    xs, first = frozen(2, 5, 3), frozen(2, 3, seed=1)
    got = solution(step, mt.tensor(xs), mt.tensor(first))
    need(hasattr(got, "shape"), "it should return one Tensor: put the list together by mt.stack")
    right = _states(xs, first)
    same(
        got, right, "the states",
        {
            "this is the last state alone: keep the state of every step": right[:, -1],
            "each step begins with the first state again: give it the state that the last step returned": np.tanh(
                0.7 * first[:, None] + xs
            ),
            "the steps are stacked along the first axis: the result is (B, T, H), so axis=1": right.swapaxes(0, 1),
            "these are the states before each step, not after it": np.stack([first, *right.swapaxes(0, 1)[:-1]], axis=1),
            "it runs from the last input to the first": _states(xs[:, ::-1], first),
            "it begins with zeros, not with the state h that it is given": _states(xs, 0 * first),
        },
    )  # fmt: skip


def _states(xs, h):
    """The states of the step above, of arrays."""
    states = []
    for x in xs.swapaxes(0, 1):
        h = np.tanh(0.7 * h + x)
        states.append(h)
    return np.stack(states, axis=1)


@exercise("8.3", "The gradient over the distance", gives="array")
def gradient_by_distance(solution):
    """A network that fades, on a fixed direction."""
    direction = frozen(4)
    W = 0.5 * frozen(4, 4, seed=3)

    def network():
        xs = mt.tensor(frozen(6, 4, seed=1)).requires_grad_()
        h, states = mt.zeros(4, dtype=mt.float64), []
        for t in range(6):
            h = mt.tanh(xs[t] + h @ W)
            states.append(h)
        return mt.stack(states), xs

    def gradient(scalar_of):
        states, xs = network()
        return mt.grad(scalar_of(states), xs).numpy()

    last = gradient(lambda states: states[-1] @ direction)
    right = np.linalg.norm(last, axis=-1)[::-1]
    got = solution(*network(), mt.tensor(direction))
    same(
        got, right, "the norms by distance",
        {
            "the order is that of the steps; the last step, distance 0, comes first": right[::-1],
            "this is the gradient of all states, not of the last one: each input has a short way to its own state": np.linalg.norm(
                gradient(lambda states: (states @ direction).sum()), axis=-1
            )[::-1],
            "this adds up the entries of the gradient, and they cancel: take the norm": last.sum(axis=-1)[::-1],
            "these are the squares: the root is missing": right**2,
            "these are the gradients themselves: take the norm of each row": last[::-1],
            "the direction is missing: a sum of all entries is the direction of ones": np.linalg.norm(
                gradient(lambda states: states[-1].sum()), axis=-1
            )[::-1],
            "that is one norm for all steps: take it along the last axis": np.linalg.norm(last),
        },
    )  # fmt: skip


@exercise("8.4", "Clipping", gives=["array"])
def clip(solution):
    """Large ones, small ones, and zeros."""
    large = [np.array([[3.0, 4.0]]), np.array([0.0, 12.0])]  # 13 together
    for g in large:
        g.flags.writeable = False
    got = _flat(solution(large, 1.0))
    same(
        got, _flat(large) / 13, "gradients of norm 13, clipped to 1,",
        {
            "each array is clipped alone, which turns the direction; one factor for all of them": np.array([0.6, 0.8, 0, 1]),
            "each number is clipped, which turns the direction; one factor for all of them": np.array([1.0, 1, 0, 1]),
            "the norm is that of the first array alone: sum the squares of all": _flat(large) / 5,
            "divided by the square of the norm: the root is missing": _flat(large) / 169,
            "they have not changed": _flat(large),
            "divided by the sum of the norms; the norm together is the root of all squares": _flat(large) / 17,
        },
    )  # fmt: skip
    small = [np.array([0.3]), np.array([0.4])]
    same(
        _flat(solution(small, 1.0)), _flat(small), "gradients of norm 0.5, clipped to 1,",
        {"small gradients are scaled up: clipping only makes smaller": _flat(small) * 2},
    )  # fmt: skip
    half = _flat(solution(large, 6.5))
    same(half, _flat(large) / 2, "gradients of norm 13, clipped to 6.5,", {"max_norm is not used": _flat(large) / 13})
    same(
        _flat(solution([np.zeros(2)], 1.0)),
        np.zeros(2),
        "gradients of 0",
        {"0 / 0: look at the norm first": np.full(2, np.nan)},
    )


def _flat(gradients):
    need(
        isinstance(gradients, (list, tuple)),
        f"it should return a list of arrays, and returns {type(gradients).__name__}",
    )
    return np.concatenate([np.ravel(g) for g in gradients])
