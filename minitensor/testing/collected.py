"""Where the results of checks are gathered, if somebody asked for them: the pytest plugin does.

A context variable holds the list, so that it is that of one thread or task; without it a check runs
as if this file were not there.
"""

from __future__ import annotations

import functools
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from minitensor.testing.adapters import adapt
from minitensor.testing.problem import name_of

__all__ = ["collected", "collecting"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

_entries: ContextVar[list[dict] | None] = ContextVar("minitensor_checks", default=None)


@contextmanager
def collecting(entries: list[dict]) -> Iterator[list[dict]]:
    """Within, each check of this thread or task appends to ``entries`` what came of it."""
    token = _entries.set(entries)
    try:
        yield entries
    finally:
        _entries.reset(token)


def collected(check: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a check whose first argument is the function checked and which returns
    a ``Report``: it is gathered too.
    """

    @functools.wraps(check)
    def gathered(*args: P.args, **keywords: P.kwargs) -> R:
        entries = _entries.get()
        if entries is None:
            return check(*args, **keywords)
        name = keywords.get("name") or name_of(adapt(args[0] if args else keywords.get("fn")))
        entry: dict = {
            "op": str(name),
            "check": check.__name__,
            "seed": _plain(keywords.get("seed", 0)),
            "outcome": "failed",
        }
        entry |= dict.fromkeys(("checked", "kinks", "hidden", "error"))  # a check that failed counts nothing
        entries.append(entry)
        started = time.perf_counter()
        try:
            report = check(*args, **keywords)
            error = getattr(report, "error", None)
            entry |= {
                "outcome": "passed",
                "checked": int(getattr(report, "checked", 0)),
                "kinks": int(getattr(report, "kinks", 0)),
                "hidden": int(getattr(report, "hidden", 0)),
                "error": None if error is None else float(error),
            }
        except Exception as error:
            entry["message"] = str(error)
            raise
        finally:
            entry["seconds"] = time.perf_counter() - started
        return report

    return gathered


def _plain(seed):
    """A seed as JSON has it; one that the check will refuse as it is written."""
    return int(seed) if hasattr(seed, "__index__") else repr(seed)
