"""Grading in a process of its own, so that a solution that ends Python is refused like others.

The child writes an event a line into a file, as it comes: an exercise is begun, its result, the
end. What was begun and has no result when the child is gone is refused; the next child goes on
behind it. Nothing passes that was not reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lessons import grading
from lessons.grading import Result
from lessons.literate import HERE, Lesson, find

__all__ = ["check"]

LOADING = 60.0  # seconds that a lesson may take to be run
SILENCE = 15  # times the patience that grading has: without news for so long, the child is ended


def check(lesson: Lesson, path: Path) -> list[Result]:
    """Like ``grading.check``, also of code that ends the process, or hangs for good.

    ValueError if the file cannot be run at all; the text says why.
    """
    if sys.platform == "emscripten":  # a browser has no processes
        return grading.check(lesson, path)
    done: dict[str, Result] = {}
    todo = {item.id: item for item in grading.exercises(lesson)}
    while rest := [id for id in todo if id not in done]:
        events, ending = _child(lesson, path, rest)
        begun = ""
        for event in events:
            if "cannot" in event:
                raise ValueError(event["cannot"])
            if "begun" in event:
                begun = event["begun"]
            elif "verdict" in event:
                id = event.pop("id")
                done[id], begun = Result(todo[id], **event), ""
        if begun:
            done[begun] = Result(todo[begun], "refused", f"{ending} before it returned: a solution only returns")
        elif not events or "end" not in events[-1]:
            raise ValueError(f"{path.name} cannot be run: {ending}")
    return [done[id] for id in todo]


def _child(lesson: Lesson, path: Path, ids: list[str]) -> tuple[list[dict[str, Any]], str]:
    """The events of a child that grades ``ids``, and how it ended, in words."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        report.touch()
        command = [
            sys.executable,
            "-m",
            "lessons.judge",
            str(report),
            str(lesson.number),
            str(path),
            str(grading.PATIENCE),
        ]
        search = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        child = subprocess.Popen([*command, *ids], stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": search})
        size, news, hangs = 0, time.monotonic(), False
        limit = SILENCE * grading.PATIENCE + LOADING
        try:
            while child.poll() is None and not hangs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.05)
                if report.stat().st_size != size:
                    size, news = report.stat().st_size, time.monotonic()
                hangs = time.monotonic() - news > limit
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        lines = report.read_text(encoding="ascii").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")], _ending(child.returncode, hangs, limit)


def _ending(status: int, hangs: bool, limit: float) -> str:
    if hangs:
        return f"it was ended after {limit:g} seconds without a sign of life"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"it ended the whole program by the signal {signal.Signals(-status).name}"
    return f"it ended the whole program (os._exit, or a crash; status {status})"


def main(report: str, number: str, path: str, patience: str, *ids: str) -> None:
    """The child: grade exercises ``ids`` of a file, and write what becomes of them."""
    grading.PATIENCE = float(patience)
    with open(report, "a", encoding="ascii") as file:

        def tell(**event: Any) -> None:
            file.write(json.dumps(event) + "\n")
            file.flush()

        # What grades is taken before the learner's file runs, which may put another in its place.
        items, grade = grading.exercises(find(int(number))), grading.grade
        sys.argv[1:] = []
        try:
            solutions = grading.load_solutions(Path(path))
        except ValueError as error:
            tell(cannot=str(error))
            return
        for item in items:
            if item.id in ids:
                tell(begun=item.id)
                result = grade(item, solutions)
                tell(id=item.id, verdict=result.verdict, reason=result.reason, printed=result.printed)
        tell(end=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
