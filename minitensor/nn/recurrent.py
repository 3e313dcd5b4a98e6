"""Recurrent layers, and their cells for single steps.

Weights, names and the order of gates are PyTorch's, so that states are exchanged.

Different from PyTorch: sequences are batch-first by default, and sequences of several lengths are
padded and come with ``lengths`` instead of being packed.

Letters: B batch, T steps, I input features, H hidden features, G gates, L layers, D directions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.engine.messages import a_kind
from minitensor.engine.settings import choice, flag, integer, number, probability
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn import functional as F
from minitensor.nn import init
from minitensor.nn.functional.recurrent import as_lengths
from minitensor.nn.layers import checked_features
from minitensor.nn.module import Module, Parameter
from minitensor.ops.creation import full_like, zeros
from minitensor.ops.shape import concat, stack, swapaxes

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]

if TYPE_CHECKING:
    from typing import TypeAlias, TypedDict

    from typing_extensions import Unpack

    from minitensor.engine.attached import TensorLike

    Weights: TypeAlias = tuple[Any, Any, Any, Any]

    class CellOptions(TypedDict, total=False):
        """What all cells take besides what they name."""

        orthogonal: bool

    class Options(CellOptions, total=False):
        """What all layers take besides what they name."""

        batch_first: bool
        dropout: float
        bidirectional: bool

    class OptionsAndBias(Options, total=False):
        """Those of RNN."""

        bias: bool

    class CellOptionsAndBias(CellOptions, total=False):
        """Those of RNNCell."""

        bias: bool


class _Weights(Module):
    """What layers and cells share: sets of weights, and how these start."""

    hidden_size: int  # H
    gates = 1  # G
    forget_bias, orthogonal = None, False

    def _add_weights(self, inputs, hidden, bias, suffix=""):
        rows = self.gates * hidden
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
        for name, shape in shapes.items():
            setattr(self, name + suffix, Parameter(zeros(shape)))

    def _weights(self, suffix=""):
        """W_ih, W_hh, b_ih, b_hh; a bias that there is not is None."""
        return [getattr(self, name + suffix, None) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def _suffixes(self):
        return [""]

    def reset_parameters(self) -> None:
        """Uniform on +-1/sqrt(H), as PyTorch's; then as ``orthogonal``, ``forget_bias`` ask."""
        hidden = self.hidden_size
        bound = 1.0 / math.sqrt(hidden)
        for suffix in self._suffixes():
            weight_ih, weight_hh, *biases = self._weights(suffix)
            for parameter in (weight_ih, weight_hh, *biases):
                if parameter is not None:
                    init.uniform_(parameter, -bound, bound)
            if self.orthogonal:
                like = {"dtype": weight_hh.dtype, "device": weight_hh.device}
                blocks = [init.orthogonal_(zeros((hidden, hidden), **like)) for _ in range(self.gates)]
                weight_hh.assign(concat(blocks))
            if self.forget_bias is not None:
                for bias, value in zip(biases, (self.forget_bias, 0.0)):  # the two are added
                    old = bias.detach()
                    bias.assign(concat([old[:hidden], full_like(old[:hidden], value), old[2 * hidden :]]))


def _checked_forget_bias(layer, forget_bias, bias):
    if forget_bias is not None and not bias:
        raise ValueError(f"{layer}: forget_bias={forget_bias} needs biases; leave out bias=False")
    return None if forget_bias is None else number(layer, "forget_bias", forget_bias)


# --- layers ---------------------------------------------------------------------------------------


