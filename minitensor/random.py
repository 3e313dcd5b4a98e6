"""Random numbers as a pure function of (seed, stream, counter), equal bit for bit on every device.

A ``Generator`` holds a 128-bit key (the seed and the number of a stream) and a counter of blocks
drawn; its whole state is three integers. Words come from Philox4x64-10 (Salmon et al., SC 2011).
Whatever needs a logarithm or a sine is computed on the host and copied, because those differ in the
last bit between devices.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from minitensor.backend import (
    as_device,
    as_dtype,
    compute_dtype,
    is_array,
    is_floating,
    move,
    namespace,
    np,
    on,
    precision,
)  # fmt: skip
from minitensor.engine.mode import timed
from minitensor.engine.settings import integer, number, probability, sizes
from minitensor.engine.tensor import Tensor, asarray

__all__ = ["Generator", "bernoulli", "default", "integers", "normal", "permutation", "rows", "seed", "uniform"]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import SupportsFloat, SupportsIndex

    from numpy.typing import DTypeLike

    from minitensor.engine.attached import Shape, TensorLike


_drawing = (
    threading.Lock()
)  # one for all generators, so that a generator is plain numbers that can be copied and pickled


_noted: ContextVar[tuple[dict[int, Any], ...]] = ContextVar(
    "minitensor_noted_draws", default=()
)  # see noting_draws; those of blocks within blocks


_rows: ContextVar[tuple[int, int, int] | None] = ContextVar("minitensor_rows", default=None)  # see rows


@contextmanager
def noting_draws() -> Iterator[dict[int, tuple[Generator, tuple[int, int, int], Any]]]:
    """Gives a dict that collects ``(generator, state before its first draw, rows)`` of all
    generators that draw inside; see `rows`.
    """
    noted: dict[int, tuple[Generator, tuple[int, int, int], Any]] = {}
    token = _noted.set((*_noted.get(), noted))
    try:
        yield noted
    finally:
        _noted.reset(token)


class _Refusal(dict):
    """Stands where ``noting_draws`` has a dict, and refuses to note."""

    def __init__(self, message):
        super().__init__()
        self.message = message

    def setdefault(self, key, default=None):
        raise RuntimeError(self.message)


@contextmanager
def refusing_draws(message: str) -> Iterator[None]:
    """Inside, every draw raises RuntimeError with ``message``."""
    token = _noted.set((*_noted.get(), _Refusal(message)))
    try:
        yield
    finally:
        _noted.reset(token)


@contextmanager
def drawing_again(noted: dict[int, tuple[Generator, tuple[int, int, int], Any]]) -> Iterator[None]:
    """Inside, the generators that ``noting_draws`` has noted draw the same again; after it they go
    on where they were.
    """
    present = [(generator, generator.state) for generator, _, _ in noted.values()]
    token = _rows.set(_rows.get())
    for generator, state, part in noted.values():
        generator.state = state
        _rows.set(part)
    try:
        yield
    finally:
        _rows.reset(token)
        for generator, state in present:
            generator.state = state


@contextmanager
def rows(start: SupportsIndex, stop: SupportsIndex, of: SupportsIndex) -> Iterator[None]:
    """Inside, dropout draws for a part of a batch what the whole batch draws for those rows.

    The part holds the rows ``start`` to ``stop`` of a batch of ``of`` rows. Each array that is
    drawn (by dropout, ``bernoulli``, ``uniform``, ``integers``) has them as its first axis; its
    other axes must be as long as in the whole, padded alike. The generator moves on as for the
    whole: parts of a batch that begin in one state end in one state, and their gradients add up to
    that of the batch, in whatever processes they are computed. Raises RuntimeError for an array
    with another first axis, and for other draws, which would not be those of the whole.

    >>> import minitensor as mt
    >>> import minitensor.nn.functional as F
    >>> mt.random.seed(0)
    >>> whole = F.dropout(mt.ones((4, 3)))
    >>> mt.random.seed(0)
    >>> with mt.random.rows(1, 3, of=4):
    ...     part = F.dropout(mt.ones((2, 3)))
    >>> bool((part == whole[1:3]).all())
    True
    """
    of = integer("rows", "of", of, least=0)
    stop = integer("rows", "stop", stop, least=0, most=of)
    start = integer("rows", "start", start, least=0, most=stop)
    if _rows.get() is not None:
        raise RuntimeError("rows() within rows(): give the rows of the whole batch, once")
    token = _rows.set(None if (start, stop) == (0, of) else (start, stop, of))
    try:
        yield
    finally:
        _rows.reset(token)


def rows_here() -> tuple[int, int, int] | None:
    """``(start, stop, of)`` of the `rows` that hold here; None where all are drawn."""
    return _rows.get()


class Generator:
    """A stream of random words. Equal ``(seed, stream, counter)`` give equal numbers everywhere.

    Threads and asynchronous tasks may share one: no two of them get the same words. Which of them
    gets which depends on who comes first; a generator of its own stream for each makes that
    repeatable.
    """

    seed: int
    stream: int
    counter: int

    def __init__(self, seed: SupportsIndex = 0, stream: SupportsIndex = 0, counter: SupportsIndex = 0) -> None:
        self.state = seed, stream, counter

    @property
    def state(self) -> tuple[int, int, int]:
        """``(seed, stream, counter)``: all that there is to save."""
        with _drawing:
            return self.seed, self.stream, self.counter

    @state.setter
    def state(self, state: tuple[SupportsIndex, SupportsIndex, SupportsIndex]) -> None:
        try:
            seed, stream, counter = state
        except (TypeError, ValueError):
            raise ValueError(f"the state of a generator is (seed, stream, counter), got {state!r}") from None
        named = zip(("seed", "stream", "counter"), (seed, stream, counter))
        checked = [integer("a generator", name, value, least=0, most=(1 << 64) - 1) for name, value in named]
        with _drawing:
            self.seed, self.stream, self.counter = checked

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("seed", "stream", "counter"):  # anything else would break, or go into, every later draw
            value = integer("a generator", name, value, least=0, most=(1 << 64) - 1)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, stream={self.stream}, counter={self.counter})"

    @timed("random numbers")
    def words(self, count: SupportsIndex, device: str | None = None) -> Any:
        """The next ``count`` random words, a raw uint64 array; the counter moves on by whole blocks
        of four.
        """
        count = integer("words", "count", count, least=0)
        return namespace(device).random_bits(*self.take(count), count)

    def take(self, count: int) -> tuple[tuple[int, int], int]:
        """``(key, counter)`` of the next ``count`` words, for somebody who makes them; the counter
        moves on.
        """
        part = _rows.get()
        if part is not None:
            start, stop, of = part
            raise RuntimeError(
                f"a draw for rows {start} to {stop} of a batch of {of} that would not be that of the whole batch: only "
                "dropout, bernoulli, uniform and integers draw by rows; draw it before, where the batch is made"
            )
        return self._take(count)

    def take_share(self, shape: tuple[int, ...], each: int) -> tuple[tuple[int, int], int, int]:
        """``(key, counter, skip)`` of what an array of ``shape`` gets, ``each`` elements of a word;
        the counter moves on.

        ``skip``: elements of the first block, of four words, that are another's. Inside of `rows`
        the shape is a part's, and the counter moves on by the whole.
        """
        count = math.prod(shape)
        part = _rows.get()
        if part is None:
            return *self._take(-(-count // each)), 0
        start, stop, of = part
        if not shape or shape[0] != stop - start:
            raise RuntimeError(
                f"a draw (dropout, say) for an array {shape}, on rows {start} to {stop} of a batch of {of}: its first axis "
                f"must be these {stop - start} rows, so that they get what they get in the whole batch"
            )
        row = math.prod(shape[1:])
        key, counter = self._take(-(-of * row // each))
        blocks, skip = divmod(start * row, 4 * each)
        return key, (counter + blocks) % (1 << 64), skip

    def _take(self, count):
        with _drawing:
            for noted in _noted.get():
                noted.setdefault(id(self), (self, (self.seed, self.stream, self.counter), _rows.get()))
            key, counter = (self.seed, self.stream), self.counter
            self.counter = (counter + -(-count // 4)) % (1 << 64)
        return key, counter

    def advance(self, blocks: int) -> int:
        """Move on by so many blocks of words, which somebody else makes; returns where it was."""
        with _drawing:
            counter = self.counter
            self.counter = (counter + blocks) % (1 << 64)
        return counter

    def halves(self, shape: Shape, device: str | None = None) -> Any:
        """Raw uint16 array of ``shape``, uniform over all 65 536 values: four to a word, plenty for
        a dropout mask.
        """
        return self.share(_shape("halves", shape), 4, device)

    def share(self, shape: tuple[int, ...], each: int, device: str | None = None) -> Any:
        """The bits of an array of ``shape``, ``each`` elements of a word: raw, uint16 for 4, uint64
        for 1. Inside of `rows` those of a part.
        """
        return bits_of(self.take_share(shape, each), shape, each, device)

    def uniform(
        self,
        shape: Shape = (),
        low: SupportsFloat = 0.0,
        high: SupportsFloat = 1.0,
        dtype: DTypeLike = np.float32,
        device: str | None = None,
    ) -> Tensor:
        """Uniform on ``[low, high)``: as many random bits a number as its mantissa holds, 24 in
        float32 and 53 in float64.
        """
        shape, dtype = _shape("uniform", shape), _floating("uniform", dtype)
        low, high = number("uniform", "low", low), number("uniform", "high", high)
        wide = compute_dtype(dtype).type
        with np.errstate(over="ignore"):
            ends = np.array([low, high, high - low]).astype(dtype).astype(wide)
        if high < low or not np.isfinite(ends).all():
            raise ValueError(f"uniform: there is no range of {dtype} from {low} up to {high}")
        words, bits = self.share(shape, 1, device).reshape(-1), precision(dtype)
        last = np.nextafter(dtype.type(high), dtype.type(low))  # the sum may have been rounded up to ``high``
        with on(device):
            values = (words >> np.uint64(64 - bits)).astype(wide) * wide(2.0**-bits) * wide(high - low) + wide(low)
            return Tensor(namespace(device).minimum(values.astype(dtype), last).reshape(shape))

    def normal(
        self,
        shape: Shape = (),
        mean: SupportsFloat = 0.0,
        std: SupportsFloat = 1.0,
        dtype: DTypeLike = np.float32,
        device: str | None = None,
    ) -> Tensor:
        """Normal with the given mean and standard deviation, by Box and Muller's transform (1958)
        on the host.
        """
        shape, dtype = _shape("normal", shape), _floating("normal", dtype)
        mean, std = number("normal", "mean", mean), number("normal", "std", std, least=0)
        device, count = as_device(device), math.prod(shape)
        words = self.words(2 * -(-count // 2))
        unit = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
        radius, angle = np.sqrt(-2.0 * np.log(unit[0::2])), 2.0 * math.pi * unit[1::2]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        return Tensor(move((values * std + mean).astype(dtype).reshape(shape), device))

    def integers(
        self,
        low: SupportsIndex,
        high: SupportsIndex | None = None,
        shape: Shape = (),
        dtype: DTypeLike = np.int64,
        device: str | None = None,
    ) -> Tensor:
        """Integers from ``low`` up to, not including, ``high`` (from 0 up to ``low`` if only one
        bound is given).
        """
        shape, dtype = _shape("integers", shape), as_dtype(dtype)
        if dtype.kind not in "iu":
            raise TypeError(f"integers draws integers, not {dtype}; mt.random.uniform and normal draw floating numbers")
        low, high = (0, low) if high is None else (low, high)
        low, high = integer("integers", "low", low), integer("integers", "high", high)
        if high <= low:
            raise ValueError(f"integers: the range from {low} up to {high} is empty")
        if low < np.iinfo(dtype).min or high - 1 > np.iinfo(dtype).max:
            raise ValueError(f"integers: the range from {low} up to {high} does not fit {dtype}")
        words = self.share(shape, 1, device).reshape(-1)
        with on(device):
            if high - low < 1 << 64:
                words = words % np.uint64(high - low)
            # Counted from low upwards, in the arithmetic of 64 bits that wraps: the sum fits the
            # type even if a part of it does not.
            return Tensor((words + np.uint64(low % (1 << 64))).astype(dtype).reshape(shape))

    def permutation(self, n: TensorLike, device: str | None = None) -> Tensor:
        """The numbers 0 to n - 1 in random order; or the rows of ``n``, a tensor, array or list, in
        random order: a new tensor.

        The rows of a tensor that requires a gradient carry it.
        """
        if isinstance(n, (Tensor, list, tuple, range)) or is_array(n):
            rows = asarray(n) if device is None else asarray(n, device=device)
            if rows.ndim:
                return rows[self.permutation(rows.shape[0], rows.device)]
        count, device = integer("permutation", "n", n, least=0), as_device(device)
        return Tensor(move(np.argsort(self.words(count), kind="stable"), device))

    def bernoulli(self, p: SupportsFloat, shape: Shape = (), device: str | None = None) -> Tensor:
        """Truth values, each true with probability ``p`` (to 1 part in 65 536)."""
        p, shape = probability("bernoulli", "p", p), _shape("bernoulli", shape)
        xp = namespace(device)
        if p == 1:
            return Tensor(xp.ones(shape, dtype=bool))
        return Tensor(xp.less(self.halves(shape, device).reshape(-1), round(p * 65536)).reshape(shape))


@timed("random numbers")
def bits_of(place, shape, each, device):
    """The bits of an array whose ``place`` in the words is what ``take_share`` returned."""
    key, counter, skip = place
    stop = skip + math.prod(shape)
    words = namespace(device).random_bits(key, counter, -(-stop // each))
    return words.view(np.uint16 if each == 4 else np.uint64)[skip:stop].reshape(shape)


def _shape(draw, shape) -> tuple[int, ...]:
    """A shape as a tuple of plain ints; one length stands for one axis."""
    return sizes(draw, "shape", shape, least=0)


def _floating(draw, dtype) -> np.dtype[Any]:
    found = as_dtype(dtype)
    if not is_floating(found):
        raise TypeError(f"{draw} draws floating numbers, not {found}; mt.random.integers draws integers")
    return found


default = Generator()


def generator_of(owner: str, generator: Generator | None) -> Generator:
    """``generator``, or the default one for None; TypeError for anything else."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"{owner}: generator must be a mt.random.Generator, got {type(generator).__name__}")
    return generator or default


