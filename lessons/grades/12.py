"""Lesson 12: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import exercise, frozen, need, same, side_by_side


@exercise("12.1", "No look into the future", gives="array")
def causal_mask(solution):
    """As a picture."""
    right = np.tril(np.ones((5, 5)))
    got = np.asarray(solution(5))
    need(got.shape == (5, 5), f"the mask has the shape {got.shape}, right is (5, 5)")
    picture = side_by_side(got, right)
    need((got != right.T).any(), f"turned over: each word looks at itself and at the future; rows are queries{picture}")
    need(
        (got != np.tril(right, -1)).any(),
        f"a word may look at itself too; the first has nothing else, and would get nan{picture}",
    )
    need((got != 1 - right).any(), f"upside down: this looks at the future alone; True is where one may look{picture}")
    need((got != np.eye(5)).any(), f"each word looks at itself alone, and learns nothing of the others{picture}")
    need(got.sum() != 25, f"all may look at all, also at the word that is to be predicted{picture}")
    need((got == right).all(), f"for 5 words it is{picture}")
    need(
        got.dtype == bool,
        f"the mask is of {got.dtype}; a mask is of booleans, so that `&` joins masks and `where` takes it",
    )


@exercise("12.2", "Waves for positions", gives="array")
def positions(solution):
    """Beside the tables of the typical mistakes."""
    t, i = np.arange(6)[:, None], np.arange(4)

    def table(angles, first=np.sin, second=np.cos):
        return np.stack([first(angles), second(angles)], axis=-1).reshape(6, 8)

    angles = t / 10000.0 ** (2 * i / 8)
    k = np.arange(8)
    each = t / 10000.0 ** (k / 8)
    mixed = np.where(k % 2, np.cos(each), np.sin(each))
    same(
        solution(6, 8), table(angles), "the table for 6 positions and d_model = 8",
        {
            "first all sines, then all cosines; in the paper they take turns": np.hstack([np.sin(angles), np.cos(angles)]),
            "the exponent is 2 i / D, with i from 0 to D / 2 - 1; here it grows half as fast": table(t / 10000.0 ** (i / 8)),
            "a sine and its cosine are the same wave: the exponent belongs to the pair": mixed,
            "sine and cosine have changed places": table(angles, np.cos, np.sin),
            "the first position is 0, not 1": table((t + 1) / 10000.0 ** (2 * i / 8)),
            "the waves get faster: divide by the power, do not multiply": table(t * 10000.0 ** (2 * i / 8)),
            "positions and features have changed places: the result is (length, d_model)": table(angles).T,
            "both are sines": table(angles, np.sin, np.sin),
        },
    )  # fmt: skip
    need(np.shape(solution(3, 2)) == (3, 2), "for 3 positions and d_model = 2 the shape is not (3, 2)")


@exercise("12.3", "Cut into heads", gives="Tensor")
def split_heads(solution):
    """A batch, and heads that differ from features in number."""
    x = frozen(2, 5, 6)
    right = np.stack([x[:, :, :3], x[:, :, 3:]], axis=1)
    same(
        solution(mt.tensor(x), 2), right, "x cut into 2 heads",
        {
            "words and features are mixed: reshape to (B, T, H, K) first, then move the heads": x.reshape(2, 2, 5, 3),
            "the heads take every second feature; head 0 has the first K": np.stack([x[:, :, 0::2], x[:, :, 1::2]], axis=1),
            "the heads must stand before the words, (B, H, T, K): an axis has to move": x.reshape(2, 5, 2, 3),
            "words and features have changed places within a head": right.swapaxes(2, 3),
            "the heads stand before the sentences; the batch comes first": right.swapaxes(0, 1),
            "n_heads is the number of heads, not of features in a head": np.stack([x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]], axis=1),
        },
    )  # fmt: skip


@exercise("12.4", "The block", gives="Tensor")
def block(solution):
    """Parts that are plain functions, so that each wrong order has its own number."""

    def norm1(x):
        return x / 2 + 1

    def norm2(x):
        return x / 3 - 1

    def a(x):
        return x * x

    def f(x):
        return x**3

    x = frozen(3, 2)
    y = x + a(norm1(x))
    post = norm1(x + a(x))
    same(
        solution(mt.tensor(x), a, f, norm1, norm2), y + f(norm2(y)), "what the block returns",
        {
            "nothing is added to the words: the residual is missing in both parts": f(norm2(a(norm1(x)))),
            "the residual is missing in the first part: x + attention(...)": a(norm1(x)) + f(norm2(a(norm1(x)))),
            "the residual is missing in the second part: x + feed_forward(...)": f(norm2(y)),
            "the norm comes behind the sum, as in the first paper; here it comes before each part": norm2(post + f(post)),
            "what is added to is normalised too: the words go straight on as they were": norm2(norm1(x) + a(norm1(x)))
            + f(norm2(norm1(x) + a(norm1(x)))),
            "the second part gets the words as they came in, not those with the first part's answer": y + f(norm2(x)),
            "the second part's answer is added to the words as they came in": x + f(norm2(y)),
            "the norms are not used": x + a(x) + f(x + a(x)),
            "the norms have changed places": x + a(norm2(x)) + f(norm1(x + a(norm2(x)))),
            "feed_forward comes first here; attention does": x + f(norm2(x)) + a(norm1(x + f(norm2(x)))),
            "the first norm serves both parts; the second has its own": y + f(norm1(y)),
        },
    )  # fmt: skip


@exercise("12.5", "A detector")
def sees_future(solution):
    """Functions with and without a leak, each hidden in another place."""
    T, D = 5, 3
    x = mt.tensor(frozen(T, D))

    def weighted(mask):
        def function(x):
            scores = mt.where(mask, x @ x.mT, -np.inf)
            e = mt.exp(scores - scores.max(axis=-1, keepdims=True))
            return e / e.sum(axis=-1, keepdims=True) @ x

        return function

    causal = np.tril(np.ones((T, T), dtype=bool))
    one = causal.copy()
    one[2, 3] = True
    end = causal.copy()
    end[0, T - 1] = True
    _expect(
        solution(weighted(causal), x),
        False,
        "attention behind a causal mask: a word may see itself and what came before",
    )
    _expect(solution(weighted(~np.tril(causal, -1)), x), True, "a mask that is turned over")
    _expect(solution(lambda x: 2 * x, x), False, "a function of each word alone")
    _expect(solution(weighted(one), x), True, "a mask with one hole, at which word 2 sees word 3: try every word")
    _expect(
        solution(weighted(end), x),
        True,
        "a mask with one hole, at which the first word sees the last: look at all answers before it",
    )
    mean = weighted(causal)
    _expect(
        solution(lambda x: mean(x) - x.mean(axis=-1, keepdims=True), x), False,
        "a causal function that takes the mean over the features of a word, not over words",
    )  # fmt: skip
    _expect(
        solution(lambda x: x + _centred(x), x), True,
        "a leak that a change of all features by the same amount, or a gradient of the plain sum, does not show",
    )  # fmt: skip


def _centred(x):
    """What comes next, without its mean: nobody sees it who sums the features."""
    later = mt.concat([x[1:], x[:1] * 0])
    return later - later.mean(axis=-1, keepdims=True)


def _expect(got, right, what):
    need(isinstance(got, (bool, np.bool_)), f"it should return True or False, and returns {got!r}")
    need(got == right, f"it says {bool(got)} of {what}")
