"""Work that is spread over processes, and what is said if one of them ends before its work."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from toolkit.console import Progress, UserError

__all__ = ["MOST_WORKERS", "Workers", "spread"]

MOST_WORKERS = 60 if sys.platform == "win32" else 1000  # Windows cannot wait for the end of more processes at a time
PATIENCE = 1.0  # seconds without a result, behind which the processes are looked at


def spread(label: str, function: Callable[..., Any], calls: list[tuple[Any, ...]], workers: int) -> list[Any]:
    """``function(*call)`` for each call, in their order, by so many processes of one BLAS thread
    each, with a bar for those done.

    The matrices here are too small for BLAS to share them among cores, so whole trainings are
    shared out instead. Raises UserError if a process ends before its work is done.
    """
    results = []
    with Progress(label, total=len(calls)) as progress:
        for result in _results(function, calls, workers):
            results.append(result)
            progress.advance()
    return results


def _results(function: Callable[..., Any], calls: list[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    if workers == 1:
        yield from (function(*call) for call in calls)
        return
    processes, done = _of_all_claims(workers), False
    try:
        yield from processes.results(function, calls)
        done = True
    finally:
        if not done:  # the other calls would go on
            processes.end()
            _of_all_claims.cache_clear()


@cache
def _of_all_claims(workers: int) -> Workers:
    """The processes of all claims. They stay until the program ends, since each needs seconds to
    load what it works with.
    """
    made = Workers(workers, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    atexit.register(made.end)
    return made


class Workers:
    """So many new processes that have these variables in their environment: NumPy and minitensor
    read them when a process loads them. At the end of a ``with`` block they end.
    """

    def __init__(self, count: int, environment: dict[str, str]) -> None:
        before = {name: os.environ.get(name) for name in environment}
        others = set(multiprocessing.active_children())
        os.environ.update(environment)
        try:
            self._pool = multiprocessing.get_context("spawn").Pool(count, _ignore_interrupt)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        self._processes = set(multiprocessing.active_children()) - others

    def results(self, function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Iterator[Any]:
        """``function(*call)`` for each call, in their order.

        Raises UserError if a process ends, as one does that takes more memory than there is: the
        pool would start another in its place, and wait for ever for what the first one had begun.
        """
        found = self._pool.imap(_call, [(function, call) for call in calls])
        while True:
            try:
                result = found.next(timeout=PATIENCE)
            except StopIteration:
                return
            except multiprocessing.TimeoutError:
                self._look()
                continue
            yield result

    def result(self, function: Callable[..., Any], *call: Any) -> Any:
        """``function(*call)``, by one of the processes; errors as of `results`."""
        return next(self.results(function, [call]))

    def _look(self) -> None:
        for process in self._processes:
            if process.exitcode is not None:
                raise UserError(
                    f"a worker process ended before its work was done (exit code {process.exitcode}): if it was for want"
                    " of memory, end other programs, or give fewer --workers"
                )

    def end(self) -> None:
        """End the processes, whatever they do."""
        self._pool.terminate()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()


def _call(work: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, call = work
    return function(*call)


def _ignore_interrupt() -> None:
    """Ctrl-C goes to all processes of a terminal: only the parent handles it, and ends the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
