"""The pytest plugin: checks gathered while tests run, a table of them at the end, a report as JSON
or as a page.

pytest finds it by ``pytest_minitensor.py``, which has the options and loads this file when a test
has the marker or the fixture ``gradients``.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minitensor.testing.check import check_op
from minitensor.testing.collected import collecting
from minitensor.testing.gradients import Report, gradcheck, gradgradcheck
from pytest_minitensor import EXAMPLES, EXPECTED, NAME, asks

__all__ = ["Checks", "Collecting", "opened", "summary", "written"]

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = ("op", "check", "checked", "kinks", "worst error", "outcome", "test")
KEY = pytest.StashKey[list]()


class Checks:
    """The fixture ``gradients``: the checks of ``minitensor.testing`` with this run's seed and
    number of examples, unless the call says others.
    """

    def __init__(self, examples: int, seed: int) -> None:
        self.examples, self.seed = examples, seed

    def check_op(self, fn: Any, inputs: Any, **options: Any) -> Report:
        """``minitensor.testing.check_op``."""
        return check_op(fn, inputs, **{"examples": self.examples, "seed": self.seed, **options})

    def gradcheck(self, fn: Any, inputs: Any, **options: Any) -> Report:
        """``minitensor.testing.gradcheck``."""
        return gradcheck(fn, inputs, **{"seed": self.seed, **options})

    def gradgradcheck(self, fn: Any, inputs: Any, **options: Any) -> Report:
        """``minitensor.testing.gradgradcheck``."""
        return gradgradcheck(fn, inputs, **{"seed": self.seed, **options})


class Collecting:
    """Gathers the checks of each test that asks for it, in its fixtures too, and lets the reports
    of its setup, its call and its teardown carry them.
    """

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        """From the first fixture to the last teardown checks are gathered."""
        if not asks(item):
            yield
            return
        with collecting(item.stash.setdefault(KEY, [])):
            yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item):
        """Reports travel between processes, and attributes of plain data with them."""
        made = yield
        if KEY in item.stash:
            made.get_result().gradients = list(item.stash[KEY])
            item.stash[KEY].clear()


@contextmanager
def opened(request: Any) -> Iterator[Checks]:
    """The fixture ``gradients``. If a test has asked for it by ``getfixturevalue`` checks are
    gathered from here on.
    """
    plugins, options = request.config.pluginmanager, request.config.option
    checks = Checks(EXAMPLES[options.gradients_profile], options.gradients_seed)
    if asks(request.node):
        yield checks
        return
    if not plugins.has_plugin(NAME):
        plugins.register(Collecting(), NAME)
    with collecting(request.node.stash.setdefault(KEY, [])):
        yield checks


def summary(terminal, options, checks, without=()):
    """Print the table of ``checks``, dicts as ``collected`` makes them, and the tests ``without``
    one.
    """
    if checks:
        terminal.section(f"gradient checks: {_how(options)}")
        for line in _lines([COLUMNS, *map(_row, checks)]):
            terminal.line(line)
        terminal.line(
            f"the same inputs again: --gradients-profile {options.gradients_profile} --gradients-seed {options.gradients_seed}"
        )
    for test in without:
        terminal.line(
            f"no gradient check ran in {test}, which passed (those of other threads are not seen)", yellow=True
        )


def written(options: Any, checks: list[dict]) -> str:
    """Write the report; returns what became of it in words. OSError if it cannot be written."""
    path = Path(options.gradients_report)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_page(_how(options), checks) if path.suffix == ".html" else _json(options, checks))
    return f"gradient checks: {len(checks)} written to {path}"


def _how(options):
    return f"profile {options.gradients_profile}, seed {options.gradients_seed}"


def _row(check):
    """The words of one line."""
    known = check["outcome"] == "passed"
    numbers = (str(check["checked"]), str(check["kinks"]), _error(check.get("error"))) if known else ("", "", "")
    return (check["op"], check["check"], *numbers, check["outcome"], check["test"])


def _error(error):
    return "-" if error is None else f"{error:.2g}"


def _lines(rows):
    """Rows of words in columns; numbers stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (w.rjust(n) if k in (2, 3, 4) else w.ljust(n) for k, (w, n) in enumerate(zip(row, widths)))
        yield "  ".join(cells).rstrip()


def _json(options, checks):
    """What a program reads: the settings, and a dict for each check. An error that is no number is
    null.
    """
    told = [{**check, "error": _finite(check.get("error"))} for check in checks]
    data = {"profile": options.gradients_profile, "seed": options.gradients_seed, "checks": told}
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def _finite(value):
    return value if value is not None and math.isfinite(value) else None


STYLE = """
td:nth-child(3), td:nth-child(4), td:nth-child(5) { text-align: right }
td, th { padding: 0.2rem 0.8rem; text-align: left; vertical-align: top }
.failed td { font-weight: bold }
"""


def _page(how, checks):
    from minitensor.pages import document

    failed, expected = (sum(check["outcome"] == one for check in checks) for one in ("failed", EXPECTED))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in COLUMNS)
    rows = []
    for check in checks:
        cells = "".join(f"<td>{escape(word)}</td>" for word in _row(check))
        rows.append(f"<tr{' class=failed' if check['outcome'] == 'failed' else ''}>{cells}</tr>")
        if message := check.get("message"):
            rows.append(f'<tr><td colspan="{len(COLUMNS)}"><pre>{escape(message)}</pre></td></tr>')
    also = f", {expected} as expected" if expected else ""
    body = (
        f"<main><h1>Gradient checks</h1><p>{len(checks)} checks, {failed} failed{also}; {escape(how)}.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></main>"
    )
    return document("Gradient checks", body, style=STYLE)
