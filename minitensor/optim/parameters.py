"""What optimisers, averages and clipping take as parameters: a tensor, or several in order; and
groups of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import is_floating
from minitensor.engine.messages import a_kind
from minitensor.engine.tensor import Tensor

__all__ = ["groups_of", "leaves_of", "tensors_of"]

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Tensors: TypeAlias = Tensor | Iterable[Tensor]  # a tensor, or several in order, such as model.parameters()
    Group: TypeAlias = dict[str, Any]  # "params", and hyper-parameters of their own
    Parameters: TypeAlias = Tensors | Group | Iterable[Tensor | Group]


def tensors_of(owner: str, given: Tensors, first: int = 0) -> list[Tensor]:
    """The tensors of ``given``, each once, as a list. Raises TypeError for a module and for what is
    no collection of tensors.

    first: the number that messages give to the first of them.
    """
    if isinstance(given, Tensor):
        return [given]
    if hasattr(given, "parameters"):
        kind = type(given).__name__
        raise TypeError(f"{owner} takes parameters, not a module such as this {kind}: write model.parameters()")
    if isinstance(given, (set, frozenset)):
        raise TypeError(f"{owner} takes parameters in an order that lasts, and {a_kind(given)} has none: pass a list")
    try:
        several = list(given)
    except TypeError:
        raise TypeError(
            f"{owner} takes parameters, a tensor or several, such as model.parameters(), not {a_kind(given)}"
        ) from None
    for i, one in enumerate(several, start=first):
        if not isinstance(one, Tensor):
            cure = "; write model.parameters(), not named_parameters()" if isinstance(one, tuple) else ""
            raise TypeError(f"{owner}: parameter {i} is {a_kind(one)}, not a Tensor{cure}")
    return list({id(one): one for one in several}.values())


def leaves_of(owner: str, given: Tensors, first: int = 0) -> list[Tensor]:
    """``tensors_of(owner, given, first)``, checked to be floating leaves."""
    tensors = tensors_of(owner, given, first)
    for i, tensor in enumerate(tensors, start=first):
        if not tensor.is_leaf or not is_floating(tensor.dtype):
            problem = f"it is {tensor.dtype}" if tensor.is_leaf else "it is the result of an op"
            raise ValueError(f"{owner}: {tensor.name or f'parameter {i}'} must be a floating leaf; {problem}")
    return tensors


def groups_of(owner: str, given: Parameters) -> list[Group]:
    """``given`` as a list of groups ``{"params": ..., ...}``; parameters alone are one group."""
    groups: Any = [given] if isinstance(given, dict) else given
    if isinstance(groups, (list, tuple)) or hasattr(groups, "__next__"):
        groups = list(groups)
    if isinstance(groups, list) and any(isinstance(one, dict) for one in groups):
        for one in groups:
            if not isinstance(one, dict):
                raise TypeError(f'{owner}: {a_kind(one)} among groups; write {{"params": [it]}} for it too')
        return groups
    tensors = tensors_of(owner, groups)
    if not tensors:
        raise ValueError(f"{owner}: no parameters given; pass model.parameters()")
    return [{"params": tensors}]
