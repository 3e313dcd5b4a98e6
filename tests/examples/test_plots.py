"""Pictures: a PNG of a sensible size for runs of any length and attention of any shape."""

import struct

import numpy as np
import pytest
from toolkit.plots import attention_heatmap, loss_curve

pytestmark = pytest.mark.usefixtures("fine_pictures")


def size(path):
    """Width and height of a PNG, from its header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:])


@pytest.mark.parametrize(("n", "validations"), [(0, 0), (0, 5), (1, 1), (100, 0), (100, 1), (500, 5)])
def test_loss_curve_of_a_run_of_any_length(tmp_path, n, validations):
    records = [{"step": step, "loss": 7 / (1 + step)} for step in range(n)]
    records += [
        {"step": 10 * step, "validation_loss": 2.0, "bleu": 0.0 if step else None} for step in range(validations)
    ]
    records += [{"note": "a record of another kind"}, {"step": 3, "loss": float("nan")}]
    loss_curve(records, tmp_path / "loss.png")
    assert size(tmp_path / "loss.png") == (1200, 675)


def test_the_picture_grows_with_what_it_shows(tmp_path):
    generator = np.random.Generator(np.random.Philox(1))
    source, target = [f"word{n}" for n in range(12)], [f"Wort{n}" for n in range(9)]
    weights = generator.random((2, 9, 12))
    attention_heatmap(weights, source, target, tmp_path / "one.png")
    attention_heatmap({"layer 1": weights, "layer 2": weights[:1]}, source, target, tmp_path / "two.png")
    attention_heatmap(weights[:, :1, :1], ["a"], ["b"], tmp_path / "small.png")
    one, two, small = (size(tmp_path / f"{name}.png") for name in ("one", "two", "small"))
    assert one[0] == two[0] and one[1] < two[1]
    assert small[0] < one[0] and small[1] < one[1]


def test_characters_that_the_font_lacks_are_told(tmp_path, capsys):
    attention_heatmap(np.ones((1, 1, 2)), ["\u65e5", "\u672c"], ["a"], tmp_path / "x.png")
    assert "the font lacks 2 of the characters" in capsys.readouterr().err


def test_wrong_shapes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(4, 3, 2\) for 2 target and 3 source tokens; .* \(heads, 2, 3\)"):
        attention_heatmap({"layer 1": np.ones((4, 3, 2))}, ["a", "b", "c"], ["d", "e"], tmp_path / "x.png")
    with pytest.raises(ValueError, match="no layer"):
        attention_heatmap({}, ["a"], ["b"], tmp_path / "x.png")
