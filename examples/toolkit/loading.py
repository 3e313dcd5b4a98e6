"""A trained model out of its run: its weights, its device, and the fingerprint of what it was
trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from textwrap import shorten
from typing import TypeVar

from minitensor import nn
from toolkit.checkpoints import Checkpoints, load_file
from toolkit.console import UserError, and_more, say
from toolkit.runs import Run

__all__ = ["digest", "load_weights", "place"]

Model = TypeVar("Model", bound=nn.Module)


def digest(parts: Iterable[str | bytes]) -> str:
    """A fingerprint of data, given as texts or bytes: 16 hexadecimal digits."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part.encode() if isinstance(part, str) else part)
    return made.hexdigest()[:16]


def place(model: Model, device: str) -> Model:
    """The model on its device. Raises UserError for one that cannot be used."""
    try:
        return model.to(device)
    except (ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"--device {device}: {error}") from None


def load_weights(model: nn.Module, run: Run, wanted: str = "") -> str:
    """Load trained weights into ``model``, put it into evaluation mode, and return the name of
    their checkpoint.

    ``wanted`` is "result", or to compare "best" or "last"; "" is the first of them that exists, and
    stderr says so if it is not the result. Raises UserError if there are no weights, or they do not
    fit.
    """
    checkpoints = Checkpoints(run.folder)
    files = {"result": checkpoints.result, "best": checkpoints.best, "last": checkpoints.last}
    name = next((name for name in ([wanted] if wanted else files) if files[name].exists()), None)
    if name is None:
        raise UserError(f"{run.folder} has no {wanted or 'trained'} weights yet; go on by: train --resume")
    state = load_file(files[name])
    try:
        model.load_state_dict(state["model"] if name == "last" else state)
    except ValueError as error:
        _, problem, *more = str(error).splitlines()
        what = f"{shorten(problem, 200, placeholder=' ...')}{and_more(more, shown=0)}"
        raise UserError(f"the weights of {run.folder} do not fit its configuration: {what}") from None
    if not wanted and name != "result":
        say(f"{run.folder} is not trained to its end; these are its {name} weights so far")
    model.eval()
    return name
