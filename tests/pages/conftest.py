"""The browser, and a window on a page."""

import pytest
from browser import Shown, launch, missing


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium; the test is skipped, with the reason, where there is none."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """A function that shows a page, given as bytes or as a path, and returns it as ``Shown``; at
    the end each must have been quiet: no message, no error, no request.
    """
    opened = []

    def open_page(content, **look):
        path = content
        if isinstance(content, bytes):
            path = tmp_path / f"page{len(opened)}.html"
            path.write_bytes(content)
        opened.append(Shown(chromium, path, **look))
        return opened[-1]

    yield open_page
    for one in opened:
        one.check_quiet()
        one.close()
