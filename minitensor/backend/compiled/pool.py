"""The threads of the compiled kernels: one pool, which products and all other work share.

A kernel cuts its work into parts, the same whatever the number of threads: no bit of a result
depends on it. The thread that calls does parts itself, and every other thread of the pool takes the
next one that nobody has; so a thread that another process keeps from its core delays nothing but
the part that it holds. A second caller, while the first one's job runs, does its own parts alone.

Threads that wait look for work for SPIN rounds, some ten microseconds, and then sleep: a spinning
thread would hold the core that others need. They are threads of Python that never come back from
compiled code, without its lock, and start on first use. After a fork the child makes its own.

The state is a block of words, each on a cache line of its own:

    RUN       address of ``run``
    TICKET    generation, number of parts and next part of the job, in one word
    DONE      parts done        FUNCTION, DATA  what a part calls
    BUSY      1 while a job runs
    SLEEPING  threads asleep    STOP  1 if the threads are to end
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading

from numba import cfunc, njit, types

from minitensor.backend.compiled.disk import compiled_on_disk
from minitensor.backend.compiled.lowlevel import (
    add_atomic,
    call_part,
    call_word,
    compare_and_swap,
    load,
    pause,
    store,
)

__all__ = ["address", "resize", "stop", "threads"]

LINE = 64  # bytes
RUN, TICKET, DONE, FUNCTION, DATA, BUSY, SLEEPING, STOP, MUTEX, CONDITION, CALLS = (LINE * k for k in range(11))
LOCK, UNLOCK, WAIT, WAKE, YIELD = (CALLS + 8 * k for k in range(5))  # addresses of the system's functions
SIZE = CALLS + LINE

PART_BITS = 20  # of a ticket, twice: the number of parts, the next part; the rest is the generation
PARTS = (1 << PART_BITS) - 1  # the most that a job can have
GENERATIONS = (1 << 22) - 1
SPIN = 4000  # rounds that a thread looks for work before it sleeps
HASTE = 2000  # rounds that the caller waits for the last parts before it offers its core


def _run(state, function, data, parts):
    """Do a job: ``function(data, part)`` for each part."""
    if parts <= 1 or parts > PARTS or not compare_and_swap(state + BUSY, 0, 1):
        for i in range(parts):
            call_part(function, data, i)
        return
    store(state + FUNCTION, function)
    store(state + DATA, data)
    store(state + DONE, 0)
    generation = ((load(state + TICKET) >> (2 * PART_BITS)) + 1) & GENERATIONS
    store(state + TICKET, (generation << (2 * PART_BITS)) | (parts << PART_BITS))
    if load(state + SLEEPING) > 0:
        call_word(load(state + LOCK), state + MUTEX, 0)
        call_word(load(state + WAKE), state + CONDITION, 0)
        call_word(load(state + UNLOCK), state + MUTEX, 0)
    while True:
        ticket = load(state + TICKET)
        if (ticket & PARTS) >= parts:
            break
        if compare_and_swap(state + TICKET, ticket, ticket + 1):
            call_part(function, data, ticket & PARTS)
            add_atomic(state + DONE, 1)
    rounds = 0
    while load(state + DONE) < parts:
        rounds += 1
        if rounds < HASTE:
            pause()
        else:
            call_word(load(state + YIELD), 0, 0)
    store(state + BUSY, 0)


def _work(state):
    """What a thread of the pool does until it is told to stop."""
    rounds = 0
    while load(state + STOP) == 0:
        ticket = load(state + TICKET)
        if (ticket & PARTS) < ((ticket >> PART_BITS) & PARTS):
            # Whoever moves the ticket on has a part of a job that cannot end without it: function
            # and data are that job's.
            if compare_and_swap(state + TICKET, ticket, ticket + 1):
                call_part(load(state + FUNCTION), load(state + DATA), ticket & PARTS)
                add_atomic(state + DONE, 1)
            rounds = 0
            continue
        rounds += 1
        if rounds < SPIN:
            pause()
            continue
        rounds = 0
        call_word(load(state + LOCK), state + MUTEX, 0)
        add_atomic(state + SLEEPING, 1)
        ticket = load(state + TICKET)
        if (ticket & PARTS) >= ((ticket >> PART_BITS) & PARTS) and load(state + STOP) == 0:
            call_word(load(state + WAIT), state + CONDITION, state + MUTEX)
        add_atomic(state + SLEEPING, -1)
        call_word(load(state + UNLOCK), state + MUTEX, 0)


# --- the system's locks ---------------------------------------------------------------------------


def _system_calls():
    """Addresses of the functions that lock, unlock, wait, wake all and give way.

    Windows' take the same arguments in the same order, but for what ``call_word`` adds.
    """
    if sys.platform == "win32":
        library = ctypes.WinDLL("kernel32")
        names = (
            "AcquireSRWLockExclusive", "ReleaseSRWLockExclusive", "SleepConditionVariableSRW", "WakeAllConditionVariable",
            "SwitchToThread",
        )  # fmt: skip
    else:
        library = ctypes.CDLL(None)
        names = (
            "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast", "sched_yield",
        )  # fmt: skip
    return [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]


# --- the pool of this process ---------------------------------------------------------------------

_starting = threading.Lock()
_state = 0  # address of the state; 0 before the first use
_count = None  # of the threads that were asked for by ``resize``
_kept: list = []  # the memory of all states, which a thread may still look at, and their threads


def address():
    """The address of the pool's state; starts it on first use."""
    return _state or _start()


