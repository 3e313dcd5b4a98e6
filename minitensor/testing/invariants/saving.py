"""What a model is after a file."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import SEEN, UNSEEN, Held, difference, fail, numbered, readable, same_bits

__all__ = ["save_and_load"]


def save_and_load(
    model: Any, inputs: Any, *, make: Callable[[], Any] | None = None, call: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Held:  # fmt: skip
    """A model that comes back from a file is the same in every parameter, buffer and output.

    ``state_dict()`` of the model, with its numbers moved so that none is what it was at the start,
    goes to a file (`mt.save`, or ``torch.save``), and from there into a new model.

    Before, it runs in training mode, forward and backward, on two batches: what it gathers there
    must be in the file as well.

    make: ``make()`` makes the new model, such as ``lambda: GPT(config)``; default: the model's type
    called with its ``config``, or else a copy whose parameters and buffers are overwritten, which
    does not show a constant that is drawn in ``__init__``. A model that has ``save_pretrained``
    and ``from_pretrained`` must come back from a folder, too. The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "save_and_load"
    x = Inputs(inputs, s, seed)
    moved = subject_of(copy.deepcopy(model), call)
    rng = np.random.default_rng((seed, 7))
    _move(moved, rng)
    with s.same_randomness():
        new = subject_of(_another(model, make, moved, rng), call)
    notes = _train(moved, x, rng)
    with moved.kept(), new.kept(), tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model" + s.suffix)
        moved.save(path, moved.model.state_dict())
        read = moved.load(path)
        _names(s, moved, read, x)
        try:
            answer = new.model.load_state_dict(read)
        except Exception as error:
            fail(
                name, s.name, "a new model refuses what was saved", str(error),
                cause="state_dict() and load_state_dict() do not fit: one of them is overridden, or state is made in forward",
                cure="make all state in __init__, and leave both to the library",
            )  # fmt: skip
        missing = (
            [*getattr(answer, "missing_keys", ())] if hasattr(answer, "missing_keys") else [*(answer or ((), ()))[0]]
        )
        if missing:
            fail(
                name, s.name, f"load_state_dict() passes over {numbered(missing)}, which the file has",
                cause="a load_state_dict() that leaves names out, or reads others", cure="leave load_state_dict() to the library",
            )  # fmt: skip
        compared = _values(s, moved, new)
        _outputs(s, moved, new, x)
        if (
            all(hasattr(model, method) for method in ("save_pretrained", "from_pretrained"))
            and s.library == "minitensor"
        ):
            try:
                moved.model.save_pretrained(folder)
            except ValueError as error:  # a configuration that the layout cannot express
                return Held(name, compared + 1, notes=(*notes, f"no save_pretrained: {error}"))
            back = subject_of(_there(type(model).from_pretrained(folder), moved), call)
            with back.kept():
                _outputs(s, moved, back, x, " from the folder of save_pretrained")
            compared += 1
    return Held(name, compared + 1, notes=notes)


def _state(s):
    """All parameters and buffers by name, but for buffers that are said not to be saved."""
    hidden = {
        f"{path}.{key}" if path else key
        for path, module in s.model.named_modules()
        for key in getattr(module, "_non_persistent_buffers_set", ())  # PyTorch's
    }
    state = {**dict(s.model.named_parameters()), **dict(s.model.named_buffers())}
    return {key: value for key, value in state.items() if getattr(value, "persistent", True) and key not in hidden}


def _move(s, rng):
    """Add a tenth of a normal number to every floating parameter and buffer; others stay."""
    for value in _state(s).values():
        if s.is_floating(value):
            array = s.array(value)
            s.assign(value, (array + 0.1 * np.abs(rng.standard_normal(array.shape))).astype(array.dtype))


def _train(moved, x, rng):
    """Run forward and backward in training mode twice; a note if that cannot be done."""
    moved.model.train(True)
    parameters = [p for _, p in moved.model.named_parameters() if p.requires_grad]
    try:
        with moved.same_randomness(), moved.enable_grad(), np.errstate(all="ignore"):
            for batch in (x, x.again()):
                output = moved.output(batch)
                moved.gradients(output, rng.standard_normal(tuple(output.shape)).astype(moved.float_dtype), parameters)
    except Exception as error:
        return (f"what changes in training was not looked for, since it raises {type(error).__name__}: {error}",)
    return ()


def _another(model, make, moved, rng):
    """A model to load into, with other numbers."""
    if make is not None:
        return make()
    if hasattr(model, "config") and moved.library == "minitensor":
        made = type(model)(model.config)
        return _there(made, moved)
    copied = copy.deepcopy(model)
    _move(subject_of(copied), rng)
    return copied


def _there(made, moved):
    """``made`` in the dtype and on the device of the model that was saved."""
    return (made if moved.dtype is None else made.astype(moved.dtype)).to(moved.device())


def _names(s, moved, read, x):
    """Fail for state that is not in the file."""
    lost = sorted(set(_state(moved)) - set(read))
    if lost:
        fail(
            "save_and_load", s.name, f"the file lacks {numbered(lost)}", f"it has {len(read)} names",
            cause="a state_dict() that leaves them out", cure="leave state_dict() to the library, or call super().state_dict()",
        )  # fmt: skip
    lost = sorted(moved.unregistered(x))
    if lost:
        fail(
            "save_and_load", s.name, f"{numbered(lost)} is to be trained and is not in the file",
            cause=UNSEEN[s.library], cure=SEEN[s.library],
        )  # fmt: skip


def _values(s, moved, new):
    before, after = _state(moved), _state(new)
    for key, value in before.items():
        if key in after:
            one, other = s.array(value), s.array(after[key])
            if not same_bits(one, other) or value.dtype != after[key].dtype:
                gap = (
                    difference(one, other)[1].replace("output", key)
                    if one.shape == other.shape
                    else f"{one.shape} and {other.shape}"
                )
                fail(
                    "save_and_load", s.name, f"{key} comes back as something else", gap,
                    cause="load_state_dict() casts, scales or passes over it, or two names share one tensor in one model alone",
                    cure="load values as they are; tie weights in __init__",
                )  # fmt: skip
    return len(before)


def _outputs(s, moved, new, x, where=""):
    one, other = readable("save_and_load", moved, x), new.run(x)
    if not same_bits(one, other):
        fail(
            "save_and_load", s.name, f"the model that comes back{where} gives another output", difference(one, other)[1],
            cause="something that the output depends on is neither a parameter nor a buffer: a plain tensor or array drawn in "
            "__init__, or a number changed in training",
            cure="make it an nn.Parameter or an nn.Buffer (register_buffer), or a value of the configuration",
        )  # fmt: skip
