"""Sub-words: any text comes back, training is deterministic, a wrong file is refused."""

import _thread
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.console import UserError
from toolkit.english_french import corpus
from toolkit.tokenizer import LONGEST, PAD, SPECIAL, START, STOP, Tokenizer, train_interruptibly
from toolkit.wordpieces import WordPieces

EXAMPLES = Path(__file__).parents[2] / "examples"


def texts():
    """Sentences of both languages."""
    return [text for pair in corpus(n_train=1000, n_validation=0, n_test=0).train for text in pair]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(texts(), 900)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    assert all(len(SPECIAL) <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.encode_batch([text, "a"]) == [ids, tokenizer.encode("a")]


@given(ids=st.lists(st.integers(0, 899)))
def test_any_ids_have_a_text_and_labels(tokenizer, ids):
    assert isinstance(tokenizer.decode(ids), str)
    assert len(tokenizer.labels(ids)) == len(ids)
    assert all(tokenizer.labels(ids))


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.stop_id) == (PAD, START, STOP) == (0, 1, 2)
    assert STOP not in tokenizer.encode("a sentence about <stop> and <pad>")
    assert tokenizer.decode([START, *tokenizer.encode("a cat"), STOP, PAD]) == "a cat"


def test_words_are_the_same_at_the_start_and_inside(tokenizer):
    first, again = tokenizer.encode("cat"), tokenizer.encode("the cat")
    assert again[-len(first) :] == first
    assert len(again) == 2  # a small vocabulary has the common words whole


def test_labels_read_well(tokenizer):
    assert tokenizer.labels(tokenizer.encode("The cat.")) == ["The", "cat", "."]
    assert tokenizer.labels(tokenizer.encode("l'enfant")) == ["l", "'", "enfant"]
    assert tokenizer.labels([PAD, STOP, *tokenizer.encode("catz  ☃")[:3]]) == ["<pad>", "<stop>", "cat", "-z", "' '"]
    assert tokenizer.labels(tokenizer.encode("☃"))[-1] == "<0x83>"


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    sentence = "Où est le chat ? <stop>"
    assert loaded.vocab_size == tokenizer.vocab_size == 900
    assert loaded.encode(sentence) == tokenizer.encode(sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


TRAIN = """
import sys
from toolkit.english_french import corpus
from toolkit.tokenizer import Tokenizer
texts = [text for pair in corpus(n_train=1000, n_validation=0, n_test=0).train for text in pair]
Tokenizer.train(texts, 900).save(sys.argv[1])
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_training_is_the_same_in_every_process(tokenizer, tmp_path, seed):
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(EXAMPLES), "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, "-c", TRAIN, tmp_path / "other.json"], env=environment, check=True)
    tokenizer.save(tmp_path / "ours.json")
    ours, other = ((tmp_path / name).read_bytes() for name in ("ours.json", "other.json"))
    assert hashlib.sha256(ours).hexdigest() == hashlib.sha256(other).hexdigest()


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(UserError, match="vocabulary of 200 is too small; it takes at least 259"):
        Tokenizer.train(["a"], 200)
    assert Tokenizer.train(["a cat"], 1000).vocab_size < 1000


def foreign(kind):
    """The text of a file that is no tokenizer of ours."""
    library = pytest.importorskip("tokenizers")
    other = library.Tokenizer(library.models.BPE(unk_token="<unk>"))
    if kind in ("special tokens", "other bytes"):
        other.add_special_tokens(list(SPECIAL))
    if kind == "other bytes":
        other.model = library.models.BPE()  # it passes over what it does not know
    return {"empty": "", "other JSON": json.dumps({"a": 1})}.get(kind, other.to_str())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "damaged or not a tokenizer"),
        ("other JSON", "damaged or not a tokenizer"),
        ("other tokens", "a tokenizer of another kind"),
        ("special tokens", "damaged or not a tokenizer"),
        ("other bytes", "a tokenizer of another kind"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, kind, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(foreign(kind), encoding="utf-8")
    with pytest.raises(UserError, match=f"tokenizer.json is {message}"):
        Tokenizer.load(path)


def test_a_truncated_or_missing_file_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="there is no tokenizer"):
        Tokenizer.load(path)
    tokenizer.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        Tokenizer.load(path)


def test_words_are_whole_and_number_their_sub_words(tokenizer):
    ids = tokenizer.encode("The catz, l'homme.")
    words, numbers = tokenizer.words([*ids, STOP])
    assert words == ["The", "catz", ",", "l", "'", "homme", ".", "<stop>"]
    assert len(numbers) == len(ids) + 1 and numbers[0] == 0 and sorted(set(numbers)) == list(range(len(words)))
    assert tokenizer.words([])[0] == []


def test_what_is_isolated_shares_no_token_with_its_surroundings():
    texts = ["add: 478 + 85", "478 478 478", "85 and 85"] * 3
    tokenizer = Tokenizer.train(texts, 400, isolated=" ?[0-9]")
    assert tokenizer.labels(tokenizer.encode("add: 478 + 85")) == ["add", ":", "4", "-7", "-8", "+", "8", "-5"]
    for text in (*texts, "4785", "x4 78y", "no digit"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


ALPHABETS = {
    "letters": "abcdefghijklmnopqrstuvwxyz",
    "Chinese": "".join(map(chr, range(0x4E00, 0x4F00))),
    "blanks": " \t\u00a0",
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("learn", [Tokenizer.train, WordPieces.learn])
def test_a_stretch_of_any_length_is_learned_from_in_linear_time(learn, alphabet):
    stretch = "".join(random.Random(0).choices(ALPHABETS[alphabet], k=200_000))
    start = time.process_time()  # of all threads; the square of the length would take minutes
    tokenizer = learn([stretch, "a cat sat"], 800)
    assert time.process_time() - start < 15
    if learn == Tokenizer.train:
        assert tokenizer.decode(tokenizer.encode(stretch)) == stretch


def test_stretches_as_words_are_long_are_learned_from_as_a_whole():
    tokenizer = Tokenizer.train(["x" * (LONGEST - 1) + " yz"] * 3, 600)
    assert len(tokenizer.encode("x" * (LONGEST - 1))) == 1  # a token of all of them, and of the blank before
    assert tokenizer.labels(tokenizer.encode("yz")) == ["yz"]


class Library:
    """One that learns for a long time, or fails."""

    def __init__(self, act):
        self.act = act

    def train_from_iterator(self, texts, trainer):
        self.act()
        time.sleep(5)


def test_learning_can_be_interrupted_and_its_errors_arrive():
    start = time.monotonic()
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            train_interruptibly(Library(_thread.interrupt_main), [], None)
    finally:
        signal.signal(signal.SIGINT, former)
    assert time.monotonic() - start < 4
    with pytest.raises(ZeroDivisionError):
        train_interruptibly(Library(lambda: 1 / 0), [], None)
