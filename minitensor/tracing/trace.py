"""``mt.backward_trace()``: the block whose backward passes are watched, and what it tells."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitensor.engine.messages import a_kind
from minitensor.engine.mode import current_mode, switched
from minitensor.engine.tensor import Tensor
from minitensor.files.safetensors import write_whole
from minitensor.tracing import opened
from minitensor.tracing.record import Node, Pass, Record
from minitensor.tracing.sources import LIBRARY, Places
from minitensor.tracing.table import plural, text_of
from minitensor.tracing.tracer import Tracer

__all__ = ["backward_trace"]

if TYPE_CHECKING:
    from typing_extensions import Self

    from minitensor.files.safetensors import FilePath


class backward_trace:
    """Context manager: the backward passes of a block, node by node and rule by rule.

    ``print(t)`` shows the steps in the order of the pass: for each node its module, op, line and
    value and the gradient that came to it; and for each of its inputs that need a gradient the
    source of the rule, what it contributes, which arrival that is, and over which axes it was
    summed because the input was repeated along them. The contributions add up to ``.grad`` bit for
    bit. ``save`` writes a page of the same to walk through, ``graph`` draws it, ``open`` goes into
    a fused op.

    The forward pass belongs inside the block. If only ``backward`` is, the values are shown that
    the graph has saved for it, and lines and modules are not known. A block may hold several
    passes; of a recorded one (``create_graph=True``) the ops that it ran are nodes too, which a
    later pass may come to: ``made_by`` says which step made them.

    model: a Module (or a dict of tensors by name) whose parameters and modules are to be shown
    under their names there; default: parameters under their own names, modules relative to the
    outermost one that is called.

    A trace sees the thread, or the asynchronous task and the tasks that it starts, that opened it.
    It keeps copies: it may be looked at when graph and model are gone, and takes the memory of all
    values and gradients that it saw. Traces and profiles may be open within one another. When the
    block ends, by an exception too, what was seen stays; a new block takes a new trace. Results and
    gradients are the same bit for bit as without; nothing costs time while no trace is open.

    Raises RuntimeError if it is opened a second time, TypeError for another ``model``.

    >>> import minitensor as mt
    >>> x = mt.tensor([1.0, 2.0], requires_grad=True)
    >>> with mt.backward_trace() as t:
    ...     (x * x).sum().backward()
    >>> [t.nodes[step.node].name for step in t.passes[0].steps]
    ['sum', 'multiply', '']
    >>> [a.rule.text for a in t.passes[0].steps[1].arrivals]
    ['lambda g, y: g * y', 'lambda g, x: g * x']
    >>> t.passes[0].steps[2].grad.array
    array([2., 4.], dtype=float32)
    """

    def __init__(self, model: Any = None) -> None:
        self._model, self._named = _read(model)
        self._hidden = LIBRARY
        self._tracer: Tracer | None = None
        self._block: switched | None = None
        self._record = Record()
        self._calls: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError(
                "backward_trace: this one has been opened before; write mt.backward_trace() for each block"
            )
        places = Places(self._model, self._hidden, sys._getframe(1))
        tracer = Tracer(places, self._named, current_mode.get().observer)
        self._record, self._calls, self._tracer = tracer.record, tracer.notes.calls, tracer
        self._block = switched(observer=tracer, watched=True)
        self._block.__enter__()
        tracer.is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._tracer is not None and self._tracer.is_open and self._block is not None:
            self._tracer.close()
            self._block.__exit__()
            self._model, self._named = None, {}

    # --- what it tells ----------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """All that was seen, as plain data: ``graph`` and ``passes``."""
        tracer = self._tracer
        if tracer is not None:
            tracer.work_out()
            if not tracer.is_open:
                self._tracer = None
        return self._record

    @property
    def nodes(self) -> dict[int, Node]:
        """The nodes by their id, in the order in which they were made.

        A node has: id; kind, "leaf", "op", "fused", "checkpoint" or "constant" (an op that needed
        no gradient); name; module; line; inputs; keywords; value, or None if it is not known;
        shape; dtype; made_by, ``(pass, step, rule)`` of one that a pass made; calls, ``(path,
        number)`` of the calls of modules around it, the innermost first.
        """
        return self.record.graph.nodes

    @property
    def passes(self) -> list[Pass]:
        """The backward passes in their order.

        A pass has ``steps``, each with: node, its id; gradient; hooked and before_hooks; arrivals;
        freed, the names of what the node let go; deposited and grad, what was added to ``.grad``
        and what is there then; inside, what a checkpoint ran again. An arrival has: parent and
        child, ids; input; rule, with path, number and text; raw_shape and summed_axes; scattered;
        value; nth; total. Arrays are at ``.array`` of a value.
        """
        return self.record.passes

    def open(self, node: int) -> backward_trace:
        """The inside of a fused op or a checkpoint, as a trace of its own.

        A fused op runs its definition again, on the inputs that it had and with the gradient that
        the newest pass brought to it, so its gradients agree with those of the kernel up to
        rounding. A checkpoint shows what the newest pass ran again. Raises KeyError for an id that
        is not in the trace, ValueError for a node that has no inside, or one whose inputs are not
        known.
        """
        made = backward_trace()
        opened.fill(made, self, node)
        return made

    def table(self, steps: int | None = None, width: int | None = None) -> str:
        """The steps as text.

        steps: at most so many of a pass are shown, the first and the last; default: all. width: in
        columns; default: that of the terminal, at most 100.
        """
        return text_of(self.record, steps, width)

    def graph(self) -> Any:
        """The graph as a drawing: SVG in a notebook, a tree of text for ``print``."""
        from minitensor.tracing.drawing import drawing

        return drawing(self)

    def save(self, path: FilePath) -> None:
        """Write a page to walk through the passes by arrow keys: one ``.html`` that needs nothing
        else.

        The file is written whole or not at all. Raises ValueError for another ending,
        IsADirectoryError for a folder.
        """
        if Path(path).is_dir():
            raise IsADirectoryError(
                f"backward_trace.save: {str(path)!r} is a folder; name a file in it: {str(Path(path) / 'backward.html')!r}"
            )
        if not str(path).lower().endswith(".html"):
            raise ValueError(f"backward_trace.save: {str(path)!r} must end in .html")
        from minitensor.tracing.page import page

        write_whole({path: [page(self)]})

    def __str__(self) -> str:
        return self.table(steps=40)

    def __repr__(self) -> str:
        if self._block is None:
            return "<backward_trace, not opened yet>"
        is_open = self._tracer is not None and self._tracer.is_open
        counts = (
            f"{plural(len(self.passes), 'pass')}, {plural(sum(len(one.steps) for one in self.passes), 'step')}, "
            f"{plural(len(self.nodes), 'node')}"
        )
        return f"<backward_trace, {'open, ' if is_open else ''}{counts}>"


def _read(model):
    """The module, if one is given, and ``{id of a leaf: (name, tensor)}``."""
    if model is None:
        return None, {}
    if callable(getattr(model, "named_modules", None)) and callable(getattr(model, "named_parameters", None)):
        pairs, module = model.named_parameters(), model
    elif isinstance(model, Mapping):
        pairs, module = model.items(), None
        for name, value in pairs:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"backward_trace: model[{name!r}] is {a_kind(value)}; a dict of tensors by name is wanted"
                )
    else:
        raise TypeError(f"backward_trace: model is a Module or a dict of tensors by name, not {a_kind(model)}")
    return module, {tensor.node.order: (str(name), tensor) for name, tensor in pairs if tensor.node is not None}
