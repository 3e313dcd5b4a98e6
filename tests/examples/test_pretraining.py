"""Documents, word pieces, masks and pairs: what a BERT is pre-trained on."""

import numpy as np
import pytest
from toolkit.console import UserError
from toolkit.documents import LENGTH, cut_documents, load_documents, split_documents
from toolkit.pretraining import Pairs, mask_words
from toolkit.wordpieces import CLS, MASK, PAD, SEP, SPECIAL, UNKNOWN, WordPieces

from minitensor.models.bert import IGNORED
from minitensor.random import Generator

VOCABULARY = 200
LONGEST = 23  # ten tokens for each passage


@pytest.fixture(scope="module")
def pairs():
    """Documents 0 to 4 of eight sentences of four words; word 40 d + 5 is the first of document d,
    and so on.
    """
    documents = [[[5 + 32 * d + 4 * s + w for w in range(4)] for s in range(8)] for d in range(5)]
    return Pairs(documents, VOCABULARY, LONGEST, share=0.15, batch_size=8, seed=3)


def original(example):
    """The tokens of an example before they were masked."""
    tokens, _, targets, _ = example
    return np.where(targets == IGNORED, tokens, targets)


# --- documents ------------------------------------------------------------------------------------


def test_texts_are_cut_at_titles_and_never_twice():
    texts = {
        "long": "Intro one. Intro two.\n\nTitle\n=====\n\nShared sentence. And another.\n\nOnly here: yes.\n\n"
        "More (of\n   it). Ends.\n",
        "short": "Shared sentence.  And\nanother.\n",
    }
    documents = cut_documents(texts)
    assert [(document.topic, document.sentences) for document in documents] == [
        ("short", ["Shared sentence.", "And another."]),
        ("long", ["Intro one.", "Intro two."]),
        ("long", ["Only here: yes.", "More (of it).", "Ends."]),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Привет. Это он! Всё.", ["Привет.", "Это он!", "Всё."]),
        ("猫が寝る。犬が来た！「はい。」と言う", ["猫が寝る。", "犬が来た！", "「はい。」と言う"]),
        ("أين هو؟ هنا.", ["أين هو؟", "هنا."]),
        ("It is x. y, or 3. Étude.", ["It is x. y, or 3.", "Étude."]),
    ],
)
def test_texts_of_any_script_have_sentences(text, found):
    assert cut_documents({"": f"{text}\n\nOne. Two."})[0].sentences == [*found, "One.", "Two."]


def test_long_sections_are_cut_evenly():
    text = " ".join(f"Sentence {number}." for number in range(3 * LENGTH))
    assert [len(document.sentences) for document in cut_documents({"": text})] == [LENGTH] * 3


def test_the_embedded_documents_are_split_without_overlap():
    documents = load_documents(None)
    assert {"argparse", "collections", "help(assert)", "help(types)"} <= {document.topic for document in documents}
    train, validation, test = split_documents(documents)
    assert sum(map(len, (train, validation, test))) == len(documents) > 500
    assert 0.15 < len(test) / len(documents) < 0.18
    seen = {text for document in train for text in document.sentences}
    held_out = [text for document in test for text in document.sentences if len(text) > 80]
    assert np.mean([text in seen for text in held_out]) < 0.02  # those that are in two paragraphs


