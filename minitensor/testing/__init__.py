"""Checks for ops, layers and losses, the library's own and yours.

    from minitensor.testing import check_op, strategies as st

    def test_my_op():
        check_op(my_op, st.broadcastable(2), reference=my_numpy_function)

Ops of other libraries are taken as they are: a pair ``(f, vjp)`` of NumPy functions, a
``torch.autograd.Function``, a ``jax.custom_vjp``, a primitive of HIPS autograd, an operation of
MyGrad, or a layer of these (``adapters``). ``gradcheck`` and ``gradgradcheck`` compare first and
second derivatives with differences, ``check_op`` checks every promise of an op, ``mutants`` makes
an op wrong on purpose and counts how often that is seen, and ``invariants`` are what is true of
every model. They need numpy alone; ``strategies``, which draws inputs, needs hypothesis.
"""

from typing import TYPE_CHECKING

from minitensor.testing import adapters, invariants
from minitensor.testing.check import check_op
from minitensor.testing.gradients import Report, gradcheck, gradgradcheck
from minitensor.testing.mutating import Mutant, Mutants, mutants

__all__ = [
    "Mutant", "Mutants", "Report", "adapters", "check_op", "gradcheck", "gradgradcheck", "invariants", "mutants", "strategies",
]  # fmt: skip

if TYPE_CHECKING:
    from minitensor.testing import strategies
else:

    def __getattr__(name: str) -> object:
        """``strategies`` and its members, imported on first use."""
        if name.startswith("__"):
            raise AttributeError(name)
        import importlib

        strategies = importlib.import_module("minitensor.testing.strategies")
        if name == "strategies":
            return strategies
        if name in strategies.__all__:
            return getattr(strategies, name)
        raise AttributeError(f"minitensor.testing has no {name!r}")
