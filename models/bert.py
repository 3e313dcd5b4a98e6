"""BERT, an encoder that sees the words on both sides (Devlin et al. 2019, arXiv:1810.04805).

    word + position + segment embeddings -> norm -> encoder -> hidden
    hidden -> MLM head, tied to the word embeddings -> logits of the masked words
    hidden of [CLS] -> pooler: tanh(W h + b) -> logits of the next sentence, or of the classes

Each head is there or not, by configuration. What differs from the encoder of `transformer.py`:
positions are learned, segments tell two sentences apart, embeddings are normalised rather than
scaled, activations are GELUs, and the feed-forward networks have no dropout inside. Reads and
writes the checkpoints of Hugging Face transformers, with whichever heads they have
(`bert_checkpoints.py`). Letters: B sequences, T positions, D model width, V vocabulary, C classes,
M masked words.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.bert_checkpoints import PRESETS, PublishedBERT, from_hugging_face, to_hugging_face
from minitensor.models.checks import evaluating, key_mask
from minitensor.models.classification import check_problem, classifier_loss
from minitensor.models.configuration import check_dropouts
from minitensor.models.initial import draw_normal
from minitensor.models.losses import IGNORED, per_target
from minitensor.models.published_config import PublishedConfig
from minitensor.nn.transformer import ACTIVATIONS

__all__ = ["BERT", "IGNORED", "BERTConfig"]


@dataclass(frozen=True)
class BERTConfig(PublishedConfig):
    """Hyper-parameters; the defaults are bert-base-uncased without its heads for pre-training."""

    vocab_size: int = 30522
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int = 3072
    max_length: int = 512
    n_segments: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None  # before the classifier; default: ``dropout``
    activation: str = "gelu"
    eps: float = 1e-12
    init_std: float = 0.02
    pad_id: int | None = 0
    pooler: bool = True
    mlm_head: bool = False
    tie_mlm: bool = True  # whether the last weights of that head are the embeddings
    nsp_head: bool = False
    n_classes: int = 0  # 0: no head for classification
    problem_type: str | None = None  # what the classes are, see `classification.py`
    # What else a config.json said, for saving.
    extras: dict = field(default_factory=dict, compare=False, repr=False)

    presets = PRESETS
    reads, writes = staticmethod(from_hugging_face), staticmethod(to_hugging_face)

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)
        check_problem(self)
        if (self.nsp_head or self.n_classes) and not self.pooler:
            raise ValueError("nsp_head and n_classes need the pooler, whose output they read: set pooler=True")


class BERT(PublishedBERT):
    """Embeddings, encoder and heads; see the head of this file.

    ids (B, T) are integers; ``mask`` (B, T) is True at real tokens (default: all); ``segments``
    (B, T) are 0 for the first sentence with its [CLS] and [SEP], 1 for the second (default: all 0).
    A model from `from_pretrained` has the heads whose weights the file has, and those asked for by
    ``mlm_head=True``, ``n_classes=3`` and the like.
    """

    config_class = BERTConfig

    def __init__(self, config):
        super().__init__(config)
        c = config
        self.words = nn.Embedding(c.vocab_size, c.d_model, padding_idx=c.pad_id)
        self.positions = nn.LearnedPositionalEncoding(c.max_length, c.d_model)
        self.segments = nn.Embedding(c.n_segments, c.d_model)
        self.norm = nn.LayerNorm(c.d_model, c.eps)
        self.dropout = nn.Dropout(c.dropout)
        shape = (c.n_layers, c.d_model, c.n_heads, c.d_ff, c.dropout, c.activation)
        dropouts = dict(attention_dropout=c.attention_dropout, ff_dropout=0.0)
        self.encoder = nn.TransformerEncoder(*shape, eps=c.eps, **dropouts)
        self.pooler = nn.Linear(c.d_model, c.d_model) if c.pooler else None
        self.mlm = MaskedWordHead(c, self.words.weight if c.tie_mlm else None) if c.mlm_head else None
        self.nsp = nn.Linear(c.d_model, 2) if c.nsp_head else None
        self.classifier = nn.Linear(c.d_model, c.n_classes) if c.n_classes else None
        self.classifier_dropout = nn.Dropout(c.dropout if c.classifier_dropout is None else c.classifier_dropout)
        draw_normal(self, c.init_std)  # as in the paper's code

    # --- what it computes -------------------------------------------------------------------------

    def forward(self, ids, mask=None, segments=None, need_weights=False):
        """Hidden states (B, T, D); with ``need_weights`` also each layer's attention (B, H, T, T).

        Raises ValueError for shapes that do not fit and for more positions than ``max_length``,
        IndexError for ids and segments that the tables do not have.
        """
        ids = mt.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"ids must be (sequences, positions), got shape {ids.shape}")
        segments = mt.zeros(ids.shape, dtype=np.int32, device=ids.device) if segments is None else mt.asarray(segments)
        if segments.shape != ids.shape:
            raise ValueError(f"segments {segments.shape} must have the shape of the ids {ids.shape}")
        keys = key_mask(mask, ids)  # (B, 1, 1, T)
        x = self.positions(self.words(ids)) + self.segments(segments)  # (B, T, D)
        return self.encoder(self.dropout(self.norm(x)), keys, need_weights=need_weights)

    def attention_maps(self, ids, mask=None, segments=None):
        """Attention probabilities (B, H, T, T) by name: "encoder.0.self", "encoder.1.self", ..."""
        with evaluating(self):
            _, seen = self(ids, mask, segments, need_weights=True)
        return {f"encoder.{i}.self": weights for i, weights in enumerate(seen)}

    def pooled(self, hidden):
        """What the pooler makes of the first position, (B, T, D) to (B, D): tanh(W h_0 + b)."""
        return mt.tanh(self._head("pooler")(hidden[:, 0]))

    def pool(self, ids, mask=None, segments=None, how="mean"):
        """One vector per sequence (B, D): the mean of its hidden states, or with "cls" the first.

        Padding is left out.

        The mean is how Reimers and Gurevych (2019, arXiv:1908.10084, section 3) found sentence
        embeddings to be best.
        """
        if how not in ("mean", "cls"):
            raise ValueError(f'how must be "mean" or "cls", got {how!r}')
        hidden = self.forward(ids, mask, segments)
        if how == "cls":
            return hidden[:, 0]
        if mask is None:
            return hidden.mean(axis=1)
        real = mt.asarray(mask)[:, :, None]  # (B, T, 1)
        return mt.where(real, hidden, 0.0).sum(axis=1) / mt.maximum(real.sum(axis=1), 1).astype(hidden.dtype)

    def word_logits(self, hidden):
        """Logits of the word at each position: (..., D) to (..., V)."""
        return self._head("mlm")(hidden)

    def next_logits(self, hidden):
        """Logits (B, 2) of states (B, T, D): the second sentence followed the first, or not."""
        return self._head("nsp")(self.pooled(hidden))

    def class_logits(self, hidden):
        """Logits (B, C) of the classes, of states (B, T, D); dropout acts on what is pooled."""
        return self._head("classifier")(self.classifier_dropout(self.pooled(hidden)))

    def _head(self, name):
        """The head, or a ValueError that says how to get it."""
        head = getattr(self, name)
        if head is None:
            how = {
                "pooler": "pooler=True",
                "mlm": "mlm_head=True",
                "nsp": "nsp_head=True",
                "classifier": "n_classes=...",
            }
            raise ValueError(f"this BERT has no {name}: make it with {how[name]} in its configuration")
        return head

    def loss(self, ids, mask=None, segments=None, words=None, unrelated=None, labels=None, divide_by=None):
        """The sum of the losses of all targets that are given, each a mean.

        Cross-entropies in nats, but for labels of another `problem_type`.

        words (B, T): the word that stood at each masked position, `IGNORED` at all others; the mean
        is over the masked words. unrelated (B,): 0 if the second sentence followed the first, 1 if
        it did not. labels (B,): classes or `IGNORED`, or what else `classification.py` takes. The
        mean of both is over the sequences.

        divide_by: default: the numbers of masked words and of sequences that count, see
        `losses.per_target`; a pair ``(words, sequences)`` if there are targets of both kinds.
        """
        if words is None and unrelated is None and labels is None:
            raise ValueError("BERT.loss needs targets: words, unrelated or labels")
        of_sequences = unrelated is not None or labels is not None
        n_words, n_sequences = _divisors(divide_by, words is not None, of_sequences)
        hidden = self.forward(ids, mask, segments)
        terms = []
        if words is not None:
            logits, targets = self._masked(hidden, words)
            terms.append(per_target(F.cross_entropy(logits, targets, reduction="sum"), targets, n_words))
        if unrelated is not None:
            logits, unrelated = self.next_logits(hidden), mt.asarray(unrelated)
            terms.append(per_target(F.cross_entropy(logits, unrelated, reduction="sum"), unrelated, n_sequences))
        if labels is not None:
            logits, problem = self.class_logits(hidden), self.config.problem_type
            terms.append(classifier_loss(logits, labels, problem, "sequences", n_sequences, IGNORED))
        return sum(terms[1:], terms[0])

    def _masked(self, hidden, words):
        """Logits (M, V) and targets (M,) of the masked words alone, one position in seven.

        If the words are a NumPy array, no device is waited for.
        """
        words = mt.asarray(words)
        if words.shape != hidden.shape[:2]:
            raise ValueError(f"words {words.shape} must have the shape of the ids {hidden.shape[:2]}")
        flat = words.to("cpu").numpy().reshape(-1)  # (B T,)
        places = np.flatnonzero(flat != IGNORED)  # (M,)
        chosen = hidden.reshape((-1, hidden.shape[-1]))[mt.asarray(places, device=hidden.device)]  # (M, D)
        return self.word_logits(chosen), mt.asarray(flat[places], device=hidden.device)

    def with_classifier(self, n_classes, problem_type=None):
        """A model of these weights to fine-tune, with one head, new, for ``n_classes`` classes."""
        heads = dict(mlm_head=False, nsp_head=False, n_classes=n_classes, problem_type=problem_type)
        names = ("id2label", "label2id")  # of the old classes
        extras = {name: value for name, value in self.config.extras.items() if name not in names}
        made = BERT(replace(self.config, **heads, extras=extras))
        shared = {name: value for name, value in self.state_dict().items() if not name.startswith("classifier.")}
        made.astype(self.words.weight.dtype).load_state_dict(shared, strict=False)
        return made.to(self.words.weight.device)


class MaskedWordHead(nn.Module):
    """``E norm(activation(W x + b)) + c``: (..., D) to (..., V).

    embeddings: E, which may be those of the words; default: its own.
    """

    def __init__(self, config, embeddings=None):
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, config.eps)
        self.bias = nn.Parameter(mt.zeros(config.vocab_size))
        shape = (config.vocab_size, config.d_model)
        self.embeddings = nn.Parameter(mt.zeros(shape)) if embeddings is None else embeddings
        self.activation = config.activation

    def forward(self, x):
        """(..., D) to (..., V)."""
        return F.linear(self.norm(ACTIVATIONS[self.activation](self.dense(x))), self.embeddings, self.bias)


def _divisors(divide_by, of_words, of_sequences):
    """``divide_by`` as a pair: for the targets of words, and for those of sequences."""
    if isinstance(divide_by, (tuple, list)):
        n_words, n_sequences = divide_by
        return n_words, n_sequences
    if divide_by is not None and of_words and of_sequences:
        raise ValueError(
            f"BERT.loss: divide_by = {divide_by!r} for targets of words and of sequences, whose means are over "
            "different numbers: write divide_by=(words, sequences)"
        )
    return divide_by, divide_by