def test_folders_and_files(tmp_path, capsys):
    for topic in "ab":
        text = " ".join(f"{topic.upper()} sentence {number}." for number in range(500))
        (tmp_path / f"{topic}.txt").write_text(text, encoding="utf-8")
    assert {document.topic for document in load_documents(tmp_path)} == {"a", "b"} and not capsys.readouterr().err
    (tmp_path / "c.txt").write_text(f"{text}\n\nTitle\n=====\n\nIt is alone.\n", encoding="utf-8")
    assert {document.topic for document in load_documents(tmp_path)} == {"a", "b"}
    assert capsys.readouterr().err == (
        f"note: {tmp_path}: of 4 paragraphs 1 repeats another; copies are left out\n"
        f"note: {tmp_path}: 1 sentence without another below the same title left out\n"
    )
    with pytest.raises(UserError, match="it takes 40"):
        load_documents(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has nothing in it; each file of text that it holds is a topic"):
        load_documents(tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere"):
        load_documents(tmp_path / "nowhere")


# --- word pieces ----------------------------------------------------------------------------------


def news(first):
    """Text of 42 documents."""
    return "".join(f"We saw {n} cats.\n\n" for n in range(first, first + 840))


def test_each_file_of_a_folder_is_a_topic_and_none_takes_the_place_of_another(tmp_path, capsys):
    names = "news.2019.txt", "news.2020.txt", "v1.0.md", "v1.1.md", "a.txt", "a.md", "a.txt.bak"
    for number, name in enumerate(names):
        (tmp_path / name).write_text(news(1000 * number), encoding="utf-8")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1\xff" * 9)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "folder").mkdir()
    documents = load_documents(tmp_path)
    assert len(documents) == 7 * 42
    topics = {"news.2019", "news.2020", "v1.0", "v1.1", "a.txt", "a.md", "a.txt.bak"}
    assert {document.topic for document in documents} == topics
    err = capsys.readouterr().err
    assert err.startswith("note: passed over: ") and "picture.png is no text" in err and err.count("\n") == 1


def test_a_folder_without_text_is_named_as_that(tmp_path):
    (tmp_path / "text.txt").write_bytes("caf\xe9".encode("latin1"))
    with pytest.raises(UserError, match="text.txt line 1, byte 4: 0xe9 is not UTF-8"):  # text, in another encoding
        load_documents(tmp_path)
    (tmp_path / "text.txt").unlink()
    (tmp_path / "inside").mkdir()
    with pytest.raises(UserError, match="has no file of text, only folders: give one of these"):
        load_documents(tmp_path)


def test_word_pieces(tmp_path):
    texts = ["The cat unbinds the names.", "A cat binds it; the dog unties it.", "##a [MASK] stays text"] * 3
    pieces = WordPieces.learn(texts, 90)
    again = WordPieces.learn(texts, 90)
    assert pieces._library.to_str() == again._library.to_str()  # ties are broken alike each time
    assert pieces.labels(range(5)) == list(SPECIAL)
    ids = pieces.encode("The CAT binds it.")
    assert pieces.decode(ids) == "the cat binds it." and UNKNOWN not in ids
    assert pieces.encode("\u4e2d") == [UNKNOWN]
    assert MASK not in pieces.encode("[MASK]") and pieces.encode_with_masks("the [MASK] it").count(MASK) == 1
    pieces.save(tmp_path / "tokenizer.json")
    assert WordPieces.load(tmp_path / "tokenizer.json").encode_batch(texts) == pieces.encode_batch(texts)
    with pytest.raises(UserError, match="at least"):
        WordPieces.learn(texts, 20)
    for content, message in (("{", "damaged"), (None, "no tokenizer")):
        path = tmp_path / str(content)
        if content:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            WordPieces.load(path)


# --- masks ----------------------------------------------------------------------------------------


def test_fifteen_percent_are_masked_by_eighty_ten_ten():
    tokens = np.full(20_002, 7, np.int32)
    tokens[[0, -1]] = CLS, SEP
    masked, targets = mask_words(tokens, Generator(1).words(2 * len(tokens)), VOCABULARY, 0.15)
    chosen = targets != IGNORED
    assert chosen.sum() == 3000 and (targets[chosen] == 7).all() and not chosen[[0, -1]].any()
    np.testing.assert_array_equal(masked[~chosen], tokens[~chosen])
    assert abs((masked[chosen] == MASK).mean() - 0.8) < 0.025
    assert abs((masked[chosen] == 7).mean() - 0.1) < 0.02
    other = masked[chosen & (masked != MASK) & (masked != 7)]
    assert other.min() >= len(SPECIAL) and other.max() < VOCABULARY and len(set(other.tolist())) > 100


def test_one_word_at_least_is_masked():
    tokens = np.array([CLS, 9, SEP, 9, SEP], np.int32)
    for seed in range(20):
        targets = mask_words(tokens, Generator(seed).words(10), VOCABULARY, 0.15)[1]
        assert (targets != IGNORED).sum() == 1 and set(np.flatnonzero(targets != IGNORED)) <= {1, 3}


# --- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_what_follows_or_from_another_document(pairs):
    kinds = []
    for index in range(len(pairs)):
        tokens, second, _, unrelated = example = pairs.example(0, index)
        whole = original(example)
        assert whole[0] == CLS and whole[second - 1] == SEP and whole[-1] == SEP and len(tokens) <= LONGEST
        first, other = whole[1 : second - 1], whole[second:-1]
        assert len(first) == len(other) == 8  # two whole sentences
        np.testing.assert_array_equal(np.diff(first), 1)
        np.testing.assert_array_equal(np.diff(other), 1)
        assert unrelated == ((first[0] - 5) // 32 != (other[0] - 5) // 32)
        assert unrelated or other[0] == first[-1] + 1
        kinds.append(unrelated)
    assert len(pairs) == 5 * 5 and 0.2 < np.mean(kinds) < 0.8


def test_examples_depend_on_seed_epoch_and_index_alone(pairs):
    batches = list(pairs.epoch(4))
    late = pairs.epoch(4)[3:][0]
    for name, array in late.arrays.items():
        np.testing.assert_array_equal(array, batches[3][name])
    row = pairs.example(4, 11)
    others = [pairs.example(5, 11), pairs.example(4, 12)]
    np.testing.assert_array_equal(pairs.example(4, 11)[0], row[0])
    assert all(not np.array_equal(other[0], row[0]) for other in others)
    orders = [np.concatenate(pairs.epoch(number).groups).tolist() for number in (0, 1)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(25))


def test_batches_and_their_parts(pairs):
    batch = pairs.epoch(0)[0]
    assert batch["ids"].shape == batch["mask"].shape == batch["segments"].shape == batch["words"].shape
    np.testing.assert_array_equal(batch["mask"], batch["ids"] != PAD)
    for row in range(len(batch)):
        first, last = np.flatnonzero(batch["ids"][row] == SEP)
        assert batch["segments"][row].tolist() == [0] * (first + 1) + [1] * (last - first) + [0] * (
            batch["ids"].shape[1] - last - 1
        )
    parts = batch.split(3)
    assert sum(part.tokens for part in parts) == batch.tokens == (batch["words"] != IGNORED).sum()
    assert {part.pairs for part in parts} == {8} and sum(map(len, parts)) == 8


def test_a_long_sentence_is_cut_next_to_what_follows():
    documents = [[list(range(10, 60)), list(range(60, 66))], [[5] * 6, list(range(70, 120))], [[6] * 4, [7] * 50]]
    pairs = Pairs(documents, VOCABULARY, LONGEST, 0.15, 2, 0)
    related = next(e for e in (pairs.example(epoch, 0) for epoch in range(50)) if not e[3])
    assert original(related)[1:-1].tolist() == [*range(50, 60), SEP, *range(60, 66)]
    assert len(pairs) == 2  # the third document starts with four tokens, too few
    related = next(e for e in (pairs.example(epoch, 1) for epoch in range(50)) if not e[3])
    assert original(related)[8:-1].tolist() == list(range(70, 80))


def test_pairs_need_two_long_documents():
    with pytest.raises(UserError, match="two documents"):
        Pairs([[[7] * 9, [8] * 9], [[9] * 4, [9] * 9]], VOCABULARY, LONGEST, 0.15, 2, 0)
