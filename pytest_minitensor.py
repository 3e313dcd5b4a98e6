"""The door of the pytest plugin of ``minitensor.testing``: options, a marker and a fixture, and
little else.

pytest loads this file in every session of an environment where minitensor is installed, so it
imports neither minitensor nor NumPy: the plugin itself, ``minitensor.testing.plugin``, comes when a
test has the marker or the fixture. How it is used: docs/howto/pytest-plugin.md.
"""

from contextlib import suppress
from pathlib import Path

import pytest

NAME = "minitensor-gradients"  # under which the plugin itself is registered
EXAMPLES = {"ci": 25, "thorough": 200}
EXPECTED = "failed as expected"  # a check that failed in a test that passed, or was to fail


def pytest_addoption(parser):
    """The options, all of which begin with ``--gradients``."""
    group = parser.getgroup("gradients", "gradient checks (minitensor)")
    group.addoption(
        "--gradients-profile", choices=sorted(EXAMPLES), default="ci",
        help="ci (default): 25 inputs a check, the same in every run; thorough: 200, others in every run",
    )  # fmt: skip
    group.addoption("--gradients-seed", type=int, metavar="N", help="seed of the inputs: repeats a run of that seed")
    group.addoption("--gradients-report", metavar="FILE", help="write all checks to FILE: .json, or .html for a page")


def pytest_configure(config):
    """The marker; a report that could not be written is told before the tests, not after them."""
    config.addinivalue_line("markers", "gradients: its gradient checks are listed at the end of the run (minitensor)")
    options = config.option
    if options.gradients_report and not options.gradients_report.endswith((".json", ".html")):
        raise pytest.UsageError(
            f"--gradients-report {options.gradients_report}: write a name that ends in .json or .html"
        )
    if options.gradients_report and not hasattr(config, "workerinput"):
        _try_to_write(options.gradients_report)
    if options.gradients_seed is None:
        from random import SystemRandom

        # Workers of xdist get the options of the first process, and with them its seed.
        options.gradients_seed = 0 if options.gradients_profile == "ci" else SystemRandom().randrange(2**32)
    if options.gradients_seed < 0:
        raise pytest.UsageError(f"--gradients-seed {options.gradients_seed}: a seed is 0 or more")
    if not hasattr(config, "workerinput"):  # else the first process gathers
        config.pluginmanager.register(Gathered(config), f"{NAME}-gathered")


def asks(item):
    """Whether a test has the marker or the fixture, as far as its definition says."""
    return bool(item.get_closest_marker("gradients")) or "gradients" in getattr(item, "fixturenames", ())


def _try_to_write(name):
    """A usage error if there can be no such file; one that is there stays as it is."""
    path = Path(name)
    new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise pytest.UsageError(f"--gradients-report {name}: it cannot be written: {error.strerror}") from None
    if new:
        with suppress(OSError):
            path.unlink()


class Gathered:
    """The checks of a run, as plain data: those of tests in other processes come with their
    reports.
    """

    def __init__(self, config):
        self.config, self.checks, self.without = config, [], []
        self.bare, self.busy = set(), set()  # tests that asked for checks and passed; those that made some
        self.ran, self.told, self.problem = False, "", False

    def pytest_runtest_logreport(self, report):
        """Take the checks that the report of a part of a test brings."""
        self.ran = True
        found = getattr(report, "gradients", None)
        if found is None:
            return
        right = report.passed or hasattr(report, "wasxfail")
        for check in found:
            outcome = EXPECTED if right and check["outcome"] == "failed" else check["outcome"]
            self.checks.append({**check, "outcome": outcome, "test": report.nodeid})
        if found:
            self.busy.add(report.nodeid)
        if report.when == "call" and report.passed:
            self.bare.add(report.nodeid)
        if report.when == "teardown" and report.nodeid in self.bare - self.busy:
            self.without.append(report.nodeid)

    def pytest_sessionfinish(self, session):
        """Write the file if one was asked for, before the end of the run is printed."""
        name = self.config.option.gradients_report
        if not name or self.config.option.collectonly:
            return
        if not self.ran:
            self.told = f"gradient checks: no test ran, {name} is not written"
            return
        from minitensor.testing import plugin

        try:
            self.told = plugin.written(self.config.option, self.checks)
        except OSError as error:
            self.told, self.problem = f"gradient checks: {name} cannot be written: {error.strerror}", True
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter):
        """The table, and what became of the file."""
        if self.checks or self.without:
            from minitensor.testing import plugin

            plugin.summary(terminalreporter, self.config.option, self.checks, self.without)
        if self.told:
            terminalreporter.line(self.told, red=self.problem)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Load the plugin if a test asks for it."""
    if any(map(asks, items)) and not config.pluginmanager.has_plugin(NAME):
        from minitensor.testing import plugin

        config.pluginmanager.register(plugin.Collecting(), NAME)


@pytest.fixture
def gradients(request):
    """``check_op``, ``gradcheck`` and ``gradgradcheck`` with the seed and the number of inputs of
    this run.
    """
    from minitensor.testing import plugin

    with plugin.opened(request) as checks:
        yield checks
