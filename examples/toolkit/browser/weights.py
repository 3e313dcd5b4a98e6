"""Weights as text that a page carries: all of them in one string, and a table of where each is."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from minitensor import nn
from toolkit.console import UserError

__all__ = ["FORMS", "dequantised", "pack", "quantised"]

FORMS = ("int8", "float16")
LEVELS = 127  # of an int8 on either side of 0


def pack(model: nn.Module, form: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The weights of a model as JSON, ``{"entries": [{"name", "shape", "kind", "at"}], "bytes"}``,
    and the names of those that are shared, by the name that has them.

    form: of the matrices, "int8" or "float16"; vectors stay float32. Raises UserError for a weight
    that is not finite, or too large for float16.
    """
    state = model.state_dict()
    owned = [name for name, _ in model.named_parameters()]
    shared = {name: next(o for o in owned if state[o] is state[name]) for name in state if name not in owned}
    entries, parts, at = [], [], 0
    for name in owned:
        values = state[name].to("cpu").numpy().astype(np.float32)
        kind = form if values.ndim == 2 else "float32"
        entries.append({"name": name, "shape": list(values.shape), "kind": kind, "at": at})
        parts.append(_bytes(name, values, kind))
        at += len(parts[-1])
    return {"entries": entries, "bytes": base64.b64encode(b"".join(parts)).decode("ascii")}, shared


def _bytes(name: str, values: np.ndarray, kind: str) -> bytes:
    """The numbers of one weight, little-endian."""
    if not np.isfinite(values).all():
        raise UserError(f"{name} is not finite; train the run again")
    if kind == "int8":
        scales, levels = quantised(values)
        return scales.astype("<f4").tobytes() + levels.tobytes()
    if kind == "float16":
        with np.errstate(over="ignore"):
            halves = values.astype("<f2")
        if not np.isfinite(halves).all():
            raise UserError(f"{name} has a value of {np.abs(values).max():.3g}, too large for float16; use int8")
        return halves.tobytes()
    return values.astype("<f4").tobytes()


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (R, C) as a scale for each row (R,) and whole numbers from -127 to 127 (R, C), int8:
    ``values`` are about ``scales[:, None] * levels``, to half a scale.
    """
    scales = np.abs(values).max(axis=1, initial=0) / np.float32(LEVELS)
    safe = np.where(scales > 0, scales, 1)[:, None]
    return scales, np.rint(values / safe).astype(np.int8)


def dequantised(values: np.ndarray, form: str) -> np.ndarray:
    """What the page computes with in the place of ``values``: float32."""
    if values.ndim != 2:
        return values
    if form == "float16":
        return values.astype(np.float16).astype(np.float32)
    scales, levels = quantised(values)
    return scales[:, None] * levels.astype(np.float32)
