"""Pre-training a BERT on documents, and using it: filling in words, and learning to classify from
few labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.bert import BERT, IGNORED, BERTConfig
from toolkit.console import UserError
from toolkit.documents import Document, split_documents
from toolkit.pretraining import PairBatch, Pairs
from toolkit.program import place
from toolkit.samples import Epoch
from toolkit.settings import Training, option
from toolkit.wordpieces import CLS, MASK, PAD, SEP, SPECIAL, WordPieces

__all__ = ["PRESETS", "Settings", "Task", "attention", "fill", "loss_and_right", "make_model", "sentences_to_fill"]


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Hyper-parameters of the model and of its pre-training."""

    d_model: int = option(128, "features of each position", least=1)
    heads: int = option(4, "attention heads", least=1)
    layers: int = option(2, "layers of the encoder", least=1, below=1000)
    d_ff: int = option(512, "features inside the feed-forward layers", least=1)
    dropout: float = option(0.1, "dropout", least=0, below=1)
    vocab: int = option(6000, "word pieces", least=1, below=2**20)
    longest: int = option(128, "tokens of a pair of passages", least=9)
    masked: float = option(0.15, "share of the words to be predicted", least=0, below=1)
    batch: int = option(32, "pairs in a batch", least=1)

    def __post_init__(self) -> None:
        """Also check that the heads divide the features."""
        super().__post_init__()
        if self.d_model % self.heads:
            raise UserError(f"--heads {self.heads} must divide --d-model {self.d_model}")


# Two megabytes of text are little: more words to predict make more of it (Wettig et al. 2023,
# arXiv:2202.08005).
PRESETS: dict[str, Any] = dict(lr=2e-3, schedule="cosine", warmup=150, steps=3500, validate_every=200, masked=0.2)


def make_model(settings: Settings, vocab_size: int) -> BERT:
    """A model of these settings, its weights drawn from their seed. Raises UserError for a device
    that cannot be used.
    """
    s = settings
    mt.random.seed(s.seed)
    # BERT's 0.02 suits 768 features; a narrow model learns sooner from weights that keep the size
    # of what they multiply.
    std = s.d_model**-0.5
    config = BERTConfig(
        vocab_size=vocab_size, d_model=s.d_model, n_layers=s.layers, n_heads=s.heads, d_ff=s.d_ff, max_length=s.longest,
        dropout=s.dropout, attention_dropout=s.dropout, init_std=std, pad_id=PAD, mlm_head=True, nsp_head=True,
    )  # fmt: skip
    model = BERT(config)
    # Positions start as waves, of the size of the words: to look at the next word is then one
    # linear map for all positions, but random tables have to learn it for each.
    waves = nn.SinusoidalPositionalEncoding(s.d_model).encoding(s.longest)
    model.positions.weight.assign(waves * (std * 2**0.5))
    return place(model, s.device)


# --- pre-training ---------------------------------------------------------------------------------


class Task:
    """Masked words and next passages as a task for `toolkit.trainer`."""

    def __init__(self, documents: Sequence[Document], tokenizer: WordPieces | None, settings: Settings) -> None:
        """``tokenizer``: that of a run which is resumed; default: it is learned from the documents
        to train on.
        """
        s = self.settings = settings
        train, validation, test = split_documents(documents)
        if tokenizer is None:
            tokenizer = WordPieces.learn([text for document in train for text in document.sentences], s.vocab)
        self.tokenizer = tokenizer
        ids = [[tokenizer.encode_batch(document.sentences) for document in part] for part in (train, validation, test)]
        self.train, self.validation, self.test = (
            Pairs(part, tokenizer.vocab_size, s.longest, s.masked, s.batch, s.seed) for part in ids
        )
        self.commonest = int(np.bincount([token for text in ids[0] for words in text for token in words]).argmax())
        self.model = make_model(s, tokenizer.vocab_size)

    def epoch(self, number: int) -> Epoch[PairBatch]:
        return self.train.epoch(number)

    def _inputs(self, batch: PairBatch) -> Mapping[str, Any]:
        return {name: mt.asarray(batch[name], device=self.settings.device) for name in ("ids", "mask", "segments")}

    def loss(self, batch: PairBatch, divide_by: int) -> mt.Tensor:
        """The model's loss: per masked word, and for the next passage per pair."""
        targets = {"words": batch["words"], "unrelated": mt.asarray(batch["unrelated"], device=self.settings.device)}
        return self.model.loss(**self._inputs(batch), **targets, divide_by=(divide_by, batch.pairs))

    def validate(self) -> dict[str, float]:
        """`figures` of the validation documents, but for the baseline."""
        figures = self.figures(self.validation)
        return {name: figures[name] for name in ("validation_loss", "word_accuracy", "next_accuracy")}

    def figures(self, pairs: Pairs, epochs: int = 1) -> dict[str, float]:
        """Loss, and shares of the words and next passages that the model gets right, over so many
        epochs of ``pairs``.

        unigram_accuracy is that of answering with the commonest word of the training text,
        unrelated_share that of always answering "another document".
        """
        sums = np.zeros(6)  # word loss, right words, commonest words; pair loss, right pairs, unrelated pairs
        words = count = 0
        for batch in (batch for number in range(epochs) for batch in pairs.epoch(number)):
            hidden = self.model(**self._inputs(batch))
            places = batch["words"] != IGNORED
            logits = self.model.word_logits(hidden[mt.asarray(places, device=hidden.device)])
            sums[:2] += loss_and_right(logits, batch["words"][places])
            sums[2] += (batch["words"][places] == self.commonest).sum()
            sums[3:5] += loss_and_right(self.model.next_logits(hidden), batch["unrelated"])
            sums[5] += batch["unrelated"].sum()
            words, count = words + batch.tokens, count + len(batch)
        means = sums / np.repeat([words, count], 3)
        names = ("word_loss", "word_accuracy", "unigram_accuracy", "next_loss", "next_accuracy", "unrelated_share")
        return {"validation_loss": float(means[0] + means[3])} | dict(zip(names, means.tolist()))


