"""Checks for ops, layers and losses, the library's own and yours.

    from minitensor.testing import check_op, strategies as st

    def test_my_op():
        check_op(my_op, st.broadcastable(2), reference=my_numpy_function)

``gradcheck`` and ``gradgradcheck`` compare first and second derivatives with differences,
``check_op`` checks every promise of an op, ``mutants`` makes an op wrong on purpose and counts how
often that is seen, and ``invariants`` are what is true of every model. They need numpy alone;
``strategies``, which draws inputs, needs hypothesis.
"""

from typing import TYPE_CHECKING

from minitensor.testing import invariants
from minitensor.testing.check import check_op
from minitensor.testing.gradients import Report, gradcheck, gradgradcheck
from minitensor.testing.mutating import Mutant, Mutants, mutants

__all__ = ["Mutant", "Mutants", "Report", "check_op", "gradcheck", "gradgradcheck", "invariants", "mutants", "strategies"]

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
