"""The gated recurrent unit (Cho et al., "Learning phrase representations using RNN
encoder-decoder", 2014, arXiv:1406.1078).

In the form of PyTorch and cuDNN: the reset gate acts on ``W_hn h + b_hn``, after the product, so
that one product serves all gates.
"""

from __future__ import annotations

from minitensor.engine.fused import fused
from minitensor.nn.functional.activations import sigmoid
from minitensor.nn.functional.affine import linear
from minitensor.nn.functional.recurrent_steps import Steps, halved, sum_of_biases, unroll
from minitensor.ops.elementwise import tanh
from minitensor.ops.shape import split

__all__ = ["packed_gru"]


@fused
def packed_gru(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False):
    """All steps of a GRU::

        r_x, z_x, n_x = W_ih x_t + b_ih    r_h, z_h, n_h = W_hh h + b_hh    (three parts each)
        r = sigmoid(r_x + r_h)             z = sigmoid(z_x + z_h)
        n = tanh(n_x + r * n_h)            h = (1 - z) * n + z * h

    x: (T, B, I); h: (B, H); weight_ih: (3 H, I); weight_hh: (3 H, H); biases: (3 H,). Returns (T +
    1, B, H): outputs, then the final h.
    """

    def step(x, h):
        r_x, z_x, n_x = split(linear(x, weight_ih, bias_ih), 3, axis=1)
        r_h, z_h, n_h = split(linear(h, weight_hh, bias_hh), 3, axis=1)
        z = sigmoid(z_x + z_h)
        n = tanh(n_x + sigmoid(r_x + r_h) * n_h)
        return (n + z * (h - n),)

    return unroll(step, x, (h,), lengths, reverse)


SIGMOIDS = (slice(0, 2),)  # the gates r and z


@packed_gru.kernel
def _(xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, reverse=False, needs):
    run, hidden = Steps(xp, x, h, lengths, reverse), h.shape[1]
    both = 2 * hidden  # rows of r and z
    projected = run.project(halved(weight_ih, SIGMOIDS, hidden))  # (3 H, T, B)
    recurrent = halved(weight_hh, SIGMOIDS, hidden)
    bias_x, bias_h = (halved(sum_of_biases(bias), SIGMOIDS, hidden) for bias in (bias_ih, bias_hh))  # (3 H, 1) or None
    stored = run.count if any(needs) else 1  # without a backward pass each step may overwrite the last one's
    gates, states = run.empty(stored, 3 * hidden, run.batch), run.empty(stored, hidden, run.batch)  # r, z, n; n_h
    for step in run.order:
        t, before, after = step
        a, n_h = gates[t % stored], states[t % stored]
        r, z, n = a[:hidden], a[hidden:both], a[both:]
        xp.matmul(recurrent, run.h[:, before], out=a)
        if bias_h is not None:
            a += bias_h
        n_h[...] = n
        n[...] = projected[both:, t]  # n_x alone, until r is known
        a[:both] += projected[:both, t]
        if bias_x is not None:
            a += bias_x
        xp.tanh(a[:both], out=a[:both])
        a[:both] *= 0.5
        a[:both] += 0.5
        new = run.h[:, after]
        xp.multiply(r, n_h, out=new)
        n += new
        xp.tanh(n, out=n)
        xp.subtract(run.h[:, before], n, out=new)
        new *= z
        new += n
        run.hold(step, run.h)

    def backward(g):
        g, (dh,) = run.unpack(g)
        # n has two gradients, of n_x and of n_h: the rows n_x, r, z, n_h serve the inputs by the
        # first 3 H, the states by the last.
        da = run.empty(4 * hidden, run.count, run.batch)
        through, slope = run.empty(4 * hidden, run.batch), run.empty(both, run.batch)
        held = run.empty(1, hidden, run.batch)
        for t, before, _ in reversed(run.order):
            dh += g[t].T
            run.split(t, [dh], held)
            _pull_step(xp, gates[t], states[t], run.h[:, before], dh, through, slope)
            da[:, t] = through
            dh *= gates[t][hidden:both]
            xp.matmul(weight_hh.T, through[hidden:], out=slope[:hidden])
            dh += slope[:hidden]
            run.join([dh], held)
        turned = xp.concatenate([weight_ih[both:], weight_ih[:both]])  # rows n, r, z
        gx, *parameters = run.input_gradients(da[: 3 * hidden], turned, (needs[0], needs[2], needs[4]))
        gw_ih, gb_ih = (None if p is None else xp.concatenate([p[hidden:], p[:hidden]]) for p in parameters)
        gw_hh, gb_hh = run.state_gradients(da[hidden:], (needs[3], needs[5]))
        return gx, dh.T.copy(), gw_ih, gw_hh, gb_ih, gb_hh, None

    return run.pack(run.h), backward


def _pull_step(xp, gates, n_h, state_before, dh, through, slope):
    """Write the gradients of n_x, r, z and n_h, before their nonlinearities, to the rows of
    ``through``.

    With h = n + z (h_before - n):  dn_x = dh (1 - z) (1 - n^2),  dr = dn_x n_h (r - r^2),  dz = dh
    (h_before - n) (z - z^2), dn_h = dn_x r.
    """
    hidden = len(dh)
    r, z, n = (gates[k * hidden : (k + 1) * hidden] for k in range(3))
    dn_x, dr, dz, dn_h = (through[k * hidden : (k + 1) * hidden] for k in range(4))
    xp.multiply(n, n, out=dn_h)
    xp.subtract(1.0, dn_h, out=dn_h)
    xp.subtract(1.0, z, out=dn_x)
    dn_x *= dn_h
    dn_x *= dh
    xp.multiply(dn_x, n_h, out=dr)
    xp.multiply(dn_x, r, out=dn_h)
    xp.subtract(state_before, n, out=dz)
    dz *= dh
    xp.multiply(gates[: 2 * hidden], gates[: 2 * hidden], out=slope)
    xp.subtract(gates[: 2 * hidden], slope, out=slope)
    through[hidden : 3 * hidden] *= slope
