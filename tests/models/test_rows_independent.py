"""No bit of a sentence's result or gradient depends on the other sentences of its batch, or on what
is padded: in every model.

Sentence 1 of three has the words 1 to 9 and the others 10 and up, of which some have large vectors;
only the others' words, their lengths and what stands in the padding differ between two passes of
equal shapes.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
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
from minitensor.nn.functional import attention_tiles

WORDS, STEPS, LENGTH = 40, 11, 7
SMALL = dict(d_model=16, n_heads=2, d_ff=32, dropout=0.0)
# Untied: the gradient of an output layer is a sum over all sentences.
BOTH = dict(n_encoder_layers=2, n_decoder_layers=2, vocab_size=WORDS, tie_output=False)
QUIET = dict(attention_dropout=0.0, embedding_dropout=0.0)


def batch(variant, steps=STEPS):
    """Ids (3, T), mask (3, T) and lengths: those of sentence 1 are always the same, those of its
    padding and neighbours are not.
    """
    rng = np.random.default_rng(variant)
    ids = rng.integers(10, WORDS, (3, steps))
    ids[1, :LENGTH] = np.random.default_rng(0).integers(1, 10, LENGTH)
    lengths = np.array([steps, LENGTH, rng.integers(1, steps)])
    return ids, np.arange(steps) < lengths[:, None], lengths


def with_mask(model, variant):
    """Masked ids to a vector for each position, and how many of those of sentence 1 are real."""
    ids, mask, _ = batch(variant)
    return model(ids, mask=mask), LENGTH


def with_lengths(model, variant):
    """Ids with lengths to one vector for each sequence, or each position."""
    ids, _, lengths = batch(variant)
    y = model(ids, lengths=lengths)
    return (y[0], LENGTH) if isinstance(y, tuple) else (y, None)


def translate(model, variant):
    """Source and target."""
    source, mask, _ = batch(variant)
    target, _, _ = batch(variant + 50, steps=LENGTH)
    return model(source, target, mask), None


def recurrent(kind, config, **named):
    return kind(config(**{"hidden_size": 12, "n_layers": 2, "dropout": 0.0, **named}))


def seq2seq(**named):
    return Seq2Seq(
        Seq2SeqConfig(vocab_size=WORDS, d_model=16, hidden_size=12, n_layers=2, dropout=0.0, tie_output=False, **named)
    )


MODELS = {
    "Transformer": (lambda: Transformer(TransformerConfig(**BOTH, **SMALL)), translate),
    "Transformer, norm first": (lambda: Transformer(TransformerConfig(norm_first=True, **BOTH, **SMALL)), translate),
    "T5": (lambda: T5(T5Config(d_head=8, pad_id=39, **BOTH, **SMALL)), translate),
    "GPT": (lambda: GPT(GPTConfig(vocab_size=WORDS, max_length=16, n_layers=2, tie_output=False, **QUIET, **SMALL)), with_mask),
    "BERT": (
        lambda: BERT(BERTConfig(vocab_size=WORDS, max_length=16, n_layers=2, pad_id=39, attention_dropout=0.0, **SMALL)),
        with_mask,
    ),
    "additive": (lambda: seq2seq(cell="gru", attention="additive"), translate),
    "dot": (lambda: seq2seq(cell="lstm", attention="dot", input_feeding=True), translate),
    "none": (lambda: seq2seq(cell="rnn", attention="none"), translate),
    "language model": (lambda: recurrent(RecurrentLanguageModel, RecurrentLanguageModelConfig, vocab_size=WORDS), with_lengths),
    **{
        f"classifier, {pooling}": (
            lambda pooling=pooling, cell=cell: recurrent(
                SequenceClassifier, SequenceClassifierConfig, cell=cell, vocab_size=WORDS, n_classes=5, bidirectional=True,
                pooling=pooling,
            ),
            with_lengths,
        )
        for pooling, cell in (("last", "lstm"), ("mean", "gru"), ("max", "rnn"))
    },
}  # fmt: skip


def tables(model):
    """The embedding tables of words, the vectors of some of the neighbours' made large."""
    found = {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight.shape[0] == WORDS
    }
    for table in found:
        rows = np.arange(WORDS)[:, None]
        table.assign(mt.where(rows >= 35, table.detach() * 300.0, table.detach()))
    return sorted(found, key=lambda table: table.name or "")


