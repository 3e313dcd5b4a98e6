"""``Module``: a function with state. The state is whatever is found by walking the attributes.

There is no registration and nothing to call from ``__init__``: assign parameters, buffers, modules,
or lists, tuples and dicts of them to attributes, and they are state, in the order of definition. An
attribute whose name starts with an underscore is not.

    Parameter          trained
    Buffer             saved, moved and loaded, not trained
    Module             its own state, under ``name.``
    list, tuple, dict  its items, under ``name.0.`` or ``name.key.``

Any other tensor is no state: what a forward pass leaves on a module to be looked at is neither
saved nor missed.
"""

from __future__ import annotations

from typing import Any

from minitensor.backend import as_device, as_dtype, cast, copied, is_floating, move
from minitensor.backend.capture import capturing
from minitensor.engine.hooks import Handle, standing
from minitensor.engine.messages import a_kind
from minitensor.engine.settings import flag
from minitensor.engine.tensor import Tensor
from minitensor.nn.loading import load_into
from minitensor.nn.parameter import Buffer, Parameter, replace_array
from minitensor.nn.walk import STATE, Stateful, contents, holds_state, named_children, tree, walk

__all__ = ["Module", "Parameter"]

# A checker takes this name for true. Jedi, which cannot read what stands below, takes it as it is,
# and follows ``__call__`` itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import ParamSpec, Protocol, TypeVar

    from numpy.typing import DTypeLike
    from typing_extensions import Self

    from minitensor.engine.attached import TensorLike

    P = ParamSpec("P")
    Out = TypeVar("Out", covariant=True)

    class Runs(Protocol[P, Out]):
        """A module as its call sees it, so that ``layer(x)`` takes and gives what its ``forward``
        does.
        """

        _hooks: Any

        def forward(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...


class Module(Stateful):
    """Base of all layers: subclasses assign their state in ``__init__`` and compute in ``forward``.

    >>> from minitensor import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self, d_model):
    ...         self.layers = [nn.Linear(d_model, d_model) for _ in range(2)]
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x)
    ...         return x
    >>> [name for name, _ in Twice(3).named_parameters()]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    training = True
    # Paths below this module, and other names of them in PyTorch's state.
    torch_names: dict[str, str] = {}
    # Those before and those after forward, two dicts; made when the first is registered.
    _hooks: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self: Runs[P, Out], *args: P.args, **kwargs: P.kwargs) -> Out:
        """``forward`` of the arguments, with the hooks around it."""
        if (capture := capturing()) is not None:
            capture.modules[id(self)] = self
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return _call_with_hooks(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        # A property, in which something else is missing: that is the error to see.
        if hasattr(type(self), name):
            return object.__getattribute__(self, name)
        cure = f": write {_TORCH_HABITS[name]}" if name in _TORCH_HABITS else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{cure}")

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        if isinstance(held, (*STATE, Stateful, list, tuple, dict)):
            value = _successor(f"{type(self).__name__}.{name}", held, value)
        if isinstance(value, (Parameter, list, tuple, dict)):
            for key, item in ((None, value),) if isinstance(value, Parameter) else contents(value):
                # Its whole path is not known yet.
                if isinstance(item, Parameter) and item.name is None:
                    item.name = f"{type(self).__name__}.{name}" + ("" if key is None else f".{key}")
        object.__setattr__(self, name, value)

    # --- walking the state ------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield ``(path, module)``, this one first; a shared one once, under its first path."""
        seen = set()
        for path, value in walk(self, prefix):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield path, value

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below this one, each once."""
        return iter({id(child): child for _, child in named_children(self)}.values())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield ``(path, parameter)`` as they were defined, a shared one once; set its ``name``."""
        for path, parameter in self._tensors(prefix):
            if isinstance(parameter, Parameter):
                parameter.name = path
                yield path, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters, each once, in order of definition."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield ``(path, tensor)`` of the state that is not trained."""
        return ((path, tensor) for path, tensor in self._tensors(prefix) if not isinstance(tensor, Parameter))

    def buffers(self) -> Iterator[Tensor]:
        """Yield the tensors of the state that are not trained."""
        return (tensor for _, tensor in self.named_buffers())

    def register_buffer(self, name: str, tensor: TensorLike | None, persistent: bool = True) -> None:
        """Assign ``nn.Buffer(tensor, persistent)``, or None, to the attribute ``name``."""
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent))

    def _tensors(self, prefix=""):
        seen = set()
        for path, value in walk(self, prefix):
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield path, value

    def num_parameters(self) -> int:
        """How many numbers are trained; a shared parameter counts once."""
        return sum(tensor.size for _, tensor in self._tensors() if isinstance(tensor, Parameter))

    # --- saving and loading -----------------------------------------------------------------------

    def _saved(self):
        """``{path: tensor}`` of what is saved and loaded; a shared one under each of its paths."""
        return {
            path: value
            for path, value in walk(self)
            if isinstance(value, Tensor) and getattr(value, "persistent", True)
        }

    def state_dict(self) -> dict[str, Tensor]:
        """A snapshot ``{path: tensor}`` of parameters and buffers; shared ones under each path."""
        copies = {}
        state = {}
        for path, value in self._saved().items():
            if id(value) not in copies:
                copies[id(value)] = Tensor(copied(value._array))
            state[path] = copies[id(value)]
        return state

    def load_state_dict(self, state: Mapping[str, TensorLike], strict: bool = True) -> tuple[list[str], list[str]]:
        """Overwrite parameters and buffers with the values of ``state``, cast to the dtypes held.

        A name may be ours or PyTorch's (``torch_names``): the state of a ``torch.nn.Transformer``
        fits an ``nn.Transformer``. Raises one ValueError that lists every missing name, unexpected
        name and wrong shape; nothing is written then. With ``strict=False`` missing and unexpected
        names are passed over. A shared parameter needs only one of its names, and different values
        under two of its names are an error. Returns ``(missing, unexpected)``.
        """
        return load_into(self, self._saved(), state, flag("load_state_dict", "strict", strict))

    # --- changing everything at once --------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set this module and all below to training (dropout acts) or not; returns the module."""
        mode = flag("train", "mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """``train(False)``."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move all state to ``device`` ("cpu", "cuda", "cuda:1"); returns the module.

        Tensors keep their identity.
        """
        device = as_device(device)
        for _, tensor in self._tensors():
            replace_array(tensor, lambda array: move(array, device))
        return self

    def astype(self, dtype: DTypeLike) -> Self:
        """Cast all floating state to ``dtype``; returns the module.

        Tensors keep their identity, integers stay as they are.
        """
        dtype = as_dtype(dtype)
        if not is_floating(dtype):
            raise TypeError(f"astype: a module's state is floating, got {dtype}")
        for _, tensor in self._tensors():
            if is_floating(tensor.dtype):
                replace_array(tensor, lambda array: cast(array, dtype))
        return self

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Freeze all parameters of this module (``False``) or train them again; returns the module.

        A frozen parameter has no gradient and an optimiser that holds it leaves it as it is.
        """
        wanted = flag("requires_grad_", "wanted", wanted)
        for parameter in self.parameters():
            parameter.requires_grad_(wanted)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, tensor in self._tensors():
            tensor.grad = None

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call ``function(module)`` for every module, this one last; returns the module."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    # --- hooks ------------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call ``hook(module, args)`` before each ``forward``; a result replaces ``args``.

        One value is taken as a tuple of one. ``with_kwargs``: it is called as
        ``hook(module, args, kwargs)`` and may return a new pair ``(args, kwargs)``. ``prepend``: it
        comes before the hooks that are there. Returns a ``Handle``, whose ``remove()`` takes the
        hook off. Hooks are no state: they are neither saved nor loaded; copies and pickles of a
        module keep them.
        """
        return self._register(0, hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call ``hook(module, args, output)`` after each ``forward``; a result replaces the output.

        ``with_kwargs``: it is called as ``hook(module, args, kwargs, output)``. For the rest see
        ``register_forward_pre_hook``.

        >>> import minitensor as mt
        >>> from minitensor import nn
        >>> layer = nn.ReLU()
        >>> handle = layer.register_forward_hook(lambda module, args, output: output + 1.0)
        >>> layer(mt.tensor([-1.0, 2.0]))
        tensor([1., 3.])
        >>> handle.remove()
        >>> layer(mt.tensor([-1.0, 2.0]))
        tensor([0., 2.])
        """
        return self._register(1, hook, prepend, with_kwargs)

    def _register(self, place, hook, prepend, with_kwargs):
        if not callable(hook):
            raise TypeError(f"a hook is a function, got {type(hook).__name__}")
        if self._hooks is None:
            self._hooks = ({}, {})
        return Handle(self._hooks[place], (hook, bool(with_kwargs)), first=bool(prepend))

    def __repr__(self) -> str:
        return tree(self)


_TORCH_HABITS = {  # what only PyTorch's modules have, and what to write instead
    "cuda": '.to("cuda")', "cpu": '.to("cpu")', "half": '.astype("float16")', "bfloat16": '.astype("bfloat16")',
    "float": '.astype("float32")', "double": '.astype("float64")', "type": ".astype(dtype)", "named_children": ".named_modules()",
    "register_parameter": "module.name = nn.Parameter(...)", "add_module": "module.name = another",
    "register_module": "module.name = another", "get_parameter": "dict(module.named_parameters())[name]",
    "get_submodule": "dict(module.named_modules())[name]", "get_buffer": "dict(module.named_buffers())[name]",
}  # fmt: skip


def _call_with_hooks(module, args, kwargs):
    """``module.forward(*args, **kwargs)`` with the hooks before and after it."""
    before, after = module._hooks
    for hook, with_kwargs in standing(before):
        answer = hook(module, args, kwargs) if with_kwargs else hook(module, args)
        if with_kwargs and answer is not None:
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise TypeError(
                    f"a forward pre-hook with_kwargs returns None or (args, kwargs), got {type(answer).__name__}"
                )
            args, kwargs = answer
        elif answer is not None:
            args = answer if isinstance(answer, tuple) else (answer,)
    output = module.forward(*args, **kwargs)
    for hook, with_kwargs in standing(after):
        answer = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
        output = output if answer is None else answer
    return output


def _successor(path, held, value):
    """``value`` in the place of ``held``; TypeError if state would be lost unseen."""
    if value is None:
        return value
    kind = a_kind(value)
    if isinstance(held, Parameter) and not isinstance(value, Parameter):
        raise TypeError(
            f"{path} is a Parameter, and {kind} would not be trained: write .{path.rpartition('.')[2]}.assign(value) to change "
            "its value, or assign an nn.Parameter"
        )
    if isinstance(held, Buffer) and not isinstance(value, STATE):
        if not isinstance(value, Tensor):
            raise TypeError(f"{path} is a Buffer, and {kind} is not one: assign a tensor, an nn.Buffer or None")
        # As in PyTorch, a tensor in the place of a buffer is one.
        return Buffer(value.detach(), held.persistent)
    if isinstance(held, Stateful) and not isinstance(value, Stateful) and not holds_state(value):
        raise TypeError(
            f"{path} is a module ({type(held).__name__}), and {kind} holds no state: assign a module or None"
        )
    if isinstance(held, (list, tuple, dict)) and contents(value) is None and holds_state(held):
        raise TypeError(
            f"{path} holds modules or parameters, and {kind} holds none: assign a container of them, or None"
        )
    return value
