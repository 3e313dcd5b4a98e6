"""Shared by all tasks of sentence pairs: the loss of a batch, the loss per token of a corpus, and
decoding and scoring many sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.checks import evaluating
from minitensor.models.encoder_decoder import EncoderDecoder
from toolkit.batches import SENTENCES, Batch, Batches, Ids, Source, Units, pad_sources
from toolkit.console import and_more, note
from toolkit.r_drop import divergence
from toolkit.samples import Epoch
from toolkit.teachers import Teachers
from toolkit.tokenizer import PAD

__all__ = ["PairTask", "batch_loss", "cut_off", "decode", "log_probabilities", "loss_per_token", "tell_cut_off"]

ROWS = 256  # hypotheses decoded at a time
TOKENS = 4096  # of hypotheses that are scored at a time


def batch_loss(
    model: EncoderDecoder,
    batch: Batch,
    divide_by: int,
    device: str,
    r_drop: float = 0.0,
    teachers: Teachers | None = None,
) -> mt.Tensor:
    """The model's loss, summed over the tokens of a batch and divided by ``divide_by``; of two
    copies of each sentence with the weight ``r_drop`` of `toolkit.r_drop`; with ``teachers`` partly
    theirs, see `toolkit.teachers`.
    """
    arrays = [batch.source, batch.target_in, batch.target_out, batch.source_mask]
    if batch.copies > 1:
        arrays = [np.repeat(array, batch.copies, axis=0) for array in arrays]
    source, target_in, target_out, mask = (mt.asarray(array, device=device) for array in arrays)
    if batch.copies == 1 and teachers is None:
        return model.loss(source, target_in, target_out, mask, divide_by=divide_by)
    c = model.config
    logits, real = model(source, target_in, mask), target_out != c.pad_id
    smoothing = c.label_smoothing if model.training else 0.0
    total = F.cross_entropy(logits, target_out, ignore_index=c.pad_id, label_smoothing=smoothing, reduction="sum")
    if teachers is not None:
        once = (array[:: batch.copies] for array in (source, target_in, mask))
        total = teachers.blend(total, logits, teachers.probabilities(*once), real)
    if batch.copies > 1:
        total = total + divergence(logits, real) * r_drop
    return total / (batch.copies * divide_by)


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
    r_drop: float = 0.0  # see `batch_loss`
    teachers: Teachers | None = None

    def epoch(self, number: int) -> Epoch[Batch]:
        return self.batches.epoch(number)

    def loss(self, batch: Batch, divide_by: int) -> mt.Tensor:
        return batch_loss(self.model, batch, divide_by, self.settings.device, self.r_drop, self.teachers)

    def validate(self) -> dict[str, float]:
        """The loss per target token of the pairs to validate by."""
        return {"validation_loss": loss_per_token(self.model, self.validation, self.settings.device)}


def decode(
    model: EncoderDecoder,
    ids: Sequence[Source],
    device: str,
    longest: int,
    beam: int = 1,
    n_best: int = 1,
    rows: int = ROWS,
    **how: Any,
) -> list[list[list[int]]]:
    """The output for each sentence, ids or features, in their order: ``n_best`` lists of ids, the
    best first.

    longest: the tokens that the model was trained for, including STOP; an output of that length has
    no STOP, see `tell_cut_off`. Equally long sentences share a batch, of ``rows`` hypotheses.
    ``how`` goes to ``generate``.
    """
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    outputs: list[list[list[int]]] = [[]] * len(ids)
    size = max(1, rows // beam)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        source, mask = (mt.asarray(array, device=device) for array in pad_sources([ids[index] for index in chosen]))
        found = model.generate(source, longest, beam_size=beam, mask=mask, n_best=n_best, **how)
        for index, tokens in zip(chosen, found, strict=True):
            outputs[index] = tokens
    return outputs


def log_probabilities(
    model: EncoderDecoder, source_ids: Sequence[Source], target_ids: Sequence[Ids], longest: int, device: str
) -> np.ndarray:
    """``log P(target | source)`` of each pair, in nats: the sum over the tokens of the target and
    its STOP; float64.

    A target of ``longest`` tokens was cut off before its STOP (see `decode`), which does not count.
    """
    found = np.zeros(len(source_ids))
    batches = Batches(source_ids, [ids[: longest - 1] for ids in target_ids], max(TOKENS, longest), seed=0)
    with evaluating(model):
        for batch in batches.epoch(0):
            expected = batch.target_out.copy()
            for row, index in enumerate(batch.indices):
                if len(target_ids[index]) >= longest:
                    expected[row, longest - 1] = target_ids[index][longest - 1]
            source, target_in, mask, target_out = (
                mt.asarray(array, device=device)
                for array in (batch.source, batch.target_in, batch.source_mask, expected)
            )
            lost = F.cross_entropy(model(source, target_in, mask), target_out, ignore_index=PAD, reduction="none")
            found[batch.indices] = -lost.to("cpu").numpy().sum(axis=1, dtype=np.float64)
    return found


def cut_off(outputs: Sequence[Sequence[Ids]], longest: int) -> list[bool]:
    """For each of the ``outputs`` of `decode` whether one reaches the limit without a STOP."""
    return [max(map(len, found)) >= longest for found in outputs]


def tell_cut_off(
    outputs: Sequence[Sequence[Ids]],
    longest: int,
    where: str,
    numbers: Sequence[int] | None = None,
    units: Units = SENTENCES,
) -> None:
    """Say on stderr which outputs of `decode` are `cut_off`; ``where`` and its number name a
    sentence.
    """
    cut = [number for number, is_cut in zip(numbers or range(1, len(outputs) + 1), cut_off(outputs, longest)) if is_cut]
    if cut:
        shown = ", ".join(map(str, cut[:5])) + and_more(cut, 5)
        note(
            f"the output for {where} {shown} is cut off at {longest} {units.piece}s, the most that the model was trained for"
            " (see train --max-length)"
        )
