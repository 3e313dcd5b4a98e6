"""The log of a run: one JSON object a line, readable while it grows and after a kill."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from minitensor.files.json_text import RepeatedNameError, parse
from toolkit.console import UserError, system_words
from toolkit.files import writing

__all__ = ["NoLog", "RunLog", "read_log"]

Record = dict[str, Any]


class RunLog:
    """Append records to a file of JSON lines; each is handed to the system at once, so that a kill
    loses no line.

    A line that a crash cut short is dropped first, so that the next record does not join it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open ``path`` for appending; it is made if it does not exist. Raises UserError if
        `read_log` does.
        """
        self.path = Path(path)
        with writing(self.path):
            if self.path.exists():
                _, whole = _parse(self.path)
                if whole < self.path.stat().st_size:
                    os.truncate(self.path, whole)
            self._file = open(self.path, "ab", buffering=0)

    def append(self, record: Record) -> None:
        """Write one record; NumPy scalars become numbers, and a loss that is not a number is
        written NaN.

        Raises UserError if the system refuses; what was written of the line is taken back.
        """
        line = json.dumps(record, ensure_ascii=False, default=lambda value: value.item()).encode() + b"\n"
        with writing(self.path):
            size = os.fstat(self._file.fileno()).st_size
            try:
                while line:  # a disk that is nearly full takes a part
                    line = line[self._file.write(line) :]
            except BaseException:
                self._file.truncate(size)
                raise

    def rewind(self, keep: int) -> None:
        """Drop all but the first ``keep`` records: a resumed run writes those after its checkpoint
        anew.
        """
        with writing(self.path):
            with open(self.path, "rb") as file:
                size = sum(len(line) for _, line in zip(range(keep), file, strict=False))
            self._file.truncate(size)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class NoLog(RunLog):
    """A log that is not written: another process writes it."""

    def __init__(self) -> None:
        """Touch no file."""

    def append(self, record: Record) -> None:
        """Do nothing."""

    def rewind(self, keep: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def read_log(path: str | os.PathLike[str]) -> list[Record]:
    """The records of a log, without a last line that was cut short.

    Raises UserError if there is no such file, or if any other line is not a JSON object.
    """
    return _parse(Path(path))[0]


def _parse(path: Path) -> tuple[list[Record], int]:
    """The whole records, and the number of bytes that they take."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the log {path}: {system_words(error)}") from None
    records: list[Record] = []
    whole = data.rfind(b"\n") + 1  # a record counts once its line is ended
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
        try:
            record = parse(line)
        except RepeatedNameError as error:
            raise UserError(f"{path} line {number}: {error}") from None
        except ValueError:  # of JSON or of UTF-8
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{path} line {number} is not a JSON object; the file is damaged or not a log")
        records.append(record)
    return records, whole
