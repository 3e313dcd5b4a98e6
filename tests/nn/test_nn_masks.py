"""The door for masks: every entry refuses a wrong one in the same words, and what a mask hides,
even NaN, reaches nothing.
"""

import copy
import math
import pickle

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.nn.functional import attention_tiles, masking
from tests.backend import emulator, fake_device

B, T, S, D, H = 2, 3, 4, 8, 2


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """The CPU, and the fake GPU, whose kernels are those of a real one."""
    if request.param == "cpu":
        yield "cpu"
    elif emulator.compiler() is None:
        pytest.skip("no C++ compiler to run the kernels on the CPU with")
    else:
        with fake_device.installed():
            yield "cuda"


def normal(*shape):
    return mt.random.normal(shape, dtype="float64")


def layer(kind, *sizes, **named):
    return kind(*sizes, **named).astype("float64")


def attention():
    return layer(nn.MultiHeadAttention, D, H)


def encoder_layer(norm_first=False):
    return layer(nn.TransformerEncoderLayer, D, H, 16, 0.0, norm_first=norm_first)


def decoder_layer(norm_first=False):
    return layer(nn.TransformerDecoderLayer, D, H, 16, 0.0, norm_first=norm_first)


def encoder(norm_first=False):
    return layer(nn.TransformerEncoder, 2, D, H, 16, 0.0, norm_first=norm_first)


def decoder(norm_first=False):
    return layer(nn.TransformerDecoder, 2, D, H, 16, 0.0, norm_first=norm_first)


def with_cache(stack, mask):
    """A causal encoder or a decoder that is given new positions with the mask of all of them."""
    x, memory = normal(B, T, D), normal(B, S, D)
    if isinstance(stack, nn.TransformerDecoder):
        return stack(x, None, mask, cache=stack.init_cache(memory))
    return stack(x, mask, is_causal=True, cache=stack.init_cache(B))


