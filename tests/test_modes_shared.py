"""Mode objects and generators of random numbers that threads and asynchronous tasks share, and
blocks left in any order.
"""

import asyncio
import sys
import threading

import numpy as np

import minitensor as mt
from minitensor.engine.mode import current_mode


def test_one_object_nested_and_blocks_left_in_any_order():
    mode = mt.no_grad()
    with mode, mode:
        with mt.enable_grad(), mode:
            assert not current_mode.get().grad
        assert not current_mode.get().grad
    assert current_mode.get().grad
    first, second, anomaly = mt.no_grad(), mt.enable_grad(), mt.detect_anomaly()
    for block in (first, second, anomaly):
        block.__enter__()
    first.__exit__(None, None, None)
    assert current_mode.get().grad and current_mode.get().anomaly
    second.__exit__(None, None, None)
    anomaly.__exit__(None, None, None)
    assert current_mode.get().grad and not current_mode.get().anomaly and not current_mode.get().blocks


def in_threads(work, count=4):
    """Run ``work(i)`` in threads that take turns all the time; raise what one of them raised."""
    errors = []

    def run(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def test_threads_share_a_mode_and_a_decorated_function():
    shared = mt.no_grad()
    decorated = shared(lambda: current_mode.get().grad)

    def work(i):
        for _ in range(300):
            with shared:
                assert not current_mode.get().grad
            assert current_mode.get().grad and not decorated()

    in_threads(work)


def test_tasks_share_a_mode():
    shared = mt.no_grad()

    async def work():
        for _ in range(20):
            with shared:
                await asyncio.sleep(0)
                assert not current_mode.get().grad
            await asyncio.sleep(0)
            assert current_mode.get().grad

    async def main():
        await asyncio.gather(*(work() for _ in range(5)))

    asyncio.run(main())


def test_a_block_left_in_another_thread_changes_nothing_there():
    def halves():
        with mt.no_grad():
            yield

    run = halves()
    next(run)
    try:
        in_threads(lambda i: list(run), count=1)
        assert not current_mode.get().grad
    finally:
        current_mode.set(type(current_mode.get())())


def test_threads_share_a_generator_of_random_numbers():
    shared, drawn = mt.random.Generator(5), []

    def work(i):
        for _ in range(100):
            drawn.append(shared.words(4).tolist())

    in_threads(work)
    expected = mt.random.Generator(5).words(1600).reshape(-1, 4).tolist()
    assert sorted(drawn) == sorted(expected) and shared.state == (5, 0, 400)
    assert np.unique(np.array(drawn)).size == 1600
