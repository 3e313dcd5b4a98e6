"""Small models of every kind, with a batch each, trained in three precisions."""

import numpy as np

import minitensor as mt
from minitensor import optim
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
)
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig

__all__ = ["MODELS", "curve"]

RNG = np.random.default_rng(0)
WORDS, ROWS, STEPS = 11, 6, 7
SMALL = dict(d_model=16, n_heads=2, d_ff=24, dropout=0.1)
LENGTHS = np.array([7, 2, 5, 3, 7, 4])
REAL = np.arange(STEPS) < LENGTHS[:, None]
IDS = RNG.integers(1, WORDS, (ROWS, STEPS))
PADDED = np.where(REAL, IDS, 0)
CLASSES = RNG.integers(0, 3, ROWS)
IMAGES = RNG.standard_normal((ROWS, 2, 4, 4)).astype("float32")
HIDDEN = np.where(RNG.random(IDS.shape) < 0.4, 3, -100)


def translated(model):
    return model.loss(IDS, PADDED[:, :-1] + (PADDED[:, :-1] == 0), PADDED[:, 1:], mask=REAL)


def seq2seq(**named):
    config = Seq2SeqConfig(vocab_size=WORDS, d_model=12, hidden_size=12, max_length=20, **named)
    return lambda: Seq2Seq(config), translated


MODELS = {
    "Transformer": (
        lambda: Transformer(TransformerConfig(vocab_size=WORDS, n_encoder_layers=1, n_decoder_layers=1, max_length=20, **SMALL)),
        translated,
    ),
    "T5": (
        lambda: T5(
            T5Config(vocab_size=WORDS, n_encoder_layers=1, n_decoder_layers=1, d_head=8, n_buckets=8, start_id=0, **SMALL)
        ),
        translated,
    ),
    "GPT": (
        lambda: GPT(GPTConfig(vocab_size=WORDS, max_length=16, n_layers=2, attention_dropout=0.1, **SMALL)),
        lambda model: model.loss(IDS[:, :-1], IDS[:, 1:]),
    ),
    "BERT": (
        lambda: BERT(
            BERTConfig(vocab_size=WORDS, max_length=16, n_layers=1, pad_id=None, pooler=False, mlm_head=True, **SMALL)
        ),
        lambda model: model.loss(IDS, REAL, words=HIDDEN),
    ),
    "ViT": (
        lambda: ViT(ViTConfig(image_size=4, patch_size=2, n_channels=2, n_layers=1, n_classes=3, **SMALL)),
        lambda model: model.loss(IMAGES, CLASSES),
    ),
    "Seq2Seq, GRU": seq2seq(cell="gru", attention="additive"),
    "Seq2Seq, LSTM": seq2seq(cell="lstm", attention="dot", n_layers=2, input_feeding=True),
    "Seq2Seq, RNN": seq2seq(cell="rnn", attention="none"),
    "RNN language model": (
        lambda: RecurrentLanguageModel(RecurrentLanguageModelConfig(vocab_size=WORDS, d_model=8, hidden_size=12, dropout=0.1)),
        lambda model: model.loss(IDS[:, :-1], IDS[:, 1:]),
    ),
    "classifier": (
        lambda: SequenceClassifier(
            SequenceClassifierConfig(hidden_size=8, n_classes=3, dropout=0.1, cell="gru", vocab_size=WORDS, d_model=8)
        ),
        lambda model: model.loss(PADDED, CLASSES, lengths=LENGTHS),
    ),
}  # fmt: skip


def curve(name, precision, steps, scale=1024.0):
    """``(losses, scaler, model)`` of a run of a model on its one batch."""
    make, loss_of = MODELS[name]
    mt.random.seed(0)
    model = make()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scaler = optim.GradScaler(scale, enabled=precision == "float16")
    losses = []
    for _ in range(steps):
        with mt.autocast("float16" if precision == "float32" else precision, enabled=precision != "float32"):
            loss = loss_of(model)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    return np.array(losses), scaler, model
