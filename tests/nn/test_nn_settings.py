"""Settings of layers: numbers of every type are taken and become Python's,
what is none is refused by its name.
"""

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
    "its attention": (lambda n: nn.TransformerEncoder(1, 4, 2, 8, attention_dropout=n(0.25)), "attention_dropout"),
    "its network": (lambda n: nn.TransformerDecoderLayer(4, 2, 8, ff_dropout=n(0.25)), "ff_dropout"),
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
        if wrong is None and name in ("scale", "forget_bias", "attention_dropout", "ff_dropout"):
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


def test_dropout_of_everything():
    layer, x = nn.Dropout(1.0), mt.tensor([[1.0, -2.0]], requires_grad=True)
    assert layer.eval()(x) is x and nn.Dropout(0.0)(x) is x
    y = layer.train()(x)
    y.sum().backward()
    assert y.tolist() == x.grad.tolist() == [[0.0, 0.0]]
    attention = nn.MultiHeadAttention(4, 2, dropout=1.0)
    # The bias of ``out`` starts as zero.
    assert attention(mt.ones((1, 3, 4))).tolist() == [[[0.0] * 4] * 3]
    assert nn.GRU(3, 2, 2, dropout=1.0)(mt.ones((1, 4, 3)))[0].shape == (1, 4, 2)


# --- what layers, masks and positions are called with ---------------------------------------------

LAYERS = {
    "Linear": (lambda: nn.Linear(2, 3), (3, 2)), "LayerNorm": (lambda: nn.LayerNorm(2), (3, 2)),
    "RMSNorm": (lambda: nn.RMSNorm(2), (3, 2)), "Conv2d": (lambda: nn.Conv2d(1, 2, 2), (1, 1, 3, 3)), "GELU": (nn.GELU, (3, 2)),
    "Dropout": (lambda: nn.Dropout(0.5).eval(), (3, 2)), "MultiHeadAttention": (lambda: nn.MultiHeadAttention(2, 1), (1, 3, 2)),
    "SinusoidalPositionalEncoding": (lambda: nn.SinusoidalPositionalEncoding(2), (1, 3, 2)),
    "LearnedPositionalEncoding": (lambda: nn.LearnedPositionalEncoding(4, 2), (1, 3, 2)),
    "LSTM": (lambda: nn.LSTM(2, 3), (1, 3, 2)), "RNNCell": (lambda: nn.RNNCell(2, 3), (3, 2)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(2, 1, 4, 0.0), (1, 3, 2)),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(1, 2, 1, 4, 0.0), (1, 3, 2)),
    "FeedForward": (lambda: nn.FeedForward(2, 3, 0.0), (1, 3, 2)), "Sequential": (lambda: nn.Sequential(nn.Linear(2, 2)), (3, 2)),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_layers_take_lists_and_arrays_as_they_take_tensors(make, shape):
    layer, x = make(), np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def output(given):
        y = layer(given)
        return (y[0] if isinstance(y, tuple) else y).numpy() if not isinstance(y, np.ndarray) else y

    expected = output(mt.tensor(x))
    np.testing.assert_array_equal(output(x), expected)
    if not isinstance(layer, nn.Dropout):  # in evaluation the identity
        np.testing.assert_array_equal(output(x.tolist()), expected)
        with pytest.raises(TypeError, match="a tensor holds numbers|x is None, it must be a tensor"):
            layer(None)


def test_pairs_of_lists():
    x, memory = np.ones((1, 2, 2), np.float32), np.ones((1, 3, 2), np.float32)
    layers = (
        nn.MultiHeadAttention(2, 1),
        nn.AdditiveAttention(2, 2, 3),
        nn.DotAttention(2, 2),
        nn.TransformerDecoder(1, 2, 1, 4, 0.0),
    )
    for layer in layers:
        np.testing.assert_array_equal(
            layer(x.tolist(), memory.tolist()).numpy(), layer(mt.tensor(x), mt.tensor(memory)).numpy()
        )
    model = nn.Transformer(2, 1, 1, 1, 4, 0.0)
    mask = nn.padding_mask([3])
    expected = model(mt.tensor(memory), mt.tensor(x), mask).numpy()
    np.testing.assert_array_equal(model(memory.tolist(), x.tolist(), mask.tolist()).numpy(), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: nn.causal_mask(n), "causal_mask: n must be"),
        (lambda n: nn.padding_mask([0, 0], n), "padding_mask: length must be"),
        (
            lambda n: nn.SinusoidalPositionalEncoding(2)(mt.ones((1, 3, 2)), n),
            "SinusoidalPositionalEncoding: offset must be",
        ),
        (lambda n: nn.SinusoidalPositionalEncoding(2).encoding(n), "SinusoidalPositionalEncoding: length must be"),
        (
            lambda n: nn.LearnedPositionalEncoding(4, 2)(mt.ones((1, 3, 2)), n),
            "LearnedPositionalEncoding: offset must be",
        ),
        (lambda n: nn.RelativePositionBias(2)(n), "RelativePositionBias: queries must be"),
        (lambda n: nn.RelativePositionBias(2)(3, n), "RelativePositionBias: keys must be"),
    ],
)
def test_counts_of_positions(call, message):
    for wrong in (-1, 2.5, "3", True):
        with pytest.raises((TypeError, ValueError), match=message):
            call(wrong)
    for one in (1, np.int64(1), mt.tensor(1)):
        call(one)


INITIAL = [
    nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.zeros_, nn.init.ones_, nn.init.eye_, nn.init.orthogonal_,
    nn.init.xavier_uniform_, nn.init.xavier_normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_,
]  # fmt: skip


@pytest.mark.parametrize("fill", INITIAL, ids=lambda fill: fill.__name__)
def test_initial_values_are_of_tensors(fill):
    for wrong in (np.ones((2, 2)), [[1.0]], None, nn.Linear(2, 2)):
        with pytest.raises(TypeError, match="overwrites a tensor, such as an nn.Parameter, got"):
            fill(wrong)
    assert fill(w := mt.ones((2, 2))) is w
    if fill not in (nn.init.zeros_, nn.init.ones_, nn.init.eye_):
        with pytest.raises(TypeError, match="generator must be a mt.random.Generator, got int"):
            fill(w, generator=3)


@pytest.mark.parametrize(
    "fill",
    [
        lambda w, v: nn.init.uniform_(w, v), lambda w, v: nn.init.normal_(w, std=v), lambda w, v: nn.init.trunc_normal_(w, std=v),
        lambda w, v: nn.init.xavier_uniform_(w, v), lambda w, v: nn.init.xavier_normal_(w, v),
        lambda w, v: nn.init.kaiming_uniform_(w, v), lambda w, v: nn.init.kaiming_normal_(w, v),
        lambda w, v: nn.init.orthogonal_(w, v), lambda w, v: nn.init.constant_(w, v),
    ],
)  # fmt: skip
def test_settings_of_initial_values(fill):
    w = mt.ones((3, 3))
    for wrong in (math.nan, "1", None, mt.tensor(0.5, requires_grad=True), [1.0, 2.0]):
        with pytest.raises((TypeError, ValueError), match=r"must be|carries no gradient"):
            fill(w, wrong)
    assert w.tolist() == [[1.0] * 3] * 3
    results = []
    for half in (0.5, np.float32(0.5), mt.tensor(0.5)):
        mt.random.seed(0)
        results.append(fill(mt.ones((3, 3)), half).tolist())
    assert results[0] == results[1] == results[2]
