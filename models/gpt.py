"""GPT-2, a decoder without an encoder.

    ids -> token + position embeddings -> blocks -> last norm -> logits of the next token

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". The output layer shares
the token embeddings, activations are GELUs (their approximation by tanh), dropout acts behind the
embeddings, on the attention weights and behind each sublayer, not inside the feed-forward networks.
Reads and writes the checkpoints of Hugging Face transformers (see `gpt_checkpoints.py`).

Letters: B sequences, T positions, S positions held and new, D model width, H heads, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.engine.settings import integer
from minitensor.models.checks import check_ids, check_mask, check_rows, evaluating
from minitensor.models.classification import classifier_loss
from minitensor.models.configuration import check_dropouts
from minitensor.models.gpt_checkpoints import PRESETS, PublishedGPT, from_hugging_face, to_hugging_face
from minitensor.models.language_model import LanguageModel, left_padded
from minitensor.models.losses import IGNORED, per_target
from minitensor.models.published_config import PublishedConfig
from minitensor.nn.attention import with_weights

__all__ = ["GPT", "IGNORED", "GPTClassifier", "GPTConfig"]


@dataclass(frozen=True)
class GPTConfig(PublishedConfig):
    """Hyper-parameters; the defaults are gpt2's, the smallest of the paper."""

    vocab_size: int = 50257
    max_length: int = 1024
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int | None = None  # default: four times d_model
    dropout: float = 0.1  # behind each sublayer
    attention_dropout: float = 0.1
    embedding_dropout: float = 0.1
    activation: str = "gelu_tanh"
    eps: float = 1e-5
    tie_output: bool = True
    stop_id: int | tuple[int, ...] | None = None  # what `generate` stops at by default
    # What else a config.json said, for saving.
    extras: dict = field(default_factory=dict, compare=False, repr=False)

    presets = PRESETS
    reads, writes = staticmethod(from_hugging_face), staticmethod(to_hugging_face)

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)


class Block(nn.Module):
    """Causal self-attention and the feed-forward network, each ``x + dropout(f(norm(x)))``."""

    torch_names = nn.TransformerEncoderLayer.torch_names

    def __init__(self, c):
        self.dropout = nn.Dropout(c.dropout)
        self.attention = nn.MultiHeadAttention(c.d_model, c.n_heads, c.attention_dropout)
        self.feed_forward = nn.FeedForward(c.d_model, c.d_ff or 4 * c.d_model, 0.0, c.activation)
        self.norm1, self.norm2 = nn.LayerNorm(c.d_model, c.eps), nn.LayerNorm(c.d_model, c.eps)

    def forward(self, x, mask=None, cache=None, need_weights=False):
        """``(x, weights)``: (B, T, D), and the attention (B, H, T, S), None if it is not needed.

        cache: a KeyValueCache.
        """
        how = dict(mask=mask, is_causal=True, cache=cache)
        y, weights = with_weights(self.attention, self.norm1(x), need_weights, **how)
        x = x + self.dropout(y)
        return x + self.dropout(self.feed_forward(self.norm2(x))), weights


class Stack(nn.Module):
    """The blocks, and the last norm."""

    def __init__(self, c):
        self.layers = [Block(c) for _ in range(integer("GPT", "n_layers", c.n_layers, least=1))]
        self.norm = nn.LayerNorm(c.d_model, c.eps)

    def forward(self, x, mask=None, cache=None, need_weights=False):
        """``(x, weights)``: (B, T, D), and a list of the blocks'.

        cache: from `init_cache`; ``x`` is then the new positions alone.
        """
        caches = [None] * len(self.layers) if cache is None else cache.layers
        x, mask = self.layers[0].attention.admit(x, mask, caches[0])
        seen = []
        for block, held in zip(self.layers, caches, strict=True):
            x, weights = block(x, mask, held, need_weights)
            seen.append(weights)
        return self.norm(x), seen

    def init_cache(self, batch):
        """What the blocks keep between steps, for ``batch`` rows without positions."""
        return nn.EncoderCache([nn.KeyValueCache() for _ in self.layers], batch)


