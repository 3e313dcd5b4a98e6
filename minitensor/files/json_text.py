"""JSON as all files of this library are read: a name that stands twice in one table is an error.

Python takes the last of them without a word, others the first (RFC 8259, section 4: "the behavior
of software that receives such an object is unpredictable").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["RepeatedNameError", "parse"]

SHOWN = 40  # characters of a value in an error


class RepeatedNameError(ValueError):
    """A table of JSON with a name that stands there twice."""


def parse(
    text: str | bytes,
    check: Callable[[dict[str, Any]], None] = lambda table: None,
    parse_int: Callable[[str], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """The value of a JSON text.

    check: called with each table, also inside others. parse_int, parse_constant: what makes values
    of integers, and of NaN and Infinity, as for ``json.loads``. Raises ValueError for what is no
    JSON or nested too deeply; `RepeatedNameError`, a kind of it, names the name that stands twice.

    >>> parse('{"d_model": 8, "layers": {"n": 2}}')
    {'d_model': 8, 'layers': {'n': 2}}
    >>> parse('{"layers": {"n": 2, "n": 3}}')
    Traceback (most recent call last):
        ...
    minitensor.files.json_text.RepeatedNameError: "n" stands twice, as 2 and as 3; leave one
    """

    def table(pairs):
        made = dict(pairs)
        if len(made) < len(pairs):
            _refuse_repeated(pairs)
        check(made)
        return made

    try:
        return json.loads(text, object_pairs_hook=table, parse_int=parse_int, parse_constant=parse_constant)
    except RecursionError:  # of brackets by the thousand
        raise ValueError("it is nested too deeply") from None


def _refuse_repeated(pairs):
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            first, second = _shown(seen[name]), _shown(value)
            raise RepeatedNameError(f"{json.dumps(name)} stands twice, as {first} and as {second}; leave one")
        seen[name] = value


def _shown(value):
    written = json.dumps(value)
    return written if len(written) <= SHOWN else f"{written[: SHOWN - 3]}..."
