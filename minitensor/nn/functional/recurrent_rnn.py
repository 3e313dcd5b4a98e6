"""The plain recurrent network (Elman, "Finding structure in time", Cognitive Science 14, 1990)."""

from __future__ import annotations

from minitensor.engine.fused import fused
from minitensor.nn.functional.activations import relu
from minitensor.nn.functional.affine import linear
from minitensor.nn.functional.recurrent_steps import Steps, sum_of_biases, unroll
from minitensor.ops.elementwise import tanh

__all__ = ["packed_rnn"]


@fused
def packed_rnn(
    x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, nonlinearity="tanh", reverse=False
):
    """All steps of ``h = f(W_ih x_t + b_ih + W_hh h + b_hh)``, f being tanh or relu.

    x: (T, B, I); h: (B, H); weight_ih: (H, I); weight_hh: (H, H); biases: (H,). Returns (T + 1, B,
    H): outputs, then the final h.
    """
    activation = {"tanh": tanh, "relu": relu}[nonlinearity]

    def step(x, h):
        return (activation(linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)),)

    return unroll(step, x, (h,), lengths, reverse)


@packed_rnn.kernel
def _(
    xp, x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None, *, nonlinearity="tanh", reverse=False, needs,
):  # fmt: skip
    run = Steps(xp, x, h, lengths, reverse)
    projected = run.project(weight_ih)  # (H, T, B)
    bias = sum_of_biases(bias_ih, bias_hh)
    a = run.empty(h.shape[1], run.batch)
    for step in run.order:
        t, before, after = step
        xp.matmul(weight_hh, run.h[:, before], out=a)
        a += projected[:, t]
        if bias is not None:
            a += bias
        if nonlinearity == "tanh":
            xp.tanh(a, out=run.h[:, after])
        else:
            xp.maximum(a, 0.0, out=run.h[:, after])
        run.hold(step, run.h)

    def backward(g):
        # dL/da = dL/dh f'(a), with tanh'(a) = 1 - h^2 and relu'(a) = [h > 0].
        g, (dh,) = run.unpack(g)
        da = projected  # whose values have been used
        slope, held = run.empty(*dh.shape), run.empty(*dh.shape)
        for t, _, after in reversed(run.order):
            dh += g[t].T
            run.split(t, [dh], [held])
            out = run.h[:, after]
            if nonlinearity == "tanh":
                xp.multiply(out, out, out=slope)
                xp.subtract(1.0, slope, out=slope)
            else:
                xp.greater(out, 0.0, out=slope)
            xp.multiply(slope, dh, out=da[:, t])
            xp.matmul(weight_hh.T, da[:, t], out=dh)
            run.join([dh], [held])
        gx, gw_ih, gb_ih = run.input_gradients(da, weight_ih, (needs[0], needs[2], needs[4]))
        gw_hh, gb_hh = run.state_gradients(da, (needs[3], needs[5]), gb_ih)
        return gx, dh.T.copy(), gw_ih, gw_hh, gb_ih, gb_hh, None

    return run.pack(run.h), backward
