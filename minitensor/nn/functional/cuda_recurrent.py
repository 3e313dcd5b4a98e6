"""Recurrent layers on a GPU: a step is one product and one kernel for all its gates, forward as
backward. The CUDA texts, with their formulas, are ``backend/cu/recurrent.cu``.

Everything lies as (steps, B, units), so that each step's part is one contiguous matrix, and the
products with the inputs and those that give the gradients of weights are one for all steps.

Within ``mt.autocast`` x, W_ih and their gradients are multiplied in 16 bits: those of x and W_ih as
they are, the gates' gradients in halves (``cublas.halves``). States are float32, and so are their
products.

Letters as in ``recurrent_steps``; ``states`` of every edge lie as (T + 1, B, H).
"""

from __future__ import annotations

from minitensor.backend import compute_dtype, is_narrow, widen
from minitensor.engine.autocast import rounded
from minitensor.nn.functional.overrides import override
from minitensor.nn.functional.recurrent_gru import packed_gru
from minitensor.nn.functional.recurrent_lstm import packed_lstm
from minitensor.nn.functional.recurrent_rnn import packed_rnn


def _override(op):
    """Register a kernel of ``op`` for GPUs; within ``mt.autocast`` it is given numbers of 16
    bits.
    """

    def decorate(function):
        def narrow(xp, x, *inputs, needs, **keywords):
            out, backward = function(xp, x, *inputs, needs=needs, **keywords)
            return out, lambda g: backward(rounded(g, x.dtype))

        op.kernel(narrow, device="cuda, 16 bits")
        return override(op, "cuda")(function)

    return decorate


