"""The page of an explanation: its numbers as JSON, in the order in which its stages are walked."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from minitensor.models.explain.capture import Array, Attention
from minitensor.pages import asset, document, packed

__all__ = ["page"]

HERE = "minitensor.models.explain"
COLUMNS = 64  # features of an embedding or a state that are shown
OF_A_HEAD = 16  # features of a query, a key, a value that are shown
LONGEST = 160  # letters of a heading
PIXELS = 224  # of a side of an image


def page(seen: Any) -> bytes:
    """One HTML file of an `explanation.Explanation`."""
    title = f"{seen.model}: {seen.title}"
    script = "".join(asset(name, HERE) for name in ("pictures.js", "layers.js", "stages.js", "page.js"))
    heading = title if len(title) <= LONGEST else f"{title[:LONGEST]} …"
    body = f'<main id="page"><h1>{escape(heading)}</h1><noscript>This page needs JavaScript.</noscript></main>'
    return document(heading, body, asset("page.css", HERE), script, data(seen))


def data(seen: Any) -> dict[str, Any]:
    """What the program of the page reads."""
    return {
        "model": seen.model,
        "kind": seen.kind,
        "title": seen.title,
        "tokens": seen.tokens,
        "target": seen.target,
        "stages": stages(seen),
        "steps": [
            {"context": s.context, "choice": s.choice, "logp": _number(s.log_probability), "top": _top(s.top)}
            for s in seen.steps
        ],
        "columns": seen.columns,
        "prompt": seen.about.get("prompt", 0),
        "forced": bool(seen.about.get("forced")),
        "plain": bool(seen.about.get("plain")),
        "at": [int(place) for place in seen.about.get("at", [])],
        "image": _image(seen),
        "grid": seen.grid,
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _top(top: list[tuple[str, float]]) -> list[list[Any]]:
    return [[word, round(share, 6)] for word, share in top]


def narrow(array: Array, most: int) -> Array:
    """At most ``most`` columns, taken at even distances; rows as they are."""
    size = array.shape[-1]
    return array if size <= most else array[..., np.linspace(0, size, most, endpoint=False).astype(int)]


def _even_then_odd(array: Array) -> Array:
    """As `narrow`, the columns of even numbers first: of position waves the sines, then cosines."""
    return np.concatenate([narrow(array[..., start::2], COLUMNS // 2) for start in (0, 1)], axis=-1)


# --- the stages -----------------------------------------------------------------------------------


def stages(seen: Any) -> list[dict[str, Any]]:
    """In the order of the computation: source, encoder, target, decoder, output, views of it."""
    first = "Image" if seen.image is not None else "Input" if seen.about.get("plain") else "Tokens"
    found: list[dict[str, Any]] = [{"type": "tokens", "title": first}]
    embedded = [_embedding(seen, one) for one in seen.embeddings]
    inner = _layers(seen)
    if seen.target:
        sides = ("source", "target")
        groups = [[one for one in embedded if one["side"] == side] for side in sides]
        halves = [[one for one in inner if one["side"] == side] for side in sides]
        found += [*groups[0], *halves[0], *groups[1], *halves[1]]
    else:
        found += [*embedded, *inner]
    if seen.steps:
        found.append({"type": "output", "title": "Logits, softmax, choice", "logits": _logits(seen)})
    if "values" in seen.about:
        values = [float(value) if np.isfinite(value) else None for value in seen.about["values"]]
        names = seen.about.get("value_names") or [f"output {n + 1}" for n in range(len(values))]
        found.append({"type": "values", "title": "Values", "values": values, "names": names})
    if seen.difference is not None:
        triangle = next((one for one in seen.attentions if one.causal and one.weights.shape[1] > 1), None)
        weights = None if triangle is None else packed(_hidden_as_nan(triangle).mean(axis=0))
        found.append(
            {"type": "sequential", "title": "Training and writing", "difference": seen.difference, "weights": weights}
        )
    if seen.beam is not None:
        found.append(_beam(seen))
    if seen.agreement is not None:
        found.append(_agreement(seen))
    return found


def _embedding(seen, one):
    side = "target" if seen.target and len(one.ids) == len(seen.target) and _is_target(seen, one) else "source"
    parts = [*one.parts.items(), *([("sum", one.total)] if len(one.parts) > 1 else [])]
    names = {"source": "of the source", "target": "of the target"} if seen.target else {"source": ""}
    return {
        "type": "embedding",
        "title": f"Vectors {names[side]}".strip(),
        "side": side,
        "parts": [
            {"name": name, "width": part.shape[1], "picture": packed(_even_then_odd(part))} for name, part in parts
        ],
    }


def _is_target(seen, one):
    return seen.about.get("given") is None or np.array_equal(one.ids, seen.about["given"])


def _side(seen, path, attention=None):
    if not seen.target:
        return "source"
    if attention is not None:
        return "source" if attention.side == "encoder self" else "target"
    return "source" if "encoder" in path.split(".")[0] else "target"


def _layers(seen: Any) -> list[dict[str, Any]]:
    """The recurrent layers, and the layers with attention, each with its parts in order."""
    layers: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(seen.recurrences):
        which = f"layer {one.layer + 1}" + (", from the end" if one.reverse else "")
        layers[f"recurrent {number}"] = {
            "type": "recurrent",
            "title": f"{_title(one.path) or 'Recurrent'}, {which}",
            "side": _side(seen, one.path),
            "reverse": one.reverse,
            "states": packed(narrow(one.states, COLUMNS)),
            "width": one.states.shape[1],
            "norms": [_number(value) for value in np.linalg.norm(one.states, axis=1)],
            "gates": [
                {"name": name, "mean": [_number(v) for v in gate.mean(axis=1)], "picture": packed(narrow(gate, COLUMNS))}
                for name, gate in one.gates.items()
            ],
        }  # fmt: skip
    for attention in seen.attentions:
        parent = attention.path.rpartition(".")[0]
        side = _side(seen, attention.path, attention)
        layer = layers.setdefault(f"{parent} {side}", _layer(parent, attention, side))
        layer["attentions"].append(_attention(seen, attention))
    for sub in seen.layers:
        for layer in [one for one in layers.values() if one.get("path") == sub.layer][:1]:
            layer["parts"].append(_part(sub))
    # The last layers of a recurrent decoder come behind its attention.
    return sorted(layers.values(), key=lambda one: one["side"] == "target") if seen.target else list(layers.values())


def _layer(parent, attention, side):
    title = _title(parent) if parent else _title(attention.path) or "Attention"
    return {"type": "layer", "title": title, "side": side, "path": parent, "attentions": [], "parts": []}


def _title(path: str) -> str:
    """``encoder.layers.0`` as "Encoder, layer 1"."""
    names = [name for name in path.replace("transformer.", "").split(".") if name != "layers"]
    words = [f"layer {int(name) + 1}" if name.isdigit() else SAID.get(name, name.replace("_", " ")) for name in names]
    said = ", ".join(words)
    return said[:1].upper() + said[1:]


SAID = {"lower": "decoder below attention", "upper": "decoder above attention"}  # of a Seq2Seq


def _hidden_as_nan(one: Attention) -> Array:
    return one.weights if one.allowed is None else np.where(one.allowed, one.weights, np.nan)


def _attention(seen, one):
    additive = one.query.shape[-1] == 1 and not one.query.any()
    crossing = one.side == "cross" and bool(seen.target)
    target = crossing or (one.side == "decoder self")
    found = {
        "path": one.path,
        "name": NAMES.get(one.side, "attention") if seen.target or not one.causal else "masked self-attention",
        "rows": "target" if target else "source",
        "columns": "source" if crossing or not target else "target",
        "weights": packed(_hidden_as_nan(one)),
        "masked": one.allowed is not None,
        "causal": one.causal,
        "scale": one.scale,
        "relative": None if one.bias is None or additive else packed(np.broadcast_to(one.bias, _scores(one))),
        "vectors": None,
    }
    if not additive:
        parts = (("queries", one.query), ("keys", one.key), ("values", one.value))
        found["vectors"] = [
            {"name": name, "width": x.shape[-1], "picture": packed(narrow(x, OF_A_HEAD))} for name, x in parts
        ]
    return found


NAMES = {
    "encoder self": "self-attention of the encoder",
    "decoder self": "masked self-attention of the decoder",
    "cross": "attention to the source",
    "self": "self-attention",
}


def _scores(one):
    return (one.bias.shape[0], *one.weights.shape[1:])


def _part(sub):
    found = {
        "name": sub.path.rpartition(".")[2].replace("_", " "),
        "path": sub.path,
        "norm_first": sub.norm_first,
        "before": [_number(v) for v in sub.before],
        "added": [_number(v) for v in sub.added],
        "after": [_number(v) for v in sub.after],
        "normed": None if sub.normed is None else [_number(v) for v in sub.normed],
    }
    if sub.hidden is not None:
        found["hidden"] = packed(narrow(sub.hidden, COLUMNS))
        found["hidden_width"] = sub.hidden.shape[1]
        found["active"] = _number(float((sub.hidden > 0).mean()))
    return found


# --- the views of the output ----------------------------------------------------------------------


def _logits(seen):
    rows = []
    for logits, step in zip(seen.logits, seen.steps, strict=True):
        rows.append({"largest": _number(float(logits.max())), "mean": _number(float(logits.mean())), "of": len(logits),
                     "chosen": _number(float(logits[step.id]))})  # fmt: skip
    return rows


def _beam(seen):
    beam = seen.beam
    nodes = [
        {"word": word, "parent": n.parent, "depth": n.depth, "kind": n.kind, "logp": _number(n.log_probability),
         "score": _number(n.score)}
        for n, word in zip(beam.nodes, seen.beam_words, strict=True)
    ]  # fmt: skip
    return {
        "type": "beam",
        "title": f"Beam of {beam.size}",
        "nodes": nodes,
        "best": beam.best(),
        "alpha": beam.length_penalty,
        "note": seen.beam_note,
    }


def _agreement(seen):
    found = seen.agreement
    return {
        "type": "agreement",
        "title": "Is attention what matters?",
        "sentence": found.sentence(),
        "short": found.short(),
        "effects": _table(found.effects),
        "attention": None if found.attention is None else _table(found.attention),
        "correlation": [_number(value) for value in found.correlation],
        "by_path": [[_title(path), _number(value)] for path, value in found.by_path.items()],
        "how": found.how,
        "unmeasured": bool(found.unmeasured),
    }


def _table(rows):
    """Rows of numbers as they are, None for NaN: few enough, and read by their digits."""
    return [[_number(value) for value in row] for row in rows]


def _image(seen):
    """Red, green and blue, each packed, or one channel."""
    if seen.image is None:
        return None
    image = seen.image if len(seen.image) in (1, 3) else seen.image[:1]
    step = max(1, -(-image.shape[-1] // PIXELS))
    return packed(image[:, ::step, ::step])
