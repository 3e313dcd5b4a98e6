"""Products of all factors but one, and linear recurrences: what the derivatives of products are
made of if a factor is zero.

The text runs on arrays and on Tensors alike. Nothing is divided, so that derivatives of every order
are right at zeros; time and memory are in proportion to the input.
"""

from __future__ import annotations

__all__ = ["earlier_product", "product_of_others", "recurrence"]


def earlier_product(xp, products):
    """Of running products along the last axis, those of the factors before each: the same moved on
    by one place, from 1.
    """
    return xp.concatenate([xp.ones_like(products[..., :1]), products[..., :-1]], axis=-1)


def product_of_others(xp, x):
    """For each factor of the last axis the product of all others: of those before it times those
    behind it.
    """
    behind = xp.flip(earlier_product(xp, xp.flip(x, axis=-1).cumprod(axis=-1)), axis=-1)
    return earlier_product(xp, x.cumprod(axis=-1)) * behind


def recurrence(xp, a, b):
    """``s_i = a_i + b_i s_(i-1)`` along the last axis, from ``s_(-1) = 0``.

    Two steps are one step of the same kind, s_(i+1) = (a_(i+1) + b_(i+1) a_i) + b_(i+1) b_i
    s_(i-1): the recurrence of every second place is half as long, and the places between follow
    from it. So there are log2(n) rounds over ever shorter arrays.
    """
    n = a.shape[-1]
    if n < 2:
        return a
    even = n - n % 2
    left_a, right_a = a[..., 0:even:2], a[..., 1:even:2]
    left_b, right_b = b[..., 0:even:2], b[..., 1:even:2]
    right = recurrence(xp, right_a + right_b * left_a, right_b * left_b)  # s_1, s_3, ...
    before = xp.concatenate([xp.zeros_like(right[..., :1]), right], axis=-1)  # s_(-1), s_1, s_3, ...
    left = left_a + left_b * before[..., : even // 2]
    pairs = xp.stack([left, right], axis=-1).reshape((*a.shape[:-1], even))
    if even == n:
        return pairs
    return xp.concatenate([pairs, a[..., even:] + b[..., even:] * before[..., -1:]], axis=-1)
