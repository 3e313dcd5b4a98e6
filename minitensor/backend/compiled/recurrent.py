"""LSTM, GRU and RNN over whole sequences: a call for all steps, and within a step one job whose
parts are slices of the hidden units, products and gates together.

Everything of a step lies as (units, B) in memory, so that its products are ``W (G H, K) @ (K, B)``,
which OpenBLAS does best. Edges are counted in the order of the pass: step s leads from edge s to
edge s + 1, whichever way the sequence is read. A sequence that is over keeps its state.

Letters: T steps, B batch, I input features, H hidden features. x: (T, B, I); weight_ih: (G H, I);
weight_hh: (G H, H); gates: (T, G H, B); states, cells: (T + 1, H, B); out: (T + ..., B, H), zeros
where a sequence is over; da: (G H, T, B). ``lengths`` is empty if all sequences are whole; no bias
is an empty array.
"""

from __future__ import annotations

import numpy as np

from minitensor.backend.compiled.lowlevel import call_gemm, entry, parallel, part
from minitensor.backend.compiled.maths import sigmoid, tanh

__all__ = [
    "gru", "gru_gradient", "lstm", "lstm_gradient", "rnn", "rnn_gradient", "row_sums",
]  # fmt: skip

UNITS = 1 << 19  # multiply-adds that a part should have at least


