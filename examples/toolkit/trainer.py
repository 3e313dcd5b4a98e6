"""One training loop for all examples.

A run is a function of its settings, its data and its seed. Its whole state after an update is: the
weights, the optimiser's moments, the number of scheduled steps, the scale of the loss (of a run in
float16), three integers of the random generator, and a `Position`. A checkpoint holds just that, so
a run that was killed and resumed ends bit for bit as one that was not. The clock (which decides
when a checkpoint is written, and when ``minutes`` are over) never changes the state, only when it
is saved.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import minitensor as mt
from minitensor import nn, optim
from toolkit.checkpoints import Checkpoints, load_file
from toolkit.console import PIPE, Progress, UserError, say
from toolkit.interrupts import signals
from toolkit.runlog import RunLog
from toolkit.settings import Training

__all__ = ["Outcome", "Position", "Task", "Trainer"]

LOG_EVERY = 10  # updates whose mean loss makes a record of the log


class Task(Protocol):
    """A training task: a model, its data, its loss."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    def epoch(self, number: int) -> Sequence[Any]:
        """The batches of an epoch, a function of its number alone; each has ``tokens`` and
        ``split(parts)``.
        """

    def loss(self, batch: Any, divide_by: int) -> mt.Tensor:
        """The loss of a batch, or of a part of one, summed over its tokens and divided by
        ``divide_by``.
        """

    def validate(self) -> dict[str, float]:
        """Figures of the model in evaluation mode; ``validation_loss`` is minimised."""


@dataclass
class Position:
    """How far a run has come; together with the arrays and the random state, all that there is to
    save.
    """

    step: int = 0  # updates done
    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    seconds: float = 0.0  # of training, validation and saving, all resumed parts together
    records: int = 0  # lines of the log
    recent_loss: float = 0.0  # sums over the updates since the last record
    recent_tokens: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    in_vain: int = 0  # validations since the best
    kept: list[int] = field(default_factory=list)  # steps whose weights are kept for averaging


@dataclass(frozen=True)
class Outcome:
    """How `Trainer.run` ended: ``reason`` in words, ``signal`` that interrupted it (0: none,
    training is over).
    """

    reason: str
    signal: int
    position: Position


