"""Distillation: a model learns what trained ones think of each next token, beside the tokens of the
references.

    loss = (1 - w) CE(reference) + w CE(q),    q = the mean of the teachers' probabilities

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv:1503.02531;
for translation Kim and Rush, "Sequence-level knowledge distillation", 2016, arXiv:1606.07947,
section 3.1 (word-level); of several teachers Freitag, Al-Onaizan and Sankaran, "Ensemble
distillation for neural machine translation", 2017, arXiv:1702.01802. The result is one model, of
any architecture, and needs no teacher any more.

Letters: B sentences, T target positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.encoder_decoder import EncoderDecoder

__all__ = ["Teachers"]


class Teachers:
    """Trained models of the same sub-words, in evaluation mode, and their share in the loss.

    prints: a fingerprint of the weights of each, by its folder.
    """

    def __init__(
        self, models: Sequence[EncoderDecoder], weight: float, prints: Mapping[str, str] | None = None
    ) -> None:
        self.models, self.weight, self.prints = models, weight, dict(prints or {})

    def probabilities(self, source: mt.Tensor, target_in: mt.Tensor, mask: mt.Tensor) -> mt.Tensor:
        """The mean probability of each next token, (B, T, V), without a graph."""
        with mt.no_grad():
            total = F.softmax(self.models[0](source, target_in, mask))
            for model in self.models[1:]:
                total = total + F.softmax(model(source, target_in, mask))
            return total / len(self.models)

    def blend(self, total: mt.Tensor, logits: mt.Tensor, wanted: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
        """The loss, summed over the tokens: ``total``, that by the references, and the
        cross-entropy of ``logits`` to the probabilities ``wanted`` at ``real`` tokens.

        wanted (B, T, V); logits (B, T, V), or (2 B, T, V) of two copies of each sentence, one
        beside the other, and real as many rows of T.
        """
        copies = len(logits) // len(wanted)
        if copies > 1:
            wanted = wanted[np.repeat(np.arange(len(wanted)), copies)]
        soft = F.cross_entropy(logits, wanted, reduction="none")  # (copies B, T)
        return total * (1.0 - self.weight) + (soft * real.astype(soft.dtype)).sum() * self.weight
