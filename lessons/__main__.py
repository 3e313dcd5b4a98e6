"""``python -m lessons``: run the lessons, write their exercises, grade them."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

with contextlib.suppress(AttributeError, OSError):  # a terminal that cannot show a character shows a question mark
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]

from lessons import build, grading, judge
from lessons.literate import Lesson, find, lessons, load_file, run
from lessons.say import Record


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("python -m lessons", description="Lessons that grade themselves.")
    commands = top.add_subparsers(dest="command")
    commands.add_parser("list", help="the lessons and how many exercises each has (default)")
    one = commands.add_parser("run", help="run a lesson")
    one.add_argument("lesson", type=int)
    one.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw its pictures, into this folder")
    one = commands.add_parser("blank", help="write a lesson's exercises into a file, to be filled in")
    one.add_argument("lesson", type=int)
    one.add_argument("file", type=Path, nargs="?", help="default: exercises_NN.py in this folder")
    one.add_argument("--overwrite", action="store_true", help="even if the file is there: what is in it is lost")
    one = commands.add_parser("check", help="grade the exercises of a lesson")
    one.add_argument("lesson", type=int)
    one.add_argument("file", type=Path, nargs="?", help="default: exercises_NN.py in this folder")
    one = commands.add_parser("answer", help="show the answer to an exercise")
    one.add_argument("exercise", help="its number, such as 1.2")
    one = commands.add_parser("build", help="build notebooks and pages with all outputs and pictures")
    one.add_argument("folder", type=Path, nargs="?", default=Path("build", "lessons"), help="default: %(default)s")
    one.add_argument("--only", type=int, metavar="LESSON", help="of one lesson alone")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 1 if an exercise is not passed, 2 if nothing could
    be done.
    """
    options = parser().parse_args(arguments)
    try:
        if options.command in (None, "list"):
            return list_lessons()
        if options.command == "answer":
            return answer(options.exercise)
        if options.command == "build":
            chosen = lessons() if options.only is None else (find(options.only),)
        else:
            chosen = (find(options.lesson),)
        if options.command in ("check", "blank"):
            lesson = chosen[0]
            file = options.file or Path(f"exercises_{lesson.number:02d}.py")
            return check(lesson, file) if options.command == "check" else blank(lesson, file, options.overwrite)
    except (LookupError, ValueError, OSError) as error:
        print(error.args[-1] if isinstance(error, LookupError) else error, file=sys.stderr)
        return 2
    if options.command == "build":
        return build.write(chosen, options.folder)
    return run_lesson(chosen[0], options.pictures)


def list_lessons() -> int:
    """Number, title, and how many exercises."""
    for lesson in lessons():
        count = len(grading.exercises(lesson))
        print(f"{lesson.number:3d}  {lesson.title}{f'  ({count} exercises)' if count else ''}")
    return 0


def run_lesson(lesson: Lesson, pictures: Path | None) -> int:
    """Run a lesson as a script; draw pictures if a folder is given."""
    print(f"{lesson.number}. {lesson.title}\n", flush=True)
    record = Record(draw=pictures is not None, keep=pictures is not None)
    run(lesson, record, capture=False)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(record.pictures, 1):
            file = pictures / f"{lesson.number:02d}-{i}.png"
            file.write_bytes(picture.png)
            print(f"{file}: {picture.caption}")
    return 0


def blank(lesson: Lesson, file: Path, overwrite: bool) -> int:
    """Write the exercises of a lesson into ``file``."""
    text = lesson.part("exercises").read_text(encoding="utf-8")
    if file.exists() and not overwrite:
        raise ValueError(f"{file} is there already and is left as it is; --overwrite writes it anew")
    file.write_text(text, encoding="utf-8")
    print(f"{file}: fill in the functions, then: python -m lessons check {lesson.number}{_named(lesson, file)}")
    return 0


def check(lesson: Lesson, file: Path) -> int:
    """Grade ``file`` and print a line for each exercise."""
    if not file.exists():
        raise ValueError(f"there is no {file}: python -m lessons blank {lesson.number}{_named(lesson, file)} writes it")
    results = judge.check(lesson, file)
    for result in results:
        print(f"{result.exercise.id:>5}  {result.verdict:<8} {result.exercise.title}")
        if result.verdict == "refused":
            print(textwrap.indent(_wrapped(result.reason), " " * 16))
        if result.printed:
            print(textwrap.indent(_shortened(result.printed), " " * 16 + "| "))
    passed = sum(result.verdict == "passed" for result in results)
    print(f"{passed} of {len(results)} passed")
    return 0 if passed == len(results) else 1


def answer(id: str) -> int:
    """Print the answer to an exercise."""
    number = id.partition(".")[0]
    if not number.isdecimal():
        raise LookupError(f"{id!r} is no exercise: write 1.2 for the second of lesson 1")
    lesson = find(int(number))
    for item in grading.exercises(lesson):
        if item.id == id:
            print(inspect.getsource(getattr(load_file(lesson.part("answers")), item.name)).rstrip())
            return 0
    known = ", ".join(item.id for item in grading.exercises(lesson))
    raise LookupError(f"there is no exercise {id}: lesson {number} has {known}")


def _named(lesson: Lesson, file: Path) -> str:
    """The file as it must be given to a command, if it is not the default."""
    return "" if file == Path(f"exercises_{lesson.number:02d}.py") else f" {file}"


def _wrapped(reason: str) -> str:
    """A reason in lines of a terminal's width; lines after the first are pictures and stay."""
    first, line, rest = reason.partition("\n")
    return "\n".join(textwrap.wrap(first, 80, break_long_words=False)) + line + rest


def _shortened(text: str, most: int = 10, width: int = 200) -> str:
    """The first lines of what a solution printed, of long ones the beginning."""
    lines = [line if len(line) <= width else f"{line[:width]}..." for line in text.rstrip("\n").split("\n")]
    return "\n".join([*lines[:most], f"... and {len(lines) - most} lines more"] if len(lines) > most else lines)


if __name__ == "__main__":
    raise SystemExit(main())
