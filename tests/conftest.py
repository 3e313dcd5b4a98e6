"""Settings of the whole suite: hypothesis profiles, random streams that start anew for each test,
and what to skip without a GPU or without PyTorch.
"""

import functools
import gc
import importlib.util
import os
import sys
from pathlib import Path

# Bytecode is kept, even where it would not be: else this process compiles the tests anew in every
# run, and each of the hundreds of programs that they start the library. Before the imports below.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test pulls the plug: what is written need not have reached the disk before the next begins.
os.fsync = lambda descriptor: None

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import streams  # noqa: E402

# One thread for each of the test processes; nothing above loads NumPy, which reads this once.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Examples of a test that names no number of its own.
EXAMPLES = 100 if os.environ.get("MINITENSOR_THOROUGH") else 40
hypothesis.settings.register_profile("local", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=EXAMPLES, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def _missing_gpu():
    """Why there is no usable GPU, or None if there is one."""
    try:
        from minitensor.backend import as_device

        as_device("cuda")
    except Exception as error:  # whatever the reason is, it is what the skip shows
        return str(error).splitlines()[0]
    return None


def _missing_torch():
    """Why there is no PyTorch, or None if there is one."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        return f"PyTorch is not installed: {error}"
    return None


def _missing_mpi():
    """Why no processes can be started over MPI, or None if they can."""
    if importlib.util.find_spec("mpi4py") is None:
        return 'mpi4py is not installed: pip install "minitensor-autograd[mpi]"'
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What collection makes lives to the end: the garbage collector need not look through it again
    and again, nor gc.get_objects() list it. Tests that ask what is alive make it themselves.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
        streams.find()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Look for examples in the docstrings of those test modules alone that have any: in hundreds of
    modules the search takes seconds, in each of the processes.
    """
    found = yield
    if file_path.suffix != ".py" or ">>>" in file_path.read_text(encoding="utf-8"):
        return found
    return [collector for collector in found if type(collector).__name__ != "DoctestModule"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """A test draws the same numbers whatever ran before it in its process."""
    streams.restart()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """So does a fixture that several tests share, whichever of them comes first; and that one draws
    what it would draw if it came later.
    """
    if fixturedef.scope == "function":
        return (yield)
    with streams.apart():
        return (yield)


def _is_uncompiled(item):
    """Whether all that a test computes is of a row of the table of ops without a compiled kernel,
    or on the emulated GPU.
    """
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return given.get("device") == "cuda" or not getattr(given.get("row"), "compiled", True)


# Folders and files of tests/ that are marked `upkeep`: what those need who change the repository,
# such as that pages and lessons print what they say, that claims hold and that the embedded corpus
# keeps its rules, and the GPU's path, on simulated devices.
UPKEEP = (
    "backend/test_attention_tiles.py", "backend/test_cuda_sums.py", "backend/test_devices.py",
    "backend/test_fake_device.py", "backend/test_fake_gradients.py", "backend/test_fake_graphs.py",
    "backend/test_fake_models.py", "backend/test_fake_profile.py", "backend/test_fake_recurrent.py",
    "backend/test_fake_trace.py", "backend/test_gemm.py", "backend/test_kernels.py", "backend/test_sixteen.py",
    "backend/test_two_gpus.py", "benchmarks", "examples/test_claim_context.py", "examples/test_claim_embeddings.py",
    "examples/test_claim_explanation.py", "examples/test_claim_gates.py", "examples/test_claim_heads.py",
    "examples/test_claim_parallelism.py", "examples/test_claim_scale.py", "examples/test_claims.py",
    "examples/test_english_french.py", "examples/test_trainer_gpu.py", "lessons", "test_docs.py", "test_imports.py",
    "test_install.py", "test_mutants.py", "test_mutations.py", "test_package.py", "test_portable.py", "test_strata.py",
)  # fmt: skip
TESTS = Path(__file__).parent


@functools.cache  # a file has many tests
def _is_upkeep(path):
    return any(path.is_relative_to(TESTS / name) for name in UPKEEP)


def _is_plain(config):
    """Whether all tests are asked for: neither a path nor ``-m`` is given, or as in pyproject.toml,
    nor ``-k`` nor ``--lf``.
    """
    asked, chosen = config.option, config.option.keyword or getattr(config.option, "lf", False)
    return not chosen and config.args == config.getini("testpaths") and asked.markexpr == "not slow and not browser"


def pytest_collection_modifyitems(config, items):
    """Mark what no compiled kernel computes, and the upkeep, which plain ``pytest`` leaves out;
    skip, with the reason, what this machine cannot run.
    """
    for item in filter(_is_uncompiled, items):
        item.add_marker("uncompiled")
    upkeep = [item for item in items if _is_upkeep(item.path)]
    for item in upkeep:
        item.add_marker("upkeep")
    if _is_plain(config):
        items[:] = [item for item in items if not _is_upkeep(item.path)]
        config.hook.pytest_deselected(items=upkeep)
    for marker, reason_of in (("gpu", _missing_gpu), ("torch", _missing_torch), ("mpi", _missing_mpi)):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = reason_of() if marked else None
        if reason:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
