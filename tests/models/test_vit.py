"""The Vision Transformer: what it computes from its definition, its configurations, its files,
and its errors.
"""

import dataclasses

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.vit import PRESETS, PatchEmbedding, ViT, ViTConfig, sinusoidal_positions

SMALL = dict(image_size=8, patch_size=4, n_channels=2, d_model=8, n_layers=2, n_heads=2, d_ff=12, n_classes=5)
IMAGES = np.random.default_rng(0).normal(size=(3, 2, 8, 8))
LABELS = np.array([4, 0, 2])
KINDS = [(pooling, positions) for pooling in ("class", "mean") for positions in ("learned", "sinusoidal")]


def small(**changes):
    """A small model in float64."""
    mt.random.seed(0)
    return ViT(ViTConfig(**{**SMALL, **changes})).astype("float64")


# --- what it computes -----------------------------------------------------------------------------


def test_patches_are_a_convolution_by_their_size():
    patches = PatchEmbedding(2, 4, 6).astype("float64")
    expected = F.conv2d(IMAGES, patches.weight, patches.bias, stride=4).numpy()  # (B, D, n, n)
    np.testing.assert_allclose(
        patches(mt.asarray(IMAGES)).numpy(), expected.reshape(3, 6, 4).transpose(0, 2, 1), atol=1e-12
    )


def test_patches_are_numbered_row_by_row():
    model = small(image_size=8, patch_size=2)
    image = np.zeros((1, 2, 8, 8))
    image[0, :, 2:4, 4:6] = 1  # second row, third column
    seen = (model.patches(mt.asarray(image)) - model.patches.bias).numpy()
    assert np.flatnonzero(np.abs(seen).sum(axis=-1)).tolist() == [4 + 2]


@pytest.mark.parametrize(("pooling", "positions"), KINDS)
def test_logits_follow_the_formula(pooling, positions):
    model = small(pooling=pooling, positions=positions)
    x = model.patches(mt.asarray(IMAGES)).numpy()
    if pooling == "class":
        x = np.concatenate([np.repeat(model.class_token.numpy(), 3, axis=0), x], axis=1)
    hidden = model.encoder(mt.asarray(x + model.positions.numpy())).numpy()
    vector = hidden[:, 0] if pooling == "class" else hidden.mean(axis=1)
    expected = vector @ model.classifier.weight.numpy().T + model.classifier.bias.numpy()
    np.testing.assert_allclose(model(IMAGES).numpy(), expected, atol=1e-12)


def test_with_mean_pooling_and_no_positions_the_order_of_patches_does_not_matter():
    model = small(pooling="mean")
    # Left and right patches exchanged.
    halves = np.concatenate([IMAGES[..., 4:], IMAGES[..., :4]], axis=-1)
    assert np.abs(model(IMAGES).numpy() - model(halves).numpy()).max() > 1e-6
    model.positions.assign(np.zeros(model.positions.shape))
    np.testing.assert_allclose(model(IMAGES).numpy(), model(halves).numpy(), atol=1e-12)


def test_sinusoidal_positions_are_distinct_and_those_of_row_and_column():
    config = ViTConfig(**{**SMALL, "image_size": 12}, positions="sinusoidal")
    table = sinusoidal_positions(config).numpy()[0]  # (1 + 9, 8)
    assert not table[0].any()
    grid = table[1:].reshape(3, 3, 8)
    # The row's half.
    np.testing.assert_array_equal(grid[1, :, :4], np.broadcast_to(grid[1, 0, :4], (3, 4)))
    # The column's.
    np.testing.assert_array_equal(grid[:, 2, 4:], np.broadcast_to(grid[0, 2, 4:], (3, 4)))
    rows, columns = ([np.sin(i), np.cos(i), np.sin(i / 100), np.cos(i / 100)] for i in (2, 1))
    np.testing.assert_allclose(grid[2, 1], [*rows, *columns], atol=1e-6)
    assert len(np.unique(table.round(9), axis=0)) == 10


def test_fixed_positions_are_saved_and_not_trained():
    model = small(positions="sinusoidal")
    model.loss(IMAGES, LABELS).backward()
    assert "positions" in model.state_dict() and "positions" not in dict(model.named_parameters())


# --- loss, prediction, attention ------------------------------------------------------------------


