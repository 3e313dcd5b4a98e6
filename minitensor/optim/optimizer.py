"""What every optimiser shares: groups of parameters, the step over flat buffers, the
state to save.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from minitensor.backend import as_device, copied, device_of, memory, move, on
from minitensor.backend.capture import capturing
from minitensor.engine import library
from minitensor.engine.autograd import watch
from minitensor.engine.loss_scale import refuse_scaled
from minitensor.engine.mode import current_mode, timed
from minitensor.engine.settings import integer, number
from minitensor.engine.tensor import Tensor, asarray
from minitensor.optim.flat import Entry, FlatBuffer, pieces
from minitensor.optim.parameters import groups_of, leaves_of

__all__ = ["Optimizer"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from minitensor.optim.parameters import Group, Parameters


def nothing() -> None:
    """Do nothing."""


living: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # all there are: who has updated a parameter


class Optimizer:
    """Base of the optimisers. A subclass names its state and gives the rule for one piece of the
    flat arrays.

    params: the parameters, or a list of groups ``{"params": [...], "lr": 1e-4, ...}`` that override
    the defaults. A parameter that is listed twice in one group (a tied weight) counts once.

    All parameters of one dtype and device move into one flat array, of which ``parameter.data``
    becomes a view. ``step()`` updates those that have a gradient, exactly as if the others were not
    there, and never waits for a GPU. Parameters of float16 and bfloat16 are updated in float32 and
    rounded: the state of each then holds its unrounded value too, as ``"master"``.

    Attributes: ``param_groups``, the list of groups with their current hyper-parameters, free to be
    changed between steps, which look at them first. A deep copy or a pickle is an optimiser in the
    same state; made together with the model, as in ``copy.deepcopy((model, optimizer))``, the copy
    of the one trains the copy of the other.
    """

    state_names: tuple[str, ...] = ()  # arrays of state, each as long as the parameters
    n_scratch = 1  # scratch arrays of one piece that the rule needs
    compiled = (
        False  # whether the rule is one pass where kernels are compiled: then there is one piece, on a GPU no scratch
    )
    masked_rule: Any = None  # the rule, if it obeys numbers["unless"] on a GPU; see ``FlatBuffer.unless``
    bounds: dict[str, dict[str, Any]] = {  # what ``check`` holds the hyper-parameters to; the keywords of ``settings.number``
        "lr": {"least": 0}, "initial_lr": {"least": 0}, "weight_decay": {"least": 0}, "eps": {"least": 0},
    }  # fmt: skip

    def __init__(self, params: Parameters, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self._entries: list[Entry] = []
        self._buffers: list[FlatBuffer] = []
        self._settle: Any = nothing  # of a DeferredCheck: reads how many of the steps were made
        for group in groups_of(type(self).__name__, params):
            self._add(group)
        self._bind()

    def add_param_group(self, group: Group) -> None:
        """Add ``{"params": [...], ...}``: further parameters, with hyper-parameters of
        their own.
        """
        self._add(group)
        self._bind()

    # --- the step ---------------------------------------------------------------------------------

    def numbers(self, group: Group, step: int) -> dict[str, float] | None:
        """What ``rule`` computes from the hyper-parameters and the number of the step, by name.
        None (default): not told, and the step cannot be part of a CUDA graph, where these must lie
        on the GPU.

        An optimiser that tells them takes them in ``rule(group, step, numbers)``, as numbers or as
        arrays of one element; whether one of the group's is 0 is fixed in a graph.
        """
        return None

    def rule(self, group: Group, step: int, numbers: dict[str, Any] | None = None) -> Callable[..., None]:
        """The update with the constants of this step: ``update(xp, p, g, *state, *scratch)``,
        writing to p and the state.

        p, g, each state and each scratch are flat arrays of one length; g must be left as it is.
        numbers: default: those of ``self.numbers``; in a CUDA graph arrays of one element.
        """
        raise NotImplementedError(f"{type(self).__name__} must define rule(group, step)")

    @timed("optimiser step")
    def step(self) -> None:
        """Update every parameter that has a gradient. Raises if a hyper-parameter has been set to
        what none can be; RuntimeError if a gradient is still multiplied by the scale of a
        ``GradScaler``; under detect_anomaly FloatingPointError, before the update if a gradient or
        its parameter is not finite, after it if a parameter has become so.
        """
        for group in self.param_groups:
            self.check(group)
        refuse_scaled(
            f"{type(self).__name__}.step", [entry.parameter for entry in self._entries], "call scaler.step(optimizer)"
        )
        self._check_capture()
        doctor = library.doctor if current_mode.get().anomaly else None
        buffers = self.bound_buffers()
        if doctor is not None:
            doctor.before_step(self)
        for buffer in buffers:
            with on(buffer.device):
                for entries, start, stop in buffer.runs():
                    buffer.take_writes(start, stop)
                    kept = [] if buffer.unless is None or self._masks(buffer) else buffer.kept(entries, start, stop)
                    self.update_run(buffer, entries, start, stop)
                    buffer.put_back(kept)
                    buffer.round(start, stop)
                    for entry in entries:
                        memory.record_write(entry.value, entry.parameter.name)
        if doctor is not None:
            doctor.after_step(self)

    def update_run(self, buffer: FlatBuffer, entries: list[Entry], start: int, stop: int) -> None:
        """Update ``entries``, which are the stretch from ``start`` to ``stop`` of ``buffer`` and
        share group and step.
        """
        capture = capturing()
        group, step = entries[0].group, entries[0].steps
        if buffer.unless is not None and self._masks(buffer):
            update = self.rule(group, step, {**(self.numbers(group, step) or {}), "unless": buffer.unless})
        elif capture is None:
            update = self.rule(group, step)
        else:
            update = self._captured_rule(capture, buffer, entries)
        arrays = [buffer.values, buffer.gradients, *buffer.state.values()]
        size = stop - start if self.compiled and buffer.xp.kernels.has(buffer.dtype) else buffer.piece
        for piece in pieces(start, stop, size):
            scratch = [array[: piece.stop - piece.start] for array in buffer.scratch]
            update(buffer.xp, *(array[piece] for array in arrays), *scratch)

    def _masks(self, buffer):
        """Whether the rule itself looks at ``buffer.unless``."""
        kind = type(self)
        own = kind.rule is kind.masked_rule and kind.update_run is Optimizer.update_run
        return own and buffer.xp.name == "cuda" and buffer.xp.kernels.has(buffer.dtype)

    def _captured_rule(self, capture, buffer, entries):
        """The update for a CUDA graph: its numbers are those of the step that the graph is run
        for.
        """
        group, first = entries[0].group, entries[0]
        numbers = self.numbers(group, first.steps) or {}

        def count(by=1):
            for entry in entries:
                entry.steps += by
                memory.record_write(entry.value, entry.parameter.name)

        capture.each_time(count, lambda: count(-1))
        capture.watch(lambda: len({entry.steps for entry in entries}) == 1)  # the first one's stands for all
        live = capture.slot(
            buffer.dtype, (len(numbers),), lambda: list((self.numbers(group, first.steps) or {}).values())
        )
        return self.rule(group, first.steps, {name: live[i] for i, name in enumerate(numbers)} | {"live": live})

    def _check_capture(self):
        """In a CUDA graph: raise if the numbers of a step are not told, and refuse a graph whose
        parts of the rule have changed.
        """
        capture = capturing()
        if capture is None:
            return
        for group in self.param_groups:
            if self.numbers(group, 1) is None:
                raise RuntimeError(
                    f"{type(self).__name__}.step cannot be part of a CUDA graph: without a method numbers(group, step) the "
                    "learning rate of this step would be that of all"
                )
        capture.parameters += [entry.parameter for entry in self._entries]
        capture.watch(lambda: [self._checked_structure(group) for group in self.param_groups])
        capture.watch(lambda: [id(buffer) for buffer in self._buffers if all(e.is_bound() for e in buffer.entries)])

    def _checked_structure(self, group):
        self.check(group)  # before a launch changes anything
        return _structure(group)

    def zero_grad(self) -> None:
        """Forget the gradients: ``.grad`` of every parameter becomes None."""
        if (capture := capturing()) is not None:
            capture.parameters += [entry.parameter for entry in self._entries]
        for entry in self._entries:
            if entry.parameter.node is not None:
                watch(entry.parameter.node).grad = None

    # --- groups and memory ------------------------------------------------------------------------

    def _add(self, group):
        if not isinstance(group, dict):
            raise TypeError(
                f'{type(self).__name__}: a group is a dict {{"params": ..., ...}}, got {type(group).__name__}'
            )
        unknown = set(group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown or "params" not in group:
            problem = f"unknown {sorted(unknown)}" if unknown else '"params" is missing'
            raise ValueError(f"{type(self).__name__}: group with {problem}; it may set {sorted(self.defaults)}")
        name, first = type(self).__name__, len(self._entries)
        group = {**self.defaults, **group}
        group["params"] = leaves_of(name, group["params"], first)
        self.check(group)
        known = {id(entry.parameter) for entry in self._entries}
        for index, parameter in enumerate(group["params"], start=first):
            if id(parameter) in known:
                raise ValueError(f"{name}: {parameter.name or f'parameter {index}'} is in two groups")
        self._entries += [Entry(parameter, group, first + i) for i, parameter in enumerate(group["params"])]
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """Make the hyper-parameters of ``group`` plain numbers; TypeError or ValueError if one of
        them is not a number or out of range.

        Those named in ``bounds`` are checked, and the decay rates ``betas``.
        """
        name = type(self).__name__
        for key, bounds in self.bounds.items():
            if key in group:
                group[key] = number(name, key, group[key], **bounds)
        if "betas" in group:
            betas = group["betas"]
            if not isinstance(betas, (tuple, list)) or len(betas) != 2:
                raise TypeError(f"{name}: betas must be two numbers, got {betas!r}")
            group["betas"] = tuple(number(name, f"betas[{i}]", beta, least=0, below=1) for i, beta in enumerate(betas))

    def bound_buffers(self) -> list[FlatBuffer]:
        """The flat buffers in which the parameters now are, with their gradients."""
        if not all(entry.is_bound() for entry in self._entries):
            self._bind()
        return self._buffers

    def _bind(self):
        """Lay all parameters, with their gradients and states, into flat buffers where they are
        now.
        """
        places: dict = {}
        for entry in self._entries:
            places.setdefault((entry.parameter.dtype, entry.parameter.device), []).append(entry)
        living.add(self)
        self._buffers = []
        for (dtype, device), entries in places.items():
            with on(device):
                n_scratch = 0 if self.compiled and device != "cpu" else self.n_scratch
                self._buffers.append(FlatBuffer(entries, dtype, device, self.state_names, n_scratch))
                for entry in entries:
                    self._take_state(self._buffers[-1], entry)

    def _take_state(self, buffer, entry):
        """Bring the state of ``entry`` to ``buffer``."""
        former, entry.state = entry.state, self.new_state(buffer, entry)
        if buffer.rounded is not buffer.values:
            entry.state["master"] = entry.master
        for name in former.keys() & entry.state.keys():
            entry.state[name][...] = move(former[name], buffer.device)

    def new_state(self, buffer: FlatBuffer, entry: Entry) -> dict[str, Any]:
        """The zero state of ``entry``: views of the buffer's flat state arrays."""
        return {name: buffer.view(array, entry) for name, array in buffer.state.items()}

    # --- copies and pickles -----------------------------------------------------------------------

    def __getstate__(self):
        """What copies and pickles are made of: all but the flat arrays, which the copy makes for
        its own parameters.
        """
        self._settle()
        entries = [(entry.parameter, entry.group, entry.steps, entry.state) for entry in self._entries]
        return {**vars(self), "_buffers": [], "_entries": entries, "_settle": nothing}

    def __setstate__(self, state):
        vars(self).update(state)
        self._entries = []
        for index, (parameter, group, steps, arrays) in enumerate(state["_entries"]):
            entry = Entry(parameter, group, index)
            entry.steps, entry.state = steps, arrays
            self._entries.append(entry)
        self._bind()

    # --- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on bit for bit: nested dicts of tensors and numbers,
        ready for ``mt.save``.
        """
        self._settle()
        numbers = {id(entry.parameter): entry.index for entry in self._entries}
        groups = [
            {**group, "params": [numbers[id(parameter)] for parameter in group["params"]]}
            for group in self.param_groups
        ]
        state = {
            str(entry.index): {
                "step": entry.steps,
                **{name: Tensor(copied(array)) for name, array in entry.state.items()},
            }
            for entry in self._entries
            if entry.steps
        }
        return {"optimizer": type(self).__name__, "param_groups": groups, "state": state}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a ``state_dict()`` of an optimiser of the same class over equal parameters in
        the same order.

        The arrays go to the parameters' devices. Raises ValueError, changing nothing, if the class,
        the number of parameters or a shape differs.
        """
        groups = self._check_saved(saved)
        self._settle()
        for group, loaded in zip(self.param_groups, groups):
            group.update(loaded)
        for entry in self._entries:
            loaded = saved["state"].get(str(entry.index), {"step": 0})
            entry.steps = loaded["step"]
            for name, array in entry.state.items():
                missing = entry.value if name == "master" else 0  # the state of a run in float32 has no master
                with on(array):
                    array[...] = move(asarray(loaded[name])._array, device_of(array)) if name in loaded else missing

    def _check_saved(self, saved):
        """Raise if ``saved`` does not fit; returns its groups' hyper-parameters, checked."""
        kind = type(self).__name__
        whole = isinstance(saved, dict) and {"optimizer", "param_groups", "state"} <= set(saved)
        whole = whole and isinstance(saved["state"], dict) and isinstance(saved["param_groups"], (list, tuple))
        if not whole or not all(isinstance(group, dict) and "params" in group for group in saved["param_groups"]):
            raise ValueError(f"{kind}: this is no optimizer.state_dict(): {str(saved)[:60]}")
        if saved["optimizer"] != kind:
            raise ValueError(f"this state was saved by {saved['optimizer']!r}, and this optimiser is {kind}")
        counts = [len(group["params"]) for group in self.param_groups]
        loaded_counts = [len(group["params"]) for group in saved["param_groups"]]
        if counts != loaded_counts:
            raise ValueError(
                f"{kind}: the saved state has groups of {loaded_counts} parameters, this optimiser of {counts}"
            )
        groups = [{name: value for name, value in group.items() if name != "params"} for group in saved["param_groups"]]
        for group in groups:
            unknown = sorted(set(group) - set(self.defaults) - {"initial_lr"})
            if unknown:
                raise ValueError(f"{kind}: the saved groups set {unknown}; a group may set {sorted(self.defaults)}")
            group.update({name: tuple(value) for name, value in group.items() if isinstance(value, list)})
            self.check({**self.defaults, **group})
        for entry in self._entries:
            loaded = saved["state"].get(str(entry.index), {"step": 0})
            integer(kind, f"step of {entry.label}", loaded.get("step"), least=0)
            for name, array in loaded.items():
                if name == "step":
                    continue
                mine = entry.value if name == "master" else entry.state.get(name)  # which float32 does not need
                if mine is None or mine.shape != asarray(array).shape:
                    shape = "none" if mine is None else mine.shape
                    raise ValueError(
                        f"{kind}: {name} of {entry.label} has shape {asarray(array).shape} in the file, {shape} here"
                    )
        return groups

    def to(self, device: str) -> Self:
        """Move the state to ``device``, where ``model.to(device)`` has put the parameters; returns
        the optimiser.
        """
        device = as_device(device)
        for entry in self._entries:
            if entry.parameter.device != device:
                raise TypeError(
                    f"{type(self).__name__}.to: {entry.label} is on {entry.parameter.device}, not on {device}; "
                    f'write model.to("{device}") first'
                )
        self._bind()
        return self

    def __repr__(self) -> str:
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return f"{type(self).__name__}({len(self._entries)} parameters, {groups})"


def _structure(group):
    """Which of a group's hyper-parameters are 0: a rule leaves out what they would multiply."""
    return {
        name: value if isinstance(value, bool) else bool(value) for name, value in group.items() if name != "params"
    }
