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
def _project(t, gemm, x, weight_ih, bias_x, bias_h, gates, one):
    """``gates[t] = W_ih x_t + b_ih + b_hh``; biases without elements are left out."""
    batch, inside, size, rows = x.shape[1], x.shape[2], x.itemsize, weight_ih.shape[0]
    for u in range(rows):
        start = one - one
        if bias_x.size:
            start += bias_x[u]
        if u < bias_h.size:
            start += bias_h[u]
        row = gates[t, u]
        for b in range(batch):
            row[b] = start
    call_gemm(
        gemm, 0, 1, rows, batch, inside, one, weight_ih.ctypes.data, inside, x.ctypes.data + t * batch * inside * size, inside,
        one, gates.ctypes.data + t * rows * batch * size, batch,
    )  # fmt: skip


@part
def _add_product(gemm, line, first, weight_hh, h, one):
    """Add ``W_hh h`` to a line of units, those of the rows from ``first`` on; h: (H, B)."""
    hidden, batch = h.shape
    call_gemm(
        gemm, 0, 0, line.size // batch, batch, hidden, one, weight_hh.ctypes.data + first * hidden * h.itemsize, hidden,
        h.ctypes.data, batch, one, line.ctypes.data, batch,
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
def _put(line, da, fresh, first, t):
    """Write a line of units to their rows, from ``first`` on: of ``da`` at step t, and
    of ``fresh``.
    """
    batch, size = da.shape[2], line.size
    copy = fresh.reshape(-1)[first * batch : first * batch + size]
    for i in range(size):
        copy[i] = line[i]
    for u in range(size // batch):
        row, room = line[u * batch : (u + 1) * batch], da[first + u, t]
        for b in range(batch):
            room[b] = row[b]


@part
def _keep(line, other, lengths, t, instead):
    """Where a sequence is over at step t, the elements of ``other`` (or 0) in place of those of a
    line.
    """
    batch = lengths.size
    for b in range(batch):
        if t >= lengths[b]:
            for u in range(line.size // batch):
                line[u * batch + b] = other[u * batch + b] if instead else line.dtype.type(0)


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
def _arriving(gemm, turned, fresh, later, held, g, lengths, t, low, high, dh):
    """``dh`` (units, B), a line: what the step after sends back to the units from ``low`` to
    ``high``, what was held there, and the gradient of the output of step t.

    fresh: (G H, B), the gradients of what that step adds up, those that serve the states last;
    later: whether there is one.
    """
    batch, size, one = fresh.shape[1], fresh.itemsize, fresh.dtype.type(1)
    k, kept = turned.shape[1], held.reshape(-1)[low * batch : high * batch]
    for j in range(dh.size):
        dh[j] = kept[j]
    if later:
        call_gemm(
            gemm, 0, 0, high - low, batch, k, one, turned.ctypes.data + low * k * size, k,
            fresh.ctypes.data + (fresh.shape[0] - k) * batch * size, batch, one, dh.ctypes.data, batch,
        )  # fmt: skip
    if t >= 0:
        for b in range(batch):
            if not lengths.size or t < lengths[b]:
                row = g[t, b, low:high]
                for u in range(row.size):
                    dh[u * batch + b] += row[u]


@part
def _start(number, each, gemm, turned, fresh, held, g, lengths, out):
    """The gradient of the initial state, (H, B)."""
    low, high = number * each, min(held.shape[0], (number + 1) * each)
    _arriving(gemm, turned, fresh, True, held, g, lengths, -1, low, high, out[low:high].reshape(-1))


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
def _lstm(number, each, gemm, weight_hh, lengths, gates, cells, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, size = low * batch, high * batch, hidden * batch
    lines = gates[t].reshape(-1)
    i, f, g, o = (
        lines[start:stop], lines[size + start : size + stop], lines[2 * size + start : 2 * size + stop],
        lines[3 * size + start : 3 * size + stop],
    )  # fmt: skip
    _add_product(gemm, i, low, weight_hh, states[s], one)
    _add_product(gemm, f, hidden + low, weight_hh, states[s], one)
    _add_product(gemm, g, 2 * hidden + low, weight_hh, states[s], one)
    _add_product(gemm, o, 3 * hidden + low, weight_hh, states[s], one)
    _sigmoid_line(i)
    _sigmoid_line(f)
    _tanh_line(g)
    _sigmoid_line(o)
    before, after, h = (
        cells[s].reshape(-1)[start:stop], cells[s + 1].reshape(-1)[start:stop], states[s + 1].reshape(-1)[start:stop]
    )  # fmt: skip
    for j in range(i.size):
        after[j] = f[j] * before[j] + i[j] * g[j]
    for j in range(i.size):
        h[j] = o[j] * tanh(after[j])
    if lengths.size:
        _keep(after, before, lengths, t, True)
    _publish(states, out, lengths, t, s, low, high)


@entry
def lstm(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, gates, cells, states, out):
    """All steps."""
    steps, batch, _ = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    parallel(pool, steps, _project, (gemm, x, weight_ih, bias_x, bias_h, gates, one))
    parts, each = _slices(hidden, 4 * hidden * batch * hidden)
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(pool, parts, _lstm, (each, gemm, weight_hh, lengths, gates, cells, states, out, t, s, one))


@part
def _lstm_back(number, each, gemm, turned, gates, cells, g, lengths, da, dc, held, fresh, t, later, s):
    # With h = o tanh(c):  dc += dh o (1 - tanh(c)^2);  then  di = dc g,  df = dc c_before,  dg = dc
    # i,  do = dh tanh(c). The slope of a sigmoid s is s (1 - s), that of a tanh s is 1 - s^2.
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, one = low * batch, high * batch, da.dtype.type(1)
    dh, total, room = np.empty((3, stop - start), da.dtype)
    _arriving(gemm, turned, fresh[(s + 1) % 2], later, held, g, lengths, t, low, high, dh)
    lines, size = gates[t].reshape(-1), hidden * batch
    i, f, cand, o = (
        lines[start:stop], lines[size + start : size + stop], lines[2 * size + start : 2 * size + stop],
        lines[3 * size + start : 3 * size + stop],
    )  # fmt: skip
    before, after = cells[s].reshape(-1)[start:stop], cells[s + 1].reshape(-1)[start:stop]
    through, kept = dc.reshape(-1)[start:stop], held.reshape(-1)[start:stop]
    for j in range(dh.size):
        c = tanh(after[j])
        room[j] = c
        total[j] = through[j] + dh[j] * o[j] * (one - c * c)
    for j in range(dh.size):
        room[j] = dh[j] * room[j] * o[j] * (one - o[j])
    if lengths.size:
        _keep(room, dh, lengths, t, False)
    _put(room, da, fresh[s % 2], 3 * hidden + low, t)
    if lengths.size:
        for j in range(dh.size):
            kept[j] = dh[j] - dh[j]
        _keep(kept, dh, lengths, t, True)
        for j in range(dh.size):
            dh[j] = through[j]
        for j in range(dh.size):
            through[j] = total[j] * f[j]
        _keep(through, dh, lengths, t, True)
        _keep(total, dh, lengths, t, False)
    else:
        for j in range(dh.size):
            through[j] = total[j] * f[j]
        for j in range(dh.size):
            kept[j] = one - one
    for j in range(dh.size):
        room[j] = total[j] * cand[j] * i[j] * (one - i[j])
    _put(room, da, fresh[s % 2], low, t)
    for j in range(dh.size):
        room[j] = total[j] * before[j] * f[j] * (one - f[j])
    _put(room, da, fresh[s % 2], hidden + low, t)
    for j in range(dh.size):
        room[j] = total[j] * i[j] * (one - cand[j] * cand[j])
    _put(room, da, fresh[s % 2], 2 * hidden + low, t)


@entry
def lstm_gradient(pool, gemm, turned, gates, cells, g, lengths, reverse, da, dc, held, dh):
    """All steps backwards; turned: W_hh^T (H, 4 H). On entry ``held`` and ``dc`` (H, B) are the
    gradients of the final states, at the end ``dh`` and ``dc`` are those of the first ones.
    """
    steps, hidden, batch = gates.shape[0], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, 4 * hidden * batch * hidden)
    fresh = np.empty((2, da.shape[0], batch), da.dtype)  # of this step and of the one after, without gaps
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(
            pool,
            parts,
            _lstm_back,
            (each, gemm, turned, gates, cells, g, lengths, da, dc, held, fresh, t, s < steps - 1, s),
        )
    parallel(pool, parts, _start, (each, gemm, turned, fresh[0], held, g, lengths, dh))


# --- GRU ------------------------------------------------------------------------------------------


@part
def _gru(number, each, gemm, weight_hh, bias_h, lengths, gates, inner, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, size = low * batch, high * batch, hidden * batch
    lines, n_h = gates[t].reshape(-1), inner[t].reshape(-1)[start:stop]
    r, z, n = lines[start:stop], lines[size + start : size + stop], lines[2 * size + start : 2 * size + stop]
    for u in range(low, high):
        row = inner[t, u]
        first = bias_h[2 * hidden + u] if bias_h.size else one - one
        for b in range(batch):
            row[b] = first
    _add_product(gemm, r, low, weight_hh, states[s], one)
    _add_product(gemm, z, hidden + low, weight_hh, states[s], one)
    _add_product(gemm, n_h, 2 * hidden + low, weight_hh, states[s], one)
    _sigmoid_line(r)
    _sigmoid_line(z)
    before, h = states[s].reshape(-1)[start:stop], states[s + 1].reshape(-1)[start:stop]
    for j in range(n.size):
        n[j] = tanh(n[j] + r[j] * n_h[j])
    for j in range(n.size):
        h[j] = n[j] + z[j] * (before[j] - n[j])
    _publish(states, out, lengths, t, s, low, high)


@entry
def gru(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, gates, inner, states, out):
    """All steps; inner: (T, H, B), what the reset gate acts on."""
    steps, batch, _ = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    # The last third of b_hh stands within the reset gate.
    parallel(pool, steps, _project, (gemm, x, weight_ih, bias_x, bias_h[: 2 * hidden], gates, one))
    parts, each = _slices(hidden, 3 * hidden * batch * hidden)
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(pool, parts, _gru, (each, gemm, weight_hh, bias_h, lengths, gates, inner, states, out, t, s, one))


@part
def _gru_back(number, each, gemm, turned, gates, inner, states, g, lengths, da, held, fresh, t, later, s):
    # With h = n + z (h_before - n):  dn_x = dh (1 - z) (1 - n^2),  dr = dn_x n_h r (1 - r),  dz =
    # dh (h_before - n) z (1 - z),  dn_h = dn_x r. The rows of da are n_x, r, z, n_h.
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, one = low * batch, high * batch, da.dtype.type(1)
    dh, dn_x, room = np.empty((3, stop - start), da.dtype)
    _arriving(gemm, turned, fresh[(s + 1) % 2], later, held, g, lengths, t, low, high, dh)
    lines, size = gates[t].reshape(-1), hidden * batch
    r, z, n = lines[start:stop], lines[size + start : size + stop], lines[2 * size + start : 2 * size + stop]
    n_h, before = inner[t].reshape(-1)[start:stop], states[s].reshape(-1)[start:stop]
    kept = held.reshape(-1)[start:stop]
    for j in range(dh.size):
        kept[j] = dh[j] * z[j]
    if lengths.size:
        _keep(kept, dh, lengths, t, True)
        _keep(dh, dh, lengths, t, False)
    for j in range(dh.size):
        dn_x[j] = dh[j] * (one - z[j]) * (one - n[j] * n[j])
    _put(dn_x, da, fresh[s % 2], low, t)
    for j in range(dh.size):
        room[j] = dh[j] * (before[j] - n[j]) * z[j] * (one - z[j])
    _put(room, da, fresh[s % 2], 2 * hidden + low, t)
    for j in range(dh.size):
        room[j] = dn_x[j] * n_h[j] * r[j] * (one - r[j])
    _put(room, da, fresh[s % 2], hidden + low, t)
    for j in range(dh.size):
        room[j] = dn_x[j] * r[j]
    _put(room, da, fresh[s % 2], 3 * hidden + low, t)


@entry
def gru_gradient(pool, gemm, turned, gates, inner, states, g, lengths, reverse, da, held, dh):
    """All steps backwards; turned: W_hh^T (H, 3 H); da: (4 H, T, B), rows n_x, r, z, n_h."""
    steps, hidden, batch = gates.shape[0], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, 3 * hidden * batch * hidden)
    fresh = np.empty((2, da.shape[0], batch), da.dtype)  # of this step and of the one after, without gaps
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(
            pool,
            parts,
            _gru_back,
            (each, gemm, turned, gates, inner, states, g, lengths, da, held, fresh, t, s < steps - 1, s),
        )
    parallel(pool, parts, _start, (each, gemm, turned, fresh[0], held, g, lengths, dh))


# --- RNN ------------------------------------------------------------------------------------------


@part
def _rnn(number, each, gemm, weight_hh, lengths, rectified, gates, states, out, t, s, one):
    hidden, batch = states.shape[1], states.shape[2]
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, zero = low * batch, high * batch, one - one
    a, h = gates[t].reshape(-1)[start:stop], states[s + 1].reshape(-1)[start:stop]
    _add_product(gemm, a, low, weight_hh, states[s], one)
    if rectified:
        for j in range(h.size):
            h[j] = zero if a[j] < zero else a[j]
    else:
        for j in range(h.size):
            h[j] = tanh(a[j])
    _publish(states, out, lengths, t, s, low, high)


@entry
def rnn(pool, gemm, x, weight_ih, weight_hh, bias_x, bias_h, lengths, reverse, rectified, gates, states, out):
    """All steps; rectified: relu in place of tanh."""
    steps, batch, _ = x.shape
    hidden, one = states.shape[1], x.dtype.type(1)
    parallel(pool, steps, _project, (gemm, x, weight_ih, bias_x, bias_h, gates, one))
    parts, each = _slices(hidden, hidden * batch * hidden)
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        parallel(pool, parts, _rnn, (each, gemm, weight_hh, lengths, rectified, gates, states, out, t, s, one))


@part
def _rnn_back(number, each, gemm, turned, rectified, states, g, lengths, da, held, fresh, t, later, s):
    # dL/da = dL/dh f'(a), with tanh'(a) = 1 - h^2 and relu'(a) = [h > 0].
    hidden, batch = held.shape
    low, high = number * each, min(hidden, (number + 1) * each)
    start, stop, one = low * batch, high * batch, da.dtype.type(1)
    zero = one - one
    dh = np.empty(stop - start, da.dtype)
    _arriving(gemm, turned, fresh[(s + 1) % 2], later, held, g, lengths, t, low, high, dh)
    h, kept = states[s + 1].reshape(-1)[start:stop], held.reshape(-1)[start:stop]
    for j in range(dh.size):
        kept[j] = zero
    if lengths.size:
        _keep(kept, dh, lengths, t, True)
        _keep(dh, dh, lengths, t, False)
    if rectified:
        for j in range(dh.size):
            dh[j] *= one if h[j] > zero else zero
    else:
        for j in range(dh.size):
            dh[j] *= one - h[j] * h[j]
    _put(dh, da, fresh[s % 2], low, t)


@entry
def rnn_gradient(pool, gemm, turned, rectified, states, g, lengths, reverse, da, held, dh):
    """All steps backwards; turned: W_hh^T (H, H)."""
    steps, hidden, batch = da.shape[1], held.shape[0], held.shape[1]
    parts, each = _slices(hidden, hidden * batch * hidden)
    fresh = np.empty((2, da.shape[0], batch), da.dtype)  # of this step and of the one after, without gaps
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        parallel(
            pool,
            parts,
            _rnn_back,
            (each, gemm, turned, rectified, states, g, lengths, da, held, fresh, t, s < steps - 1, s),
        )
    parallel(pool, parts, _start, (each, gemm, turned, fresh[0], held, g, lengths, dh))
