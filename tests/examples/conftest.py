"""Pictures that no test looks at are drawn coarsely: their layout and pixels took a tenth of the
time of the tests of programs.
"""

import pytest
from toolkit import plots

FINE = plots.DPI, plots.LAYOUT


@pytest.fixture(scope="session", autouse=True)
def coarse_pictures():
    """All pictures of this process."""
    plots.DPI, plots.LAYOUT = 30, None
    yield
    plots.DPI, plots.LAYOUT = FINE


@pytest.fixture
def fine_pictures(monkeypatch):
    """Those of one test are as people get them."""
    for name, value in zip(("DPI", "LAYOUT"), FINE, strict=True):
        monkeypatch.setattr(plots, name, value)
