"""The gates and states of recurrent layers at every step, from what the layers were given.

    RNN    h
    LSTM   input, forget and output gate, candidate, cell, h
    GRU    reset and update gate, candidate, h

Letters: T steps, H hidden features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minitensor import nn
from minitensor.models.explain.capture import Array, Call, Seen, array_of

__all__ = ["Recurrence", "recurrences"]


@dataclass
class Recurrence:
    """One layer in one direction: states (T, H), and its gates by name, (T, H) each."""

    path: str
    layer: int
    reverse: bool
    states: Array
    gates: dict[str, Array] = field(default_factory=dict)


def recurrences(seen: Seen) -> list[Recurrence]:
    """Of all recurrent layers and cells; what was called step by step is joined."""
    made: dict[tuple[str, int, bool], list[Recurrence]] = {}
    for call in seen.of(nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell):
        for one in _of_call(call):
            made.setdefault((one.path, one.layer, one.reverse), []).append(one)
    return [_joined(parts) for parts in made.values()]


def _joined(parts):
    first = parts[0]
    first.gates = {name: np.concatenate([part.gates[name] for part in parts]) for name in first.gates}
    first.states = np.concatenate([part.states for part in parts])
    return first


def _of_call(call: Call) -> list[Recurrence]:
    module: Any = call.module
    x = array_of(call.args[0] if call.args else call.kwargs["x"])
    state = call.kwargs.get("state", call.args[1] if len(call.args) > 1 else None)
    if isinstance(module, (nn.RNNCell, nn.LSTMCell, nn.GRUCell)):
        start = None if state is None else [array_of(part)[0] for part in _pair(state)]
        weights = [None if w is None else array_of(w) for w in module._weights()]
        return [_scan(call.path, 0, False, module, x[:1], weights, start)]
    x = x[0] if module.batch_first else x[:, 0]  # (T, I)
    lengths = call.kwargs.get("lengths", call.args[2] if len(call.args) > 2 else None)
    x = x if lengths is None else x[: int(array_of(lengths)[0])]
    starts = None if state is None else [array_of(part)[:, 0] for part in _pair(state)]  # (L D, H) each
    directions = 1 + module.bidirectional
    found: list[Recurrence] = []
    outputs: list[Array] = []
    for place, suffix in enumerate(module._suffixes()):
        reverse = bool(place % directions)
        start = None if starts is None else [part[place] for part in starts]
        weights = [None if w is None else array_of(w) for w in module._weights(suffix)]
        outputs = outputs if reverse else []
        found.append(_scan(call.path, place // directions, reverse, module, x, weights, start))
        outputs.append(found[-1].states)
        if len(outputs) == directions:
            x = np.concatenate(outputs, axis=-1)
    return found


def _pair(state):
    return state if isinstance(state, (tuple, list)) else [state]


def _scan(path, layer, reverse, module, x, weights, start):
    """The steps in NumPy, by the formulas of `minitensor.nn.recurrent`."""
    wide: list[Any] = [None if w is None else w.astype(np.float64) for w in weights]
    weight_ih, weight_hh, bias_ih, bias_hh = wide
    size = weight_hh.shape[1]
    state = [np.zeros(size), np.zeros(size)] if start is None else [part.astype(np.float64) for part in start]
    step = _lstm if isinstance(module, (nn.LSTM, nn.LSTMCell)) else _gru
    if isinstance(module, (nn.RNN, nn.RNNCell)):
        step = _relu if module.nonlinearity == "relu" else _tanh
    told: list[dict[str, Array]] = []
    for row in x[::-1] if reverse else x:
        from_x = weight_ih @ row + (0.0 if bias_ih is None else bias_ih)
        from_h = weight_hh @ state[0] + (0.0 if bias_hh is None else bias_hh)
        state, gates = step(from_x, from_h, state)
        told.append(gates | {"h": state[0]})
    told = told[::-1] if reverse else told
    by_name = {name: np.stack([one[name] for one in told]) for name in (told[0] if told else {})}
    states = by_name.pop("h", np.zeros((0, size)))
    return Recurrence(path, layer, reverse, states, by_name)


def _sigmoid(x):
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x)))


def _tanh(from_x, from_h, state):
    return [np.tanh(from_x + from_h)], {}


def _relu(from_x, from_h, state):
    return [np.maximum(from_x + from_h, 0.0)], {}


def _lstm(from_x, from_h, state):
    i, f, g, o = np.split(from_x + from_h, 4)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    cell = f * state[1] + i * g
    return [o * np.tanh(cell), cell], {
        "input gate": i,
        "forget gate": f,
        "output gate": o,
        "candidate": g,
        "cell": cell,
    }


def _gru(from_x, from_h, state):
    (r, z, n), (hr, hz, hn) = np.split(from_x, 3), np.split(from_h, 3)
    r, z = _sigmoid(r + hr), _sigmoid(z + hz)
    n = np.tanh(n + r * hn)
    return [(1 - z) * n + z * state[0]], {"reset gate": r, "update gate": z, "candidate": n}
