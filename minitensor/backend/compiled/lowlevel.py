"""What numba's language lacks: memory by its address, atomic words, calls of C functions, and a
loop over all cores (``parallel``).
"""

from __future__ import annotations

from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils

from minitensor.backend.compiled import STEP
from minitensor.backend.compiled.disk import compiled_on_disk
from minitensor.backend.compiled.maths import COMPILED, intrinsic

__all__ = [
    "add_atomic", "array_at", "call_gemm", "call_part", "call_word", "compare_and_swap", "entry", "load", "parallel", "part",
    "pause", "piece", "store",
]  # fmt: skip

_WORD, _INT, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


def _pointer(builder, address, kind=_WORD):
    return builder.inttoptr(address, kind.as_pointer())


# --- words in memory that several threads see -----------------------------------------------------


@intrinsic
def load(_context, address):
    """The word at ``address``, as another thread has stored it."""

    def generate(_, builder, signature, arguments):
        return builder.load_atomic(_pointer(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def store(_context, address, value):
    """Store a word; what was written before it is seen by whoever sees it."""

    def generate(_, builder, signature, arguments):
        builder.store_atomic(arguments[1], _pointer(builder, arguments[0]), "seq_cst", 8)
        return _.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def add_atomic(_context, address, value):
    """Add to a word; returns what it was."""

    def generate(_, builder, signature, arguments):
        return builder.atomic_rmw("add", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def compare_and_swap(_context, address, expected, value):
    """Store ``value`` if the word is ``expected``; returns whether it was."""

    def generate(_, builder, signature, arguments):
        address, expected, value = arguments
        pair = builder.cmpxchg(_pointer(builder, address), expected, value, "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@intrinsic
def pause(_context):
    """Nothing, for a moment: what a waiting loop does."""

    def generate(_, builder, signature, arguments):
        # A fence keeps the compiler from folding the loop away.
        builder.fence("seq_cst")
        return _.get_dummy_value()

    return types.void(), generate


# --- calls by address -----------------------------------------------------------------------------


@intrinsic
def call_word(_context, function, first, second):
    """Call the C function ``int f(first, second)`` at an address.

    Two more arguments go with it, "forever" and 0, which one of Windows' functions wants and the
    others do not look at.
    """

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(_INT, [_WORD] * 4)
        forever, zero = ir.Constant(_WORD, 0xFFFFFFFF), ir.Constant(_WORD, 0)
        return builder.call(_pointer(builder, values[0], kind), [*values[1:], forever, zero])

    return types.int32(types.int64, types.int64, types.int64), generate


@intrinsic
def call_part(_context, function, data, number):
    """Call a part of a job: ``void f(void*, int64)``."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * 2)
        builder.call(_pointer(builder, values[0], kind), values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


# --- a loop over all cores ------------------------------------------------------------------------


@intrinsic
def parallel(context, pool, parts, body, arguments):
    """Call ``body(part, *arguments)`` for each part from 0 to ``parts`` - 1, on all cores.

    pool: the address of its state (see ``pool.py``). body: a compiled function that returns
    nothing. All that can fail in one is to find memory: then MemoryError is raised.
    """
    signature = types.void(types.int64, *arguments.types)
    body.dispatcher.get_call_template(signature.args, {})  # compiles it
    compiled = body.dispatcher.overloads[signature.args]

    def generate(context, builder, call, values):
        pool, parts, _, packed = values
        # What all parts share: whether one has failed, and the arguments.
        job = ir.LiteralStructType([_WORD, context.get_value_type(call.args[3])])
        # void part(void* job, int64 number)
        part = ir.Function(
            builder.module, ir.FunctionType(ir.VoidType(), [_WORD, _WORD]), builder.module.get_unique_name("part")
        )
        part.linkage = "internal"
        inner = ir.IRBuilder(part.append_basic_block())
        place = _pointer(inner, part.args[0], job)
        inputs = [part.args[1], *cgutils.unpack_tuple(inner, inner.load(cgutils.gep_inbounds(inner, place, 0, 1)))]
        function = context.declare_function(builder.module, compiled.fndesc)
        convention = context.call_conv
        status, _ = convention.call_function(inner, function, signature.return_type, signature.args, inputs)
        with inner.if_then(status.is_error, likely=False):
            inner.store_atomic(ir.Constant(_WORD, 1), cgutils.gep_inbounds(inner, place, 0, 0), "seq_cst", 8)
        inner.ret_void()
        context.add_linking_libs([compiled.library])

        slot = cgutils.alloca_once(builder, job)
        failed = cgutils.gep_inbounds(builder, slot, 0, 0)
        builder.store(ir.Constant(_WORD, 0), failed)
        builder.store(packed, cgutils.gep_inbounds(builder, slot, 0, 1))
        run = ir.FunctionType(ir.VoidType(), [_WORD] * 4)
        address = builder.load(_pointer(builder, pool))
        builder.call(_pointer(builder, address, run), [
            pool, builder.ptrtoint(part, _WORD), builder.ptrtoint(slot, _WORD), parts,
        ])  # fmt: skip
        with builder.if_then(cgutils.is_not_null(builder, builder.load(failed)), likely=False):
            convention.return_user_exc(builder, MemoryError, ("no room for the scratch of a compiled kernel",))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, body, arguments), generate


@intrinsic
def call_gemm(_context, function, first, second, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """``C = alpha A B + beta C`` by CBLAS, rows first; first, second: whether A and B are
    transposed. A, B and C are addresses.
    """
    result = types.void(types.int64, *[types.int64] * 5, alpha, *[types.int64] * 4, beta, *[types.int64] * 2)

    def generate(context, builder, signature, values):
        real = values[6].type
        kinds = [_INT] * 3 + [_WORD] * 3 + [real] + [_WORD] * 4 + [real] + [_WORD] * 2
        function = ir.FunctionType(ir.VoidType(), kinds)
        no_transpose = ir.Constant(_INT, 111)
        flags = [builder.add(builder.trunc(flag, _INT), no_transpose) for flag in values[1:3]]
        builder.call(_pointer(builder, values[0], function), [ir.Constant(_INT, 101), *flags, *values[3:]])
        return context.get_dummy_value()

    return result, generate


@intrinsic
def _as_pointer(_context, address, like):
    """The address as a pointer to numbers of the type of ``like``."""

    def generate(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, like), generate


@njit(inline="always")
def array_at(address, shape, like):
    """The contiguous array of ``shape`` at an address, of numbers of the type of ``like``."""
    return carray(_as_pointer(address, like), shape)


@njit(inline="always")
def piece(line, number):
    """Elements ``number * STEP`` and so on of a line. A loop over it begins at 0, which the
    compiler must know to do many at once: a negative index would count from the end.
    """
    return line[number * STEP : min(line.size, (number + 1) * STEP)]


# --- the decorators -------------------------------------------------------------------------------


def part(function):
    """Compile a part of a job: ``function(part, *arguments)``; see ``parallel``.

    It becomes a piece of each function that calls it, as do those of ``maths.py``. A function of
    its own would be compiled twice, alone and within its caller, and not to the same bits: a
    process that compiles would run the one, and a process that finds its caller on disk the other.

    A loop that adds up a number writes to no array: the compiler asks, each time, whether what is
    written may be what is read, and takes another order, to other bits, if arrays lie side by side.
    """
    return njit(function, forceinline=True, **COMPILED)


def entry(function):
    """Compile a function that Python calls: ``function(pool, *arguments)``. Kept on disk."""
    return compiled_on_disk(njit, function, nogil=True, **COMPILED)
