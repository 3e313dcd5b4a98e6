"""``Module``: a function with state. The state is whatever is found by walking the attributes.

There is no registration and nothing to call from ``__init__``: assign parameters, tensors, modules, or lists, tuples and dicts of
them to attributes, and they are state, in the order of definition. An attribute whose name starts with an underscore is not.

    Parameter          trained
    any other Tensor   a buffer: saved, moved and loaded, not trained
    Module             its own state, under ``name.``
    list, tuple, dict  its items, under ``name.0.`` or ``name.key.``
"""

from __future__ import annotations

from minitensor.autograd import raw, watch
from minitensor.backend import as_device, as_dtype, is_floating, move, np
from minitensor.tensor import Tensor, asarray

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A leaf tensor that a module trains. Its value is changed by ``assign``; ``to`` and ``astype`` of its module keep the object.

    data: numbers, an array or a tensor of a floating type; copied.
    """

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(asarray(data)._array.copy())
        self.requires_grad_(requires_grad)


class Module:
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

    def forward(self, *args, **kwargs):
        """Compute the output; every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *args, **kwargs):
        """``forward`` of the arguments."""
        return self.forward(*args, **kwargs)

    def __setattr__(self, name, value):
        if isinstance(vars(self).get(name), Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, and a {type(value).__name__} would not be trained: write "
                f".{name}.assign(value) to change its value, or assign an nn.Parameter"
            )
        object.__setattr__(self, name, value)

    # --- walking the state ------------------------------------------------------------------------------------------------------

    def _items(self):
        """``(name, value)`` of every attribute that may be state."""
        return [(name, value) for name, value in vars(self).items() if not name.startswith("_")]

    def named_modules(self, prefix=""):
        """Yield ``(path, module)``, this module first; a shared module comes once, under its first path."""
        seen = set()
        for path, value in _walk(self, prefix, ()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield path, value

    def modules(self):
        """Yield this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def children(self):
        """Yield the modules directly below this one, each once."""
        return iter({id(child): child for _, child in _named_children(self)}.values())

    def named_parameters(self, prefix=""):
        """Yield ``(path, parameter)`` in order of definition and set ``parameter.name``; a shared one comes once."""
        for path, parameter in self._tensors(prefix):
            if isinstance(parameter, Parameter):
                parameter.name = path
                yield path, parameter

    def parameters(self):
        """Yield the parameters, each once, in order of definition."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix=""):
        """Yield ``(path, tensor)`` of the state that is not trained."""
        return ((path, tensor) for path, tensor in self._tensors(prefix) if not isinstance(tensor, Parameter))

    def buffers(self):
        """Yield the tensors of the state that are not trained."""
        return (tensor for _, tensor in self.named_buffers())

    def _tensors(self, prefix=""):
        seen = set()
        for path, value in _walk(self, prefix, ()):
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield path, value

    def num_parameters(self):
        """How many numbers are trained; a shared parameter counts once."""
        return sum(tensor.size for _, tensor in self._tensors() if isinstance(tensor, Parameter))

    # --- saving and loading -----------------------------------------------------------------------------------------------------

    def state_dict(self):
        """A snapshot ``{path: tensor}`` of parameters and buffers; a shared one is the same tensor under each of its paths."""
        copies = {}
        state = {}
        for path, value in _walk(self, "", ()):
            if isinstance(value, Tensor):
                if id(value) not in copies:
                    copies[id(value)] = Tensor(value._array.copy())
                state[path] = copies[id(value)]
        return state

    def load_state_dict(self, state, strict=True):
        """Overwrite parameters and buffers with the values of ``state`` (tensors or arrays), cast to the dtypes held.

        Raises one ValueError that lists every missing name, unexpected name and wrong shape; nothing is written then. With
        ``strict=False`` missing and unexpected names are passed over. A shared parameter needs only one of its names, and
        different values under two of its names are an error. Returns ``(missing, unexpected)``.
        """
        own = {path: value for path, value in _walk(self, "", ()) if isinstance(value, Tensor)}
        found = {id(own[path]) for path in own if path in state}
        missing = [path for path, tensor in own.items() if id(tensor) not in found]
        unexpected = [path for path in state if path not in own]
        problems, values = [], {}
        if strict:
            problems += [f"missing: {', '.join(missing)}"] if missing else []
            problems += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
        for path, tensor in own.items():
            if path not in state:
                continue
            value = asarray(state[path])
            if value.shape != tensor.shape:
                problems.append(f"{path} has shape {tensor.shape} here and {value.shape} in the state")
            first, known = values.setdefault(id(tensor), (path, value))
            if known is not value and known.shape == value.shape and not _equal(known, value):
                problems.append(f"{first} and {path} are one tensor here but have different values in the state")
        if problems:
            raise ValueError(f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(problems))
        for tensor in own.values():
            if id(tensor) in values:
                tensor.assign(values.pop(id(tensor))[1].detach())
        return missing, unexpected

    # --- changing everything at once --------------------------------------------------------------------------------------------

    def train(self, mode=True):
        """Set this module and all below it to training (dropout is active) or not; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """``train(False)``."""
        return self.train(False)

    def to(self, device):
        """Move the whole state to ``device`` ("cpu", "cuda", "cuda:1"); tensors keep their identity. Returns the module."""
        device = as_device(device)
        for _, tensor in self._tensors():
            _replace(tensor, lambda array: move(array, device))
        return self

    def astype(self, dtype):
        """Cast all floating state to ``dtype``; tensors keep their identity, integers stay as they are. Returns the module."""
        dtype = as_dtype(dtype)
        if not is_floating(dtype):
            raise TypeError(f"astype: a module's state is floating, got {dtype}")
        for _, tensor in self._tensors():
            if is_floating(tensor.dtype):
                _replace(tensor, lambda array: array.astype(dtype, copy=False))
        return self

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for _, tensor in self._tensors():
            tensor.grad = None

    def apply(self, function):
        """Call ``function(module)`` for every module, this one last; returns the module."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def __repr__(self):
        return _tree(self)


# --- the walk -------------------------------------------------------------------------------------------------------------------


def _walk(value, path, above):
    """Yield ``(path, module or tensor)`` at and below ``value``; shared ones under each of their paths.

    above: the containers that lead here; one that contains itself would never end.
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    items = _contents(value)
    if items is None:
        return
    if any(value is one for one in above):
        raise ValueError(
            f"{path} leads back to the {type(value).__name__} that holds it: begin that attribute's name with _"
        )
    if isinstance(value, Module):
        yield path, value
    for name, item in items:
        yield from _walk(item, f"{path}.{name}" if path else str(name), (*above, value))


def _contents(value):
    """The named items of a module or container; None for what holds no state."""
    if isinstance(value, Module):
        return value._items()
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    return None


def _named_children(value, path=""):
    """``(name, module)`` directly below a module, also inside its lists and dicts."""
    for name, item in _contents(value) or ():
        inner = f"{path}.{name}" if path else str(name)
        if isinstance(item, Module):
            yield inner, item
        else:
            yield from _named_children(item, inner)


def _replace(tensor, change):
    """Give ``tensor`` a changed array, and where it is a leaf of the graph a new place there, with its gradient and hooks."""
    array = change(tensor._array)
    if array is tensor._array:
        return
    old, tensor._array = tensor.node, array
    if old is None:
        return
    tensor.node = None
    tensor.requires_grad_()
    kept, before = watch(tensor.node), watch(old)
    kept.hooks, before.hooks = before.hooks, {}
    if before.grad is not None:
        kept.grad = change(raw(before.grad))
    name = tensor.name or "a parameter"

    def refuse(gradient):
        raise RuntimeError(f"{name} was moved or cast between forward and backward: run the forward pass again")

    before.hooks[refuse] = refuse  # a graph made before the change would deposit where nobody looks any more


def _equal(a, b):
    return a is b or np.array_equal(move(a._array, "cpu"), move(b._array, "cpu"), equal_nan=True)


# --- repr -----------------------------------------------------------------------------------------------------------------------


def _tree(module):
    """Class, hyper-parameters and children, one per line; equal neighbours in a list are written once."""
    plain = [
        (name, value)
        for name, value in module._items()
        if isinstance(value, (int, float, str, tuple)) and name != "training"
    ]
    plain = [f"{name}={value!r}" for name, value in plain if not (isinstance(value, tuple) and _holds_state(value))]
    head = f"{type(module).__name__}({', '.join(plain)}"
    rows = []  # [first name, last name, how many, text]
    for name, child in _named_children(module):
        text = _tree(child)
        if rows and rows[-1][3] == text and _follows(name, rows[-1][1]):
            rows[-1][1] = name
            rows[-1][2] += 1
        else:
            rows.append([name, name, 1, text])
    if not rows:
        return head + ")"
    lines = []
    for first, last, count, text in rows:
        label = f"{first}: " if count == 1 else f"{first} to {last}: {count} x "
        lines.append("  " + (label + text).replace("\n", "\n  "))
    return f"{head}\n" + "\n".join(lines) + "\n)"


def _follows(name, previous):
    """Whether two names are neighbours in one list, as "layers.0" and "layers.1" are."""
    (place, _, i), (other, _, j) = name.rpartition("."), previous.rpartition(".")
    return place == other and i.isdigit() and j.isdigit() and int(i) == int(j) + 1


def _holds_state(value):
    return any(True for _ in _walk(list(value), "", ()))
