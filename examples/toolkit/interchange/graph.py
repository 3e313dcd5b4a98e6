"""An ONNX graph written node by node: each method adds an operation and gives the name of its
result.

Letters: B sentences, T positions, D features, H heads, K features of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.console import require

__all__ = ["OPSET", "Graph"]

OPSET = 17  # the first with LayerNormalization
Shape = Sequence[int | str]  # a text names an axis whose size is known only when it runs


class Graph:
    """A graph and the weights in it.

    ``weights`` are arrays by the names of the model's parameters; one gets into the graph when it
    is first used.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights
        self._onnx = require("onnx", "export")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    # --- what goes in and comes out ---------------------------------------------------------------

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """An input of the graph."""
        self._inputs.append(self._value(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape: Shape, dtype: Any = np.float32) -> None:
        """Give ``value`` as an output of this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, dtype, shape))

    def _value(self, name: str, dtype: Any, shape: Shape) -> Any:
        helper = self._onnx.helper
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))

    def bytes(self, name: str) -> bytes:
        """The model as a file has it, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="minitensor")
        model.ir_version = 8  # that of opset 17: older runtimes read it too
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    # --- operations -------------------------------------------------------------------------------

    def add_node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The name of the result of an operation, or a list of so many."""
        self._count += 1
        names = [f"{op.lower()}_{self._count}" + (f"_{k}" if outputs > 1 else "") for k in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(op, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, values: Any, name: str = "") -> str:
        """An array in the graph; of the same ``name`` there is one."""
        if not name:
            self._count += 1
            name = f"constant_{self._count}"
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def weight(self, name: str, turned: bool = False) -> str:
        """A parameter; ``turned``: its transpose."""
        values = self.weights[name]
        return self.constant(values.T if turned else values, f"{name}.T" if turned else name)

    def linear(self, x: str, name: str, rows: slice | None = None) -> str:
        """``x W^T + b`` of the layer called ``name``; of some of its rows alone, if given."""
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        part = "" if rows is None else f"[{rows.start}:{rows.stop}]"
        chosen = slice(None) if rows is None else rows
        y = self.add_node("MatMul", x, self.constant(weight[chosen].T, f"{name}.weight{part}.T"))
        return y if bias is None else self.add_node("Add", y, self.constant(bias[chosen], f"{name}.bias{part}"))

    def layer_norm(self, x: str, name: str, eps: float) -> str:
        """Over the last axis."""
        return self.add_node(
            "LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), axis=-1, epsilon=eps
        )

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps an axis, -1 is what is left."""
        return self.add_node("Reshape", x, self.constant(np.array(shape, np.int64)))

    def transpose(self, x: str, *order: int) -> str:
        """The axes in another order."""
        return self.add_node("Transpose", x, perm=list(order))

    def scaled(self, x: str, factor: float) -> str:
        """``x`` times a number."""
        return self.add_node("Mul", x, self.constant(np.float32(factor)))

    def cut(self, x: str, axis: int, start: int, stop: int) -> str:
        """The places from ``start`` to ``stop`` along an axis."""
        bounds = [self.constant(np.array([place], np.int64)) for place in (start, stop, axis)]
        return self.add_node("Slice", x, *bounds)

    def unsqueeze(self, x: str, *axes: int) -> str:
        """With axes of size 1."""
        return self.add_node("Unsqueeze", x, self.constant(np.array(axes, np.int64)))

    def squeeze(self, x: str, *axes: int) -> str:
        """Without axes of size 1."""
        return self.add_node("Squeeze", x, self.constant(np.array(axes, np.int64)))

    def attention(self, scores: str, values: str, mask: str | None = None) -> str:
        """``softmax(scores) values`` over the last axis of ``scores``, where ``mask`` is True."""
        if mask is not None:
            scores = self.add_node("Where", mask, scores, self.constant(np.float32(-1e30), "minus_infinity"))
        return self.add_node("MatMul", self.add_node("Softmax", scores, axis=-1), values)
