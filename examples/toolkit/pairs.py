"""Shared by all tasks of sentence pairs: the loss of a batch, the loss per token of a corpus, and
decoding many sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minitensor as mt
from minitensor.models.encoder_decoder import EncoderDecoder
from toolkit.batches import Batch, Batches, Ids, Source, pad_sources
from toolkit.console import and_more, note
from toolkit.samples import Epoch

__all__ = ["PairTask", "batch_loss", "decode", "loss_per_token", "tell_cut_off"]

ROWS = 256  # hypotheses decoded at a time


def batch_loss(model: EncoderDecoder, batch: Batch, divide_by: int, device: str) -> mt.Tensor:
    """The model's loss, summed over the tokens of a batch and divided by ``divide_by``."""
    arrays = (batch.source, batch.target_in, batch.target_out, batch.source_mask)
    source, target_in, target_out, mask = (mt.asarray(array, device=device) for array in arrays)
    return model.loss(source, target_in, target_out, mask, divide_by=divide_by)


def loss_per_token(model: EncoderDecoder, batches: Batches, device: str) -> float:
    """The mean loss of all target tokens."""
    total = tokens = 0.0
    for batch in batches.epoch(0):
        total += batch_loss(model, batch, 1, device).item()
        tokens += batch.tokens
    return total / tokens


class PairTask:
    """What `toolkit.trainer` asks of a task of pairs that is in ``batches``."""

    model: EncoderDecoder
    batches: Batches
    validation: Batches
    settings: Any

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.batches.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        return batch_loss(self.model, batch, divide_by, self.settings.device)

    def validate(self) -> dict[str, float]:
        """The loss per target token of the pairs to validate by."""
        return {"validation_loss": loss_per_token(self.model, self.validation, self.settings.device)}


def decode(
    model: EncoderDecoder, ids: Sequence[Source], device: str, longest: int, beam: int = 1, n_best: int = 1, **how: Any
) -> list[list[list[int]]]:
    """The output for each sentence, ids or features, in their order: ``n_best`` lists of ids, the
    best first.

    longest: the tokens that the model was trained for, including STOP; an output of that length has
    no STOP, see `tell_cut_off`. Equally long sentences share a batch. ``how`` goes to ``generate``.
    """
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    outputs: list[list[list[int]]] = [[]] * len(ids)
    size = max(1, ROWS // beam)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        source, mask = (mt.asarray(array, device=device) for array in pad_sources([ids[index] for index in chosen]))
        found = model.generate(source, longest, beam_size=beam, mask=mask, n_best=n_best, **how)
        for index, tokens in zip(chosen, found, strict=True):
            outputs[index] = tokens
    return outputs


def tell_cut_off(
    outputs: Sequence[Sequence[Ids]], longest: int, where: str, numbers: Sequence[int] | None = None
) -> None:
    """Say on stderr which outputs of `decode` reach the limit without a STOP; ``where`` and its
    number name a sentence.
    """
    cut = [
        number
        for number, found in zip(numbers or range(1, len(outputs) + 1), outputs)
        if max(map(len, found)) >= longest
    ]
    if cut:
        shown = ", ".join(map(str, cut[:5])) + and_more(cut, 5)
        note(
            f"the output for {where} {shown} is cut off at {longest} tokens, the most that the model was trained for"
            " (see train --max-length)"
        )
