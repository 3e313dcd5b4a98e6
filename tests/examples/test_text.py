"""Text, its vocabularies, and windows of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.console import UserError
from toolkit.reading import composed
from toolkit.text import (
    Characters,
    Windows,
    learn_vocabulary,
    load_text,
    load_vocabulary,
    split_text,
    streams,
)


def test_the_embedded_text_is_english_prose():
    text = load_text(None)
    assert len(text) > 300_000 and "The Python" in text
    train, validation = split_text(text)
    assert train + validation == text and len(validation) == pytest.approx(len(text) / 10, abs=1)


def test_a_file_may_be_gzipped(tmp_path):
    import gzip

    (tmp_path / "a.txt").write_text("été\nof 42", encoding="utf-8")
    (tmp_path / "a.gz").write_bytes(gzip.compress("été\nof 42".encode()))
    assert load_text(tmp_path / "a.txt") == load_text(tmp_path / "a.gz") == "été\nof 42"
    with pytest.raises(UserError, match="cannot read"):
        load_text(tmp_path / "nothing.txt")


@given(st.text(min_size=1))
def test_characters_come_back(text):
    vocabulary = Characters.of(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == composed(text) and set(ids) == set(range(vocabulary.vocab_size))


def test_equivalent_texts_have_the_same_ids():
    for vocabulary in (Characters.of("\u00f6k \u00c5"), Characters.of("o\u0308k A\u030a")):
        assert vocabulary.vocab_size == 4
        assert vocabulary.encode("\u00f6k") == vocabulary.encode("o\u0308k")
        assert vocabulary.encode("\u212b") == vocabulary.encode("A\u030a")  # the sign of Angstrom


@pytest.mark.parametrize(("tokens", "size"), [("characters", 5), ("bpe", 270)])
def test_a_vocabulary_is_learned_saved_and_loaded(tmp_path, tokens, size):
    text = "abab é\nbaba " * 5
    learned = learn_vocabulary(tokens, text, 270)
    assert learned.vocab_size <= size
    learned.save(tmp_path / "vocabulary.json")
    loaded = load_vocabulary(tokens, tmp_path / "vocabulary.json")
    assert loaded.encode(text) == learned.encode(text) and loaded.decode(learned.encode(text)) == text


def test_bad_vocabularies_and_characters(tmp_path):
    with pytest.raises(
        UserError, match="character 2, 'z', is not in the vocabulary of the model, which has only 'abc'"
    ):
        Characters.of("abc").encode("azb")
    with pytest.raises(UserError, match="character 1, '\U0001f600'"):
        Characters.of("abc").encode("\U0001f600")
    with pytest.raises(UserError, match="there is no vocabulary"):
        Characters.load(tmp_path / "nothing.json")
    for content in ("{", "[]", "{}", '{"characters": 3}'):
        (tmp_path / "bad.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="is damaged or not a vocabulary of characters"):
            Characters.load(tmp_path / "bad.json")


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 5))
def test_windows_are_contiguous_and_targets_stand_one_further(n, length, batch_size, number):
    if n <= length:
        with pytest.raises(UserError, match=f"a text of {n} tokens is too short for a window of {length}"):
            Windows(np.arange(n), length, batch_size)
        return
    windows = Windows(np.arange(n), length, batch_size, seed=1)
    for batches in (windows.epoch(number), windows.in_order()):
        inputs = np.concatenate([batch["inputs"] for batch in batches])
        targets = np.concatenate([batch["targets"] for batch in batches])
        np.testing.assert_array_equal(targets, inputs + 1)
        assert inputs.shape[1] == length and (np.diff(inputs, axis=1) == 1).all()
        assert len(set(inputs.flat)) == inputs.size and targets.max() < n  # no token twice
        assert all(batch.tokens == batch["inputs"].size for batch in batches)
    assert inputs.size > n - 1 - length  # in order: all but what is left at the end
    assert len(windows.epoch(0)) == len(windows.epoch(number)) == -(-len(windows) // batch_size)


def test_each_epoch_lays_the_windows_elsewhere():
    windows = Windows(np.arange(1000), 10, 8, seed=1)
    first = [windows.epoch(number)[0]["inputs"][:, 0] % 10 for number in range(30)]
    assert all(len(set(starts)) == 1 for starts in first) and len({starts[0] for starts in first}) == 10
    assert windows.epoch(3)[1]["inputs"].tolist() == windows.epoch(3)[1:][0]["inputs"].tolist()


@given(st.integers(2, 60), st.integers(1, 4), st.integers(1, 9))
def test_streams_go_on_where_they_ended(n, rows, length):
    read = list(streams(np.arange(n), rows, length))
    if n <= rows:
        assert not read
        return
    inputs = np.concatenate([batch["inputs"] for batch in read], axis=1)
    targets = np.concatenate([batch["targets"] for batch in read], axis=1)
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(inputs.reshape(-1), np.arange(inputs.size))  # each goes on, and into the next one's
    assert inputs.size > n - 1 - rows and sum(batch.tokens for batch in read) == inputs.size
