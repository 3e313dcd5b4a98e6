"""The page of an exported translator, in a browser: it translates, and says what is wrong."""

import numpy as np
import pytest
from browser import LOOKS

pytest.importorskip("tokenizers")
from exported import Small, sentences  # noqa: E402
from toolkit import browser  # noqa: E402

import minitensor as mt  # noqa: E402

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def small():
    return Small("post-norm")


@pytest.fixture(scope="module")
def page(small):
    return browser.page(small, ("en", "fr"), sentences()[0][0], "float16")


@pytest.mark.parametrize("width, scheme", LOOKS)
def test_it_translates_and_shows_what_each_word_looks_at(show, page, small, width, scheme):
    shown = show(page, width=width, scheme=scheme)
    shown.page.click("#go")
    shown.page.locator("#told", has_text=" ms, ").wait_for()
    ids = [*small.tokenizer.encode(sentences()[0][0]), 2]
    small.model.load_state_dict({k: v.numpy().astype(np.float16) for k, v in small.model.state_dict().items()})
    expected = small.tokenizer.decode(small.model.generate(mt.asarray([ids]), small.settings.max_length)[0])
    assert shown.page.locator("#translation").text_content().split() == expected.split()
    assert shown.page.locator("#attention tbody tr").count() > 0
    shown.check_fits()
    shown.check_accessible()


def test_lines_beams_and_what_is_wrong(show, page):
    shown = show(page)
    found = []
    for text in ("Un été.", "\u3000 Un e\u0301te\u0301.\x85 "):
        shown.page.fill("#source", text)
        shown.page.click("#go")
        shown.page.locator("#told", has_text=" ms, ").wait_for()
        found.append([shown.page.locator(part).inner_html() for part in ("#translation", "#attention")])
        assert "The translation is cut off at the longest length" in shown.page.locator("#told").text_content()
    assert found[0] == found[1]  # the same translation, of the same words
    shown.page.fill("#source", "A cat.\n\nA dog.")
    shown.page.select_option("#beam", "3")
    shown.page.press("#source", "Enter")
    shown.page.locator("#told", has_text=" ms, ").wait_for()
    assert shown.page.locator("#translation").text_content().count("\n") == 1
    assert "Lines 1, 2 of the translation are cut off" in shown.page.locator("#told").text_content()
    shown.page.fill("#source", "  ")
    shown.page.click("#go")
    assert shown.page.locator("#told").text_content() == "There is nothing to translate."
