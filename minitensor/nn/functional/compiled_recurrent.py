"""Recurrent layers by compiled loops over time: what ``backend/compiled/recurrent.py`` is given."""

from __future__ import annotations

import functools

from minitensor.nn.functional.overrides import override
from minitensor.nn.functional.recurrent_gru import packed_gru
from minitensor.nn.functional.recurrent_lstm import packed_lstm
from minitensor.nn.functional.recurrent_rnn import packed_rnn

_override = functools.partial(override, device="cpu")


class _Loop:
    """What the loops of all three have in common. Letters as in ``recurrent_steps``; ``states`` of
    every edge lie as (T + 1, H, B).
    """

    def __init__(self, xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
        self.xp, self.dtype, self.reverse = xp, x.dtype, bool(reverse)
        self.gemm = xp.kernels.multiplies(x.dtype)
        self.count, self.batch, _ = x.shape
        self.hidden = h.shape[1]
        if lengths is not None:  # 0 * NaN is NaN: padding must be gone, not weightless
            alive = xp.arange(self.count)[:, None] < lengths  # (T, B)
            x = xp.where(alive[..., None], x, x.dtype.type(0))
        nothing = self.empty(0)
        self.x, self.weight_ih, self.weight_hh = (xp.ready(a) for a in (x, weight_ih, weight_hh))
        self.bias_ih, self.bias_hh = (nothing if bias is None else xp.ready(bias) for bias in (bias_ih, bias_hh))
        self.lengths = (
            xp.empty(0, dtype=xp.int64) if lengths is None else xp.ready(lengths.astype(xp.int64, copy=False))
        )
        self.states = self.edges(h)

    def empty(self, *shape):
        """An array of this pass's dtype."""
        return self.xp.empty(shape, dtype=self.dtype)

    def edges(self, start):
        """Room for a state at all edges, ``start`` (B, H) at the first."""
        room = self.empty(self.count + 1, self.hidden, self.batch)
        room[0] = start.T
        return room

    def forward(self, name, *arrays, finals):
        """Run a loop; returns the outputs, and behind them the last edges of ``finals``."""
        out = self.empty(self.count + len(finals), self.batch, self.hidden)
        self.xp.kernels.run(
            name, self.gemm, self.x, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.lengths, self.reverse,
            *arrays, self.states, out,
        )  # fmt: skip
        for k, state in enumerate(finals):
            out[self.count + k] = state[self.count].T
        return out

    def backward(self, name, g, *arrays, rows, others=()):
        """Run a loop backwards: ``(da, dh)``; rows: of da; others: gradients of further states."""
        da, dh = self.empty(rows, self.count, self.batch), self.empty(self.hidden, self.batch)
        held = g[self.count].T.copy()
        self.xp.kernels.run(
            name, self.gemm, self.weight_hh.T.copy(), *arrays, self.xp.ready(g), self.lengths, self.reverse,
            da, *others, held, dh,
        )  # fmt: skip
        return da, dh.T.copy()

    def input_gradients(self, d, weight_ih, needs):
        """Gradients of x, W_ih and b_ih, if needed, given those of what a step adds to its inputs:
        d (G H, T, B).
        """
        xp, d = self.xp, d.reshape(len(d), -1)  # (G H, T B)
        inputs = self.x.reshape(d.shape[1], -1)
        gx = xp.matmul(d.T, weight_ih).reshape(self.x.shape) if needs[0] else None
        return gx, xp.matmul(d, inputs) if needs[1] else None, self.row_sums(d) if needs[2] else None

    def state_gradients(self, d, out, h, needs):
        """Gradients of W_hh and b_hh, if needed; out (T, B, H) holds the states after each step, or
        zeros behind a sequence's end, where d (G H, T, B) is 0.
        """
        xp, d = self.xp, d.reshape(len(d), -1)  # (G H, T B)
        if not needs[0]:
            return None, self.row_sums(d) if needs[1] else None
        before = xp.empty((self.count, self.batch, self.hidden), dtype=self.dtype)
        if self.reverse:
            before[:-1] = out[1 : self.count]
            before[-1] = h
            if self.lengths.size:  # a sequence begins at its own last step
                before[self.lengths - 1, xp.arange(self.batch)] = h
        else:
            before[1:] = out[: self.count - 1]
            before[0] = h
        return xp.matmul(d, before.reshape(d.shape[1], -1)), self.row_sums(d) if needs[1] else None

    def row_sums(self, d):
        """``d.sum(axis=1)``."""
        out = self.empty(len(d))
        self.xp.kernels.run("row_sums", d, out)
        return out


def _serves(xp, x):
    """Whether the loops can be used."""
    return bool(xp.kernels.multiplies(x.dtype))


@_override(packed_lstm)
def _(xp, x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    if not _serves(xp, x):
        return None
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    cells = loop.edges(c)
    gates = loop.empty(loop.count, 4 * loop.hidden, loop.batch)
    out = loop.forward("lstm", gates, cells, finals=(loop.states, cells))

    def backward(g):
        dc = g[loop.count + 1].T.copy()
        da, dh = loop.backward("lstm_gradient", g, gates, cells, rows=4 * loop.hidden, others=(dc,))
        gx, gw_ih, gb_ih = loop.input_gradients(da, loop.weight_ih, (needs[0], needs[3], needs[5]))
        gw_hh, gb_hh = loop.state_gradients(da, out, h, (needs[4], needs[6]))
        return gx, dh, dc.T.copy(), gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward


@_override(packed_gru)
def _(xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    if not _serves(xp, x):
        return None
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    hidden = loop.hidden
    gates, inner = loop.empty(loop.count, 3 * hidden, loop.batch), loop.empty(loop.count, hidden, loop.batch)
    out = loop.forward("gru", gates, inner, finals=(loop.states,))

    def backward(g):
        # The rows of da are n_x, r, z, n_h: the inputs are served by the first three, the states by
        # the last.
        da, dh = loop.backward("gru_gradient", g, gates, inner, loop.states, rows=4 * hidden)
        turned = xp.concatenate([loop.weight_ih[2 * hidden :], loop.weight_ih[: 2 * hidden]])  # rows n, r, z
        gx, *parameters = loop.input_gradients(da[: 3 * hidden], turned, (needs[0], needs[2], needs[4]))
        gw_ih, gb_ih = (None if p is None else xp.concatenate([p[hidden:], p[:hidden]]) for p in parameters)
        gw_hh, gb_hh = loop.state_gradients(da[hidden:], out, h, (needs[3], needs[5]))
        return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward


@_override(packed_rnn)
def _(
    xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, nonlinearity="tanh", reverse=False, needs,
):  # fmt: skip
    if not _serves(xp, x):
        return None
    loop = _Loop(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    rectified = nonlinearity == "relu"
    out = loop.forward("rnn", rectified, loop.empty(loop.count, loop.hidden, loop.batch), finals=(loop.states,))

    def backward(g):
        da, dh = loop.backward("rnn_gradient", g, rectified, loop.states, rows=loop.hidden)
        gx, gw_ih, gb_ih = loop.input_gradients(da, loop.weight_ih, (needs[0], needs[2], needs[4]))
        gw_hh, gb_hh = loop.state_gradients(da, out, h, (needs[3], needs[5]))
        return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh, None

    return out, backward
