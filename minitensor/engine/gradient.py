"""Asking for gradients: ``tensor.backward()``, which deposits them in the leaves, and ``mt.grad``,
which returns them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from minitensor.backend import copied, is_array, namespace
from minitensor.engine.autograd import backward_pass
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["backward", "grad"]

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    from minitensor.engine.attached import TensorLike

    Tensors: TypeAlias = Tensor | Iterable[Tensor]
    Seeds: TypeAlias = TensorLike | Iterable[TensorLike | None] | None


def backward(
    output: Tensor, grad: TensorLike | None = None, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Add d output / d leaf to ``.grad`` of every leaf that requires one.

    grad: the gradient of some scalar with respect to the output, of its shape; may be left out if
    it has one element. retain_graph: keep what the graph saved, for a second call. create_graph:
    record the pass, for higher derivatives. Threads may run backward at once, each through a graph
    of its own, into leaves that they share: the gradients add up.
    """
    output.check_tracked("backward")
    backward_pass(
        [output.node], [_seed(output, grad, create_graph)], retain_graph=retain_graph, create_graph=create_graph
    )


# A Tensor is an iterable of its rows as well; as ``inputs`` it is one input.
@overload
def grad(  # type: ignore[overload-overlap]
    outputs: Tensors,
    inputs: Tensor,
    grad_outputs: Seeds = None,
    create_graph: bool = False,
    allow_unused: Literal[False] = False,
    retain_graph: bool = False,
) -> Tensor: ...
@overload
def grad(
    outputs: Tensors,
    inputs: Iterable[Tensor],
    grad_outputs: Seeds = None,
    create_graph: bool = False,
    allow_unused: Literal[False] = False,
    retain_graph: bool = False,
) -> list[Tensor]: ...
@overload
def grad(  # type: ignore[overload-overlap]
    outputs: Tensors,
    inputs: Tensor,
    grad_outputs: Seeds = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    retain_graph: bool = False,
) -> Tensor | None: ...
@overload
def grad(
    outputs: Tensors,
    inputs: Iterable[Tensor],
    grad_outputs: Seeds = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    retain_graph: bool = False,
) -> list[Tensor | None]: ...
def grad(outputs, inputs, grad_outputs=None, create_graph=False, allow_unused=False, retain_graph=False):
    """The derivative of ``outputs`` with respect to ``inputs``, without touching any ``.grad``.

    outputs, inputs: a tensor, or a list of them. grad_outputs: one gradient per output; may be left
    out for outputs of one element. create_graph: record, so that the result can be differentiated
    again. retain_graph: keep what the graph saved, for a second call. An input that the outputs do
    not depend on raises ValueError, or gives None with ``allow_unused``. Returns one Tensor, or a
    list if ``inputs`` is one.
    """
    single = isinstance(inputs, Tensor)
    inputs = [inputs] if single else list(inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    seeds = [None] * len(outputs) if grad_outputs is None else grad_outputs
    seeds = [seeds] if isinstance(seeds, Tensor) or is_array(seeds) else list(seeds)
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(seeds)} grad_outputs")
    for what, tensors in (("output", outputs), ("input", inputs)):
        for i, x in enumerate(tensors):
            if x.node is None and not (what == "input" and allow_unused):
                raise RuntimeError(
                    f"grad: {what} {i} does not require a gradient; was it made with requires_grad=True?"
                )
    roots = [output.node for output in outputs]
    gradients = [_seed(output, seed, create_graph) for output, seed in zip(outputs, seeds)]
    wanted = {x.node for x in inputs if x.node is not None}
    found = backward_pass(roots, gradients, wanted=wanted, retain_graph=retain_graph, create_graph=create_graph)
    results, given = [], set()
    for i, x in enumerate(inputs):
        value = found.get(x.node)
        if value is None and not allow_unused:
            raise ValueError(
                f"grad: the outputs do not depend on input {i}; write allow_unused=True to get None for it"
            )
        if value is not None and not isinstance(value, Tensor):
            value = Tensor(copied(value) if x.node in given else value)
            given.add(x.node)  # an input that is listed twice gets two results
        elif value is not None and value.node is None:
            value = Tensor(copied(value._array))
        results.append(value if value is None or value.dtype == x.dtype else value.astype(x.dtype))
    return results[0] if single else results


def _seed(output, gradient, create_graph):
    """The gradient to start from: given, or one for a single element."""
    xp = namespace(output.device)
    if gradient is None:
        if output.size != 1:
            raise RuntimeError(
                f"the output has shape {output.shape}; a gradient starts from one number: call .sum() or .mean() first, or "
                "pass the gradient of the output"
            )
        gradient = Tensor(xp.ones(output.shape, dtype=output.dtype))
    gradient = asarray(gradient, device=None if is_array(gradient) or isinstance(gradient, Tensor) else output.device)
    if gradient.shape != output.shape:
        raise ValueError(f"the gradient has shape {gradient.shape}, the output {output.shape}: they must be equal")
    if gradient.device != output.device:
        raise TypeError(
            f'the gradient is on {gradient.device}, the output on {output.device}: write .to("{output.device}")'
        )
    return gradient if create_graph else gradient._array
