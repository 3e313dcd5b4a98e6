"""The switches around an op: whether it is recorded, whether its result is checked for NaN and
infinity, whether it is observed, in which types it runs, whether initial values are drawn and
whether dropout acts.

They belong to the context (of a thread, or of an asynchronous task), not to the process, and the
blocks that are open stand in the context too. So one mode object may serve many threads and tasks
at once, and blocks may be left in any order.
"""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from dataclasses import dataclass
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, overload

__all__ = [
    "current_mode", "detect_anomaly", "enable_grad", "no_dropout", "no_grad", "reads_values", "switch", "switched", "timed",
]  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from minitensor.engine.observer import Observer

    # What a mode decorates.
    Code = TypeVar("Code", bound=Callable[..., Any] | property | staticmethod[..., Any] | classmethod[Any, ..., Any])


@dataclass(frozen=True)
class Mode:
    """What ops do besides computing: record the graph, look for the first non-finite value; and
    what a new module is made of.

    observer: who runs the ops because a profile or a trace is open, an ``Observer``, or None.
    autocast: the type of 16 bits that products run in (see ``autocast.py``), or None.
    watched: somebody looks at each op, for one of these reasons; no short ways are taken then.
    draws: ``nn.init`` draws values. memory: parameters have memory of their own, and not one number
    that stands for all. dropout: it acts where it is asked for.
    """

    grad: bool = True
    anomaly: bool = False
    observer: Observer | None = None
    watched: bool = False
    autocast: Any = None
    draws: bool = True
    memory: bool = True
    dropout: bool = True
    blocks: tuple = ()  # the ``switched`` blocks that made it so, the outermost first


current_mode: ContextVar[Mode] = ContextVar("minitensor_mode", default=Mode())


class switched:
    """The current mode with some fields changed: for ``with`` blocks, or for every call of a
    decorated function.

    It holds nothing but the changes: threads and tasks may share one. A block that is left in
    another thread or task than it was entered in changes nothing there.
    """

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> None:
        _set((*current_mode.get().blocks, self))

    def __exit__(self, *error: object) -> None:
        blocks = current_mode.get().blocks
        for i in reversed(range(len(blocks))):
            if blocks[i] is self:
                _set(blocks[:i] + blocks[i + 1 :])
                return

    def __call__(self, function: Code) -> Code:
        """``function``, all of whose code runs in the changed mode.

        A generator, coroutine or asynchronous generator runs in it while it runs, and what happens
        between its yields does not; what is sent or thrown into it and what it returns pass
        through. Static and class methods and properties are taken too.
        """
        return self._decorated(function)

    def _decorated(self, function):
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if isinstance(function, property):
            parts: Any = [part and self(part) for part in (function.fget, function.fset, function.fdel)]
            fget, fset, fdel = parts
            return property(fget, fset, fdel, function.__doc__)
        if isinstance(function, type) or not callable(function):
            given = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
            raise TypeError(f"a mode such as mt.no_grad decorates functions and methods, not {given}")

        # What others find out by looking at a function stays true: that it is a generator function,
        # or is to be awaited.
        attributes = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()  # a module's are its state
        alike = functools.wraps(function, updated=attributes)
        if inspect.isgeneratorfunction(function):

            @alike
            def generator(*args, **kwargs):
                return (yield from _Steps(function(*args, **kwargs), self))

            return generator
        if inspect.iscoroutinefunction(function):

            @alike
            async def coroutine(*args, **kwargs):
                return await _Steps(function(*args, **kwargs), self)

            return coroutine
        if inspect.isasyncgenfunction(function):
            return alike(_async_generator_function(function, self))

        @alike
        def called(*args, **kwargs):
            with self:
                return _held(function(*args, **kwargs), self)

        return called


def _set(blocks):
    changes = {name: value for block in blocks for name, value in block._changes.items()}
    current_mode.set(Mode(**changes, blocks=blocks))


def timed(name: str) -> Callable[[Code], Code]:
    """Decorator of a function that is not an op: a profile that is open shows its time as
    ``name``.
    """

    def decorate(function):
        @functools.wraps(function)
        def called(*args, **keywords):
            observer = current_mode.get().observer
            return function(*args, **keywords) if observer is None else observer.part(name, function, args, keywords)

        return called

    return decorate


