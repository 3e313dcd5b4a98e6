"""What is true of every model that is right, as checks: each takes a model and inputs.

    from minitensor.testing import invariants
    from minitensor.testing.invariants import Ids

    invariants.no_look_ahead(model, Ids(vocab_size, (3, 7)))
    invariants.rows_independent(model, Ids(vocab_size, (3, 7)))

A model is a Module, or an ``nn.Module`` of PyTorch. A check returns a small report (`Held`), or
raises AssertionError that says in words which positions, rows or parameters are wrong, by how much,
what the likely cause is, and what to write instead. Inputs are an array, a tuple of arguments, or a
dict; an argument is an array, a tensor, or a description, `Ids` or `Floats`. The mode of the model,
its buffers, its gradients and the random numbers are afterwards what they were.
"""

from minitensor.testing.invariants.beams import beam_search
from minitensor.testing.invariants.decoding import cached_decoding
from minitensor.testing.invariants.inputs import Floats, Ids
from minitensor.testing.invariants.modes import evaluation_mode
from minitensor.testing.invariants.order import no_look_ahead
from minitensor.testing.invariants.padding import padding_ignored
from minitensor.testing.invariants.reaching import gradient_reaches_parameters
from minitensor.testing.invariants.rows import rows_in_any_order, rows_independent
from minitensor.testing.invariants.saving import save_and_load
from minitensor.testing.invariants.sets import permutation
from minitensor.testing.invariants.together import check_model
from minitensor.testing.invariants.training import data_parallel, gradient_accumulation
from minitensor.testing.invariants.words import Held

__all__ = [
    "Floats", "Held", "Ids", "beam_search", "cached_decoding", "check_model", "data_parallel", "evaluation_mode",
    "gradient_accumulation", "gradient_reaches_parameters", "no_look_ahead", "padding_ignored", "permutation", "rows_in_any_order",
    "rows_independent", "save_and_load",
]  # fmt: skip
