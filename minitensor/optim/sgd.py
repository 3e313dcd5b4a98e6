"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.engine.settings import flag, number
from minitensor.optim.optimizer import Optimizer
from minitensor.optim.parameters import groups_of

__all__ = ["SGD"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from minitensor.optim.parameters import Group, Parameters


class SGD(Optimizer):
    """Gradient descent with momentum, after Sutskever et al., "On the importance of initialization
    and momentum", ICML 2013.

        g = g + weight_decay * p
        b = momentum * b + g
        p = p - lr * b                      or, with nesterov, p - lr * (g + momentum * b)

    >>> import minitensor as mt
    >>> w = mt.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8], requires_grad=True)
    """

    n_scratch = 2
    bounds = {**Optimizer.bounds, "momentum": {"least": 0}}

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        groups = groups_of("SGD", params)
        values = [momentum, *(group.get("momentum", 0.0) for group in groups)]
        if any(number("SGD", "momentum", value, least=0) for value in values):
            self.state_names = ("momentum_buffer",)
        super().__init__(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def check(self, group: Group) -> None:
        """Also refuse nesterov without momentum."""
        super().check(group)
        group["nesterov"] = flag("SGD", "nesterov", group["nesterov"])
        if group["nesterov"] and not group["momentum"]:
            raise ValueError("SGD: nesterov=True needs momentum > 0")
        if group["momentum"] and not self.state_names:
            raise ValueError("SGD: a later group cannot bring momentum to an optimiser made without it")

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        """Those of the group."""
        return {name: group[name] for name in ("lr", "momentum", "weight_decay")}

    def rule(self, group: Group, step: int, numbers: dict[str, Any] | None = None) -> Callable[..., None]:
        """See the class."""
        numbers = numbers or self.numbers(group, step)
        lr, momentum, weight_decay = (numbers[name] for name in ("lr", "momentum", "weight_decay"))
        nesterov = group["nesterov"]

        def update(xp, p, g, *arrays):
            *buffers, s, t = arrays
            if group["weight_decay"]:
                xp.multiply(p, weight_decay, out=s)
                s += g
                g = s
            if group["momentum"]:
                (b,) = buffers
                b *= momentum
                b += g
                if nesterov:
                    xp.multiply(b, momentum, out=t)
                    t += g
                    g = t
                else:
                    g = b
            xp.multiply(g, lr, out=t)
            p -= t

        return update