def loss_and_right(logits: Any, targets: np.ndarray) -> tuple[float, float]:
    """The sum of the cross-entropies, and how many of the targets have the greatest logit."""
    loss = F.cross_entropy(logits, mt.asarray(targets, device=logits.device), reduction="sum").item()
    return loss, (logits.to("cpu").data.argmax(axis=-1) == targets).sum()


# --- a trained model at work ----------------------------------------------------------------------


def fill(model: BERT, tokenizer: WordPieces, text: str, top: int) -> list[list[tuple[str, float]]]:
    """For each [MASK] of a text the ``top`` most probable pieces, with their probabilities.

    Raises UserError for a text without a [MASK], or one too long for the model.
    """
    ids = [CLS, *tokenizer.encode_with_masks(text), SEP]
    places = [place for place, token in enumerate(ids) if token == MASK]
    if not places:
        raise UserError(f'there is no {SPECIAL[MASK]} in "{text}"; write it in the place of a word')
    check_length(ids, model)
    with mt.no_grad():
        hidden = model(mt.asarray([ids], device=model.words.weight.device))
        probabilities = F.softmax(model.word_logits(hidden[0, places])).to("cpu").data  # (masks, V)
    found = []
    for row in probabilities:
        best = np.argsort(-row[len(SPECIAL) :], kind="stable")[:top] + len(SPECIAL)
        found.append(list(zip(tokenizer.labels(best.tolist()), row[best].tolist())))
    return found


def sentences_to_fill(documents: Sequence[Document], tokenizer: WordPieces, longest: int) -> list[tuple[str, str]]:
    """Of each document one sentence of plain words, [MASK] in the place of its longest, and that
    word; short ones first.
    """
    found = []
    for document in documents:
        for sentence in document.sentences:
            words = sentence.split()
            hidden = max(words, key=len)
            text = " ".join(SPECIAL[MASK] if word is hidden else word for word in words)
            plain = re.fullmatch(r"[A-Z][A-Za-z, ]+[.?!]", sentence) and hidden.isalpha() and len(words) > 4
            if plain and len(tokenizer.encode(hidden)) == 1 and len(tokenizer.encode_with_masks(text)) + 2 <= longest:
                found.append((text, hidden.lower()))
                break
    return sorted(found, key=lambda pair: len(pair[0]))


def check_length(ids: Sequence[int], model: BERT) -> None:
    """Raise UserError for more tokens than the model has positions."""
    if len(ids) > model.config.max_length:
        raise UserError(
            f"the text has {len(ids)} tokens with [CLS] and [SEP], the model allows {model.config.max_length}; shorten it"
        )


def attention(model: BERT, tokenizer: WordPieces, text: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """What each token of a text looks at: (H, T, T) by layer, and the tokens; ``[MASK]`` in the
    text is one.
    """
    ids = [CLS, *tokenizer.encode_with_masks(text), SEP]
    check_length(ids, model)
    with mt.no_grad():
        _, seen = model(mt.asarray([ids], device=model.words.weight.device), need_weights=True)
    maps = {f"layer {number}": weights[0].to("cpu").numpy() for number, weights in enumerate(seen, start=1)}
    return maps, tokenizer.labels(ids)
