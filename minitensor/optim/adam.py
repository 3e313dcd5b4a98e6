"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minitensor.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from minitensor.optim.parameters import Group, Parameters


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980). At step t:

    g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g^2
    p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
    """

    state_names = ("exp_avg", "exp_avg_sq")
    n_scratch = 2
    compiled = True
    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        """Both corrections are folded into eps and the step size, which saves two passes."""
        lr, (beta1, beta2), weight_decay = group["lr"], group["betas"], group["weight_decay"]
        correction = math.sqrt(1 - beta2**step)
        return {
            "beta1": beta1,
            "beta2": beta2,
            "keep": 1 - lr * weight_decay if self.decoupled else 1.0,
            "coupled": 0.0 if self.decoupled else weight_decay,
            "eps": group["eps"] * correction,
            "size": lr * correction / (1 - beta1**step),
        }

    def rule(self, group: Group, step: int, numbers: dict[str, Any] | None = None) -> Callable[..., None]:
        """See the class. One kernel on a GPU."""
        numbers = numbers or self.numbers(group, step)

        def update(xp, p, g, m, v, s=None, t=None):
            if xp.name == "cuda" and xp.kernels.has(p.dtype):
                xp.adam(p, g, m, v, **({"live": numbers["live"]} if "live" in numbers else numbers))
                return
            beta1, beta2, keep, coupled, eps, size = numbers.values()
            if xp.name == "cpu" and xp.kernels.has(p.dtype):
                constants = (beta1, 1 - beta1, beta2, 1 - beta2, keep, coupled, eps, size)
                xp.kernels.run("adam", p, g, m, v, *map(p.dtype.type, constants))
                return
            if keep != 1.0:
                p *= keep
            if coupled:
                xp.multiply(p, coupled, out=t)
                t += g
                g = t
            m *= beta1
            xp.multiply(g, 1 - beta1, out=s)
            m += s
            v *= beta2
            xp.multiply(g, 1 - beta2, out=s)
            s *= g
            v += s
            xp.sqrt(v, out=s)
            s += eps
            xp.divide(m, s, out=s)
            s *= size
            p -= s

        return update

    masked_rule = rule


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).

    As Adam, but the weights shrink by themselves, ``p = p - lr * weight_decay * p``, and the decay
    stays out of m and v.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
