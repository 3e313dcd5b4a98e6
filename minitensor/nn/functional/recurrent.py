"""Recurrent networks over whole sequences: one layer, one direction. ``nn.RNN``, ``nn.LSTM`` and
``nn.GRU`` stack them.

Weights, gate order and results are PyTorch's; with ``lengths``, those that it gives for packed
sequences.

Letters: B batch, T steps, I input features, H hidden features, G gates (1, 4 and 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.backend import compute_dtype, is_floating, namespace, np
from minitensor.engine.autocast import autocast_dtype
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import reads_values
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.functional.recurrent_gru import packed_gru
from minitensor.nn.functional.recurrent_lstm import packed_lstm
from minitensor.nn.functional.recurrent_rnn import packed_rnn
from minitensor.ops.ids import wide_ids
from minitensor.ops.shape import swapaxes

__all__ = ["as_lengths", "gru", "lstm", "rnn"]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minitensor.engine.attached import TensorLike


@reads_values("lengths")
def rnn(
    x: TensorLike,
    weight_ih: TensorLike,
    weight_hh: TensorLike,
    bias_ih: TensorLike | None = None,
    bias_hh: TensorLike | None = None,
    state: TensorLike | None = None,
    lengths: TensorLike | None = None,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """``h = f(W_ih x_t + b_ih + W_hh h + b_hh)`` for each step t; f is "tanh" or "relu" (Elman
    1990).

    x: (B, T, I); weight_ih: (H, I); weight_hh: (H, H); biases: (H,) or None; state: h (B, H), zeros
    if None. lengths: integers (B,) from 1 to T; what stands behind a sequence's end, even NaN,
    reaches nothing, and the output there is zero. reverse: from the end of each sequence to its
    start. Returns ``(output, h)``: all states (B, T, H), and the last one (B, H).
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f'rnn: nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
    x, weights, (h,), lengths = _checked("rnn", 1, x, (weight_ih, weight_hh, bias_ih, bias_hh), (state,), lengths)
    packed = _run(packed_rnn, x, h, *weights, lengths, nonlinearity=nonlinearity, reverse=bool(reverse))
    return _outputs(packed, x), packed[-1]


@reads_values("lengths")
def lstm(
    x: TensorLike,
    weight_ih: TensorLike,
    weight_hh: TensorLike,
    bias_ih: TensorLike | None = None,
    bias_hh: TensorLike | None = None,
    state: Sequence[TensorLike | None] | None = None,
    lengths: TensorLike | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Long short-term memory (Hochreiter and Schmidhuber 1997), for each step t::

        i, f, g, o = W_ih x_t + b_ih + W_hh h + b_hh                  (four parts of the rows)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)        h = sigmoid(o) * tanh(c)

    weight_ih: (4 H, I); weight_hh: (4 H, H); biases: (4 H,) or None; state: ``(h, c)``,
    each (B, H), zeros if None; the rest as for ``rnn``. Returns ``(output, (h, c))``.
    """
    if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
        raise TypeError(f"lstm: the state is a pair (h, c), got {_told(state)}; write state=(h, c)")
    state = (None, None) if state is None else state
    x, weights, (h, c), lengths = _checked("lstm", 4, x, (weight_ih, weight_hh, bias_ih, bias_hh), state, lengths)
    packed = _run(packed_lstm, x, h, c, *weights, lengths, reverse=bool(reverse))
    return _outputs(packed, x), (packed[-2], packed[-1])


@reads_values("lengths")
def gru(
    x: TensorLike,
    weight_ih: TensorLike,
    weight_hh: TensorLike,
    bias_ih: TensorLike | None = None,
    bias_hh: TensorLike | None = None,
    state: TensorLike | None = None,
    lengths: TensorLike | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), for each step t::

        r_x, z_x, n_x = W_ih x_t + b_ih    r_h, z_h, n_h = W_hh h + b_hh    (three parts each)
        r = sigmoid(r_x + r_h)             z = sigmoid(z_x + z_h)
        n = tanh(n_x + r * n_h)            h = (1 - z) * n + z * h

    weight_ih: (3 H, I); weight_hh: (3 H, H); biases: (3 H,) or None; the rest as for ``rnn``.
    Returns ``(output, h)``.
    """
    x, weights, (h,), lengths = _checked("gru", 3, x, (weight_ih, weight_hh, bias_ih, bias_hh), (state,), lengths)
    packed = _run(packed_gru, x, h, *weights, lengths, reverse=bool(reverse))
    return _outputs(packed, x), packed[-1]


def _run(op, x, *inputs, **keywords):
    """A packed op; its result has the type of ``x``, whatever that of the lengths is, or that of
    ``mt.autocast``.
    """
    packed = op(x, *inputs, **keywords)
    return packed if packed.dtype in (x.dtype, autocast_dtype()) else packed.astype(x.dtype)


def _outputs(packed, x):
    """The outputs among what a packed op returns, batch first; x: (T, B, I)."""
    return swapaxes(packed[: len(x)], axis1=0, axis2=1)  # (B, T, H)


