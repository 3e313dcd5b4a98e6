"""Attention in tiles on a device against the CPU's: what the fake device and a real one run."""

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F


def normal(*shape, seed=0):
    """Fixed normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def allowed(*shape, seed=5):
    """A fixed mask, two thirds of it True."""
    return np.random.default_rng(seed).random(shape) < 0.66


def first_rows_blind(queries, keys):
    """A mask in which the first queries may see nothing."""
    mask = allowed(queries, keys)
    mask[: queries // 3] = False
    return mask


# name: (queries, keys, features, width of a value, how), how of the queries and keys
CASES = {
    "plain": (1.0, 1.2, 8, 11, lambda t, s: {}),
    "causal": (1.0, 1.0, 8, 8, lambda t, s: {"is_causal": True}),
    "causal, more keys": (1.0, 1.7, 8, 8, lambda t, s: {"is_causal": True}),
    "causal, fewer keys": (1.7, 1.0, 8, 8, lambda t, s: {"is_causal": True}),
    "mask of keys": (1.0, 1.2, 8, 8, lambda t, s: {"mask": allowed(2, 1, 1, s)}),
    "mask of queries": (1.0, 1.2, 8, 8, lambda t, s: {"mask": allowed(t, 1)}),
    "mask of heads": (1.0, 1.2, 8, 8, lambda t, s: {"mask": allowed(2, 1, s), "is_causal": True}),
    "mask of all": (1.0, 1.0, 8, 8, lambda t, s: {"mask": allowed(2, 2, t, s), "is_causal": True}),
    "mask, blind rows": (1.0, 1.2, 8, 8, lambda t, s: {"mask": first_rows_blind(t, s)}),
    "mask of nothing": (1.0, 1.2, 8, 8, lambda t, s: {"mask": np.zeros((2, 1, t, s), dtype=bool)}),
    "dropout": (1.0, 1.2, 8, 8, lambda t, s: {"dropout": 0.3, "is_causal": True}),
    "dropout of few": (1.0, 1.2, 8, 8, lambda t, s: {"dropout": 1e-3}),  # takes 64 random bits an element
    "scale": (1.0, 1.2, 8, 8, lambda t, s: {"scale": -0.7}),
}  # fmt: skip


def case(name, length):
    """``(inputs, keywords)`` of a case, for about ``length`` queries."""
    queries, keys, features, width, how = CASES[name]
    queries, keys = int(queries * length), int(keys * length)
    shapes = [(2, 2, queries, features), (2, 2, keys, features), (2, 2, keys, width)]
    return [normal(*shape, seed=i) for i, shape in enumerate(shapes)], how(queries, keys)


def biased(query, key, value, bias):
    """Attention with a bias that learns."""
    return F.scaled_dot_product_attention(query, key, value, bias=bias, is_causal=query.shape[-2] <= key.shape[-2])


def dropped(device, dtype, length, dropout, packed=False):
    """Which weights dropout keeps, as the attention of ``device`` shows them: scores of 0, and
    values of the unit matrix.
    """
    mt.random.seed(11)
    if packed:
        x = np.zeros((1, length, 3 * length))
        x[..., 2 * length :] = np.eye(length)
        y = F.packed_attention(mt.tensor(x, dtype=dtype, device=device), 1, dropout=dropout)
    else:
        zeros, values = np.zeros((2, 3, length, 4)), np.broadcast_to(np.eye(length), (2, 3, length, length))
        q, k, v = (mt.tensor(np.array(a), dtype=dtype, device=device) for a in (zeros, zeros, values))
        y = F.scaled_dot_product_attention(q, k, v, dropout=dropout)
    return y.to("cpu").numpy() != 0, mt.random.default.state


def hidden_numbers(device, number, dtype="float64", length=70):
    """Output and gradients where ``number`` (NaN or infinite) stands at places that no query, or no
    key, may see.
    """
    inputs = [normal(2, 2, length, 8, seed=i) for i in range(3)]
    mask = np.ones((2, 1, length, length), dtype=bool)
    mask[:, :, :, [3, length - 2]] = False
    mask[:, :, [5, length - 1]] = False
    for x in inputs[1:]:
        x[:, :, [3, length - 2]] = number
    inputs[0][:, :, [5, length - 1]] = number
    x = [mt.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in inputs]
    y = F.scaled_dot_product_attention(*x, mask=mt.tensor(mask, device=device))
    g = mt.tensor(normal(*y.shape, seed=9), dtype=dtype, device=device)
    return [part.to("cpu").numpy() for part in (y, *mt.grad(y, x, g))]
