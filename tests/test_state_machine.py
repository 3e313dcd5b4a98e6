"""Random graphs, built at once in minitensor and in the scalar engine; all gradients must agree.

The scalar engine is lesson 1, its arrays are lesson 2. Nothing in them is shared with minitensor.
"""

import os
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import minitensor as mt
from lessons import load
from minitensor.testing import strategies as mst

plain = SimpleNamespace(**(vars(load(1)) | vars(load(2))))

UNARY = {"tanh": (mt.tanh, plain.tanh), "sin": (mt.sin, plain.sin)}
BINARY = {
    "add": (mt.add, plain.Value.__add__), "subtract": (mt.subtract, plain.Value.__sub__),
    "multiply": (mt.multiply, plain.Value.__mul__), "maximum": (mt.maximum, plain.maximum),
}  # fmt: skip
LIMIT = 1e3  # products of products grow: what leaves this range is tamed, so that the comparison stays exact


class Pair:
    """One array in both engines."""

    def __init__(self, tensor, values):
        self.tensor, self.values = tensor, values

    @property
    def shape(self):
        """Of either."""
        return self.tensor.shape


class Graphs(RuleBasedStateMachine):
    """Rules make arrays of arrays made before; at any moment some of them are differentiated."""

    pairs = Bundle("pairs")

    def __init__(self):
        super().__init__()
        self.leaves, self.made = [], 0

    def pair(self, tensor, values):
        """Enter a result, tamed if it has grown too large."""
        self.made += 1
        made = Pair(tensor, values)
        assert tensor.shape == np.shape(values)
        assert np.allclose(tensor.data, plain.numbers(values), rtol=1e-12, atol=1e-12)
        return (
            Pair(mt.tanh(tensor), plain.each(plain.tanh, values))
            if np.abs(tensor.data).max(initial=0.0) > LIMIT
            else made
        )

    @initialize(
        target=pairs,
        shapes=st.lists(mst.shapes(max_dims=2, max_side=3), min_size=2, max_size=3),
        seed=st.integers(0, 999),
    )
    def start(self, shapes, seed):
        rng = np.random.default_rng(seed)
        for shape in [*shapes, (2, 3), (3,)]:
            numbers = np.round(rng.uniform(-2, 2, shape), 1)
            self.leaves.append(Pair(mt.tensor(numbers, dtype="float64", requires_grad=True), plain.array(numbers)))
        return multiple(*self.leaves)

    @rule(target=pairs, x=pairs, name=st.sampled_from(sorted(UNARY)))
    def unary(self, x, name):
        ours, theirs = UNARY[name]
        return self.pair(ours(x.tensor), plain.each(theirs, x.values))

    @rule(target=pairs, x=pairs, y=pairs, name=st.sampled_from(sorted(BINARY)))
    def binary(self, x, y, name):
        ours, theirs = BINARY[name]
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            y = x
        return self.pair(ours(x.tensor, y.tensor), plain.each(theirs, x.values, y.values))

    @rule(target=pairs, x=pairs, data=st.data(), keepdims=st.booleans())
    def reduce(self, x, data, keepdims):
        axis = data.draw(mst.axes(len(x.shape), allow_tuple=False))
        return self.pair(x.tensor.sum(axis=axis, keepdims=keepdims), plain.summed(x.values, axis, keepdims))

    @rule(target=pairs, x=pairs, data=st.data())
    def read(self, x, data):
        index = data.draw(mst.index(x.shape))
        values = np.empty((), dtype=object)
        values[()] = x.values[index]
        return self.pair(x.tensor[index], values if isinstance(x.values[index], plain.Value) else x.values[index])

    @rule(target=pairs, x=pairs, y=pairs)
    def matmul(self, x, y):
        if not x.shape or not x.tensor.size:
            return multiple()
        inner = x.shape[-1]
        y = y if y.shape[-1:] == (inner,) and y.tensor.size else x
        rows, columns = x.tensor.reshape((-1, inner)), y.tensor.reshape((-1, inner)).mT
        return self.pair(rows @ columns, plain.matmul(x.values.reshape(-1, inner), y.values.reshape(-1, inner).T))

    @rule(target=pairs, x=pairs, data=st.data())
    def turn(self, x, data):
        axes = data.draw(mst.permutations(len(x.shape)))
        return self.pair(x.tensor.transpose(axes), x.values.transpose(axes))

    @rule(target=pairs, x=pairs, y=pairs)
    def join(self, x, y):
        flat = mt.concat([x.tensor, y.tensor, x.tensor], axis=None)
        return self.pair(flat[:12], np.concatenate([x.values.ravel(), y.values.ravel(), x.values.ravel()])[:12])

    @rule(target=pairs, x=consumes(pairs))
    def forget(self, x):
        """The handle goes, the graph stays: only what was made of it leads there."""
        return self.pair(x.tensor * x.tensor, plain.each(plain.Value.__mul__, x.values, x.values))

    @precondition(lambda self: self.made)
    @rule(outputs=st.lists(pairs, min_size=1, max_size=3), seed=st.integers(0, 999), deposit=st.booleans())
    def differentiate(self, outputs, seed, deposit):
        rng = np.random.default_rng(seed)
        seeds = [rng.standard_normal(output.shape) for output in outputs]
        slopes = plain.gradients(
            [v for o in outputs for v in np.ravel(o.values)], [s for seed in seeds for s in np.ravel(seed)]
        )
        leaves = [leaf.tensor for leaf in self.leaves]
        if deposit:
            for leaf in leaves:
                leaf.grad = None
            for output, seed in zip(outputs, seeds):
                output.tensor.backward(mt.asarray(seed), retain_graph=True)
            found = [leaf.grad for leaf in leaves]
        else:
            ends = [output.tensor for output in outputs]
            found = mt.grad(
                ends, leaves, grad_outputs=[mt.asarray(s) for s in seeds], create_graph=True, allow_unused=True
            )
        for leaf, gradient in zip(self.leaves, found):
            expected = np.array([slopes.get(v, 0.0) for v in np.ravel(leaf.values)]).reshape(leaf.shape)
            given = np.zeros(leaf.shape) if gradient is None else gradient.data
            assert np.allclose(given, expected, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(expected).max(initial=0.0)))

    @invariant()
    def leaves_are_untouched(self):
        """No op writes to its inputs."""
        assert all(np.array_equal(leaf.tensor.data, plain.numbers(leaf.values)) for leaf in self.leaves)


TestGraphs = Graphs.TestCase
TestGraphs.settings = settings(
    max_examples=150 if os.environ.get("MINITENSOR_THOROUGH") else 50, stateful_step_count=20, deadline=None
)
