"""Files that are written whole or not at all, and JSON that is read back; an error of the system
becomes one line.

A file is written beside its place and then renamed, so that a reader finds the old content or the
new one, and a disk that is full leaves the old one. Each process uses a different name for that,
since two may draw the same picture at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minitensor.files.json_text import RepeatedNameError, parse
from minitensor.files.safetensors import replace
from toolkit.console import UserError, system_words

__all__ = [
    "PART", "check_new_file", "check_new_folder", "checked_json", "new_folder", "read_back", "read_json", "write_text",
    "write_whole", "writing",
]  # fmt: skip

PART = ".part"  # how the name of a file ends that is not whole yet


@contextmanager
def writing(path: str | os.PathLike[str], verb: str = "write") -> Iterator[None]:
    """A block that writes to ``path``. Raises UserError if the system refuses: no space, no
    permission, no such folder.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {verb} {path}: {system_words(error)}") from None


def write_whole(path: str | os.PathLike[str], content: bytes, verb: str = "write") -> None:
    """Make ``path`` hold ``content``, all of it or nothing. Raises UserError if the system refuses;
    nothing is left then.
    """
    with writing(path, verb):
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe or /dev/stdout, which cannot be replaced
            Path(path).write_bytes(content)
            return
        target = Path(os.path.realpath(path))  # if it is a link, the file that it names
        scratch = target.with_name(f".{target.name}.{os.getpid()}{PART}")
        try:
            with open(scratch, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            replace(scratch, target)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def check_new_folder(path: str | os.PathLike[str]) -> None:
    """Raise UserError if ``path`` exists, or no folder can be made there."""
    target = Path(path)
    if target.exists():
        raise UserError(f"{target} exists; name a new folder")
    if not target.parent.is_dir():
        raise UserError(f"cannot write {target}: there is no folder {target.parent}")


def check_new_file(path: str | os.PathLike[str]) -> None:
    """Raise UserError if ``path`` is a file, which would be lost."""
    if os.path.isfile(path):
        raise UserError(f"{path} exists; name a new file")


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill, which gets the name ``path`` when it is whole; if that fails nothing is
    left. Raises UserError if ``path`` exists, or the system refuses.
    """
    check_new_folder(path)
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}{PART}")
    with writing(target):
        scratch.mkdir()
        try:
            yield scratch
            os.rename(scratch, target)
        except BaseException:
            shutil.rmtree(scratch)
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_whole` of a text in UTF-8. Raises UserError for a text with lone surrogates."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"cannot write {path}: {text[error.start : error.end]!a} is not UTF-8") from None
    write_whole(path, content)


def read_back(path: str | os.PathLike[str], what: str) -> str:
    """A text that `write_text` wrote. Raises UserError for one that is missing, may not be read, or
    is damaged; ``what`` it is.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged or not a {what} ({error})") from None


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """The value in a file of JSON. Raises UserError if `read_back` does, for what is no JSON, and
    for a name that stands twice in a table.
    """
    return _read_json(path, what)[1]


def checked_json(path: str | os.PathLike[str], what: str) -> str:
    """The text in a file of JSON, for a library that reads it. Raises UserError if `read_json`
    does.
    """
    return _read_json(path, what)[0]


def _read_json(path: str | os.PathLike[str], what: str) -> tuple[str, Any]:
    text = read_back(path, what)
    try:
        return text, parse(text)
    except RepeatedNameError as error:
        raise UserError(f"{path}: {error}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged or not a {what} ({error})") from None
