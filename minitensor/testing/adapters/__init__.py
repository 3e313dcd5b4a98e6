"""Ops of other libraries as functions of our Tensors, so that every check takes them.

The checks find the library by looking at what they are given (``adapt``); the functions here are
for what cannot be seen by looking. What they return runs the library's own forward pass on arrays,
and its own backward when a gradient is asked for: nothing of the rule is replaced. A library is
imported only if the op that is given has imported it.
"""

from minitensor.testing.adapters.adapted import Adapted
from minitensor.testing.adapters.detect import (
    adapt,
    autograd_function,
    jax_function,
    mygrad_function,
    torch_function,
)
from minitensor.testing.adapters.pairs import numpy_pair, numpy_pullback

__all__ = [
    "Adapted", "adapt", "autograd_function", "jax_function", "mygrad_function", "numpy_pair", "numpy_pullback",
    "torch_function",
]  # fmt: skip
