"""What the engine calls while ``detect_anomaly`` is on: who made what, and why it is bad."""

from __future__ import annotations

import contextlib
from typing import Any

from minitensor.backend import np
from minitensor.diagnosis import gradients, places, reading, results, updates, walk
from minitensor.diagnosis.finding import Finding
from minitensor.diagnosis.places import Site
from minitensor.diagnosis.records import due, note
from minitensor.engine.mode import switched

__all__ = ["Doctor"]


class Doctor:
    """The engine's ``library.doctor``."""

    site = staticmethod(places.here)
    before_step = staticmethod(updates.before_step)
    after_step = staticmethod(updates.after_step)

    refuse_read = staticmethod(reading.refuse_read)

    def note(self, op: Any, args: Any, made: Any, whole: bool, recorded: Any, fault: Any = None) -> Site:
        """Enter who made an array; returns the place that called the op. See ``check_made``."""
        if recorded and due:
            reading.refuse_read(op.name, args)
        site = places.here(4)  # here itself, this, check_made and the run of the op
        note(op, args, made, whole, site, fault)
        return site

    def explained(self, error: FloatingPointError, how: Any, *seen: Any) -> FloatingPointError:
        """``error`` with the Finding that ``how(*seen)`` gives, in its text and as its attribute
        ``finding``.
        """
        with switched(anomaly=False, watched=False, observer=None, autocast=None, grad=True), np.errstate(all="ignore"):
            try:
                finding, node = how(*seen)
            except Exception as problem:  # the fault is told even if its cause cannot be
                finding, node = Finding("unknown", f"looking for the cause failed: {problem!r}"), None
        told: Any = FloatingPointError(f"{error}\n{finding}")
        told.finding, told.node, told.head = finding, node, str(error)
        return told

    def of_result(self, op: Any, args: Any, arrays: Any, params: Any, made: Any) -> Any:
        """The Finding of a bad result in forward."""
        return results.finding_of_result(op, args, arrays, params, made, places.here(), walk=walk.forward), None

    def of_gradient(self, node: Any, i: int, gradient: Any, value: Any) -> Any:
        """The Finding of a bad gradient of input ``i`` of ``node``; and the node."""
        return gradients.finding_of_gradient(node, i, gradient, value), node

    def of_rounding(self, node: Any, gradient: Any, dtype: Any) -> Any:
        """The Finding of a gradient that overflows when a product takes it in 16 bits; and the
        node.
        """
        return gradients.finding_of_rounding(node, gradient, dtype), node

    @contextlib.contextmanager
    def on_the_way(self, roots: Any) -> Any:
        """A backward pass: the error that leaves it tells the ops between the bad gradient and the
        loss.
        """
        try:
            yield
        except FloatingPointError as error:
            told: Any = error
            if getattr(told, "node", None) is not None:
                told.finding.chain = gradients.path(roots, told.node) or told.finding.chain
                gradients.note_trap(told.finding)
                told.node = None
                told.args = (f"{told.head}\n{told.finding}",)
            raise
