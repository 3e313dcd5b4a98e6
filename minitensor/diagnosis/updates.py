"""Parameters: the optimiser that wrote them, and how their norms have grown."""

from __future__ import annotations

import math
import weakref
from collections import deque
from typing import Any

from minitensor.backend import device_of, namespace, np
from minitensor.diagnosis.arrays import bad_in, host, number
from minitensor.diagnosis.finding import Finding
from minitensor.engine.autograd import raw
from minitensor.optim.optimizer import living

__all__ = ["after_step", "before_step", "called", "history_of", "label_of", "runaway", "wrote"]

REMEMBERED = 12  # steps whose norms are kept, while detect_anomaly is on
LARGE = 1e3  # a weight so great was not drawn so

_histories: weakref.WeakKeyDictionary[Any, deque] = weakref.WeakKeyDictionary()


def entry_of(node):
    """``(optimiser, entry)`` of the parameter of a leaf; ``(None, None)`` if none trains it."""
    for optimizer in list(living):
        for entry in optimizer._entries:
            if entry.parameter.node is node:
                return optimizer, entry
    return None, None


def label_of(node):
    """What a leaf is called."""
    _, entry = entry_of(node)
    return "" if entry is None else entry.label


def called(label):
    """A parameter in words: ``parameter 0`` is one without a name."""
    return label if label.startswith("parameter ") else f"the parameter {label}"


def history_of(optimizer):
    """``(step, lr, norm of the gradient, norm of the parameters)`` of the latest steps that were
    made under detect_anomaly.
    """
    return list(_histories.get(optimizer, ()))


def _norm(arrays):
    """The 2-norm of all elements, infinite if it overflows."""
    total = 0.0
    for array in arrays:
        xp = namespace(device_of(array))
        flat = array.reshape(-1)
        square = float(xp.dot(flat, flat)) if flat.dtype.itemsize > 2 else math.inf
        total += square if math.isfinite(square) else float((flat.astype("float64") ** 2).sum())
    return math.sqrt(total) if total >= 0 else total


def _wrong(array):
    return not bool(namespace(device_of(array)).isfinite(array).all())


def _gradient_of(entry):
    """The gradient of a parameter, as it was accumulated; None if it has none."""
    node = entry.parameter.node
    return None if node is None else raw(node.watch.grad)


def _steps_of(optimizer):
    """How many steps an optimiser has made."""
    return max((entry.steps for entry in optimizer._entries), default=0)


def before_step(optimizer):
    """Raise if a gradient is not finite, which would spoil the parameter, or if a parameter is not
    that is about to be updated: the update is not at fault.
    """
    for entry in optimizer._entries:
        gradient = _gradient_of(entry)
        if gradient is None:
            continue
        if not _wrong(gradient):
            if _wrong(entry.parameter._array):
                raise _error(optimizer, _of_parameter(optimizer, entry))
            continue
        bad = bad_in(gradient, entry.label)
        assert bad is not None
        raise _error(
            optimizer,
            Finding(
                "update with a bad gradient",
                f"the gradient of {entry.label} is {number(bad.value)}: step {entry.steps + 1} of {type(optimizer).__name__} "
                f"(lr {number(entry.group['lr'])}) would have made the parameter so; it has not been made",
                type(optimizer).__name__, "update", bad.index, f"the gradient of {entry.label}",
                notes=_growth(optimizer),
            ),
        )  # fmt: skip


def after_step(optimizer):
    """Note the norms of a step that was made; raise if a parameter is not finite any more."""
    with np.errstate(all="ignore"):
        gradients = [_gradient_of(entry) for entry in optimizer._entries]
        values = [entry.parameter._array for entry in optimizer._entries]
        values = [
            p for p, g in zip(values, gradients) if g is not None or not _wrong(p)
        ]  # what the step may have written
        slope, size = _norm([g for g in gradients if g is not None]), _norm(values)
    step = _steps_of(optimizer)
    lr = optimizer._entries[0].group.get("lr", math.nan) if optimizer._entries else math.nan
    _histories.setdefault(optimizer, deque(maxlen=REMEMBERED)).append((step, lr, slope, size))
    if math.isfinite(size):
        return
    for entry, gradient in zip(optimizer._entries, gradients):
        if gradient is not None and _wrong(entry.parameter._array):  # without one it was not updated
            bad = bad_in(entry.parameter._array, entry.label)
            assert bad is not None
            if entry.group.get("eps") == 0 and host(gradient)[bad.index] == 0:
                raise _error(
                    optimizer,
                    Finding(
                        "0 / 0",
                        f"step {entry.steps} of {type(optimizer).__name__} made {entry.label} {number(bad.value)}: its gradient "
                        "there is 0, and eps, which is added to the divisor, is 0 as well",
                        type(optimizer).__name__, "update", bad.index, entry.label,
                    ),
                )  # fmt: skip
            spoilt = [key for key, value in entry.state.items() if key != "master" and np.isnan(host(value)).any()]
            if spoilt:
                raise _error(
                    optimizer,
                    Finding(
                        "update with a bad gradient",
                        f"step {entry.steps} of {type(optimizer).__name__} made {entry.label} {number(bad.value)} with a finite "
                        f"gradient: its {', '.join(spoilt)} holds NaN, which an earlier gradient, or a file, brought",
                        type(optimizer).__name__, "update", bad.index, entry.label,
                    ),
                )  # fmt: skip
            raise _error(
                optimizer,
                Finding(
                    "learning rate",
                    f"step {entry.steps} of {type(optimizer).__name__} made {entry.label} {number(bad.value)} with a finite "
                    f"gradient (its norm: {number(slope)}): lr {number(entry.group['lr'])} is too great",
                    type(optimizer).__name__, "update", bad.index, entry.label, notes=_growth(optimizer),
                ),
            )  # fmt: skip


