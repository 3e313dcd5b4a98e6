"""Which library an op belongs to, seen by looking at it.

An object belongs to the library that defines one of its classes; a function to the library that it
is defined in or, if it is one's own, to the one that its code names: the globals, the closure and
the imports that it uses, and those of the functions that it calls. One that names none belongs to
the library of the arrays that it is called with.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from typing import Any

from minitensor.engine.trees import leaves_of
from minitensor.testing.adapters.adapted import Adapted
from minitensor.testing.adapters.pairs import numpy_pair

__all__ = ["OURS", "adapt", "autograd_function", "jax_function", "libraries_of", "mygrad_function", "torch_function"]

OURS = "minitensor"
LIBRARIES = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "autograd": "autograd", "mygrad": "mygrad"}
DEPTH = 3  # of the functions that a function calls


def torch_function(function: Any, name: str | None = None) -> Adapted:
    """A function of PyTorch's tensors, a ``torch.autograd.Function`` (its class, or its ``apply``)
    or a ``torch.nn.Module`` as a function of Tensors; PyTorch runs its forward and its backward.
    """
    from minitensor.testing.adapters.pytorch import PyTorch

    _refuse_class(function)
    import torch

    if isinstance(function, torch.autograd.Function):
        raise TypeError(f"{_title(function)}: an object of a torch.autograd.Function: give the class itself")
    title, given = name or _title(function), function
    if isinstance(function, type) and hasattr(function, "apply"):
        function = function.apply
    return Adapted(PyTorch(), function, title, ("torch_function", (given,)))


def jax_function(function: Any, name: str | None = None) -> Adapted:
    """A function of JAX's arrays, a ``jax.custom_vjp`` for example, as a function of Tensors; JAX
    runs its forward and its backward, in 64 bits.
    """
    from minitensor.testing.adapters.jaxes import Jax

    return Adapted(Jax(), function, name or _title(function), ("jax_function", (function,)))


def autograd_function(function: Any, name: str | None = None) -> Adapted:
    """A primitive of HIPS autograd, or a function of its arrays, as a function of Tensors; HIPS
    autograd runs its forward and its backward.
    """
    from minitensor.testing.adapters.hips import Hips

    return Adapted(Hips(function), function, name or _title(function), ("autograd_function", (function,)))


def mygrad_function(function: Any, name: str | None = None) -> Adapted:
    """A class of MyGrad's operations, or a function of its tensors, as a function of Tensors;
    MyGrad runs its forward and its backward. There is no second derivative.
    """
    from minitensor.testing.adapters.mygrads import MyGrad, is_operation, of_operation

    title = name or _title(function)
    made = of_operation(function) if is_operation(function) else function
    return Adapted(MyGrad(), made, title, ("mygrad_function", (function,)))


ADAPTERS = {
    "torch": torch_function, "jax": jax_function, "autograd": autograd_function, "mygrad": mygrad_function,
}  # fmt: skip


def adapt(function: Any, given: Any = (), drawn: bool = False) -> Any:
    """``function`` as a function of Tensors: our own as it is, a tuple ``(f, vjp)`` of functions of
    NumPy arrays by ``numpy_pair``, and what is made of PyTorch, JAX, HIPS autograd or MyGrad by the
    adapter for it.

    given: what it is called with, in lists, tuples and dicts. If the function names no library, an
    array of PyTorch, JAX or MyGrad among these tells it; TypeError if they are of two libraries.
    drawn: Tensors among these are what strategies draw for any library, and tell nothing.

    The checks call it on whatever they are given.
    """
    if isinstance(function, Adapted):
        return function
    if isinstance(function, tuple) and len(function) == 2 and all(map(callable, function)):
        return numpy_pair(function[0], function[1])
    if not callable(function):
        raise TypeError(
            f"a check takes a function, an op, a layer, or a tuple (f, vjp) of two functions, got {_described(function)}"
        )
    _refuse_class(function)
    if not LIBRARIES.keys() & sys.modules.keys():
        return function
    named = _libraries(function, DEPTH, set())
    if OURS in named:
        return function
    libraries = named if len(named) == 1 else libraries_of(given) - ({OURS} if drawn else set())
    if libraries <= {OURS}:
        return function
    if len(libraries) > 1:
        two = " and ".join(sorted(libraries))
        raise TypeError(
            f"{_title(function)}: its inputs are of {two}, and it does not say which of them it is made of: give arrays of "
            f"one library alone, or name its adapter, {' or '.join(_adapter_names(libraries))}"
        )
    return ADAPTERS[libraries.pop()](function)


def _refuse_class(kind):
    """TypeError if ``kind`` is a class whose objects are called: a layer's, say."""
    if not isinstance(kind, type) or not any({"__call__", "forward"} & vars(base).keys() for base in kind.__mro__):
        return
    rules = hasattr(kind, "apply") and not hasattr(kind, "named_parameters")
    if rules or "mygrad" in {_root(base.__module__) for base in kind.__mro__}:  # an op is a class there
        return
    try:
        needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        needed = ["..."]
    raise TypeError(
        f"{kind.__name__} is a class, and its objects are what is called: give one of them, {kind.__name__}({', '.join(needed)})"
    )


