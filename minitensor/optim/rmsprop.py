"""RMSprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.optim.optimizer import Optimizer

__all__ = ["RMSprop"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from minitensor.optim.parameters import Group, Parameters


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012).

    g = g + weight_decay * p
    v = alpha * v + (1 - alpha) * g^2
    b = momentum * b + g / (sqrt(v) + eps)
    p = p - lr * b
    """

    state_names = ("square_avg", "momentum_buffer")
    n_scratch = 2
    bounds = {**Optimizer.bounds, "momentum": {"least": 0}, "alpha": {"least": 0, "below": 1}}

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        """Those of the group, and ``1 - alpha``."""
        named = {name: group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum")}
        return {**named, "rest": 1 - group["alpha"]}

    def rule(self, group: Group, step: int, numbers: dict[str, Any] | None = None) -> Callable[..., None]:
        """See the class."""
        numbers = numbers or self.numbers(group, step)
        lr, alpha, eps, weight_decay, momentum, rest = (
            numbers[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum", "rest")
        )

        def update(xp, p, g, v, b, s, t):
            if group["weight_decay"]:
                xp.multiply(p, weight_decay, out=t)
                t += g
                g = t
            v *= alpha
            xp.multiply(g, rest, out=s)
            s *= g
            v += s
            xp.sqrt(v, out=s)
            s += eps
            xp.divide(g, s, out=s)
            if group["momentum"]:
                b *= momentum
                b += s
                xp.multiply(b, lr, out=s)
            else:
                s *= lr
            p -= s

        return update