# --- what is given --------------------------------------------------------------------------------


def as_lengths(name: str, lengths: TensorLike | None, x: Tensor) -> Tensor | None:
    """``lengths`` as an integer Tensor (B,) beside ``x`` (B, T, ...), each checked to lie from 1 to
    T; None stays None.

    Lengths that are on a GPU already are checked when a value is next read from it, and the error
    is then an IndexError.
    """
    if lengths is None:
        return None
    batch, steps = x.shape[:2]
    lengths = asarray(lengths)
    if lengths.dtype.kind == "b":
        raise TypeError(f"{name}: lengths {lengths.shape} are a mask; write lengths=mask.sum(axis=1)")
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{name}: lengths must be integers, got {lengths.dtype}; write lengths.astype(int)")
    lengths = Tensor(wide_ids(lengths._array))
    if lengths.shape != (batch,):
        raise ValueError(
            f"{name}: lengths {lengths.shape} must hold one number per sequence, and x {x.shape} has {batch} sequences"
        )
    if lengths.device != "cpu":
        cure = "leave out empty sequences, pad x to the longest"
        message = f"{name}: the length {{id}} is not one of 1 to {steps}, the steps of x; {cure}"
        namespace(lengths.device).check_ids(message, lengths._array, 1, steps + 1)
        return lengths
    for row in np.flatnonzero((lengths._array < 1) | (lengths._array > steps))[:1]:
        length = int(lengths._array[row])
        if length > steps:
            raise ValueError(
                f"{name}: lengths[{row}] is {length}, but x {x.shape} has {steps} steps; pad x to the longest sequence"
            )
        raise ValueError(
            f"{name}: lengths[{row}] is {length}, but a sequence has at least 1 step; leave out empty ones"
        )
    return lengths if x.device == "cpu" else lengths.to(x.device)


def _checked(name, gates, x, weights, states, lengths):
    """``x`` as (T, B, I), weights, states (zeros for None) and lengths as Tensors whose shapes fit,
    floats in one type.
    """
    x = asarray(x)
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(
            f"{name}: x {x.shape} must be (batch, steps, features) with at least one step; a single sequence goes in as x[None]"
        )
    if not is_floating(x.dtype):
        raise TypeError(f"{name}: x must be floating, got {x.dtype}; ids go through an Embedding first")
    given: list[Any] = [w if w is None else asarray(w) for w in weights]
    weight_ih, weight_hh, *biases = given
    if weight_hh.ndim != 2:
        raise ValueError(f"{name}: weight_hh {weight_hh.shape} must be ({gates} H, H)")
    batch, hidden = x.shape[0], weight_hh.shape[-1]
    if weight_hh.shape != (gates * hidden, hidden):
        raise ValueError(f"{name}: weight_hh {weight_hh.shape} must be ({gates} H, H)")
    if weight_ih.shape != (gates * hidden, x.shape[2]):
        raise ValueError(
            f"{name}: weight_ih {weight_ih.shape} must be {(gates * hidden, x.shape[2])}: {gates} H rows, H = {hidden} as in "
            f"weight_hh, and one column for each of the {x.shape[2]} features of x {x.shape}"
        )
    for label, bias in zip(("bias_ih", "bias_hh"), biases):
        if bias is not None and bias.shape != (gates * hidden,):
            raise ValueError(
                f"{name}: {label} {bias.shape} must be {(gates * hidden,)}, a number for each row of weight_hh"
            )
    states = [_state(name, label, state, (batch, hidden), x) for label, state in zip("hc", states)]
    lengths = as_lengths(name, lengths, x)
    x, weight_ih, weight_hh, *others = _in_one_type(
        swapaxes(x, axis1=0, axis2=1), weight_ih, weight_hh, *biases, *states
    )
    return x, (weight_ih, weight_hh, *others[:2]), others[2:], lengths


def _in_one_type(*tensors):
    """Tensors (None may stand among them) in the floating type that is given, or the one to compute
    in if there are several.
    """
    dtypes = {t.dtype for t in tensors if t is not None and is_floating(t.dtype)}
    dtype = dtypes.pop() if len(dtypes) == 1 else compute_dtype(*dtypes)
    return [t if t is None or t.dtype == dtype else t.astype(dtype) for t in tensors]


def _state(name, label, state, shape, x):
    """An initial state of the right shape; zeros for None."""
    if state is None:
        return Tensor(namespace(x.device).zeros(shape, dtype=x.dtype))
    if isinstance(state, (tuple, list)) and any(isinstance(part, Tensor) for part in state):
        raise TypeError(f"{name}: the state is one tensor (batch, hidden), got {_told(state)}")
    state = asarray(state)
    if state.shape != shape:
        raise ValueError(f"{name}: the initial state {label} {state.shape} must be (batch, hidden) = {shape}")
    return state


def _told(value):
    """A state in words."""
    if isinstance(value, (tuple, list)):
        return f"{a_kind(value)} of {len(value)}"
    return f"one of shape {getattr(value, 'shape', ())}"