def _adapter_names(libraries):
    return [f"adapters.{ADAPTERS[library].__name__}(fn)" for library in sorted(libraries - {OURS})]


def libraries_of(given):
    """The libraries whose arrays are in ``given``."""
    return {root for leaf in leaves_of(given) for root in map(_root, _modules(leaf)) if root}


def _modules(value):
    return [kind.__module__ for kind in type(value).__mro__] if hasattr(value, "__array__") else []


def _described(value):
    if not isinstance(value, (tuple, list)):
        return type(value).__name__
    return f"a {type(value).__name__} of {len(value)}, ({', '.join(type(part).__name__ for part in value)})"


def _title(function):
    """What to call a function of another library."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and getattr(function, "__name__", "") == "apply":
        return owner.__name__
    if isinstance(function, functools.partial):
        return _title(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


def _root(module):
    return _known((module or "").partition(".")[0])


def _known(root):
    return root if root == OURS else LIBRARIES.get(root)


def _libraries(value, depth, seen):
    """The libraries that ``value`` is made of, ours among them."""
    if id(value) in seen:
        return set()
    seen.add(id(value))
    if isinstance(value, types.ModuleType):
        return {_root(value.__name__)} - {None}
    if getattr(value, "_is_autograd_primitive", False) is True:
        return {"autograd"}
    if isinstance(value, functools.partial):
        return _libraries(value.func, depth, seen)
    if isinstance(value, types.MethodType):
        return _libraries(value.__self__, depth, seen) | _libraries(value.__func__, depth, seen)
    if isinstance(value, types.FunctionType):
        return _of_function(value, depth, seen)
    kinds = list(inspect.getmro(value)) if isinstance(value, type) else []
    for kind in [*kinds, *type(value).__mro__]:
        if root := _root(kind.__module__):
            return {root}
    if isinstance(value, types.BuiltinFunctionType):
        return {_root(getattr(value, "__module__", None))} - {None}
    call = inspect.getattr_static(type(value), "__call__", None)
    if depth and isinstance(call, types.FunctionType) and not isinstance(value, type):
        return _libraries(call, depth - 1, seen)
    return set()


def _of_function(function, depth, seen):
    """The library that a function is defined in, or those that its code names."""
    for module in (function.__module__, function.__globals__.get("__name__")):
        if root := _root(module):
            return {root}
    found = set()
    if depth:
        names, imported = _names(function.__code__)
        found |= {library for library in map(_root, imported) if library}
        for name in names & function.__globals__.keys():
            found |= _libraries(function.__globals__[name], depth - 1, seen)
        for cell in function.__closure__ or ():
            try:
                found |= _libraries(cell.cell_contents, depth - 1, seen)
            except ValueError:  # not yet filled
                continue
    wrapped = getattr(function, "__wrapped__", None)
    return found | (_libraries(wrapped, depth, seen) if wrapped is not None else set())


def _names(code):
    """Global names, and modules imported, in a function and in the functions within it."""
    names, imported = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            imported.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = _names(inner)
            names, imported = names | more[0], imported | more[1]
    return names, imported
