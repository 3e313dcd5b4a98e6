"""Lessons as files: what cells they are made of, and how they are run.

A lesson is a Python script in the percent format of jupytext: a line ``# %%`` begins a cell of
code, ``# %% [markdown]`` a cell of text whose lines are comments.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from lessons.say import Picture, Record, recording

__all__ = ["HERE", "Cell", "Lesson", "Output", "find", "lessons", "load", "load_file", "loading", "run"]

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Cell:
    """A cell: "code" or "markdown", its text, and the line of the file before it."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Lesson:
    """A lesson by its number."""

    number: int
    path: Path

    @property
    def title(self) -> str:
        """The heading, without its number: a lesson begins with ``# # 7. A title``."""
        return re.sub(r"^# \d+\. ", "", self.cells()[0].text.splitlines()[0])

    def cells(self) -> list[Cell]:
        """Its cells in order."""
        found: list[Cell] = []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
        for start, end in zip(starts, [*starts[1:], len(lines)]):
            body = lines[start + 1 : end]
            if lines[start].strip() == "# %% [markdown]":
                found.append(Cell("markdown", "\n".join(line[2:] for line in body).strip("\n"), start + 1))
            else:
                found.append(Cell("code", "\n".join(body).rstrip(), start + 1))
        return found

    def part(self, folder: str) -> Path:
        """Its file in ``exercises``, ``answers`` or ``grades``."""
        return HERE / folder / f"{self.number:02d}.py"


@lru_cache
def lessons() -> tuple[Lesson, ...]:
    """All lessons, in their order."""
    return tuple(Lesson(int(path.name[:2]), path) for path in sorted(HERE.glob("[0-9][0-9]_*.py")))


def find(number: int) -> Lesson:
    """The lesson with this number; LookupError says which there are."""
    for lesson in lessons():
        if lesson.number == number:
            return lesson
    raise LookupError(f"there is no lesson {number}: they are {', '.join(str(x.number) for x in lessons())}")


@dataclass
class Output:
    """What a cell of code printed and drew."""

    text: str = ""
    pictures: list[Picture] = field(default_factory=list)


Execute = Callable[[str, dict[str, Any], str, int], None]


def execute_cell(text: str, namespace: dict[str, Any], file: str, line: int) -> None:
    """Run a cell that begins behind ``line`` of ``file``, so that messages name the right lines."""
    exec(compile("\n" * line + text, file, "exec", dont_inherit=True), namespace)


def run(lesson: Lesson, record: Record, *, capture: bool = True, execute: Execute = execute_cell) -> list[Output]:
    """Run a lesson cell by cell; one output for each cell of code.

    capture: keep what is printed instead of printing it. execute: runs one cell.
    """
    module = _fresh(lesson.path)
    outputs = []
    with recording(record):
        for cell in lesson.cells():
            if cell.kind == "markdown":
                continue
            before, out = len(record.pictures), io.StringIO()
            with contextlib.redirect_stdout(out) if capture else contextlib.nullcontext():
                execute(cell.text, module.__dict__, str(lesson.path), cell.line)
            outputs.append(Output(out.getvalue(), record.pictures[before:]))
    return outputs


@lru_cache
def load(number: int) -> ModuleType:
    """A lesson's functions and classes, for a later lesson: it is run once, and nothing is shown.

    >>> load(1).Value(2.0).number
    2.0
    """
    lesson, begin = find(number), time.process_time()
    _loading.append(number)
    try:
        run(lesson, Record())
    finally:
        if _loading == [number]:  # and not one that another lesson loads
            _spent[0] += time.process_time() - begin
        _loading.pop()
    return sys.modules[_name(lesson.path)]


_loading: list[int] = []
_spent = [0.0]


def loading() -> tuple[bool, float]:
    """Whether a lesson is being loaded, and the seconds of computing that those before have taken:
    no time of the solution that is graded meanwhile.
    """
    return bool(_loading), _spent[0]


def load_file(path: Path) -> ModuleType:
    """A file whose name is no name of a module, run afresh."""
    module = _fresh(path)
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def _name(path: Path) -> str:
    """What a file is called in ``sys.modules``."""
    return f"{path.parent.name}.file_{path.stem}"


def _fresh(path: Path) -> ModuleType:
    """An empty module for a file, in place of an earlier one."""
    module = ModuleType(_name(path))
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    return module
