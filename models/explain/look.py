"""``explain``: one input on its way through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.bert import BERT
from minitensor.models.checks import evaluating
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.explain.agreement import Agreement, agreement
from minitensor.models.explain.arguments import check_model, check_reading
from minitensor.models.explain.beam import search_tree
from minitensor.models.explain.capture import array_of
from minitensor.models.explain.encoders import read_any, read_bert, read_vit
from minitensor.models.explain.explanation import Explanation, Step
from minitensor.models.explain.families import read_language_model, read_translator
from minitensor.models.explain.gates import recurrences
from minitensor.models.explain.reading import Reading, log_softmax, on_device, picked, stop_ids
from minitensor.models.explain.residuals import sub_layers
from minitensor.models.explain.stages import embeddings, patches
from minitensor.models.language_model import LanguageModel
from minitensor.models.recurrent import SequenceRegressor
from minitensor.models.search import penalty as usual_penalty
from minitensor.models.vit import ViT

__all__ = ["explain"]

Names = Callable[[list[int]], Sequence[str]] | Sequence[str] | None
TOLD = 12  # words of an answer that is told in a sentence
TOP = 8  # the most probable entries of a row that are kept


@mt.no_grad
def explain(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    tokens: Names = None,
    classes: Sequence[str] | None = None,
    positions: Any = None,
    beam: int = 1,
    length_penalty: float | None = None,
    max_new_tokens: int | None = None,
    occlusion: bool = True,
) -> Explanation:
    """Let one input go through ``model``, and keep what it computes on the way.

    inputs: of a translator (`Transformer`, `Seq2Seq`, `T5`, `Marian`) and of a language model the
    ids of one source or text, (S,) or (1, S); of `BERT` those of a text; of `ViT` an image (C, S,
    S); of any other Module its argument, or a tuple of them, with a batch of one. What that returns
    is taken for logits (1, V) or (1, T, V), and of one number for each, V = 1, for these numbers.

    target: the answer to look at, ids without start and stop tokens; default: the model's own, by
    greedy or beam search of ``beam`` hypotheses, up to ``max_new_tokens`` (default: of a text 8).
    With a target and a beam the tree is still that of the model's own answer, and says so.
    length_penalty: of the beam; default: that of the model's ``generate``.

    tokens: what ids are called: a list by id, or a function from a list of ids to a list of names,
    such as ``tokenizer.labels``; default: the numbers. classes: likewise the names of the classes.
    positions: of BERT, where words are predicted; default: everywhere. occlusion: whether to leave
    out each input once, as many forward passes as there are inputs; of a single input, of several
    arguments, and where nothing is chosen, none is.

    Evaluation mode, without recording; the model is left as it was. Attention is what
    ``F.scaled_dot_product_attention`` and ``F.packed_attention`` compute, which the modules of
    ``nn`` call: one that a module puts together from products and softmax by itself is not seen.

    Raises ValueError for more than one input at a time and for an argument that says nothing of
    this model or beside the others, TypeError for ids and positions that are no integers and for
    names that are no list and no function, FloatingPointError if the model answers NaN, or infinity
    of which softmax makes NaN.
    """
    classes = list(classes) if isinstance(classes, Iterator) else classes
    check_model(model, target, tokens, classes, positions, beam, length_penalty, max_new_tokens)
    if length_penalty is None:
        length_penalty = 0.6 if isinstance(model, EncoderDecoder) else 0.0  # as their generate has it
    reading = _read(model, inputs, target, positions, beam, length_penalty, max_new_tokens)
    check_reading(type(model).__name__, reading, tokens, classes)
    name = _namer("tokens", tokens)
    attentions = reading.seen.merged()
    _check_outputs(reading, inputs)
    if classes is not None:
        reading.names = "classes"
    told = name if reading.names == "tokens" else _namer("classes", classes)
    table = log_softmax(reading.logits)
    steps = [
        _step(table[t], int(reading.chosen[t]), _said(reading.contexts[t], name, reading), told)
        for t in range(len(table))
    ]
    made = Explanation(
        model=type(model).__name__,
        kind=reading.kind,
        tokens=[_said(one, name, reading) for one in reading.source],
        target=[_said(one, name, reading) for one in reading.target],
        embeddings=[patches(model, reading.seen)] if isinstance(model, ViT) else embeddings(reading.seen),
        attentions=attentions,
        layers=sub_layers(reading.seen),
        recurrences=recurrences(reading.seen),
        logits=reading.logits,
        steps=steps,
        agreement=_agreement(reading, attentions) if occlusion else None,
        image=reading.image,
        grid=reading.grid,
        columns=reading.names,
        about=reading.about,
    )
    if "values" in reading.about:
        made.about["value_names"] = [_said(one, name, reading) for one in reading.contexts]
    if reading.sequential is not None:
        made.sequential = reading.sequential()
        made.difference = float(np.abs(made.sequential - table).max())
    if beam > 1:
        made.beam = _beam(model, reading, beam, length_penalty, max_new_tokens)
        made.beam_words = [_say(name, node.token) for node in made.beam.nodes]
        if target is not None:
            made.beam_note = f"The tree is of the model's own answer ({_own(made)}), not of the given target."
    return made


def _read(model, inputs, target, positions, beam, length_penalty, max_new_tokens) -> Reading:
    if isinstance(model, EncoderDecoder):
        return read_translator(model, inputs, target, beam, length_penalty, max_new_tokens)
    if isinstance(model, LanguageModel):
        return read_language_model(model, inputs, target, beam, length_penalty, max_new_tokens)
    if isinstance(model, BERT):
        return read_bert(model, inputs, positions)
    if isinstance(model, ViT):
        return read_vit(model, inputs)
    reading = read_any(model, inputs)
    each = reading.logits.shape[-1] == 1 and len(reading.logits)
    if each or isinstance(model, SequenceRegressor):  # numbers, of which none is chosen
        reading.about["values"] = reading.logits[:, 0].tolist() if each else reading.logits[0].tolist()
        reading.contexts = reading.contexts if each and len(reading.logits) > 1 else []
        reading.logits, reading.chosen, reading.without = reading.logits[:0], reading.chosen[:0], None
    return reading


def _check_outputs(reading, inputs):
    """Refuse NaN, and logits of which softmax makes NaN: with +infinity, or -infinity alone."""
    found = reading.logits
    is_nan = np.isnan(found).any() or np.isnan(reading.about.get("values", ())).any()
    if not is_nan and (not found.size or np.isfinite(found.max(axis=-1)).all()):
        return
    said = "NaN" if is_nan else "infinite, so that softmax makes NaN of them"
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    if any(not np.isfinite(array_of(one)).all() for one in parts if not isinstance(one, dict)):
        raise FloatingPointError(f"the model's outputs are {said}: there is NaN or infinity in what it was given")
    raise FloatingPointError(f"the model's outputs are {said}: its weights are spoilt, or its training diverged")


def _namer(what: str, names: Names) -> Callable[[list[int]], Sequence[str]]:
    if names is None:
        return lambda ids: [str(one) for one in ids]
    if callable(names):
        return lambda ids: _named(what, names(ids), len(ids))
    listed = list(names)
    return lambda ids: [listed[one] if one < len(listed) else str(one) for one in ids]


def _named(what, found, count):
    """What a function gave as names, if it is a list of ``count``."""
    if isinstance(found, (str, bytes)) or not hasattr(found, "__getitem__") or len(found) != count:
        raise TypeError(
            f"explain: {what} is a function that gives {found!r:.60} for a list of {count}: it must give a list of "
            "names, one for each, as tokenizer.labels does"
        )
    return found


def _say(name, token):
    return str(name([int(token)])[0])


def _said(one, name, reading):
    """The name of an id; what is no id is its own."""
    return one if isinstance(one, str) else str(one) if reading.about.get("plain") else _say(name, one)


def _step(row, choice, context, told):
    order = np.argsort(-row, kind="stable")[:TOP]
    top = [(_say(told, one), float(np.exp(row[one]))) for one in order]
    return Step(context, choice, _say(told, choice), float(row[choice]), top)


def _agreement(reading: Reading, attentions) -> Agreement | None:
    if reading.without is None:
        return None
    effects = picked(reading.logits, reading.chosen)[:, None] - reading.without()  # (T, S)
    maps: dict[str, Any] = {}
    for number, attention in enumerate(attentions):
        rows = reading.rows_of(attention)
        if rows is not None and rows.shape == effects.shape:
            maps[attention.path if attention.path not in maps else f"{attention.path} {number}"] = rows
    return agreement(effects, maps, reading.how, reading.unmeasured)


def _own(made):
    words = [made.beam_words[node] for node in made.beam.best()]
    return " ".join(words[:TOLD] + ["…"] * (len(words) > TOLD)) or "an empty one"


def _beam(model, reading, size, length_penalty, max_new_tokens):
    stops = stop_ids(model.config)
    with evaluating(model):
        if isinstance(model, EncoderDecoder):
            source = np.array(reading.source)
            limit = min(len(source) + 50 if max_new_tokens is None else max_new_tokens, model.config.max_length)
            step, penalty = model.search_step, model.penalty
            state, start = model.start(on_device(model, source[None])), model.config.start_id
        else:
            prompt = np.array(reading.source[: reading.about["prompt"]])
            limit = reading.about["limit"]
            step, penalty = model.step, usual_penalty
            state, start = model.start([prompt]), int(prompt[-1])
        return search_tree(step, state, start, stops, limit, size, length_penalty, penalty)