@pytest.mark.parametrize("name", MODELS)
def test_neighbours_and_padding_change_no_bit(name):
    make, run = MODELS[name]
    mt.random.seed(0)
    model = make()
    words, results = tables(model), []
    assert words
    for variant in range(1, 5):
        model.zero_grad()
        y, real = run(model, variant)
        g = np.random.default_rng(variant).standard_normal(y.shape).astype(np.float32)
        g[1] = np.random.default_rng(0).standard_normal(y.shape[1:])
        if real is not None:
            g[1, real:] = 0.0
        y.backward(mt.asarray(g))
        results.append([y.numpy()[1, :real], *(table.grad.numpy()[1:10] for table in words if table.grad is not None)])
    for other in results[1:]:
        for mine, theirs in zip(results[0], other):
            assert np.array_equal(mine, theirs)
    assert all(part.any() for part in results[0])


def test_images_and_series_beside_it_change_no_bit_of_one():
    mt.random.seed(0)
    image = ViT(ViTConfig(image_size=8, patch_size=2, n_channels=1, n_layers=2, n_classes=3, **SMALL))
    series = recurrent(SequenceRegressor, SequenceRegressorConfig, n_features=8, horizon=3)
    for model, shape in ((image, (3, 1, 8, 8)), (series, (3, 6, 8))):
        results = []
        for variant in (1.0, 300.0, 1e4):
            rng = np.random.default_rng(0)
            x = rng.standard_normal(shape)
            x[[0, 2]] *= variant
            x = mt.tensor(x, dtype="float32", requires_grad=True)
            y = model(x)
            y.backward(mt.asarray(rng.standard_normal(y.shape).astype(np.float32)))
            results.append((y.numpy()[1], x.grad.numpy()[1]))
        for other in results[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


ATTENTIONS = {
    "multi-head": lambda x, memory, mask: nn.MultiHeadAttention(8, 2)(x, mask=mask),
    "of a memory": lambda x, memory, mask: nn.MultiHeadAttention(8, 2)(x, memory, mask=mask),
    "with weights": lambda x, memory, mask: nn.MultiHeadAttention(8, 2)(x, mask=mask, need_weights=True)[0],
    "additive": lambda x, memory, mask: nn.AdditiveAttention(8, 8, 6)(x, memory, mask=mask),
    "dot": lambda x, memory, mask: nn.DotAttention(8, 8)(x, memory, mask=mask),
    "cached": lambda x, memory, mask: nn.MultiHeadAttention(8, 2)(x, cache=_filled(memory), mask=mask).detach() + 0.0 * x,
}  # fmt: skip


def _filled(memory):
    return nn.MultiHeadAttention(8, 2).fill_cache(memory)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("keys", [5, 70])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_every_row_of_attention_stands_for_itself(kind, keys, tiled, monkeypatch):
    """Also where other rows have scores that no shared shift would serve."""
    if tiled:
        monkeypatch.setattr(attention_tiles, "LEAST", 0)
        monkeypatch.setattr(attention_tiles, "ROWS", 32)
    results = []
    for variant in (1.0, 40.0, 1e15, np.nan):
        rng = np.random.default_rng(0)
        x, memory = (rng.standard_normal((3, keys, 8)).astype(np.float32) for _ in range(2))
        others = np.float32(40.0 if np.isnan(variant) else min(variant, 40.0))
        x[[0, 2]] *= others
        memory[[0, 2]] *= others
        padded = x if kind in ("multi-head", "with weights") else memory
        padded[1, 3:] *= np.float32(variant)
        x, memory = (mt.tensor(a, requires_grad=True) for a in (x, memory))
        mt.random.seed(1)
        y = ATTENTIONS[kind](x, memory, nn.padding_mask([keys, 3, keys - 1]))
        found = mt.grad(y[:, :3], [x, memory], rng.standard_normal((3, 3, 8)), allow_unused=True)
        results.append([y.numpy()[1, :3], *(g.numpy()[1, :3] for g in found if g is not None)])
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))
