"""R-Drop: two passes over a batch, with different dropout, are to predict the same.

Liang et al., "R-Drop: regularized dropout for neural networks", 2021, arXiv:2106.14448, equation 4.

Letters: B sentences, T target positions, V vocabulary.
"""

from __future__ import annotations

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.encoder_decoder import EncoderDecoder

__all__ = ["r_drop_loss", "symmetric_divergence"]


def symmetric_divergence(logits: mt.Tensor, others: mt.Tensor) -> mt.Tensor:
    """``(KL(p || q) + KL(q || p)) / 2`` of two distributions, in nats: the sum of
    ``(p - q) (log p - log q) / 2`` over the last axis, which it takes away.
    """
    one, other = F.log_softmax(logits), F.log_softmax(others)
    return ((mt.exp(one) - mt.exp(other)) * (one - other)).sum(axis=-1) * 0.5


def r_drop_loss(
    model: EncoderDecoder,
    source: mt.Tensor,
    target_in: mt.Tensor,
    target_out: mt.Tensor,
    mask: mt.Tensor,
    alpha: float,
    divide_by: int,
) -> mt.Tensor:
    """The mean loss of two passes, plus ``alpha / 2`` times their `symmetric_divergence` at each
    real target token: half of the paper's, so that it has the size of a loss without R-Drop.

    All have 2 B rows, the two of a sentence one beside the other. divide_by: the real tokens of the
    B sentences.
    """
    c = model.config
    logits = model(source, target_in, mask)  # (2 B, T, V)
    smoothing = c.label_smoothing if model.training else 0.0
    total = F.cross_entropy(logits, target_out, ignore_index=c.pad_id, label_smoothing=smoothing, reduction="sum")
    pairs = logits.reshape(-1, 2, *logits.shape[1:])  # (B, 2, T, V)
    apart = symmetric_divergence(pairs[:, 0], pairs[:, 1])  # (B, T)
    real = (target_out[::2] != c.pad_id).astype(apart.dtype)
    return (total + (apart * real).sum() * alpha) / (2 * divide_by)