HEADS = (B, H, T, D // H)
ENTRIES = {  # each way in for a mask, and how many keys its scores have
    "scaled_dot_product_attention": (lambda m: F.scaled_dot_product_attention(*(normal(*HEADS) for _ in range(3)), mask=m), T),
    "attention_weights": (lambda m: F.attention_weights(normal(*HEADS), normal(*HEADS), mask=m), T),
    "packed_attention": (lambda m: F.packed_attention(normal(B, T, 3 * D), H, m), T),
    "MultiHeadAttention": (lambda m: attention()(normal(B, T, D), mask=m), T),
    "MultiHeadAttention, general": (lambda m: attention()(normal(B, T, D), mask=m, need_weights=True), T),
    "MultiHeadAttention, memory": (lambda m: attention()(normal(B, T, D), normal(B, S, D), m), S),
    "MultiHeadAttention, cache": (lambda m: attention()(normal(B, T, D), mask=m, cache=nn.KeyValueCache()), T),
    "MultiHeadAttention, fixed cache": (
        lambda m: (a := attention())(normal(B, T, D), mask=m, cache=a.fill_cache(normal(B, S, D))), S
    ),
    "AdditiveAttention": (lambda m: layer(nn.AdditiveAttention, D, D, 5)(normal(B, T, D), normal(B, S, D), m), S),
    "DotAttention": (lambda m: layer(nn.DotAttention, D, D)(normal(B, T, D), normal(B, S, D), m), S),
    "TransformerEncoderLayer": (lambda m: encoder_layer()(normal(B, T, D), m), T),
    "TransformerEncoderLayer, cache": (lambda m: encoder_layer()(normal(B, T, D), m, True, cache=nn.KeyValueCache()), T),
    "TransformerDecoderLayer": (lambda m: decoder_layer()(normal(B, T, D), normal(B, S, D), m), T),
    "TransformerDecoderLayer, memory": (lambda m: decoder_layer()(normal(B, T, D), normal(B, S, D), None, m), S),
    "TransformerEncoder": (lambda m: encoder()(normal(B, T, D), m), T),
    "TransformerEncoder, cache": (lambda m: with_cache(encoder(), m), T),
    "TransformerDecoder": (lambda m: decoder()(normal(B, T, D), normal(B, S, D), m), T),
    "TransformerDecoder, memory": (lambda m: decoder()(normal(B, T, D), normal(B, S, D), None, m), S),
    "TransformerDecoder, cache": (lambda m: with_cache(decoder(), m), T),
    "Transformer, source": (lambda m: layer(nn.Transformer, D, H, 1, 1, 16)(normal(B, S, D), normal(B, T, D), m), S),
    "Transformer, target": (lambda m: layer(nn.Transformer, D, H, 1, 1, 16)(normal(B, S, D), normal(B, T, D), None, m), T),
    "Transformer, memory": (
        lambda m: layer(nn.Transformer, D, H, 1, 1, 16)(normal(B, S, D), normal(B, T, D), memory_mask=m), S
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses_a_wrong_mask_in_the_same_words(entry):
    call, keys = ENTRIES[entry]
    call(np.ones((B, 1, 1, keys), bool))
    for wrong in (np.ones((B, 1, 1, keys)), np.ones((B, 1, 1, keys), int)):
        with pytest.raises(
            TypeError, match=rf"^a mask is boolean and True means may attend, this one is {wrong.dtype}"
        ):
            call(wrong)
    for shape in ((B + 3, keys), (B, H, 9, keys), (B, 1, 1, keys + 1), (1, B, 1, 1, keys)):
        with pytest.raises(
            ValueError, match=r"^mask of shape \(.*\) does not broadcast to \(batch, heads, queries, keys\) ="
        ):
            call(np.ones(shape, bool))


@pytest.mark.parametrize("hidden", [math.nan, math.inf, 1e30, 0.0])
def test_weights_and_their_gradients_know_nothing_of_what_is_hidden(hidden):
    mask = np.ones((B, 1, T, S), bool)
    mask[..., -1] = mask[0, :, 1] = False  # no query sees the last key, and query 1 of sentence 0 no key
    g = normal(B, H, T, S)

    def answers(value):
        q, k = np.random.default_rng(3).normal(size=(B, H, T, 4)), np.random.default_rng(4).normal(size=(B, H, S, 4))
        k[:, :, -1] = q[0, :, 1] = value
        q, k = (mt.tensor(x.astype("float32"), requires_grad=True) for x in (q, k))
        weights = F.attention_weights(q, k, mask=mask)
        return weights, *mt.grad((weights * g).sum(), [q, k])

    for found, wanted in zip(answers(hidden), answers(0.5), strict=True):
        np.testing.assert_array_equal(found.data, wanted.data)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses_a_mask_of_another_device(entry):
    if emulator.compiler() is None:
        pytest.skip("no C++ compiler to run the kernels on the CPU with")
    call, keys = ENTRIES[entry]
    with (
        fake_device.installed(),
        pytest.raises(TypeError, match=r'^the mask is on cuda:0, the input on cpu: .*to\("cpu"\)'),
    ):
        call(mt.ones((B, 1, 1, keys), dtype=bool, device="cuda"))


def test_a_mask_of_other_scores_than_four_axes():
    q = normal(B, T, 4)
    F.scaled_dot_product_attention(q, q, q, mask=np.ones((B, 1, T), bool))
    with pytest.raises(ValueError, match=r"\(2, 1, 1, 3\) does not broadcast to \(..., queries, keys\) = \(2, 3, 3\)"):
        F.scaled_dot_product_attention(q, q, q, mask=np.ones((B, 1, 1, T), bool))


# --- once for all layers --------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch):
    """The masks that are looked at, and the inputs whose padding is."""
    seen = {"masks": 0, "paddings": 0}

    class Counting(masking.CheckedMask):
        __slots__ = ()

        def __init__(self, data, scores):
            super().__init__(data, scores)
            seen["masks"] += 1

    def counting(x, mask, real=masking.blank_padding):
        seen["paddings"] += 1
        return real(x, mask)

    monkeypatch.setattr(masking, "CheckedMask", Counting)
    monkeypatch.setattr(masking, "blank_padding", counting)
    return seen


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_stack_looks_at_each_mask_once_for_all_of_its_layers(looks, norm_first):
    own, other = nn.padding_mask([T, 2], T), nn.padding_mask([S, 2], S)
    encoder(norm_first)(normal(B, T, D), own)
    assert looks == {"masks": 1, "paddings": 1}
    decoder(norm_first)(normal(B, T, D), normal(B, S, D), own, other)
    assert looks == {"masks": 3, "paddings": 3}
    encoder_layer(norm_first)(normal(B, T, D), own)
    assert looks == {"masks": 4, "paddings": 4}


def test_a_mask_that_was_looked_at_for_other_scores_is_looked_at_again():
    checked = masking.as_mask(nn.causal_mask(T), (B, H, T, T), "cpu")
    assert masking.as_mask(checked, (B, H, T, T), "cpu") is checked
    assert masking.as_mask(checked, (1, 1, T, T), "cpu") is not checked
    with pytest.raises(ValueError, match=r"\(3, 3\) does not broadcast to .* = \(2, 2, 4, 4\)"):
        masking.as_mask(checked, (B, H, S, S), "cpu")
    for other in (copy.deepcopy(checked), pickle.loads(pickle.dumps(checked)), checked[:2]):
        assert type(other) is mt.Tensor


# --- what is hidden -------------------------------------------------------------------------------

BAD = [np.nan, np.inf, -np.inf]


def poisoned(x, real, value, device):
    """Two leaves on ``device``: ``x``, and ``x`` with ``value`` where ``real`` (B, S) is False."""
    spoilt = np.where(real[:, :, None], x.data, value)
    return (mt.tensor(array, device=device, requires_grad=True) for array in (x.data, spoilt))


def on_device(make, device):
    return make().to(device)


SELF = {  # functions of an input and the mask of its real positions
    "MultiHeadAttention": attention,
    "encoder layer": encoder_layer,
    "encoder layer, norm first": lambda: encoder_layer(True),
    "encoder": encoder,
    "encoder, norm first": lambda: encoder(True),
}


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", SELF)
def test_padding_of_the_input_reaches_no_output_and_no_gradient(device, kind, causal, value):
    real = np.array([[True] * 4, [True, True, False, False]])
    module, mask = on_device(SELF[kind], device), mt.tensor(real[:, None, None], device=device)
    x, spoilt = poisoned(normal(B, S, D), real, value, device)
    g = mt.tensor(np.where(real[:, :, None], normal(B, S, D).data, 0.0), device=device)
    parameters = list(module.parameters())
    y, other = (module(each, mask=mask, is_causal=causal) for each in (x, spoilt))
    assert np.isfinite(other.to("cpu").data).all()
    np.testing.assert_allclose(other.to("cpu").data[real], y.to("cpu").data[real], rtol=1e-12, atol=1e-12)
    expected, found = mt.grad(y, [x, *parameters], g), mt.grad(other, [spoilt, *parameters], g)
    assert not found[0].to("cpu").data[~real].any()
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.to("cpu").data, b.to("cpu").data, rtol=1e-9, atol=1e-11)


MEMORY = {  # functions of a query, a memory and the mask of the memory's real positions
    "MultiHeadAttention": (attention, lambda m, x, memory, mask: m(x, memory, mask)),
    "with weights": (attention, lambda m, x, memory, mask: m(x, memory, mask, need_weights=True)[0]),
    "AdditiveAttention": (lambda: layer(nn.AdditiveAttention, D, D, 5), lambda m, x, memory, mask: m(x, memory, mask)),
    "DotAttention": (lambda: layer(nn.DotAttention, D, D), lambda m, x, memory, mask: m(x, memory, mask)),
    "decoder layer": (decoder_layer, lambda m, x, memory, mask: m(x, memory, None, mask)),
    "decoder": (decoder, lambda m, x, memory, mask: m(x, memory, None, mask)),
    "decoder, norm first": (lambda: decoder(True), lambda m, x, memory, mask: m(x, memory, None, mask)),
    "Transformer": (
        lambda: layer(nn.Transformer, D, H, 1, 1, 16, 0.0),
        lambda m, x, memory, mask: m(memory, x, mask),
    ),
}


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("kind", MEMORY)
def test_padding_of_the_memory_reaches_no_output_and_no_gradient(device, kind, value):
    real = np.array([[True] * 4, [True, True, False, False]])
    make, run = MEMORY[kind]
    module, mask = on_device(make, device), mt.tensor(real[:, None, None], device=device)
    memory, spoilt = poisoned(normal(B, S, D), real, value, device)
    x, g = (mt.tensor(normal(B, T, D).data, device=device, requires_grad=True) for _ in range(2))
    parameters = list(module.parameters())
    y, other = run(module, x, memory, mask), run(module, x, spoilt, mask)
    np.testing.assert_allclose(other.to("cpu").data, y.to("cpu").data, rtol=1e-12, atol=1e-12)
    expected, found = (mt.grad(out, [m, x, *parameters], g.detach()) for out, m in ((y, memory), (other, spoilt)))
    assert not found[0].to("cpu").data[~real].any()
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.to("cpu").data, b.to("cpu").data, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["layer", "stack"])
def test_padding_of_the_targets_reaches_no_output_and_no_gradient(device, kind):
    # On the left, where later targets could see it.
    real = np.array([[False, True, True], [True, True, True]])
    module = on_device(decoder_layer if kind == "layer" else decoder, device)
    mask, memory = (mt.tensor(a, device=device) for a in (real[:, None, None], normal(B, S, D).data))
    x, spoilt = poisoned(normal(B, T, D), real, np.nan, device)
    g = mt.tensor(np.where(real[:, :, None], normal(B, T, D).data, 0.0), device=device)
    parameters = list(module.parameters())
    y, other = (module(each, memory, mask) for each in (x, spoilt))
    np.testing.assert_allclose(other.to("cpu").data[real], y.to("cpu").data[real], rtol=1e-12, atol=1e-12)
    found = mt.grad(other, [spoilt, *parameters], g)
    assert not found[0].to("cpu").data[~real].any()
    assert all(np.isfinite(each.to("cpu").data).all() for each in found)


@pytest.mark.parametrize("value", [*BAD, 3e38])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
def test_hidden_keys_of_the_functions_reach_nothing_to_order_2(device, packed, value, tiled, monkeypatch):
    if tiled:
        monkeypatch.setattr(attention_tiles, "LEAST", 0)
    real = np.array([[True] * 4, [True, True, False, False]])
    mask, clean = mt.tensor(real[:, None, None], device=device), normal(B, S, 3 * D).data
    spoilt = clean.copy()
    spoilt[..., D:][~real] = value  # keys and values; as queries these positions see the others
    results = []
    for each in (mt.tensor(x, device=device, requires_grad=True) for x in (clean, spoilt)):
        if packed:
            y = F.packed_attention(each, H, mask)
        else:
            q, k, v = (part.reshape((B, S, H, D // H)).swapaxes(1, 2) for part in mt.split(each, 3, axis=-1))
            y = F.scaled_dot_product_attention(q, k, v, mask)
        first = mt.grad((y * y).sum(), each, create_graph=True)
        second = mt.grad((first * first).sum(), each)
        results.append([x.to("cpu").data for x in (y, first, second)])
    for a, b in zip(*results):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)
    assert not results[1][1][..., D:][~real].any()
