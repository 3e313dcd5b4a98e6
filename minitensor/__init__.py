"""minitensor: reverse-mode automatic differentiation on NumPy and CuPy, and the layers of the Transformer on top.

>>> import minitensor as mt
>>> x = mt.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x**3).sum().backward()
>>> x.grad
tensor([ 3., 12., 27.])

Array functions follow NumPy and the Python Array API standard, the training side follows PyTorch.
"""

import sys as _sys

from minitensor.backend import cpu as _cpu
from minitensor.engine.tensor import Tensor, asarray, tensor
from minitensor.engine.gradient import grad
from minitensor.engine.autograd import Scatter
from minitensor.engine.mode import detect_anomaly, enable_grad, no_grad
from minitensor.ops.creation import (
    arange, empty, empty_like, eye, full, full_like, linspace, ones, ones_like, zeros, zeros_like
)  # fmt: skip
from minitensor.ops.elementwise import *  # noqa: F403
from minitensor.ops.indexing import argsort, put_along_axis, sort, take, take_along_axis, topk
from minitensor.ops.linalg import einsum, matmul, norm, outer, tensordot, trace, vecdot
from minitensor.ops.reductions import *  # noqa: F403
from minitensor.ops.scans import cumprod, cumsum
from minitensor.ops.shape import (
    broadcast_to, concat, concatenate, diagonal, expand_dims, moveaxis, permute_dims, reshape, split, squeeze, stack, swapaxes,
    tril, triu, unstack,
)  # fmt: skip
from minitensor.ops.repeating import flip, pad, repeat, roll, rot90, tile
from minitensor.ops.sets import nonzero, searchsorted, unique_all, unique_counts, unique_inverse, unique_values
from minitensor.ops.standard import *  # noqa: F403
from minitensor.ops.dtypes import ArrayNamespaceInfo as __array_namespace_info__
from minitensor.ops.dtypes import astype, can_cast, finfo, iinfo, isdtype, result_type
from minitensor.ops.interchange import from_dlpack
from minitensor import linalg
from minitensor.ops import methods as _methods
from minitensor import random
from minitensor.recompute import checkpoint
from minitensor.files.state import FileFormatError, load, save
from minitensor import nn, optim
from minitensor.engine import library as _library
from minitensor.engine.front_door import missing_name as _missing_name
from minitensor.engine.front_door import teach as _teach
from minitensor.engine.fused import fused
from minitensor.engine.op import op

_library.face = _sys.modules[__name__]
_teach(globals())
_teach(vars(linalg))

__version__ = "0.1.0"
__array_api_version__ = "2024.12"
e, inf, nan, newaxis, pi = _cpu.e, _cpu.inf, _cpu.nan, None, _cpu.pi
bool, float16, float32, float64 = _cpu.bool, _cpu.float16, _cpu.float32, _cpu.float64
int8, int16, int32, int64 = _cpu.int8, _cpu.int16, _cpu.int32, _cpu.int64
uint8, uint16, uint32, uint64 = _cpu.uint8, _cpu.uint16, _cpu.uint32, _cpu.uint64


def __getattr__(name):
    """``mt.testing``, imported on first use; words for what is somewhere else, or called otherwise."""
    import importlib

    if name != "testing":
        raise AttributeError(_missing_name(name))
    return importlib.import_module("minitensor.testing")