def seed(value: SupportsIndex) -> None:
    """Start the default generator anew: everything random in the library follows from
    this number.
    """
    default.state = (value, 0, 0)


def uniform(
    shape: Shape = (),
    low: SupportsFloat = 0.0,
    high: SupportsFloat = 1.0,
    dtype: DTypeLike = np.float32,
    device: str | None = None,
) -> Tensor:
    """Uniform on ``[low, high)`` from the default generator."""
    return default.uniform(shape, low, high, dtype, device)


def normal(
    shape: Shape = (),
    mean: SupportsFloat = 0.0,
    std: SupportsFloat = 1.0,
    dtype: DTypeLike = np.float32,
    device: str | None = None,
) -> Tensor:
    """Normal numbers from the default generator."""
    return default.normal(shape, mean, std, dtype, device)


def integers(
    low: SupportsIndex,
    high: SupportsIndex | None = None,
    shape: Shape = (),
    dtype: DTypeLike = np.int64,
    device: str | None = None,
) -> Tensor:
    """Integers from ``low`` up to, not including, ``high`` from the default generator."""
    return default.integers(low, high, shape, dtype, device)


def permutation(n: TensorLike, device: str | None = None) -> Tensor:
    """The numbers 0 to n - 1, or the rows of the tensor, array or list ``n``, in random order, from
    the default generator.
    """
    return default.permutation(n, device)


def bernoulli(p: SupportsFloat, shape: Shape = (), device: str | None = None) -> Tensor:
    """Truth values, true with probability ``p``, from the default generator."""
    return default.bernoulli(p, shape, device)