class GPT(PublishedGPT, LanguageModel):
    """Embeddings, blocks and output layer; see the head of this file.

    ids (B, T) are integers; ``mask`` (B, T) is True at real tokens (default: all), with padding on
    either side: a token's position counts the real ones before it.
    """

    config_class = GPTConfig

    def __init__(self, config):
        c = self.config = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = nn.Embedding(c.max_length, c.d_model)
        self.dropout = nn.Dropout(c.embedding_dropout)
        self.transformer = Stack(c)
        self.output = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_output:
            self.output.weight = self.tokens.weight
        self._draw()

    def _draw(self):
        """Weights from N(0, 0.02**2), biases 0 (section 2.3).

        Those that add to the residual are divided by sqrt(2 n_layers).
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                adds = name.endswith(("attention.out.weight", "linear2.weight"))
                nn.init.normal_(parameter, std=0.02 * (2 * self.config.n_layers) ** -0.5 if adds else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    # --- what it computes -------------------------------------------------------------------------

    def forward(self, ids, mask=None):
        """Logits (B, T, V) of the token after each one.

        Raises ValueError for shapes that do not fit and for more positions than ``max_length``,
        IndexError for unknown ids.
        """
        return self.output(self.states(ids, mask))

    def states(self, ids, mask=None):
        """States (B, T, D) behind the last norm, of which `forward` makes the logits; raises as
        that.
        """
        ids = mt.asarray(ids)
        return self._hidden(ids, check_mask(mask, ids))[0]

    def _hidden(self, ids, real, need_weights=False):
        """``(x, weights)``: (B, T, D), and the attention of each block, (B, H, T, T) or None."""
        check_ids(ids, self.config.max_length)
        keys, positions = None, mt.arange(ids.shape[1], device=ids.device)  # (T,)
        if real is not None:
            keys = real[:, None, None]  # (B, 1, 1, T)
            positions = mt.maximum(mt.cumsum(real.astype(np.int64), axis=1) - 1, 0)  # (B, T)
        return self.transformer(self._embed(ids, positions), keys, need_weights=need_weights)

    def _embed(self, ids, positions):
        """(B, T) ids at (T,) or (B, T) positions to (B, T, D)."""
        return self.dropout(self.tokens(ids) + self.positions(positions))

    def loss(self, ids, targets=None, mask=None, divide_by=None):
        """Cross-entropy of the next tokens, in nats per token.

        targets (B, T): the token that follows each one, or `IGNORED`; default: the ids shifted left
        by one. What ``mask`` says to be padding neither predicts nor is predicted. divide_by:
        default: the number of targets that count, see `losses.per_target`.
        """
        ids, targets = mt.asarray(ids), None if targets is None else mt.asarray(targets)
        real = check_mask(mask, ids)
        if targets is None:
            if ids.ndim != 2 or ids.shape[1] < 2:
                raise ValueError(
                    f"ids of shape {ids.shape} hold nothing to predict: give at least two tokens, or targets"
                )
            targets = ids if real is None else mt.where(real, ids, IGNORED)
            ids, targets, real = ids[:, :-1], targets[:, 1:], None if real is None else real[:, :-1]
        elif targets.shape != ids.shape:
            raise ValueError(f"targets {targets.shape} must have the shape of the ids {ids.shape}")
        if real is not None:
            targets = mt.where(real, targets, IGNORED)
        logits = self.output(self._hidden(ids, real)[0])
        total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        return per_target(total, targets, divide_by, IGNORED)

    def attention_maps(self, ids, mask=None):
        """Attention probabilities (B, H, T, T) by name: "decoder.0.self", "decoder.1.self", ..."""
        with evaluating(self):
            ids = mt.asarray(ids)
            _, seen = self._hidden(ids, check_mask(mask, ids), need_weights=True)
        return {f"decoder.{i}.self": weights for i, weights in enumerate(seen)}

    def with_classifier(self, n_classes, pooling="last"):
        """A `GPTClassifier` of these weights to fine-tune; its head is new."""
        made = GPTClassifier(self.config, n_classes, pooling).astype(self.tokens.weight.dtype)
        made.gpt.load_state_dict(self.state_dict())
        return made.to(self.tokens.weight.device)

    # --- generating -------------------------------------------------------------------------------

    @mt.no_grad
    def start(self, prompts):
        """The state after all but the last token of each prompt, an array; `step` takes that."""
        ids, padding = left_padded([prompt[:-1] for prompt in prompts])  # (B, T - 1), (B,)
        state = DecodingState(self.transformer.init_cache(len(prompts)), padding, self.tokens.weight.device)
        if ids.size:
            self._advance(ids, state)
        return state

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next token, given each row's newest, ``ids``."""
        y = self._advance(np.asarray(ids)[:, None], state)  # (rows, 1, D)
        return F.log_softmax(self.output(y[:, -1]))

    def _advance(self, ids, state):
        """Feed new tokens (rows, T), an array, to the state; returns (rows, T, D)."""
        ahead = state.cache.length + np.arange(ids.shape[1])
        positions = np.maximum(ahead - state.padding[:, None], 0)  # (rows, T)
        keys = None
        if state.padding.any():
            real = np.arange(state.cache.length + ids.shape[1]) >= state.padding[:, None]  # (rows, S)
            keys = mt.asarray(real[:, None, None], device=state.device)  # (rows, 1, 1, S)
        ids, positions = (mt.asarray(x, device=state.device) for x in (ids, positions))
        return self.transformer(self._embed(ids, positions), keys, state.cache)[0]