def test_the_loss_is_the_mean_cross_entropy_and_smoothed_in_training_alone():
    model = small(label_smoothing=0.2)
    log_p = F.log_softmax(model(IMAGES)).numpy()
    plain = -log_p[np.arange(3), LABELS].mean()
    assert model.loss(IMAGES, LABELS).item() == pytest.approx(0.8 * plain - 0.2 * log_p.mean(axis=1).mean(), abs=1e-12)
    assert model.eval().loss(IMAGES, LABELS).item() == pytest.approx(plain, abs=1e-12)


def test_the_losses_of_parts_add_up():
    model = small()
    parts = model.loss(IMAGES[:1], LABELS[:1], divide_by=3) + model.loss(IMAGES[1:], LABELS[1:], divide_by=3)
    assert parts.item() == pytest.approx(model.loss(IMAGES, LABELS).item(), abs=1e-12)


def test_a_batch_without_images_has_no_loss():
    assert small().loss(IMAGES[:0], LABELS[:0]).item() == 0.0


@pytest.mark.parametrize(("pooling", "positions"), KINDS)
def test_the_gradients_are_those_of_the_loss(pooling, positions):
    model = small(pooling=pooling, positions=positions)
    model.loss(IMAGES, LABELS).backward()
    draw = np.random.default_rng(1)
    for name, parameter in model.named_parameters():
        direction, value = draw.normal(size=parameter.shape), parameter.numpy().copy()
        losses = []
        for step in (1e-5, -1e-5):
            parameter.assign(value + step * direction)
            losses.append(model.loss(IMAGES, LABELS).item())
        parameter.assign(value)
        slope = (losses[0] - losses[1]) / 2e-5
        assert (parameter.grad.numpy() * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_predictions_are_probabilities_without_dropout_and_leave_the_mode():
    model = small(dropout=0.5)
    first, second = model.predict(IMAGES), model.predict(IMAGES)
    assert model.training and not first.requires_grad
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    np.testing.assert_allclose(first.numpy(), F.softmax(model.eval()(IMAGES)).numpy(), atol=1e-12)


@pytest.mark.parametrize(("pooling", "positions"), [("class", 5), ("mean", 4)])
def test_attention_maps(pooling, positions):
    maps = small(pooling=pooling).attention_maps(IMAGES)
    assert list(maps) == ["encoder.0.self", "encoder.1.self"]
    for weights in maps.values():
        assert weights.shape == (3, 2, positions, positions)
        np.testing.assert_allclose(weights.numpy().sum(axis=-1), 1, atol=1e-12)


def test_images_are_cast_to_the_dtype_of_the_model():
    assert small().astype("float32")(IMAGES).dtype == np.float32


# --- configurations and files ---------------------------------------------------------------------


def test_presets():
    for name in PRESETS:
        config = ViTConfig.preset(name, n_classes=7)
        assert (
            config.image_size == 224
            and config.n_classes == 7
            and config.d_model == 64 * config.n_heads * (1 + 0.25 * ("huge" in name))
        )
    with mt.nn.init.skipped():
        assert (
            ViT(ViTConfig.preset("vit-tiny-patch16-224", n_classes=1000)).num_parameters() == 5_717_416
        )  # as published
    with pytest.raises(ValueError, match="there is no preset 'vit-giant'; there are: vit-tiny"):
        ViTConfig.preset("vit-giant")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(patch_size=3), "patches of 3 pixels a side do not divide images of 8"),
        (dict(attention_dropout=1.5), r"attention_dropout must be a number from 0 to 1, got 1.5"),
        (dict(positions="none"), "positions must be"),
        (dict(pooling="max"), "pooling must be"),
        (dict(positions="sinusoidal", d_model=6), "d_model that 4 divides, got 6"),
        (dict(labels=("a", "b")), "2 labels cannot name 5 classes"),
        (dict(pooler=True), "no published ViT has classes behind a pooler"),
        (dict(feed_forward_dropout=-1), "ViTConfig: feed_forward_dropout must be a number from 0 to 1"),
    ],
)
def test_configurations_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        ViTConfig(**{**SMALL, **changes})


@pytest.mark.parametrize(
    "changes", [dict(labels=tuple("abcde")), dict(n_classes=0, pooler=True), dict(position_std=1.0)]
)
def test_a_model_comes_back_from_its_folder(tmp_path, changes):
    model = small(**changes).eval()
    model.save_pretrained(tmp_path)
    again = ViT.from_pretrained(tmp_path)
    unsaved = dict(
        position_std=model.config.position_std, feed_forward_dropout=None
    )  # what is None is saved as what it means
    assert dataclasses.replace(again.config, labels=model.config.labels, **unsaved) == model.config
    np.testing.assert_array_equal(again.features(IMAGES).numpy(), model.features(IMAGES).numpy())


