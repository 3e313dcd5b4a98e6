"""Losses as modules, under PyTorch's names.

reduction: "mean", "sum" or "none"; prediction and target never broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minitensor.engine.settings import choice, integer, number, probability
from minitensor.engine.tensor import Tensor
from minitensor.nn import functional as F
from minitensor.nn.module import Module
from minitensor.nn.parameter import Buffer

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


class _Loss(Module):
    """A loss of predictions and targets of one shape."""

    REDUCTIONS: tuple[str, ...] = ("mean", "sum", "none")
    function: Callable

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = choice(type(self).__name__, "reduction", reduction, self.REDUCTIONS)

    def forward(self, prediction: TensorLike, target: TensorLike) -> Tensor:
        return self.function(prediction, target, reduction=self.reduction)


class MSELoss(_Loss):
    """``(prediction - target)**2``."""

    function = staticmethod(F.mse_loss)


class L1Loss(_Loss):
    """``|prediction - target|``."""

    function = staticmethod(F.l1_loss)


class HuberLoss(_Loss):
    """``d**2 / 2`` if |d| <= delta, else ``delta * (|d| - delta / 2)`` (Huber 1964).

    d = prediction - target.
    """

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = number("HuberLoss", "delta", delta, above=0)

    def forward(self, prediction: TensorLike, target: TensorLike) -> Tensor:
        return F.huber_loss(prediction, target, delta=self.delta, reduction=self.reduction)


class KLDivLoss(_Loss):
    """``target * (log target - log_probabilities)``.

    reduction "batchmean" divides the sum by the length of the first axis.
    """

    REDUCTIONS = ("mean", "sum", "none", "batchmean")

    def forward(self, log_probabilities: TensorLike, target: TensorLike) -> Tensor:
        return F.kl_div(log_probabilities, target, reduction=self.reduction)


class _Weighted(_Loss):
    """A loss with an optional factor per class or element: a Buffer, unless somebody trains it."""

    def __init__(self, weight: TensorLike | None, reduction: str) -> None:
        super().__init__(reduction)
        trained = isinstance(weight, Tensor) and weight.requires_grad
        self.weight = weight if weight is None or trained else Buffer(weight)


class CrossEntropyLoss(_Weighted):
    """``-log softmax(logits)[target]``, averaged over the targets that count.

    logits: (..., C); targets: integers (...), or probabilities (..., C). weight: (C,), a factor per
    class.
    """

    def __init__(
        self,
        weight: TensorLike | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = integer("CrossEntropyLoss", "ignore_index", ignore_index)
        self.label_smoothing = probability("CrossEntropyLoss", "label_smoothing", label_smoothing)

    def forward(self, logits: TensorLike, targets: TensorLike) -> Tensor:
        return F.cross_entropy(logits, targets, self.weight, self.ignore_index, self.label_smoothing, self.reduction)


class NLLLoss(_Weighted):
    """``-log_probabilities[target]``, averaged over the targets that count.

    log_probabilities: (..., C); targets: integers (...). weight: (C,), a factor per class.
    """

    def __init__(self, weight: TensorLike | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.ignore_index = integer("NLLLoss", "ignore_index", ignore_index)

    def forward(self, log_probabilities: TensorLike, targets: TensorLike) -> Tensor:
        return F.nll_loss(log_probabilities, targets, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(_Weighted):
    """``-target log s(x) - (1 - target) log(1 - s(x))``, s the sigmoid.

    weight: a factor per element, broadcast.
    """

    def __init__(self, weight: TensorLike | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, logits: TensorLike, targets: TensorLike) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets, weight=self.weight, reduction=self.reduction)
