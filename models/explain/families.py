"""How each family of models is read: translators, language models, and the rest in `encoders`.

Letters: S source positions, T target positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitensor.models.checks import evaluating
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.explain.capture import Array, Attention, array_of
from minitensor.models.explain.reading import (
    Reading,
    changed_inputs,
    deletions,
    log_softmax,
    on_device,
    one_row,
    picked,
    read,
    stop_ids,
)
from minitensor.models.language_model import LanguageModel
from minitensor.models.seq2seq import Seq2Seq

__all__ = ["read_language_model", "read_translator"]

USUAL_LENGTH = 8  # tokens that a text is continued by


def read_translator(
    model: EncoderDecoder, source: Any, target: Any, beam: int, length_penalty: float, max_new_tokens: int | None
) -> Reading:
    """An encoder-decoder: under teacher forcing of its own answer, or of ``target``."""
    source = one_row(source, "source")
    stops = stop_ids(model.config)
    batch = on_device(model, source[None])
    if target is None:
        found = model.generate(batch, max_new_tokens, beam, length_penalty)[0]
        limit = min(len(source) + 50 if max_new_tokens is None else max_new_tokens, model.config.max_length)
        ended = len(found) < limit
    else:
        found, ended = [int(token) for token in one_row(target, "target")], True
        found = found[:-1] if found and found[-1] in stops else found
    start = model.config.start_id
    if start is None:
        raise ValueError("this model has no token to start with: set start_id in its configuration")
    out = np.array([*found, *(stops[:1] if ended else ())], dtype=np.int64)
    given = np.array([start, *out[:-1]], dtype=np.int64)
    seen, logits = read(model, batch, on_device(model, given[None]))
    rows = array_of(logits)[0]
    if ended and target is None and len(stops) > 1:  # which of them it was
        out[-1] = max(stops, key=lambda stop: rows[-1, stop])
    label_sides(seen.attentions, seen)
    made = Reading("translation", list(source), list(given), seen, rows, out, list(given))
    made.about["given"], made.about["forced"] = given, target is not None
    made.rows_of = lambda one: one.weights.mean(axis=0) if one.side == "cross" else None
    made.sequential = lambda: _forced(model, lambda: model.start(batch), given)
    if len(source) > 1:
        made.how = "hiding each source token" if not isinstance(model, Seq2Seq) else "leaving out each source token"
        made.without = lambda: _without_source(model, source, given, out)
    return made


def label_sides(attentions: list[Attention], seen: Any) -> None:
    """Say of each attention of an encoder-decoder whom it looks at."""
    crossing = {call.path for call in seen.calls if _is_cross(call)}
    for one in attentions:
        decoding = one.causal or "decoder" in one.path
        one.side = "cross" if one.path in crossing else "decoder self" if decoding else "encoder self"


def _is_cross(call):
    memory = call.kwargs.get("memory", call.args[1] if len(call.args) > 1 else None)
    return type(call.module).__name__.endswith("Attention") and memory is not None


def _forced(model, start, given):
    """Log P (T, V) of the tokens that are given one after the other, as in decoding."""
    with evaluating(model):
        state = start()
        return np.stack([array_of(model.step(np.array([token]), state))[0] for token in given])


def _without_source(model, source, given, out):
    """Log P (T, S) of the answer, each source token hidden in turn."""
    size = len(source)

    def target(rows):
        return on_device(model, np.broadcast_to(given, (rows, len(given))).copy())

    if isinstance(model, Seq2Seq):  # its sources end where their padding begins
        shorter = deletions(source)
        found = changed_inputs(model, shorter, lambda x: array_of(model(x, target(x.shape[0]))))
    else:
        masks = ~np.eye(size, dtype=bool)
        sources = np.broadcast_to(source, (size, size)).copy()

        def run(mask):
            rows = on_device(model, sources[: mask.shape[0]])
            return array_of(model(rows, target(mask.shape[0]), mask))

        found = changed_inputs(model, masks, run)
    return picked(found, out).T


def read_language_model(
    model: LanguageModel, ids: Any, target: Any, beam: int, length_penalty: float, max_new_tokens: int | None
) -> Reading:
    """A text, and how it goes on: by the model's own answer, or by ``target``."""
    ids = one_row(ids, "text")
    room = max(0, model.config.max_length - len(ids))
    wanted = min(USUAL_LENGTH, room) if max_new_tokens is None else max_new_tokens
    if beam > 1 and wanted < 1:
        raise ValueError(f"explain: a beam needs at least one new token behind the {len(ids)} given, and there is none")
    if beam > 1 and wanted > room:
        raise ValueError(f"explain: {wanted} new tokens do not fit: behind {len(ids)} there are {room} positions left")
    if target is None:
        new = model.generate(ids[None], wanted, beam_size=beam, length_penalty=length_penalty)[0] if wanted else []
    else:
        new = list(one_row(target, "target"))
    whole = np.array([*ids, *new], dtype=np.int64)
    seen, output = read(model, on_device(model, whole[None]))
    logits = array_of(output[0] if isinstance(output, tuple) else output)[0]  # (T, V)
    chosen = np.array([*whole[1:], int(logits[-1].argmax())], dtype=np.int64)
    stops = stop_ids(model.config)
    if beam > 1 and target is None and len(new) < wanted and stops:  # the beam ended here
        chosen[-1] = max(stops, key=lambda stop: logits[-1, stop])
    for one in seen.attentions:
        one.side = "self"
    made = Reading("next words", list(whole), [], seen, logits, chosen, list(whole))
    made.about.update(prompt=len(ids), limit=wanted, forced=target is not None)
    made.rows_of = lambda one: one.weights.mean(axis=0)
    made.sequential = lambda: _forced(model, lambda: model.start([whole[:1]]), whole)
    if len(whole) > 1:
        made.how = "leaving out each token before"
        made.without = lambda: _without_before(model, whole, chosen)
    return made


def _without_before(model, whole, chosen) -> Array:
    """Log P (T, T) of the choices, each token before them left out; NaN from themselves on."""

    def run(ids):
        output = model(ids)
        return log_softmax(array_of(output[0] if isinstance(output, tuple) else output))

    found = changed_inputs(model, deletions(whole), run)  # (S, T - 1, V)
    effects = np.full((len(whole), len(whole)), np.nan)
    for t in range(1, len(whole)):
        effects[t, :t] = found[:t, t - 1, chosen[t]]
    return effects
