"""Every model holds every invariant that applies to it, at tiny sizes."""

import os

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.marian import Marian, MarianConfig
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceRegressor,
    SequenceRegressorConfig,
)
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.speech import Listener, ListenerConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig
from minitensor.testing import invariants
from minitensor.testing.invariants import Floats, Ids

SMALL = dict(d_model=8, n_heads=2, d_ff=12, dropout=0.1)
WORDS, ROWS, STEPS = 5, 4, 6
LENGTHS = np.array([6, 2, 5, 3])
MASK = np.arange(STEPS) < LENGTHS[:, None]
SOURCE, TARGET = Ids(WORDS, (ROWS, STEPS), low=1), Ids(WORDS, (ROWS, 5), low=1)
TEXT = Ids(WORDS, (ROWS, STEPS))


def padded(rng, shape, lengths, pad):
    """Ids with padding behind each row's length."""
    return np.where(np.arange(shape[1]) < lengths[:, None], rng.integers(1, WORDS, shape), pad)


def translator(make, source=SOURCE, prompts=None):
    """A model of source and target, with all that is asked of one."""
    rng = np.random.default_rng(0)
    target = padded(rng, (ROWS, 5), np.array([5, 2, 4, 3]), 0)
    batch = {0: source, 1: np.where(target, target, 1), 2: target, "mask": MASK}
    prompts = rng.integers(1, WORDS, (2, 4)) if prompts is None else prompts
    inputs = {0: source, 1: TARGET, "mask": MASK}
    return make, inputs, dict(causal=True, over=1, padding="mask", loss_inputs=batch, beam_inputs=prompts)


def language_model(make):
    targets = np.where(MASK, np.random.default_rng(1).integers(0, WORDS, MASK.shape), -100)
    prompts = np.random.default_rng(4).integers(0, WORDS, (2, 3))
    return make, TEXT, dict(causal=True, loss_inputs=(TEXT, targets), beam_inputs=prompts)


def encoder(make, call=None, **named):
    return make, (TEXT, MASK), dict(padding=1, call=call, **named)


def of_lengths(make, x, targets):
    loss_inputs = {0: x, 1: targets, "lengths": LENGTHS}
    return make, {0: x, "lengths": LENGTHS}, dict(padding="lengths", loss_inputs=loss_inputs)


def seq2seq(**named):
    config = Seq2SeqConfig(vocab_size=WORDS, d_model=6, hidden_size=5, max_length=20, **named)
    return translator(lambda: Seq2Seq(config))


def listener(**named):
    config = ListenerConfig(vocab_size=WORDS, n_features=3, stack=2, d_model=6, hidden_size=5, max_length=20, **named)
    heard = np.random.default_rng(3).standard_normal((2, 4, 3)).astype("float32")
    return translator(lambda: Listener(config), Floats((ROWS, STEPS, 3)), heard)


def classifier(**named):
    config = SequenceClassifierConfig(hidden_size=5, n_classes=3, dropout=0.1, **named)
    x = Floats((ROWS, STEPS, 3)) if "n_features" in named else TEXT
    return of_lengths(lambda: SequenceClassifier(config), x, np.array([0, 1, 2, 1]))


def image(**named):
    config = ViTConfig(image_size=4, patch_size=2, n_channels=2, n_layers=1, n_classes=3, **SMALL, **named)
    images = Floats((ROWS, 2, 4, 4))
    return lambda: ViT(config), images, dict(loss_inputs=(images, np.array([0, 2, 1, 1])))


def bert(**named):
    return lambda: BERT(BERTConfig(vocab_size=WORDS, max_length=16, n_layers=1, pad_id=None, **SMALL, **named))


TRANSFORMER = dict(vocab_size=WORDS, n_encoder_layers=1, n_decoder_layers=2, max_length=20, **SMALL)
T5S = dict(vocab_size=WORDS, n_encoder_layers=2, n_decoder_layers=2, d_head=4, n_buckets=8, start_id=0, **SMALL)
MARIANS = dict(
    vocab_size=WORDS, d_model=8, n_encoder_heads=2, n_decoder_heads=4, d_encoder_ff=12, d_decoder_ff=10, n_encoder_layers=1,
    n_decoder_layers=2, max_length=20, pad_id=0, start_id=0, stop_id=2, init_std=0.4,
)  # fmt: skip
HIDDEN = np.where(np.random.default_rng(2).random(MASK.shape) < 0.4, 3, -100)
GPTS = dict(
    vocab_size=WORDS, max_length=16, n_layers=2, stop_id=1, attention_dropout=0.1, embedding_dropout=0.1, **SMALL
)

