"""Hyper-parameters as a dataclass, each written once: its default, its option on the command line,
its line of help.

>>> @dataclass(frozen=True, kw_only=True)
... class Shape(Training):
...     width: int = option(128, "features of each position")
>>> parser = argparse.ArgumentParser()
>>> add_options(parser, Shape)
>>> given = given_options(parser.parse_args(["--width", "64"]), Shape)
>>> given, Shape(**given).lr
({'width': 64}, 0.005)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from toolkit.console import UserError

__all__ = ["Training", "add_options", "from_dict", "given_options", "option", "refuse_options"]

SCHEDULES = ("inverse-sqrt", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16", "float16")
LARGEST = 2**31  # no whole number is as large, unless it says so itself: counts of updates, features, tokens


def option(
    default: Any,
    help: str,
    least: float | None = None,
    below: float | None = None,
    choices: Any = None,
    added: bool = False,
) -> Any:
    """A field of a settings class. ``least <= value < below`` is asked of numbers, membership of
    ``choices`` of others.

    All numbers must be finite, and integers below 2**31 if no other bound is given. added: former
    versions did not have it and did what its default says, so that their runs can be opened.
    """
    metadata = {"help": help, "least": least, "below": below, "choices": choices, "added": added}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train, whatever the model. Raises UserError for a value out of range, naming its
    option.
    """

    lr: float = option(5e-3, "peak learning rate of Adam", least=0, below=1e6)
    schedule: str = option("inverse-sqrt", "learning rate after the warm-up", choices=SCHEDULES)
    warmup: int = option(2000, "updates of linear warm-up", least=1)
    beta1: float = option(0.9, "Adam's decay rate of the first moment", least=0, below=1)
    beta2: float = option(0.98, "Adam's decay rate of the second moment", least=0, below=1)
    eps: float = option(1e-9, "Adam's epsilon", least=0)
    clip: float = option(1.0, "longest gradient; longer ones are scaled down; 0: no limit", least=0)
    accumulate: int = option(
        1, "parts in which a batch is computed, to save memory; the gradient stays the same", least=1
    )
    epochs: int | None = option(None, "stop after so many passes over the data; 50 if no other end is given", least=1)
    steps: int | None = option(None, "stop after so many updates", least=1)
    minutes: float | None = option(None, "stop after so much training time, all resumed parts together", least=0)
    patience: int | None = option(None, "stop after so many validations without a better loss", least=1)
    validate_every: int | None = option(None, "updates between validations; an epoch if not given", least=1)
    average: int = option(
        1, "the result is the mean of the weights at so many last validations; 1: the best ones", least=1
    )
    save_every: float = option(60.0, "seconds between checkpoints, besides those after validation", least=0)
    precision: str = option(
        "float32",
        "of matrix products; 16 bits are for GPUs, and slow on a CPU; weights stay float32",
        choices=PRECISIONS,
    )
    seed: int = option(0, "seed of all random numbers", least=0, below=2**64)
    device: str = option("cpu", 'where to compute: "cpu", "cuda"')

    def __post_init__(self) -> None:
        """Check each value against its range."""
        for field in dataclasses.fields(self):
            _check(_flag(field.name), getattr(self, field.name), field.metadata)
        if self.epochs is self.steps is self.minutes is self.patience is None:
            object.__setattr__(self, "epochs", 50)  # the way to set a field of a frozen instance
        if self.schedule == "cosine" and not (self.steps or self.epochs):
            raise UserError("--schedule cosine ends at a known update; give --steps or --epochs")


def _check(flag: str, value: Any, limits: Any) -> None:
    if value is None:
        return
    least, below, choices = limits["least"], limits["below"], limits["choices"]
    if choices and value not in choices:
        raise UserError(f"{flag} {value}: write one of {', '.join(choices)}")
    if least is not None and not value >= least:
        raise UserError(f"{flag} {value}: it must be at least {least}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag} {value}: it must be a finite number")
    if below is None and isinstance(value, int):
        below = LARGEST
    if below is not None and not value < below:
        raise UserError(f"{flag} {value}: it must be below {below}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, settings: type[Training], defaults: str = "") -> None:
    """Give ``parser`` an option for each field; one that is not given stays out of the parsed
    namespace.
    """
    types = typing.get_type_hints(settings)
    group = parser.add_argument_group("hyper-parameters" + defaults)
    for field in dataclasses.fields(settings):
        kind = _kinds(types[field.name])[0]
        text = field.metadata["help"].replace("%", "%%")
        text += "" if field.default is None or kind is bool else f" ({field.default})"
        if kind is bool:
            form: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        else:
            form = {
                "type": kind,
                "choices": field.metadata["choices"],
                "metavar": None if field.metadata["choices"] else "X",
            }
        group.add_argument(_flag(field.name), default=argparse.SUPPRESS, help=text, **form)


def _kinds(hint: Any) -> list[Any]:
    """The types that a field takes, None's own last: ``int | None`` and the like are
    all there are.
    """
    return sorted(typing.get_args(hint) or [hint], key=lambda kind: kind is type(None))


def given_options(arguments: argparse.Namespace, settings: type[Training]) -> dict[str, Any]:
    """The fields that were given on the command line."""
    return {
        field.name: vars(arguments)[field.name] for field in dataclasses.fields(settings) if field.name in arguments
    }


def refuse_options(given: dict[str, Any], names: Iterable[str], owner: str) -> None:
    """Raise UserError for a ``given`` option among ``names``, which ``owner`` (such as "--arch
    gru") does not have.
    """
    for name in names:
        if name in given:
            raise UserError(f"{owner} has no {_flag(name)}; see train --help")


def from_dict(settings: type[Training], values: dict[str, Any], where: str) -> Any:
    """Settings from the JSON of a run. Raises UserError naming the fields that are unknown here, or
    missing there.
    """
    fields = dataclasses.fields(settings)
    names = {field.name for field in fields}
    values = {field.name: field.default for field in fields if field.metadata["added"]} | values
    if names != set(values):
        odd = ", ".join(sorted(names ^ set(values)))
        raise UserError(
            f"{where} was written by another version of this program (it differs in: {odd}); use that version"
        )
    for name, hint in typing.get_type_hints(settings).items():
        kinds, value = _kinds(hint), values[name]
        if type(value) not in kinds and not (kinds[0] is float and type(value) is int):
            wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise UserError(f"{where} has been changed and does not fit: {name} is {json.dumps(value)}, no {wanted}")
    try:
        return settings(**values)
    except UserError as error:
        raise UserError(f"{where} has been changed and does not fit: {error}") from None
