"""Lesson 15: the graders."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons.grading import exercise, frozen, need, op_rules, same


@exercise("15.1", "Count before you measure")
def attention_operations(solution):
    """Counts that all differ; then what the library's profile counts."""
    B, H, T, S, K = 3, 5, 7, 13, 11
    product = B * H * T * S * K
    same(
        solution(B, H, T, S, K), 4 * product, "the operations for 3 sentences, 5 heads, 7 queries, 13 keys, 11 features",
        {
            "a multiplication with its addition counts as 2, and these are half": 2 * product,
            "there are two products, one for the scores and one with the values, and multiply-adds count as 2": product,
            "there are heads: each has its own products": 4 * product // H,
            "there is a batch: each sentence has its own products": 4 * product // B,
            "every query meets every key: queries times keys, not queries squared": 4 * B * H * T * T * K,
            "queries plus keys? every query meets every key": 4 * B * H * (T + S) * K,
            "without the features: a score is a product of K numbers": 4 * product // K,
        },
    )  # fmt: skip
    q, k = mt.tensor(frozen(B, H, T, K)), mt.tensor(frozen(B, H, S, K))
    with mt.profile() as p:
        F.scaled_dot_product_attention(q, k, k)
    same(solution(B, H, T, S, K), sum(row.flops for row in p.rows), "the count beside that of mt.profile()")


@exercise("15.2", "A softmax that reads once")
def one_pass(solution):
    """Blocks that rise, blocks that fall, and numbers whose exp overflows."""
    blocks = [np.array([1.0, 0.5]), np.array([3.0, -1.0]), np.array([2.0, 2.5])]
    read = []

    def once(blocks):
        for block in blocks:
            read.append(len(block))
            yield block

    rows = np.concatenate(blocks)
    right = np.exp(rows - 3.0).sum()
    got = solution(once(blocks))
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return two numbers: maximum and sum")
    need(len(read) == 3, f"it read {len(read)} of 3 blocks")
    same(
        got[0],
        3.0,
        "the maximum of three blocks",
        {"this is the maximum of the last block alone": 2.5, "of the first alone": 1.0},
    )
    parts = [np.exp(block - block.max()).sum() for block in blocks]
    first, second, third = (np.exp(block - top).sum() for block, top in zip(blocks, (1.0, 3.0, 3.0)))
    same(
        got[1], right, "the sum",
        {
            "the sum so far is not corrected: it was measured from a smaller maximum": first + second + third,
            "each block's sum is measured from its own maximum": sum(parts),
            "the correction is upside down: exp(old - new), which is at most 1": first * np.exp(2.0) + second + third,
            "the exponents are not shifted by the maximum": np.exp(rows).sum(),
            "the iterator was gone through before: blocks can be read only once": 0.0,
            "this is the sum of the last block alone": third,
        },
    )  # fmt: skip
    big = [np.array([-1000.0, 0.0]), np.array([1000.0, 999.0])]
    got = solution(iter(big))[1]
    need(
        np.isfinite(got),
        "with numbers around 1000 the sum is inf or nan: shift by the maximum before exp, block by block",
    )
    same(got, 1 + np.exp(-1.0), "the sum with numbers around 1000")
    same(solution(iter(blocks[::-1]))[1], right, "the sum if the largest block comes early")