def reads_values(*names: str) -> Callable[[Code], Code]:
    """Decorator of a function, no op, that reads the values of the arguments ``names``, to check
    them or to go by them.

    Where a tensor stands for many at once (``mt.vmap``) it has no such values, and the observer
    finds another way.
    """

    def decorate(function):
        @functools.wraps(function)
        def called(*args, **keywords):
            observer = current_mode.get().observer
            return (
                function(*args, **keywords) if observer is None else observer.reading(names, function, args, keywords)
            )

        return called

    return decorate


# --- functions that stop and go on ----------------------------------------------------------------


def _held(result, mode):
    """``result``; if it is code that has still to run, the same code, which will run in
    ``mode``.
    """
    if isinstance(result, GeneratorType):
        return _generator(_Steps(result, mode))
    if isinstance(result, CoroutineType):
        return _coroutine(_Steps(result, mode))
    if isinstance(result, AsyncGeneratorType):
        return _async_generator_function(lambda: result, mode)()
    return result


class _Steps:
    """A generator or coroutine, each step of which runs in ``mode``; made for ``yield from`` and
    ``await``.
    """

    def __init__(self, code, mode):
        self.code, self.mode = code, mode

    def __iter__(self):
        return self

    __await__ = __iter__

    def __next__(self):
        return self.send(None)

    def send(self, value):
        with self.mode:
            return self.code.send(value)

    def throw(self, *error):
        with self.mode:
            return self.code.throw(*error)

    def close(self):
        with self.mode:
            return self.code.close()


def _generator(steps):
    return (yield from steps)


async def _coroutine(steps):
    return await steps


def _async_generator_function(function, mode):
    """``function``, each step of whose asynchronous generators runs in ``mode``."""

    async def decorated(*args, **kwargs):
        code = function(*args, **kwargs)
        step = code.asend(None)
        while True:
            try:
                value = await _Steps(step.__await__(), mode)
            except StopAsyncIteration:
                return
            try:
                step = code.asend((yield value))
            except GeneratorExit:
                await _Steps(code.aclose().__await__(), mode)
                raise
            except BaseException as error:
                step = code.athrow(error)

    return decorated


# --- the modes ------------------------------------------------------------------------------------


@overload
def switch(function: None, **changes: Any) -> switched: ...
@overload
def switch(function: Code, **changes: Any) -> Code: ...
def switch(function, **changes):
    """The mode with ``changes``; or, if ``function`` is given, that function in it: what
    ``@mt.no_grad`` without () asks for.
    """
    mode = switched(**changes)
    return mode if function is None else mode(function)


@overload
def no_grad(function: None = None) -> switched: ...
@overload
def no_grad(function: Code) -> Code: ...
def no_grad(function=None):
    """Context manager and decorator: ops inside record nothing. Values are bit-identical to those
    outside.

    ``with mt.no_grad():``, ``@mt.no_grad()``, ``@mt.no_grad`` and ``mt.no_grad(function)`` do; so
    they do for all modes. The mode holds for the thread or the asynchronous task alone, and one
    object may be shared by many of them.

    >>> import minitensor as mt
    >>> w = mt.ones(2, requires_grad=True)
    >>> @mt.no_grad
    ... def double(x):
    ...     return x * 2.0
    >>> double(w).requires_grad, (w * 2.0).requires_grad
    (False, True)
    """
    return switch(function, grad=False)


@overload
def enable_grad(function: None = None) -> switched: ...
@overload
def enable_grad(function: Code) -> Code: ...
def enable_grad(function=None):
    """Context manager and decorator, as ``no_grad``: ops inside record again, within
    ``no_grad``.
    """
    return switch(function, grad=True)


@overload
def detect_anomaly(function: None = None) -> switched: ...
@overload
def detect_anomaly(function: Code) -> Code: ...
def detect_anomaly(function=None):
    """Context manager and decorator, as ``no_grad``: FloatingPointError at the first non-finite
    value, in forward or backward.

    An infinity that an op was given, such as a mask of one's own for a softmax, and what comes of
    it is no fault; one that an op made of finite numbers is, and so is every NaN. Within
    ``no_grad`` such an infinity is told when something reads it: an op that is recorded or makes
    NaN of it, or ``assign``. The message names the op, the line that called it, the statistics of
    its operands, and why: it holds the Finding of ``mt.why_nan``, which is the ``finding`` of the
    error too. An optimiser's step raises for a gradient or a parameter that is not finite, before
    it is taken, and for a parameter that it made so. Every op is checked, which costs a pass over
    its result; use it to find a fault, not in production.
    """
    return switch(function, anomaly=True, watched=True)


def no_dropout() -> switched:
    """Context manager and decorator: dropout inside drops nothing, whatever its probability is."""
    return switched(dropout=False)
