"""From the hidden states of a text to its vector, by the stages that a folder of
sentence-transformers has behind its Transformer.

    Pooling      the first, last, mean or largest hidden state of a text, or several of these
    Dense        activation(W x + b)
    Normalize    x / |x|
    Dropout      nothing, since nothing is trained here

Letters: B texts, T positions, D features of a token, K of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.files.safetensors import TensorFile
from toolkit.console import UserError
from toolkit.sentence_modules import Stage, refuse_others, settings_of

__all__ = ["POOLINGS", "SentenceVectors"]

VECTOR = "sentence_embedding"
ACTIVATIONS: dict[str, Callable[[mt.Tensor], mt.Tensor]] = {
    "Identity": lambda x: x, "Tanh": F.tanh, "ReLU": F.relu, "GELU": F.gelu, "Sigmoid": F.sigmoid, "SiLU": F.silu,
}  # fmt: skip


class SentenceVectors:
    """Vectors (B, K) of length 1 from hidden states (B, T, D) and a mask (B, T), True = real token;
    padding is on the right.
    """

    def __init__(self, stages: Sequence[Stage], width: int, device: str = "cpu") -> None:
        """Read the stages behind a Transformer of ``width`` features; without any, the mean. Raises
        UserError for odd ones.
        """
        self.poolings = read_pooling(stages[0].folder / "config.json", width) if stages else ["mean"]
        self.width = width * len(self.poolings)  # K
        self.steps: list[Callable[[mt.Tensor], mt.Tensor]] = []
        for stage in stages[1:]:
            if stage.kind == "Dense":
                self.steps.append(self._dense(stage.folder, device))
            elif stage.kind == "Normalize":
                self.steps.append(unit)

    def _dense(self, folder: Path, device: str) -> Callable[[mt.Tensor], mt.Tensor]:
        """The stage in ``folder`` as a function; the width becomes that of its output."""
        weight, bias, activation = read_dense(folder, self.width)
        self.width = weight.shape[0]
        w, b = (None if array is None else mt.asarray(array, device=device) for array in (weight, bias))
        return lambda x: ACTIVATIONS[activation](F.linear(x, w, b))

    def __call__(self, hidden: mt.Tensor, mask: mt.Tensor) -> mt.Tensor:
        """The vectors."""
        real = mt.asarray(mask, dtype=hidden.dtype)
        vectors = mt.concat([POOLINGS[name][1](hidden, real) for name in self.poolings], axis=1)
        for step in self.steps:
            vectors = step(vectors)
        return unit(vectors)


def unit(vectors: mt.Tensor) -> mt.Tensor:
    """Each vector (B, K) divided by its length."""
    return vectors / mt.maximum(mt.sqrt(mt.sum(mt.square(vectors), axis=1, keepdims=True)), 1e-12)


# --- pooling --------------------------------------------------------------------------------------


def _weighted(hidden: mt.Tensor, weights: mt.Tensor, total: mt.Tensor) -> mt.Tensor:
    """``sum_t w_t h_t / total``: hidden (B, T, D), weights (B, T), total (B,) to (B, D); weights of
    0 keep NaN out.
    """
    real = weights[:, :, None] > 0
    return mt.sum(mt.where(real, hidden, 0.0) * weights[:, :, None], axis=1) / mt.maximum(total, 1e-9)[:, None]


def _mean(hidden: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    return _weighted(hidden, real, mt.sum(real, axis=1))


def _mean_by_root(hidden: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    return _weighted(hidden, real, mt.sqrt(mt.sum(real, axis=1)))


def _mean_by_place(hidden: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    weights = mt.cumsum(real, axis=1) * real  # 1, 2, 3, ...
    return _weighted(hidden, weights, mt.sum(weights, axis=1))


def _maximum(hidden: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    return mt.max(mt.where(real[:, :, None] > 0, hidden, -np.inf), axis=1)


def _last(hidden: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
    rows = mt.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, mt.sum(real, axis=1).astype(np.int64) - 1]


# The name in "pooling_mode", the field that is true instead, and hidden states (B, T, D) and 1 or 0
# for tokens (B, T) to (B, D); a vector of several of them has them in this order.
POOLINGS: dict[str, tuple[str, Callable[[mt.Tensor, mt.Tensor], mt.Tensor]]] = {
    "cls": ("pooling_mode_cls_token", lambda hidden, real: hidden[:, 0]),
    "max": ("pooling_mode_max_tokens", _maximum),
    "mean": ("pooling_mode_mean_tokens", _mean),
    "mean_sqrt_len_tokens": ("pooling_mode_mean_sqrt_len_tokens", _mean_by_root),
    "weightedmean": ("pooling_mode_weightedmean_tokens", _mean_by_place),
    "lasttoken": ("pooling_mode_lasttoken", _last),
}


# --- files ----------------------------------------------------------------------------------------


def read_pooling(path: Path, width: int) -> list[str]:
    """The names of the poolings that config.json of the stage asks for; ``width``: the features of
    each token.
    """
    values = settings_of(path)
    for name in ("word_embedding_dimension", "embedding_dimension"):
        if values.pop(name, width) != width:
            raise UserError(f"{path}: {name} does not fit the model, whose vectors have {width} features")
    values.pop("include_prompt", None)  # `read_rules` has seen it
    told = values.pop("pooling_mode", None)
    flags = {name: values.pop(field, name == "mean") for name, (field, _) in POOLINGS.items()}
    odd = [name for name, flag in flags.items() if not isinstance(flag, bool)]
    if odd:
        raise UserError(f"{path}: {POOLINGS[odd[0]][0]} is {flags[odd[0]]!r}; it must be true or false")
    names = [told.lower()] if isinstance(told, str) else told
    names = [name for name, flag in flags.items() if flag] if names is None else names
    if not isinstance(names, list) or not names or any(name not in POOLINGS for name in names):
        raise UserError(
            f"{path}: pooling_mode is {told!r}; known are {', '.join(POOLINGS)}, of which one at least is needed"
        )
    refuse_others(path, values)
    return names


def read_dense(folder: Path, width: int) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Weight (out, in), bias (out,) or None and the name of the activation of a stage that takes
    ``width`` features.
    """
    path, weights = folder / "config.json", folder / "model.safetensors"
    values = settings_of(path)
    for name in ("module_input_name", "module_output_name"):
        if values.pop(name, None) not in (None, VECTOR):
            raise UserError(f"{path}: {name} is not {VECTOR}; Dense is for the vectors of sentences here")
    activation = str(values.pop("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise UserError(f"{path}: activation_function is {activation!r}; known are {', '.join(ACTIVATIONS)}")
    shape = (values.pop("out_features", None), values.pop("in_features", None))
    wanted = {"linear.weight": shape} | ({"linear.bias": shape[:1]} if values.pop("bias", True) else {})
    refuse_others(path, values)
    if not weights.is_file():
        raise UserError(
            f"there is no {weights}, with the weights of this stage; convert pytorch_model.bin by saving it again"
        )
    try:
        file = TensorFile(weights)
        if file.shapes != wanted or shape[1] != width:
            raise UserError(f"{weights} has {file.shapes}; {path} and {width} features ask for {wanted}")
        arrays = {name: file.read(name).astype(np.float32) for name in wanted}
    except ValueError as error:  # the message names the file
        raise UserError(str(error)) from None
    return arrays["linear.weight"], arrays.get("linear.bias"), activation
