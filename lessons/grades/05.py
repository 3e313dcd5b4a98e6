"""Lesson 5: the graders."""

import numpy as np

from lessons.grading import exercise, frozen, need, same


def wave(x):
    """A function of an array with different slopes everywhere."""
    return float((np.sin(x) * np.arange(1, x.size + 1).reshape(x.shape)).sum() + np.exp(x).prod())


@exercise("5.1", "Differences to both sides", gives="array")
def numerical_gradient(solution):
    """Gradients in closed form, on one axis, on two and on none."""
    for shape in ((3,), (2, 3), ()):
        x = frozen(*shape, scale=0.3)
        weights = np.arange(1, x.size + 1).reshape(shape)
        right = np.cos(x) * weights + np.exp(x).prod()
        got = np.asarray(solution(wave, x))
        need(got.shape == shape, f"x has the shape {shape}, its gradient {got.shape}")
        same(
            got, right, f"the gradient at an x of shape {shape}",
            {
                "the distance of the two places is 2h, not h": 2 * right,
                "the sign is turned: f(x + h) - f(x - h)": -right,
                "every entry was moved at once; move one at a time": np.full(shape, right.sum()),
            },
            tolerance=1e-7,
        )  # fmt: skip
    got = np.asarray(solution(lambda x: float((x**3).sum()), np.array([1.0, 2.0]), 0.1))
    same(
        got, [3.01, 12.01], "with h = 0.1, of x ** 3 at [1, 2],",
        {
            "that is the difference to one side, whose error is larger": [3.31, 12.61],
            "that is the difference to the left side, whose error is larger": [2.71, 11.41],
            "that is for h = 1e-5: use the h that is given": [3.0, 12.0],
        },
        tolerance=1e-8,
    )  # fmt: skip


@exercise("5.2", "A cotangent that tells", gives="array")
def telling_cotangent(solution):
    """What both rules say under it."""
    got, out = np.asarray(solution(), dtype=float), np.array([0.2, 0.3, 0.5])
    need(got.shape == (3,), f"it should be an array (3,), and is {got.shape}")
    need(np.abs(got).max() <= 2, f"the entries should lie between -2 and 2: {got}")
    need(got.any(), "with g = 0 every rule gives 0, the right one and the wrong one")
    right, wrong = out * (got - (got * out).sum()), got * out
    need(
        np.abs(right).max() > 0.01,
        f"all entries of g are equal: the sum of a softmax is constant, so the right gradient is 0: {got}",
    )
    need(
        np.abs(right - wrong).max() >= 0.1,
        f"the rules differ by {np.abs(right - wrong).max():.3f} at most, since the sum of g * out is only "
        f"{(got * out).sum():.3f}: {got}",
    )


@exercise("5.3", "One direction")
def directional_error(solution):
    """A right gradient, a wrong one, a large one."""
    x, d = frozen(4, scale=0.5), frozen(4, seed=1)
    right = np.cos(x) * np.arange(1, 5) + np.exp(x).prod()
    slope = float((right * d).sum())
    got = solution(wave, right, x, d)
    same(
        got, 0.0, "the error of a right gradient",
        {
            "the direction is missing in the sum of gradient * d": abs(slope - right.sum()) / max(1.0, abs(slope)),
            "the distance of the two places is 2h, not h": abs(slope) / max(1.0, abs(2 * slope)),
        },
        tolerance=1e-7,
    )  # fmt: skip
    far = abs(0.1 * d[1])
    for sign in (1.0, -1.0):
        off = right + np.array([0.0, sign * 0.1, 0.0, 0.0])
        same(
            solution(wave, off, x, d), far / max(1.0, abs(slope)), "the error of a gradient that is wrong in one entry",
            {
                "it is not divided by the size of the slope": far,
                "an error is 0 or more, and this has a sign: abs is missing": -far / max(1.0, abs(slope)),
            },
            tolerance=1e-7,
        )  # fmt: skip
    flat = solution(lambda x: 0.001 * wave(x), 0.001 * off, x, d)
    same(
        flat, 0.001 * far, "the error where the slope is small",
        {"divide by 1 if the slope is smaller than 1: a slope of 0 must not be divided by": far / abs(slope)},
        tolerance=1e-7,
    )  # fmt: skip
