"""What the heads of a translating Transformer look at, and the model without some of them.

A head's output reaches the model through its own columns of the projection behind the heads, so
that it is removed in a copy of the weights, without a word changed in the model:

    y = [head_1 ... head_H] W^T + b        zero:  the columns of head h become 0
                                           mean:  and b becomes b + W_h mean(head_h)

Zero is what Michel, Levy and Neubig 2019, "Are Sixteen Heads Really Better than One?",
arXiv:1905.10650, put in the place of a head; its mean leaves what the head says of no input in
particular, and takes the rest.

Letters: N sentences, H heads, T queries, S keys, K features of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from toolkit.batches import Batch

import minitensor as mt
import minitensor.nn.functional as F
from claims.aligned import Corpus, Sentence, score
from minitensor import nn
from minitensor.models.checks import evaluating
from minitensor.models.transformer import Transformer
from minitensor.nn.functional.watching import watching_attention

__all__ = [
    "PLACES",
    "Looks",
    "attentions",
    "does",
    "full_name",
    "habits",
    "kind_of",
    "looks",
    "name_of",
    "take_apart",
    "without",
]

NO_PLACE = -1
PLACES = ("previous", "same", "next", "first", "last", "noun", "translated")  # where a head may look
ELSEWHERE = "elsewhere"  # a head that is named after none of them
MOSTLY = 0.5  # a head whose mean weight on a place is above this is named after it


@dataclass(frozen=True)
class Looks:
    """One attention on all sentences: weights (N, H, T, S), what the heads say (N, H, T, K), and
    which queries are real (N, T).
    """

    weights: np.ndarray
    output: np.ndarray
    real: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """What each head says in the mean of all real queries, (H, K)."""
        return self.output.transpose(0, 2, 1, 3)[self.real].mean(axis=0)  # (N, T, H, K) to (real, H, K)


def attentions(model: nn.Module) -> dict[str, nn.MultiHeadAttention]:
    """The attentions of a model by path, in the order of their definition."""
    return {path: module for path, module in model.named_modules() if isinstance(module, nn.MultiHeadAttention)}


def looks(model: Transformer, batch: Batch) -> dict[str, Looks]:
    """What each attention does on a batch, by path."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def watch(query: Any, key: Any, value: Any, how: dict[str, Any], output: Any) -> None:
        weights = F.attention_weights(query, key, **how)
        seen.append((mt.asarray(weights).numpy(), mt.asarray(output).numpy()))

    with evaluating(model), watching_attention(watch):
        model(batch.source, batch.target_in, batch.source_mask)
    real = {"encoder": batch.source_mask, "decoder": batch.target_out != 0}
    paths = attentions(model)  # they run in the order in which they are defined
    return {path: Looks(*found, real[path.partition(".")[0]]) for path, found in zip(paths, seen, strict=True)}


def without(
    model: Transformer, removed: Mapping[str, Sequence[int]], means: Mapping[str, np.ndarray] | None = None
) -> Transformer:
    """A copy of the model without some heads, by the path of their attention.

    means: (H, K) by path, what stands in the place of a removed head; default: zero.
    """
    changed = copy.deepcopy(model)
    for path, heads in removed.items():
        attention = attentions(changed)[path]
        weight, bias = attention.out.weight.numpy().copy(), attention.out.bias.numpy().copy()  # (D, H K), (D,)
        for head in heads:
            columns = slice(head * attention.d_head, (head + 1) * attention.d_head)
            if means is not None:
                bias += weight[:, columns] @ means[path][head]
            weight[:, columns] = 0
        attention.out.weight.assign(weight)
        attention.out.bias.assign(bias)
    return changed


