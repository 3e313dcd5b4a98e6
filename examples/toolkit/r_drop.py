"""R-Drop: two passes over a batch, with different dropout, are to predict the same.

Liang et al., "R-Drop: regularized dropout for neural networks", 2021, arXiv:2106.14448, equation 4.

Letters: B sentences, T target positions, V vocabulary.
"""

from __future__ import annotations

import minitensor as mt
import minitensor.nn.functional as F

__all__ = ["divergence"]


def divergence(logits: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    """The symmetric divergence of two copies of each sentence, summed over its ``real`` tokens.

    logits (2 B, T, V), real (2 B, T), the two of a sentence one beside the other. Added to the sum
    of both losses and halved with it, it has half of the weight of the paper's alpha: a loss then
    has the size of one without R-Drop.
    """
    apart = F.symmetric_kl_div(logits.reshape(-1, 2, *logits.shape[1:]))  # of (B, 2, T, V): (B, T)
    return (apart * real[::2].astype(apart.dtype)).sum()