def test_sinusoids_come_back_as_positions_that_are_learned(tmp_path):
    model = small(positions="sinusoidal").eval()
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(ViT.from_pretrained(tmp_path)(IMAGES).numpy(), model(IMAGES).numpy())


def test_what_transformers_cannot_express_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="the ViT of transformers has a class token"):
        small(pooling="mean").save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_saved_again_is_not_made_of_a_folder(tmp_path):
    small().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the ViT of transformers has a class token"):
        ViT.from_pretrained(tmp_path, pooling="mean", positions="sinusoidal")


def test_other_classes_on_published_weights(tmp_path):
    """They take the place of a pooler, and of the names of the old ones;
    without them the weights are still those of the file.
    """
    small(n_classes=0, pooler=True).save_pretrained(tmp_path / "pooled")
    with pytest.warns(UserWarning, match="classifier.weight"):
        made = ViT.from_pretrained(tmp_path / "pooled", n_classes=4)
    assert made.pooler is None and made(IMAGES).shape == (3, 4)
    made.save_pretrained(tmp_path / "again")
    np.testing.assert_array_equal(ViT.from_pretrained(tmp_path / "again")(IMAGES).numpy(), made(IMAGES).numpy())
    with pytest.raises(ValueError, match="set pooler=False for 4 classes, or n_classes=0"):
        ViT.from_pretrained(tmp_path / "pooled", n_classes=4, pooler=True)
    named = small(labels=tuple("abcde")).eval()
    named.save_pretrained(tmp_path / "named")
    bare = ViT.from_pretrained(tmp_path / "named", n_classes=0)
    np.testing.assert_array_equal(bare.features(IMAGES).numpy(), named.features(IMAGES).numpy())
    with pytest.raises(ValueError, match=r"classifier.weight has shape \(5, 8\), the configuration asks for \(7, 8\)"):
        ViT.from_pretrained(tmp_path / "named", n_classes=7)


def test_dropout_inside_the_feed_forward_networks_is_the_papers_and_none_is_that_of_transformers(tmp_path):
    def inside(model):
        return [layer.feed_forward.dropout.p for layer in model.encoder.layers]

    ours = small(dropout=0.5)
    assert inside(ours) == [0.5, 0.5]
    ours.save_pretrained(tmp_path)
    assert inside(ViT.from_pretrained(tmp_path)) == [0.5, 0.5]
    values = ours.config.to_hugging_face()
    del values["feed_forward_dropout"]
    assert inside(ViT(ViTConfig.from_hugging_face(values))) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(qkv_bias=False), "qkv_bias is False"),
        (dict(hidden_act="mish"), "hidden_act is 'mish'"),
        (dict(pooler_act="relu"), "pooler_act is 'relu'"),
        (dict(image_size=[224, 192]), r"image_size is \[224, 192\]"),
        (dict(hidden_size=64, pooler_output_size=32), "pooler_output_size is 32"),
    ],
)
def test_published_configurations_that_this_model_lacks(values, message):
    with pytest.raises(ValueError, match=message):
        ViTConfig.from_hugging_face(values)


def test_published_configurations_rely_on_defaults():
    usual = ViTConfig.preset("vit-base-patch16-224", feed_forward_dropout=0.0)
    assert ViTConfig.from_hugging_face({"image_size": [224, 224]}) == usual


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:, :, :6], "the images are 6 x 8 pixels, the model takes 8 x 8"),
        (IMAGES[:, :1], "the images have 1 channels, the model takes 2"),
        (IMAGES[0], r"must be \(batch, channels, height, width\), got shape \(2, 8, 8\)"),
        (np.zeros((3, 2, 8, 8), dtype=np.uint8), "images must be floats, got uint8"),
    ],
)
def test_images_that_do_not_fit(images, message):
    with pytest.raises(ValueError, match=message):
        small()(images)


@pytest.mark.parametrize("wrong", [-1, 5, -100])
def test_labels_out_of_range(wrong):
    with pytest.raises(IndexError, match=f"target {wrong} is not a class: there are 5"):
        small().loss(IMAGES, np.array([0, wrong, 1]))


def test_labels_of_another_number():
    with pytest.raises(ValueError, match=r"3 images need labels \(3,\), got shape \(2,\)"):
        small().loss(IMAGES, LABELS[:2])


def test_a_model_without_classes_says_so():
    with pytest.raises(ValueError, match="no classification head"):
        small(n_classes=0)(IMAGES)
