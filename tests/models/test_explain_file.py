"""The page of an explanation, as bytes: complete, small, and without a request."""

import json
import re

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.models.explain import explain
from minitensor.models.explain.agreement import agreement, spearman
from minitensor.models.transformer import Transformer, TransformerConfig


def data_of(page):
    """What the program of a page reads."""
    return json.loads(re.search(rb'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_sixty_tokens_six_layers_eight_heads_fit_three_megabytes(tmp_path):
    mt.random.seed(0)
    config = TransformerConfig(vocab_size=100, d_model=128, n_heads=8, n_encoder_layers=6, n_decoder_layers=6, d_ff=128)
    ids = np.random.default_rng(0).integers(3, 100, size=60)
    seen = explain(Transformer(config), ids, target=ids[1:], tokens=lambda ids: [f"token{one}" for one in ids])
    place = seen.save(tmp_path / "page.html")
    assert place.stat().st_size < 3_000_000
    found = data_of(place.read_bytes())
    kinds = [stage["type"] for stage in found["stages"]]
    assert kinds == [
        "tokens",
        "embedding",
        *["layer"] * 6,
        "embedding",
        *["layer"] * 6,
        "output",
        "sequential",
        "agreement",
    ]
    sides = [stage["side"] for stage in found["stages"] if "side" in stage]
    assert sides == ["source"] * 7 + ["target"] * 7
    names = [one["name"] for one in found["stages"][9]["attentions"]]
    assert names == ["masked self-attention of the decoder", "attention to the source"]
    for text in (b"http://", b"https://", b"//cdn"):
        assert text not in place.read_bytes().replace(b"http://www.w3.org/2000/svg", b"")


def test_names_cannot_leave_their_place():
    config = TransformerConfig(vocab_size=9, d_model=8, n_heads=2, n_encoder_layers=1, n_decoder_layers=1, d_ff=8)
    evil = lambda ids: ["</script><img src=x>" for _ in ids]  # noqa: E731
    seen = explain(Transformer(config), [3, 4, 5], target=[3], tokens=evil)
    page = seen.to_html()
    assert b"<img src=x>" not in page and data_of(page)["tokens"][0] == "</script><img src=x>"
    assert seen._repr_html_().startswith("<iframe srcdoc=") and "<img" not in seen._repr_html_()


def test_a_page_is_written_whole_and_under_its_name(tmp_path, monkeypatch):
    seen = explain(nn.Linear(3, 2), mt.ones((1, 3)))
    (tmp_path / "folder.html").mkdir()
    for name, error, message in (
        ("page.txt", ValueError, "must end in .html"),
        ("page", ValueError, "must end in .html"),
        ("folder.html", IsADirectoryError, "it is a folder"),
        ("nowhere/page.html", FileNotFoundError, "create it first"),
    ):
        with pytest.raises(error, match=message):
            seen.save(tmp_path / name)
    place = seen.save(str(tmp_path / "page.HTML"))
    before = place.read_bytes()
    monkeypatch.setattr("minitensor.files.safetensors.os.fsync", lambda file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explain(nn.Linear(3, 2), mt.zeros((1, 3))).save(place)
    assert place.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder.html", "page.HTML"]


def test_ranks():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=20), rng.normal(size=20)
    places = [np.argsort(np.argsort(row)) for row in (x, y)]
    np.testing.assert_allclose(spearman(x, y), np.corrcoef(*places)[0, 1])
    np.testing.assert_allclose(spearman(np.array([1, 1, 2.0]), np.array([0, 0, 5.0])), 1.0)
    assert np.isnan(spearman(np.ones(4), x[:4])) and np.isnan(spearman(x[:2], y[:2]))


def test_agreement_is_told_in_words():
    effects = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, np.nan]])
    same = agreement(effects, {"a": np.array([[0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.4, 0.1]])}, "hiding each token")
    assert same.mean == 1 and (same.same_first, same.rows) == (2, 2)
    assert same.sentence().startswith("Attention agrees well with occlusion") and "In 2 of 2" in same.sentence()
    other = agreement(effects, {"a": np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])}, "hiding each token")
    assert other.mean == -1 and "contradicts" in other.short()
    assert "no attention to compare" in agreement(effects, {}, "hiding each token").sentence()
    flat = agreement(effects, {"a": np.full((2, 4), 0.25)}, "hiding each token")
    assert "Too few inputs" in flat.sentence()
