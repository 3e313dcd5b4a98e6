"""Lesson 11: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same, side_by_side


def softmax(x, axis=-1):
    """Of arrays."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@exercise("11.1", "Attention")
def attention(solution):
    """Values that are an identity matrix show the weights; then other values, and derivatives."""
    for T in (5, 4):  # with T = S a softmax over the wrong axis has the right shape as well
        q, k = frozen(2, T, 3), frozen(2, 4, 3, seed=1)
        scores = q @ k.swapaxes(1, 2)
        weights, over_queries = softmax(scores / 3**0.5), softmax(scores / 3**0.5, axis=1)
        eye = np.broadcast_to(np.eye(4), (2, 4, 4))
        got = solution(mt.tensor(q), mt.tensor(k), mt.tensor(eye.copy()))
        need(isinstance(got, mt.Tensor), "it should return the answers, a Tensor")
        same(
            got, weights, "the weights (the answers, with an identity matrix as values)",
            {
                "your weights add up to 1 over the queries; they must over the keys, the last axis": over_queries,
                "the scores are not divided by the root of K": softmax(scores),
                "the scores are divided by K; it is the root of K": softmax(scores / 3),
                "the scores are multiplied by the root of K; they must be divided": softmax(scores * 3**0.5),
                "the scores are divided by the root of the number of keys; it is the root of K, the number of features": softmax(
                    scores / 2
                ),
                "the softmax is missing": scores / 3**0.5,
                "the division comes behind the softmax; it must come before it": softmax(scores) / 3**0.5,
            },
        )  # fmt: skip
    v = frozen(2, 4, 6)
    same(
        solution(mt.tensor(q), mt.tensor(k), mt.tensor(v)), weights @ v, "the answers",
        {"the keys are summed in the place of the values": weights @ np.pad(k, ((0, 0), (0, 0), (0, 3)))},
    )  # fmt: skip
    derivatives(solution, [q, k, v], "is a Tensor detached, or made an array, on the way?")


@exercise("11.2", "Where words are real", gives="array")
def padding_mask(solution):
    """As a picture."""
    right = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    got = np.asarray(solution([2, 5, 1], 5))
    need(got.shape == (3, 5), f"the mask has the shape {got.shape}, right is (3, 5)")
    if (got == right).all():
        need(got.dtype == bool, f"the mask is of {got.dtype}; a mask is of booleans: compare, do not compute")
        return
    picture = side_by_side(got, right)
    need((got != 1 - right).any(), f"upside down: True is where one may look, at real words{picture}")
    need(
        (got != (np.arange(5) <= np.array([[2], [5], [1]]))).any(),
        f"one too many: of n words the last is at n - 1, so <{picture}",
    )
    need((got != right[:, ::-1]).any(), f"the real words are the first ones, the padding stands on the right{picture}")
    need(got[2].sum() != 5, f"all rows are as long as the longest{picture}")
    need((got != np.eye(5)[[1, 4, 0]]).any(), f"that is the last real word alone: all before it are real too{picture}")
    need(False, f"for lengths 2, 5, 1 it is{picture}")


@exercise("11.3", "Nothing for padding", gives="Tensor")
def masked_weights(solution):
    """Zeros, sums, values, and scores that are large or infinite under the mask."""
    scores, mask = 2 * frozen(2, 3, 4), np.array([[True, True, False, False], [True, True, True, False]])
    full = mask[:, None, :]
    right = softmax(np.where(full, scores, -np.inf))
    got = solution(mt.tensor(scores), mask)
    same(
        got, right, "the weights",
        {
            "hidden behind the softmax, the rest no longer adds up to 1: hide the scores before it": softmax(scores) * full,
            "a score of 0 is no weight of 0: exp(0) = 1; put -inf there": softmax(scores * full),
            "the mask is upside down: padding is looked at and words are not": softmax(np.where(full, -np.inf, scores)),
            "the mask is added as a number: True is 1 more, and hides nothing": softmax(scores + full),
            "the mask is not used": softmax(scores),
        },
    )  # fmt: skip
    scores = np.where(full, scores, 1e30)
    got = solution(mt.tensor(scores), mask).numpy()
    need(np.isfinite(got).all(), "large scores of padding give inf or nan: hide them before the softmax, not behind it")
    same(
        got,
        right,
        "the weights, with scores of 1e30 at the padding",
        {"a large negative number is added; put -inf there": softmax(scores)},
    )


@exercise("11.4", "Additive scores", gives="Tensor")
def additive_scores(solution):
    """Unlike lengths on all axes; then derivatives."""
    q, k, W_q, W_k, v = parts = [frozen(2, 3, 5), frozen(2, 4, 6), frozen(7, 5), frozen(7, 6), frozen(7)]
    a, b = (q @ W_q.T)[:, :, None], (k @ W_k.T)[:, None]
    same(
        solution(*map(mt.tensor, parts)), np.tanh(a + b) @ v, "the scores",
        {
            "the tanh is missing": (a + b) @ v,
            "query and key are multiplied; here they are added": np.tanh(a * b) @ v,
            "the tanh is around the score; it belongs inside, before v": np.tanh((a + b) @ v),
            "this is a tanh for each of the two; it is around their sum": (np.tanh(a) + np.tanh(b)) @ v,
            "v is missing: this is a plain sum": np.tanh(a + b).sum(axis=-1),
            "queries and keys have changed places: the result is (B, T, S)": (np.tanh(a + b) @ v).swapaxes(1, 2),
            "the last axis is still there: multiply by v and sum": np.tanh(a + b) * v,
        },
    )  # fmt: skip
    derivatives(solution, parts)


@exercise("11.5", "Read the picture", gives="array")
def alignment(solution):
    """A picture that is no square."""
    weights = softmax(3 * frozen(2, 5, 4))
    shown = side_by_side(weights[0], np.eye(4)[weights[0].argmax(axis=-1)])
    same(
        solution(weights), weights.argmax(axis=-1), "the places that were looked at",
        {
            "this is the written word for each place; asked is the place for each written word": weights.argmax(axis=1),
            "these are the largest weights; asked is where they are": weights.max(axis=-1),
            "this is where it looked least": weights.argmin(axis=-1),
            "this is the mean place; asked is the one with the largest weight": weights @ np.arange(4),
            f"this is one place for all; asked is one for each row of the picture{shown}": weights.argmax(),
        },
    )  # fmt: skip
