"""One training loop for all examples.

A run is a function of its settings, its data and its seed. Its whole state after an update is: the
weights, the optimiser's moments, the number of scheduled steps, the scale of the loss (of a run in
float16), three integers of the random generator, and a `Position`. A checkpoint holds just that, so
a run that was killed and resumed ends bit for bit as one that was not. The clock (which decides
when a checkpoint is written, and when ``minutes`` are over) never changes the state, only when it
is saved.

On a GPU the host runs ahead: the losses are read when a line of the log, a validation or a
checkpoint is due, and not in each update, which would wait for the GPU. An update whose loss or
gradient is not finite still never reaches the weights: the GPU itself leaves it out, and all that
follow (`optim.DeferredCheck`), until the losses are read and the run ends.

N processes give the run of one. Each computes its rows of a batch, with the dropout that these rows
have in the whole batch; their gradients are added up, and all make the same step. What depends on
the clock or a signal they decide together; one of them validates, logs and saves.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import minitensor as mt
from minitensor import distributed, nn, optim
from toolkit.checkpoints import Checkpoints, load_file
from toolkit.console import PIPE, Progress, UserError, say
from toolkit.interrupts import signals
from toolkit.ranks import Together
from toolkit.runlog import NoLog, RunLog
from toolkit.samples import cut
from toolkit.settings import Training

__all__ = ["Outcome", "Position", "Task", "Trainer"]

LOG_EVERY = 10  # updates whose mean loss makes a record of the log
UNLIKE = 3e-3  # from which part on a loss is another one, and not rounding, in float16 too


class Task(Protocol):
    """A training task: a model, its data, its loss."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    def epoch(self, number: int) -> Sequence[Any]:
        """The batches of an epoch, a function of its number alone; each has ``tokens``, a number of
        rows by ``len``, and ``rows(slice)``, some of them with the padding of the whole.
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


@dataclass(frozen=True)
class _Unread:
    """An update whose loss is not read yet: what it takes to run it again."""

    batch: Any
    drawn: tuple[int, int, int]  # the random generator before it
    before: Position
    scheduled: int  # steps of the schedule before it


class Trainer:
    """Trains ``task`` as ``settings`` say, in the folder of a run; goes on from its last checkpoint
    if there is one.

    group: the processes that train together, each with a `Trainer` of an equal task and a folder on
    a disk that all of them see; default: one alone.
    """

    def __init__(self, task: Task, settings: Training, folder: Path, group: distributed.Group | None = None) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self.group = distributed.Group() if group is None else group
        self.writes = self.group.rank == 0
        self.parameters = list(task.model.parameters())
        s = settings
        self.optimizer = optim.Adam(self.parameters, lr=s.lr, betas=(s.beta1, s.beta2), eps=s.eps)
        self.scaler = optim.GradScaler(enabled=s.precision == "float16")
        self.check = optim.DeferredCheck(self.optimizer)
        self._unread: list[_Unread] = []
        self.autocast = _autocast(s.precision)
        self.per_epoch = len(task.epoch(0))
        limits = [s.steps, s.epochs and s.epochs * self.per_epoch]
        self.last_step = min((limit for limit in limits if limit), default=None)
        self.schedule = self._make_schedule()
        self.checkpoints = Checkpoints(folder, self.writes)
        self.position = Position()
        self._say = say
        self._clock = _Clock(0.0)
        self._caught: list[int] = []  # the signal that has come to this process
        self._agreed: list[int] = []  # the one at which all ranks stop
        self._elapsed = 0.0  # seconds of training by the clock of rank 0, at the last update
        self._checked = self.group.size == 1
        self._restore()
        if self.group.share(self.position.step) != self.position.step:
            raise UserError(
                f"{self.checkpoints.last} is not that of rank 0; the folder must be on a disk that all ranks see"
            )
        distributed.share_parameters(self.parameters, self.group)

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
        clock = self._clock = _Clock(p.seconds)
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
            return f"{s.minutes:g} {'minute is' if s.minutes == 1 else 'minutes are'} over"
        return f"interrupted after update {p.step}" if caught else ""

    def update(self, batch: Any) -> float | None:
        """One step of the optimiser on a batch; returns its loss, or None if ``read_losses`` will
        read it.

        What is not finite is found before the step, so that the weights are still good. In float16
        a gradient that is too great for the scale of the loss is none of that: the step is skipped.
        """
        drawn = mt.random.default.state
        parts = self._parts(batch)
        self._check_parts(batch, parts)
        losses, ends = [], set()
        for rows, part in parts:
            mt.random.default.state = drawn
            with self._drawing(rows, batch):
                loss = self._loss(part, batch.tokens)
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
            ends.add(mt.random.default.state)
        total = self._together(losses, ends)
        whole = self.scaler.unscale_(self.optimizer)  # on all ranks or on none; in float16 it waits for a GPU too
        norms = [optim.clip_grad_norm_(self.parameters, self.settings.clip or math.inf)] if whole else []
        if self._runs_ahead:
            self._unread.append(_Unread(batch, drawn, replace(self.position), self.schedule.steps))
            self.check.step(*losses, *norms)
            self.schedule.step()
            self.optimizer.zero_grad()
            return None
        values = _read([*(losses if total is None else ()), *norms])  # waits for a GPU
        length = values.pop() if whole else math.inf
        value = sum(values) if total is None else total
        if not whole and math.isfinite(value) and self.scaler.get_scale() > 1:
            self._skip()
            return value
        if not (math.isfinite(value) and math.isfinite(length)):
            self._diverged(batch, drawn, value, length)
        self._step()
        return value

    @functools.cached_property
    def _runs_ahead(self) -> bool:
        """Whether losses are read when they are needed, and not in each update. A scaler waits for
        the GPU in each, and several ranks for each other.
        """
        on_gpu = any(parameter.device != "cpu" for parameter in self.parameters)
        return on_gpu and not self.scaler.enabled and self.group.size == 1

    def read_losses(self) -> float | None:
        """Read the losses of the updates since the last time, if there are any, into the position;
        returns that of the last. Raises UserError if one was not finite, when all is as it was
        before that update.
        """
        if not self._unread:
            return None
        p, updates = self.position, self._unread
        rows, bad = self.check.read()
        self._unread, value = [], None
        for i, (update, (*losses, length)) in enumerate(zip(updates, rows, strict=True)):
            value = sum(losses)
            if i == bad:
                vars(p).update({**vars(update.before), "recent_loss": p.recent_loss})
                self.schedule.load_state_dict({"steps": update.scheduled})
                self._diverged(update.batch, update.drawn, value, length)
            p.recent_loss += value
        return value

    def _diverged(self, batch: Any, drawn: tuple[int, int, int], loss: float, length: float) -> NoReturn:
        """End a run whose loss or norm of the gradient is not finite, and say why."""
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {length}"
        self._tell_why(batch, drawn)
        raise Together(
            f"{what} in update {self.position.step + 1}: training has diverged; start again with a lower --lr,"
            " a longer --warmup or a lower --clip"
        )

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
        if self.writes:
            self._say(
                f"update {self.position.step + 1}: a gradient overflows float16 at the loss scale {scale:g}; the step is"
                f" skipped, the scale is now {self.scaler.get_scale():g} ({self.scaler.skipped} skipped so far)"
            )

    def _parts(self, batch: Any) -> list[tuple[slice, Any]]:
        """What this rank computes of a batch, one after the other: which rows, and the rows."""
        if self.group.size == self.settings.accumulate == 1:
            return [(slice(None), batch)]
        mine = distributed.rows_of(self.group, len(batch))
        cuts = cut(mine.stop - mine.start, self.settings.accumulate)
        places = [slice(mine.start + one.start, mine.start + one.stop) for one in cuts]
        return [(rows, batch.rows(rows)) for rows in places]

    def _drawing(self, rows: slice, batch: Any) -> AbstractContextManager[None]:
        """Within, these rows of the batch draw what they draw in all of it."""
        if self.group.size == self.settings.accumulate == 1:
            return nullcontext()
        return mt.random.rows(rows.start, rows.stop, of=len(batch))

    def _together(self, losses: Sequence[mt.Tensor], ends: set[tuple[int, int, int]]) -> float | None:
        """Add up the gradients of all ranks, and their losses, which is returned (by one rank alone
        None); agree on what depends on the clock and on signals.
        """
        state = mt.random.default.state
        if len(ends) > 1:
            raise RuntimeError(f"the parts of a batch have drawn unlike amounts of random numbers: {sorted(ends)}")
        if self.group.size == 1:
            return None
        value = sum(_read(losses), 0.0)
        first = self.group.rank == 0  # which has rows of every batch
        counter = divmod(state[2], 2**32) if first else (0, 0)
        numbers = [value, len(self._caught), self._clock() if first else 0.0, *counter]
        value, stop, self._elapsed, high, low = distributed.sum_gradients(self.optimizer, self.group, numbers)
        if stop:
            self._agreed += [signal for found in self.group.gather(self._caught) for signal in found][:1]
        agreed = (*state[:2], int(high) * 2**32 + int(low))
        if ends and agreed != state:
            raise RuntimeError(f"rank {self.group.rank} has drawn random numbers up to {state}, rank 0 up to {agreed}")
        mt.random.default.state = agreed
        return value

    def _check_parts(self, batch: Any, parts: Sequence[tuple[slice, Any]]) -> None:
        """At the first update of several ranks raise UserError if the rows of a batch are not
        independent: the loss of some rows must be the sum of those of their halves. Always in the
        precision of the weights.
        """
        if self._checked or not any(rows.stop - rows.start > 1 for rows, _ in parts):
            return
        self._checked, drawn, values = True, mt.random.default.state, []
        rows = next(rows for rows, _ in parts if rows.stop - rows.start > 1)
        middle = (rows.start + rows.stop) // 2
        for some in (rows, slice(rows.start, middle), slice(middle, rows.stop)):
            mt.random.default.state = drawn
            with mt.no_grad(), mt.random.rows(some.start, some.stop, of=len(batch)):
                values.append(self.task.loss(batch.rows(some), batch.tokens).item())
        mt.random.default.state = drawn
        whole, halves = values[0], values[1] + values[2]
        if math.isfinite(whole) and abs(whole - halves) > UNLIKE * abs(whole):
            kinds = {type(module).__name__ for _, module in self.task.model.named_modules()}
            named = sorted(kind for kind in kinds if "batch" in kind.lower() and "norm" in kind.lower())
            raise UserError(
                f"the loss of rows {rows.start} to {rows.stop} of a batch is {whole:.6g}, that of their halves {halves:.6g}: "
                f"{' and '.join(named) or 'something in ' + type(self.task.model).__name__} mixes the rows of a batch, so that "
                "several ranks would not train as one does; use a norm over features, such as nn.LayerNorm, or train without "
                "--distributed"
            )

    def _tell_why(self, batch: Any, drawn: tuple[int, int, int]) -> None:
        """Run the forward and backward passes of an update again, with the same random numbers, and
        print why something is NaN or infinite.
        """
        self.optimizer.zero_grad()
        for rows, part in self._parts(batch):
            mt.random.default.state = drawn
            with self._drawing(rows, batch):
                finding = mt.why_nan(functools.partial(self._loss, part, batch.tokens))
            if finding is not None:
                self._say(str(finding))
                return
        if self.group.size == 1:
            self._say("Each part of the batch is finite when it is computed again; the sum of their gradients is not.")

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


def _autocast(precision: str) -> Any:
    """The context of a forward pass. Raises UserError if ``ml_dtypes`` is missing."""
    if precision == "float32":
        return mt.autocast(enabled=False)
    try:
        return mt.autocast(precision)
    except TypeError as error:
        raise UserError(f"--precision {precision}: {error}") from None


def _read(numbers: Sequence[mt.Tensor]) -> list[float]:
    """The values of tensors of one number each, in one transfer."""
    return mt.stack(numbers).tolist() if numbers else []


class _Clock:
    """Seconds of training, those of earlier parts of the run included."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before

    def __call__(self) -> float:
        return time.monotonic() - self.start
