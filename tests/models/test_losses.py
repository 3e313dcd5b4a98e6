"""What a loss is divided by: the targets that count, or ``divide_by``; one name in all models."""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.losses import IGNORED, per_target
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceRegressor,
    SequenceRegressorConfig,
)
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig

WORDS = 11
SMALL = dict(d_model=8, n_layers=1, n_heads=2, d_ff=8)
STACKS = dict(vocab_size=WORDS, d_model=8, n_heads=2, d_ff=8, n_encoder_layers=1, n_decoder_layers=1)

rng = np.random.default_rng(0)
IDS, NEXT = rng.integers(1, WORDS, (4, 5)), rng.integers(1, WORDS, (4, 5))
NEXT[1, 3:] = IGNORED
PADDED = np.where(NEXT == IGNORED, 0, NEXT)
CLASSES, IMAGES = np.array([2, 0, 1, 2]), rng.normal(size=(4, 3, 8, 8))
SERIES, AHEAD = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 3))


def bert(**heads):
    return BERT(BERTConfig(vocab_size=WORDS, max_length=5, **SMALL, **heads))


MODELS = {  # a model, what its loss takes, and how many of these targets count
    "Transformer": (lambda: Transformer(TransformerConfig(**STACKS)), (IDS, IDS, PADDED), 18),
    "T5": (lambda: T5(T5Config(d_head=4, **STACKS)), (IDS, IDS, PADDED), 18),
    "T5 without padding": (lambda: T5(T5Config(d_head=4, pad_id=None, **STACKS)), (IDS, IDS, NEXT), 18),
    "Seq2Seq": (lambda: Seq2Seq(Seq2SeqConfig(WORDS, d_model=8, hidden_size=6)), (IDS, IDS, PADDED), 18),
    "GPT": (lambda: GPT(GPTConfig(vocab_size=WORDS, max_length=5, **SMALL)), (IDS, NEXT), 18),
    "BERT, words": (lambda: bert(mlm_head=True), (IDS, None, None, NEXT), 18),
    "BERT, sentences": (lambda: bert(nsp_head=True), (IDS, None, None, None, CLASSES % 2), 4),
    "BERT, classes": (lambda: bert(n_classes=3), (IDS, None, None, None, None, CLASSES), 4),
    "ViT": (lambda: ViT(ViTConfig(8, 4, n_classes=3, **SMALL)), (IMAGES, CLASSES), 4),
    "language model": (
        lambda: RecurrentLanguageModel(RecurrentLanguageModelConfig(vocab_size=WORDS, hidden_size=6)),
        (IDS, NEXT),
        18,
    ),
    "classifier": (
        lambda: SequenceClassifier(SequenceClassifierConfig(vocab_size=WORDS, n_classes=3, hidden_size=6)),
        (IDS, CLASSES),
        4,
    ),
    "regressor": (
        lambda: SequenceRegressor(SequenceRegressorConfig(n_features=2, horizon=3, hidden_size=6)),
        (SERIES, AHEAD),
        12,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_divides_by_the_targets_that_count_or_by_what_is_said(name):
    make, inputs, count = MODELS[name]
    mt.random.seed(0)
    model = make().astype("float64").eval()
    inputs = tuple(x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs)
    mean, total = model.loss(*inputs).item(), model.loss(*inputs, divide_by=1).item()
    assert total > 0 and mean == pytest.approx(total / count, rel=1e-12)
    assert model.loss(*inputs, divide_by=np.int64(7)).item() == pytest.approx(total / 7, rel=1e-12)
    parts = [
        model.loss(*(None if x is None else x[rows] for x in inputs), divide_by=count).item()
        for rows in (slice(1), slice(1, None))
    ]
    assert sum(parts) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("old", ["n_tokens", "n_sequences"])
@pytest.mark.parametrize("name", MODELS)
def test_the_old_names_are_gone_and_told(name, old):
    make, inputs, _ = MODELS[name]
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{old}'"):
        make().loss(*inputs, **{old: 3})


def test_words_and_sequences_are_divided_by_their_own_numbers():
    model = bert(mlm_head=True, nsp_head=True, n_classes=3).astype("float64").eval()
    targets = dict(words=NEXT, unrelated=CLASSES % 2, labels=CLASSES)
    words, *sequences = (model.loss(IDS, **{name: target}, divide_by=1).item() for name, target in targets.items())
    expected = words / 5 + sum(sequences) / 7
    assert model.loss(IDS, **targets, divide_by=(5, 7)).item() == pytest.approx(expected, rel=1e-12)
    alone = model.loss(IDS, words=NEXT, divide_by=(5, 7)).item()
    assert alone == pytest.approx(words / 5, rel=1e-12)
    with pytest.raises(ValueError, match=r"divide_by = 5 for targets of words and of sequences.*=\(words, sequences\)"):
        model.loss(IDS, words=NEXT, labels=CLASSES, divide_by=5)


def test_targets_that_do_not_count():
    total, targets = mt.tensor(6.0), mt.tensor([3, IGNORED, 2, IGNORED])
    assert per_target(total, targets, ignored=IGNORED).item() == 3.0
    assert per_target(total, targets).item() == 1.5
    assert per_target(total, targets, 4, IGNORED).item() == 1.5
    assert per_target(mt.tensor(0.0), targets[:0]).item() == 0.0
    assert per_target(mt.tensor(0.0), targets[1:2], ignored=IGNORED).item() == 0.0
