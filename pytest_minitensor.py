"""The door of the pytest plugin of ``minitensor.testing``: options, a marker and a fixture, and
little else.

pytest loads this file in every session of an environment where minitensor is installed, so it
imports neither minitensor nor NumPy: the plugin itself, ``minitensor.testing.plugin``, comes when a
test has the marker or the fixture. How it is used: docs/howto/pytest-plugin.md.
"""

import pytest

NAME = "minitensor-gradients"  # under which the plugin itself is registered
EXAMPLES = {"ci": 25, "thorough": 200}


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
    if options.gradients_seed is None:
        from random import SystemRandom

        # Workers of xdist get the options of the first process, and with them its seed.
        options.gradients_seed = 0 if options.gradients_profile == "ci" else SystemRandom().randrange(2**32)
    if options.gradients_seed < 0:
        raise pytest.UsageError(f"--gradients-seed {options.gradients_seed}: a seed is 0 or more")
    if not hasattr(config, "workerinput"):  # else the first process gathers
        config.pluginmanager.register(Gathered(config), f"{NAME}-gathered")


class Gathered:
    """The checks of a run, as plain data: those of tests in other processes come with their
    reports.
    """

    def __init__(self, config):
        self.config, self.checks, self.without = config, [], []

    def pytest_runtest_logreport(self, report):
        """Take the checks that the report of a test brings, or that it asked for some and passed
        without any.
        """
        if getattr(report, "gradients", None) == [] and report.passed:
            self.without.append(report.nodeid)
        self.checks += [{**check, "test": report.nodeid} for check in getattr(report, "gradients", ())]

    def pytest_terminal_summary(self, terminalreporter):
        """The table, and the file if one was asked for."""
        if self.checks or self.without or self.config.option.gradients_report:
            from minitensor.testing import plugin

            plugin.summary(terminalreporter, self.config.option, self.checks, self.without)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Load the plugin if a test asks for it."""
    asked = any(
        item.get_closest_marker("gradients") or "gradients" in getattr(item, "fixturenames", ()) for item in items
    )
    if asked and not config.pluginmanager.has_plugin(NAME):
        from minitensor.testing import plugin

        config.pluginmanager.register(plugin.Collecting(), NAME)


@pytest.fixture
def gradients(request):
    """``check_op``, ``gradcheck`` and ``gradgradcheck`` with the seed and the number of inputs of
    this run.
    """
    from minitensor.testing import plugin

    options = request.config.option
    return plugin.Checks(EXAMPLES[options.gradients_profile], options.gradients_seed)
