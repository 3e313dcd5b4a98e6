"""Transformer stacks: causality, masks, decoding by steps, the order of norms, dropout."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn


def normal(*shape, dtype="float64"):
    return mt.random.normal(shape, dtype=dtype)


def make(norm_first=False, dropout=0.0, dtype="float64"):
    return nn.Transformer(16, 4, 2, 2, 32, dropout=dropout, norm_first=norm_first).astype(dtype)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_decoder_sees_no_later_target(norm_first):
    model = make(norm_first)
    source, target = normal(2, 5, 16), normal(2, 6, 16)
    changed = target.data.copy()
    changed[:, 4:] *= -2
    a, b = model(source, target).data, model(source, mt.tensor(changed)).data
    np.testing.assert_allclose(a[:, :4], b[:, :4], rtol=1e-10, atol=1e-13)
    assert (a[:, 4:] != b[:, 4:]).all()


def test_an_encoder_may_be_causal():
    encoder = nn.TransformerEncoder(2, 16, 4, 32, dropout=0.0).astype("float64")
    x = normal(2, 6, 16)
    short = encoder(x[:, :3], is_causal=True).data
    np.testing.assert_allclose(encoder(x, is_causal=True).data[:, :3], short, rtol=1e-12)
    np.testing.assert_allclose(encoder(x, nn.causal_mask(6)).data[:, :3], short, rtol=1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_padded_batch_gives_what_each_sentence_gives_alone(norm_first):
    model = make(norm_first)
    source, target, lengths = normal(3, 5, 16), normal(3, 4, 16), [5, 2, 3]
    together = model(source, target, nn.padding_mask(lengths)).data
    for i, length in enumerate(lengths):
        alone = model(source[i : i + 1, :length], target[i : i + 1]).data
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-10, atol=1e-12)


def test_nan_in_padding_reaches_no_output_and_no_gradient():
    model = make()
    poisoned = normal(2, 5, 16).data.copy()
    poisoned[1, 2:] = np.nan
    source = mt.tensor(poisoned, requires_grad=True)
    y = model(source, normal(2, 4, 16), nn.padding_mask([5, 2]))
    assert np.isfinite(y.data).all()
    y.backward(normal(*y.shape))
    assert (source.grad.data[1, 2:] == 0).all() and np.isfinite(source.grad.data).all()
    for name, parameter in model.named_parameters():
        assert np.isfinite(parameter.grad.data).all(), name


def test_a_source_mask_that_is_no_padding_mask_is_not_used_for_the_memory():
    model = make()
    source, target = normal(2, 5, 16), normal(2, 4, 16)
    y = model(source, target, nn.causal_mask(5))
    expected = model.decoder(target, model.encoder(source, is_causal=True))
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-12)


# --- decoding by steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("steps", [[1] * 6, [2, 1, 3]])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_cached_decoding_equals_all_at_once(norm_first, steps, dtype, tolerance):
    model = make(norm_first, dtype=dtype)
    memory, target, mask = normal(3, 5, 16, dtype=dtype), normal(3, 6, 16, dtype=dtype), nn.padding_mask([5, 2, 3])
    whole = model.decoder(target, memory, memory_mask=mask).data
    cache = model.decoder.init_cache(memory)
    pieces = []
    for step in steps:
        start = cache.length
        pieces.append(model.decoder(target[:, start : start + step], memory, memory_mask=mask, cache=cache))
    assert cache.length == 6 and not pieces[0].requires_grad
    np.testing.assert_allclose(np.concatenate([p.data for p in pieces], axis=1), whole, atol=tolerance, rtol=tolerance)


def test_cached_decoding_of_targets_padded_on_the_left():
    """``mask`` covers the positions held as well as the new ones."""
    model = make()
    memory, target = normal(2, 3, 16), normal(2, 5, 16)
    real = mt.tensor([[False, False, True, True, True], [True] * 5])[:, None, None]
    whole = model.decoder(target, memory, mask=real).data
    cache = model.decoder.init_cache(memory)
    pieces = [model.decoder(target[:, t : t + 1], None, mask=real[..., : t + 1], cache=cache).data for t in range(5)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-12, atol=1e-12)


def test_cached_decoding_with_a_relative_bias():
    model, relative = make(), nn.RelativePositionBias(4, bidirectional=False).astype("float64")
    memory, target = normal(2, 3, 16), normal(2, 5, 16)
    whole = model.decoder(target, memory, bias=relative(5)).data
    cache = model.decoder.init_cache(memory)
    pieces = [
        model.decoder(target[:, t : t + 1], None, bias=relative(1, offset=cache.length), cache=cache).data
        for t in range(5)
    ]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [[2, 0, 0, 1], [1, 1], [0, 1, 2], [2]])
def test_reordered_rows_go_on_as_if_they_had_been_there_from_the_start(rows):
    model = make()
    memory, target, lengths = normal(3, 5, 16), normal(3, 6, 16), np.array([5, 2, 3])
    cache = model.decoder.init_cache(memory)
    for t in range(3):
        model.decoder(target[:, t : t + 1], None, memory_mask=nn.padding_mask(lengths), cache=cache)
    cache.reorder(rows)
    assert cache.batch == len(rows) and cache.length == 3
    mask = nn.padding_mask(lengths[rows], 5)
    whole = model.decoder(target[rows], memory[rows], memory_mask=mask).data
    for t in range(3, 6):
        y = model.decoder(target[rows][:, t : t + 1], None, memory_mask=mask, cache=cache).data
        np.testing.assert_allclose(y[:, 0], whole[:, t], rtol=1e-12, atol=1e-12)


def test_reordering_within_a_sentence_leaves_the_memory_alone():
    model = make()
    cache = model.decoder.init_cache(normal(2, 5, 16))
    model.decoder(normal(2, 1, 16), None, cache=cache)
    cache.reorder([0, 0, 1, 1])  # two beams a sentence
    held = cache.layers[0][1]._arrays[0]
    cache.reorder([1, 0, 3, 3])
    assert cache.layers[0][1]._arrays[0] is held
    cache.reorder([2, 3])
    assert cache.layers[0][1]._arrays[0].shape[0] == 2


def test_cache_errors():
    model = make()
    cache = model.decoder.init_cache(normal(2, 5, 16))
    with pytest.raises(ValueError, match=r"the cache holds 2 rows, the input has shape \(3, 1, 16\)"):
        model.decoder(normal(3, 1, 16), None, cache=cache)
    with pytest.raises(IndexError, match="rows run from 0 to 2, the cache holds 2"):
        cache.reorder([0, 2])
    with pytest.raises(TypeError, match="a row of integers"):
        cache.reorder([[0, 1]])


# --- a causal encoder by steps --------------------------------------------------------------------


def causal_encoder(norm_first=True, **options):
    return nn.TransformerEncoder(2, 16, 4, 32, dropout=0.0, norm_first=norm_first, **options).astype("float64")


def by_steps(encoder, x, steps, mask=None, **options):
    """The output of a causal encoder fed ``steps`` positions at a time."""
    cache, pieces = encoder.init_cache(x.shape[0]), []
    for step in steps:
        start, stop = cache.length, cache.length + step
        held = None if mask is None else mask[..., :stop]
        pieces.append(encoder(x[:, start:stop], held, is_causal=True, cache=cache, **options).data)
    assert cache.length == x.shape[1]
    return np.concatenate(pieces, axis=1)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("steps", [[1] * 6, [4, 1, 1], [6]])
def test_a_cached_causal_encoder_equals_all_at_once(norm_first, steps):
    encoder, x = causal_encoder(norm_first), normal(3, 6, 16)
    whole = encoder(x, is_causal=True).data
    np.testing.assert_allclose(by_steps(encoder, x, steps), whole, rtol=1e-12, atol=1e-12)
    assert not encoder(x, is_causal=True, cache=encoder.init_cache(3)).requires_grad


@pytest.mark.parametrize("steps", [[1] * 6, [3, 1, 2], [5, 1]])
def test_rows_padded_on_the_left_give_by_steps_what_each_gives_alone(steps):
    encoder, x, padding = causal_encoder(), normal(3, 6, 16).data.copy(), [0, 4, 2]
    real = np.arange(6) >= np.array(padding)[:, None]  # (B, S)
    x[~real] = np.nan
    pieces = by_steps(encoder, mt.tensor(x), steps, mt.tensor(real)[:, None, None])
    for row, first in enumerate(padding):
        alone = encoder(mt.tensor(x[row : row + 1, first:]), is_causal=True).data
        np.testing.assert_allclose(pieces[row, first:], alone[0], rtol=1e-12, atol=1e-12)


def test_reordered_rows_of_a_causal_encoder():
    encoder, x, rows = causal_encoder(), normal(3, 5, 16), [2, 0, 0, 1]
    cache = encoder.init_cache(3)
    cache.reorder([0, 1, 2])
    encoder(x[:, :3], is_causal=True, cache=cache)
    cache.reorder(rows)
    assert cache.batch == 4 and cache.length == 3
    rest = encoder(x[rows][:, 3:], is_causal=True, cache=cache).data
    np.testing.assert_allclose(rest, encoder(x[rows], is_causal=True).data[:, 3:], rtol=1e-12, atol=1e-12)


def test_a_cached_causal_encoder_gives_its_attention():
    encoder, x = causal_encoder(), normal(2, 4, 16)
    cache = encoder.init_cache(2)
    encoder(x[:, :3], is_causal=True, cache=cache)
    _, seen = encoder(x[:, 3:], is_causal=True, cache=cache, need_weights=True)
    _, whole = encoder(x, is_causal=True, need_weights=True)
    for one, other in zip(seen, whole):
        np.testing.assert_allclose(one.data, other.data[:, :, 3:], rtol=1e-12, atol=1e-12)


def test_encoder_cache_errors():
    encoder = causal_encoder()
    with pytest.raises(ValueError, match="a cache is for causal encoders"):
        encoder(normal(2, 1, 16), cache=encoder.init_cache(2))
    with pytest.raises(ValueError, match=r"the cache holds 2 rows, the input has shape \(3, 1, 16\)"):
        encoder(normal(3, 1, 16), is_causal=True, cache=encoder.init_cache(2))
    with pytest.raises(IndexError, match="rows run from 0 to 2, the cache holds 2"):
        encoder.init_cache(2).reorder([0, 2])


# --- weights, norms, dropout ----------------------------------------------------------------------


def test_stacks_give_their_attention_when_asked():
    model = make()
    source, target, mask = normal(2, 5, 16), normal(2, 4, 16), nn.padding_mask([5, 3])
    memory, seen = model.encoder(source, mask, need_weights=True)
    np.testing.assert_allclose(memory.data, model.encoder(source, mask).data, rtol=1e-12)
    assert [w.shape for w in seen] == [(2, 4, 5, 5)] * 2
    y, crossed = model.decoder(target, memory, memory_mask=mask, need_weights=True)
    np.testing.assert_allclose(y.data, model.decoder(target, memory, memory_mask=mask).data, rtol=1e-12)
    assert [w.shape for w in crossed] == [(2, 4, 4, 5)] * 2
    np.testing.assert_allclose(crossed[0].data.sum(-1), 1, rtol=1e-12)
    assert (crossed[1].data[1, ..., 3:] == 0).all()


@pytest.mark.parametrize("stack", [nn.TransformerEncoder, nn.TransformerDecoder])
@pytest.mark.parametrize("norm_first", [False, True])
def test_which_stacks_end_with_a_norm(stack, norm_first):
    for final_norm, expected in ((None, norm_first), (False, False), (True, True)):
        norm = stack(1, 16, 4, 32, norm_first=norm_first, final_norm=final_norm).norm
        assert isinstance(norm, nn.LayerNorm) if expected else norm is None
    model = make(norm_first=norm_first)  # as in PyTorch
    assert isinstance(model.encoder.norm, nn.LayerNorm) and isinstance(model.decoder.norm, nn.LayerNorm)
    model = nn.Transformer(16, 4, 1, 1, 32, norm_first=norm_first, final_norm=False)
    assert model.encoder.norm is None and model.decoder.norm is None


@pytest.mark.parametrize("stack", [nn.TransformerEncoder, nn.TransformerDecoder])
def test_eps_reaches_every_norm(stack):
    norms = [m for m in stack(2, 16, 4, 32, norm_first=True, eps=1e-12).modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == (5 if stack is nn.TransformerEncoder else 7) and {norm.eps for norm in norms} == {1e-12}


def test_gelu_by_tanh_is_an_activation():
    exact, approximate = (causal_encoder(activation=name) for name in ("gelu", "gelu_tanh"))
    approximate.load_state_dict(exact.state_dict())
    x = normal(2, 5, 16)
    difference = np.abs(exact(x).data - approximate(x).data).max()
    assert 1e-7 < difference < 1e-2
    feed_forward = approximate.layers[0].feed_forward
    hidden = mt.nn.functional.gelu(feed_forward.linear1(x), approximate="tanh")
    np.testing.assert_array_equal(feed_forward(x).data, feed_forward.linear2(hidden).data)


def test_dropout_off_in_evaluation_and_repeatable_by_seed_in_training():
    model = make(dropout=0.5)
    source, target = normal(2, 5, 16), normal(2, 4, 16)
    mt.random.seed(3)
    first = model(source, target).data
    second = model(source, target).data
    mt.random.seed(3)
    np.testing.assert_array_equal(model(source, target).data, first)
    assert (first != second).any()
    state = mt.random.default.state
    with mt.no_grad():
        quiet = model.eval()(source, target).data
    np.testing.assert_array_equal(model(source, target).data, quiet)
    plain = make()
    plain.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(plain(source, target).data, quiet)
    assert mt.random.default.state[:2] == state[:2]


@pytest.mark.parametrize("make", [nn.TransformerEncoder, nn.TransformerDecoder, nn.Transformer])
def test_each_dropout_has_an_argument(make):
    """Those inside the sublayers are ``dropout`` if nothing is said of them."""
    sizes = (1, 16, 4, 32) if make is not nn.Transformer else (16, 4, 1, 1, 32)
    for given, expected in (
        ({}, (0.1, 0.1, 0.1)),
        ({"dropout": 0.5}, (0.5, 0.5, 0.5)),
        ({"attention_dropout": 0.25}, (0.1, 0.25, 0.1)),
        ({"dropout": 0.5, "attention_dropout": 0.0, "ff_dropout": 0.75}, (0.5, 0.0, 0.75)),
    ):
        modules = list(make(*sizes, **given).modules())
        networks = [m.dropout.p for m in modules if isinstance(m, nn.FeedForward)]
        attentions = [m.dropout for m in modules if isinstance(m, nn.MultiHeadAttention)]
        layers = [m.dropout.p for m in modules if type(m).__name__.endswith("Layer")]
        assert ({*layers}, {*attentions}, {*networks}) == tuple({p} for p in expected)


def test_every_parameter_gets_a_gradient():
    model = make(norm_first=True, dropout=0.1)
    y = model(normal(2, 5, 16), normal(2, 4, 16), nn.padding_mask([5, 2]))
    y.backward(normal(*y.shape))
    assert all(p.grad is not None and np.abs(p.grad.data).sum() > 0 for p in model.parameters())
    assert model.num_parameters() == sum(p.size for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.TransformerEncoder(0, 16, 4, 32), "n_layers must be a positive integer, got 0"),
        (
            lambda: nn.TransformerEncoderLayer(16, 4, 32, activation="sine"),
            "activation must be one of relu, gelu, gelu_tanh, silu",
        ),
        (lambda: nn.TransformerEncoderLayer(16, 5, 32), "d_model = 16 is not divisible by n_heads = 5"),
        (lambda: make()(normal(2, 3, 16), normal(3, 3, 16)), "memory has shape"),
        (
            lambda: make().decoder(normal(2, 3, 16), None),
            r"the memory is None: pass one of shape \(2, time, 16\), or a cache",
        ),
        (
            lambda: make()(normal(2, 3, 16), normal(2, 3, 16), memory_mask=mt.ones((2, 3)) > 0),
            r"needs mask\[:, None, None\]",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
