"""The pytest plugin: what it gathers, prints and writes, with and without workers, and that it is
asleep where nobody asks for it.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import pytest_minitensor

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


FIXTURES = """
    import numpy as np
    import pytest
    import minitensor as mt
    from minitensor.testing import gradcheck

    wrong = mt.op(lambda xp, x: x * x, name="wrong")
    wrong.vjp(lambda g, x: 3.0 * g * x)
    ONE = [np.array([1.0])]

    @pytest.fixture
    def checked(gradients):
        gradients.gradcheck(mt.exp, ONE, name="in setup")
        yield
        gradients.gradcheck(mt.exp, ONE, name="in teardown")

    @pytest.fixture
    def failing(gradients):
        gradients.gradcheck(wrong, ONE, name="wrong in setup")

    def test_fixture(checked):
        pass

    def test_failing(failing):
        pass

    @pytest.mark.gradients
    def test_caught():
        with pytest.raises(AssertionError):
            gradcheck(wrong, ONE, name="caught")

    @pytest.mark.xfail
    def test_expected(gradients):
        gradients.gradcheck(wrong, ONE, name="expected")
"""

BY_NAME = """
    def test_by_name(request):
        import numpy as np
        import minitensor as mt

        request.getfixturevalue("gradients").gradcheck(mt.exp, [np.array([1.0])])
"""


def test_checks_of_fixtures_and_checks_that_are_to_fail(run, pytester):
    result = run("--gradients-report", "page.html", tests=FIXTURES)
    result.assert_outcomes(passed=2, errors=1, xfailed=1)
    result.stdout.fnmatch_lines_random([
        "in setup * passed *::test_fixture", "in teardown * passed *::test_fixture", "wrong in setup * failed *::test_failing",
        "caught * failed as expected *::test_caught", "expected * failed as expected *::test_expected",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("no gradient check ran *")
    page = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert "5 checks, 1 failed, 2 as expected" in page and page.count("<tr class=failed>") == 1
    # The whole message: the input, and what reproduces it.
    assert "<pre>wrong in setup: the gradient of" in page and "input 0 (x) = np.array([1.]" in page
    assert page.count("To see it again, paste:") == 3


def test_a_fixture_that_is_asked_for_by_name_gathers(run, pytester):
    result = run("--gradients-report", "a.json", tests=BY_NAME)
    result.stdout.fnmatch_lines(["exp * passed *::test_by_name", "gradient checks: 1 written to a.json"])
    result = run("--gradients-report", "a.json", "-k", "nothing", tests=BY_NAME)
    result.stdout.fnmatch_lines(["gradient checks: no test ran, a.json is not written"])
    run("--gradients-report", "a.json", "--collect-only", tests=BY_NAME)
    assert len(json.loads((pytester.path / "a.json").read_text(encoding="utf-8"))["checks"]) == 1


def test_a_report_that_cannot_be_written_any_more_fails_the_run(tmp_path):
    (tmp_path / "gone").write_text("", encoding="utf-8")  # the folder has become a file
    option = SimpleNamespace(
        gradients_report=str(tmp_path / "gone" / "a.json"), gradients_profile="ci", gradients_seed=0, collectonly=False
    )
    gathered = pytest_minitensor.Gathered(SimpleNamespace(option=option))
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    gathered.ran = True
    gathered.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.INTERNAL_ERROR and "cannot be written: " in gathered.told


def test_odd_options_are_told_before_the_tests(run, pytester):
    (pytester.path / "folder.json").mkdir()
    for arguments, words in (
        (["--gradients-report", "folder.json"], "*folder.json: it cannot be written: Is a directory"),
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
