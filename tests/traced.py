"""Traces whose pages and drawings are tested."""

import numpy as np
from streams import made_once

import minitensor as mt
from minitensor import nn
from minitensor.models.transformer import Transformer, TransformerConfig


class MLP(nn.Module):
    """Two layers."""

    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)

    def forward(self, x):
        return self.second(mt.tanh(self.first(x)))


@made_once
def scalar():
    """An expression of scalars in which one leaf is used twice."""
    with mt.backward_trace() as t:
        a, b = mt.tensor(2.0, requires_grad=True), mt.tensor(-3.0, requires_grad=True)
        product = a * b
        loss = mt.tanh(0.1 * product + 0.3 * a)
        loss.backward()
    return t


@made_once
def mlp():
    """An MLP with a loss."""
    model = MLP()
    x = mt.tensor(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    with mt.backward_trace(model) as t:
        loss = nn.functional.cross_entropy(model(x), mt.asarray([0, 1, 1, 0, 1]))
        loss.backward()
    return t


@made_once
def updated():
    """Two steps of an optimiser in one block."""
    w = nn.Parameter(mt.tensor(2.0))
    with mt.backward_trace({"w": w}) as t:
        for _ in range(2):
            w.grad = None
            (w * w).backward()
            w.assign(w.detach() - 0.25 * w.grad)
    return t


@made_once
def second():
    """A second derivative."""
    with mt.backward_trace() as t:
        x = mt.tensor(0.5, requires_grad=True)
        y = mt.tanh(x) * x
        (g,) = mt.grad(y, [x], create_graph=True)
        (g * g).backward()
    return t


class Block(nn.Module):
    """A layer."""

    def __init__(self):
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return mt.tanh(self.linear(x)) * 2.0


class Repeated(nn.Module):
    """One block, three times."""

    def __init__(self):
        self.block = Block()

    def forward(self, x):
        for _ in range(3):
            x = self.block(x)
        return x


@made_once
def repeated():
    """A module that is called three times in a row."""
    model = Repeated()
    with mt.backward_trace(model) as t:
        model(mt.ones((2, 3))).sum().backward()
    return t


@made_once
def third():
    """A third derivative: three passes, two of them recorded."""
    with mt.backward_trace() as t:
        x = mt.tensor(0.5, requires_grad=True)
        (g,) = mt.grad(mt.tanh(x) * x, [x], create_graph=True)
        (h,) = mt.grad(g * g, [x], create_graph=True)
        (h * h).backward()
    return t


@made_once
def recurrent():
    """The second derivative of an RNN, whose first is made of fused ops."""
    x, rnn = mt.ones((1, 2, 2), requires_grad=True), nn.RNN(2, 2, batch_first=True)
    with mt.backward_trace({"x": x}) as t:
        (g,) = mt.grad((rnn(x)[0] ** 2).sum(), [x], create_graph=True)
        (g * g).sum().backward()
    return t


@made_once
def empty():
    """Nothing at all."""
    with mt.backward_trace() as t:
        pass
    return t


@made_once
def forward_only():
    """No backward pass."""
    with mt.backward_trace() as t:
        mt.tanh(mt.ones(2, requires_grad=True)).sum()
    return t


@made_once
def backward_only():
    """Only the backward pass in the block; broadcast inputs, NaN and infinity among the values."""
    a = mt.tensor([[2.0, 1.0, float("nan")]], requires_grad=True)
    b = mt.tensor([[-3.0], [float("inf")]], requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = mt.tanh(a * b + a).sum()
        with mt.backward_trace() as t:
            loss.backward()
    return t


@made_once
def odd():
    """What is rare: 1e200, NaN, infinities, float16, nothing at all, a name that looks like HTML, a
    hook, a checkpoint, a list of inputs, a loop of many ops.
    """
    wide = mt.tensor(np.array([1e200, 2.0, np.inf]), requires_grad=True)
    half = mt.tensor(np.array([1.5, 2.0], np.float16), requires_grad=True)
    empty = mt.tensor(np.zeros((0, 4)), requires_grad=True)
    large = mt.tensor(np.array([np.nan, np.inf, -np.inf] * 40), requires_grad=True)
    square = mt.tensor(np.eye(3), requires_grad=True)
    wide.name = "</script><b>&"
    with np.errstate(all="ignore"), mt.backward_trace() as t:
        chosen = mt.where(mt.asarray([True, False]), half, half * 2)
        chosen.register_hook(lambda g: g * 2)
        joined = mt.concatenate([wide, wide * 2, large])
        again = mt.checkpoint(lambda x: mt.tanh(x @ x), square)
        for _ in range(50):
            again = again * 1.01
        (chosen.sum().astype("float64") + joined.sum() + empty.sum() + again.sum()).backward()
    return t


@made_once
def transformer(d_model=16):
    """A step of a Transformer with two layers each side."""
    shape = dict(vocab_size=50, d_model=d_model, n_heads=4, n_encoder_layers=2, n_decoder_layers=2, d_ff=2 * d_model)
    model = Transformer(TransformerConfig(**shape))
    rng = np.random.default_rng(0)
    source, target = rng.integers(4, 50, (4, 7)), rng.integers(4, 50, (4, 6))
    with mt.backward_trace(model) as t:
        model.loss(source, target[:, :-1], target[:, 1:]).backward()
    return t
