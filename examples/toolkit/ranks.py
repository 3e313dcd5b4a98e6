"""Training by several processes: ``mpiexec -n 4 python examples/digits.py train --distributed``.

Every process runs the same program. Rank 0 makes the folder of the run, prints, and writes all
files; the others read there what the run is, and are silent. An error of one rank ends all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from minitensor import distributed
from minitensor.distributed import Group
from minitensor.distributed.joining import started
from toolkit.console import UserError, note, require, say

__all__ = ["Together", "advise_threads", "check_alone", "find_others", "on_devices", "together"]


# How many threads a library of matrix products takes.
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Together(UserError):
    """An error that all ranks have found at once: rank 0 tells of it, the others end too."""


def check_alone(trains: bool) -> None:
    """Raise UserError if ``mpiexec`` has started several processes that would not know each other,
    and do all work several times.
    """
    if started() > 1:
        cure = "give train --distributed, so that they train together"
        how = cure if trains else "this command is for one; only train is for several"
        raise UserError(f"mpiexec has started {started()} processes: {how}")


def find_others() -> Group:
    """The group of all processes. Raises UserError if there is no MPI, or another one than
    ``mpiexec`` belongs to.
    """
    require("mpi4py", "mpi")
    try:
        return distributed.join()
    except (ImportError, RuntimeError) as error:
        raise UserError(str(error)) from None


def advise_threads(group: Group, device: str) -> None:
    """Say so if each of several processes on CPUs multiplies matrices on all cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = not any(os.environ.get(name) for name in LIMITS)
    if group.size > 1 and group.rank == 0 and device == "cpu" and cores > 1 and free:
        note(
            f"each process multiplies matrices on all {cores} cores of its machine, where others do the same: set "
            "OMP_NUM_THREADS to the cores that each is to have"
        )


def on_devices(group: Group, settings: Any) -> tuple[Group, Any]:
    """The group for the device of ``settings``, and these with the device of this rank: each has a
    GPU of its own.
    """
    if settings.device == "cpu":
        return group, settings
    try:
        joined = distributed.NCCLGroup(group, settings.device)
    except (ImportError, RuntimeError, ValueError) as error:
        raise UserError(str(error)) from None
    return joined, dataclasses.replace(settings, device=joined.device)


@contextlib.contextmanager
def together(group: Group) -> Iterator[None]:
    """Inside, only rank 0 prints to the standard output, and an error of one rank is told and ends
    all of them.
    """
    if group.size == 1:
        yield
        return
    with contextlib.ExitStack() as stack:
        if group.rank:
            sink = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(sink))
        try:
            yield
        except Together as error:
            if group.rank:
                raise SystemExit(error.exit_code) from None
            raise
        except BaseException as error:
            code = _told(error, f"rank {group.rank} of {group.size}")
            group.abort(code)
            raise  # an abort does not come back


def _told(error: BaseException, who: str) -> int:
    """Say what ended ``who``; returns the exit status."""
    if isinstance(error, UserError):
        say(f"error: {who}: " + " ".join(str(error).split()))
        return error.exit_code
    if isinstance(error, (MemoryError, OSError)):
        say(f"error: {who}: {type(error).__name__}: {error}")
        return UserError.exit_code
    if isinstance(error, KeyboardInterrupt):
        say(f"{who}: interrupted")
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    say(f"{who}:")
    traceback.print_exception(error, file=sys.stderr)
    return 1
