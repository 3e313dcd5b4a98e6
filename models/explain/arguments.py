"""Which arguments of ``explain`` say something of which model; the others are refused.

            target  tokens  classes  positions  beam  length_penalty   max_new_tokens
    writes  yes     yes     -        -          yes   beside a beam    yes, but beside a target
                                                                       only with a beam
    BERT    -       yes     classes  words      -     -                -
    ViT     -       -       classes  -          -     -                -
    others  -       of ids  of rows  -          -     -                -

Writers are `Transformer`, `Seq2Seq`, `T5`, `Marian`, `GPT` and `RecurrentLanguageModel`. A BERT
uses ``classes`` if it has a head for them and none for words, ``positions`` if it has one for
words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from minitensor import nn
from minitensor.engine.messages import a_kind
from minitensor.engine.settings import integer
from minitensor.models.bert import BERT
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.explain.reading import Reading
from minitensor.models.language_model import LanguageModel
from minitensor.models.vit import ViT

__all__ = ["check_model", "check_reading", "writes"]


def writes(model: Any) -> bool:
    """Whether the model answers with a text, token by token."""
    return isinstance(model, (EncoderDecoder, LanguageModel))


def check_model(
    model: Any,
    target: Any,
    tokens: Any,
    classes: Any,
    positions: Any,
    beam: Any,
    length_penalty: Any,
    max_new_tokens: Any,
) -> None:
    """Refuse what says nothing of this kind of model, or nothing beside the other arguments."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"explain takes a Module, got {type(model).__name__}")
    beam, name = integer("explain", "beam", beam, least=1), type(model).__name__
    if max_new_tokens is not None:
        integer("explain", "max_new_tokens", max_new_tokens, least=0)
    if not writes(model):
        given = {"target": target, "beam": beam if beam > 1 else None, "length_penalty": length_penalty,
                 "max_new_tokens": max_new_tokens}  # fmt: skip
        for what, value in given.items():
            _need(value is None, f"{what} is for models that write a text, and {name} does not: leave it out")
    _need(
        beam > 1 or length_penalty is None,
        "length_penalty weighs the hypotheses of a beam, and there is none: give beam=5 too, or leave it out",
    )
    _need(
        beam > 1 or target is None or max_new_tokens is None,
        "max_new_tokens is of the model's own answer, and beside a target that is searched only with a beam: "
        "leave one of the two out, or give beam=5 too",
    )
    for what, names in (("tokens", tokens), ("classes", classes)):
        _check_names(what, names)
    if isinstance(model, ViT):
        _need(tokens is None, f"tokens are names of ids, and {name} is given an image: leave them out")
    _need(positions is None or isinstance(model, BERT), f"positions are for BERT, not for {name}: leave them out")
    if isinstance(model, BERT):
        _need(
            positions is None or model.mlm is not None,
            "positions are where words are predicted, and this BERT has no head for words: leave them out, or build "
            "it with mlm_head=True",
        )
    if classes is not None:
        _check_classes(model, name)


def _check_names(what: str, names: Any) -> None:
    """Refuse what is no list of names by id and no function: a dict, a set. A text is a list of its
    characters.
    """
    is_list = isinstance(names, Iterable) and not isinstance(names, (bytes, Mapping, Set))
    if names is not None and not callable(names) and not is_list:
        raise TypeError(
            f"explain: {what} is {a_kind(names)}; write a list of names by id, or a function from a list of "
            "ids to a list of names, such as tokenizer.labels"
        )


def _check_classes(model: nn.Module, name: str) -> None:
    why = "classes are names of the classes that a model chooses from, and"
    _need(not writes(model), f"{why} {name} writes a text: leave them out, tokens names its words")
    if isinstance(model, BERT):
        _need(model.mlm is None, f"{why} this BERT predicts words: leave them out, tokens names its words")
        _need(
            model.classifier is not None or model.nsp is not None,
            f"{why} this BERT has no head for them: leave them out, or build it with n_classes",
        )
    if isinstance(model, ViT):
        _need(
            model.classifier is not None,
            f"{why} this {name} has no head for them: leave them out, or build it with n_classes",
        )


def check_reading(name: str, reading: Reading, tokens: Any, classes: Sequence[str] | None) -> None:
    """Refuse names for which the pass through a model of the class ``name`` found no use."""
    if tokens is not None:
        _need(
            not reading.about.get("plain"),
            f"tokens are names of ids (1, T), and the input of this {name} is other numbers: leave them out",
        )
    if classes is None:
        return
    why = "classes are names of outputs that are chosen from"
    _need("values" not in reading.about, f"{why}, and {name} answers numbers: leave them out")
    _need(len(reading.logits), f"{why}, and what {name} returns is no logits (1, V) or (1, T, V): leave them out")
    size = reading.logits.shape[-1]
    if not callable(classes):
        _need(len(classes) == size, f"classes has {len(classes)} names, and {name} chooses from {size} classes")


def _need(holds: Any, reason: str) -> None:
    if not holds:
        raise ValueError(f"explain: {reason}")
