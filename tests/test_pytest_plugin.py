"""The pytest plugin: what it gathers, prints and writes, with and without workers, and that it is
asleep where nobody asks for it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parent.parent

TESTS = """
    import numpy as np
    import pytest
    import minitensor as mt
    from minitensor.testing import check_op, gradcheck, gradgradcheck, strategies as st

    @pytest.mark.gradients
    def test_marked():
        check_op(mt.tanh, [np.array([0.3, 1.0])])
        gradgradcheck(mt.exp, [np.ones(2)], name="exp, twice")

    def test_drawn(gradients):
        gradients.check_op(mt.abs, [st.tensors(shape=(2,))], examples=3)

    def test_not_marked():
        gradcheck(mt.sin, [np.ones(2)])

    @pytest.mark.gradients
    def test_bare():
        pass

    @pytest.mark.gradients
    def test_wrong():
        wrong = mt.op(lambda xp, x: x * x, name="wrong")
        wrong.vjp(lambda g, x: 3.0 * g * x)
        gradcheck(wrong, [np.array([1.0, 2.0])])
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on ``TESTS`` in another process, with these arguments."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def started(*arguments, tests=TESTS):
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess("-p", "pytest_minitensor", "-p", "no:cacheprovider", *arguments)

    return started


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "workers"])
def test_the_table_and_the_report(run, pytester, workers):
    result = run("--gradients-report", "made/checks.json", "--gradients-seed", "7", *workers)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines_random([
        "*gradient checks: profile ci, seed 7*", "op * check * checked * kinks * worst error * outcome * test",
        "tanh * check_op * 3 * 0 * passed * test_the_table_and_the_report.py::test_marked",
        "exp, twice * gradgradcheck * passed *", "abs * check_op * passed * test_the_table_and_the_report.py::test_drawn",
        "wrong * gradcheck * failed * test_the_table_and_the_report.py::test_wrong",
        "no gradient check ran in *::test_bare, which passed *",
        "*--gradients-profile ci --gradients-seed 7", "gradient checks: 4 written to *checks.json",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("sin *")
    report = json.loads((pytester.path / "made" / "checks.json").read_text(encoding="utf-8"))
    assert (report["profile"], report["seed"]) == ("ci", 7)
    checks = {check["op"]: check for check in report["checks"]}
    assert set(checks) == {"tanh", "exp, twice", "abs", "wrong"}
    assert checks["abs"]["seed"] == 7 and checks["tanh"]["checked"] == 3 and checks["tanh"]["seconds"] > 0
    assert "by its rule but" in checks["wrong"]["message"] and checks["wrong"]["outcome"] == "failed"
    assert all(checks["tanh"].keys() <= check.keys() for check in checks.values())
    assert checks["wrong"]["checked"] is None


def test_the_page_and_a_random_seed(run, pytester):
    result = run("--gradients-report", "checks.html", "--gradients-profile", "thorough", "-k", "wrong or drawn")
    page = (pytester.path / "checks.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "2 checks, 1 failed; profile thorough, seed" in page
    assert "<td>abs</td><td>check_op</td>" in page and "by its rule but" in page
    (said,) = [line for line in result.outlines if line.startswith("the same inputs again")]
    assert int(said.rpartition(" ")[2]) > 0


def test_odd_options_are_told_before_the_tests(run):
    for arguments, words in (
        (["--gradients-report", "checks.txt"], "*checks.txt: write a name that ends in .json or .html"),
        (["--gradients-seed", "-1"], "*--gradients-seed -1: a seed is 0 or more"),
    ):
        result = run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([words])


ASLEEP = """
    import sys

    def test_nothing_was_loaded():
        assert "minitensor" not in sys.modules and "numpy" not in sys.modules
"""


def test_it_loads_nothing_and_says_nothing_where_nobody_asks(run):
    result = run(tests=ASLEEP)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*gradient checks*")


def test_the_door_imports_pytest_alone():
    code = "import sys, pytest; before = set(sys.modules); import pytest_minitensor; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["pytest_minitensor"]


def test_a_check_is_gathered_once_and_by_those_who_ask():
    import numpy as np

    import minitensor as mt
    from minitensor.testing import gradcheck
    from minitensor.testing.collected import collecting

    with collecting([]) as outer:
        gradcheck(mt.sin, [np.ones(2)], seed=3)
        with collecting([]) as inner, pytest.raises(AssertionError):
            gradcheck(mt.sin, [[1.0, 2.0]])
    gradcheck(mt.sin, [np.ones(2)])
    assert [(e["op"], e["seed"], e["outcome"]) for e in (*outer, *inner)] == [
        ("sin", 3, "passed"),
        ("sin", 0, "failed"),
    ]
