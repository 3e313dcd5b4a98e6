"""Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997; forget gate: Gers
et al. 2000).
"""

from __future__ import annotations

from minitensor.engine.fused import fused
from minitensor.nn.functional.activations import sigmoid
from minitensor.nn.functional.affine import linear
from minitensor.nn.functional.recurrent_steps import Steps, halved, sum_of_biases, unroll
from minitensor.ops.elementwise import tanh
from minitensor.ops.shape import split

__all__ = ["packed_lstm"]


@fused
def packed_lstm(x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False):
    """All steps of an LSTM::

        i, f, g, o = W_ih x_t + b_ih + W_hh h + b_hh                  (four parts of the rows)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)        h = sigmoid(o) * tanh(c)

    x: (T, B, I); h, c: (B, H); weight_ih: (4 H, I); weight_hh: (4 H, H); biases: (4 H,). Returns (T
    + 2, B, H): outputs, then the final h and c.
    """

    def step(x, h, c):
        i, f, g, o = split(linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    return unroll(step, x, (h, c), lengths, reverse)


SIGMOIDS = slice(0, 2), slice(3, 4)  # the gates i, f and o


def _gates(rows, hidden):
    """Views of i, f, g, o among (4 H, B)."""
    return [rows[k * hidden : (k + 1) * hidden] for k in range(4)]


@packed_lstm.kernel
def _(xp, x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    run, hidden = Steps(xp, x, h, lengths, reverse), h.shape[1]
    cells = run.edges(c)  # (H, T + 1, B)
    projected = run.project(halved(weight_ih, SIGMOIDS, hidden))  # (4 H, T, B)
    recurrent = halved(weight_hh, SIGMOIDS, hidden)
    bias = halved(sum_of_biases(bias_ih, bias_hh), SIGMOIDS, hidden)
    stored = run.count if any(needs) else 1  # without a backward pass each step may overwrite the last one's
    gates, squashed = run.empty(stored, 4 * hidden, run.batch), run.empty(stored, hidden, run.batch)
    fresh = run.empty(hidden, run.batch)
    for step in run.order:
        t, before, after = step
        a, tanh_c = gates[t % stored], squashed[t % stored]
        i, f, cand, o = _gates(a, hidden)
        xp.matmul(recurrent, run.h[:, before], out=a)
        a += projected[:, t]
        if bias is not None:
            a += bias
        xp.tanh(a, out=a)
        for part in (a[: 2 * hidden], o):
            part *= 0.5
            part += 0.5
        xp.multiply(f, cells[:, before], out=cells[:, after])
        xp.multiply(i, cand, out=fresh)
        cells[:, after] += fresh
        xp.tanh(cells[:, after], out=tanh_c)
        xp.multiply(o, tanh_c, out=run.h[:, after])
        run.hold(step, run.h, cells)

    def backward(g):
        g, (dh, dc) = run.unpack(g)
        da = projected  # whose values have been used
        through, slope = run.empty(4 * hidden, run.batch), run.empty(4 * hidden, run.batch)
        held = run.empty(2, hidden, run.batch)
        for t, before, _ in reversed(run.order):
            dh += g[t].T
            run.split(t, [dh, dc], held)
            _pull_step(xp, gates[t], squashed[t], cells[:, before], dh, dc, through, slope)
            xp.multiply(through, slope, out=da[:, t])
            dc *= _gates(gates[t], hidden)[1]
            xp.matmul(weight_hh.T, da[:, t], out=dh)
            run.join([dh, dc], held)
        gx, gw_ih, gb_ih = run.input_gradients(da, weight_ih, (needs[0], needs[3], needs[5]))
        gw_hh, gb_hh = run.state_gradients(da, (needs[4], needs[6]), gb_ih)
        return gx, dh.T.copy(), dc.T.copy(), gw_ih, gw_hh, gb_ih, gb_hh, None

    return run.pack(run.h, cells), backward


def _pull_step(xp, gates, tanh_c, cell_before, dh, dc, through, slope):
    """Bring ``dc`` up to date, and write the gradients of the four gates to ``through`` and the
    gates' slopes to ``slope``.

    With h = o tanh(c):  dc += dh o (1 - tanh(c)^2);  then  di = dc g,  df = dc c_before,  dg = dc
    i,  do = dh tanh(c). The slope of a sigmoid s is s - s^2, that of a tanh s is 1 - s^2.
    """
    hidden = len(dh)
    i, _, cand, o = _gates(gates, hidden)
    di, df, dg, do = _gates(through, hidden)
    room = _gates(slope, hidden)[0]
    xp.multiply(tanh_c, tanh_c, out=room)
    xp.subtract(1.0, room, out=room)
    room *= o
    room *= dh
    dc += room
    xp.multiply(dc, cand, out=di)
    xp.multiply(dc, cell_before, out=df)
    xp.multiply(dc, i, out=dg)
    xp.multiply(dh, tanh_c, out=do)
    xp.multiply(gates, gates, out=slope)
    for start, one, stop in ((0, gates[: 2 * hidden], 2), (2, 1.0, 3), (3, o, 4)):
        part = slope[start * hidden : stop * hidden]
        xp.subtract(one, part, out=part)
