"""``mt.why_nan``: the cause of a loss, or of gradients, that are not finite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from minitensor.backend import is_narrow, np
from minitensor.diagnosis import walk
from minitensor.diagnosis.arrays import bad_in, host, number
from minitensor.diagnosis.finding import Finding
from minitensor.diagnosis.forward import Cause
from minitensor.diagnosis.places import site_of
from minitensor.diagnosis.reading import fault_of
from minitensor.diagnosis.records import record_of
from minitensor.diagnosis.results import finding_of, finding_of_given
from minitensor.diagnosis.scales import greatest_of, power_below, relative_scale
from minitensor.diagnosis.updates import label_of
from minitensor.engine.autograd import backward_pass, raw, reachable
from minitensor.engine.messages import a_kind, finite
from minitensor.engine.mode import switched
from minitensor.engine.tensor import Tensor

__all__ = ["why_nan"]

if TYPE_CHECKING:
    from collections.abc import Callable

OUTSIDE = ("is not a class", "out of range", "out of bounds", "outside", "is not a row")


# To a checker ``Finding | Any``: nobody who asks why need ask whether.
def why_nan(loss: Tensor | Callable[[], Tensor]) -> Finding | Any:
    """Why a loss, or one of its gradients, is NaN or infinite: a ``Finding``, which ``print``
    shows; None if all is finite.

    loss: the tensor, or a function without arguments that computes it. A function is run within
    ``mt.detect_anomaly()``, and its gradients are computed, so that lines, modules and all values
    are known; nothing is deposited in ``.grad``. An infinity that an op of it makes is told even if
    the loss is finite in the end, but within ``no_grad`` only if the loss, or an op that is
    recorded, reads it. Of a tensor the recorded graph is looked at: what its nodes have saved, and
    what can be computed again from it. If the loss is finite, the backward pass runs again (with
    its hooks, depositing nothing): call it before ``backward`` has freed the graph, or write
    ``retain_graph=True`` there. What is not known is said in ``finding.notes``.

    A Finding has ``cause``, ``what``, ``cure``, ``op``, ``phase``, ``index`` and ``of``, ``rows``,
    ``module``, ``line``, ``chain``, ``loss_scale`` and ``notes``. The FloatingPointError of
    ``mt.detect_anomaly`` has the same one, as ``error.finding``. Raises TypeError for what is
    neither a tensor nor a function.

    >>> import minitensor as mt
    >>> x = mt.tensor([4.0, 0.0], requires_grad=True)
    >>> finding = mt.why_nan(lambda: mt.sqrt(x).sum())
    >>> finding.cause, finding.op, finding.phase, finding.index
    ('slope of a root at 0', 'sqrt', 'backward', (1,))
    """
    with np.errstate(all="ignore"):
        if isinstance(loss, Tensor):
            return _of_tensor(loss)
        if not callable(loss):
            raise TypeError(f"why_nan takes a tensor, or a function that computes one, not {a_kind(loss)}")
        return _of_function(loss)


def _of_function(function):
    with switched(anomaly=True, watched=True, grad=True):
        try:
            loss = function()
        except FloatingPointError as error:
            return _finding(error)
        except (IndexError, ValueError) as error:
            return _refused(error)
    if not isinstance(loss, Tensor):
        raise TypeError(f"why_nan: the function must return the loss, a tensor, not {a_kind(loss)}")
    due = fault_of(loss)
    if due is not None:
        return due.finding
    return finding_of_given(loss) if not finite(loss) and record_of(loss) else _of_tensor(loss)


def _finding(error):
    found = getattr(error, "finding", None)
    if found is None:
        raise error
    return found


def _refused(error):
    """The Finding of an error of the library about ids; any other is raised again."""
    text = str(error)
    site, called = site_of(error.__traceback__)
    if called and ("no target counts" in text or "are ignore_index" in text):
        return finding_of(Cause("mean over nothing", text), "cross_entropy", "forward", site)
    if called and isinstance(error, IndexError) and any(words in text for words in OUTSIDE):
        named = re.match(r"(\w+)[:(]", text)  # the op, if the message begins with it
        place = getattr(error, "place", None) or getattr(error.__cause__, "place", None)
        cause = Cause("id outside", text, place, "the targets" if "target" in text else "the ids")
        return finding_of(cause, named[1] if named else called, "forward", site)
    raise error


def _of_tensor(loss):
    if not finite(loss):
        return walk.forward(loss)
    node = loss.node
    if node is None or node.pullback is None:
        return None
    if walk.freed(node):
        return _after_backward(node)
    leaves = [one for one in reachable([node]) if one.pullback is None]
    seed = loss._array * 0 + 1
    with switched(anomaly=True, watched=True):
        try:
            found = backward_pass([node], [seed], wanted=set(leaves), retain_graph=True)
        except FloatingPointError as error:
            return _finding(error)
        except RuntimeError as error:
            if "overwritten" not in str(error):
                raise
            return walk.bad_parameters(node) or Finding("unknown", str(error), phase="backward")
    for leaf in leaves:
        gradient = host(raw(found.get(leaf)))
        told = None if gradient is None else _of_leaf(leaf, gradient)
        if told is not None:
            return told
    return walk.bad_parameters(node)


def _of_leaf(leaf, gradient):
    """The Finding of a gradient that no rule spoilt alone: it overflows in a sum, or when it is
    rounded.
    """
    name = label_of(leaf) or f"a leaf of shape {leaf.shape}"
    bad = bad_in(gradient, name)
    if bad is not None:
        what = f"the sum of the gradients that meet in {name} is {number(bad.value)}"
        return Finding("overflow", what, "leaf", "backward", bad.index, f"the gradient of {name}")
    if leaf.held is None or not is_narrow(leaf.held) or not gradient.size:
        return None
    most = float(np.abs(gradient).max())
    limit = greatest_of(leaf.held)
    if most <= limit:
        return None
    index = tuple(int(i) for i in np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape))
    factor = power_below(limit / most)
    return Finding(
        "16-bit overflow", f"the gradient of {name} is {number(most)}, and .grad rounds it to {leaf.held}", "leaf", "backward",
        index, f"the gradient of {name}", loss_scale=factor,
        notes=[relative_scale(factor)],
    )  # fmt: skip


def _after_backward(node: Any) -> Finding | None:
    """What the leaves tell when the graph is gone."""
    told = walk.bad_parameters(node)
    for leaf in reachable([node]):
        gradient = None if leaf.pullback is not None or leaf.watch is None else raw(leaf.watch.grad)
        bad = None if gradient is None else bad_in(gradient, label_of(leaf) or f"a leaf of shape {leaf.shape}")
        if bad is not None:
            what = f"the gradient of {bad.name} is {number(bad.value)}, the loss is finite"
            return Finding(
                "unknown", what, "", "backward", bad.index, f"the gradient of {bad.name}", notes=[walk.FREED]
            )
    return told
