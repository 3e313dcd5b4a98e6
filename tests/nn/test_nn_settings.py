"""Settings of layers: numbers of every type are taken and become Python's, what is none is refused by its name."""

import math

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn

SIZES = {  # what makes a layer, given a way to write whole numbers; and each size's name
    "Linear": (lambda n: nn.Linear(n(3), n(2)), ["in_features", "out_features"]),
    "Embedding": (lambda n: nn.Embedding(n(3), n(2), n(1)), ["num_embeddings", "embedding_dim", "padding_idx"]),
    "LayerNorm": (lambda n: nn.LayerNorm(n(3)), ["normalized_shape"]),
    "LayerNorm of two": (lambda n: nn.LayerNorm([n(3), n(2)]), ["normalized_shape"]),
    "RMSNorm": (lambda n: nn.RMSNorm((n(3),)), ["normalized_shape"]),
    "Conv2d": (
        lambda n: nn.Conv2d(n(1), n(2), n(3), (n(1), n(2)), n(0)),
        ["in_channels", "kernel_size", "stride", "padding"],
    ),
    "MultiHeadAttention": (lambda n: nn.MultiHeadAttention(n(4), n(2), d_head=n(3)), ["d_model", "n_heads", "d_head"]),
    "AdditiveAttention": (lambda n: nn.AdditiveAttention(n(3), n(2), n(4)), ["d_attention"]),
    "DotAttention": (lambda n: nn.DotAttention(n(3), n(2)), []),
    "SinusoidalPositionalEncoding": (lambda n: nn.SinusoidalPositionalEncoding(n(4)), ["d_model"]),
    "LearnedPositionalEncoding": (lambda n: nn.LearnedPositionalEncoding(n(5), n(4)), ["max_length", "d_model"]),
    "RelativePositionBias": (
        lambda n: nn.RelativePositionBias(n(2), n(8), n(16)),
        ["n_heads", "n_buckets", "max_distance"],
    ),
    "LSTM": (lambda n: nn.LSTM(n(3), n(2), n(2)), ["input_size", "hidden_size", "num_layers"]),
    "GRUCell": (lambda n: nn.GRUCell(n(3), n(2)), ["input_size", "hidden_size"]),
    "FeedForward": (lambda n: nn.FeedForward(n(3), n(2)), ["in_features"]),
    "TransformerEncoder": (lambda n: nn.TransformerEncoder(n(1), n(4), n(2), n(8)), ["n_layers", "d_model"]),
    "Transformer": (lambda n: nn.Transformer(n(4), n(2), n(1), n(1), n(8)), ["n_layers"]),
    "Softmax": (lambda n: nn.Softmax(axis=n(-1)), ["axis"]),
    "CrossEntropyLoss": (lambda n: nn.CrossEntropyLoss(ignore_index=n(3)), ["ignore_index"]),
}
REALS = {
    "LayerNorm": (lambda n: nn.LayerNorm(3, eps=n(0.25)), "eps"),
    "RMSNorm": (lambda n: nn.RMSNorm(3, eps=n(0.25)), "eps"),
    "Dropout": (lambda n: nn.Dropout(n(0.25)), "p"),
    "MultiHeadAttention": (lambda n: nn.MultiHeadAttention(4, 2, dropout=n(0.25)), "dropout"),
    "its scale": (lambda n: nn.MultiHeadAttention(4, 2, scale=n(0.25)), "scale"),
    "GRU": (lambda n: nn.GRU(3, 2, 2, dropout=n(0.25)), "dropout"),
    "LSTM": (lambda n: nn.LSTM(3, 2, forget_bias=n(0.25)), "forget_bias"),
    "LSTMCell": (lambda n: nn.LSTMCell(3, 2, forget_bias=n(0.25)), "forget_bias"),
    "TransformerEncoderLayer": (lambda n: nn.TransformerEncoderLayer(4, 2, 8, dropout=n(0.25)), "p"),
    "TransformerDecoder": (lambda n: nn.TransformerDecoder(1, 4, 2, 8, eps=n(0.25)), "eps"),
    "ELU": (lambda n: nn.ELU(n(0.25)), "alpha"),
    "LeakyReLU": (lambda n: nn.LeakyReLU(n(0.25)), "negative_slope"),
    "CrossEntropyLoss": (lambda n: nn.CrossEntropyLoss(label_smoothing=n(0.25)), "label_smoothing"),
    "HuberLoss": (lambda n: nn.HuberLoss(n(0.25)), "delta"),
}


