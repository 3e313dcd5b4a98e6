"""The shell that all pages share, in a browser; and that the checks of ``browser.py`` find what
they are for.
"""

import numpy as np
import pytest
from browser import LOOKS

import minitensor as mt
from minitensor.pages import document, packed

pytestmark = pytest.mark.browser

BODY = '<main><h1>A page</h1><p class="soft">soft text</p><div id="here"></div></main>'
SCRIPT = """
const {values, shape} = unpack(DATA);
document.getElementById("here").append(heat(values, ...shape, {label: "numbers"}), make("button", {}, shown(values[0])));
"""


@pytest.fixture
def shell():
    return document("A page", BODY, script=SCRIPT, data=packed(np.linspace(-1, 1, 12).reshape(3, 4)))


@pytest.mark.parametrize("width, scheme", LOOKS)
def test_the_shell_is_quiet_fits_and_is_accessible(show, shell, width, scheme):
    shown = show(shell, width=width, scheme=scheme)
    assert shown.page.inner_text("button") == "-1"
    shown.check_fits()
    shown.check_accessible()


def test_what_is_wrong_is_found(show):
    bad = document("t", '<main><h1 style="color:#eee;width:2000px">x</h1><img src="http://127.0.0.1:9/a.png"></main>')
    shown = show(bad)
    with pytest.raises(AssertionError, match="image-alt"):
        shown.check_accessible()
    with pytest.raises(AssertionError, match="wide in a window"):
        shown.check_fits()
    with pytest.raises(AssertionError, match=r"a\.png"):
        shown.check_quiet()
    shown.said.clear()
    shown.requested.clear()
    broken = show(document("t", "<main><h1>x</h1></main>", script="nowhere.x;"))
    with pytest.raises(AssertionError, match="nowhere"):
        broken.check_quiet()
    broken.failed.clear()


@pytest.mark.parametrize("width, scheme", LOOKS)
def test_the_page_of_a_profile_fits_and_is_accessible(show, tmp_path, width, scheme):
    x = mt.ones((4, 4), requires_grad=True)
    with mt.profile() as p:
        (mt.tanh(x @ x) * x).sum().backward()
    p.save(tmp_path / "profile.html")
    shown = show(tmp_path / "profile.html", width=width, scheme=scheme)
    shown.check_fits()
    shown.check_accessible()
    assert shown.page.locator("table tbody tr").count() == len(p.rows)
