"""Captioning: decoding agrees with training, an image has no say in another's captions, a GRU
is what its formula says, and bad configurations are refused.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.captioning import Captioner, CaptionerConfig
from minitensor.testing import gradcheck, invariants

PAD, STOP, ENGLISH, FRENCH = 0, 2, 9, 10
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
TARGET_IN = np.array([[ENGLISH, 5, 6], [FRENCH, 8, PAD], [ENGLISH, 3, 4], [FRENCH, 7, 7]])  # two of each image
TARGET_OUT = np.array([[5, 6, STOP], [8, STOP, PAD], [3, 4, STOP], [7, 7, STOP]])
KINDS = [("cnn", "gru"), ("cnn", "transformer"), ("patches", "gru"), ("patches", "transformer")]


@pytest.fixture(params=KINDS, ids=" to ".join)
def kind(request):
    return dict(zip(("encoder", "decoder"), request.param))


def make(**options):
    mt.random.seed(0)
    shape = dict(
        vocab_size=9,
        n_starts=2,
        image_size=8,
        patch_size=4,
        d_model=8,
        hidden_size=6,
        n_heads=2,
        d_ff=12,
        n_decoder_layers=2,
        max_length=6,
    )
    return Captioner(CaptionerConfig(**{**shape, **options})).astype(np.float64).eval()


def log_probabilities(model, images, ids):
    return mt.nn.functional.log_softmax(model(images, ids)).numpy()


def test_writing_step_by_step_is_the_forward_pass(kind):
    model = make(**kind)
    state = model.start(IMAGES)
    state.reorder(np.array([0, 0, 1, 1]))
    steps = [model.step(ids, state).numpy() for ids in TARGET_IN.T]
    np.testing.assert_allclose(np.stack(steps, axis=1), log_probabilities(model, IMAGES, TARGET_IN), atol=1e-12)


def test_gradients_reach_every_parameter(kind):
    batch = (IMAGES, TARGET_IN, TARGET_OUT)
    invariants.gradient_reaches_parameters(make(**kind), batch, call=Captioner.loss, batches=1)


def test_a_cnn_sees_as_much_as_its_positions_say():
    """What differs between images is no smaller in the memory than a tenth of the whole."""
    memory = make(encoder="cnn", image_size=16, d_model=64).encode(
        np.random.default_rng(0).normal(size=(32, 3, 16, 16))
    )
    assert memory.numpy().std(axis=0).mean() > 0.1 * memory.numpy().std()


def test_a_cnn_learns_on_where_all_units_are_off():
    """ReLUs would let no gradient through, so that what is off stays off."""
    model = make(encoder="cnn")
    model.encoder.squares.bias.assign(mt.full(4, -1.5, dtype=np.float64))
    model.loss(0.1 * IMAGES, TARGET_IN, TARGET_OUT).backward()
    assert np.abs(model.encoder.squares.weight.grad.numpy()).max() > 1e-4


def test_a_region_of_a_cnn_shows_itself_at_first():
    """However many layers keep the sides: those far from a change say what they said."""
    model, images = make(encoder="cnn", image_size=32, n_encoder_layers=5), np.zeros((2, 3, 32, 32))
    images[1, :, 4:8, 4:8] = 1  # the second region of the second row of eight
    before, after = model.encode(images).numpy().reshape((2, 8, 8, -1))
    changed = np.argwhere(np.abs(after - before).max(axis=-1) > 1e-9)
    assert changed.min(axis=0).tolist() == [1, 1] and changed.max(axis=0).tolist() == [2, 2]


def test_gradients_are_those_of_finite_differences():
    model = make(encoder="cnn", decoder="gru", attention="additive", d_model=4, hidden_size=3)
    gradcheck(lambda *_: model.loss(IMAGES, TARGET_IN, TARGET_OUT), list(model.parameters()))


def test_an_image_has_no_say_in_the_captions_of_another(kind):
    model = make(**kind)
    changed = IMAGES.copy()
    changed[1] += 1
    before, after = (log_probabilities(model, images, TARGET_IN) for images in (IMAGES, changed))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2:] - after[2:]).max(axis=(1, 2)).min() > 1e-4


def test_each_caption_of_an_image_is_what_it_would_be_alone(kind):
    model, starts = make(**kind), [ENGLISH, FRENCH, ENGLISH, FRENCH]
    for how in ({}, {"beam_size": 3}):
        together = model.generate(IMAGES, start_ids=starts, **how)
        alone = [model.generate(IMAGES[[i // 2]], start_ids=[start], **how)[0] for i, start in enumerate(starts)]
        assert together == alone
    with pytest.raises(ValueError, match="3 start_ids cannot be shared out among 2 sources"):
        model.generate(IMAGES, start_ids=[ENGLISH] * 3)
    last = model.config.vocab_size + 1  # of the two starts
    for wrong in (-1, last + 1):
        with pytest.raises(ValueError, match=f"start_ids has {wrong}; this model reads the tokens 0 to {last}"):
            model.generate(IMAGES, start_ids=[ENGLISH, wrong])


def test_attention_is_by_layer_and_adds_up(kind):
    maps = make(**kind).attention_maps(IMAGES, TARGET_IN)
    heads = 1 if kind["decoder"] == "gru" else 2
    assert list(maps) == [f"decoder.{i}.cross" for i in range(heads)]
    for weights in maps.values():
        assert weights.shape == (4, heads, 3, 4)
        np.testing.assert_allclose(weights.numpy().sum(axis=-1), 1)


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_a_gru_writes_what_its_formula_says(attention):
    decoder = make(decoder="gru", attention=attention).decoder
    draw = np.random.default_rng(1)
    memory, x = draw.normal(size=(1, 4, 8)), draw.normal(size=(1, 3, 8))
    found, (weights,) = decoder(mt.asarray(x), mt.asarray(memory), need_weights=True)
    first = np.tanh(memory.mean(axis=1) @ decoder.bridge.weight.numpy().T + decoder.bridge.bias.numpy())
    h = decoder.layer(mt.asarray(x), mt.asarray(first[None]))[0].numpy()  # (1, 3, 6)
    query = h @ decoder.attention.query.weight.numpy().T  # (1, 3, 8)
    if attention == "dot":
        scores = query @ memory.swapaxes(1, 2)  # (1, 3, 4)
    else:
        keys = memory @ decoder.attention.key.weight.numpy().T
        both = query[:, :, None] + decoder.attention.query.bias.numpy() + keys[:, None]
        scores = np.tanh(both) @ decoder.attention.score.numpy()
    shares = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(weights.numpy()[:, 0], shares, atol=1e-12)
    seen = np.concatenate([h, shares @ memory, x], axis=-1)
    expected = np.tanh(seen @ decoder.readout.weight.numpy().T + decoder.readout.bias.numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "rnn"}, "unknown encoder 'rnn'; write one of: cnn, patches"),
        ({"decoder": "lstm"}, "unknown decoder 'lstm'; write one of: gru, transformer"),
        ({"attention": "none"}, "unknown attention 'none'"),
        ({"patch_size": 3}, "regions of 3 pixels a side do not divide images of 8"),
        ({"patch_size": 2, "encoder": "cnn"}, "a CNN needs a patch_size that 4 divides, got 2"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_bad_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_bad_inputs():
    model = make()
    with pytest.raises(ValueError, match="the images are 4 x 4 pixels, the model takes 8 x 8"):
        model.encode(np.zeros((1, 3, 4, 4)))
    with pytest.raises(ValueError, match="images must be floats, got uint8"):
        model.encode(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="4 captions cannot be shared out among 3 images"):
        model(np.zeros((3, 3, 8, 8)), TARGET_IN)
    with pytest.raises(ValueError, match="takes no mask"):
        model(IMAGES, TARGET_IN, np.ones((2, 3), bool))
