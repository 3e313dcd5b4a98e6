"""Texts of an OPUS-MT folder: the pieces and ids that transformers has, and what is refused."""

import builtins
import io
import json

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.marian_text import MarianText

LANGUAGES = (">>deu<<", ">>fra<<")
TEXTS = [
    "the cat sat on the mat",
    "we see a dog",
    "where is the station ?",
    "two dogs see the cat",
    "the man has a hat",
]
OTHERS = [
    "die Katze sitzt",
    "wir sehen einen Hund",
    "wo ist der Bahnhof ?",
    "zwei Hunde sehen die Katze",
    "der Mann hat einen Hut",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of a small model of two target languages."""
    sentencepiece = pytest.importorskip("sentencepiece")
    where = tmp_path_factory.mktemp("opus")
    words = {"</s>": 0, "<unk>": 1}
    for name, texts in {"source": TEXTS, "target": OTHERS}.items():
        made = io.BytesIO()
        how = dict(vocab_size=40, hard_vocab_limit=False, minloglevel=2, num_threads=1, character_coverage=1.0)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts * 3), model_writer=made, **how)
        (where / f"{name}.spm").write_bytes(made.getvalue())
        model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        for piece in map(model.id_to_piece, range(3, model.get_piece_size() - (name == "target"))):
            words.setdefault(piece, len(words))
    words |= {piece: len(words) + i for i, piece in enumerate((*LANGUAGES, "<pad>"))}
    (where / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    return where


SEEN = [
    *TEXTS,
    ">>fra<< the cat",
    ">>deu<<a hat",
    "",
    "  two  spaces ",
    "unseen: \u00e9\u4e16 \U0001f600",
    "a << b",
    ">> c",
]


def test_there_and_back(folder):
    text = MarianText.from_pretrained(folder)
    ids, mask = text.encode(SEEN)
    assert ids.shape == mask.shape and mask.dtype == bool and text.languages == [*LANGUAGES]
    assert (ids[~mask] == text.words[0]["<pad>"]).all() and (ids[np.arange(len(ids)), mask.sum(1) - 1] == 0).all()
    assert text.decode([row[real] for row, real in zip(ids[:5], mask)]) == TEXTS
    both, real = text.encode(OTHERS, target=True)
    assert text.decode([row[kept] for row, kept in zip(both, real)]) == OTHERS
    assert text.encode([])[0].shape == (0, 0) and text.decode([[], [0]]) == ["", ""]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("separate", [False, True])
def test_ids_and_texts_are_those_of_transformers(folder, tmp_path, separate):
    transformers = pytest.importorskip("transformers")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if separate:
        words = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        pieces = [*words][:2] + [*words][2:-1][::-1] + ["<pad>"]  # the special ones where they are
        own = {piece: number for number, piece in enumerate(pieces)}
        (tmp_path / "target_vocab.json").write_text(json.dumps(own), encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text('{"separate_vocabs": true}', encoding="utf-8")
    theirs, text = transformers.MarianTokenizer.from_pretrained(tmp_path), MarianText.from_pretrained(tmp_path)
    seen = theirs(SEEN, padding=True)
    ids, mask = text.encode(SEEN)
    assert ids.tolist() == seen["input_ids"] and mask.astype(int).tolist() == seen["attention_mask"]
    assert text.encode(OTHERS, target=True)[0][0].tolist() == theirs(text_target=OTHERS, padding=True)["input_ids"][0]
    draw = np.random.default_rng(0)
    rows = draw.integers(0, len(text.pieces), (30, 8)).tolist()
    assert text.decode(rows) == theirs.batch_decode(rows, skip_special_tokens=True)


def test_what_is_refused(folder, tmp_path):
    text = MarianText.from_pretrained(folder)
    with pytest.raises(ValueError, match=">>xyz<< is no language of this model; there are >>deu<<, >>fra<<"):
        text.encode([">>xyz<< a dog"])
    with pytest.raises(TypeError, match=r"encode takes a list of texts, got one: write encode\(\['a dog'\]\)"):
        text.encode("a dog")
    with pytest.raises(ValueError, match="no piece has the id 999"):
        text.decode([[3, 999]])
    for name in ("vocab.json", "source.spm", "target.spm"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for damaged in (b"", b"\x00no model", (folder / "target.spm").read_bytes()[:100]):
        (tmp_path / "target.spm").write_bytes(damaged)
        with pytest.raises(mt.FileFormatError, match=r"target\.spm: not a model of sentencepiece"):
            MarianText.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"</s>": 0, "<unk>": 1}, "it has no <pad>"),
        ({"</s>": 0, "<unk>": 1, "<pad>": "2"}, "the id of '<pad>' is '2'"),
        ([1], "it must hold a JSON object"),
    ],
)
def test_a_vocabulary_that_is_none(tmp_path, words, problem):
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    with pytest.raises(mt.FileFormatError, match=f"vocab.json: {problem}"):
        MarianText.from_pretrained(tmp_path)


def test_without_files_and_without_the_package(tmp_path, monkeypatch):
    (tmp_path / "vocab.json").write_text('{"</s>": 0, "<unk>": 1, "<pad>": 2}', encoding="utf-8")
    with pytest.raises(
        FileNotFoundError, match="lacks source.spm, target.spm: it is not the folder of an OPUS-MT model"
    ):
        MarianText.from_pretrained(tmp_path)
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(b"")
    real = builtins.__import__

    def without(name, *rest):
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'sentencepiece: pip install "minitensor-autograd\[opus\]"'):
        MarianText.from_pretrained(tmp_path)
