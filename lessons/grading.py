"""Grading: exercises, refusals in words, and what graders compare with.

A file in ``grades/`` has one function for each exercise, under the name of the learner's function::

    @exercise("7.2", "Adam's first step")
    def adam_step(solution):
        got = solution(np.ones(3), lr=0.1)
        same(got, right, "the step", {"the bias correction is missing": wrong})

It returns if the solution is right and raises ``Refused`` with the reason if not.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import linecache
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import minitensor as mt
from lessons.literate import Lesson, load_file, loading
from minitensor.testing import check_op, gradcheck

__all__ = ["Exercise", "Refused", "Result", "check", "derivatives", "exercise", "exercises", "frozen", "grade", "need",
           "op_rules", "same", "shade", "side_by_side"]  # fmt: skip

ORDINALS = ("first", "second", "third")
AGAIN = 1.0  # seconds after which a solution that went on is stopped again
PATIENCE = 20.0  # seconds of computing that an exercise may take


class Refused(Exception):
    """A solution is not right; the text says what it gave, what is right, and what kind of mistake
    that is.
    """


class TooLong(BaseException):
    """Raised in a solution that does not come to an end."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: "7.2", its title, the learner's function by name, and the function that
    grades it.
    """

    id: str
    title: str
    name: str
    grader: Callable[[Any], object]
    nothing: bool = False
    gives: Any = ""


@dataclass(frozen=True)
class Result:
    """What became of an exercise: "passed", "refused" or "blank", why, and what the solution
    printed.
    """

    exercise: Exercise
    verdict: str
    reason: str = ""
    printed: str = ""


def exercise(
    id: str, title: str, *, nothing: bool = False, gives: Any = ""
) -> Callable[[Callable[[Any], object]], Exercise]:
    """Decorate the function that grades exercise ``id``.

    nothing: whether the learner's function rightly returns nothing. gives: what it returns, "array"
    or "Tensor", a tuple of such words if it returns several, a list of one for a list; a solution
    that gives another type is refused before it is graded. Default: the grader looks itself.
    """
    return lambda function: Exercise(id, title, function.__name__, function, nothing, gives)


def exercises(lesson: Lesson) -> list[Exercise]:
    """The exercises of a lesson, in order."""
    grades = lesson.part("grades")
    found = vars(load_file(grades)).values() if grades.exists() else ()
    return sorted((e for e in found if isinstance(e, Exercise)), key=lambda e: e.id)


# --- what graders say -----------------------------------------------------------------------------


def need(holds: Any, reason: str) -> None:
    """Refuse with ``reason`` if it does not hold."""
    if not holds:
        raise Refused(reason)


def same(
    got: Any, right: Any, what: str, mistakes: Mapping[str, Any] | None = None, *, tolerance: float = 1e-9
) -> None:
    """Refuse if ``got`` is not ``right``, within ``tolerance`` of its size.

    got: a number, an array, a Tensor, or a list of numbers. what: what it is, for the reason.
    mistakes: what a typical mistake gives, under the words that explain it: if ``got`` is that, the
    reason says so.
    """
    right = _array(right, what)
    found = _array(got, what)
    for words, value in (mistakes or {}).items():
        wrong = _array(value, what)
        if found.shape == wrong.shape and _near(found, wrong, tolerance) and not (
            found.shape == right.shape and _near(found, right, tolerance)
        ):  # fmt: skip
            raise Refused(f"{what} is {_show(found)}, right is {_show(right)}: {words}")
    if found.shape != right.shape:
        raise Refused(f"{what} has the shape {found.shape}, right is {right.shape}")
    if not _near(found, right, tolerance):
        place = ""
        if right.ndim and right.size > 8:
            distance = np.where(np.isfinite(found), np.abs(found - right), np.inf)
            index = tuple(int(i) for i in np.unravel_index(np.argmax(distance), right.shape))
            place = f"; furthest off at {index}: {_show(found[index])}, right is {_show(right[index])}"
        raise Refused(f"{what} is {_show(found)}, right is {_show(right)}{place}")


def derivatives(function: Any, inputs: list[Any], reason: str = "", **options: Any) -> None:
    """Refuse if ``gradcheck`` finds a wrong derivative; ``reason`` comes behind what it found."""
    _told(gradcheck, function, inputs, reason, options)


def op_rules(function: Any, inputs: list[Any], reason: str = "", **options: Any) -> None:
    """Refuse if ``check_op`` finds a promise broken; ``reason`` comes behind what it found."""
    _told(check_op, function, inputs, reason, options)


def _told(check: Any, function: Any, inputs: list[Any], reason: str, options: dict[str, Any]) -> None:
    try:
        check(function, inputs, **options)
    except AssertionError as error:
        raise Refused(f"{error}" + (f": {reason}" if reason else "")) from None


def frozen(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Normal random numbers that cannot be written to, always the same."""
    array = np.array(scale * np.random.default_rng((seed, *shape)).standard_normal(shape))
    array.flags.writeable = False
    return array


