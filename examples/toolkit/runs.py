"""The folder of a run: what it is, in ``config.json``, beside all that it leaves."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.settings import Training, from_dict

__all__ = ["Run", "fresh", "write_text"]

FORMAT = 1  # of the folder; raised when older programs could not read it
CONFIG = "config.json"
FILES = (CONFIG, "log.jsonl", "loss.png")  # of every run


class Run:
    """A run in ``folder``: its settings, and whatever else ``about`` says of it (a dict of JSON values).

    ``about["files"]``, where there is one, names files that its program leaves besides those of every run: `create` with ``force``
    removes them, whichever program replaces it.

    ``config.json`` is written before all else, whole or not at all: a folder is a run if and only if it has one, and a run can be
    resumed whenever its process died.
    """

    def __init__(self, folder: Path, settings: Any, about: dict[str, Any]) -> None:
        self.folder, self.settings, self.about = folder, settings, about

    @staticmethod
    def check_free(folder: Path, force: bool = False) -> None:
        """Raise UserError for a folder that no run may be started in: it must be new or empty, or with ``force`` hold a run."""
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder for the run")
        if (folder / CONFIG).exists():
            if not force:
                raise UserError(
                    f"{folder} holds a run already; go on with it by --resume, replace it by --force, or name another"
                )
        elif folder.is_dir() and any(path.name != CONFIG + ".part" for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and not a run; name a new folder")

    @classmethod
    def create(cls, folder: Path, program: str, settings: Training, about: dict[str, Any], force: bool = False) -> Run:
        """Start a run in a folder that `check_free` finds good; with ``force`` the files of the run there are removed."""
        cls.check_free(folder, force)
        made = cls(folder, settings, about)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / CONFIG).exists():
                _remove(folder)
            made._write(program)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
        return made

    @classmethod
    def open(cls, folder: Path, program: str, settings: type[Training]) -> Run:
        """Read the run in ``folder``. Raises UserError if there is none, or one of another program or version."""
        path = folder / CONFIG
        if not path.is_file():
            raise UserError(
                f"{folder} is not a run: it has no {CONFIG}" if folder.exists() else f"there is no run {folder}"
            )
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            found = config.pop("program"), config.pop("format")
            values = config.pop("settings")
        except (OSError, ValueError, AttributeError, KeyError) as error:
            raise UserError(f"{path} is damaged or not the configuration of a run ({error!r})") from None
        if found != (program, FORMAT):
            raise UserError(
                f"{folder} is a run of {found[0]!r} in format {found[1]}; this program is {program!r} and reads format {FORMAT}"
            )
        return cls(folder, from_dict(settings, values, str(path)), config)

    def update(self, program: str, **changes: Any) -> None:
        """Change settings, in the file too."""
        self.settings = dataclasses.replace(self.settings, **changes)
        self._write(program)

    def _write(self, program: str) -> None:
        config = {"program": program, "format": FORMAT, **self.about, "settings": dataclasses.asdict(self.settings)}
        write_text(self.folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def path(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name


def fresh(folder: Path) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3``, ... that does not exist."""
    numbered = (folder.with_name(f"{folder.name}-{n}") for n in range(2, 1_000_000))
    return folder if not folder.exists() else next(path for path in numbered if not path.exists())


def _remove(folder: Path) -> None:
    """Remove the files of a run, ``config.json`` first, and leave what others have put there."""
    try:
        own = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("files", [])
    except (ValueError, AttributeError):  # damaged, and with it the list
        own = []
    for name in (*FILES, *(name for name in own if Path(name).name == name)):
        (folder / name).unlink(missing_ok=True)
    Checkpoints(folder).clear()


def write_text(path: Path, text: str) -> None:
    """Make ``path`` hold ``text``, all of it or none."""
    scratch = path.with_name(path.name + ".part")
    with open(scratch, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
