"""What all tasks of sentence pairs share: the loss of a batch, the loss per token of a corpus, and decoding many sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minitensor as mt
from models.encoder_decoder import EncoderDecoder
from toolkit.batches import Batch, Batches, Ids, pad_sources

__all__ = ["batch_loss", "decode", "loss_per_token"]

ROWS = 256  # hypotheses decoded at a time


def batch_loss(model: EncoderDecoder, batch: Batch, n_tokens: int, device: str) -> mt.Tensor:
    """The model's loss, summed over the tokens of a batch and divided by ``n_tokens``."""
    arrays = (batch.source, batch.target_in, batch.target_out, batch.source_mask)
    source, target_in, target_out, mask = (mt.asarray(array, device=device) for array in arrays)
    return model.loss(source, target_in, target_out, mask, n_tokens=n_tokens)


def loss_per_token(model: EncoderDecoder, batches: Batches, device: str) -> float:
    """The mean loss of all target tokens."""
    total = tokens = 0.0
    for batch in batches.epoch(0):
        total += batch_loss(model, batch, 1, device).item()
        tokens += batch.tokens
    return total / tokens


def decode(
    model: EncoderDecoder, ids: Sequence[Ids], device: str, max_new_tokens: int | None = None, beam: int = 1, **how: Any
) -> list[list[int]]:
    """What the model makes of each sentence, in their order; equally long ones share a batch. ``how`` goes to ``generate``."""
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    outputs: list[list[int]] = [[]] * len(ids)
    size = max(1, ROWS // beam)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        source, mask = (mt.asarray(array, device=device) for array in pad_sources([ids[index] for index in chosen]))
        found = model.generate(source, max_new_tokens, beam_size=beam, mask=mask, **how)
        for index, tokens in zip(chosen, found, strict=True):
            outputs[index] = tokens
    return outputs