def shade(matrix: Any) -> str:
    """A picture of a matrix with entries from 0 to 1, in characters."""
    rows = np.clip(np.asarray(_array(matrix, "the picture")), 0.0, 1.0)
    return "\n".join("".join(" ░▒▓█"[round(4 * value)] * 2 for value in row) for row in rows.tolist())


def side_by_side(got: Any, right: Any) -> str:
    """Two matrices as pictures, for a reason."""
    left, others = shade(got).split("\n"), shade(right).split("\n")
    width = max(9, *(len(row) for row in left))
    rows = max(len(left), len(others))
    left, others = left + [""] * (rows - len(left)), others + [""] * (rows - len(others))
    lines = [f"{a:<{width}}   {b}".rstrip() for a, b in zip(["it gave", *left], ["right is", *others])]
    return "\n" + "\n".join(lines)


def _array(value: Any, what: str) -> Any:
    """A value as a float64 array; refuses what is none."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused(f"{what} should be numbers, and it is {type(value).__name__}: {str(value)[:60]}") from None


def _near(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two arrays of one shape agree."""
    finite = np.abs(b[np.isfinite(b)])
    size = max(1.0, float(finite.max(initial=0.0)))
    return bool(np.allclose(a, b, rtol=0.0, atol=tolerance * size, equal_nan=True))


def _show(value: Any) -> str:
    """A value in a sentence."""
    if value.ndim == 0:
        return f"{value:.6g}"
    if value.size > 8:
        return f"an array {value.shape}"
    return np.array2string(value, precision=6, separator=", ").replace("\n", "")


# --- grading --------------------------------------------------------------------------------------


def check(lesson: Lesson, path: Path) -> list[Result]:
    """Grade the learner's file at ``path``: a result for each exercise of ``lesson``.

    Nothing but that file and the graders is run, in this process: see ``judge.check`` for another.
    """
    solutions = load_solutions(path)
    return [grade(item, solutions) for item in exercises(lesson)]


def load_solutions(path: Path) -> ModuleType:
    """The learner's file. ValueError if it cannot be run at all; the text says why."""
    printed = io.StringIO()
    linecache.checkcache(str(path))
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not a text in UTF-8: save it as UTF-8 in your editor") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    try:
        with contextlib.redirect_stdout(printed), _patience():
            return load_file(path)
    except SyntaxError as error:
        line = f", in line {error.lineno}: `{(error.text or '').strip()}`" if error.lineno else ""
        raise ValueError(f"{path.name} is no Python yet: {error.msg}{line}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{path.name} cannot be run: {_failure(error, str(path))}") from None


def grade(item: Exercise, solutions: ModuleType) -> Result:
    """Grade one exercise."""
    solution = getattr(solutions, item.name, None)
    if not callable(solution):
        return Result(item, "refused", f"there is no function {item.name} in the file")
    printed = io.StringIO()
    verdict, reason = "passed", ""
    try:
        with contextlib.redirect_stdout(printed), _patience(), np.errstate(all="ignore"):
            item.grader(solution if isinstance(solution, type) else _called(solution, item))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if _is_blank(error, item.id):
            verdict, reason = "blank", "still blank"
        else:
            verdict, reason = "refused", _failure(error, str(solutions.__file__))
    return Result(item, verdict, reason, printed.getvalue())


