"""The Finding of a bad gradient."""

from __future__ import annotations

from typing import Any

from minitensor.backend import is_array, np, widen
from minitensor.diagnosis import updates
from minitensor.diagnosis.arrays import bad_in, host, number
from minitensor.diagnosis.backward import cause_of_gradient
from minitensor.diagnosis.forward import Case, Cause
from minitensor.diagnosis.results import (
    OVERFLOWS,
    blame,
    blame_rate,
    finding_of,
    maker_of,
    maker_of_node,
    step_of,
    within,
)
from minitensor.diagnosis.scales import greatest_of, power_below, relative_scale
from minitensor.engine.autograd import call_of, reachable
from minitensor.engine.mode import switched
from minitensor.engine.tensor import Tensor
from minitensor.tracing.reading import numbers_of, saved_inputs, saved_output

__all__ = ["finding_of_gradient", "finding_of_rounding", "note_trap", "path"]


def finding_of_gradient(node, i, gradient, value):
    """The Finding of a bad gradient of input ``i`` of ``node``."""
    op, site = node.pullback.op, call_of(node)
    names = list(op.input_names(max([i, *numbers_of(node)]) + 1))
    saved, parents = saved_inputs(node), dict(zip(numbers_of(node), node.parents))

    def maker(name):
        k = names.index(name)
        return maker_of_node(parents[k]) if k in parents else maker_of(saved.get(k))

    case = Case(
        op.name, {name: host(saved.get(k)) for k, name in enumerate(names)}, {}, host(saved_output(node)), maker=maker
    )
    pulled = host(value)
    cause = cause_of_gradient(case, names[i], host(gradient), pulled)
    if cause.name in ("undefined value", "overflow") and hasattr(op, "definition"):
        cause = _inside_backward(node, gradient) or cause
    finding = finding_of(cause, op.name, "backward", site, node.held)
    finding.idle = cause.details.get("idle", False)
    if cause.given is not None and cause.given in names:
        k = names.index(cause.given)
        bad = bad_in(saved.get(k), cause.given)
        leaf = parents.get(k) if k in parents and parents[k].pullback is None else None
        if bad is not None:
            blame(finding, bad, leaf, updates.label_of(leaf) if leaf is not None else "")
    if cause.name in OVERFLOWS:
        blame_rate(finding, {one for one in reachable([node]) if one.pullback is None})
    return finding


def finding_of_rounding(node, gradient, dtype):
    """The Finding of a gradient that is too great for the 16 bits in which a product takes it, the
    loss scale relative to the loss of this pass.
    """
    sizes = np.abs(host(gradient))
    index = tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), sizes.shape))
    most, limit, name = float(sizes.max()), greatest_of(dtype), node.pullback.op_name
    what = f"the gradient of the result of {name} is {number(most)}, and products under mt.autocast take it in {dtype}"
    site = call_of(node)
    finding = finding_of(Cause("16-bit overflow", what, index, "g"), name, "backward", site)
    finding.loss_scale = power_below(limit / most)
    finding.notes.append(relative_scale(finding.loss_scale))
    return finding


def _inside_backward(node, gradient):
    """The same for a gradient."""
    op, saved = node.pullback.op, node.saved
    inputs = [Tensor(widen(a)) if is_array(a) else a for a in saved[3:]]
    for i in node.pullback.wanted:
        inputs[i].requires_grad_()
    with switched(anomaly=True, watched=True, observer=None, autocast=None, grad=True):
        try:
            op.definition(*inputs, **saved[2]).backward(Tensor(gradient) if is_array(gradient) else gradient)
        except FloatingPointError as error:
            return within(op.name, error)
    return None


def note_trap(finding):
    """Say of a bad gradient that a 0 came to, if mt.where stands behind it, why that does not
    help.
    """
    if finding.idle and any(step.op == "where" for step in finding.chain):
        finding.notes.append("mt.where around the result does not help, as the gradient is still computed there")


def path(roots, end):
    """The Steps from a node to one of the roots."""
    after: dict[Any, Any] = dict.fromkeys(roots)
    for node in reachable(roots):
        for parent in node.parents:
            after.setdefault(parent, node)
    steps, seen, node = [], 0, end if end in after else None
    while node is not None and seen < 100_000:
        steps.append(step_of(node))
        node, seen = after[node], seen + 1
    return steps