class GPTClassifier(nn.Module):
    """Classes of texts: a GPT with a linear layer on the state of each text's last token, which is
    the only one that has seen all of it; or on the mean of the states.

    Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.2,
    has the last. C: classes.
    """

    def __init__(self, config, n_classes, pooling="last"):
        if pooling not in ("last", "mean"):
            raise ValueError(f'pooling must be "last" or "mean", got {pooling!r}')
        self.pooling = pooling
        self.gpt = GPT(config)
        self.classifier = nn.Linear(config.d_model, integer("GPTClassifier", "n_classes", n_classes, least=1))
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, ids, mask=None):
        """Logits (B, C) of ids (B, T); ``mask`` as for `GPT`. Raises ValueError for a row without a
        real token.
        """
        x = self.gpt.states(ids, mask)  # (B, T, D)
        if mask is None:
            return self.classifier(x.mean(axis=1) if self.pooling == "mean" else x[:, -1])
        mask = mt.asarray(mask)
        check_rows(mask)  # on a GPU too: the mean of nothing is NaN
        if self.pooling == "mean":
            weights = mask.astype(x.dtype)[:, :, None]  # (B, T, 1)
            return self.classifier((x * weights).sum(axis=1) / weights.sum(axis=1))
        last = (mask * mt.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(axis=1)  # (B,)
        return self.classifier(x[mt.arange(len(last), device=mask.device), last])

    def loss(self, ids, mask=None, labels=None, divide_by=None):
        """Cross-entropy of the classes ``labels`` (B,), in nats per text; see `classifier_loss` for
        labels of other kinds and for ``divide_by``.
        """
        return classifier_loss(self(ids, mask), labels, inputs="texts", divide_by=divide_by)


class DecodingState:
    """Keys and values of all layers, with one row per text; see `search.py`."""

    def __init__(self, cache, padding, device):
        self.cache = cache
        self.padding = padding  # (rows,) how many positions of left padding each row has
        self.device = device

    def reorder(self, rows):
        """Keep these rows, in this order; one may be kept several times, or dropped."""
        self.cache.reorder(rows)
        self.padding = self.padding[rows]
