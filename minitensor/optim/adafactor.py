"""Adafactor: Adam's second moment in the memory of one row and one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import np
from minitensor.engine.settings import number
from minitensor.optim.on_gpu import adafactor
from minitensor.optim.optimizer import Optimizer

__all__ = ["Adafactor"]

if TYPE_CHECKING:
    from minitensor.optim.flat import Entry, FlatBuffer
    from minitensor.optim.parameters import Group, Parameters


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018, arXiv:1804.04235), without its optional first moment. At
    step t:

        rho = t^beta2_decay                                       (the weight of the newest square)
        R = (1 - rho) * R + rho * mean of g^2 along each row
        C = (1 - rho) * C + rho * mean of g^2 along each column
        u = g / sqrt(R C / mean(R))                       (vectors keep a full second moment)
        p = p - lr * weight_decay * p
        p = p - max(eps2, rms(p)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / d)

    eps: ``(eps1, eps2)``; eps1: lower bound of the root of the second moment; default: the dtype's
    machine epsilon. d: clipping threshold. The updates need sums over whole matrices, so this
    optimiser works by parameter, not by piece; on a GPU by kernels over all parameters.
    """

    n_scratch = 0
    bounds = {
        "lr": {"least": 0}, "initial_lr": {"least": 0}, "weight_decay": {"least": 0}, "d": {"least": 1}, "beta2_decay": {"most": 0},
    }  # fmt: skip

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)

    def check(self, group: Group) -> None:
        """Also look at the two parts of ``eps``."""
        super().check(group)
        eps = group["eps"]
        if not isinstance(eps, (tuple, list)) or len(eps) != 2:
            raise TypeError(f"Adafactor: eps must be two numbers, the first of which may be None, got {eps!r}")
        first = None if eps[0] is None else number("Adafactor", "eps[0]", eps[0], least=0)
        group["eps"] = first, number("Adafactor", "eps[1]", eps[1], least=0)

    def new_state(self, buffer: FlatBuffer, entry: Entry) -> dict[str, Any]:
        """Row and column moments of a matrix (each matrix of a stack), the full moment
        of a vector.
        """
        shape = entry.parameter.shape
        shapes = {"variance": shape}
        if len(shape) > 1:
            shapes = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
        return {name: buffer.xp.zeros(shape, dtype=buffer.dtype) for name, shape in shapes.items()}

    def update_run(self, buffer: FlatBuffer, entries: list[Entry], start: int, stop: int) -> None:
        """Update each entry; all numbers that depend on arrays stay on the device."""
        group, step, xp = entries[0].group, entries[0].steps, buffer.xp
        eps1, eps2 = group["eps"]
        eps1 = float(np.finfo(buffer.dtype).eps) if eps1 is None else eps1
        newest = step ** group["beta2_decay"]
        size = min(group["lr"], step**-0.5)
        entries = [entry for entry in entries if entry.parameter.size]
        if xp.name == "cuda" and entries:
            least = {"least_root": eps1, "least_size": eps2}
            keep = 1 - group["lr"] * group["weight_decay"]
            adafactor(buffer, entries, newest=newest, size=size, most=group["d"], keep=keep, **least)
            return
        for entry in entries:
            p, g = entry.master, entry.gradient
            scale = xp.maximum(_rms(xp, p), eps2) * size
            if group["weight_decay"]:
                p *= 1 - group["lr"] * group["weight_decay"]
            update = self._second_moment(xp, g, entry.state, newest, eps1)
            xp.maximum(update, eps1 * eps1, out=update)
            xp.sqrt(update, out=update)
            xp.divide(g, update, out=update)
            update *= scale / xp.maximum(_rms(xp, update) / group["d"], 1.0)
            p -= update

    @staticmethod
    def _second_moment(xp, g, state, newest, eps1):
        """Move the moments towards g^2 by the fraction ``newest`` and return the estimate of
        E[g^2], a new array of g's shape.
        """
        square = g * g
        if "variance" in state:
            state["variance"] += newest * (square - state["variance"])
            return state["variance"].copy()
        row, column = state["row_var"], state["col_var"]
        row += newest * (square.mean(axis=-1, keepdims=True) - row)
        column += newest * (square.mean(axis=-2, keepdims=True) - column)
        xp.multiply(row / xp.maximum(row.mean(axis=-2, keepdims=True), eps1), column, out=square)
        return square


def _rms(xp, x):
    """Root of the mean square, a 0-d array on x's device."""
    flat = x.reshape(-1)
    return xp.sqrt(xp.dot(flat, flat) / flat.size)
