"""The command line of an example, and the life of its runs: start, train, resume, open.

An example is a subclass of `Program`; its --help is the script's docstring, and the script ends in
two
lines::

    class Digits(Program):
        name, settings = "digits", Settings
        data_help = "file of images (the digits of scikit-learn)"

        def load(self, data): ...                     the data; data["path"] is None: embedded
        def fingerprint(self, loaded): ...            what a resumed run must find again
        def make_task(self, loaded, settings, run): ...
        def report(self, run, loaded, task): ...      printed when training is over

    main = Digits().main

    if __name__ == "__main__":
        sys.exit(console.run(main))

It then has the subcommand ``train`` with ``--data --out --resume --force`` and an option for each
of its settings, trains on the embedded data if no subcommand is given, and adds further subcommands
by `Program.commands`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minitensor.distributed import Group
from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError, arguments_of, check_utf_8, note, path
from toolkit.loading import digest, load_weights, place
from toolkit.lock import Busy, Lock
from toolkit.numbers import natural_number, positive_integer
from toolkit.plots import loss_curve
from toolkit.ranks import advise_threads, check_alone, find_others, on_devices, together
from toolkit.resuming import ENDS, RESUME_HELP, resumed_settings
from toolkit.runlog import read_log
from toolkit.runs import Run, fresh
from toolkit.settings import Training, add_options, given_options
from toolkit.trainer import Task, Trainer

__all__ = ["Program", "digest", "load_weights", "natural_number", "place", "positive_integer"]

# Which data these are, as JSON: "path", None for the embedded ones, and what `Program.describe`
# adds.
Data = dict[str, Any]


class Program:
    """An example, as its subclass describes it; see the head of this file."""

    name: str  # of the program, in config.json and in the folder of a new run
    settings: type[Training]
    # What it leaves in a run beside config.json, log.jsonl, loss.png and weights; --force removes
    # it.
    files: tuple[str, ...] = ()
    data_help: str = "data to train on (embedded data)"
    defaults_note: str = ""  # after the title of the hyper-parameters in --help
    loss_label: str = "loss per token (nats)"  # in loss.png

    # --- what an example says ---------------------------------------------------------------------

    def load(self, data: Data) -> Any:
        """The data at ``data["path"]``, or the embedded ones if it is None. Raises UserError for
        bad files.
        """
        raise NotImplementedError

    def load_whole(self, data: Data) -> Any:
        """As `load`, for other data than those of the run: all of them are for testing."""
        return self.load(data)

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
        elif type(self).suited is not Program.suited:
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

    # --- the command line -------------------------------------------------------------------------

    def main(self, arguments: list[str] | None = None) -> int:
        """Run the subcommand, by default ``train``; returns the exit code."""
        parser = self._parser()
        options = parser.parse_args(arguments_of(arguments))
        if "function" not in options:
            options = parser.parse_args(["train"])
        if not vars(options).get("distributed"):
            check_alone(options.function == self.train)
        return options.function(options) or 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=sys.modules[type(self).__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        subcommands = parser.add_subparsers(title="subcommands", metavar="COMMAND")

        def add(name: str, function: Any, help: str, of_a_run: bool = True) -> argparse.ArgumentParser:
            made = subcommands.add_parser(name, help=help, description=help)
            made.set_defaults(function=function)
            if of_a_run:
                _add_run(made)
            return made

        made = add("train", self.train, "train a model, or go on training", of_a_run=False)
        made.add_argument("--data", type=path, metavar="PATH", help=self.data_help)
        self.add_data_options(made)
        made.add_argument(
            "--out", type=path, metavar="RUN", help="folder of the run; a new one below runs/ if not given"
        )
        made.add_argument(
            "--resume",
            action="store_true",
            help=RESUME_HELP,
        )
        made.add_argument("--force", action="store_true", help="replace the run in --out")
        made.add_argument(
            "--distributed",
            action="store_true",
            help="train by all processes that mpiexec starts: mpiexec -n 4 python ... train --distributed",
        )
        add_options(made, self.settings, self.defaults_note)
        self.commands(add)
        return parser

    @property
    def _data_names(self) -> list[str]:
        """What `describe` returns, by name."""
        parser = argparse.ArgumentParser(add_help=False)
        self.add_data_options(parser)
        return list(vars(parser.parse_args([])))

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

    # --- the life of a run ------------------------------------------------------------------------

    def train(self, options: argparse.Namespace) -> int:
        """Start or resume a run, and report on it if it comes to its end; meanwhile it
        is locked.
        """
        if not options.distributed:
            return self._train(options, Group())
        group = find_others()
        with together(group):
            code = self._train(options, group)
            group.barrier()  # rank 0 has its report to make
        return code

    def _train(self, options: argparse.Namespace, group: Group) -> int:
        with Lock() as lock:
            if group.rank == 0:
                run, loaded, task = (self._resume if options.resume else self._start)(options, lock)
                group.share(os.path.abspath(run.folder))
                group, _ = on_devices(group, run.settings)
            else:
                group, run, loaded, task = self._follow(group)
            advise_threads(group, run.settings.device)
            ranks = f", {group.size} ranks" if group.size > 1 else ""
            print(f"{run.folder}: {self.sizes(task)}{ranks}")
            told = self.told(run.about["data"], loaded, run.settings)
            if told and group.rank == 0 and not options.resume:
                print(told)
            trainer = Trainer(task, run.settings, run.folder, group)
            if options.resume and not trainer.position.step and group.rank == 0:
                note(f"{trainer.checkpoints.last} does not exist: training starts at update 0")
            outcome = trainer.run()
            print(f"{outcome.reason}; {outcome.position.seconds / 60:.1f} minutes of training in all")
            if outcome.signal:
                started = f"mpiexec -n {group.size} " if group.size > 1 else ""
                how = {"--resume": True, "--out": run.folder} | ({"--distributed": True} if started else {})
                print(f"go on by: {started}{self.advice('train', how)}")
                return 128 + outcome.signal
            if group.rank == 0:
                self.finish(run, loaded, task)
        return 0

    def finish(self, run: Run, loaded: Any, task: Task) -> None:
        """The loss curve and the report of a run that has come to its end."""
        loss_curve(read_log(run.path("log.jsonl")), run.path("loss.png"), self.loss_label)
        self.report(run, loaded, task)

    def _follow(self, group: Group) -> tuple[Group, Run, Any, Any]:
        """The run that rank 0 has begun, by another one; and the group for its devices."""
        folder = Path(group.share(None))
        if not folder.is_dir():
            raise UserError(f"there is no {folder} here; give --out a folder on a disk that all ranks see")
        run = Run.open(folder, self.name, self.settings, self._data_names)
        group, settings = on_devices(group, run.settings)
        loaded = self.load_again(run)
        if self.fingerprint(loaded) != run.about["data"]["fingerprint"]:
            raise UserError(f"{run.about['data']['path']} is not the same file here as where rank 0 runs")
        return group, run, loaded, self.make_task(loaded, settings, run)

    def _start(self, options: argparse.Namespace, lock: Lock) -> tuple[Run, Any, Task]:
        """A new run of the data and the settings given; its folder is made when all of them have
        been found good.
        """
        data = {"path": options.data and os.path.abspath(options.data), **self.describe(options)}
        check_utf_8(data["path"] or "", "the path of --data")  # of which a part may come from the folder that we are in
        given = given_options(options, self.settings)
        self.chosen(data, given)  # what is given is checked before all is loaded
        if options.out:
            if os.path.isdir(options.out):
                lock.take(Path(options.out))
            Run.check_free(Path(options.out), options.force)  # before all is loaded
        loaded = self.load(data)
        settings = self.chosen(data, given, loaded)
        task = self.make_task(loaded, settings, None)
        found = {**data, **self.identify(loaded), "fingerprint": self.fingerprint(loaded)}
        about = {"data": found, "files": list(self.files)}
        while True:
            folder = Path(options.out) if options.out else fresh(Path("runs") / self.run_name(data))
            try:
                run = Run.create(folder, self.name, settings, about, lock, options.force)
            except Busy:  # another process has just made the same folder
                if options.out:
                    raise
                continue
            self.save(task, run)
            return run, loaded, task

    def _resume(self, options: argparse.Namespace, lock: Lock) -> tuple[Run, Any, Task]:
        """The run to resume, and its data, which must be unchanged."""
        if not options.out:
            raise UserError("--resume needs the folder of the run: --out RUN")
        folder = Path(options.out)
        if folder.is_dir():
            lock.take(folder)
        run = Run.open(folder, self.name, self.settings, self._data_names)
        data = run.about["data"]
        settings = resumed_settings(options, run, self._data_names)
        Checkpoints(folder).check_resumable()
        loaded = self.load_again(run, options.data)
        if self.fingerprint(loaded) != data["fingerprint"]:
            what = options.data or data["path"] or "the embedded data"
            raise UserError(f"{what} is not what the run has been trained on; give that by --data, or start a new run")
        task = self.make_task(loaded, settings, run)
        self.save(task, run)
        run.update(self.name, settings, **({"path": os.path.abspath(options.data)} if options.data else {}))
        return run, loaded, task

    def load_again(self, run: Run, path: str | None = None) -> Any:
        """The data of a run; from ``path`` if they have moved, or if others are wanted."""
        data = run.about["data"]
        return self.load({**data, "path": path or data["path"]})

    def open(self, options: argparse.Namespace) -> tuple[Run, str]:
        """The run given by --run, and the device to compute on; see also
        `load_weights`.
        """
        run = Run.open(Path(options.run_folder), self.name, self.settings, self._data_names)
        return run, options.device or run.settings.device


def _command_line(words: list[str]) -> str:
    """Words quoted for a shell; that of Windows has only double quotes."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_folder", type=path, metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--weights", choices=("result", "best", "last"), default="", help="a checkpoint other than the result"
    )
    parser.add_argument("--device", help='where to compute, "cpu" or "cuda"; where the model was trained if not given')