class _Recurrent(_Weights):
    """A stack of recurrent layers; subclasses say what runs one of them in one direction."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        orthogonal: bool = False,
        **unknown: Any,
    ) -> None:
        name = type(self).__name__
        if unknown:
            raise TypeError(f"{name} has no option {next(iter(unknown))!r}")
        self.input_size = integer(name, "input_size", input_size, least=1)
        self.hidden_size = integer(name, "hidden_size", hidden_size, least=1)
        self.num_layers = integer(name, "num_layers", num_layers, least=1)
        self.bias, self.batch_first = flag(name, "bias", bias), flag(name, "batch_first", batch_first)
        self.dropout = probability(name, "dropout", dropout)
        # 2 directions are True as well.
        said = bool(bidirectional) if isinstance(bidirectional, int) else bidirectional
        self.bidirectional = flag(name, "bidirectional", said)
        self.orthogonal = flag(name, "orthogonal", orthogonal)
        directions = 1 + self.bidirectional
        for place, suffix in enumerate(self._suffixes()):
            inputs = self.input_size if place < directions else directions * self.hidden_size
            self._add_weights(inputs, self.hidden_size, self.bias, suffix)
        self.reset_parameters()

    def _suffixes(self):
        """Endings of the names of the weights, layer by layer."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [f"_l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def forward(self, x: TensorLike, state: Any = None, lengths: TensorLike | None = None) -> tuple[Tensor, Any]:
        """``(output, state)``: the last layer's states at all steps (B, T, D H), and every layer's
        final state (L D, B, H).

        x: (B, T, I), or (T, B, I) if the layer is not ``batch_first``
        (the output then is (T, B, D H)). state: the initial states; default: zeros. lengths:
        integers (B,), the true length of each sequence; values beyond it, even NaN, are ignored,
        the output there is zero, the final state is that of the last true step, and the backward
        direction starts there.
        """
        x = asarray(x)
        if x.ndim != 3:
            axes = "(batch, steps, features)" if self.batch_first else "(steps, batch, features)"
            raise ValueError(f"{self!r}: the input has shape {x.shape}, it must be {axes}; see also batch_first")
        x = checked_features(self, x, self.input_size)
        x = x if self.batch_first else swapaxes(x, axis1=0, axis2=1)  # (B, T, I)
        lengths = as_lengths(type(self).__name__, lengths, x)
        starts, finals = self._starts(state, x.shape[0]), []
        directions = 1 + self.bidirectional
        for place, suffix in enumerate(self._suffixes()):
            backward = place % directions
            if not backward:
                outputs = []
            output, final = self._scan(x, self._weights(suffix), starts[place], lengths, bool(backward))
            outputs.append(output)
            finals.append(final)
            if len(outputs) == directions:
                x = outputs[0] if directions == 1 else concat(outputs, axis=-1)  # (B, T, D H)
                if self.training and self.dropout and place + 1 < len(starts):
                    x = F.dropout(x, self.dropout)
        return x if self.batch_first else swapaxes(x, axis1=0, axis2=1), self._joined(finals)

    def _scan(self, x, weights: Weights, state, lengths, reverse):
        """One layer in one direction: ``(output, state)``."""
        raise NotImplementedError

    def _starts(self, state, batch):
        """The initial state of each layer and direction; None for zeros."""
        if state is None:
            return [None] * len(self._suffixes())
        self._check_state("state", state, batch)
        return list(state)

    def _check_state(self, name, state, batch):
        """Raise ValueError if ``state`` is not one tensor (L D, B, H)."""
        places, expected = len(self._suffixes()), (len(self._suffixes()), batch, self.hidden_size)
        if getattr(state, "shape", None) != expected:
            given = f"has shape {state.shape}" if hasattr(state, "shape") else f"is {a_kind(state)}"
            raise ValueError(
                f"{self!r}: the initial {name} {given}, it must be (layers * directions, batch, hidden) = {expected}, one for each "
                f"of {places} passes over {batch} sequences, batch-first or not"
            )

    def _joined(self, finals):
        """The final states of all layers and directions as one state."""
        return stack(finals)


