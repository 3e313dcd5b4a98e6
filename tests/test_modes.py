"""Modes hold inside what they decorate, and nowhere else: functions, methods, code that stops and
goes on, threads, tasks.
"""

import asyncio
import functools
import inspect

import pytest

import minitensor as mt
from minitensor import nn
from minitensor.engine.mode import current_mode

# Each mode, the mode around it, and whether it holds here.
MODES = {
    "no_grad": (mt.no_grad, mt.enable_grad, lambda: not current_mode.get().grad),
    "enable_grad": (mt.enable_grad, mt.no_grad, lambda: current_mode.get().grad),
    "detect_anomaly": (mt.detect_anomaly, mt.enable_grad, lambda: current_mode.get().anomaly),
    "autocast": (mt.autocast, mt.enable_grad, lambda: current_mode.get().autocast is not None),
    "shapes_only": (nn.init.shapes_only, mt.enable_grad, lambda: not current_mode.get().memory),
    "skipped": (nn.init.skipped, mt.enable_grad, lambda: not current_mode.get().draws),
}
SPELLINGS = {"bare": lambda mode: mode, "called": lambda mode: mode(), "shared": lambda mode: mode().__call__}


@pytest.fixture(params=MODES)
def case(request):
    """A mode and its predicate; the test runs if it does not hold."""
    mode, around, holds = MODES[request.param]
    with around():
        assert not holds()
        yield mode, holds
        assert not holds()


@pytest.fixture(params=SPELLINGS.values(), ids=SPELLINGS)
def spelled(request, case):
    """A decorator and its predicate."""
    mode, holds = case
    return request.param(mode), holds


# --- functions and methods ------------------------------------------------------------------------


def test_functions(spelled):
    decorate, holds = spelled

    @decorate
    def function(a, *, b=2):
        """Its words."""
        return a, b, holds()

    assert function(1) == (1, 2, True) and function(1, b=3) == (1, 3, True) and not holds()
    assert function.__name__ == "function" and function.__doc__ == "Its words."
    assert decorate(lambda: holds())() and decorate(functools.partial(lambda x: holds(), 1))()

    @decorate
    def fails():
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        fails()
    assert not holds()


def test_methods(spelled):
    decorate, holds = spelled

    class Thing:
        @decorate
        def method(self):
            return self, holds()

        @decorate
        @staticmethod
        def static():
            return holds()

        @staticmethod
        @decorate
        def inner_static():
            return holds()

        @decorate
        @classmethod
        def of_class(cls):
            return cls, holds()

        @decorate
        @property
        def value(self):
            return holds()

        @decorate
        def __call__(self):
            return holds()

    thing = Thing()
    assert thing.method() == (thing, True) and thing.of_class() == (Thing, True)
    assert thing.static() and thing.inner_static() and thing.value and thing() and decorate(thing)()


def test_modules(case):
    mode, holds = case

    class Layer(nn.Module):
        def forward(self, x):
            return holds()

    assert mode(Layer())(1) and mode()(Layer())(1)


def test_values_of_no_grad():
    w = mt.ones((1,), requires_grad=True)
    assert not mt.no_grad(lambda x: x * 2.0)(w).requires_grad
    with mt.no_grad():
        assert mt.enable_grad(lambda x: x * 2.0)(w).requires_grad
    with pytest.raises(FloatingPointError, match="exp"):
        mt.detect_anomaly(mt.exp)(w * float("nan"))


@pytest.mark.parametrize("wrong", [3, "f", nn.Linear, True])
def test_what_cannot_be_decorated_is_refused(case, wrong):
    with pytest.raises(TypeError, match="decorates functions and methods, not|autocast: dtype must be"):
        case[0](wrong)


# --- code that stops and goes on ------------------------------------------------------------------


def test_generators_hold_inside_and_not_between_the_yields(spelled):
    decorate, holds = spelled
    seen = []

    @decorate
    def numbers(first):
        seen.append(holds())
        sent = yield first
        while sent is not None:
            seen.append(holds())
            try:
                sent = yield sent * 2
            except KeyError:
                sent = yield "caught" if holds() else "lost"
        return "end"

    assert inspect.isgeneratorfunction(numbers)
    run = numbers(1)
    assert next(run) == 1 and not holds()
    assert run.send(5) == 10 and not holds()
    assert run.throw(KeyError()) == "caught" and not holds()
    assert run.send(7) == 14
    with pytest.raises(StopIteration) as end:
        run.send(None)
    assert end.value.value == "end" and seen == [True] * 3 and not holds()


def test_a_generator_is_closed_in_its_mode(spelled):
    decorate, holds = spelled
    seen = []

    @decorate
    def numbers():
        try:
            yield 1
            yield 2
        finally:
            seen.append(holds())

    run = numbers()
    next(run)
    run.close()
    for _ in numbers():
        break
    with pytest.raises(ZeroDivisionError):
        for n in numbers():
            n //= 0
    assert seen[:2] == [True, True] and all(seen) and not holds()
    fails = decorate(lambda: (1 / 0 for _ in "ab"))()
    with pytest.raises(ZeroDivisionError):
        next(fails)
    assert not holds()


def test_a_generator_that_is_returned_or_made_by_another_decorator(spelled):
    decorate, holds = spelled
    assert list(decorate(lambda: (holds() for _ in range(2)))()) == [True, True]

    def other(function):
        @functools.wraps(function)
        def called(*args):
            return function(*args)

        return called

    @decorate
    @other
    def numbers(n):
        for _ in range(n):
            yield holds()

    assert list(numbers(3)) == [True] * 3


def test_two_generators_in_turn():
    @mt.no_grad
    def without():
        for _ in range(3):
            yield current_mode.get().grad

    @mt.enable_grad
    def recorded():
        for _ in range(3):
            yield current_mode.get().grad

    with mt.no_grad():
        assert list(zip(without(), recorded())) == [(False, True)] * 3
    assert list(zip(without(), recorded())) == [(False, True)] * 3 and current_mode.get().grad


def test_coroutines(spelled):
    decorate, holds = spelled
    seen = []

    @decorate
    async def work(x):
        seen.append(holds())
        await asyncio.sleep(0)
        seen.append(holds())
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        except asyncio.TimeoutError:
            seen.append(holds())
        return x + 1

    async def main():
        results = await asyncio.gather(work(1), work(2), decorate(lambda: work(3))())
        assert not holds()
        waiting = asyncio.ensure_future(work(0))
        await asyncio.sleep(0)
        assert not holds()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return results

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(main()) == [2, 3, 4]
    assert seen and all(seen)


def test_asynchronous_generators(spelled):
    decorate, holds = spelled
    seen = []

    @decorate
    async def numbers(n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                try:
                    sent = yield i
                except KeyError:
                    sent = yield "caught"
                seen.append((holds(), sent))
        finally:
            await asyncio.sleep(0)
            seen.append((holds(), "end"))

    async def main():
        collected = []
        async for i in numbers(2):
            assert not holds()
            collected.append(i)
        run = numbers(9)
        collected += [await run.asend(None), await run.asend("x"), await run.athrow(KeyError())]
        assert not holds()
        await run.aclose()
        collected += [i async for i in decorate(lambda: numbers(1))()]
        return collected

    assert inspect.isasyncgenfunction(numbers)
    assert asyncio.run(main()) == [0, 1, 0, 1, "caught", 0]
    assert [sent for _, sent in seen] == [None, None, "end", "x", "end", None, "end"] and all(held for held, _ in seen)
