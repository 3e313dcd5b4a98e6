"""A translator as one HTML file that works without a network: weights, sub-words and search inside,
in plain JavaScript; and the page that asks a server instead.

    arithmetic.js     products, norms, softmax; unpacking the weights
    transformer.js    the Transformer            seq2seq.js    the recurrent models
    search.js         greedy and beam            tokenizer.js  text to sub-words and back
    translator.js     all of these together      form.js       what one sees and types into
    page.js           the page that computes     served.js     the page that asks
    blank.js          what is no text
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from minitensor.pages import document
from toolkit.browser.weights import FORMS, pack
from toolkit.tokenizer import LONGEST, PAD, SPECIAL, START, STOP
from toolkit.translation import RECURRENT_ONLY, TRANSFORMER_ONLY, PairSettings
from toolkit.translator import Translator

__all__ = ["ENGINE", "FORMS", "data", "page", "script", "translating_page"]

HERE = Path(__file__).parent
ENGINE = ("blank.js", "arithmetic.js", "transformer.js", "seq2seq.js", "search.js", "tokenizer.js", "translator.js")


def script(*names: str) -> str:
    """The text of these files, one behind the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def page(translator: Translator, languages: tuple[str, str], example: str, form: str = "int8") -> bytes:
    """The page of a trained translator, from the first of ``languages`` to the second.

    example: the text that it shows first. form: of the weights, see `weights.FORMS`. Raises
    UserError for weights that the form cannot hold.
    """
    return translating_page(languages, data(translator, languages, example, form), *ENGINE, "form.js", "page.js")


def translating_page(languages: tuple[str, str], contents: dict[str, Any], *scripts: str, asks: bool = False) -> bytes:
    """A page of the program ``scripts``, which finds ``contents`` as ``DATA``; ``asks``: it may ask
    its own server.
    """
    heading = f"{languages[0]} to {languages[1]}"
    body = f'<main id="page"><h1>{escape(heading)}</h1><noscript>This page needs JavaScript.</noscript></main>'
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return document(heading, body, style, script(*scripts), contents, asks=asks)


def data(translator: Translator, languages: tuple[str, str], example: str, form: str = "int8") -> dict[str, Any]:
    """What the program of the page reads as ``DATA``."""
    weights, shared = pack(translator.model, form)
    settings, count = translator.settings, translator.model.num_parameters()
    what = "a Transformer" if settings.arch == "transformer" else f"a recurrent network ({settings.arch.upper()})"
    return {
        "source": languages[0],
        "target": languages[1],
        "about": f"{what} of {count:,} parameters, as {form}",
        "example": example,
        "config": _config(settings),
        "tokenizer": _tokenizer(translator),
        "weights": weights,
        "shared": shared,
    }


def _config(s: PairSettings) -> dict[str, Any]:
    """What the models and the search have to know."""
    shared = {"arch": s.arch, "start": START, "stop": STOP, "longest": s.max_length, "width": s.d_model}
    if s.arch == "transformer":
        return shared | {"layers": [s.layers, s.decoder_depth], "heads": s.heads, "normFirst": s.pre_norm, "eps": 1e-5}
    own = {"layers": s.layers, "hidden": s.hidden, "attention": s.attention, "inputFeeding": s.input_feeding}
    return shared | own | {"cell": s.arch}


def _tokenizer(translator: Translator) -> dict[str, Any]:
    """The tokens by their ids, and the merges in the order in which they were learned."""
    model = json.loads(translator.tokenizer.to_json())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {"tokens": translator.tokenizer.tokens(), "merges": merges, "special": len(SPECIAL), "stretch": LONGEST}