class RNN(_Recurrent):
    """Elman's network, ``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)``; f is "tanh" or "relu".

    Parameters of layer l: ``weight_ih_l`` (H, I), or (H, D H) from the second layer on,
    ``weight_hh_l`` (H, H), ``bias_ih_l`` and ``bias_hh_l`` (H,), named ``weight_ih_l0`` and so on;
    those of the backward direction end in ``_reverse``.

    bidirectional: a second pass from the end to the start; outputs are joined feature by feature.
    dropout: on the outputs of each layer but the last. orthogonal: W_hh starts orthogonal (Saxe et
    al. 2014; with relu: Le et al. 2015, arXiv:1504.00941).

    >>> import minitensor as mt
    >>> layer = mt.nn.RNN(4, 8, bidirectional=True)
    >>> output, state = layer(mt.zeros((2, 5, 4)), lengths=[5, 3])
    >>> output.shape, state.shape
    ((2, 5, 16), (2, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        **options: Unpack[OptionsAndBias],
    ) -> None:
        self.nonlinearity = choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, num_layers, **options)

    def _scan(self, x, weights: Weights, state, lengths, reverse):
        return F.rnn(x, *weights, state=state, lengths=lengths, nonlinearity=self.nonlinearity, reverse=reverse)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000)::

        i, f, g, o = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
        c_t = sigmoid(f) * c_(t-1) + sigmoid(i) * tanh(g)        h_t = sigmoid(o) * tanh(c_t)

    The state is a pair ``(h, c)``. forget_bias: what ``b_ih + b_hh`` of the forget gate start as; 1
    makes a new network remember (Jozefowicz et al., "An empirical exploration of recurrent network
    architectures", ICML 2015). Parameters, of 4 H rows, and the other options as for ``RNN``;
    orthogonal: each gate's part of W_hh.
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        forget_bias: float | None = None,
        bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forget_bias = _checked_forget_bias("LSTM", forget_bias, bias)
        super().__init__(input_size, hidden_size, num_layers, bias=bias, **options)

    def _scan(self, x, weights: Weights, state, lengths, reverse):
        return F.lstm(x, *weights, state=state, lengths=lengths, reverse=reverse)

    def _starts(self, state, batch):
        if state is None:
            return super()._starts(None, batch)
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise TypeError(f"{self!r}: the initial state is a pair, got {type(state).__name__}; write state=(h, c)")
        for name, part in zip("hc", state):
            self._check_state(f"state {name}", part, batch)
        return list(zip(*state))

    def _joined(self, finals):
        return tuple(stack(parts) for parts in zip(*finals))


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078); gates r, z, n::

        r = sigmoid(W_ir x_t + b_ir + W_hr h + b_hr)
        z = sigmoid(W_iz x_t + b_iz + W_hz h + b_hz)
        n = tanh(W_in x_t + b_in + r * (W_hn h + b_hn))
        h_t = (1 - z) * n + z * h        with h = h_(t-1)

    Parameters, of 3 H rows, and options as for ``RNN``; orthogonal: each gate's part of W_hh.
    """

    gates = 3

    def _scan(self, x, weights: Weights, state, lengths, reverse):
        return F.gru(x, *weights, state=state, lengths=lengths, reverse=reverse)


# --- cells ----------------------------------------------------------------------------------------


class _Cell(_Weights):
    """One step of a recurrent layer: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``."""

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, orthogonal: bool = False) -> None:
        name = type(self).__name__
        self.input_size = integer(name, "input_size", input_size, least=1)
        self.hidden_size = integer(name, "hidden_size", hidden_size, least=1)
        self.bias, self.orthogonal = flag(name, "bias", bias), flag(name, "orthogonal", orthogonal)
        self._add_weights(self.input_size, self.hidden_size, self.bias)
        self.reset_parameters()

    def forward(self, x: TensorLike, state: Any = None) -> Any:
        """The new state from ``x`` (B, I) and the old one (B, H); default: zeros."""
        x = asarray(x)
        if x.ndim != 2:
            raise ValueError(
                f"{self!r}: the input has shape {x.shape}, it must be (batch, features); one sample goes in as x[None]"
            )
        x = checked_features(self, x, self.input_size)
        return self._step(x[:, None], self._weights(), state)

    def _step(self, x, weights: Weights, state):
        raise NotImplementedError


class RNNCell(_Cell):
    """``h' = f(W_ih x + b_ih + W_hh h + b_hh)``; f is "tanh" or "relu"."""

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", **options: Unpack[CellOptionsAndBias]
    ) -> None:
        self.nonlinearity = choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, **options)

    def _step(self, x, weights: Weights, state):
        return F.rnn(x, *weights, state=state, nonlinearity=self.nonlinearity)[1]


class LSTMCell(_Cell):
    """One step of ``LSTM``; the state is a pair ``(h, c)``."""

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        bias: bool = True,
        **options: Unpack[CellOptions],
    ) -> None:
        self.forget_bias = _checked_forget_bias("LSTMCell", forget_bias, bias)
        super().__init__(input_size, hidden_size, bias=bias, **options)

    def _step(self, x, weights: Weights, state):
        return F.lstm(x, *weights, state=state)[1]


class GRUCell(_Cell):
    """One step of ``GRU``."""

    gates = 3

    def _step(self, x, weights: Weights, state):
        return F.gru(x, *weights, state=state)[1]
