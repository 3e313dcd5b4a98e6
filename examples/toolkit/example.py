"""What an example says of itself to `toolkit.program`: its data, its settings, its task, and how it
is called.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.resuming import ENDS
from toolkit.runs import Run
from toolkit.settings import Training

__all__ = ["Data", "Example"]

# Which data these are, as JSON: "path", None for the embedded ones, and what `Example.describe`
# adds.
Data = dict[str, Any]


class Example:
    """What the subclass of `toolkit.program.Program` that is an example replaces."""

    name: str  # of the program, in config.json and in the folder of a new run
    settings: type[Training]
    # What it leaves in a run beside config.json, log.jsonl, loss.png and weights; --force removes
    # it.
    files: tuple[str, ...] = ()
    data_help: str = "data to train on (embedded data)"
    defaults_note: str = ""  # after the title of the hyper-parameters in --help
    loss_label: str = "loss per token (nats)"  # in loss.png

    def load(self, data: Data) -> Any:
        """The data at ``data["path"]``, or the embedded ones if it is None. Raises UserError for
        bad files.
        """
        raise NotImplementedError

    def load_whole(self, data: Data) -> Any:
        """As `load`, for other data than those of the run: all of them are for testing."""
        return self.load(data)

    def where(self, data: Data) -> str:
        """The place of the data, in words; all of it, if it is several files."""
        return data["path"] or "what is embedded"

    def tested(self, loaded: Any) -> list[str]:
        """The test inputs, if they can be found again among those that were `trained` on."""
        return []

    def trained(self, loaded: Any) -> set[str]:
        """The training and validation inputs."""
        return set()

    def fingerprint(self, loaded: Any) -> str:
        """A hash of the training and validation data (see `digest`): a resumed run must find the
        same.
        """
        raise NotImplementedError

    def notes(self, loaded: Any) -> Sequence[str]:
        """What became of the lines of a file, such as copies that were left out: printed when a
        training begins, and before a test; not if the data are refused.
        """
        return ()

    def make_task(self, loaded: Any, settings: Any, run: Run | None) -> Any:
        """What `toolkit.trainer` trains. ``run`` is one that is resumed, which may have a
        vocabulary or the like to be read.
        """
        raise NotImplementedError

    def report(self, run: Run, loaded: Any, task: Any) -> None:
        """Print and draw the results of a training; ``task.model`` holds the result, and loss.png
        has been drawn.
        """
        raise NotImplementedError

    def save(self, task: Any, run: Run) -> None:
        """Write what the run's model needs besides its weights, such as a vocabulary; also when
        resumed.
        """

    def sizes(self, task: Any) -> str:
        """The line printed before training, after the name of the folder."""
        return f"{task.model.num_parameters():,} parameters"

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        """Options that say what the data are, besides --data; `describe` checks and returns them by
        the same names.
        """

    def describe(self, options: argparse.Namespace) -> Data:
        """What `add_data_options` asked for. A resumed run has the same; options that are given
        again must agree.
        """
        return {}

    def identify(self, loaded: Any) -> Data:
        """The part of `describe` that is known only after loading, such as the name of a column;
        kept with the run.
        """
        return {}

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """Settings for these data, and those ``given`` by the person, in the place of
        the defaults.
        """
        return {}

    def suited(self, data: Data, loaded: Any, given: Data) -> Data:
        """Settings that follow from the data once they are loaded, such as from their number, and
        from what is ``given``, in the place of the defaults and of `presets`.
        """
        return {}

    def told(self, data: Data, loaded: Any, settings: Any) -> str:
        """The line on what `suited` has chosen, printed when a new training begins; "" for none."""
        return ""

    def chosen(self, data: Data, given: dict[str, Any], loaded: Any = None) -> Any:
        """The settings of a run: what is given, else what suits the data, else the defaults.
        ``loaded`` is None as long as the data are not read. Raises UserError for what cannot be.
        """
        presets = self.presets(data, given)
        if loaded is not None:
            presets |= self.suited(data, loaded, given)
        elif type(self).suited is not Example.suited:
            presets.setdefault("steps", 1)  # until then, since an end may follow from the data
        if given.keys() & ENDS:
            presets |= dict.fromkeys(ENDS)
        return self.settings(**{**presets, **given})

    def run_name(self, data: Data) -> str:
        """The folder below runs/ of a run that is given none."""
        return self.name

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        """Further subcommands: ``add(name, function, help)`` returns a parser that has --run,
        --weights and --device already.

        ``function(options)`` returns the exit code, or None for 0; it gets its run by `open`. With
        ``of_a_run=False`` the parser is empty.
        """

    # --- how it is called -------------------------------------------------------------------------

    @property
    def command(self) -> str:
        """How the script was called, for advice: ``python examples/digits.py``."""
        script = sys.argv[0]
        try:
            script = os.path.relpath(script)
        except ValueError:  # it is on another drive of Windows
            pass
        return _command_line(["python", script])

    def advice(self, subcommand: str, options: dict[str, Any], *texts: str) -> str:
        """A command to be pasted into a shell: ``python examples/digits.py explain --run 'runs/my
        digits' --index 7``.

        ``options`` are flags and their values, True for a flag alone; ``texts`` follow them.
        """
        words = [subcommand]
        for flag, value in options.items():
            text = str(value)
            words += [flag] if value is True else [f"{flag}={text}"] if text.startswith("-") else [flag, text]
        words += ["--"] if any(text.startswith("-") for text in texts) else []  # what follows is no option
        return f"{self.command} {_command_line([*words, *texts])}"


def _command_line(words: list[str]) -> str:
    """Words quoted for a shell; that of Windows has only double quotes."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
