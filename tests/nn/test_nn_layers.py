"""Layers, masks, positions and losses: what PyTorch has no equal for, and errors."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn

# --- layers ---------------------------------------------------------------------------------------


def test_dropout_is_active_in_training_alone():
    x = mt.ones((100, 100))
    layer = nn.Dropout(0.25)
    y = layer(x).data
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75).item()}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    state = mt.random.default.state
    assert layer.eval()(x) is x and nn.Dropout(0.0)(x) is x
    assert mt.random.default.state == state


def test_embedding_padding_row_starts_at_zero_and_gets_no_gradient():
    table = nn.Embedding(5, 3, padding_idx=2)
    assert (table.weight.data[2] == 0).all() and (table.weight.data[1] != 0).all()
    table(mt.tensor([[2, 1], [2, 2]])).sum().backward()
    np.testing.assert_array_equal(table.weight.grad.data.sum(axis=1), [0, 3, 0, 0, 0])


def test_layer_norm_normalises():
    y = nn.LayerNorm(64)(mt.random.normal((4, 64)) * 5 + 3).data
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: nn.Linear(4, 3)(mt.zeros((2, 5))),
            ValueError,
            r"Linear\(in_features=4.*shape \(2, 5\), its last axis must be 4",
        ),
        (lambda: nn.Linear(0, 3), ValueError, "in_features must be a positive integer, got 0"),
        (lambda: nn.LayerNorm(4)(mt.zeros((2, 5))), ValueError, r"LayerNorm.*shape \(2, 5\), its last axis must be 4"),
        (lambda: nn.LayerNorm((2, 4))(mt.zeros((3, 4))), ValueError, "its trailing axes must be 2, 4"),
        (lambda: nn.RMSNorm(4)(mt.zeros((2, 5))), ValueError, "its last axis must be 4"),
        (lambda: nn.Conv2d(3, 4, 3)(mt.zeros((2, 5, 8, 8))), ValueError, r"must be \(batch, 3, height, width\)"),
        (lambda: nn.Dropout(1.5), ValueError, "Dropout: p must be a number from 0 to 1, got 1.5"),
        (lambda: nn.Embedding(5, 3, padding_idx=5), ValueError, "padding_idx 5 is outside a table of 5 rows"),
        (lambda: nn.Embedding(5, 3)(mt.zeros(2)), TypeError, "ids must be integers"),
        (lambda: nn.MSELoss("average"), ValueError, "MSELoss: reduction must be one of mean, sum, none"),
        (lambda: nn.MSELoss()(mt.zeros((2, 1)), mt.zeros(2)), ValueError, "equal shapes"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("bad", [5, -1])
def test_an_id_out_of_range_names_the_table(bad):
    model = nn.Sequential(nn.Embedding(5, 3))
    list(model.named_parameters())
    with pytest.raises(IndexError, match=rf"{bad} .*0\.weight.*"):
        model(mt.tensor([1, bad]))


# --- masks ----------------------------------------------------------------------------------------


def test_causal_mask():
    mask = nn.causal_mask(4)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask.data, np.tri(4, dtype=bool))


def test_padding_mask():
    mask = nn.padding_mask([2, 0, 3], length=4)
    assert mask.shape == (3, 1, 1, 4) and mask.dtype == np.bool_
    np.testing.assert_array_equal(mask.data[:, 0, 0], [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    assert nn.padding_mask(np.array([2, 3])).shape == (2, 1, 1, 3)
    both = nn.causal_mask(4) & mask
    assert both.shape == (3, 1, 4, 4)
    with pytest.raises(ValueError, match="3 real tokens but length is 2"):
        nn.padding_mask([1, 3], length=2)
    with pytest.raises(TypeError, match="a row of integers"):
        nn.padding_mask([[1, 2]])


# --- positions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("d_model", [6, 7])
def test_sinusoidal_positions_follow_the_formula(d_model):
    layer = nn.SinusoidalPositionalEncoding(d_model)
    y = layer(mt.zeros((2, 5, d_model), dtype="float64")).data
    for t in range(5):
        for i in range(d_model):
            angle = t / 10000 ** ((i - i % 2) / d_model)
            assert y[1, t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-12)
    assert list(layer.state_dict()) == []


def test_positions_go_on_from_an_offset():
    x = mt.random.normal((2, 6, 8))
    for layer in (nn.SinusoidalPositionalEncoding(8), nn.LearnedPositionalEncoding(10, 8)):
        whole = layer(x).data
        pieces = [layer(x[:, t : t + 1], offset=t).data for t in range(6)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
        assert layer(x).dtype == np.float32


def test_learned_positions_are_trained_and_limited():
    layer = nn.LearnedPositionalEncoding(5, 4)
    layer(mt.zeros((2, 3, 4)), offset=1).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.data[:, 0], [0, 2, 2, 2, 0])
    with pytest.raises(ValueError, match="holds 5 positions, the sequence needs 6"):
        layer(mt.zeros((1, 3, 4)), offset=3)
    with pytest.raises(ValueError, match=r"\(\.\.\., time, 4\)"):
        layer(mt.zeros((1, 3, 5)))


def test_relative_buckets_are_those_of_t5():
    """Small distances have a bucket each, great ones share by logarithm: the paper's 32 buckets up
    to 128.
    """
    both = nn.RelativePositionBias(1)
    distance = np.array([-200, -128, -64, -16, -8, -7, -1, 0, 1, 7, 8, 16, 64, 128, 200])
    assert both.buckets(distance).tolist() == [15, 15, 14, 10, 8, 7, 1, 0, 17, 23, 24, 26, 30, 31, 31]
    back = nn.RelativePositionBias(1, bidirectional=False)
    assert back.buckets(np.array([-500, -127, -32, -16, -15, -1, 0, 1, 50])).tolist() == [
        31,
        31,
        21,
        16,
        15,
        1,
        0,
        0,
        0,
    ]


def test_relative_bias_depends_on_distance_alone_and_goes_on_from_an_offset():
    bias = nn.RelativePositionBias(3, n_buckets=8, max_distance=10)
    whole = bias(6)
    assert whole.shape == (1, 3, 6, 6)
    np.testing.assert_array_equal(whole.data[..., 1:, 1:], whole.data[..., :-1, :-1])
    np.testing.assert_array_equal(bias(2, offset=4).data, whole.data[:, :, 4:])
    np.testing.assert_array_equal(bias(6, 4).data, whole.data[..., :4])
    distance = np.arange(40) - np.arange(7, 27)[:, None]  # (T, S), key minus query
    np.testing.assert_array_equal(
        bias(20, 40, offset=7).data[0], bias.weight.data[bias.buckets(distance)].transpose(2, 0, 1)
    )
    bias.astype("float64")
    y, g = bias(5), mt.random.normal((1, 3, 5, 5), dtype="float64")
    y.backward(g)
    expected = np.zeros((8, 3))
    np.add.at(expected, bias.buckets(np.arange(5) - np.arange(5)[:, None]), g.data[0].transpose(1, 2, 0))
    np.testing.assert_allclose(bias.weight.grad.data, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="must be even"):
        nn.RelativePositionBias(3, n_buckets=5)


# --- losses ---------------------------------------------------------------------------------------


def test_loss_weights_are_state():
    loss = nn.CrossEntropyLoss(weight=[1.0, 2.0])
    assert list(loss.state_dict()) == ["weight"] and loss.num_parameters() == 0
    assert loss.astype("float64").weight.dtype == np.float64


def test_soft_targets():
    x = mt.random.normal((4, 5), dtype="float64")
    ids = np.array([0, 3, 1, 4])
    hard, soft = nn.CrossEntropyLoss()(x, ids), nn.CrossEntropyLoss()(x, mt.tensor(np.eye(5)[ids]))
    np.testing.assert_allclose(hard.data, soft.data, rtol=1e-12)
