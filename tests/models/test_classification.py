"""The loss of a classifier: what the problem is, its value by formula, and labels that do not fit;
all models have this one.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.bert import BERT, IGNORED, BERTConfig
from minitensor.models.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL, classifier_loss
from minitensor.models.vit import ViT, ViTConfig

rng = np.random.default_rng(0)
IDS, IMAGES = rng.integers(1, 20, (4, 5)), rng.normal(size=(4, 3, 8, 8))
NUMBERS, ONE = rng.normal(size=(4, 3)), rng.normal(size=4)
CLASSES, SEVERAL = np.array([2, 0, 1, 2]), rng.integers(0, 2, (4, 3))


def bert(n_classes, **changes):
    sizes = dict(vocab_size=20, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_length=5, init_std=0.5)
    model = BERT(BERTConfig(**sizes, n_classes=n_classes, **changes)).astype("float64").eval()
    return model, IDS, lambda: model.class_logits(model(IDS))


def vit(n_classes, **changes):
    sizes = dict(image_size=8, patch_size=4, d_model=8, n_layers=1, n_heads=2, d_ff=8)
    model = ViT(ViTConfig(**sizes, n_classes=n_classes, **changes)).astype("float64").eval()
    return model, IMAGES, lambda: model(IMAGES)


def squared(logits, labels):
    return ((logits - labels.reshape(logits.shape)) ** 2).mean()


def binary(logits, labels):
    return np.mean(np.log1p(np.exp(logits)) - labels * logits)


def softmax(logits, labels):
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), labels.reshape(-1)])


CASES = [  # problem_type, labels, the loss by formula
    (None, ONE, squared),
    (None, ONE[:, None], squared),
    (None, SEVERAL[:, 0], squared),  # one output is a number, integers or not
    (None, CLASSES, softmax),
    (None, CLASSES.astype(np.uint8), softmax),
    (None, CLASSES[:, None], softmax),
    (None, SEVERAL.astype(np.float32), binary),
    (None, SEVERAL.astype(bool), binary),
    (None, (0.25 + 0.5 * SEVERAL).tolist(), binary),
    (REGRESSION, NUMBERS, squared),
    (REGRESSION, SEVERAL, squared),
    (REGRESSION, ONE.astype(np.float32), squared),
    (SINGLE_LABEL, CLASSES, softmax),
    (MULTI_LABEL, SEVERAL.astype(float), binary),
    (MULTI_LABEL, SEVERAL[:, :1].astype(float), binary),
]


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize(("problem", "labels", "formula"), CASES)
def test_the_loss_is_that_of_the_problem(make, problem, labels, formula):
    labels = np.array(labels)
    one_output = formula is squared and labels.size == 4 or labels.shape == (4, 1) and formula is binary
    model, inputs, logits = make(1 if one_output else 3, problem_type=problem)
    loss = model.loss(inputs, labels=labels)
    assert loss.item() == pytest.approx(formula(logits().numpy(), labels), rel=1e-7)
    loss.backward()
    assert np.abs(model.classifier.weight.grad.numpy()).max() > 1e-6


@pytest.mark.parametrize(("problem", "labels", "formula"), CASES)
def test_the_losses_of_parts_add_up(problem, labels, formula):
    labels = np.array(labels)
    logits = mt.asarray(NUMBERS[:, : 1 if labels.size == 4 and formula is not softmax else 3])
    parts = [classifier_loss(logits[rows], labels[rows], problem, divide_by=4) for rows in (slice(1), slice(1, None))]
    assert (parts[0] + parts[1]).item() == pytest.approx(classifier_loss(logits, labels, problem).item(), rel=1e-12)
    assert classifier_loss(logits[:0], labels[:0], problem).item() == 0.0


def test_ignored_sequences_do_not_count():
    model, _, _ = bert(3)
    some = model.loss(IDS[:2], labels=CLASSES[:2]).item()
    assert model.loss(IDS, labels=np.array([2, 0, IGNORED, IGNORED])).item() == pytest.approx(some, rel=1e-12)


@pytest.mark.parametrize(
    ("n_classes", "problem", "labels", "message"),
    [
        (
            3,
            None,
            NUMBERS[:, 0],
            r"labels \(4, 3\) for a multi_label.*got shape \(4,\) of float64; integers \(4,\) would be",
        ),
        (3, None, SEVERAL, r"4 .* need labels \(4,\), got shape \(4, 3\); several labels of each are floats \(4, 3\)"),
        (3, SINGLE_LABEL, SEVERAL.astype(float), r"integers \(4,\), got shape \(4, 3\) of float64"),
        (3, SINGLE_LABEL, CLASSES[:3], r"need labels \(4,\), got shape \(3,\)$"),
        (3, MULTI_LABEL, SEVERAL, r'got shape \(4, 3\) of int64: write labels.astype\("float32"\)'),
        (3, MULTI_LABEL, ONE, r"need labels \(4, 3\) for a multi_label_classification, got shape \(4,\)"),
        (3, REGRESSION, ONE, r"need labels \(4, 3\) for a regression, got shape \(4,\)"),
        (1, None, ONE[:3], r"need labels \(4, 1\) for a regression, got shape \(3,\)"),
        (1, None, ONE[None], r"need labels \(4, 1\) for a regression, got shape \(1, 4\)"),
        (1, MULTI_LABEL, ONE, r"need labels \(4, 1\) for a multi_label_classification, got shape \(4,\)"),
        (3, None, np.float64(1), r"got shape \(\)"),
    ],
)
@pytest.mark.parametrize("make", [bert, vit])
def test_labels_that_do_not_fit(make, n_classes, problem, labels, message):
    model, inputs, _ = make(n_classes, problem_type=problem)
    with pytest.raises(ValueError, match=message):
        model.loss(inputs, labels=labels)


@pytest.mark.parametrize("make", [bert, vit])
def test_problems_that_there_are_not(make):
    with pytest.raises(ValueError, match="problem_type must be one of regression, single.*, or None, got 'ranking'"):
        make(3, problem_type="ranking")
    with pytest.raises(ValueError, match="needs at least two classes: .* Set n_classes=2"):
        make(1, problem_type=SINGLE_LABEL)


def test_smoothing_is_for_one_class_that_is_right():
    model, inputs, _ = vit(3, label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing is for single_label_classification, this is a multi_label"):
        model.train().loss(inputs, SEVERAL.astype(float))


def test_predictions_are_those_of_the_problem():
    model, inputs, logits = vit(3, problem_type=MULTI_LABEL)
    np.testing.assert_allclose(model.predict(inputs).numpy(), 1 / (1 + np.exp(-logits().numpy())), rtol=1e-12)
    for n_classes, problem in ((1, None), (3, REGRESSION)):
        with pytest.raises(ValueError, match="numbers without probabilities"):
            vit(n_classes, problem_type=problem)[0].predict(inputs)


@pytest.mark.parametrize("make", [bert, vit])
def test_the_problem_is_saved_and_a_new_head_has_its_own(tmp_path, make):
    model, inputs, _ = make(1, problem_type=REGRESSION)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config.problem_type == REGRESSION
    assert again.loss(inputs, labels=ONE).item() == model.loss(inputs, labels=ONE).item()
    if make is bert:
        assert again.with_classifier(3).config.problem_type is None
        assert again.with_classifier(3, MULTI_LABEL).config.problem_type == MULTI_LABEL
