"""The random streams that tests share: each test, and each fixture of a wider scope, draws from
them as if it were the first.

Shared are the NumPy generators that a test module makes at its top, minitensor's default
generator, and the global ones of Python, NumPy and PyTorch. Without this the numbers that a test
draws would be those that the tests before it in its process have left.
"""

import functools
import random
import sys
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent

_of_modules = []  # (NumPy generator of a test module, its state when the imports were done)


def find():
    """Once the test modules are imported: note their generators, and where these are now."""
    numpy = sys.modules.get("numpy")
    files = {name: Path(getattr(module, "__file__", None) or "/") for name, module in sys.modules.items()}
    ours = [sys.modules[name] for name, file in files.items() if HERE in file.parents]
    found = {id(value): value for module in ours for value in vars(module).values()}
    found = [value for value in found.values() if numpy and isinstance(value, numpy.random.Generator)]
    _of_modules[:] = [(generator, generator.bit_generator.state) for generator in found]


@functools.cache  # it is asked before each of thousands of tests
def _start(library):
    """Where the global stream of a library starts."""
    if library == "random":
        return random.Random(0).getstate()
    if library == "numpy":
        return sys.modules["numpy"].random.RandomState(0).get_state()  # noqa: NPY002
    return sys.modules["torch"].Generator().manual_seed(0).get_state()


def _streams():
    """``(read, write, start)`` of each stream; of a library only if something has imported it."""
    for generator, start in _of_modules:
        own = generator.bit_generator
        yield functools.partial(getattr, own, "state"), functools.partial(setattr, own, "state"), start
    yield random.getstate, random.setstate, _start("random")
    if numpy := sys.modules.get("numpy"):
        yield numpy.random.get_state, numpy.random.set_state, _start("numpy")  # noqa: NPY002
    if ours := sys.modules.get("minitensor.random"):
        default = ours.default
        yield functools.partial(getattr, default, "state"), functools.partial(setattr, default, "state"), (0, 0, 0)
    if torch := sys.modules.get("torch"):
        yield torch.get_rng_state, torch.set_rng_state, _start("torch")


def restart():
    """Set every stream to its start."""
    for _, write, start in _streams():
        write(start)


@contextmanager
def apart():
    """Inside, all streams from their starts; after it they go on where they were: for what one test
    makes and others use.
    """
    before = [(write, read()) for read, write, _ in _streams()]
    restart()
    try:
        yield
    finally:
        restart()  # of a library that was imported inside
        for write, state in before:
            write(state)


def made_once(make):
    """Like ``functools.cache``; what is made is the same in whichever test it is made."""

    @functools.cache
    def made(*args):
        with apart():
            return make(*args)

    return functools.wraps(make)(made)
