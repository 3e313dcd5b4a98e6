"""Lesson 7: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same

EARLY = (
    "eps is added before v is corrected, the paper's other form, in which eps means something else at each t: divide v "
    "by 1 - b ** t first, then take the root, then add eps"
)


@exercise("7.1", "How large to begin with", gives="array")
def initial_weight(solution):
    """Shape, mean, and whether a signal keeps its size through ten layers."""
    rng = np.random.default_rng(0)
    got = np.asarray(solution(rng, 100, 400))
    need(got.shape == (100, 400), f"it should have the shape (100, 400), and has {got.shape}")
    need(
        not np.array_equal(got, np.asarray(solution(rng, 100, 400))), "two layers have the same weights: draw from rng"
    )
    need(got.std() > 1e-9, "all weights are equal, so that all units of the layer learn the same")
    need(
        abs(got.mean()) < 0.02,
        f"the mean of the weights is {got.mean():.2f}, right is 0: normal numbers, not those from 0 to 1",
    )
    found, right = got.var() * 100, 1.0
    kinds = {
        100.0: ": they are not scaled at all",
        0.01: ": divide by the root of n_in, not by n_in (the variance is the square of the scale)",
        0.25: ": that is 1 / n_out; n_in products are added up",
        10.0: ": that scale is 1 / n_in ** 0.25, a root too many",
    }
    kind = next((words for value, words in kinds.items() if abs(found / value - 1) < 0.1), "")
    need(abs(found - right) < 0.1, f"the variance is {found:.3g} / n_in, right is 1 / n_in{kind}")
    x = frozen(50, 100)
    for _ in range(10):
        x = x @ np.asarray(solution(rng, 100, 100))
    need(0.3 < x.std() < 3, f"after ten layers a signal of size 1 has the size {x.std():.2g}")


@exercise("7.2", "Cross-entropy")
def cross_entropy(solution):
    """A value, mistakes by their values, large logits, gradients."""
    logits, labels = 2.0 * frozen(5, 3), np.array([0, 2, 1, 1, 0])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(5)
    right = -np.log(p[rows, labels]).mean()
    got = solution(mt.tensor(logits, requires_grad=True), labels)
    need(isinstance(got, mt.Tensor), f"it should return a Tensor, and returns {type(got).__name__}")
    same(
        got, right, "the loss of five rows",
        {
            "that is the sum; divide by the number of rows": 5 * right,
            "the sign is turned: a loss is 0 or more": -right,
            "that is the mean over all entries, N * C of them, where only N count": right / 3,
            "that is minus the mean probability; its logarithm is missing": -p[rows, labels].mean(),
            "that is minus the mean of the logits: the softmax is missing": -logits[rows, labels].mean(),
            "the softmax runs along the wrong axis: along the classes, axis 1":
                -np.log(np.exp(logits) / np.exp(logits).sum(axis=0))[rows, labels].mean(),
            "the labels pick whole columns: it is logits[np.arange(N), labels]": -np.log(p[:, labels]).mean(),
        },
    )  # fmt: skip
    need(got.requires_grad, "the value is right, but no gradient comes back: compute with mt, not with np")
    large = solution(mt.tensor([[1000.0, 0.0], [0.0, -1000.0]], dtype="float64"), np.array([1, 0]))
    need(
        np.isfinite(large.numpy()).all(),
        f"logits of 1000 give {large.item()}: exp overflows, or a probability of 0 meets the logarithm; use mt.logsumexp",
    )
    same(large, 500.0, "the loss of [[1000, 0], [0, -1000]] with the labels [1, 0]")
    derivatives(lambda x: solution(x, labels), [logits], name="cross_entropy")


@exercise("7.3", "A step of Adam", gives=("array", "array", "array"))
def adam_step(solution):
    """The first step, the fifth, and a hundred beside the library's own."""
    p, g, zero = frozen(4), frozen(4, seed=1), np.zeros(4)
    zero.flags.writeable = False
    got = solution(p, g, zero, zero, 1, lr=0.1)
    need(isinstance(got, (tuple, list)) and len(got) == 3, "it should return p, m and v")
    mistakes = {
        "a and 1 - a have changed places": 0.9 * g,
        "either the factor 1 - a is missing, or that is m / (1 - a ** t): return m itself": g,
    }
    same(got[1], 0.1 * g, "m after the first step", mistakes)
    same(
        got[2], 0.001 * g * g, "v after the first step",
        {
            "the square of g is missing": 0.001 * g,
            "b and 1 - b have changed places": 0.999 * g * g,
            "that is a for b": 0.1 * g * g,
            "that is v / (1 - b ** t): return v itself": g * g,
        },
    )  # fmt: skip
    m, v = 0.1 * g, 0.001 * g * g
    same(
        got[0], p - 0.1 * g / (np.abs(g) + 1e-8), "p after the first step",
        {
            "the bias correction is missing: divide the means by 1 - a ** t and 1 - b ** t": p - 0.1 * m / (np.sqrt(v) + 1e-8),
            "the step goes uphill": p + 0.1 * g / (np.abs(g) + 1e-8),
            "the root of v is missing": p - 0.1 * g / (g * g + 1e-8),
            "lr is not used": p - g / (np.abs(g) + 1e-8),
            "only m is corrected, v is not": p - 0.1 * g / (np.sqrt(v) + 1e-8),
            "the correction is that of step 0 or 2: t counts from 1": p - 0.1 * (m / 0.19) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8),
            "the means were used before they were updated": p,
        },
        tolerance=1e-6,  # eps comes next
    )  # fmt: skip
    same(
        solution(p, g, zero, zero, 1, lr=0.1, eps=0.5)[0], p - 0.1 * g / (np.abs(g) + 0.5), "p after a first step with eps=0.5",
        {
            "eps is not used": p - 0.1 * g / np.abs(g),
            "eps is not the argument but a number of your own": p - 0.1 * g / (np.abs(g) + 1e-8),
            "eps stands inside of the root": p - 0.1 * g / np.sqrt(g * g + 0.5),
            EARLY: p - 0.1 * g / (np.abs(g) + 0.5 / 0.001**0.5),
        },
    )  # fmt: skip
    leaf = mt.tensor(p, dtype="float64", requires_grad=True)
    library = mt.optim.Adam([leaf], lr=0.1)
    ours, m, v = p, zero, zero
    for t in range(1, 21):
        leaf.grad = mt.tensor(np.sin(t + leaf.numpy()))
        library.step()
        ours, m, v = solution(ours, np.sin(t + ours), m, v, t, lr=0.1)
    same(ours, leaf, "p after twenty steps, beside mt.optim.Adam,", tolerance=1e-7)
