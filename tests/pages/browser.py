"""A page as a reader's browser shows it: headless Chromium, driven by playwright, without network.

Tests of pages that stand alone carry ``@pytest.mark.browser`` and take the fixture ``show`` of
``conftest.py``; ``pytest -m browser`` runs them.
"""

import os
import shutil
from pathlib import Path

WIDTHS = (375, 1280)  # a phone, a desk
# What a narrow window shows that a wide one does not, has to do with room, not with colours.
LOOKS = [(min(WIDTHS), "light"), (max(WIDTHS), "light"), (max(WIDTHS), "dark")]
CONTRAST = "color-contrast"  # the rule of axe that is most of its work
OWN = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)  # of the machine, if playwright has none


def missing():
    """Why no page can be shown here, or None if one can."""
    try:
        from axe_playwright_python.sync_playwright import Axe  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        return f"playwright or axe is not installed: {error}"
    try:
        with sync_playwright() as playwright:
            launch(playwright).close()
    except Exception as error:  # whatever the reason is, it is what the skip shows
        return f"Chromium does not start: {str(error).splitlines()[0]}"
    return None


def launch(playwright):
    """Chromium: playwright's own, or that of the machine."""
    if os.path.exists(playwright.chromium.executable_path):
        return playwright.chromium.launch(channel="chromium")
    return playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, OWN)), None))


class Shown:
    """A page in a window of a width, light or dark. It keeps what the console said, what failed
    and what was asked of any network.
    """

    def __init__(self, browser, path, width=1280, height=900, scheme="light", motion="reduce"):
        self.look = width, scheme
        self.url = Path(path).resolve().as_uri()
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion=motion, offline=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(5000)
        self.said, self.failed, self.requested = [], [], []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.failed.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(self.url)

    def check_quiet(self):
        """Nothing in the console, no error, no request but for the file itself."""
        assert not self.said and not self.failed, self.said + self.failed
        strange = [url for url in self.requested if url != self.url and not url.startswith("data:")]
        assert not strange, strange

    def check_fits(self):
        """The page itself does not scroll sideways."""
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= room, f"the page is {wide} wide in a window of {room}"

    def check_accessible(self, in_all_looks=False, contrast=True):
        """axe-core finds nothing: contrast, names, roles, order of headings, landmarks.

        in_all_looks: the page is shown in each of ``LOOKS``, of which a narrow one is not asked for
        contrast, since no style sheet shows more, or another colour, there
        (``tests/test_pages.py``), and a dark one for nothing else, since all else is as in a light
        one. contrast: whether it is asked for anywhere.
        """
        from axe_playwright_python.sync_playwright import Axe

        if self.page.evaluate("!window.axe"):
            self.page.evaluate(Axe().axe_script)
        rules, (width, scheme) = {"resultTypes": ["violations"]}, self.look
        if not contrast or (in_all_looks and width == min(WIDTHS)):
            rules["rules"] = {CONTRAST: {"enabled": False}}
        elif in_all_looks and scheme == "dark":
            rules["runOnly"] = [CONTRAST]
        found = self.page.evaluate("rules => axe.run(rules).then(found => found.violations)", rules)
        assert not found, "\n".join(
            f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for one in found
            for node in one["nodes"][:4]
        )

    def close(self):
        """Close the window."""
        self.context.close()
