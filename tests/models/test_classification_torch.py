"""The losses of classifiers and their gradients are those of transformers, for every problem and
kind of labels.
"""

import numpy as np
import pytest

from minitensor.models.bert import BERT
from minitensor.models.vit import ViT

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SIZES = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
STILL = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
rng = np.random.default_rng(0)
IDS, IMAGES = rng.integers(1, 20, (4, 5)), rng.normal(size=(4, 3, 8, 8))
NUMBERS, SEVERAL, CLASSES = rng.normal(size=(4, 3)), rng.integers(0, 2, (4, 3)), np.array([2, 0, 1, 2])


def bert(**changes):
    config = transformers.BertConfig(vocab_size=20, max_position_embeddings=5, **SIZES, **STILL, **changes)
    return transformers.BertForSequenceClassification(config), BERT, IDS


def vit(**changes):
    config = transformers.ViTConfig(image_size=8, patch_size=4, **SIZES, **STILL, **changes)
    return transformers.ViTForImageClassification(config), ViT, IMAGES


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize(
    ("problem", "n_labels", "labels"),
    [
        (None, 1, NUMBERS[:, 0]),
        (None, 1, NUMBERS[:, :1]),
        (None, 1, CLASSES),
        (None, 3, CLASSES),
        (None, 3, SEVERAL.astype(float)),
        ("regression", 1, NUMBERS[:, 0]),
        ("regression", 3, NUMBERS),
        ("single_label_classification", 3, CLASSES),
        ("multi_label_classification", 3, SEVERAL.astype(float)),
        ("multi_label_classification", 1, SEVERAL[:, :1].astype(float)),
    ],
)
def test_losses_and_gradients_agree(tmp_path, make, problem, n_labels, labels):
    torch.manual_seed(0)
    theirs, ours, inputs = make(num_labels=n_labels, problem_type=problem)
    theirs = theirs.to(torch.float64).train()
    theirs.save_pretrained(tmp_path)
    model = ours.from_pretrained(tmp_path).train()
    expected = theirs(torch.tensor(inputs), labels=torch.tensor(labels)).loss
    loss = model.loss(inputs, labels=labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    expected.backward()
    np.testing.assert_allclose(
        model.classifier.weight.grad.numpy(), theirs.classifier.weight.grad.numpy(), rtol=1e-6, atol=1e-9
    )


def test_ignored_labels_agree(tmp_path):
    theirs, ours, inputs = bert(num_labels=3)
    theirs.eval().save_pretrained(tmp_path)
    labels = np.array([-100, 2, 0, -100])
    expected = theirs(torch.tensor(inputs), labels=torch.tensor(labels)).loss.item()
    assert ours.from_pretrained(tmp_path).loss(inputs, labels=labels).item() == pytest.approx(expected, rel=1e-5)