class _Loop:
    """What the loops of all three have in common."""

    def __init__(self, xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
        self.xp, self.dtype, self.reverse = xp, compute_dtype(x.dtype), bool(reverse)
        self.count, self.batch, _ = x.shape
        self.hidden = h.shape[1]
        self.lengths = None
        if lengths is not None:  # 0 * NaN is NaN: padding must be gone, not weightless
            self.lengths = xp.ascontiguousarray(lengths, dtype=xp.int64)
            alive = xp.arange(self.count)[:, None] < lengths  # (T, B)
            x = xp.where(alive[..., None], widen(x), self.dtype.type(0)).astype(x.dtype, copy=False)
        self.inputs = xp.ascontiguousarray(x).reshape(self.count * self.batch, -1)  # (T B, I)
        self.weight_ih, self.weight_hh = (xp.ascontiguousarray(weight) for weight in (weight_ih, widen(weight_hh)))
        self.biases = [None if bias is None else xp.ascontiguousarray(widen(bias)) for bias in (bias_ih, bias_hh)]
        self.states = self.edges(widen(h))
        self.narrow = x.dtype if is_narrow(x.dtype) else None
        self.product = xp.matmul if self.narrow is None else xp.kernels.product

    def empty(self, *shape):
        """An array of this pass's dtype."""
        return self.xp.empty(shape, dtype=self.dtype)

    def edges(self, start):
        """Room for a state at all edges, ``start`` (B, H) at the first."""
        room = self.empty(self.count + 1, self.batch, self.hidden)
        room[-1 if self.reverse else 0] = start
        return room

    def project(self):
        """``W_ih x`` of all steps in one product: (T B, G H)."""
        return self.product(self.inputs, self.weight_ih.T)

    def forward(self, name, *arrays, rows, finals=1):
        """Run all steps: a product, then the kernel ``name``, which is given ``arrays``. Returns
        the outputs, and behind them the final states: (T + finals, B, H). rows: of a product, G H.
        """
        out, product = self.empty(self.count + finals, self.batch, self.hidden), self.empty(self.batch, rows)
        multiply = self.xp.kernels.multiplier(self.states, self.weight_hh.T, product)
        step = self.xp.kernels.prepared(
            name, self.dtype, self.batch * self.hidden, product, *self.biases, self.lengths, self.states, out, *arrays,
            self.count, self.batch, self.hidden, self.reverse,
        )  # fmt: skip
        for t in reversed(range(self.count)) if self.reverse else range(self.count):
            multiply(t + self.reverse)
            step(t)
        return out

    def backward(self, name, g, *arrays, d):
        """Run all steps backwards: the kernel ``name``, which is given ``arrays``, then a product
        with what it writes to ``d`` (T, B, G H). Returns the gradient of the initial state.
        """
        xp = self.xp
        arriving, held = xp.zeros((self.batch, self.hidden), dtype=self.dtype), g[self.count].copy()
        multiply = xp.kernels.multiplier(d, self.weight_hh, arriving)
        step = xp.kernels.prepared(
            name, self.dtype, held.size, xp.ascontiguousarray(g), self.lengths, arriving, held, *arrays,
            self.batch, self.hidden, self.reverse,
        )  # fmt: skip
        for t in range(self.count) if self.reverse else reversed(range(self.count)):
            step(t)
            multiply(t)
        held += arriving
        return held

    def input_gradients(self, d, needs):
        """Gradients of x, W_ih and b_ih, if needed, from those of what a step adds to its inputs:
        d (T, B, G H).
        """
        d = d.reshape(len(self.inputs), -1)  # (T B, G H)
        parts = d if self.narrow is None or not any(needs[:2]) else self.xp.kernels.halves(d, self.narrow)
        gx = self.product(parts, self.weight_ih).reshape(self.count, self.batch, -1) if needs[0] else None
        gw_ih = self.product(parts.swapaxes(0, 1), self.inputs) if needs[1] else None
        return gx, gw_ih, self._summed(d) if needs[2] else None

    def state_gradients(self, d, needs, gb_ih=None):
        """Gradients of W_hh and b_hh, if needed, from those of ``W_hh h + b_hh``: d (T, B, G H).

        gb_ih: the gradient of b_ih, if it is known and the same; copied, since a parameter's
        gradient is added to in place.
        """
        xp, d = self.xp, d.reshape(len(self.inputs), -1)  # (T B, G H)
        before = (self.states[1:] if self.reverse else self.states[:-1]).reshape(len(d), self.hidden)  # (T B, H)
        gw_hh = xp.matmul(d.T, before) if needs[0] else None
        if not needs[1]:
            return gw_hh, None
        return gw_hh, self._summed(d) if gb_ih is None else gb_ih.copy()

    def _summed(self, d):
        """``d.sum(axis=0)``, as a product: in CuPy's sum few threads would walk many rows."""
        return self.xp.matmul(self.xp.ones(len(d), dtype=d.dtype), d)


@_override(packed_lstm)
def _(xp, x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    rows, cells, gates = 4 * loop.hidden, loop.edges(widen(c)), loop.project()
    out = loop.forward("lstm_forward", gates, cells, rows=rows, finals=2)

    def backward(g):
        da, dc = loop.empty(loop.count, loop.batch, rows), g[loop.count + 1].copy()
        dh = loop.backward("lstm_backward", g, gates, cells, dc, da, d=da)
        gx, gw_ih, gb_ih = loop.input_gradients(da, (needs[0], needs[3], needs[5]))
        gw_hh, gb_hh = loop.state_gradients(da, (needs[4], needs[6]), gb_ih)
        return gx, dh, dc, gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward


@_override(packed_gru)
def _(xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    rows, gates = 3 * loop.hidden, loop.project()
    inner = loop.empty(loop.count, loop.batch, loop.hidden) if any(needs) else None
    out = loop.forward("gru_forward", gates, inner, rows=rows)

    def backward(g):
        # n has two gradients, of n_x and of n_h: dx serves the inputs, ds the states.
        dx, ds = loop.empty(2, loop.count, loop.batch, rows)
        dh = loop.backward("gru_backward", g, gates, inner, loop.states, dx, ds, d=ds)
        gx, gw_ih, gb_ih = loop.input_gradients(dx, (needs[0], needs[2], needs[4]))
        gw_hh, gb_hh = loop.state_gradients(ds, (needs[3], needs[5]))
        return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward


@_override(packed_rnn)
def _(
    xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, nonlinearity="tanh", reverse=False, needs,
):  # fmt: skip
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    rectified = nonlinearity == "relu"
    out = loop.forward("rnn_forward", loop.project(), rectified, rows=loop.hidden)

    def backward(g):
        da = loop.empty(loop.count, loop.batch, loop.hidden)
        dh = loop.backward("rnn_backward", g, loop.states, rectified, da, d=da)
        gx, gw_ih, gb_ih = loop.input_gradients(da, (needs[0], needs[2], needs[4]))
        gw_hh, gb_hh = loop.state_gradients(da, (needs[3], needs[5]), gb_ih)
        return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward
