"""What all encoder-decoder models share: the loss under teacher forcing, and decoding by search.

Letters: B sentences, S source and T target positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_mask, evaluating
from minitensor.models.configuration import Config
from minitensor.models.losses import IGNORED, per_target
from minitensor.models.sampling import check_choices
from minitensor.models.search import penalty, sample, search, starts

__all__ = ["EncoderDecoder", "TranslationConfig"]


@dataclass(frozen=True)
class TranslationConfig(Config):
    """What the configurations of all models for translation share."""

    vocab_size: int
    d_model: int = 128
    dropout: float = 0.1
    max_length: int = 256
    share_embeddings: bool = True
    tie_output: bool = True
    pad_id: int = 0
    start_id: int = 1
    stop_id: int = 2
    label_smoothing: float = 0.1

    def make_embedding(self):
        """A table whose rows, times sqrt(d_model), have elements of variance 1."""
        table = nn.Embedding(self.vocab_size, self.d_model, padding_idx=self.pad_id)
        table.weight.assign(mt.random.normal((self.vocab_size, self.d_model), std=self.d_model**-0.5))
        return table


class EncoderDecoder(nn.Module):
    """The base of a model that writes a target sequence while it looks at a source sequence.

    A model has ``config`` (with pad_id, start_id, stop_id, label_smoothing, max_length) and the
    three methods below.
    """

    config: Any
    # Of the length of a hypothesis and ``length_penalty``: what its log-probability is divided by.
    penalty = staticmethod(penalty)

    @property
    def n_read(self) -> int:
        """How many different tokens the target may have as it is read: 0 to ``n_read - 1``."""
        return self.config.vocab_size

    def forward(self, source, target, mask=None):
        """Logits (B, T, V) of the token after each target token.

        source (B, S), target (B, T), mask (B, S) of the source.
        """
        raise NotImplementedError

    def start(self, source, mask=None):
        """Encode the source; the state from which ``step`` goes on, one row per sentence."""
        raise NotImplementedError

    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next token, given each row's newest, ``ids``."""
        raise NotImplementedError

    def search_step(self, ids, state):
        """``step`` as a search sees it, which may rule out tokens; here the same."""
        return self.step(ids, state)

    def loss(self, source, target_in, target_out, mask=None, divide_by=None):
        """Label-smoothed cross-entropy per real target token (those that are not padding), in nats.

        target_in (B, T) starts with the start token, target_out (B, T) ends with the stop token.
        divide_by: default: the number of real target tokens, see `losses.per_target`. Smoothing is
        for training; a validation loss is the plain cross-entropy. The loss is 0 if all is padding;
        a model without a token for padding leaves out targets that are `losses.IGNORED`.
        """
        c = self.config
        ignored = IGNORED if c.pad_id is None else c.pad_id
        logits = self(source, target_in, mask)
        target_out = mt.asarray(target_out)
        smoothing = c.label_smoothing if self.training else 0.0
        total = F.cross_entropy(logits, target_out, ignore_index=ignored, label_smoothing=smoothing, reduction="sum")
        return per_target(total, target_out, divide_by, ignored)

    def generate(
        self, source, max_new_tokens=None, beam_size=1, length_penalty=None, mask=None, n_best=None, start_ids=None,
        temperature=0.0, top_k=None, top_p=None, generator=None, length_reward=0.0, patience=None, penalty=None,
    ) -> Any:  # fmt: skip
        """Target sequences, lists of ids without start and stop tokens; greedy for one beam.

        source (B, S), mask (B, S). max_new_tokens: default: 50 more than the source has (Vaswani et
        al. 2017, section 6.1); never more than the model's ``max_length``. n_best: this many
        hypotheses of the beam for each sentence; default: the best one, not in a list. start_ids:
        the token that each target starts with, such as that of a language; default: ``start_id``.
        If there are R of them, a multiple of B, the first R / B are for the first source, and so
        on, and each source is encoded once. temperature: above 0 draws each token, with ``top_k``,
        ``top_p`` and ``generator`` as in `search.sample`; target r, by ``start_ids``, draws from
        the stream r of the generator, so that ten of a source are ten different ones, or from the
        generator r of a list. length_penalty, length_reward, patience, penalty: of a beam, see
        `search.beam_search`; the last is by default the model's own, and another needs a
        length_penalty.

        Raises ValueError for another number of them, another shape than (R,), an id that is no
        token, and sources of no positions; TypeError for other start_ids than integers.
        """
        check_choices(
            temperature, top_k, top_p, beam_size, generator, None, length_reward, patience, penalty, length_penalty
        )
        if temperature > 0 and n_best not in (None, 1):
            raise ValueError("n_best is of a beam search: to draw several of each source, repeat its start_ids")
        c = self.config
        source = mt.asarray(source)
        if source.ndim > 1 and source.shape[0] and not source.shape[1]:
            raise ValueError(
                f"the sources have no positions, {source.shape}: give each a token, such as that of its end"
            )
        # On the CPU, where rows are looked at: a search waits for a GPU in any case.
        real = None if mask is None else check_mask(mt.asarray(mask).to("cpu"), source)
        if max_new_tokens is None:
            real = mt.ones(source.shape[:2], dtype=bool) if real is None else real
            max_new_tokens = real.data.sum(axis=1) + 50
        limit = np.minimum(max_new_tokens, c.max_length)
        with evaluating(self):
            if start_ids is None:
                if c.start_id is None:
                    raise ValueError("this model has no token to start with: set start_id in its configuration")
                start_ids = [c.start_id] * source.shape[0]
            start_ids = starts(start_ids)
            unknown = start_ids[(start_ids < 0) | (start_ids >= self.n_read)]
            if unknown.size:
                raise ValueError(f"start_ids has {unknown[0]}; this model reads the tokens 0 to {self.n_read - 1}")
            each = len(start_ids) // max(source.shape[0], 1)  # targets of a source
            if len(start_ids) != each * source.shape[0] or each < min(source.shape[0], 1):
                raise ValueError(f"{len(start_ids)} start_ids cannot be shared out among {source.shape[0]} sources")
            state = self.start(source, mask)
            if each > 1:
                state.reorder(np.arange(source.shape[0]).repeat(each))
                limit = limit if limit.ndim == 0 else limit.repeat(each)
            decoding = (self.search_step, state, start_ids, () if c.stop_id is None else c.stop_id, limit)
            if temperature > 0:
                drawn = sample(*decoding, temperature, top_k, top_p, generator)
                return drawn if n_best is None else [[ids] for ids in drawn]
            judged = self.penalty if penalty is None else penalty
            return search(*decoding, beam_size, length_penalty, n_best, judged, length_reward, patience)
