"""Talking to the user at the terminal: errors of one line, optional libraries, a progress bar."""

from __future__ import annotations

import errno
import importlib
import io
import math
import os
import signal
import sys
import time
from argparse import ArgumentTypeError
from collections import deque
from collections.abc import Callable, Sequence, Sized
from types import ModuleType
from typing import Any, TextIO

__all__ = [
    "PIPE",
    "Progress",
    "UserError",
    "and_more",
    "arguments_of",
    "check_utf_8",
    "counted",
    "minutes_in_words",
    "note",
    "path",
    "require",
    "run",
    "say",
    "settle_streams",
    "system_words",
    "unmarked",
]

REFUSED_WRITES = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF, getattr(errno, "EDQUOT", None)}
PAUSE = 10.0  # seconds between plain progress lines
WINDOW = 50  # updates over which the speed is averaged
MARK = "\ufeff"  # of byte order
# The exit code if the reader of a pipe has gone away; Windows has no such signal.
PIPE = 128 + getattr(signal, "SIGPIPE", 13)


class UserError(Exception):
    """Something that the user can put right: a file, an option, a sentence. The message says what
    and how.
    """

    exit_code = 2


def run(main: Callable[[], int | None]) -> int:
    """Call ``main`` and return the exit code of the process: ``sys.exit(run(main))``.

    A `UserError` becomes one line on stderr and code 2, and so does a refusal of the system: a
    file, a disk, memory. Ctrl-C becomes code 130 (``main`` has saved by then), a closed pipe (``|
    head``) ends it quietly; any other exception is a bug and keeps its traceback.
    """
    settle_streams()
    try:
        try:
            code = main() or 0
        finally:  # also if argparse has printed its help and ends the process
            sys.stdout.flush()  # here, while an error can still be caught
        return code
    except UserError as error:
        return _complain(str(error), error.exit_code)
    except MemoryError as error:
        return _complain(f"this takes more memory than there is: {error or 'choose smaller numbers'}")
    except OSError as error:
        if _reader_is_gone(error):
            return PIPE
        unnamed = "cannot write to the standard output" if error.errno in REFUSED_WRITES else None
        name = error.filename or unnamed  # all other files have a name
        return _complain(f"{name}: {system_words(error)}" if name else system_words(error))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            if not _flushes(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still buffered goes there at exit


def settle_streams() -> None:
    """Prepare the standard streams so that writing to them never fails in the program.

    A closed one (``>&-``) discards everything, and a character that the terminal cannot show is
    shown as its code. A pipe or a file gets UTF-8, as all files here do, whatever the locale,
    unless PYTHONIOENCODING names another encoding. None of their three descriptors stays free, so
    that no file of ours becomes a library's standard output.
    """
    if sys.stdin is None and not _is_open(0):
        os.open(os.devnull, os.O_RDONLY)  # the system gives the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            told = stream.isatty() or os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding=None if told else "utf-8", errors="backslashreplace")


def _reader_is_gone(error: OSError) -> bool:
    """Whether the reader of the pipe has gone away; Windows then says that an argument is not
    valid.
    """
    windows = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return windows or isinstance(error, BrokenPipeError)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _flushes(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def say(line: str) -> None:
    """Print to stderr, if it can still be written to: a lost message must not end the work."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass


def _complain(message: str, code: int = UserError.exit_code) -> int:
    """Print an error as one line; returns the exit code."""
    say("error: " + " ".join(line.strip() for line in message.splitlines()))
    return code


def system_words(error: OSError) -> str:
    """The system's message, without number and path: "No space left on device"."""
    return error.strerror or str(error)


def arguments_of(arguments: Sequence[str] | None = None) -> list[str]:
    """The arguments given, or those of the command line, each `unmarked`. Raises UserError for one
    that is not UTF-8.
    """
    found = [unmarked(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    for number, argument in enumerate(found, start=1):
        check_utf_8(argument, f"argument {number}")
    return found


def check_utf_8(value: str, what: str) -> None:
    """Raise UserError for text out of bytes that are not UTF-8, which Python keeps as lone
    surrogates.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):
        shown = value.encode("utf-8", "backslashreplace").decode()
        raise UserError(f"{what}, '{shown}', is not UTF-8; write it in UTF-8, or rename what it names")


def unmarked(text: str) -> str:
    """The text without the byte-order mark that it begins with, if it does: some editors put one
    into a file, from where it comes along with a text, of which it is no part.
    """
    return text.removeprefix(MARK)


def path(argument: str) -> str:
    """An argument that names a file or a folder: ``parser.add_argument("--data",
    type=console.path)``. "" is refused.
    """
    if not argument:
        raise ArgumentTypeError("the name is empty; was a variable of the shell not set?")
    return argument


def and_more(things: Sized, shown: int = 1) -> str:
    """Words for what is not ``shown`` of ``things``, "" if nothing is left.

    >>> "line 4 is empty" + and_more([4, 7, 9])
    'line 4 is empty (and 2 more)'
    """
    return f" (and {len(things) - shown} more)" if len(things) > shown else ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """So many things, in words. plural: default: ``noun`` with an "s".

    >>> counted(1, "pair"), counted(0, "pair"), counted(1200, "story", "stories")
    ('1 pair', '0 pairs', '1,200 stories')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def minutes_in_words(minutes: float) -> str:
    """So many minutes, in words.

    >>> minutes_in_words(1.0), minutes_in_words(0.5)
    ('1 minute', '0.5 minutes')
    """
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"


def note(line: str) -> None:
    """Print a note on stderr, beside the result."""
    say(f"note: {line}")


def require(package: str, extra: str) -> ModuleType:
    """Import ``package``, which `minitensor` itself does not need.

    Raises UserError with the command that installs it (the optional dependencies named ``extra``).
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        name = package.partition(".")[0]
        if error.name != name:  # it is installed, and broken: that needs a traceback
            raise
        raise UserError(
            f'the library {name} is not installed; install it by: pip install "minitensor-autograd[{extra}]"'
        ) from None


class Progress:
    """A bar with loss, speed and time left; plain lines, one every few seconds, if there is no
    terminal.

    A line that cannot be written is no error; ``unread`` is True if the reader has gone away.

    >>> clock = iter([0.0, 5.0, 10.0]).__next__
    >>> with Progress("training", total=2, stream=sys.stdout, clock=clock) as progress:
    ...     progress.advance(loss=3.5, tokens=1000)
    ...     progress.advance(loss=2.25, tokens=1000)
    training 2/2  loss 2.250  200 tokens/s  0:00 left
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        done: int = 0,
        seconds: float | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at ``done`` (not 0 after a resume) of ``total`` updates, or an unknown number
        (None).

        seconds: the work ends after that time at the latest. ``stream`` is stderr unless told
        otherwise.
        """
        self.label, self.total, self.done = label, total, done
        self.loss: float | None = None
        self.unread = False
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._recent = deque([(clock(), 0)], maxlen=WINDOW + 1)  # (time, tokens of the update that ended then)
        self._said = self._recent[0][0]
        self._deadline = math.inf if seconds is None else self._said + seconds
        self._bar: Any = None  # rich.progress.Progress, if there is a terminal

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            rich = require("rich.progress", "train")
            console = require("rich.console", "train").Console(file=self._stream)
            columns = ("{task.description}", rich.BarColumn(), rich.MofNCompleteColumn(), "{task.fields[status]}")
            self._bar = rich.Progress(*columns, console=console)
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, status="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the bar as it is."""
        if self._bar:
            self._bar.stop()

    def advance(self, loss: float | None = None, tokens: int = 0) -> None:
        """One update of so many target tokens is done; without ``loss`` the last one is shown."""
        now = self._clock()
        self.done += 1
        self.loss = self.loss if loss is None else loss
        self._recent.append((now, tokens))
        if self._bar:
            self._bar.update(self._task, completed=self.done, status=self.status())
        elif now - self._said >= PAUSE or self.done == self.total:
            self._said = now
            count = self.done if self.total is None else f"{self.done}/{self.total}"
            self.say(f"{self.label} {count}  {self.status()}")

    def status(self) -> str:
        """``loss 2.250  200 tokens/s  0:35 left``, the last two from the latest updates."""
        (start, _), *updates = self._recent
        if not updates:
            return ""
        seconds = max(updates[-1][0] - start, 1e-9)
        tokens = sum(count for _, count in updates)
        todo = math.inf if self.total is None else seconds / len(updates) * (self.total - self.done)
        todo = max(0.0, min(todo, self._deadline - updates[-1][0]))
        parts = [] if self.loss is None else [f"loss {self.loss:.3f}"]
        parts += [f"{tokens / seconds:,.0f} tokens/s"] if tokens else []
        if todo < math.inf:
            left = round(todo)
            hours, minutes = divmod(left // 60, 60)
            clock = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
            parts.append(f"{clock} left")
        return "  ".join(parts)

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        try:
            if self._bar:
                self._bar.console.print(line, markup=False, highlight=False)
            else:
                print(line, file=self._stream, flush=True)
        except OSError as error:
            self.unread = self.unread or _reader_is_gone(error)
