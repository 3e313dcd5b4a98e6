"""Loss scaling for gradients that pass through float16."""

from __future__ import annotations

import weakref
from typing import Any

from minitensor.backend import device_of, move, namespace, np, on
from minitensor.backend.capture import capturing
from minitensor.engine.autograd import watch
from minitensor.engine.loss_scale import UNSCALED, refuse_scaled
from minitensor.engine.messages import a_kind
from minitensor.engine.mode import timed
from minitensor.engine.settings import flag, integer, number
from minitensor.engine.tensor import Tensor
from minitensor.optim.clip import gradient_arrays
from minitensor.optim.flat import pieces
from minitensor.optim.optimizer import Optimizer

__all__ = ["GradScaler"]

PIECE = 1 << 16  # gradients that are looked at in one go on the CPU
LEAST = 2.0**-120  # there is no use in less, and no float32 for its inverse
LARGEST = 2.0**120  # a greater scale is no float32 any more, when it has grown a few times


class GradScaler:
    """Multiplies the loss, so that small gradients are not lost in float16, and divides the
    gradients before the step.

    init_scale: the first factor. A step whose gradients are not all finite is skipped, and the
    scale multiplied by ``backoff_factor``; after ``growth_interval`` steps in a row without that it
    is multiplied by ``growth_factor``. Keep all three powers of two: then scaling rounds nothing.
    enabled: False makes ``scale``, ``unscale_`` and ``update`` do nothing, and ``step`` the
    optimiser's, so that one loop serves bfloat16 and float32, which need no scale.

    Attributes: ``skipped``, the number of steps that were skipped. Whether a step is skipped is
    known on the CPU, so ``step`` waits for a GPU: ``scale`` and ``backward`` may be part of a
    ``mt.cuda_graph``, ``unscale_``, ``step`` and ``update`` come behind it. Raises ValueError for
    settings out of range.
    Micikevicius et al., "Mixed precision training", ICLR 2018, arXiv:1710.03740, section 3.2.

    >>> import minitensor as mt
    >>> w = mt.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = mt.optim.SGD([w], lr=0.5), mt.optim.GradScaler(1024.0)
    >>> with mt.autocast("float16"):
    ...     loss = (w @ mt.tensor([3.0])).sum()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    True
    >>> scaler.update()
    >>> w
    tensor([-0.5], requires_grad=True)
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._scale = number("GradScaler", "init_scale", init_scale, above=0)
        self.growth_factor = number("GradScaler", "growth_factor", growth_factor, above=1)
        self.backoff_factor = number("GradScaler", "backoff_factor", backoff_factor, above=0, below=1)
        self.growth_interval = integer("GradScaler", "growth_interval", growth_interval, least=1)
        self.enabled = flag("GradScaler", "enabled", enabled)
        self.skipped = 0
        self._in_a_row = 0  # updates since the scale has changed
        self._begin()

    def _begin(self):
        # Since the last update: whether the gradients of an optimiser, unscaled by now, are finite.
        self._finite: weakref.WeakKeyDictionary[Optimizer, bool] = weakref.WeakKeyDictionary()
        self._stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()

    def get_scale(self) -> float:
        """The present factor; 1 if the scaler is not enabled."""
        return self._scale if self.enabled else 1.0

    def scale(self, loss: Tensor) -> Tensor:
        """``loss`` times the scale, in float32: what ``backward`` is called on. Several losses, and
        parts of a batch, are scaled alike until ``update``.
        """
        if not isinstance(loss, Tensor):
            raise TypeError(f"GradScaler.scale: the loss must be a tensor, got {a_kind(loss)}")
        if (capture := capturing()) is not None:
            capture.watch(self.get_scale)  # the factor is fixed in the graph: another one takes a new graph
        if not self.enabled:
            return loss
        wide = loss if loss.dtype.itemsize > 2 else loss.astype("float32")  # in 16 bits the product would overflow
        scaled = wide * self._scale
        if scaled.node is not None:
            watch(scaled.node).loss_scale = self._scale
        return scaled

    @timed("unscaling of gradients")
    def unscale_(self, optimizer: Optimizer) -> bool:
        """Divide the gradients of the optimiser's parameters by the scale, in place; for clipping,
        or for reading them, before ``step``, which does it otherwise.

        Returns whether all of them are finite (True, and nobody has looked, if the scaler is not
        enabled): do not clip others. Each gradient is divided once, by the scale that its loss had,
        also if its parameter belongs to two optimisers, or ``update`` came between. Raises
        RuntimeError if it has been done since the last ``update``, and for a gradient that is a sum
        of some at different scales. Several processes call ``sum_gradients`` before.
        """
        _check("unscale_", optimizer)
        if not self.enabled:
            return True
        _refuse_capture("unscale_")
        if optimizer in self._finite:
            done = "step" if optimizer in self._stepped else "unscale_"
            raise RuntimeError(
                f"GradScaler.unscale_: {done} has been called for this optimiser since the last update()"
            )
        parameters = _parameters(optimizer)
        refuse_scaled("GradScaler.unscale_", parameters)
        by_scale: dict[float, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.node is not None and watch(parameter.node).grad is not None:
                by_scale.setdefault(self._scale_of(parameter), []).append(parameter)
        whole: Any = True  # on a GPU one truth value there, so that all gradients cost one wait
        place = None
        for scale, group in by_scale.items():
            for run in gradient_arrays("GradScaler", group):
                place = place or device_of(run)
                with on(run):
                    if device_of(run) == "cpu":
                        told: Any = _unscaled(run, 1.0 / scale)
                    else:
                        run *= run.dtype.type(1.0 / scale)
                        told = move(namespace(device_of(run)).isfinite(run).all(), place)
                    whole = told & whole
            for parameter in group:
                watch(parameter.node).scale = UNSCALED
        self._finite[optimizer] = bool(whole)
        return self._finite[optimizer]

    def _scale_of(self, parameter):
        """What the gradient is to be divided by: the scale that its loss had, whichever there is
        now; 1 if another optimiser of this parameter has had it divided.
        """
        scale = watch(parameter.node).scale
        return self._scale if scale is None else 1.0 if scale == UNSCALED else scale

    def step(self, optimizer: Optimizer) -> bool:
        """``optimizer.step()`` if all gradients are finite; returns whether it was done.

        Unscales them first unless ``unscale_`` has. A skipped step changes no parameter and no
        state of the optimiser. Raises RuntimeError for a second step without an ``update``, and for
        a gradient of a scaled loss that came after ``unscale_``.
        """
        _check("step", optimizer)
        if not self.enabled:
            optimizer.step()
            return True
        _refuse_capture("step")
        if optimizer in self._stepped:
            raise RuntimeError(
                "GradScaler.step: a second step of this optimiser since the last update(); call that after each"
            )
        if optimizer not in self._finite:
            self.unscale_(optimizer)
        refuse_scaled(
            "GradScaler.step",
            _parameters(optimizer),
            "it was computed after unscale_, which comes behind all backward passes",
        )
        self._stepped.add(optimizer)
        if not self._finite[optimizer]:
            self.skipped += 1
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        """Set the scale for the next pass: once after the steps of all optimisers. Raises
        RuntimeError if no gradients have been looked at since the last time.
        """
        if not self.enabled:
            return
        _refuse_capture("update")
        if not self._finite:
            raise RuntimeError("GradScaler.update: nothing to go by: call scaler.step(optimizer) first")
        if not all(self._finite.values()):
            self._scale = max(self._scale * self.backoff_factor, min(LEAST, self._scale))
            self._in_a_row = 0
        else:
            self._in_a_row += 1
            if self._in_a_row >= self.growth_interval:
                self._scale = min(self._scale * self.growth_factor, max(LARGEST, self._scale))
                self._in_a_row = 0
        self._finite.clear()
        self._stepped.clear()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on bit for bit: plain numbers, ready for
        ``mt.save``.
        """
        return {"scale": self._scale, "in_a_row": self._in_a_row, "skipped": self.skipped}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a ``state_dict()``; ValueError, changing nothing, if it is none."""
        if not isinstance(saved, dict) or set(saved) != {"scale", "in_a_row", "skipped"}:
            raise ValueError(f"GradScaler: this is no scaler.state_dict(): {str(saved)[:60]}")
        scale = number("GradScaler", "scale", saved["scale"], above=0)
        in_a_row, skipped = (integer("GradScaler", name, saved[name], least=0) for name in ("in_a_row", "skipped"))
        self._scale, self._in_a_row, self.skipped = scale, in_a_row, skipped

    def __getstate__(self):
        """What copies and pickles are made of: all but what holds until the next ``update``."""
        return {name: value for name, value in vars(self).items() if name not in ("_finite", "_stepped")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._begin()

    def __repr__(self) -> str:
        return f"GradScaler(scale={self.get_scale():g}, skipped={self.skipped}, enabled={self.enabled})"


def _parameters(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _check(method, optimizer):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"GradScaler.{method}: the argument must be an optimiser, got {a_kind(optimizer)}")


def _refuse_capture(method):
    """Raise in a CUDA graph, where nobody can decide anything by the gradients."""
    if capturing() is not None:
        raise RuntimeError(f"GradScaler.{method} goes by values that are read back; call it behind the graph")


def _unscaled(run, factor):
    """Multiply an array in place; returns whether all of it is finite after that."""
    flat, whole = run.reshape(-1), True
    xp = namespace("cpu")
    with np.errstate(all="ignore"):
        for piece in pieces(0, flat.size, PIECE):
            flat[piece] *= flat.dtype.type(factor)
            whole = whole and bool(xp.isfinite(flat[piece]).all())
    return whole
