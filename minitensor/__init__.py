"""minitensor: reverse-mode automatic differentiation on NumPy and CuPy, and the layers of the
Transformer on top.

>>> import minitensor as mt
>>> x = mt.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x**3).sum().backward()
>>> x.grad
tensor([ 3., 12., 27.])

Array functions follow NumPy and the Python Array API standard, the training side follows PyTorch.
"""

import sys as _sys
import typing as _typing

from minitensor.backend import np as _np
from minitensor.engine.tensor import Tensor, asarray, tensor
from minitensor.engine.gradient import grad
from minitensor.engine.autocast import autocast, autocast_ops
from minitensor.engine.autograd import Scatter
from minitensor.engine.mode import detect_anomaly, enable_grad, no_grad
from minitensor.ops.creation import (
    arange, empty, empty_like, eye, full, full_like, linspace, ones, ones_like, zeros, zeros_like
)  # fmt: skip
from minitensor.ops.elementwise import (
    abs, add, arccos, arccosh, arcsin, arcsinh, arctan, arctanh, bitwise_and, bitwise_invert, bitwise_or, bitwise_xor, ceil,
    clip, cos, cosh, divide, equal, erf, exp, expm1, floor, floor_divide, greater, greater_equal, isfinite, isinf, isnan,
    less, less_equal, log, log10, log1p, log2, logaddexp, logical_and, logical_not, logical_or, logical_xor, maximum,
    minimum, multiply, negative, not_equal, positive, power, reciprocal, remainder, round, sign, signbit, sin, sinh, sqrt,
    square, subtract, tan, tanh, trunc, where,
)  # fmt: skip
from minitensor.ops.indexing import argsort, put_along_axis, sort, take, take_along_axis, topk
from minitensor.ops.linalg import einsum, matmul, norm, outer, tensordot, trace, vecdot
from minitensor.ops.reductions import (
    all, any, argmax, argmin, logsumexp, max, mean, min, prod, std, sum, var,
)  # fmt: skip
from minitensor.ops.scans import cumprod, cumsum
from minitensor.ops.shape import (
    broadcast_to, concat, concatenate, diagonal, expand_dims, moveaxis, permute_dims, reshape, split, squeeze, stack, swapaxes,
    tril, triu, unstack,
)  # fmt: skip
from minitensor.ops.repeating import flip, pad, repeat, roll, rot90, tile
from minitensor.ops.sets import nonzero, searchsorted, unique_all, unique_counts, unique_inverse, unique_values
from minitensor.ops.standard import (
    acos, acosh, arctan2, asin, asinh, atan, atan2, atanh, bitwise_left_shift, bitwise_right_shift, broadcast_arrays,
    copysign, count_nonzero, cumulative_prod, cumulative_sum, diff, hypot, matrix_transpose, meshgrid, nextafter, pow,
)  # fmt: skip
from minitensor.ops.dtypes import ArrayNamespaceInfo as __array_namespace_info__
from minitensor.ops.dtypes import astype, can_cast, finfo, iinfo, isdtype, result_type
from minitensor.ops.interchange import from_dlpack
from minitensor import backend, linalg
from minitensor.ops import methods as _methods
from minitensor import random
from minitensor.profiling.block import profile
from minitensor.profiling.memory import memory_report
from minitensor.graphs import cuda_graph
from minitensor.recompute import checkpoint
from minitensor.tracing.trace import backward_trace
from minitensor.transforms.derivatives import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from minitensor.transforms.vmap import vmap
from minitensor.files.state import FileFormatError, load, save
from minitensor import distributed, nn, optim
from minitensor.diagnosis.doctor import Doctor as _Doctor
from minitensor.diagnosis.why import why_nan
from minitensor.engine import library as _library
from minitensor.engine.front_door import missing_name as _missing_name
from minitensor.engine.front_door import teach as _teach
from minitensor.engine.fused import fused
from minitensor.engine.holdings import largest as _largest
from minitensor.engine.op import op

_library.face = _sys.modules[__name__]
_library.doctor = _Doctor()
_library.largest = _largest
_teach(globals())
_teach(vars(linalg))

__version__ = "0.1.0"
__array_api_version__ = "2024.12"
e, inf, nan, newaxis, pi = _np.e, _np.inf, _np.nan, None, _np.pi
bool, float16, float32, float64 = _np.bool, _np.float16, _np.float32, _np.float64
int8, int16, int32, int64 = _np.int8, _np.int16, _np.int32, _np.int64
uint8, uint16, uint32, uint64 = _np.uint8, _np.uint16, _np.uint32, _np.uint64

__all__ = [
    "FileFormatError", "Scatter", "Tensor", "abs", "acos", "acosh", "add", "all", "any", "arange", "arccos", "arccosh",
    "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "asarray", "asin", "asinh",
    "astype", "autocast", "autocast_ops", "atan", "atan2", "atanh", "backend", "backward_trace",
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bool", "broadcast_arrays", "broadcast_to", "can_cast", "ceil", "checkpoint",
    "clip", "concat", "concatenate", "copysign", "cos", "cosh", "count_nonzero", "cuda_graph", "cumprod", "cumsum",
    "cumulative_prod",
    "cumulative_sum", "detect_anomaly", "diagonal", "diff", "distributed", "divide",
    "e", "einsum", "empty", "empty_like", "enable_grad",
    "equal", "erf", "exp", "expand_dims", "expm1", "eye", "finfo", "flip", "float16", "float32", "float64", "floor",
    "floor_divide", "from_dlpack", "full", "full_like", "fused", "grad", "greater", "greater_equal", "hessian", "hvp", "hypot",
    "iinfo", "inf", "int16", "int32", "int64", "int8", "isdtype", "isfinite", "isinf", "isnan", "jacobian", "jvp", "less",
    "less_equal", "linalg", "linspace", "load", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logsumexp", "matmul", "matrix_transpose", "max", "maximum", "mean",
    "memory_report", "meshgrid", "min", "minimum",
    "moveaxis", "multiply", "nan", "negative", "newaxis", "nextafter", "nn", "no_grad", "nonzero", "norm", "not_equal",
    "ones", "ones_like", "op", "optim", "outer", "pad", "permute_dims", "pi", "positive", "pow", "power", "prod",
    "profile",
    "put_along_axis", "random", "reciprocal", "remainder", "repeat", "reshape", "result_type", "roll", "rot90", "round",
    "save", "searchsorted", "sign", "signbit", "sin", "sinh", "sort", "split", "sqrt", "square", "squeeze", "stack", "std",
    "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensor", "tensordot", "tile", "topk", "trace",
    "tril", "triu", "trunc", "uint16", "uint32", "uint64", "uint8", "unique_all", "unique_counts", "unique_inverse",
    "unique_values", "unstack", "value_and_grad", "var", "vecdot", "vjp", "vmap", "where", "why_nan", "zeros", "zeros_like",
]  # fmt: skip

if _typing.TYPE_CHECKING:  # a checker knows the names that there are, and tells of any other
    from minitensor import testing as testing
else:

    def __getattr__(name: str) -> object:
        """``mt.testing``, imported on first use; words for what is somewhere else, or called
        otherwise.
        """
        import importlib

        if name != "testing":
            raise AttributeError(_missing_name(name))
        return importlib.import_module("minitensor.testing")