@pytest.mark.parametrize("make", [make for make, _ in SIZES.values()], ids=SIZES)
def test_whole_numbers_of_any_type(make):
    expected = repr(make(int))
    for write in (np.int64, np.int8, np.array, mt.tensor):
        layer = make(write)
        assert repr(layer) == expected
        assert all(type(s) is int for p in layer.parameters() for s in p.shape)


@pytest.mark.parametrize(("make", "names"), SIZES.values(), ids=SIZES)
def test_what_is_no_whole_number_is_refused(make, names):
    for wrong in (2.5, math.nan, "3", None, True, [1, "2"], mt.ones((2,)), mt.tensor(1.0, requires_grad=True)):
        with pytest.raises((TypeError, ValueError), match="|".join([*names, "in_features", "got"])) as caught:
            make(lambda n, wrong=wrong: wrong)
        assert str(caught.value).split(":")[0].isidentifier()  # begins with the layer's name


@pytest.mark.parametrize(("make", "name"), REALS.values(), ids=REALS)
def test_numbers_of_any_type(make, name):
    expected = repr(make(float))
    for write in (np.float32, np.float64, np.array, mt.tensor):
        assert repr(make(write)) == expected
    for wrong in (math.nan, math.inf, "0.1", None, True, [0.1], mt.ones((2,)), mt.tensor(0.1, requires_grad=True), 1j):
        if wrong is None and name in ("scale", "forget_bias"):
            continue
        with pytest.raises((TypeError, ValueError), match=f": {name} must be|: {name} is a plain number"):
            make(lambda n, wrong=wrong: wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda v: nn.Linear(3, 2, bias=v), lambda v: nn.LayerNorm(3, bias=v), lambda v: nn.Conv2d(1, 2, 3, bias=v),
        lambda v: nn.MultiHeadAttention(4, 2, bias=v), lambda v: nn.GRU(3, 2, batch_first=v), lambda v: nn.GRU(3, 2, bias=v),
        lambda v: nn.RNN(3, 2, bidirectional=v), lambda v: nn.RNNCell(3, 2, orthogonal=v), lambda v: nn.DotAttention(3, 3, v),
        lambda v: nn.RelativePositionBias(2, bidirectional=v), lambda v: nn.TransformerEncoderLayer(4, 2, 8, norm_first=v),
        lambda v: nn.Transformer(4, 2, 1, 1, 8, final_norm=v), lambda v: nn.TransformerDecoder(1, 4, 2, 8, norm_first=v),
    ],
)  # fmt: skip
def test_switches(make):
    assert repr(make(np.True_)) == repr(make(True)) and repr(make(mt.tensor(False))) == repr(make(False))
    for wrong in ("no", 0.5, [True], mt.ones((2,))):
        with pytest.raises(TypeError, match="must be True or False"):
            make(wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dropout(-0.1), "p must be a number from 0 to 1"),
        (lambda: nn.Dropout(1.1), "p must be a number from 0 to 1"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5), "label_smoothing must be a number from 0 to 1"),
        (lambda: nn.LayerNorm(3, eps=-1e-5), "eps must be a number, not negative"),
        (lambda: nn.HuberLoss(0.0), "delta must be a positive number"),
        (lambda: nn.Conv2d(1, 2, (3, 3, 3)), r"kernel_size must be a number or 2 of them, got \(3, 3, 3\)"),
        (lambda: nn.Conv2d(1, 2, 3, padding=-1), "padding must be an integer, not negative"),
        (lambda: nn.Conv2d(1, 2, 3, stride=0), "stride must be a positive integer"),
        (lambda: nn.LayerNorm((3, 0)), "normalized_shape must be a positive integer"),
        (lambda: nn.GELU("erf"), "approximate must be one of none, tanh"),
        (lambda: nn.MSELoss("average"), "reduction must be one of mean, sum, none"),
        (lambda: nn.RNN(3, 2, nonlinearity=None), "nonlinearity must be one of tanh, relu"),
        (lambda: nn.FeedForward(3, 2, activation=mt.tanh), "activation must be one of relu"),
    ],
)
def test_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
