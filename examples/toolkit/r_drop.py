"""R-Drop: two passes over a batch, with different dropout, are to predict the same.

Liang et al., "R-Drop: regularized dropout for neural networks", 2021, arXiv:2106.14448, equation 4.

Letters: B sentences, T target positions, V vocabulary.
"""

from __future__ import annotations

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.encoder_decoder import EncoderDecoder

__all__ = ["r_drop_loss"]


def r_drop_loss(
    model: EncoderDecoder,
    source: mt.Tensor,
    target_in: mt.Tensor,
    target_out: mt.Tensor,
    mask: mt.Tensor,
    alpha: float,
    divide_by: int,
) -> mt.Tensor:
    """The mean loss of two passes, plus ``alpha / 2`` times their symmetric divergence at each
    real target token: half of the paper's, so that it has the size of a loss without R-Drop.

    All have 2 B rows, the two of a sentence one beside the other. divide_by: the real tokens of the
    B sentences.
    """
    c = model.config
    logits = model(source, target_in, mask)  # (2 B, T, V)
    smoothing = c.label_smoothing if model.training else 0.0
    total = F.cross_entropy(logits, target_out, ignore_index=c.pad_id, label_smoothing=smoothing, reduction="sum")
    apart = F.symmetric_kl_div(logits.reshape(-1, 2, *logits.shape[1:]))  # of (B, 2, T, V): (B, T)
    real = (target_out[::2] != c.pad_id).astype(apart.dtype)
    return (total + (apart * real).sum() * alpha) / (2 * divide_by)
