"""ViT against transformers: the same weights give the same logits, hidden vectors and gradients,
and files go both ways.
"""

import json
import warnings

import numpy as np
import pytest

from minitensor.models.vit import ViT, ViTConfig

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # transformers' own imports warn
    from transformers import ViTConfig as TheirConfig
    from transformers import ViTForImageClassification, ViTForMaskedImageModeling, ViTModel

pytestmark = pytest.mark.torch

SHAPE = dict(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=12, patch_size=4
)
IMAGES = np.random.default_rng(0).normal(size=(3, 3, 12, 12))
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def published(folder, kind=ViTForImageClassification, dtype="float32", **changes):
    """A model of transformers with random weights, saved to ``folder``."""
    torch.manual_seed(0)
    model = kind(TheirConfig(**{**SHAPE, "id2label": {0: "cat", 1: "dog", 2: "eel", 3: "fox"}, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # zeros and ones would hide a weight in the wrong place
    model = model.to(getattr(torch, dtype)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new"])
def test_logits_agree(tmp_path, dtype, hidden_act):
    theirs = published(tmp_path, dtype=dtype, hidden_act=hidden_act)
    ours = ViT.from_pretrained(tmp_path)
    images = IMAGES.astype(dtype)
    expected = theirs(torch.tensor(images)).logits.detach().numpy()
    assert ours(images).dtype == dtype
    np.testing.assert_allclose(ours(images).numpy(), expected, rtol=0, atol=TOLERANCE[dtype])
    assert ours.config.labels == ("cat", "dog", "eel", "fox")


def test_attention_agrees(tmp_path):
    theirs = published(tmp_path, dtype="float64", attn_implementation="eager")
    expected = theirs(torch.tensor(IMAGES), output_attentions=True).attentions
    maps = ViT.from_pretrained(tmp_path).attention_maps(IMAGES)
    for i, weights in enumerate(expected):
        np.testing.assert_allclose(
            maps[f"encoder.{i}.self"].numpy(), weights.detach().numpy(), rtol=0, atol=1e-6
        )  # theirs: softmax in float32


def test_the_gradients_of_a_training_step_agree(tmp_path):
    theirs = published(tmp_path, dtype="float64").train()
    ours = ViT.from_pretrained(tmp_path).train()
    labels = np.array([2, 0, 3])
    expected = theirs(torch.tensor(IMAGES), labels=torch.tensor(labels)).loss
    expected.backward()
    loss = ours.loss(IMAGES, labels)
    loss.backward()
    assert abs(loss.item() - expected.item()) < 1e-12

    gradients = {name: parameter.grad.numpy() for name, parameter in ours.named_parameters()}
    # transformers' modules are called otherwise than its files: save the gradients as if they were
    # weights.
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(parameter.grad)
    theirs.save_pretrained(tmp_path / "gradients")
    expected = ViT.from_pretrained(tmp_path / "gradients").state_dict()
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name].numpy(), rtol=0, atol=1e-9, err_msg=name)


def test_a_model_without_classes(tmp_path):
    theirs = published(tmp_path, ViTModel, dtype="float64")
    ours = ViT.from_pretrained(tmp_path)
    expected = theirs(torch.tensor(IMAGES))
    np.testing.assert_allclose(
        ours.encode(IMAGES).numpy(), expected.last_hidden_state.detach().numpy(), rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(
        ours.features(IMAGES).numpy(), expected.pooler_output.detach().numpy(), rtol=0, atol=1e-9
    )


def test_what_a_masked_image_model_has_besides_is_passed_over(tmp_path):
    theirs = published(tmp_path, ViTForMaskedImageModeling, dtype="float64", encoder_stride=4)
    expected = theirs.vit(torch.tensor(IMAGES)).last_hidden_state.detach().numpy()
    ours = ViT.from_pretrained(tmp_path)
    np.testing.assert_allclose(ours.encode(IMAGES).numpy(), expected, rtol=0, atol=1e-9)


def test_a_new_head_on_published_weights(tmp_path):
    theirs = published(tmp_path, ViTModel, dtype="float64")
    with pytest.warns(UserWarning, match="classifier.weight, classifier.bias"):
        ours = ViT.from_pretrained(tmp_path, n_classes=7)
    expected = theirs(torch.tensor(IMAGES)).last_hidden_state.detach().numpy()
    np.testing.assert_allclose(ours.encode(IMAGES).numpy(), expected, rtol=0, atol=1e-9)
    ours.save_pretrained(tmp_path / "saved")
    again = ViTForImageClassification.from_pretrained(tmp_path / "saved", dtype=torch.float64)
    np.testing.assert_allclose(
        ours(IMAGES).numpy(), again(torch.tensor(IMAGES)).logits.detach().numpy(), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("kind", [ViTForImageClassification, ViTModel])
def test_transformers_reads_what_we_save(tmp_path, kind):
    config = ViTConfig(
        image_size=12, patch_size=4, d_model=24, n_layers=2, n_heads=3, d_ff=40, n_classes=2, labels=("day", "night")
    )
    if kind is ViTModel:
        config = ViTConfig(image_size=12, patch_size=4, d_model=24, n_layers=2, n_heads=3, d_ff=40, pooler=True)
    ours = ViT(config).astype("float64").eval()
    ours.save_pretrained(tmp_path)
    theirs, found = kind.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float64)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    if kind is ViTModel:
        expected, got = theirs(torch.tensor(IMAGES)).pooler_output, ours.features(IMAGES)
    else:
        expected, got = theirs(torch.tensor(IMAGES)).logits, ours(IMAGES)
        assert theirs.config.id2label == {0: "day", 1: "night"}
    np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), rtol=0, atol=1e-9)


def test_a_sparse_configuration_relies_on_the_defaults(tmp_path):
    published(tmp_path)
    path = tmp_path / "config.json"
    full = json.loads(path.read_text(encoding="utf-8"))
    # What a hub's file says at least: what differs from the defaults of transformers.
    sparse = {name: full[name] for name in (*SHAPE, "model_type", "id2label")}
    path.write_text(json.dumps(sparse), encoding="utf-8")
    want = ViT.from_pretrained(tmp_path)(IMAGES).numpy()
    path.write_text(json.dumps(full), encoding="utf-8")
    np.testing.assert_array_equal(ViT.from_pretrained(tmp_path)(IMAGES).numpy(), want)