MODELS = {
    "Transformer": translator(lambda: Transformer(TransformerConfig(**TRANSFORMER))),
    "Transformer, norm first, learned positions": translator(
        lambda: Transformer(TransformerConfig(norm_first=True, positions="learned", share_embeddings=False, **TRANSFORMER))
    ),
    "T5": translator(lambda: T5(T5Config(**T5S))),
    "T5, gated": translator(lambda: T5(T5Config(gated=True, activation="gelu_tanh", tie_output=False, scale_output=False, **T5S))),
    "Marian, tables of their own": translator(
        lambda: Marian(MarianConfig(share_embeddings=False, tie_output=False, scale_embedding=True, **MARIANS))
    ),
    "Seq2Seq, additive": seq2seq(cell="gru", attention="additive"),
    "Seq2Seq, dot, fed": seq2seq(cell="lstm", attention="dot", n_layers=2, input_feeding=True),
    "Seq2Seq, none": seq2seq(cell="rnn", attention="none"),
    "Listener": listener(),
    "GPT": language_model(lambda: GPT(GPTConfig(**GPTS))),
    "GPT, masked": (lambda: GPT(GPTConfig(**GPTS)), (TEXT, MASK), dict(padding=1)),
    "RNN language model": language_model(
        lambda: RecurrentLanguageModel(
            RecurrentLanguageModelConfig(vocab_size=WORDS, d_model=4, hidden_size=5, stop_id=1, dropout=0.1)
        )
    ),
    "BERT": encoder(bert(pooler=False)),
    "BERT, words": encoder(
        bert(pooler=False, mlm_head=True), call=lambda m, ids, mask: m.word_logits(m(ids, mask)),
        loss_inputs={0: TEXT, 1: MASK, "words": HIDDEN},
    ),
    "BERT, classes": encoder(
        bert(n_classes=3), call=lambda m, ids, mask: m.class_logits(m(ids, mask)),
        loss_inputs={0: TEXT, 1: MASK, "labels": np.array([2, -100, 0, 1])},
    ),
    "BERT, pool": encoder(bert(pooler=False), call=lambda m, ids, mask: m.pool(ids, mask)),
    "classifier, last": classifier(cell="lstm", vocab_size=WORDS, d_model=4, bidirectional=True),
    "classifier, mean": classifier(cell="gru", n_features=3, pooling="mean"),
    "classifier, max": classifier(cell="rnn", n_features=3, pooling="max", n_layers=2),
    "regressor": of_lengths(
        lambda: SequenceRegressor(SequenceRegressorConfig(hidden_size=5, n_features=3, horizon=2)),
        Floats((ROWS, STEPS, 3)), np.random.default_rng(0).standard_normal((ROWS, 2)).astype("float32"),
    ),
    "nn.LSTM": (lambda: nn.LSTM(3, 4, 2), Floats((ROWS, STEPS, 3)), dict(causal=True)),
    "nn.TransformerEncoder": (
        lambda: nn.TransformerEncoder(2, 8, 2, 12), Floats((ROWS, STEPS, 8)), dict(unordered=True),
    ),
    "ViT": image(),
    "ViT, mean, sinusoids": image(pooling="mean", positions="sinusoidal"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_holds_all_that_apply(name):
    make, inputs, options = MODELS[name]
    asked = {key: options[key] for key in ("padding", "call") if key in options}
    for seed in range(20 if os.environ.get("MINITENSOR_THOROUGH") else 1):
        mt.random.seed(seed)
        model = make()
        held = invariants.check_model(model, inputs, make=make, seed=seed, **options)
        if "padding" in asked:
            held.append(invariants.padding_ignored(model, inputs, nan=True, seed=seed, **asked))
        held.append(invariants.rows_independent(model, inputs, nan=True, seed=seed, call=options.get("call")))
        assert len(held) >= 7 and model.training and all(p.grad is None for p in model.parameters())
        unchecked = [note for one in held for note in one.notes if note.startswith(("no gradient", "no NaN", "rows"))]
        assert not unchecked
