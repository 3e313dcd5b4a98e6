"""Multiply-adds of the ops that are matrix products, from the shapes alone: what no way of
computing them can do without.

Each function takes the shapes of the inputs (None for what is not given), the keywords, and the
numbers of the inputs whose gradients are computed; it returns the multiply-adds of the op and those
of these gradients. Masks and lengths are taken to hide nothing.

Convolutions and ``tensordot`` are made of ``linear`` and ``matmul``, and are counted there. An
outer product (``mt.outer``) is one of elements here: nothing is summed.
"""

from __future__ import annotations

import math
from itertools import combinations

from minitensor.backend import np
from minitensor.engine.fused import KernelPullback
from minitensor.engine.mode import switched
from minitensor.engine.tensor import asarray

__all__ = ["PRODUCTS", "backward", "forward"]


def _matmul(shapes, keywords, wanted):
    x, y = shapes
    rows, columns = x[-2:-1], y[-1:] if len(y) > 1 else ()
    count = math.prod((*np.broadcast_shapes(x[:-2], y[:-2]), *rows, x[-1], *columns))
    return count, count * len(wanted)


def _linear(shapes, keywords, wanted):
    x, weight = shapes[:2]
    count = math.prod(x) * weight[0]
    return count, count * len(wanted & {0, 1})  # the bias has no product


def _attention(shapes, keywords, wanted):
    query, key, value, mask, bias = shapes[:5]
    scores = math.prod(np.broadcast_shapes(query[:-2], key[:-2])) * query[-2] * key[-2] * query[-1]  # Q K^T
    given = [shape[:-2] for shape in (query, key, value, mask, bias) if shape is not None]
    mixture = math.prod(np.broadcast_shapes(*given)) * query[-2] * value[-2] * value[-1]  # P V
    pulled = scores * len(wanted & {0, 1}) + mixture * ((2 in wanted) + bool(wanted & {0, 1, 4}))
    return scores + mixture, pulled


def _packed_attention(shapes, keywords, wanted):
    batch, length, width = shapes[0]
    count = batch * length * length * (width // 3)
    return 2 * count, 4 * count * (0 in wanted)


def _recurrent(states):
    """A recurrent op with so many states behind x: x, states, weight_ih, weight_hh, biases."""

    def count(shapes, keywords, wanted):
        steps, batch, features = shapes[0]
        rows, hidden = shapes[states + 2]
        of_inputs, of_states = batch * rows * features, batch * rows * hidden  # in one step
        # A gradient goes from step to step, and on to the first state if that wants one.
        through = (steps - 1 + (1 in wanted)) * bool(wanted)
        pulled = steps * (of_inputs * len(wanted & {0, states + 1}) + of_states * (states + 2 in wanted))
        return steps * (of_inputs + of_states), pulled + through * of_states

    return count


def _einsum(shapes, keywords, wanted):
    terms, output = keywords["terms"], keywords["output"]
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, shapes):
        for letter, length in zip(term, shape):
            lengths[letter] = length if lengths.get(letter, 1) == 1 else lengths[letter]
    gradients = ([output, *terms[:i], *terms[i + 1 :]] for i in wanted)
    pulled = sum(_contraction(others, terms[i], lengths) for i, others in zip(wanted, gradients))
    return _contraction(terms, output, lengths), pulled


EXACT = 5  # factors of which all orders of multiplying are tried; of more, the cheapest pair comes first


def _contraction(terms, output, lengths):
    """The least multiply-adds of a sum of products that is computed in pairs."""
    factors = [frozenset(term) for term in terms]
    # What only one factor has is summed up before anything is multiplied.
    factors = [
        frozenset(letter for letter in factor if letter in output or sum(letter in other for other in factors) > 1)
        for factor in factors
    ]
    return _pairs(factors, frozenset(output), lengths)


def _pairs(factors, output, lengths):
    if len(factors) < 2:
        return 0
    options = []
    for i, j in combinations(range(len(factors)), 2):
        both = factors[i] | factors[j]
        others = [factors[k] for k in range(len(factors)) if k not in (i, j)]
        left = both & output.union(*others)
        options.append((math.prod(lengths[letter] for letter in both), others, left))
    if len(factors) > EXACT:
        options = [min(options, key=lambda option: option[0])]
    return min(cost + _pairs([*others, left], output, lengths) for cost, others, left in options)


PRODUCTS = {  # by the name of the library's op
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "packed_attention": _packed_attention,
    "packed_gru": _recurrent(1),
    "packed_lstm": _recurrent(2),
    "packed_rnn": _recurrent(1),
    "scaled_dot_product_attention": _attention,
}


def forward(op, args, params):
    """Multiply-adds of a call that has succeeded; 0 if the op is no product."""
    count = None if op.foreign else PRODUCTS.get(op.name)
    if count is None:
        return 0
    inputs, keywords = op.bind(args, params)
    return count([_shape(value) for value in inputs], keywords, frozenset())[0]


def backward(node, needed):
    """Multiply-adds of the gradients that a pass takes from a node: those of its parents in
    ``needed`` (None: all).
    """
    op = getattr(node.pullback, "op", None)
    count = None if op is None or op.foreign else PRODUCTS.get(op.name)
    if count is None:
        return 0
    shapes, keywords, numbers = _saved(node)
    wanted = set()
    for i, parent in zip(numbers, node.parents):
        shapes[i] = parent.shape
        if needed is None or parent in needed:
            wanted.add(i)
    return count(shapes, keywords, wanted)[1]


def _saved(node):
    """What a node knows of its call: the shapes of the inputs, the keywords, and which inputs its
    parents are.
    """
    pullback, saved = node.pullback, node.saved
    if isinstance(pullback, KernelPullback):
        return [_shape(value) for value in saved[3:]], saved[2], pullback.wanted
    numbers = pullback.numbers_of(node)
    shapes, keywords = [None] * max(pullback.op.arity, *(i + 1 for i in numbers)), {}
    for (kind, key), value in zip(pullback.sources, saved):
        if kind == "inputs":
            shapes = [_shape(one) for one in value]
        elif kind in ("input", "shape"):
            shapes[key] = value if kind == "shape" else _shape(value)
        elif kind == "keyword":
            keywords[key] = value
    return shapes, keywords, numbers


def _shape(value):
    if value is None or hasattr(value, "shape"):
        return None if value is None else value.shape
    with switched(observer=None, autocast=None):
        return asarray(value).shape
