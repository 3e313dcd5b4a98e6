"""Which op made which array, while ``detect_anomaly`` is on: also of results that need no gradient,
and so have no node. Records hold no arrays.
"""

from __future__ import annotations

import weakref
from typing import Any

from minitensor.diagnosis.arrays import Bad, bad_in
from minitensor.diagnosis.forward import NORMS
from minitensor.engine.tensor import Tensor

__all__ = ["MOVES", "Record", "name_of", "nearest", "note", "origin", "record_of"]

DEEPEST = 60  # ops that are known before another; a value that is carried on from step to step has more

# What hands a zero, or a sum, on: see ``nearest``.
MOVES = frozenset("reshape broadcast_to swapaxes permute_dims astype getitem maximum alias where add".split())

_records: dict[int, tuple[Any, Record]] = {}  # by id of an array: a reference to it, and who made it


class Record:
    """How an array was made. inputs: Records, or None for what no op made. given: if the array is
    not finite, ``Bad`` for each input that no op made and that is not finite either.
    """

    __slots__ = ("name", "site", "inputs", "whole", "given", "depth")

    def __init__(self, name, site, inputs, whole, given):
        self.name, self.site, self.whole, self.given = name, site, whole, given
        self.depth = 1 + max((one.depth for one in inputs if one is not None), default=0)
        self.inputs = inputs if self.depth < DEEPEST else ()
        self.depth = self.depth if self.inputs else 1


def record_of(value):
    """The Record of a Tensor or array; None if no op made it while records were made."""
    array = value._array if isinstance(value, Tensor) else value
    entry = _records.get(id(array))
    return entry[1] if entry is not None and entry[0]() is array else None


def note(op, args, array, whole, site):
    """Enter the result of an op. whole: it is finite."""
    inputs = [record_of(value) for value in args]
    given = []
    if not whole:
        names = op.input_names(len(args))
        bad = [bad_in(value, name) for value, name, record in zip(args, names, inputs) if record is None]
        given = [one for one in bad if one is not None]
    key = id(array)
    _records[key] = weakref.ref(array, lambda _: _records.pop(key, None)), Record(op.name, site, inputs, whole, given)


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
    """The name of the op of a Record; of a product of norms that of the norm."""
    if record.name != "multiply":
        return record.name
    factors = [nearest_of(one) for one in record.inputs if one is not None]
    return next((one.name for one in factors if one.name in NORMS), record.name)
