"""Models on a recurrent layer: many-to-one and many-to-many.

Letters: B sequences, T steps, F input features, H hidden features, L layers, D directions, V vocabulary, C classes.
"""

from __future__ import annotations

from minitensor import nn

__all__ = ["recurrent_layer"]

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def recurrent_layer(cell, input_size, hidden_size, num_layers=1, **options):
    """The recurrent layer named ``cell``: "rnn" (Elman's, tanh where not said otherwise), "lstm" or "gru".

    ``options`` are those of the layer: ``bidirectional``, ``dropout``, ``orthogonal``; ``forget_bias`` of "lstm", ``nonlinearity``
    of "rnn". Raises ValueError for another name.

    >>> recurrent_layer("gru", 8, 16, bidirectional=True).weight_hh_l0.shape
    (48, 16)
    """
    if cell not in CELLS:
        raise ValueError(f"unknown recurrent cell {cell!r}; write one of: {', '.join(CELLS)}")
    return CELLS[cell](input_size, hidden_size, num_layers, **options)