@exercise("15.3", "A step with a cache", gives=("array", ("array", "array")))
def cached_step(solution):
    """Three steps, beside attention without a cache; then a second beam."""
    q, k, v = frozen(4, 3), frozen(4, 3, seed=1), frozen(4, 3, seed=2)

    def answer(t, keys, values, scale=3**0.5):
        e = np.exp(keys @ q[t] / scale)
        return e @ values / e.sum()

    cache = (frozen(0, 3), frozen(0, 3))
    for t in range(3):
        got = solution(q[t], k[t], v[t], cache)
        need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return the answer and the new cache")
        old = answer(t, k[:t], v[:t]) if t else np.full(3, np.nan)
        same(
            got[0], answer(t, k[: t + 1], v[: t + 1]), f"the answer of word {t}",
            {
                "the newest word does not look at itself: put its key and value in before": old,
                "it looks at itself alone; the words before are in the cache": v[t],
                "the scores are not divided by the root of K": answer(t, k[: t + 1], v[: t + 1], 1.0),
                "keys are summed in the place of values": answer(t, k[: t + 1], k[: t + 1]),
            },
        )  # fmt: skip
        need(isinstance(got[1], (tuple, list)) and len(got[1]) == 2, "the new cache should be a pair (keys, values)")
        same(
            got[1][0], k[: t + 1], f"the keys in the cache behind word {t}",
            {
                "the newest word is in front; it comes behind the others": np.vstack([k[t], k[:t]]),
                "the newest word is not put in": k[:t],
                "keys and values have changed places": v[: t + 1],
                "only the newest word is kept": k[t : t + 1],
            },
        )  # fmt: skip
        same(got[1][1], v[: t + 1], f"the values in the cache behind word {t}", {"these are the keys": k[: t + 1]})
        cache = got[1]
    keys, values = list(k[:2]), list(v[:2])
    before = (np.array(keys), np.array(values))
    kept = (before[0].copy(), before[1].copy())
    solution(q[2], k[2], v[2], before)
    need(
        (before[0] == kept[0]).all() and (before[1] == kept[1]).all(),
        "the old cache was changed: another beam may go on from it",
    )
    same(
        solution(q[3], k[3], v[3], before)[0],
        answer(3, k[[0, 1, 3]], v[[0, 1, 3]]),
        "a second beam's answer from the same cache",
    )


@exercise("15.4", "The backward pass of a kernel", gives="array")
def layer_norm_backward(solution):
    """Beside the typical mistakes, then as the rule of an op, through check_op."""
    x, g, weight = frozen(3, 5), frozen(3, 5, seed=1), frozen(5)
    rstd = 1 / x.std(axis=-1, keepdims=True)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * rstd

    def mean(a):
        return a.mean(axis=-1, keepdims=True)

    h = g * weight
    of_all = rstd * (h - h.mean() - x_hat * (h * x_hat).mean())
    of_first = rstd * (h - h.mean(axis=0) - x_hat * (h * x_hat).mean(axis=0))
    same(
        solution(g, x_hat, rstd, weight), rstd * (h - mean(h) - x_hat * mean(h * x_hat)), "dL/dx",
        {
            "the weight is missing: h = g * weight": rstd * (g - mean(g) - x_hat * mean(g * x_hat)),
            "the mean of h is missing: moving all x by the same amount changes nothing": rstd * (h - x_hat * mean(h * x_hat)),
            "the term with x_hat is missing: the variance depends on x too": rstd * (h - mean(h)),
            "rstd is missing": h - mean(h) - x_hat * mean(h * x_hat),
            "mean and variance depend on x: this takes them as constants": rstd * h,
            "divided by rstd: it multiplies": (h - mean(h) - x_hat * mean(h * x_hat)) / rstd,
            "the means are over all rows: each row has its own, along the last axis": of_all,
            "x_hat stands outside of its mean; this is mean(h) * mean(x_hat)": rstd * (h - mean(h) - x_hat * mean(h) * mean(x_hat)),
            "the means are along the first axis; they are along the last": of_first,
        },
    )  # fmt: skip

    @mt.fused
    def layer_norm(x, weight):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / mt.sqrt((centred * centred).mean(axis=-1, keepdims=True)) * weight

    @layer_norm.kernel
    def _(xp, x, weight):
        centred = x - x.mean(axis=-1, keepdims=True)
        rstd = 1 / xp.sqrt((centred * centred).mean(axis=-1, keepdims=True))
        x_hat = centred * rstd

        def backward(g):
            return np.array(solution(g, x_hat, rstd, weight), dtype=x.dtype), (g * x_hat).sum(axis=0)

        return x_hat * weight, backward

    op_rules(
        layer_norm, [x, weight], "this is a kernel with your rule, held to what the library asks of an op", order=1
    )
