"""Which library a model is of."""

from __future__ import annotations

import sys

from minitensor.testing.invariants.subject import Subject
from minitensor.testing.invariants.torch_subject import TorchSubject

__all__ = ["subject_of"]


def subject_of(model, call=None):
    """``model`` as a `Subject`; TypeError for what is no module of either library."""
    if isinstance(model, Subject):
        return model
    torch = getattr(sys.modules.get("torch"), "nn", None)
    if torch is not None and isinstance(model, torch.Module):
        return TorchSubject(model, call)
    if not all(hasattr(model, name) for name in ("named_parameters", "named_modules", "train", "state_dict")):
        raise TypeError(
            f"an invariant is of a model: an nn.Module of minitensor or of PyTorch, got {type(model).__name__}"
        )
    return Subject(model, call)
