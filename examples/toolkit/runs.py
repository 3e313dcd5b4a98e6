"""The folder of a run: its configuration in ``config.json``, and the files that it writes."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.files import PART, read_json, write_text, writing
from toolkit.lock import Lock
from toolkit.settings import Training, from_dict

__all__ = ["Run", "fresh", "kept_or"]

Kept = TypeVar("Kept")

FORMAT = 1  # of the folder; raised when older programs could not read it
CONFIG = "config.json"
PICTURE, OTHER = ".png", "-of-"  # how the names of pictures end, and what precedes that of other data
FILES = (CONFIG, "log.jsonl", "loss.png")  # of every run


class Run:
    """A run in ``folder``: its settings, and what else ``about`` says of it (a dict of JSON
    values).

    ``about["files"]``, if present, names the files that its program writes besides those of every
    run: `create` with ``force`` removes them, whichever program replaces it.

    ``config.json`` is written before all else, whole or not at all: a folder is a run if and only
    if it has one, and a run can be resumed whenever its process died.
    """

    program = ""  # whose run it is, once it has been opened

    def __init__(self, folder: Path, settings: Any, about: dict[str, Any], other: str = "") -> None:
        self.folder, self.about = folder, about
        self.settings: Any = settings  # those of the program whose run it is
        self.other = other  # the name of other data that it is tested on, see `tested_on`

    @staticmethod
    def check_free(folder: Path, force: bool = False) -> None:
        """Raise UserError for a folder that no run may be started in: it must be new or empty, or
        with ``force`` hold a run.
        """
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder for the run")
        if (folder / CONFIG).exists():
            if not force:
                raise UserError(
                    f"{folder} holds a run already; go on with it by --resume, replace it by --force, or name another"
                )
        elif folder.is_dir() and any(not _is_part_of_config(path.name) for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and not a run; name a new folder")

    @classmethod
    def create(
        cls, folder: Path, program: str, settings: Training, about: dict[str, Any], lock: Lock, force: bool = False
    ) -> Run:
        """Start a run in a folder that `check_free` finds good; with ``force`` the files of the run
        there are removed.

        The folder is taken into ``lock`` first: while another process writes there nothing is
        touched.
        """
        made, new = cls(folder, settings, about), not folder.exists()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock.take(folder)
        cls.check_free(folder, force)  # once more: now nobody else can start a run here
        try:
            with writing(folder):
                if (folder / CONFIG).exists():
                    _remove(folder)
            made._write(program)
        except UserError:
            if new:
                folder.rmdir()
            raise
        return made

    @classmethod
    def open(cls, folder: Path, program: str, settings: type[Training], needed: Iterable[str] = ()) -> Run:
        """Read the run in ``folder``. Raises UserError if there is none, or one of another program
        or version.

        ``needed``: what ``about["data"]`` must have besides the path and the fingerprint.
        """
        path = folder / CONFIG
        if not path.is_file():
            raise UserError(
                f"{folder} is not a run: it has no {CONFIG}" if folder.exists() else f"there is no run {folder}"
            )
        config = read_json(path, "configuration of a run")
        if not isinstance(config, dict):
            raise UserError(f"{path} is damaged or not the configuration of a run: it holds no table of names")
        for name in ("program", "format", "settings", "data"):
            if name not in config:
                raise UserError(f'{path} is damaged or not the configuration of a run: it lacks "{name}"')
        found, values = (config.pop("program"), config.pop("format")), config.pop("settings")
        if found[0] != program:
            raise UserError(f"{folder} is a run of {found[0]!r}, and this program is {program!r}{_opened_by(found[0])}")
        if found[1] != FORMAT:
            raise UserError(
                f"{folder} is a run in format {found[1]}, and this program reads format {FORMAT}; open it with the version"
                " that it was trained by, or train anew"
            )
        _check_data(path, config["data"], needed)
        if not isinstance(values, dict):
            raise UserError(f'{path} is damaged: its "settings" are no table of names')
        made = cls(folder, from_dict(settings, values, str(path)), config)
        made.program = program
        return made

    def update(self, program: str, settings: Training, **data: Any) -> None:
        """Change the settings, and what is said of the data, in the file too."""
        self.settings = settings
        self.about["data"].update(data)
        self._write(program)

    def _write(self, program: str) -> None:
        config = {"program": program, "format": FORMAT, **self.about, "settings": dataclasses.asdict(self.settings)}
        write_text(self.folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def path(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def tested_on(self, data: str | None) -> Run:
        """The same run with other data to be tested on, those at path ``data``, if that is not
        None: `picture` then has names of its own.
        """
        return Run(self.folder, self.settings, self.about, data and os.path.basename(os.path.abspath(data)) or "")

    def picture(self, name: str) -> Path:
        """A picture of a report, in the folder: "words.png", or of other data, so that those of the
        run's own stay as they are, "words-of-other.tsv.png".
        """
        path = self.path(name)
        return path.with_name(f"{path.stem}{OTHER}{self.other}{path.suffix}") if self.other else path


def kept_or(run: Run | None, name: str, load: Callable[[Path], Kept], make: Callable[[], Kept]) -> Kept:
    """What a resumed run keeps in its file ``name``, such as its tokenizer, read by ``load``; of a
    new run (None), or one that died before it wrote the file, what ``make`` makes.
    """
    path = run.path(name) if run else None
    return load(path) if path and path.exists() else make()


def fresh(folder: Path) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3``, ... that does not exist."""
    numbered = (folder.with_name(f"{folder.name}-{n}") for n in range(2, 1_000_000))
    return folder if not folder.exists() else next(path for path in numbered if not path.exists())


def _is_part_of_config(name: str) -> bool:
    """Whether a file is what a process left that was killed while it wrote ``config.json``."""
    return name.startswith(f".{CONFIG}.") and name.endswith(PART)


def _opened_by(program: Any) -> str:
    """The advice to open a run of a ``program`` by the script of that name, if there is one."""
    script = f"{program}.py".replace("-", "_")
    known = [path.name for path in Path(__file__).parents[1].glob("*.py")]
    return f"; open it by examples/{script}" if script in known else ""


def _check_data(path: Path, data: Any, needed: Iterable[str]) -> None:
    """Raise UserError if what a run says of its data is not what programs write."""
    if not isinstance(data, dict):
        raise UserError(f'{path} is damaged: its "data" are no table of names')
    for name in ("path", "fingerprint", *needed):
        if name not in data:
            raise UserError(f'{path} is damaged, or of another version of this program: its "data" lack "{name}"')
    if not isinstance(data["path"], (str, type(None))):
        raise UserError(f'{path} is damaged: the "path" of its "data" is {json.dumps(data["path"])}, no path')


def _remove(folder: Path) -> None:
    """Remove the files of a run, ``config.json`` first, and leave what others have put there."""
    try:
        own = [str(name) for name in read_json(folder / CONFIG, "configuration")["files"]]
    except (UserError, KeyError, TypeError):  # damaged, and with it the list
        own = []
    for name in (*FILES, *(name for name in own if Path(name).name == name)):
        (folder / name).unlink(missing_ok=True)
        if name.endswith(PICTURE):
            for path in folder.glob(f"{glob.escape(name.removesuffix(PICTURE) + OTHER)}*{PICTURE}"):
                path.unlink()
    for path in folder.glob(f".*{PART}"):  # of processes that were killed
        path.unlink()
    Checkpoints(folder).clear()
