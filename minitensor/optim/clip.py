"""Clipping of gradients, in place and without waiting for a GPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minitensor.backend import compute_dtype, copied, device_of, move, namespace, np, on
from minitensor.engine.loss_scale import refuse_scaled
from minitensor.engine.mode import timed
from minitensor.engine.settings import number
from minitensor.engine.tensor import Tensor, asarray
from minitensor.ops.scaling import unit_of
from minitensor.optim.flat import PIECE, gradients_of, memory_runs, pieces
from minitensor.optim.parameters import tensors_of

__all__ = ["clip_grad_norm_", "clip_grad_value_", "gradient_arrays"]

if TYPE_CHECKING:
    from minitensor.optim.parameters import Tensors

SMALL = 1 << 12


@timed("gradient clipping")
def clip_grad_norm_(parameters: Tensors, max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their common 2-norm is at most ``max_norm``;
    returns the norm before.

        scale = min(1, max_norm / (norm + 1e-6))

    parameters: a tensor or several; those without a gradient are passed over. The norm is a 0-d
    Tensor on the gradients' device: ``float(norm)`` is what waits for it. Raises ValueError if
    ``max_norm`` is not positive, RuntimeError if a gradient is still multiplied by the scale of a
    ``GradScaler``. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013.
    """
    max_norm = number("clip_grad_norm_", "max_norm", max_norm, above=0, infinite=True)
    found = _of_the_loss("clip_grad_norm_", parameters)
    if not found:
        return asarray(0.0)
    device, dtype = device_of(found[0]), compute_dtype(*(run.dtype for run in found))
    with on(device):
        return _clipped(found, max_norm, device, dtype)


def _clipped(found, max_norm, device, dtype):
    """Scale the arrays ``found`` in place; returns their norm, of type ``dtype`` on ``device``."""
    xp = namespace(device)
    if device != "cpu" and all(_served(run, found[0]) for run in found):
        _, _, norm, scale = xp.norm_and_scale(found, max_norm)
        for run in found:
            run *= scale
        return Tensor(norm)
    units, totals = (xp.stack([move(value, device) for value in values]) for values in zip(*map(_squares, found)))
    unit = units.max()
    root = xp.sqrt((totals * (units / unit) ** 2).sum())  # the norm is unit * root
    above = xp.maximum(unit, 1.0)  # what is divided out, so that the scale is right even if the norm overflows
    scale = xp.minimum(max_norm / above / (root * (unit / above) + 1e-6 / above), 1.0)
    if device != "cpu" or scale != 1:  # NaN is not 1: it reaches the gradients, as it should
        for run in found:
            factor = move(scale.astype(run.dtype), device_of(run))
            with on(run):
                _scale(xp, run, factor)
    return Tensor(xp.asarray(unit * root, dtype=dtype))


@timed("gradient clipping")
def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Clip every element of every gradient to ``[-clip_value, clip_value]``. Raises RuntimeError if
    a gradient is still multiplied by the scale of a ``GradScaler``.
    """
    clip_value = number("clip_grad_value_", "clip_value", clip_value, above=0, infinite=True)
    for run in _of_the_loss("clip_grad_value_", parameters):
        namespace(device_of(run)).clip(run, -clip_value, clip_value, out=run)


def _of_the_loss(owner, parameters):
    """``gradient_arrays`` of gradients of the loss itself."""
    tensors = tensors_of(owner, parameters)
    refuse_scaled(owner, tensors, "call scaler.unscale_(optimizer) before")
    return gradient_arrays(owner, tensors)


def gradient_arrays(owner, parameters):
    """Arrays that together hold all the gradients and that belong to the parameters alone,
    neighbours joined.
    """
    arrays = []
    for parameter, array in gradients_of(tensors_of(owner, parameters)):
        watched = parameter.node.watch
        if isinstance(watched.grad, Tensor):  # a reader, or a graph made by create_graph, holds that memory
            if watched.grad_buffer is None:
                array = copied(array)
            else:
                with on(watched.grad_buffer):
                    watched.grad_buffer[...] = array
                array = watched.grad_buffer
            watched.grad = array
        arrays.append(array)
    return memory_runs(arrays)


def _served(run, first):
    """Whether one call of kernels on a GPU serves an array together with ``first``."""
    alike = run.dtype == first.dtype and device_of(run) == device_of(first)
    return alike and run.dtype.itemsize > 2 and run.flags.c_contiguous


def _compiled(xp, run):
    """Whether a compiled kernel serves the array: one of few elements is not worth a call."""
    return xp.name == "cpu" and run.size > SMALL and run.flags.carray and xp.kernels.has(run.dtype)


def _scale(xp, run, factor):
    """Multiply an array by a number, in place."""
    if _compiled(xp, run):
        xp.kernels.run("scale", run.reshape(-1), run.dtype.type(factor))
    else:
        run *= factor


def _plain_squares(xp, flat):
    """The sum of the squares, added up piece by piece in Python's numbers."""
    if _compiled(xp, flat):
        totals = np.empty(xp.kernels.pieces(flat.size), dtype=flat.dtype)
        xp.kernels.run("squares", flat, totals)
        return float(totals.sum(dtype=np.float64))
    return sum(float(np.dot(flat[piece], flat[piece])) for piece in pieces(0, flat.size, 4 * PIECE["cpu"]))


def _squares(run):
    """``(unit, total)``, two float64 0-d arrays on its device: the sum of the squares of an array
    is ``unit^2 * total``.
    """
    xp, flat = namespace(device_of(run)), run.reshape(-1)
    if xp.name == "cpu":
        with np.errstate(all="ignore"):  # far values overflow here, and are scaled below
            total = _plain_squares(xp, flat)
        limits = np.finfo(flat.dtype)
        if limits.tiny / limits.eps**2 <= total < math.inf:
            return np.ones(()), np.asarray(total)
    with on(run):
        if xp.name == "cuda" and _served(run, run):
            unit, root, *_ = xp.norm_and_scale([flat], 1.0)
            return unit.astype(np.float64), root.astype(np.float64) ** 2
        unit = unit_of(flat)
        scaled = flat if unit is None else flat / unit
        unit = xp.ones(()) if unit is None else unit.reshape(()).astype(np.float64)
        return unit, xp.dot(scaled, scaled).astype(np.float64)