def take_apart(model: Transformer, corpus: Corpus) -> dict[str, Any]:
    """Of each head what it looks at and what is scored without it, set to zero and to its mean; of
    each attention the scores with a single head, and with none.
    """
    batch = corpus.batch(corpus.test)
    seen = looks(model, batch)
    usual = looks(model, corpus.batch(corpus.train[: len(corpus.test)]))
    means = {path: look.means for path, look in usual.items()}
    heads, layers = [], []
    for path, attention in attentions(model).items():
        every = range(attention.n_heads)
        done = habits(path, seen[path], corpus.test)
        alone = [score(without(model, {path: [n for n in every if n != head]}), batch) for head in every]
        layers.append({"path": path, "alone": alone, "none": score(without(model, {path: every}), batch)})
        for head in every:
            zero, mean = (score(without(model, {path: [head]}, by), batch) for by in (None, means))
            heads.append({"path": path, "head": head, "habits": done[head], "zero": zero, "mean": mean})
    return {"heads": heads, "layers": layers}


# --- what they look at ----------------------------------------------------------------------------


def habits(path: str, look: Looks, sentences: Sequence[Sentence]) -> list[dict[str, float]]:
    """For each head the mean weight on some places, its entropy in nats, and ``sharpness``, the
    mean of the largest weight (the confidence of Voita et al. 2019, arXiv:1905.09418).

    A mean is over the real queries that have such a place. The places are the previous position,
    the same and the next; the first; the last, which is that of the end of the English sentence;
    ``translated``, the word that the written one is the translation of (attention from French to
    English); ``noun``, the one that the word goes with (inside the English sentence).
    """
    real = look.real
    own = np.where(real, np.arange(real.shape[1]), NO_PLACE)  # (N, T)
    places = {"previous": own - 1, "same": own, "first": np.where(real, 0, NO_PLACE)}
    if not path.endswith("self_attention"):  # there the future is hidden
        ends = np.array([len(one.english) for one in sentences])[:, None]  # (N, 1)
        following = np.where(real & (own < ends), own + 1, NO_PLACE)
        places |= {"next": following, "last": np.where(real, ends, NO_PLACE)}
        cross = path.endswith("cross_attention")
        places["translated" if cross else "noun"] = _linked(sentences, real.shape, cross)
    shares = {name: _share(look.weights, keys) for name, keys in places.items()}
    rows = look.weights.transpose(0, 2, 1, 3)[real].astype(np.float64)  # (real, H, S)
    shares["entropy"] = -(rows * np.log(np.maximum(rows, 1e-12))).sum(axis=-1).mean(axis=0)
    shares["sharpness"] = rows.max(axis=-1).mean(axis=0)
    return [{name: float(share[head]) for name, share in shares.items()} for head in range(look.weights.shape[1])]


def _linked(sentences: Sequence[Sentence], shape: tuple[int, ...], cross: bool) -> np.ndarray:
    """Keys (N, T): of each written word the one that it translates (``cross``), or of each English
    word the noun that its translation agrees with.
    """
    keys = np.full(shape, NO_PLACE)
    for row, sentence in zip(keys, sentences, strict=True):
        for place, (link, *others) in enumerate(sentence.needs):
            if cross:
                row[place] = link
            elif others:
                row[link] = others[0]
    return keys


def _share(weights: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The mean weight (H,) on keys (N, T), over those that there are."""
    there = (keys != NO_PLACE) & (keys < weights.shape[-1])
    chosen = np.where(there, keys, 0)[:, None, :, None]  # (N, 1, T, 1)
    found = np.take_along_axis(weights, chosen, axis=-1)[..., 0]  # (N, H, T)
    return found.transpose(0, 2, 1)[there].mean(axis=0)


def kind_of(path: str) -> str:
    """Which kind an attention is: "encoder", "decoder" or "cross"."""
    return "cross" if path.endswith("cross_attention") else path.partition(".")[0]


def name_of(path: str) -> str:
    """An attention for a reader: ``"cross 2"`` of layer 2."""
    return f"{kind_of(path)} {int(path.split('.')[2]) + 1}"


def full_name(head: dict[str, Any]) -> str:
    """A head for a reader: ``"cross 2, head 1"``."""
    return f"{name_of(head['path'])}, head {head['head'] + 1}"


def does(head: dict[str, Any]) -> str:
    """The place that a head looks at most, if it is there with more than half of its weight;
    otherwise `ELSEWHERE`.
    """
    name = max((name for name in PLACES if name in head["habits"]), key=lambda name: head["habits"][name])
    return name if head["habits"][name] > MOSTLY else ELSEWHERE
