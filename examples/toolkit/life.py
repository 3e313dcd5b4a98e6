"""The life of a run of an example: start, train, resume, open."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from minitensor.distributed import Group
from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError, check_utf_8, note
from toolkit.example import Example
from toolkit.lock import Busy, Lock
from toolkit.plots import loss_curve
from toolkit.ranks import advise_threads, find_others, on_devices, together
from toolkit.resuming import resumed_settings
from toolkit.runlog import read_log
from toolkit.runs import Run, fresh
from toolkit.settings import given_options
from toolkit.trainer import Task, Trainer

__all__ = ["Life"]


class Life(Example):
    """An example whose runs are started, resumed and opened."""

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
            for line in self.notes(loaded) if group.rank == 0 else ():
                note(line)
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
            what = self.where({**data, "path": options.data or data["path"]})
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

    @property
    def _data_names(self) -> list[str]:
        """What `describe` returns, by name."""
        parser = argparse.ArgumentParser(add_help=False)
        self.add_data_options(parser)
        return list(vars(parser.parse_args([])))