class Trainer:
    """Trains ``task`` as ``settings`` say, in the folder of a run; goes on from its last checkpoint
    if there is one.
    """

    def __init__(self, task: Task, settings: Training, folder: Path) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self.parameters = list(task.model.parameters())
        s = settings
        self.optimizer = optim.Adam(self.parameters, lr=s.lr, betas=(s.beta1, s.beta2), eps=s.eps)
        self.scaler = optim.GradScaler(enabled=s.precision == "float16")
        self.autocast = _autocast(s.precision)
        self.per_epoch = len(task.epoch(0))
        limits = [s.steps, s.epochs and s.epochs * self.per_epoch]
        self.last_step = min((limit for limit in limits if limit), default=None)
        self.schedule = self._make_schedule()
        self.checkpoints = Checkpoints(folder)
        self.position = Position()
        self._say = say
        self._restore()

    def _make_schedule(self) -> optim.Schedule:
        warmup = self.settings.warmup
        if self.settings.schedule == "cosine":
            assert self.last_step is not None  # the settings have checked it
            return optim.CosineLR(self.optimizer, self.last_step, warmup_steps=min(warmup, self.last_step - 1))
        kind = {"inverse-sqrt": optim.InverseSqrtLR, "constant": optim.LinearWarmup}[self.settings.schedule]
        return kind(self.optimizer, warmup)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train until a limit is reached, Ctrl-C, or the reader of its progress has gone away (``|
        head``).

        If a limit was reached, write the result, ``weights.safetensors``; one of before is removed
        by the first update. Raises UserError if the loss or the gradient is not finite (what made
        it so is printed then), or the system refuses a file.
        """
        p = self.position
        clock = _Clock(p.seconds)
        saved = p.seconds
        batches = self._batches()
        self.task.model.train()
        with (
            RunLog(self.folder / "log.jsonl") as log,
            Progress("training", self.last_step, p.step, self._seconds_left()) as bar,
            signals() as caught,
        ):
            self._say = bar.say
            log.rewind(p.records)
            if not self._reason(caught):
                self.checkpoints.drop_result()
            while not (reason := self._reason(caught)):
                batch = next(batches)
                loss = self.update(batch)
                p.seconds = clock()
                self._advance(loss, batch.tokens, log)
                bar.advance(loss, batch.tokens)
                due = self._validation_is_due()
                if due:
                    self._validate(log, bar)
                if due or clock() - saved > self.settings.save_every:
                    p.seconds = saved = clock()
                    self.save()
                if bar.unread and not caught:
                    caught.append(PIPE - 128)
            if saved != p.seconds:
                self.save()
            if not caught:
                self._write_result(log)
        return Outcome(reason, caught[0] if caught else 0, p)

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
            return f"all {self.last_step} updates are done{past}"
        if s.patience and p.in_vain >= s.patience:
            return f"no better validation loss in {s.patience} validations"
        if s.minutes is not None and p.seconds >= 60 * s.minutes:
            return f"{s.minutes:g} minutes are over"
        return f"interrupted after update {p.step}" if caught else ""

    def update(self, batch: Any) -> float:
        """One step of the optimiser on a batch; returns its loss.

        What is not finite is found before the step, so that the weights are still good. In float16
        a gradient that is too great for the scale of the loss is none of that: the step is skipped.
        """
        drawn = mt.random.default.state
        parts = batch.split(self.settings.accumulate) if self.settings.accumulate > 1 else [batch]
        losses = []
        for part in parts:
            loss = self._loss(part, batch.tokens)
            self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        whole = self.scaler.unscale_(self.optimizer)  # which in float16 waits for a GPU too
        norms = [optim.clip_grad_norm_(self.parameters, self.settings.clip or math.inf)] if whole else []
        values = mt.stack([*losses, *norms]).tolist()  # the one place that waits for a GPU
        length = values.pop() if whole else math.inf
        value = sum(values)
        if not whole and math.isfinite(value) and self.scaler.get_scale() > 1:
            self._skip()
            return value
        if not (math.isfinite(value) and math.isfinite(length)):
            what = f"the loss is {value}" if not math.isfinite(value) else f"the norm of the gradient is {length}"
            self._tell_why(parts, batch.tokens, drawn)
            raise UserError(
                f"{what} in update {self.position.step + 1}: training has diverged; start again with a lower --lr,"
                " a longer --warmup or a lower --clip"
            )
        self._step()
        return value

    def _loss(self, part: Any, tokens: int) -> mt.Tensor:
        """The loss of a part of a batch, in the run's precision."""
        with self.autocast:
            return self.task.loss(part, tokens)

    def _step(self) -> None:
        """The optimiser's step, if the gradients are good, and all that goes with it."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()

    def _skip(self) -> None:
        """An update without a step: the gradients were too great for float16."""
        scale = self.scaler.get_scale()
        self._step()
        self._say(
            f"update {self.position.step + 1}: a gradient overflows float16 at the loss scale {scale:g}; the step is skipped,"
            f" the scale is now {self.scaler.get_scale():g} ({self.scaler.skipped} skipped so far)"
        )

    def _tell_why(self, parts: Sequence[Any], tokens: int, drawn: tuple[int, int, int]) -> None:
        """Run the forward and backward passes of an update again, with the same random numbers, and
        print why something is NaN or infinite.
        """
        self.optimizer.zero_grad()
        mt.random.default.state = drawn
        for part in parts:
            finding = mt.why_nan(functools.partial(self._loss, part, tokens))
            if finding is not None:
                self._say(str(finding))
                return
        self._say("Each part of the batch is finite when it is computed again; the sum of their gradients is not.")

    def _advance(self, loss: float, tokens: int, log: RunLog) -> None:
        """Move the position past an update, and log the mean of the latest."""
        p = self.position
        p.step += 1
        p.batch += 1
        if p.batch == self.per_epoch:
            p.epoch, p.batch = p.epoch + 1, 0
        p.recent_loss += loss
        p.recent_tokens += tokens
        if p.step % LOG_EVERY == 0:
            lr = self.schedule.get_last_lr()[0]
            self._log(log, loss=p.recent_loss / LOG_EVERY, tokens=p.recent_tokens, lr=lr)
            p.recent_loss, p.recent_tokens = 0.0, 0

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
        figures = self.validate()
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
        result of the run.
        """
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


def _autocast(precision: str) -> Any:
    """The context of a forward pass. Raises UserError if ``ml_dtypes`` is missing."""
    if precision == "float32":
        return mt.autocast(enabled=False)
    try:
        return mt.autocast(precision)
    except TypeError as error:
        raise UserError(f"--precision {precision}: {error}") from None


class _Clock:
    """Seconds of training, those of earlier parts of the run included."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before

    def __call__(self) -> float:
        return time.monotonic() - self.start
