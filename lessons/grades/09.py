"""Lesson 9: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same


@exercise("9.1", "One step of an LSTM", gives=("Tensor", "Tensor"))
def lstm_step(solution):
    """Cell and state beside those of the typical mistakes; then derivatives."""
    x, h, c, W_x, W_h, b = parts = [
        frozen(2, 3), frozen(2, 4, seed=1), frozen(2, 4, seed=2), frozen(16, 3), frozen(16, 4), frozen(16),
    ]  # fmt: skip
    got = solution(*map(mt.tensor, parts))
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return two states, (h, c)")
    i, f, g, o = np.split(x @ W_x.T + h @ W_h.T + b, 4, axis=-1)
    cell, state = _cell(i, f, g, o, c), _state(i, f, g, o, c)
    wrong_gates = "the gates are taken in another order; it is i, f, g, o"
    same(
        got[1], cell, "the new cell c",
        {
            "h and c have changed places: return (h, c)": state,
            f"{wrong_gates}, and this is i, f, o, g": _cell(i, f, o, g, c),
            f"{wrong_gates}, and this is f, i, g, o": _cell(f, i, g, o, c),
            "g is no gate, it is new content: a tanh, not a sigmoid": _s(f) * c + _s(i) * _s(g),
            "the forget gate is upside down: f is what is kept, not 1 - f": (1 - _s(f)) * c + _s(i) * np.tanh(g),
            "the gates have no sigmoid, so they are no numbers from 0 to 1": f * c + i * np.tanh(g),
            "the old state h is used in the place of the old cell c": _s(f) * h + _s(i) * np.tanh(g),
            "the old cell is not kept": _s(i) * np.tanh(g),
            "the input gate is missing": _s(f) * c + np.tanh(g),
        },
    )  # fmt: skip
    same(
        got[0], state, "the new state h",
        {
            "the tanh around c is missing": _s(o) * cell,
            "it shows the old cell: use the new one": _s(o) * np.tanh(c),
            "the output gate is missing": np.tanh(cell),
            "the output gate has no sigmoid": o * np.tanh(cell),
            f"{wrong_gates}; o is the last": _s(g) * np.tanh(cell),
        },
    )  # fmt: skip
    derivatives(solution, parts)


def _s(x):
    return 1 / (1 + np.exp(-x))


def _cell(i, f, g, o, c):
    return _s(f) * c + _s(i) * np.tanh(g)


def _state(i, f, g, o, c):
    return _s(o) * np.tanh(_cell(i, f, g, o, c))


@exercise("9.2", "Carry both states", gives="Tensor")
def run_lstm(solution):
    """A step in which h and c play unlike parts."""

    def step(x, h, c):
        c = 0.9 * c + x
        return mt.tanh(c - h), c

    xs, h, c = frozen(2, 5, 3), frozen(2, 3, seed=1), frozen(2, 3, seed=2)
    got = solution(step, mt.tensor(xs), mt.tensor(h), mt.tensor(c))
    need(hasattr(got, "shape"), "it should return one Tensor: put the list of states together by mt.stack")

    def states(carry, show=0):
        now, found = (h, c), []
        for x in xs.swapaxes(0, 1):
            cell = 0.9 * now[1] + x
            new = (np.tanh(cell - now[0]), cell)
            found.append(new[show])
            now = carry(new)
        return np.stack(found, axis=1)

    right = states(lambda new: new)
    same(
        got, right, "the states",
        {
            "c is not carried: every step begins with the first cell again": states(lambda new: (new[0], c)),
            "h is not carried: every step begins with the first h again": states(lambda new: (h, new[1])),
            "neither h nor c is carried: give each step what the last one returned": states(lambda new: (h, c)),
            "h is carried in the place of c: the road for the gradient is closed": states(lambda new: (new[0], new[0])),
            "h and c change places from step to step": states(lambda new: new[::-1]),
            "these are the cells c; what is seen of an LSTM is h": states(lambda new: new, show=1),
            "this is the last state alone: keep the state of every step": right[:, -1],
            "the steps are stacked along the first axis: the result is (B, T, H), so axis=1": right.swapaxes(0, 1),
        },
    )  # fmt: skip


@exercise("9.3", "Begin by remembering", gives="array")
def remembering_bias(solution):
    """Where the forget gate is."""
    right = np.repeat([0.0, 1.5, 0.0, 0.0], 3)
    same(
        solution(3, 1.5), right, "the bias for hidden = 3, value = 1.5",
        {
            "this is the input gate; forget is the second of i, f, g, o": np.roll(right, -3),
            "this is g, the new content; forget is the second of i, f, g, o": np.roll(right, 3),
            "this is the output gate; forget is the second of i, f, g, o": np.roll(right, 6),
            "all gates get it: the value is for the forget gate alone": np.full(12, 1.5),
            "each part is H long, not one number": np.array([0, 1.5, 0, 0]),
            "the four parts lie one behind the other, H numbers each; they do not take turns": np.tile([0.0, 1.5, 0.0, 0.0], 3),
            "only one number has it; the part is H numbers long": np.eye(12)[3] * 1.5,
        },
    )  # fmt: skip


@exercise("9.4", "Half-life of a memory")
def half_life(solution):
    """Two biases."""
    for bias in (0.0, 1.0, 5.0):
        f = _s(bias)
        half, log_f, log_1_f, log_b = np.log(0.5), np.log(f), np.log(1 - f), np.log(bias or np.nan)
        same(
            solution(bias), half / log_f, f"the half-life for the bias {bias:g}",
            {
                "the bias is no gate yet: f = sigmoid(bias)": half / log_b,
                "the quotient is upside down: f ** steps = 1/2 gives steps = log(1/2) / log(f)": log_f / half,
                "this is a half divided by f; the content falls by a factor at each step, it is a power": 0.5 / f,
                "this is the time to 1 - 1/2 of what is forgotten: the factor is f, not 1 - f": half / log_1_f,
                "this is 1 / (1 - f), how long the memory is in the mean, not its half-life": 1 / (1 - f),
            },
        )  # fmt: skip


@exercise("9.5", "One step of a GRU", gives="Tensor")
def gru_step(solution):
    """Both biases matter here: one of them stands inside the reset."""
    x, h, W_x, W_h, b_x, b_h = parts = [
        frozen(2, 3), frozen(2, 4, seed=1), frozen(12, 3), frozen(12, 4), frozen(12), frozen(12, seed=1),
    ]  # fmt: skip
    x_r, x_z, x_n = np.split(x @ W_x.T + b_x, 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ W_h.T + b_h, 3, axis=-1)
    r, z = _s(x_r + h_r), _s(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    W_n, b_n = W_h[8:], b_h[8:]
    early = np.tanh(x_n + (r * h) @ W_n.T + b_n)
    swapped = np.tanh(x_n + z * h_n)
    same(
        solution(*map(mt.tensor, parts)), (1 - z) * n + z * h, "the new state",
        {
            "z is upside down: z is what is kept of the old state": z * n + (1 - z) * h,
            "the reset acts on h before the product; here it acts on h_n, behind it": (1 - z) * early + z * h,
            "the reset gate is missing": (1 - z) * np.tanh(x_n + h_n) + z * h,
            "the reset acts on the input too: it is x_n + r * h_n": (1 - z) * np.tanh(r * (x_n + h_n)) + z * h,
            "r and z have changed places: the order is r, z, n": (1 - r) * swapped + r * h,
            "the old state is not kept: + z * h": (1 - z) * n,
            "n is a tanh, not a sigmoid": (1 - z) * _s(x_n + r * h_n) + z * h,
        },
    )  # fmt: skip
    derivatives(solution, parts)
