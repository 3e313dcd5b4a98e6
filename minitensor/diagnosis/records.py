"""Which op made which array, while ``detect_anomaly`` is on: also of results that need no gradient,
and so have no node. Records hold no arrays.
"""

from __future__ import annotations

import weakref
from typing import Any

from minitensor.diagnosis.arrays import Bad, bad_in
from minitensor.diagnosis.forward import NORMS
from minitensor.engine.tensor import Tensor

__all__ = ["MOVES", "Record", "due", "name_of", "nearest", "note", "origin", "record_of"]

DEEPEST = 60  # ops that are known before another; a value that is carried on from step to step has more

# What hands a zero, or a sum, on: see ``nearest``.
MOVES = frozenset("reshape broadcast_to swapaxes permute_dims astype getitem maximum alias where add".split())

_records: dict[int, _Reference] = {}  # by id of an array
due: set[int] = set()  # ids of arrays whose Record has a fault: mostly none


class _Reference(weakref.ref):
    """A reference to an array, with its Record; forgotten when the array dies."""

    __slots__ = ("key", "record")
    key: int
    record: Record


def _forget(reference):
    _records.pop(reference.key, None)
    due.discard(reference.key)


class Record:
    """How an array was made. inputs: Records, or None for what no op made. given: if the array is
    not finite, ``Bad`` for each input that no op made and that is not finite either. fault: the
    error that is due if something reads the array, of an infinity that was made within no_grad.
    """

    __slots__ = ("name", "site", "inputs", "whole", "given", "depth", "fault")

    def __init__(self, name, site, inputs, depth, whole, given, fault):
        self.name, self.site, self.inputs, self.depth = name, site, inputs, depth
        self.whole, self.given, self.fault = whole, given, fault


def record_of(value):
    """The Record of a Tensor or array; None if no op made it while records were made."""
    array = value._array if isinstance(value, Tensor) else value
    reference = _records.get(id(array))
    return reference.record if reference is not None and reference() is array else None


def note(op, args, array, whole, site, fault=None):
    """Enter the result of an op. whole: it is finite. fault: see ``Record``; default: that of an
    operand, if the result is infinite too.
    """
    inputs: Any = []
    given: Any = ()
    deepest, known = 0, _records.get
    for value in args:
        operand = value._array if isinstance(value, Tensor) else value
        reference = known(id(operand))
        record = reference.record if reference is not None and reference() is operand else None
        if record is not None and record.depth > deepest:
            deepest = record.depth
        inputs.append(record)
    if not whole:
        names = op.input_names(len(args))
        bad = [bad_in(value, name) for value, name, record in zip(args, names, inputs) if record is None]
        given = [one for one in bad if one is not None]
        if fault is None:
            fault = next((one.fault for one in inputs if one is not None and one.fault is not None), None)
    if not 0 < deepest < DEEPEST - 1:
        inputs, deepest = (), 0
    reference = _Reference(array, _forget)
    reference.key = id(array)
    reference.record = Record(op.name, site, inputs, deepest + 1, whole, given, fault)
    _records[reference.key] = reference
    if fault is not None:
        due.add(reference.key)


def origin(value) -> tuple[Bad | None, Record | None]:
    """Where the infinity in an op's result came from: what was given, and the record of the op that
    it was given to.
    """
    record = record_of(value)
    for _ in range(DEEPEST):
        if record is None:
            break
        if record.given:
            return record.given[0], record
        record = next((one for one in record.inputs if one is not None and not one.whole), None)
    return None, None


def nearest(value):
    """The Record of the op that a value came from, past ops that only move it or add a constant."""
    return nearest_of(record_of(value))


def nearest_of(record):
    """The same of a Record."""
    while record is not None and record.name in MOVES:
        inner = next((one for one in record.inputs if one is not None), None)
        if inner is None:
            break
        record = inner
    return record


def name_of(record):
    """The name of the op of a Record; of a product of norms that of the norm, of the root of a
    variance std.
    """
    if record.name == "sqrt" and any(one is not None and nearest_of(one).name == "var" for one in record.inputs):
        return "std"
    if record.name != "multiply":
        return record.name
    factors = [nearest_of(one) for one in record.inputs if one is not None]
    return next((one.name for one in factors if one.name in NORMS), record.name)
