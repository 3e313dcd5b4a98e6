"""PyTorch: ``torch.autograd.Function``, ``torch.nn.Module`` and any function of its tensors."""

from __future__ import annotations

import functools
import inspect
import re
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from minitensor.testing.adapters.adapted import Library
from minitensor.testing.adapters.watching import Watch, as_bytes, never_ran

__all__ = ["PyTorch"]

_Node = torch.autograd.function.BackwardCFunction
IN_PLACE = "it writes to one of its inputs in place: give a function that clones it, lambda x: op(x.clone())"
BUFFER = "its backward writes to a gradient that it returned before, a buffer that it keeps: return a new tensor at each call"
_APPLY = inspect.getattr_static(torch.autograd.Function, "apply").__func__.__code__
_NARROW = "bfloat16"  # the one type that PyTorch does not give to NumPy


class PyTorch(Library):
    """Gradients by ``torch.autograd.grad``, second ones by its ``create_graph``."""

    name = "PyTorch"
    package = "torch"
    twice = True

    def __init__(self):
        self.called: set = set()  # the classes of torch.autograd.Function that were applied
        self.run_backward: set = set()
        self.again: Any = None  # runs what ran last, forward and backward, at moved inputs
        self.returned: list = []  # marks of the gradients of the last pass
        self.drew = False  # whether the function has drawn random numbers

    def move(self, array, device):
        if array.dtype.name == _NARROW:
            made = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        else:
            made = torch.from_numpy(_copied(array))
        return made.to(device or "cpu")

    def back(self, value):
        if value is None:
            return None
        value = value.detach().resolve_conj().cpu().clone()  # of PyTorch's lazy zeros too, which have no memory
        if value.dtype == torch.bfloat16:
            import ml_dtypes

            return value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return value.numpy()

    def is_output(self, value):
        return isinstance(value, torch.Tensor)

    def run(self, function, values, wanted, watch=None):
        watch = watch or Watch(_applied)
        leaves = list(values)
        for i in wanted:
            leaves[i] = values[i].requires_grad_()
        given = self._marks(leaves, bool(wanted))
        with torch.set_grad_enabled(bool(wanted)), self._fixed_random(), watch.on() if wanted else nullcontext():
            try:
                outputs = function(*leaves)
            except RuntimeError as error:
                if "leaf" in str(error) and "in-place" in str(error):
                    raise AssertionError(IN_PLACE) from error
                if hint := _about_types(str(error), leaves):
                    raise RuntimeError(f"{error}\n{hint}") from error
                raise
        self.called |= watch.calls.keys()
        if self._written_to(given):
            raise AssertionError(IN_PLACE)
        ran: list = []

        def pull(cotangents):
            pairs = [(o, g) for o, g in zip(outputs, cotangents) if g is not None and o.requires_grad]
            ran.clear()
            if not pairs:
                return [None] * len(wanted)
            given = self._marks([*leaves, *(g for _, g in pairs)])
            hooks = self._count(pairs, ran)
            try:
                found = torch.autograd.grad(
                    [o for o, _ in pairs], [leaves[i] for i in wanted], [g for _, g in pairs],
                    retain_graph=True, allow_unused=True,
                )  # fmt: skip
            finally:
                for hook in hooks:
                    hook.remove()
            self.again = functools.partial(self._watch_again, function, values, wanted, cotangents)
            if self._written_to(given):
                raise AssertionError("its backward writes to the gradient that it is given, or to an input")
            if self._written_to(self.returned):
                raise AssertionError(BUFFER)
            self.returned = self._marks(found)
            return list(found)

        return outputs, pull, lambda: len(ran)

    def _marks(self, tensors, values=True):
        """What tells whether somebody writes to ``tensors``: their versions and their ``values``,
        since PyTorch does not count what is written by ``.data`` or ``.detach().numpy()``.
        """
        found = [t for t in tensors if isinstance(t, torch.Tensor)]
        return [(t, t._version, self._bits(t) if values else None) for t in found]

    def _written_to(self, marks):
        return any(t._version != version or (bits is not None and self._bits(t) != bits) for t, version, bits in marks)

    def _bits(self, tensor):
        return self.back(tensor).tobytes() if tensor.layout is torch.strided else None

    @contextmanager
    def _fixed_random(self):
        """Within, PyTorch draws the same numbers each time: dropout is a function too."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            if torch.cuda.is_initialized():  # else torch.manual_seed would note each call, with all of its stack
                torch.cuda.manual_seed_all(0)
            before = torch.get_rng_state()
            yield
            self.drew = self.drew or not torch.equal(before, torch.get_rng_state())

    def _count(self, pairs, ran):
        """Hooks that append to ``ran`` for each node that the pass reaches."""
        nodes, stack = set(), [o.grad_fn for o, _ in pairs if o.grad_fn is not None]
        while stack:
            node = stack.pop()
            if node not in nodes:
                nodes.add(node)
                stack += [n for n, _ in node.next_functions if n is not None]

        if any(node.name().rpartition("::")[2] in ("Error", "DelayedError") for node in nodes):
            raise RuntimeError("a function is marked by once_differentiable: it has no second derivative")

        def hook_of(node):
            def hook(_):
                ran.append(node)
                if isinstance(node, _Node):
                    self.run_backward.add(getattr(node, "_forward_cls", None))

            return node.register_prehook(hook)

        return [hook_of(node) for node in nodes]

    def _watch_again(self, function, values, wanted, cotangents, factor, shift):
        """What is called, and with what, where the wanted values are multiplied and shifted so."""
        values = [v.detach() * factor + shift if i in wanted else v for i, v in enumerate(values)]
        watch = Watch(_applied, functools.partial(as_bytes, self.back))
        _, pull, _ = self.run(function, values, wanted, watch)
        with watch.on():
            pull(cotangents)
        return watch

    def unrun(self):
        missing, again = self.called - self.run_backward, self.again
        if missing and again is not None:
            missing = set(never_ran(missing, _code_of_backward, again))
            self.again = again
        self.called = missing | (self.called & self.run_backward)
        return [cls.__qualname__ for cls in missing]

    def pulled(self, function, count, wanted):
        def gradients(*given):
            values, cotangents = list(given[:count]), given[count:]
            for i in wanted:
                if not values[i].requires_grad:
                    values[i] = values[i].detach().requires_grad_()
            with torch.enable_grad():
                pairs = [(o, g) for o, g in zip(function(*values), cotangents) if o.requires_grad]
                xs = [values[i] for i in wanted]
                if not pairs:
                    return [torch.zeros_like(x) for x in xs]
                ends, seeds = [o for o, _ in pairs], [g for _, g in pairs]
                found = torch.autograd.grad(ends, xs, seeds, create_graph=True, allow_unused=True)
            return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, found)]

        return gradients

    def parameters(self, function):
        if not isinstance(function, torch.nn.Module):
            return []
        if isinstance(function, torch.jit.ScriptModule):
            raise TypeError(
                f"{type(function).__name__}: the parameters of a scripted module cannot be lent: check the module that was "
                "scripted, or lambda x: module(x) for the inputs alone"
            )
        return [(name, self.back(p)) for name, p in function.named_parameters()]

    def with_parameters(self, function, names, values):
        kinds = {v.dtype for v in values if v.is_floating_point()}
        (kind,) = kinds if len(kinds) == 1 else (None,)
        device = values[0].device
        state = dict(zip(names, values))
        for name, buffer in function.named_buffers():
            kept = buffer.detach().clone().to(device)
            state[name] = kept.to(kind) if kind is not None and kept.is_floating_point() else kept

        def call(*arguments, **keywords):
            return torch.func.functional_call(function, state, arguments, keywords)

        return call

    def cannot(self, error):
        words = str(error)
        return "once_differentiable" in words or "is not implemented" in words


def _applied(frame):
    """The class of ``torch.autograd.Function`` that a call of ``apply`` applies, and its arguments,
    if there are floating tensors among these.
    """
    if frame.f_code is not _APPLY:
        return None
    given = frame.f_locals.get("args", ())
    floating = any(isinstance(a, torch.Tensor) and a.is_floating_point() for a in given)
    return frame.f_locals["cls"] if floating else None, given


def _code_of_backward(kind):
    """The code of a class's ``backward`` or ``vjp``; none of one in C."""
    found = [inspect.unwrap(getattr(kind, name, None) or _applied) for name in ("backward", "vjp")]
    return {f.__code__ for f in found if inspect.isfunction(f)} - {_applied.__code__}


def _about_types(words, leaves):
    """What to do about an error that says that floating tensors differ in type; "" for another."""
    if not re.search(r"same dtype|expected scalar type|type.* should be the same", words) or re.search(
        r"\b(Long|Int|Bool|Byte)\b", words
    ):
        return ""
    kinds = sorted({str(t.dtype) for t in leaves if isinstance(t, torch.Tensor) and t.is_floating_point()})
    return (
        f"The inputs are {' and '.join(kinds)} here, and the function meets them with tensors of its own of another type: "
        "check a layer itself, whose parameters are then of the type of the inputs, or let what the function holds follow "
        "them, layer.double() for float64, weight.to(x.dtype) for any type"
    )


def _copied(array):
    """A writable copy with the same order of axes in memory, gaps and all."""
    if array.ndim and array.size and not array.flags.c_contiguous and all(s > 0 for s in array.strides):
        step = [s // array.itemsize for s in array.strides]
        base = np.zeros(sum((n - 1) * s for n, s in zip(array.shape, step)) + 1, dtype=array.dtype)
        view = np.lib.stride_tricks.as_strided(base, array.shape, array.strides)
        view[...] = array
        return view
    return array.copy()
