"""What importing the package costs and needs, and examples in docstrings that pytest does not look
for.
"""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BLOCKED = """
import importlib.abc, sys

class OnlyNumPy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | {"numpy", "minitensor"}:
            raise ImportError(f"{top} is not installed")

sys.meta_path.insert(0, OnlyNumPy())
import minitensor as mt
from minitensor.models import bert, gpt, marian, recurrent, seq2seq, t5, transformer, vit
assert "cupy" not in sys.modules
"""


def python(code):
    """Output of a new interpreter that runs ``code``."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_plain_pytest_leaves_out_is_there(request):
    """A name of ``UPKEEP`` that is no file would leave out nothing, without a word."""
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert all((ROOT / "tests" / name).exists() for name in conftest.UPKEEP)
    assert Path(__file__).name in conftest.UPKEEP and request.node.get_closest_marker("upkeep")


def test_import_needs_numpy_alone():
    python(BLOCKED)


def test_import_takes_less_than_300_ms():
    """Processor time without that of NumPy, which is none of ours; one of several will do, since
    the machine does other things too. Where NumPy's takes long the machine is slow: ours takes as
    long as that.
    """
    code = (
        "import time; start = time.thread_time(); import numpy; middle = time.thread_time(); import minitensor;"
        " print(middle - start, time.thread_time() - middle)"
    )
    taken = [tuple(map(float, python(code).split())) for _ in range(7)]
    assert any(ours < max(0.15, 1.5 * its) for its, ours in taken), taken


def test_files_are_written_and_read_with_numpy_alone(tmp_path):
    path = str(tmp_path / "x.safetensors")
    assert python(BLOCKED + f"mt.save({path!r}, [mt.ones(2)])\nprint(mt.load({path!r}))") == "[tensor([1., 1.])]\n"


@pytest.mark.parametrize("package", ["minitensor.models", "toolkit", "claims"])
def test_examples_in_docstrings_hold_where_pytest_does_not_look(package):
    """It would import the models under another name."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for test in finder.find(importlib.import_module(info.name), extraglobs={"sys": sys}):
            if test.examples:  # a run, even of none, asks anew for each file that has been read if it has changed
                assert not runner.run(test).failed, test.name
    assert runner.tries > 3
