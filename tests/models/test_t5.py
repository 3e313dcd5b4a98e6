"""T5: cached equals uncached, batched equals single, what padding holds does not matter, errors."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.t5 import T5, T5Config
from minitensor.testing import invariants
from tests.backend import emulator, fake_device

rng = np.random.default_rng(0)
SMALL = dict(
    vocab_size=12, d_model=8, d_head=3, d_ff=16, n_heads=2, n_encoder_layers=2, n_decoder_layers=2, n_buckets=8, max_distance=10,
    dropout=0.0,
)  # fmt: skip
GATED = dict(activation="gelu_tanh", gated=True, tie_output=False, scale_output=False)


def make(**changes):
    """A small model in float64 whose weights are large enough for its answers to differ."""
    mt.random.seed(1)
    model = T5(T5Config(**{**SMALL, **changes})).astype("float64")
    for parameter in model.parameters():
        parameter.assign(parameter.data + 0.3 * rng.normal(size=parameter.shape))
    return model.eval()


@pytest.fixture(params=[{}, GATED], ids=["version 1.0", "version 1.1"])
def model(request):
    return make(**request.param)


@pytest.fixture
def batch():
    """Sources (3, 7) of 7, 4 and 2 tokens, their mask, and targets (3, 5)."""
    mask = np.arange(7) < np.array([[7], [4], [2]])
    source = np.where(mask, rng.integers(2, 12, (3, 7)), 0)
    return source, mask, rng.integers(2, 12, (3, 5))


def single(source, mask, row):
    """One sentence without its padding."""
    return source[row : row + 1, mask[row]]


# --- decoding -------------------------------------------------------------------------------------


def test_decoding_with_a_cache_is_decoding_without(model, batch):
    source, mask, target = batch
    invariants.cached_decoding(model, {0: source, 1: target, "mask": mask})


def test_batched_equals_single(model, batch):
    source, mask, target = batch
    logits = model(source, target, mask).data
    for beam in (1, 3):
        together = model.generate(source, 6, beam_size=beam, mask=mask)
        alone = [model.generate(single(source, mask, row), 6, beam_size=beam)[0] for row in range(3)]
        assert together == alone
    for row in range(3):
        found = model(single(source, mask, row), target[row : row + 1]).data[0]
        np.testing.assert_allclose(found, logits[row], rtol=1e-10, atol=1e-12)


def test_a_source_longer_than_any_bucket_and_than_training_is_no_error(model):
    source = rng.integers(2, 12, (1, 60))
    assert model.encode(source).shape == (1, 60, 8)
    assert len(model.generate(source, 100)[0]) <= 100


# --- training -------------------------------------------------------------------------------------


def test_what_stands_in_padding_reaches_neither_loss_nor_gradients(model, batch):
    source, mask, target = batch
    results = []
    for filling in (0, 7):
        model.loss(np.where(mask, source, filling), target, target, mask).backward()
        results.append([model.shared.weight.grad.data.copy(), model.encoder.positions.weight.grad.data.copy()])
        model.zero_grad()
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_loss_is_per_real_token_or_by_the_number_given(model, batch):
    source, mask, target = batch
    target_out = np.where(np.arange(5) < np.array([[5], [3], [1]]), target, 0)
    logits = F.log_softmax(model(source, target, mask)).data
    real = [(b, t) for b in range(3) for t in range(5) if target_out[b, t]]
    expected = -sum(logits[b, t, target_out[b, t]] for b, t in real)
    assert model.loss(source, target, target_out, mask).item() == pytest.approx(expected / 9)
    assert model.loss(source, target, target_out, mask, divide_by=4).item() == pytest.approx(expected / 4)


def test_initial_logits_and_scores_have_the_variance_they_should_have():
    """About 1 for both, whatever the widths and whether the output is tied or not:
    nothing starts saturated or dead.
    """
    for changes in ({}, GATED):
        mt.random.seed(0)
        model = T5(T5Config(vocab_size=300, d_model=64, d_head=32, n_heads=2, d_ff=128, dropout=0.0, **changes)).eval()
        ids = rng.integers(0, 300, (4, 20))
        logits = model(ids, ids).data
        assert 0.7 < logits.std() < 1.4
        attention = model.encoder.layers[0].self_attention
        q, k = (attention._project(model.encoder.layers[0].norm1(model.shared(ids)), part) for part in (0, 1))
        assert 0.5 < mt.matmul(q, k.mT).data.std() < 2.0


@pytest.mark.skipif(emulator.compiler() is None, reason="no C++ compiler to run the kernels on the CPU with")
def test_another_device_gives_the_same(model, batch):
    """On a device that is not NumPy, in the place of a GPU: loss, gradients, and what
    is generated.
    """
    source, mask, target = batch
    generated = model.generate(source, 5, mask=mask)
    model.loss(source, target, target, mask).backward()
    expected = {name: parameter.grad.data for name, parameter in model.named_parameters()}
    with fake_device.installed():
        there = T5(model.config).astype("float64").to("cuda")
        there.load_state_dict(model.state_dict())
        inputs, outputs, real = (mt.asarray(array, device="cuda") for array in (source, target, mask))
        there.eval().loss(inputs, outputs, outputs, real).backward()
        for name, parameter in there.named_parameters():
            found = parameter.grad.to("cpu").data
            np.testing.assert_allclose(found, expected[name], rtol=1e-9, atol=1e-11, err_msg=name)
        assert there.generate(inputs, 5, mask=real) == generated


# --- looking inside -------------------------------------------------------------------------------


def test_attention_maps_are_those_of_each_layer(model, batch):
    source, mask, target = batch
    maps = model.attention_maps(source, target, mask)
    assert {name: weights.shape for name, weights in maps.items()} == {
        "encoder.0.self": (3, 2, 7, 7),
        "encoder.1.self": (3, 2, 7, 7),
        "decoder.0.cross": (3, 2, 5, 7),
        "decoder.1.cross": (3, 2, 5, 7),
    }
    for weights in maps.values():
        np.testing.assert_allclose(weights.data.sum(-1), 1.0, rtol=1e-10)
        assert (weights.data[1, :, :, 4:] == 0).all()


def test_layers_of_a_stack_share_the_bias_of_distances():
    names = [name for name, _ in make().named_parameters() if "positions" in name]
    assert names == ["encoder.positions.weight", "decoder.positions.weight"]


# --- configurations -------------------------------------------------------------------------------


def test_published_sizes():
    """Numbers of parameters as the papers and model cards have them,
    counted without making the weights.
    """

    def count(c):
        attention, feed = 4 * c.d_model * c.n_heads * c.d_head, (3 if c.gated else 2) * c.d_model * c.d_ff
        encoder = c.n_encoder_layers * (attention + feed + 2 * c.d_model)
        decoder = c.n_decoder_layers * (2 * attention + feed + 3 * c.d_model)
        tables = (1 if c.tie_output else 2) * c.vocab_size * c.d_model
        return encoder + decoder + tables + 2 * c.d_model + 2 * c.n_buckets * c.n_heads

    small = T5Config(**SMALL)
    assert count(small) == T5(small).num_parameters()
    millions = {
        "t5-small": 60.5, "t5-base": 222.9, "t5-large": 737.7, "t5-v1_1-small": 77.0, "t5-v1_1-base": 247.6, "t5-v1_1-large": 783.2,
        "flan-t5-small": 77.0, "flan-t5-base": 247.6, "flan-t5-large": 783.2,
    }  # fmt: skip
    assert {name: round(count(T5Config.preset(name)) / 1e6, 1) for name in millions} == millions
    assert T5Config.preset("t5-base", dropout=0.0).dropout == 0.0


def test_a_configuration_goes_to_a_file_and_back():
    for config in (T5Config(), T5Config.preset("flan-t5-small"), T5Config(n_decoder_layers=2, stop_id=(1, 5))):
        assert T5Config.from_hugging_face(config.to_hugging_face()) == config


def test_sparse_configurations_rely_on_the_defaults():
    assert T5Config.from_hugging_face({}) == T5Config()
    found = T5Config.from_hugging_face(
        {"num_layers": 3, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    )
    assert (found.n_encoder_layers, found.n_decoder_layers) == (3, 3)
    assert (found.activation, found.gated, found.tie_output, found.scale_output) == ("gelu_tanh", True, False, False)
    assert T5Config.from_hugging_face({"num_decoder_layers": None, "pad_token_id": 3}).start_id == 3


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: T5Config(activation="tanhh"), ValueError, "activation must be one of relu, .*'tanhh'"),
        (lambda m: T5Config(n_decoder_layers=0), ValueError, "at least one layer, got 6 and 0"),
        (lambda m: T5Config.preset("t5-huge"), ValueError, "no preset 't5-huge'; there are: t5-small"),
        (lambda m: T5Config.from_hugging_face({"feed_forward_proj": "glu"}), ValueError, "feed_forward_proj is 'glu'"),
        (lambda m: T5Config(activation="gelu", gated=True).to_hugging_face(), ValueError, "'gelu' and gated = True"),
        (lambda m: m.generate(np.zeros((1, 0), int)), ValueError, "the sources have no positions"),
        (lambda m: m.encode(np.zeros((1, 0), int)), ValueError, "no tokens"),
        (lambda m: m.encode(np.array([3, 4])), ValueError, r"ids must be \(sentences, positions\), got shape \(2,\)"),
        (lambda m: m.encode(np.array([[12]])), IndexError, "id 12 is outside the table shared.weight"),
        (lambda m: m(np.array([[3]]), np.array([[3], [4]])), ValueError, "1 source sentences but 2 target"),
        (
            lambda m: m.encode(np.array([[3, 4]]), np.array([[True]])),
            ValueError,
            r"the mask, \(1, 1\) of bool, must be boolean and have the shape",
        ),
        (lambda m: m.generate(np.array([[3]]), 0), ValueError, "max_new_tokens must be at least 1"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call(make())
