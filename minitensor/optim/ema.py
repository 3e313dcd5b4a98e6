"""An exponential moving average of the weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minitensor.backend import cast, compute_dtype, copied, device_of, memory, move, namespace, on
from minitensor.backend.capture import capturing
from minitensor.engine.holdings import holder
from minitensor.engine.mode import timed
from minitensor.engine.settings import flag, integer, number
from minitensor.engine.tensor import Tensor, asarray
from minitensor.optim.on_gpu import move_averages
from minitensor.optim.optimizer import nothing
from minitensor.optim.parameters import leaves_of

__all__ = ["EMA"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minitensor.optim.parameters import Tensors


class EMA:
    """Keeps ``average = decay * average + (1 - decay) * parameter`` of each parameter (Polyak and
    Juditsky, 1992).

    parameters: as an optimiser takes them, ``model.parameters()``. Call ``update()`` after the
    optimiser's step; evaluate within ``with ema.applied():``, where the parameters hold the
    averages. Those of parameters of 16 bits are kept in float32. ``warmup`` uses the smaller decay
    ``(1 + n) / (10 + n)`` in update n while that is smaller, so that the first weights are soon
    forgotten.

    >>> import minitensor as mt
    >>> w = mt.tensor([0.0], requires_grad=True)
    >>> ema = EMA([w], decay=0.5)
    >>> w.assign(1.0)
    >>> ema.update()
    >>> with ema.applied():
    ...     print(w)
    tensor([0.5], requires_grad=True)
    """

    def __init__(self, parameters: Tensors, decay: float = 0.999, warmup: bool = False) -> None:
        self.decay = number("EMA", "decay", decay, least=0, below=1)
        self.warmup = flag("EMA", "warmup", warmup)
        self.updates = 0
        self._tables: dict = {}  # see ``on_gpu.py``
        self._unless: Any = None  # as ``FlatBuffer.unless``
        self._settle: Any = nothing  # as an optimiser's
        self.parameters = leaves_of("EMA", parameters)
        if not self.parameters:
            raise ValueError("EMA: no parameters given; pass model.parameters()")
        self.averages = [
            copied(cast(parameter._array, compute_dtype(parameter.dtype))) for parameter in self.parameters
        ]

    @timed("average of weights")
    def update(self) -> None:
        """Take the parameters' present values into the averages."""
        if capturing() is not None:
            raise RuntimeError(
                "EMA.update counts in Python: call it after the step that is a CUDA graph, outside of it"
            )
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        together: dict = {}  # what one kernel of a GPU serves
        unless = self._unless
        for i, parameter in enumerate(self.parameters):
            value = parameter._array
            average = self.averages[i] = self._beside(self.averages[i], parameter)
            if parameter.device != "cpu" and average.dtype == value.dtype and value.flags.c_contiguous:
                together.setdefault((parameter.device, average.dtype), []).append((average, value))
                continue
            with on(average):
                step = namespace(device_of(average)).subtract(value, average)
                step *= 1 - decay
                if unless is None:
                    average += step
                else:
                    step += average
                    namespace(device_of(average)).copyto(average, step, where=move(unless, device_of(average)) == 0)
        for (device, _), pairs in together.items():
            with on(device):
                move_averages(
                    namespace(device),
                    self._tables,
                    device,
                    pairs,
                    1 - decay,
                    None if unless is None else move(unless, device),
                )

    def __getstate__(self):
        self._settle()
        return {**vars(self), "_tables": {}, "_settle": nothing}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager: the parameters hold the averages inside, and their own values again
        after it.
        """
        own = [copied(parameter._array) for parameter in self.parameters]
        try:
            self._write(self.averages)
            yield
        finally:
            self._write(own)

    def copy_to_parameters(self) -> None:
        """Overwrite the parameters by the averages permanently."""
        self._write(self.averages)

    def state_dict(self) -> dict[str, Any]:
        """The averages and their count, ready for ``mt.save``."""
        self._settle()
        return {"updates": self.updates, "averages": [Tensor(copied(average)) for average in self.averages]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a ``state_dict()``; ValueError if number or shapes differ."""
        whole = isinstance(saved, dict) and {"updates", "averages"} <= set(saved)
        if not whole or not isinstance(saved["averages"], (list, tuple)):
            raise ValueError(f"EMA: this is no ema.state_dict(): {str(saved)[:60]}")
        shapes, loaded = [a.shape for a in self.averages], [asarray(a).shape for a in saved["averages"]]
        if shapes != loaded:
            raise ValueError(f"EMA: the saved averages have shapes {loaded}, the parameters {shapes}")
        self._settle()
        self.updates = integer("EMA", "updates", saved["updates"], least=0)
        for average, loaded in zip(self.averages, saved["averages"]):
            with on(average):
                average[...] = move(asarray(loaded)._array, device_of(average))

    def _write(self, arrays):
        for parameter, array in zip(self.parameters, arrays):
            with on(parameter._array):
                parameter._array[...] = self._beside(array, parameter)
            memory.record_write(parameter._array, parameter.name)

    @staticmethod
    def _beside(array, parameter):
        """``array`` on the device of ``parameter`` and in its dtype, or float32 for 16 bits: the
        model may have been moved.
        """
        return cast(move(array, parameter.device), compute_dtype(parameter.dtype))


@holder(EMA)
def _held(ema):
    return {"averages of EMA": ema.averages}