def _called(function: Callable[..., Any], item: Exercise) -> Callable[..., Any]:
    """``function``, refused where it takes other parameters, and where it returns nothing, or
    another type, than the exercise asks for.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        try:
            out = function(*args, **keywords)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # inside the function
            raise Refused(f"{error}: leave the parameters as the blank has them") from None
        if not item.nothing:
            need(out is not None, f"{function.__name__} returned None: is a `return` missing?")
            _typed(out, item.gives, "it returned")
        return out

    return wrapped


def _typed(got: Any, gives: Any, where: str) -> None:
    """Refuse a list where an array is asked for, and what is no Tensor where one is."""
    if isinstance(gives, tuple):
        if isinstance(got, (tuple, list)) and len(got) == len(gives):
            for number, (part, kind) in enumerate(zip(got, gives, strict=True), 1):
                _typed(part, kind, f"the {ORDINALS[number - 1]} of what it returned is")
    elif isinstance(gives, list):
        for part in got if isinstance(got, (tuple, list)) else ():
            _typed(part, gives[0], "in the list that it returned is")
    elif isinstance(got, (list, tuple, range)):
        kind = type(got).__name__
        need(gives != "array", f"{where} a {kind}, and an array is asked for: np.array(...) makes one of it")
        need(gives != "Tensor", f"{where} a {kind}, and one Tensor is asked for: put the list together by mt.stack")
    elif gives == "Tensor":
        name = "an array" if isinstance(got, np.ndarray) else f"a {type(got).__name__}"
        need(
            isinstance(got, mt.Tensor),
            f"{where} {name}, and a Tensor is asked for: compute with mt, and without .numpy(), so that a gradient "
            "gets back",
        )


def _is_blank(error: BaseException | None, id: str) -> bool:
    """Whether an error is, or came of, the blank of exercise ``id``."""
    while error is not None:
        if isinstance(error, NotImplementedError) and str(error) == f"exercise {id}":
            return True
        error = error.__cause__ or error.__context__
    return False


def _failure(error: BaseException, file: str) -> str:
    """Why a solution failed, in words, with the line of the learner's file where it did."""
    place, trace = "", error.__traceback__
    last = None
    while trace is not None:
        last = trace.tb_frame.f_code.co_filename
        if last == file:
            line = trace.tb_lineno
            place = f", in line {line}: `{linecache.getline(file, line).strip()}`".replace(": ``", "")
        trace = trace.tb_next
    if isinstance(error, Refused) or (isinstance(error, AssertionError) and last != file):
        return str(error)
    if isinstance(error, TooLong):
        return f"it did not come to an end in {PATIENCE:g} seconds{place}: does a loop go on for ever?"
    try:
        text = str(error)
    except Exception:  # of a class of the learner's own
        text = ""
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if "read-only" in text:
        said += " (do not write into what you are given: make a new array)"
    return f"it raised {said}{place}" if place else f"what it returned cannot be used: {said}"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Raise ``TooLong`` in this thread after ``PATIENCE`` seconds of computing, or six times as
    many on the clock, where threads can be started. Loading a lesson does not count.

    It is raised again each second until the work ends, and once more behind it: Python ignores what
    is raised while the garbage collector calls back, and a solution may catch all. One that waits
    for a lock, as for the start of a thread, is not reached: `judge` ends its process.
    """
    this, lock, over, stopped = threading.get_ident(), threading.Lock(), False, False
    computed, clock, loaded = time.process_time(), time.monotonic(), loading()[1]

    def look() -> None:
        nonlocal clock, stopped
        pause = 0.05
        while True:
            busy, spent = loading()
            used = time.process_time() - computed - (spent - loaded)
            if busy:
                clock = time.monotonic()
            with lock:
                if over:
                    return
                if not busy and (used >= PATIENCE or time.monotonic() - clock >= 6 * PATIENCE):
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(this), ctypes.py_object(TooLong))
                    pause, stopped = AGAIN, True
            done.wait(pause)

    done = threading.Event()

    def end() -> None:
        nonlocal over
        with lock:
            over = True
        done.set()

    try:
        try:
            with contextlib.suppress(RuntimeError):  # a browser has no threads
                threading.Thread(target=look, daemon=True).start()
            yield
        finally:
            end()
    finally:
        end()  # again, should TooLong have come in the first
    if stopped:
        raise TooLong
