"""All checks, printed as they come."""

from __future__ import annotations

from minitensor.health import gpu, host, processes
from minitensor.health.check import BROKEN, NOTE

__all__ = ["PARTS", "checkup"]

PARTS = {"CPU": host.checks, "GPU": gpu.checks, "several processes": processes.checks}


def checkup() -> int:
    """Print what is installed and whether it works; the number of things that are broken."""
    marks: list[str] = []
    for title, checks in PARTS.items():
        print(title)
        for check in checks():
            marks.append(check.mark)
            print(check, flush=True)
    broken, notes = marks.count(BROKEN), marks.count(NOTE)
    print(
        f"{broken} broken, {notes} {'note' if notes == 1 else 'notes'}"
        if broken
        else f"nothing is broken ({notes} notes)"
    )
    return broken
