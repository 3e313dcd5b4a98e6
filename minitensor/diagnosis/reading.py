"""Infinities that were made within no_grad: a metric that overflows is no cause of anything. The
fault is told when something reads it that matters: a recorded op, an op that makes NaN of it, a
parameter that it is assigned to, or ``why_nan`` of the loss itself.
"""

from __future__ import annotations

from dataclasses import replace

from minitensor.diagnosis import places
from minitensor.diagnosis.finding import Step
from minitensor.diagnosis.records import record_of

__all__ = ["fault_of", "refuse_read"]


def fault_of(value):
    """The error that is due for a value, with the ops from the infinity to it; None if none is."""
    record = record_of(value)
    if record is None or record.fault is None:
        return None
    error, steps = record.fault, []
    while record is not None and record.fault is error:
        steps.append(Step(record.name, record.site.module, record.site.line))
        record = next((one for one in record.inputs if one is not None and one.fault is error), None)
    return _told(error, replace(error.finding, chain=steps[::-1], notes=list(error.finding.notes)))


def refuse_read(name, args):
    """Raise the error that is due for one of ``args``, which ``name`` reads: an op that is recorded
    or has made NaN, or assign.
    """
    for value in args:
        record = record_of(value)
        if record is not None and record.fault is not None:
            error = fault_of(value)
            site = places.here()
            error.finding.chain.append(Step(name, site.module, site.line))
            error.finding.notes.append(
                f"it was made within mt.no_grad(), and read by {name}" + (f" at {site}" if site else "")
            )
            raise _told(error, error.finding)


def _told(error, finding):
    """The error with another Finding: not itself, which would hold the frames that it is raised
    in.
    """
    told = FloatingPointError(f"{error.head}\n{finding}")
    told.finding, told.node, told.head = finding, None, error.head  # type: ignore[attr-defined]
    return told
