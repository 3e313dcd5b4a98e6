"""From a batch to a step of the optimiser: on one device or several, in any precision, and what is
done if a number is not finite.

On a GPU the host runs ahead: the losses are read when a line of the log, a validation or a
checkpoint is due, and not in each update, which would wait for the GPU. An update whose loss or
gradient is not finite still never reaches the weights: the GPU itself leaves it out, and all that
follow (`optim.DeferredCheck`), until the losses are read and the run ends.

N processes give the run of one. Each computes its rows of a batch, with the dropout that these rows
have in the whole batch; their gradients are added up, and all make the same step. What depends on
the clock or a signal they decide together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import minitensor as mt
from minitensor import distributed, optim
from toolkit.console import UserError, say
from toolkit.ranks import Together
from toolkit.samples import cut
from toolkit.settings import Training
from toolkit.training_state import Clock, Position, Task

__all__ = ["Updates"]

UNLIKE = 3e-3  # from which part on a loss is another one, and not rounding, in float16 too


@dataclass(frozen=True)
class _Unread:
    """An update whose loss is not read yet: what it takes to run it again."""

    batch: Any
    drawn: tuple[int, int, int]  # the random generator before it
    before: Position
    scheduled: int  # steps of the schedule before it


class Updates:
    """The optimiser of a task with all that goes with it, and the `Position` that is reached."""

    def __init__(self, task: Task, settings: Training, group: distributed.Group) -> None:
        self.task, self.settings, self.group = task, settings, group
        self.writes = group.rank == 0
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
        self.position = Position()
        self._say = say
        self._clock = Clock(0.0)
        self._caught: list[int] = []  # the signal that has come to this process
        self._agreed: list[int] = []  # the one at which all ranks stop
        self._elapsed = 0.0  # seconds of training by the clock of rank 0, at the last update
        self._checked = self.group.size == 1

    def _make_schedule(self) -> optim.Schedule:
        warmup = self.settings.warmup
        if self.settings.schedule == "cosine":
            assert self.last_step is not None  # the settings have checked it
            return optim.CosineLR(self.optimizer, self.last_step, warmup_steps=min(warmup, self.last_step - 1))
        kind = {"inverse-sqrt": optim.InverseSqrtLR, "constant": optim.LinearWarmup}[self.settings.schedule]
        return kind(self.optimizer, warmup)

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
        return _rows(rows, batch)

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
            with mt.no_grad(), _rows(some, batch):
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


def _autocast(precision: str) -> Any:
    """The context of a forward pass. Raises UserError if ``ml_dtypes`` is missing."""
    if precision == "float32":
        return mt.autocast(enabled=False)
    try:
        return mt.autocast(precision)
    except TypeError as error:
        raise UserError(f"--precision {precision}: {error}") from None


def _rows(rows: slice, batch: Any) -> AbstractContextManager[None]:
    """Within, dropout draws for these rows of the batch what it draws for them in all of it; the
    model may get several copies of each row, one beside the other.
    """
    copies = getattr(batch, "copies", 1)
    return mt.random.rows(copies * rows.start, copies * rows.stop, of=copies * len(batch))


def _read(numbers: Sequence[mt.Tensor]) -> list[float]:
    """The values of tensors of one number each, in one transfer."""
    return mt.stack(numbers).tolist() if numbers else []