def _of_parameter(optimizer, entry):
    """The Finding of a parameter that is not finite before its update, with a gradient that is."""
    bad = bad_in(entry.parameter, entry.label)
    assert bad is not None
    words, _ = wrote(entry.parameter.node, entry.parameter, bad.index)
    return Finding(
        "NaN or infinity in a parameter",
        f"{called(entry.label)} is {number(bad.value)} at {list(bad.index)} before step {entry.steps + 1} of "
        f"{type(optimizer).__name__}, which has not been made: {words}",
        type(optimizer).__name__, "update", bad.index, entry.label,
    )  # fmt: skip


def _error(optimizer, finding):
    error = FloatingPointError(f"{type(optimizer).__name__}: non-finite value in an update\n{finding}")
    error.finding = finding  # type: ignore[attr-defined]
    return error


def _growth(optimizer):
    """How the norms went, in words."""
    told = history_of(optimizer)
    if not told:
        return []
    steps = ", ".join(f"{step}: {number(size)}" for step, _, _, size in told[-6:])
    return [f"norm of the parameters after step {steps}"]


def wrote(node, array, index):
    """``(words, optimiser)``: which update made an element of a parameter bad, as far as it is
    known.
    """
    optimizer, entry = entry_of(node)
    if entry is None:
        return "no optimiser holds it: its initial values, a file or assign() brought it", None
    name, lr = type(optimizer).__name__, number(entry.group["lr"])
    if not entry.steps:
        return f"{name} has not updated it yet: its initial values, a file or assign() brought it", optimizer
    words = f"{name} has updated it in {entry.steps} step(s), with lr {lr} at last"
    told = history_of(optimizer)
    if told and told[-1][0] == _steps_of(optimizer) and math.isfinite(told[-1][3]):
        return f"{words}; it was finite after them: assign(), or a file, wrote it since", optimizer
    spoilt = [key for key, value in entry.state.items() if key != "master" and _wrong(value)]
    gradient = raw(node.watch.grad)
    if gradient is not None:
        g = float(host(gradient)[index])
        words += f"; its gradient there is {number(g)}, the norm of the gradient {number(_norm([host(gradient)]))}"
    if spoilt:
        words += (
            f"; its {', '.join(spoilt)} holds NaN or infinity, so that a gradient did: the update was spoilt by that"
        )
    elif gradient is None or np.isfinite(host(gradient)).all():
        words += "; no gradient that is still there was bad, so that the update itself overflowed, or assign() wrote it"
    return words, optimizer


def runaway(nodes):
    """``(words, notes)`` if the parameters among leaves have grown as they do under too great a
    learning rate; None if not.
    """
    for optimizer in list(living):
        mine = [e for e in optimizer._entries if e.parameter.node in nodes and e.steps]
        if not mine:
            continue
        told = history_of(optimizer)
        with np.errstate(all="ignore"):
            sizes = [float(np.abs(host(e.parameter)).max()) if e.parameter.size else 0.0 for e in mine]
        worst = int(np.argmax(sizes))
        entry, size = mine[worst], sizes[worst]
        lr = entry.group["lr"]
        grown = len(told) > 1 and told[-1][3] > 100 * max(told[0][3], 1e-3)
        adaptive = "betas" in entry.group or "alpha" in entry.group
        if size >= LARGE or grown or (adaptive and lr >= 1):
            words = (
                f"{entry.label} has grown to {number(size)} in {entry.steps} step(s) of {type(optimizer).__name__} "
                f"with lr {number(lr)}"
            )
            return words, _growth(optimizer)
    return None
