"""One training loop for all examples.

A run is a function of its settings, its data and its seed. Its whole state after an update is: the
weights, the optimiser's moments, the number of scheduled steps, the scale of the loss (of a run in
float16), three integers of the random generator, and a `Position`. A checkpoint holds just that, so
a run that was killed and resumed ends bit for bit as one that was not. The clock (which decides
when a checkpoint is written, and when ``minutes`` are over) never changes the state, only when it
is saved.

A batch becomes a step in `toolkit.updates`; of several processes one alone validates, logs and
saves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import minitensor as mt
from minitensor import distributed
from toolkit.checkpoints import Checkpoints, load_file
from toolkit.console import PIPE, Progress, UserError, minutes_in_words, say
from toolkit.interrupts import signals
from toolkit.runlog import NoLog, RunLog
from toolkit.settings import Training
from toolkit.training_state import Clock, Position, Task
from toolkit.updates import Updates

__all__ = ["Outcome", "Position", "Task", "Trainer"]

LOG_EVERY = 10  # updates whose mean loss makes a record of the log


@dataclass(frozen=True)
class Outcome:
    """How `Trainer.run` ended: ``reason`` in words, ``signal`` that interrupted it (0: none,
    training is over).
    """

    reason: str
    signal: int
    position: Position


class Trainer(Updates):
    """Trains ``task`` as ``settings`` say, in the folder of a run; goes on from its last checkpoint
    if there is one.

    group: the processes that train together, each with a `Trainer` of an equal task and a folder on
    a disk that all of them see; default: one alone.
    """

    def __init__(self, task: Task, settings: Training, folder: Path, group: distributed.Group | None = None) -> None:
        super().__init__(task, settings, distributed.Group() if group is None else group)
        self.folder = folder
        self.checkpoints = Checkpoints(folder, self.writes)
        self._restore()
        if self.group.share(self.position.step) != self.position.step:
            raise UserError(
                f"{self.checkpoints.last} is not that of rank 0; the folder must be on a disk that all ranks see"
            )
        distributed.share_parameters(self.parameters, self.group)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train until a limit is reached, Ctrl-C, or the reader of its progress has gone away (``|
        head``).

        If a limit was reached, write the result, ``weights.safetensors``; one of before is removed
        by the first update. Raises UserError if the loss or the gradient is not finite (what made
        it so is printed then), or the system refuses a file.
        """
        p = self.position
        clock = self._clock = Clock(p.seconds)
        saved = self._elapsed = p.seconds
        batches = self._batches()
        self.task.model.train()
        with (
            open(os.devnull, "w", encoding="utf-8") as nobody,
            RunLog(self.folder / "log.jsonl") if self.writes else NoLog() as log,
            Progress("training", self.last_step, p.step, self._seconds_left(), None if self.writes else nobody) as bar,
            signals() as caught,
        ):
            self._say = bar.say if self.writes else say
            log.rewind(p.records)
            self._caught = caught
            agreed = self._agreed = [] if self.group.size > 1 else caught
            if not self._reason(agreed):
                self.checkpoints.drop_result()
            while not (reason := self._reason(agreed)):
                batch = next(batches)
                loss = self.update(batch)
                p.seconds = clock()
                loss = self._advance(loss, batch.tokens, log)
                bar.advance(loss, batch.tokens)
                due = self._validation_is_due()
                if due:
                    self._validate(log, bar)
                if due or clock() - saved > self.settings.save_every:
                    self.read_losses()  # before the clock, which counts what is waited for
                    p.seconds = saved = clock()
                    self.save()
                if bar.unread and not caught:
                    caught.append(PIPE - 128)
            self.read_losses()
            if saved != p.seconds:
                self.save()
            if not agreed:
                self._write_result(log)
        return Outcome(reason, agreed[0] if agreed else 0, p)

    def _seconds_left(self) -> float | None:
        return None if self.settings.minutes is None else 60 * self.settings.minutes - self.position.seconds

    def _batches(self) -> Iterator[Any]:
        """All batches from the position on; `_advance` moves the position as they are used."""
        while True:
            yield from self.task.epoch(self.position.epoch)[self.position.batch :]

    def _reason(self, caught: list[int]) -> str:
        """The reason to stop, or ""."""
        s, p = self.settings, self.position
        if self.last_step and p.step >= self.last_step:
            past = f" (and more: {p.step})" if p.step > self.last_step else ""
            done = "the only update is" if self.last_step == 1 else f"all {self.last_step} updates are"
            return f"{done} done{past}"
        if s.patience and p.in_vain >= s.patience:
            return f"no better validation loss in {s.patience} validations"
        seconds = p.seconds if self.group.size == 1 else self._elapsed
        if s.minutes is not None and seconds >= 60 * s.minutes:
            return f"{minutes_in_words(s.minutes)} {'is' if s.minutes == 1 else 'are'} over"
        return f"interrupted after update {p.step}" if caught else ""

    def _advance(self, loss: float | None, tokens: int, log: RunLog) -> float | None:
        """Move the position past an update, and log the mean of the latest; returns the loss, if it
        is known.
        """
        p = self.position
        p.step += 1
        p.batch += 1
        if p.batch == self.per_epoch:
            p.epoch, p.batch = p.epoch + 1, 0
        p.recent_loss += loss or 0.0
        p.recent_tokens += tokens
        if loss is None and (p.step % LOG_EVERY == 0 or self._validation_is_due()):
            loss = self.read_losses()
        if p.step % LOG_EVERY == 0:
            lr = self.schedule.get_last_lr()[0]
            self._log(log, loss=p.recent_loss / LOG_EVERY, tokens=p.recent_tokens, lr=lr)
            p.recent_loss, p.recent_tokens = 0.0, 0
        return loss

    def _log(self, log: RunLog, **figures: Any) -> None:
        p = self.position
        log.append({"step": p.step, "epoch": p.epoch, **figures, "seconds": round(p.seconds, 3)})
        p.records += 1

    # --- validation and files ---------------------------------------------------------------------

    def _validation_is_due(self) -> bool:
        s, p = self.settings, self.position
        return (p.step % s.validate_every == 0 if s.validate_every else p.batch == 0) or p.step == self.last_step

    def validate(self) -> dict[str, float]:
        """The task's figures, from the model in evaluation mode and without recording."""
        self.task.model.eval()
        try:
            with mt.no_grad():
                return self.task.validate()
        finally:
            self.task.model.train()

    def _validate(self, log: RunLog, bar: Progress) -> None:
        """Validate, save the weights that are to be kept, and log the figures."""
        p = self.position
        distributed.check_agreement(self.parameters, self.group)
        figures = self.validate() if self.writes else {}
        figures, mt.random.default.state = self.group.share((figures, mt.random.default.state))
        self._log(log, **figures)
        weights = self.task.model.state_dict()
        if self.settings.average > 1:
            self.checkpoints.keep(p.step, weights)
            p.kept = [*p.kept, p.step][-self.settings.average :]
        better = figures["validation_loss"] < p.best_loss
        p.in_vain = 0 if better else p.in_vain + 1
        if better:
            p.best_loss, p.best_step = figures["validation_loss"], p.step
            self.checkpoints.save_best(weights)
        shown = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
        bar.say(f"epoch {p.epoch}  update {p.step}  {shown}{'  (best)' if better else ''}  {p.seconds / 60:.1f} min")

    def save(self) -> None:
        """Write the checkpoint from which the run can be resumed."""
        self.read_losses()
        state = {
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": list(mt.random.default.state),
            "position": asdict(self.position),
        }
        self.checkpoints.save(state, self.position.kept)

    def _restore(self) -> None:
        state = self.checkpoints.load()
        if state is None:
            return
        try:
            self.task.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
            mt.random.default.state = tuple(state["random"])
            self.position = Position(**state["position"])
        except (KeyError, TypeError, ValueError) as error:  # a file of another run, or a changed config.json
            problem = " ".join(str(error).split())
            raise UserError(f"{self.checkpoints.last} does not fit the run: {problem}") from None

    def _write_result(self, log: RunLog) -> None:
        """Load the averaged weights, or else the best ones, into the model and write them as the
        result of the run: rank 0 alone.
        """
        if not self.writes:
            return
        p, model = self.position, self.task.model
        if len(p.kept) > 1:
            model.load_state_dict(self.checkpoints.average(p.kept))
            record: dict[str, Any] = {"averaged": p.kept}
        elif p.best_step:
            model.load_state_dict(load_file(self.checkpoints.best))
            record = {"best": p.best_step}
        else:
            record = {"best": p.step}  # stopped before the first validation
        model.eval()
        self.checkpoints.save_result(model.state_dict())
        log.append(
            {"step": p.step, "epoch": p.epoch, "result": record, "result_loss": self.validate()["validation_loss"]}
        )
