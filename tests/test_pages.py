"""Pages that stand alone: what is packed into them, and that no text in it ends them early."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minitensor.pages import document, packed, thumbnail

ROOT = Path(__file__).parents[1]
SHEETS = sorted(path for folder in ("minitensor", "models", "examples") for path in (ROOT / folder).rglob("*.css"))


def unpacked(made):
    """What ``unpack`` of ``base.js`` makes of it."""
    coded = np.frombuffer(base64.b64decode(made["bytes"]), np.uint8).reshape(made["shape"])
    share = coded / 254
    with np.errstate(over="ignore"):  # of 255, which stands for NaN
        return np.where(coded == 255, np.nan, made["low"] * (1 - share) + made["high"] * share)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, min_side=0), elements=st.floats(allow_nan=True)))
@example(np.array([1.7976931348623157e308, -9.9792015476736e291]))  # low + (high - low) would be infinite
def test_a_packed_array_is_off_by_at_most_a_508th_of_its_range(array):
    made = packed(array)
    again = unpacked(made)
    assert again.shape == array.shape and json.dumps(made, allow_nan=False)
    assert np.array_equal(np.isnan(again), np.isnan(array))
    finite = np.isfinite(array)
    if finite.any():
        low, high = array[finite].min(), array[finite].max()
        half = high / 2 - low / 2
        bound = half / 254 * (1 + 1e-9)
        assert np.all(np.abs(again[finite] / 2 - array[finite] / 2) <= bound / 2 + np.abs(array[finite]) * 1e-15)
        for infinite, end in ((np.inf, high), (-np.inf, low)):
            assert np.all(np.abs(again[array == infinite] / 2 - end / 2) <= half * 1e-15)


def test_a_thumbnail_has_the_means_of_blocks():
    array = np.arange(40 * 64.0).reshape(2, 20, 64)
    small = unpacked(thumbnail(array, most=4))
    assert small.shape == (4, 4)
    blocks = array.reshape(4, 10, 4, 16).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= (blocks.max() - blocks.min()) / 508 * 1.001
    assert thumbnail(np.arange(3.0))["shape"] == [1, 3]
    assert thumbnail(np.zeros((0, 5)))["shape"] == [0, 5]
    assert thumbnail(np.float32(2.0))["shape"] == [1, 1]
    assert thumbnail(np.array([[True, False]]))["high"] == 1.0


def test_no_text_ends_the_page_early():
    said = {"text": "</script><script>alert(1)</script><!-- \u2028"}
    page = document("a <b> & c", "<p>body</p>", data=said).decode()
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    inside = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert json.loads(inside) == said
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "default-src 'none'" in page and "http:" not in page.replace("http://www.w3.org/2000/svg", "")


def test_what_json_cannot_say_is_refused():
    with pytest.raises(ValueError):
        document("t", "", data=[float("nan")])


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_a_narrow_window_shows_no_more_than_a_wide_one_and_in_the_same_colours(path):
    """So that the browser's tests look at contrast in the wide one alone."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"@media \((max|min)-width[^)]*\) \{((?:[^{}]|\{[^{}]*\})*)\}", text)
    assert len(found) == len(re.findall("@media[^{]*width", text))
    for end, rules in found:
        assert not re.search(r"(color|background|fill|stroke|opacity|filter|shadow|--[\w-]+) *:", rules), rules
        assert not re.search(r"display *:(?! *none)" if end == "max" else r"display *: *none", rules), rules
