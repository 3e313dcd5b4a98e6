"""Values from a saved state into a module's tensors, by our names or by PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minitensor.backend import is_floating, move, np
from minitensor.engine.messages import a_kind
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn.walk import Stateful, walk

__all__ = ["load_into", "torch_names"]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minitensor.engine.attached import TensorLike


def torch_names(module: Stateful) -> dict[str, str]:
    """``{our path: PyTorch's path}`` of the state, for giving our weights to PyTorch.

    The other way ``load_state_dict`` knows by itself.

    >>> from minitensor import nn
    >>> names = nn.torch_names(nn.TransformerEncoder(1, 4, 2, 8))
    >>> names["layers.0.attention.qkv.weight"]
    'layers.0.self_attn.in_proj_weight'
    """
    modules = [(path, value) for path, value in walk(module) if isinstance(value, Stateful)]
    names = {path: path for path, value in walk(module) if isinstance(value, Tensor)}
    # From the innermost module outwards: the beginnings of the paths, which outer ones change, are
    # still our own.
    for path, one in sorted(modules, key=lambda item: -len(item[0].split(".")) if item[0] else 0):
        for ours, theirs in getattr(one, "torch_names", {}).items():
            mine, other = (f"{path}.{name}" if path else name for name in (ours, theirs))
            for own, name in names.items():
                if own == mine or own.startswith(mine + "."):
                    names[own] = other + name[len(mine) :]
    return names


def load_into(
    module: Stateful, own: Mapping[str, Tensor], state: Mapping[str, TensorLike], strict: bool
) -> tuple[list[str], list[str]]:
    """Write ``state`` into the tensors ``own`` of ``module``; see ``Module.load_state_dict``."""
    if not hasattr(state, "keys") or not hasattr(state, "__getitem__"):
        raise TypeError(
            f"load_state_dict takes a dict of names and tensors, got {a_kind(state)}; write model.state_dict(), or "
            "mt.load(path) for a file"
        )
    theirs = torch_names(module)
    key_of = {path: path if path in state else theirs[path] for path in own}
    key_of = {path: key for path, key in key_of.items() if key in state}
    found, used = {id(own[path]) for path in key_of}, set(key_of.values())
    missing = [path for path, tensor in own.items() if id(tensor) not in found]
    unexpected = [key for key in state.keys() if key not in used]
    problems: list[str] = []
    values: dict[int, tuple[str, Tensor]] = {}
    if strict:
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        problems += [f"unexpected: {', '.join(map(str, unexpected))}"] if unexpected else []
    for path, key in key_of.items():
        tensor = own[path]
        try:
            value = asarray(state[key])
        except (TypeError, ValueError, OverflowError) as error:
            problems.append(f"{path}: {error}")
            continue
        if value.shape != tensor.shape:
            problems.append(f"{path} has shape {tensor.shape} here and {value.shape} in the state")
        elif is_floating(value.dtype) and not is_floating(tensor.dtype):
            problems.append(f"{path} is {tensor.dtype} here and {value.dtype} in the state")
        first, known = values.setdefault(id(tensor), (path, value))
        if known is not value and known.shape == value.shape and not _equal(known, value):
            problems.append(f"{first} and {path} are one tensor here but have different values in the state")
    if problems:
        raise ValueError(f"the state does not fit this {type(module).__name__}:\n  " + "\n  ".join(problems))
    for tensor in own.values():
        if id(tensor) in values:
            tensor.assign(values.pop(id(tensor))[1].detach())
    return missing, unexpected


def _equal(a, b):
    return a is b or np.array_equal(move(a._array, "cpu"), move(b._array, "cpu"), equal_nan=True)