@part
def _slices(hidden, work):
    """``(parts, units of a part)`` for so many multiply-adds in a step: at most four."""
    parts = max(1, min(4, work // UNITS))
    each = max(1, (hidden + parts - 1) // parts)
    return (hidden + each - 1) // each, each


@part
def _affine(gemm, out, rows, first, bias_x, bias_h, weight_ih, x, weight_hh, h, one):
    """``out = W_ih x + b_ih + W_hh h + b_hh``, the rows from ``first`` on: out (rows, B) is a line.

    x: (B, I); h: (H, B). A weight without rows is left out.
    """
    batch, size = x.shape[0], x.itemsize
    for u in range(rows):
        start = one - one
        if bias_x.size:
            start += bias_x[first + u]
        if bias_h.size:
            start += bias_h[first + u]
        for b in range(u * batch, (u + 1) * batch):
            out[b] = start
    if weight_ih.shape[0]:
        inside = x.shape[1]
        call_gemm(
            gemm, 0, 1, rows, batch, inside, one, weight_ih.ctypes.data + first * inside * size, inside,
            x.ctypes.data, inside, one, out.ctypes.data, batch,
        )  # fmt: skip
    if weight_hh.shape[0]:
        hidden = h.shape[0]
        call_gemm(
            gemm, 0, 0, rows, batch, hidden, one, weight_hh.ctypes.data + first * hidden * size, hidden,
            h.ctypes.data, batch, one, out.ctypes.data, batch,
        )  # fmt: skip


@part
def _sigmoid_line(a):
    for i in range(a.size):
        a[i] = sigmoid(a[i])


@part
def _tanh_line(a):
    for i in range(a.size):
        a[i] = tanh(a[i])


@part
def _publish(states, out, lengths, t, s, low, high):
    """Hold the states of sequences that are over, and write the outputs of step t."""
    batch = states.shape[2]
    if lengths.size:
        for u in range(low, high):
            for b in range(batch):
                if t >= lengths[b]:
                    states[s + 1, u, b] = states[s, u, b]
    for b in range(batch):
        over = lengths.size and t >= lengths[b]
        for u in range(low, high):
            out[t, b, u] = states.dtype.type(0) if over else states[s + 1, u, b]


@part
def _arriving(number, gemm, turned, da, later, held, g, lengths, t, low, high, dh):
    """``dh`` (units, B), a line: what the step after, ``later`` (-1: none), sends back to the units
    from ``low`` to ``high``, what was held there, and the gradient of the output of step t.
    """
    batch, size, one = da.shape[2], da.itemsize, da.dtype.type(1)
    k = turned.shape[1]
    for u in range(low, high):
        for b in range(batch):
            dh[(u - low) * batch + b] = held[u, b]
    if later >= 0:
        rows = da.shape[0] - k  # of da: those that serve the states are the last
        call_gemm(
            gemm, 0, 0, high - low, batch, k, one, turned.ctypes.data + low * k * size, k,
            da.ctypes.data + (rows * da.shape[1] + later) * batch * size, da.shape[1] * batch, one, dh.ctypes.data, batch,
        )  # fmt: skip
    if t >= 0:
        for b in range(batch):
            if not lengths.size or t < lengths[b]:
                for u in range(low, high):
                    dh[(u - low) * batch + b] += g[t, b, u]


@part
def _start(number, each, gemm, turned, da, later, held, g, lengths, out):
    """The gradient of the initial state, (H, B)."""
    low, high = number * each, min(held.shape[0], (number + 1) * each)
    _arriving(number, gemm, turned, da, later, held, g, lengths, -1, low, high, out[low:high].reshape(-1))


@part
def _sums(number, x, out, each):
    for i in range(number * each, min(x.shape[0], (number + 1) * each)):
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += x[i, j]
        out[i] = total


@entry
def row_sums(pool, x, out):
    """``out[i] = sum of x[i, j] over j``."""
    each = max(1, (1 << 14) // x.shape[1])
    parallel(pool, (x.shape[0] + each - 1) // each, _sums, (x, out, each))


# --- LSTM -----------------------------------------------------------------------------------------


@part
def _lstm(number, each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, gates, cells, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    rows, here = high - low, gates[t % gates.shape[0]]
    lines = here.reshape(-1)
    for k in range(4):
        first = k * hidden + low
        line = lines[first * batch : (first + rows) * batch]
        _affine(gemm, line, rows, first, bias_x, bias_h, weight_ih, x[t], weight_hh, states[s], one)
        if k == 2:
            _tanh_line(line)
        else:
            _sigmoid_line(line)
    i, f = lines[low * batch : high * batch], lines[(hidden + low) * batch : (hidden + high) * batch]
    g = lines[(2 * hidden + low) * batch : (2 * hidden + high) * batch]
    o = lines[(3 * hidden + low) * batch : (3 * hidden + high) * batch]
    before, after = cells[s].reshape(-1)[low * batch : high * batch], cells[s + 1].reshape(-1)[low * batch : high * batch]
    h = states[s + 1].reshape(-1)[low * batch : high * batch]
    for j in range(i.size):
        after[j] = f[j] * before[j] + i[j] * g[j]
    for j in range(i.size):
        h[j] = o[j] * tanh(after[j])
    if lengths.size:
        for u in range(low, high):
            for b in range(batch):
                if t >= lengths[b]:
                    cells[s + 1, u, b] = cells[s, u, b]
    _publish(states, out, lengths, t, s, low, high)


@entry
def lstm(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, gates, cells, states, out):
    """All steps; ``gates`` with one step's room is overwritten by each."""
    steps, batch, inside = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    parts, each = _slices(hidden, 4 * hidden * batch * (hidden + inside))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(
            pool, parts, _lstm,
            (each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, gates, cells, states, out, t, s, one),
        )  # fmt: skip


@part
def _lstm_back(number, each, gemm, turned, gates, cells, g, lengths, da, dc, held, t, later, s):
    # With h = o tanh(c):  dc += dh o (1 - tanh(c)^2);  then  di = dc g,  df = dc c_before,  dg = dc
    # i,  do = dh tanh(c). The slope of a sigmoid s is s (1 - s), that of a tanh s is 1 - s^2.
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    rows, one = high - low, da.dtype.type(1)
    dh = np.empty(rows * batch, da.dtype)
    _arriving(number, gemm, turned, da, later, held, g, lengths, t, low, high, dh)
    for u in range(low, high):
        i, f, cand, o = gates[t, u], gates[t, hidden + u], gates[t, 2 * hidden + u], gates[t, 3 * hidden + u]
        before, after, through, kept = cells[s, u], cells[s + 1, u], dc[u], held[u]
        di, df, dg, do = da[u, t], da[hidden + u, t], da[2 * hidden + u, t], da[3 * hidden + u, t]
        dhu = dh[(u - low) * batch : (u - low + 1) * batch]
        for b in range(batch):
            c = tanh(after[b])
            slope = dhu[b] * o[b]
            dcb = through[b] + slope * (one - c * c)
            do[b] = slope * c * (one - o[b])
            kept[b] = dcb
        for b in range(batch):
            di[b] = kept[b] * cand[b] * i[b] * (one - i[b])
        for b in range(batch):
            df[b] = kept[b] * before[b] * f[b] * (one - f[b])
        for b in range(batch):
            dg[b] = kept[b] * i[b] * (one - cand[b] * cand[b])
        if lengths.size:
            zero = one - one
            for b in range(batch):
                if t < lengths[b]:
                    through[b] = kept[b] * f[b]
                    kept[b] = zero
                else:
                    kept[b] = dhu[b]
                    di[b] = zero
                    df[b] = zero
                    dg[b] = zero
                    do[b] = zero
        else:
            for b in range(batch):
                through[b] = kept[b] * f[b]
            for b in range(batch):
                kept[b] = one - one


@entry
def lstm_gradient(pool, gemm, turned, gates, cells, g, lengths, reverse, da, dc, held, dh):
    """All steps backwards; turned: W_hh^T (H, 4 H). On entry ``held`` and ``dc`` (H, B) are the
    gradients of the final states, at the end ``dh`` and ``dc`` are those of the first ones.
    """
    steps, hidden, batch = gates.shape[0], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, 4 * hidden * batch * hidden)
    later = -1
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(
            pool, parts, _lstm_back, (each, gemm, turned, gates, cells, g, lengths, da, dc, held, t, later, s)
        )
        later = t
    parallel(pool, parts, _start, (each, gemm, turned, da, later, held, g, lengths, dh))


# --- GRU ------------------------------------------------------------------------------------------


@part
def _gru(number, each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, gates, inner, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    rows, none, nothing = high - low, bias_x[:0], weight_ih[:0]
    lines, n_h = gates[t % gates.shape[0]].reshape(-1), inner[t % gates.shape[0]].reshape(-1)[low * batch : high * batch]
    for k in range(2):
        first = k * hidden + low
        line = lines[first * batch : (first + rows) * batch]
        _affine(gemm, line, rows, first, bias_x, bias_h, weight_ih, x[t], weight_hh, states[s], one)
        _sigmoid_line(line)
    first = 2 * hidden + low
    n = lines[first * batch : (first + rows) * batch]
    _affine(gemm, n, rows, first, bias_x, none, weight_ih, x[t], weight_hh[:0], states[s], one)
    _affine(gemm, n_h, rows, first, none, bias_h, nothing, x[t], weight_hh, states[s], one)
    r, z = lines[low * batch : high * batch], lines[(hidden + low) * batch : (hidden + high) * batch]
    before, h = states[s].reshape(-1)[low * batch : high * batch], states[s + 1].reshape(-1)[low * batch : high * batch]
    for j in range(n.size):
        n[j] = tanh(n[j] + r[j] * n_h[j])
    for j in range(n.size):
        h[j] = n[j] + z[j] * (before[j] - n[j])
    _publish(states, out, lengths, t, s, low, high)


@entry
def gru(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, gates, inner, states, out):
    """All steps; inner: (T, H, B), what the reset gate acts on."""
    steps, batch, inside = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    parts, each = _slices(hidden, 3 * hidden * batch * (hidden + inside))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(
            pool, parts, _gru,
            (each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, gates, inner, states, out, t, s, one),
        )  # fmt: skip


@part
def _gru_back(number, each, gemm, turned, gates, inner, states, g, lengths, da, held, t, later, s):
    # With h = n + z (h_before - n):  dn_x = dh (1 - z) (1 - n^2),  dr = dn_x n_h r (1 - r),  dz = dh
    # (h_before - n) z (1 - z),  dn_h = dn_x r. The rows of da are n_x, r, z, n_h.
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    one = da.dtype.type(1)
    dh = np.empty((high - low) * batch, da.dtype)
    _arriving(number, gemm, turned, da, later, held, g, lengths, t, low, high, dh)
    for u in range(low, high):
        r, z, n, n_h = gates[t, u], gates[t, hidden + u], gates[t, 2 * hidden + u], inner[t, u]
        before, kept = states[s, u], held[u]
        dn_x, dr, dz, dn_h = da[u, t], da[hidden + u, t], da[2 * hidden + u, t], da[3 * hidden + u, t]
        dhu = dh[(u - low) * batch : (u - low + 1) * batch]
        for b in range(batch):
            dn_x[b] = dhu[b] * (one - z[b]) * (one - n[b] * n[b])
        for b in range(batch):
            dr[b] = dn_x[b] * n_h[b] * r[b] * (one - r[b])
        for b in range(batch):
            dn_h[b] = dn_x[b] * r[b]
        for b in range(batch):
            dz[b] = dhu[b] * (before[b] - n[b]) * z[b] * (one - z[b])
        for b in range(batch):
            kept[b] = dhu[b] * z[b]
        if lengths.size:
            for b in range(batch):
                if t >= lengths[b]:
                    kept[b] = dhu[b]
                    dn_x[b] = one - one
                    dr[b] = one - one
                    dz[b] = one - one
                    dn_h[b] = one - one


@entry
def gru_gradient(pool, gemm, turned, gates, inner, states, g, lengths, reverse, da, held, dh):
    """All steps backwards; turned: W_hh^T (H, 3 H); da: (4 H, T, B), rows n_x, r, z, n_h."""
    steps, hidden, batch = gates.shape[0], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, 3 * hidden * batch * hidden)
    later = -1
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(
            pool, parts, _gru_back, (each, gemm, turned, gates, inner, states, g, lengths, da, held, t, later, s)
        )
        later = t
    parallel(pool, parts, _start, (each, gemm, turned, da, later, held, g, lengths, dh))


# --- RNN ------------------------------------------------------------------------------------------


@part
def _rnn(number, each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, rectified, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    h, zero = states[s + 1].reshape(-1)[low * batch : high * batch], one - one
    _affine(gemm, h, high - low, low, bias_x, bias_h, weight_ih, x[t], weight_hh, states[s], one)
    if rectified:
        for j in range(h.size):
            h[j] = zero if h[j] < zero else h[j]
    else:
        _tanh_line(h)
    _publish(states, out, lengths, t, s, low, high)


@entry
def rnn(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, rectified, states, out):
    """All steps; rectified: relu in place of tanh."""
    steps, batch, inside = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    parts, each = _slices(hidden, hidden * batch * (hidden + inside))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(
            pool, parts, _rnn,
            (each, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, rectified, states, out, t, s, one),
        )  # fmt: skip


@part
def _rnn_back(number, each, gemm, turned, rectified, states, g, lengths, da, held, t, later, s):
    # dL/da = dL/dh f'(a), with tanh'(a) = 1 - h^2 and relu'(a) = [h > 0].
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    one = da.dtype.type(1)
    zero = one - one
    dh = np.empty((high - low) * batch, da.dtype)
    _arriving(number, gemm, turned, da, later, held, g, lengths, t, low, high, dh)
    for u in range(low, high):
        h, kept, d = states[s + 1, u], held[u], da[u, t]
        dhu = dh[(u - low) * batch : (u - low + 1) * batch]
        if rectified:
            for b in range(batch):
                d[b] = dhu[b] * (one if h[b] > zero else zero)
        else:
            for b in range(batch):
                d[b] = dhu[b] * (one - h[b] * h[b])
        for b in range(batch):
            kept[b] = zero
        if lengths.size:
            for b in range(batch):
                if t >= lengths[b]:
                    kept[b] = dhu[b]
                    d[b] = zero


@entry
def rnn_gradient(pool, gemm, turned, rectified, states, g, lengths, reverse, da, held, dh):
    """All steps backwards; turned: W_hh^T (H, H)."""
    steps, hidden, batch = da.shape[1], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, hidden * batch * hidden)
    later = -1
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(pool, parts, _rnn_back, (each, gemm, turned, rectified, states, g, lengths, da, held, t, later, s))
        later = t
    parallel(pool, parts, _start, (each, gemm, turned, da, later, held, g, lengths, dh))
