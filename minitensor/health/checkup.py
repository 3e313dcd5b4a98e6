"""All checks, printed as they come."""

from __future__ import annotations

from minitensor.health import gpu, host, processes
from minitensor.health.check import BROKEN, NOTE, Check

__all__ = ["PARTS", "checkup"]

PARTS = {"CPU": host.checks, "GPU": gpu.checks, "several processes": processes.checks}


def checkup() -> int:
    """Print what is installed and whether it works; the number of things that are broken."""
    marks: list[str] = []
    for title, checks in PARTS.items():
        print(title)
        for check in _to_the_end(title, checks):
            marks.append(check.mark)
            print(check, flush=True)
    broken, notes = marks.count(BROKEN), marks.count(NOTE)
    noted = f"{notes} {'note' if notes == 1 else 'notes'}"
    print(f"{broken} broken, {noted}" if broken else f"nothing is broken ({noted})")
    return broken


def _to_the_end(title, checks):
    """The checks of a part; one that fails itself is a thing that is broken, and the other parts
    are still looked at.
    """
    try:
        yield from checks()
    except Exception as error:  # of whatever is installed here
        said = f"{type(error).__name__}: {error}"
        yield Check(
            BROKEN, f"this part ({title}) could not be looked at further: {said}", "install it anew, or tell us"
        )