def threads():
    """How many threads compute: MINITENSOR_THREADS, else OMP_NUM_THREADS, else one for each core
    that the process may use.
    """
    if _count is not None:
        return _count
    for name in ("MINITENSOR_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text:
            if not text.isdecimal() or not int(text):
                raise ValueError(f"the environment variable {name} must be a positive number of threads, got {text!r}")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resize(count):
    """Compute on ``count`` threads from now on."""
    global _count
    stop()
    _count = count


def stop():
    """End the threads of the pool; the next use starts it anew."""
    global _state
    with _starting:
        if _state:
            _put(STOP, 1)
            for call, argument in ((LOCK, MUTEX), (WAKE, CONDITION), (UNLOCK, MUTEX)):
                ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_get(call))(_state + argument)
            for thread in _kept[-1][1]:
                thread.join()
            _state = 0


def _start():
    global _state
    with _starting:
        if _state:
            return _state
        memory = (ctypes.c_byte * (SIZE + LINE))()
        state = -(-ctypes.addressof(memory) // LINE) * LINE
        run = compiled_on_disk(cfunc, _run, types.void(*[types.int64] * 4))
        for offset, value in zip((LOCK, UNLOCK, WAIT, WAKE, YIELD), _system_calls()):
            _put(offset, value, state)
        _put(RUN, run.address, state)
        if sys.platform == "darwin":  # where a lock is not all zeros
            library = ctypes.CDLL(None)
            library.pthread_mutex_init(ctypes.c_void_p(state + MUTEX), None)
            library.pthread_cond_init(ctypes.c_void_p(state + CONDITION), None)
        work = compiled_on_disk(njit, _work, nogil=True)
        work.compile(types.void(types.int64))
        others = [threading.Thread(target=work, args=(state,), daemon=True) for _ in range(threads() - 1)]
        for thread in others:
            thread.start()
        _kept.append((memory, others, run))
        _state = state
        return state


def _put(offset, value, state=None):
    ctypes.c_int64.from_address((_state if state is None else state) + offset).value = value


def _get(offset):
    return ctypes.c_int64.from_address(_state + offset).value


def _forget():
    """In the child of a fork: the threads are not there."""
    global _state, _starting
    _state, _starting = 0, threading.Lock()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
