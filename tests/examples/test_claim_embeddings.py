"""Claim 8: vectors of words by their neighbours, and the readers of published ones."""

import gzip
import json

import numpy as np
import pytest
from claiming import program, run
from claims import embeddings
from claims.skipgrams import Budget, SkipGram, counted, fit
from claims.usage import KINDS, PAIRS, PHRASES, analogies, key_of, make_corpus
from claims.vectors import Vectors, principal
from toolkit.console import UserError
from toolkit.published_vectors import read_vectors

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig

# --- the claim ------------------------------------------------------------------------------------


def test_embeddings(tmp_path, capsys):
    numbers, words = run("embeddings", tmp_path, capsys)
    found = {name: runs[0] for name, runs in numbers["tables"].items()}
    assert list(found) == ["before training", "counts alone", "trained"] and numbers["vectors"] == ""
    cosines = found["trained"]["cosines"]
    assert cosines["king, queen"] > 0.2 + max(cosines["king, apple"], cosines["queen, apple"])
    assert set(found["trained"]["neighbours"]["apple"]) & {"pear", "plum", "grape", "peach", "cherry", "lemon"}
    # What was never said of a noun: nothing that counts could know.
    assert found["before training"]["withheld"] == found["counts alone"]["withheld"] == 0.5
    assert found["trained"]["withheld"] > 0.7
    assert found["before training"]["right"]["out"] < 0.1
    assert "is the greater, and greater than that of queen and apple, in 1 of 1 trained tables" in words


def table_of(out, inside, third, ranks=(1, 2, 3), near=0.9, far=0.1, withheld=0.5):
    """What `look` says, in the main."""
    return {
        "words": 9,
        "cosines": {"king, queen": near, "king, apple": far, "queen, apple": 0.2},
        "neighbours": {"king": ["queen"]},
        "ranks": dict(zip(("out", "in", "third"), ranks)),
        "said": dict.fromkeys(("out", "in", "third"), "queen"),
        "analogies": 144,
        "right": {"out": out, "in": inside, "third": third},
        "withheld": withheld,
    }


def test_conclusion_about_embeddings():
    def numbers(trained, published=()):
        made = {"before training": [table_of(0, 0, 0, near=0.0)], "counts alone": [table_of(1, 0.1, 0.8)]}
        return {
            "tables": made | {"trained": trained} | ({"published": published} if published else {}),
            "vectors": "my.txt",
        }

    words = embeddings.conclusion(numbers([table_of(0.7, 0.3, 0.1, withheld=0.9), table_of(0.7, 0.3, 0.1, near=0.0)]))
    assert "in 1 of 2 trained tables, and in 0 of 1 before training" in words
    assert "finds 70% on the right side (counts alone 50%)" in words
    assert "queen is first in 2 of 2 with the three words kept out and in 0 with nothing kept out" in words
    assert (
        "Of all 144 analogies 70% and 30% are right; the nearest neighbour of the third word would be in 10%" in words
    )
    assert "but much of it by the words that are kept out. Counts without any training answer 100%, 80%" in words
    words = embeddings.conclusion(numbers([table_of(0.7, 0.65, 0.1)]))
    assert "more than neighbourhood does, also with nothing kept out" in words
    published = [table_of(0.5, 0, 0.5, ranks=(4, 6, 5), near=0.1, far=0.3)]
    words = embeddings.conclusion(numbers([table_of(0.7, 0.2, 0.65)], published))
    assert "the arithmetic gives hardly more than neighbourhood does" in words
    same = embeddings.conclusion(numbers([table_of(0.7, 0.2, 0.65)], [table_of(0.5, 0, 0.5, near=0.2, far=0.2)]))
    assert "king and queen (0.20) are no closer than" in same
    assert words.endswith(
        "In my.txt, of which 9 words were read, king and queen (0.10) are no closer than each of them and apple; "
        "queen has rank 4 with the three kept "
        "out, 6 with nothing kept out, and 5 among the neighbours of king."
    )


# --- the corpus -----------------------------------------------------------------------------------


def test_a_noun_is_said_what_its_kinds_allow():
    corpus = make_corpus(3, 2000)
    assert corpus.sentences == make_corpus(3, 2000).sentences != make_corpus(4, 2000).sentences
    keys = [key_of(phrase) for phrases in PHRASES.values() for phrase in phrases]
    everything = [word for phrases in PHRASES.values() for phrase in phrases for word in phrase.split()]
    assert all(everything.count(key) == 1 for key in keys) and not set(keys) & set(KINDS)
    kind_of = {key_of(phrase): kind for kind, phrases in PHRASES.items() for phrase in phrases}
    withheld = {(noun, key_of(phrase)) for noun, phrase in corpus.withheld}
    said = set()
    for row in corpus.sentences:
        words = [corpus.words[id] for id in row]
        (noun,), key = [word for word in words if word in KINDS], words[-1]
        assert kind_of[key] in KINDS[noun] and (noun, key) not in withheld
        said.add(key)
    assert said == set(keys)  # nothing is withheld from all
    assert len(withheld) == sum(map(len, KINDS.values()))


def test_pairs_are_neighbours():
    corpus = make_corpus(0, 1)
    corpus.sentences[:] = [[7, 8, 9], [1, 2]]
    assert corpus.pairs(1).tolist() == [[7, 8], [8, 7], [8, 9], [9, 8], [1, 2], [2, 1]]
    assert [7, 9] in corpus.pairs(2).tolist()


def test_analogies_go_both_ways():
    asked = analogies()
    assert len(asked) == len(set(asked)) == 2 * len(PAIRS) * (len(PAIRS) - 1)
    assert ("man", "woman", "king", "queen") in asked and ("woman", "man", "queen", "king") in asked


# --- vectors --------------------------------------------------------------------------------------


def test_what_vectors_say():
    table = np.array([[1.0, 0], [3, 1], [0, 2], [1, 2], [-1, 0], [0, 0]])  # man, king, woman, queen, other, nothing
    vectors = Vectors(["man", "king", "woman", "queen", "other", "nothing"], table)
    assert vectors.cosine("man", "woman") == 0 and vectors.cosine("man", "other") == -1
    assert vectors.cosine("king", "queen") == pytest.approx(5 / np.sqrt(50))
    assert vectors.ranking(vectors["man"]) == ["man", "king", "queen", "woman", "nothing", "other"]
    assert vectors.ranking(vectors["man"], without=("man", "queen"))[:2] == ["king", "woman"]
    offset = vectors.offset("man", "woman", "king")
    assert vectors.nearest(offset, {"man", "woman", "king"}) == "queen"
    assert vectors.nearest(offset) == vectors.ranking(offset)[0]
    np.testing.assert_allclose(offset, np.array([3, 1]) / np.sqrt(10) - [1, 0] + [0, 1])


def test_principal_components_keep_distances_in_a_plane():
    places = np.random.default_rng(0).normal(size=(9, 2))
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    found = np.array(principal(places @ turned[:2] + 3))
    distances = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (places, found)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-9)
    assert found[:, 0].var() >= found[:, 1].var()


def test_counts_are_pointwise_mutual_information():
    pairs = np.array([[0, 1]] * 6 + [[0, 2]] * 2 + [[3, 2]] * 2)
    found = counted(pairs, 5)
    # p(0, 1) = .6, p(0) = .8, p(1) = .6;  p(3, 2) = .2, p(3) = .2, p(2) = .4
    assert found[0, 1] == pytest.approx(np.log(0.6 / 0.48)) and found[3, 2] == pytest.approx(np.log(2.5))
    assert found[0, 2] == 0 and not found[4].any() and not found[:, 0].any()  # less than by chance, and never


def test_skip_grams_find_the_neighbour():
    pairs = np.array([[0, 2], [1, 3]] * 50)
    mt.random.seed(0)
    network = SkipGram(4, 6)
    assert not network(np.array([0]), np.array([[2, 3]])).numpy().any()
    fit(network, pairs, Budget(common=1.0, d_model=6, negatives=2, steps=60, batch=32, learning_rate=0.1), seed=0)
    scores = network(np.array([0, 1]), np.array([[2, 3], [3, 2]])).numpy()
    # At the optimum log(p(neighbour | word) / (K p(neighbour))), here log(1 / 1) and log(0).
    assert np.abs(scores[:, 0]).max() < 0.4 and scores[:, 1].max() < -1


def test_what_was_withheld_is_compared_with_nouns_of_other_kinds():
    corpus = make_corpus(0, 1)
    scores = np.zeros((len(corpus.words), len(corpus.words)))
    assert embeddings.fitting(scores, corpus) == 0.5
    numbers = {word: number for number, word in enumerate(corpus.words)}
    for noun, phrase in corpus.withheld:
        scores[numbers[noun], numbers[key_of(phrase)]] = 1
    assert embeddings.fitting(scores, corpus) == 1


# --- published vectors ----------------------------------------------------------------------------

ROWS = {"king": "3 1 0", "queen": "3 -1 0", "man": "1 1 0", "woman": "1 -1 0.5", "apple": "-1 0 2e0", ". .": "0 0 1"}
GLOVE = "".join(f"{word} {numbers}\n" for word, numbers in ROWS.items())


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        GLOVE,
        f"{len(ROWS)} 3\n{GLOVE}",
        GLOVE.replace("\n", " \r\n"),
        GLOVE.replace(" 3 ", "\t3 "),
        b"\xef\xbb\xbf" + GLOVE.encode(),
        gzip.compress(GLOVE.encode()),
    ],
    ids=["GloVe", "word2vec", "ends of lines", "tabs", "mark", "gzip"],
)
def test_text_files_of_vectors(tmp_path, content):
    path = written(tmp_path / "vectors", content)
    words, table = read_vectors(path, 100)
    assert words == list(ROWS) and table.dtype == np.float32
    np.testing.assert_array_equal(table, [[float(x) for x in row.split()] for row in ROWS.values()])
    assert read_vectors(path, 2)[0] == ["king", "queen"]


def test_of_a_word_twice_the_first_counts(tmp_path):
    words, table = read_vectors(written(tmp_path / "v.txt", "a 1 2\nb 3 4\na 5 6\n"), 9)
    assert words == ["a", "b"] and table.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no vectors; a line must be a word and its numbers"),
        ("2 3\n", "holds no vectors"),
        ("king 1 2 3\nqueen 1 2\n", "line 2 has 2 numbers; by the lines above it must have 3"),
        ("king 1 2\nqueen 1 2 3\n", "line 2 has 3 numbers; by the lines above it must have 2"),
        ("2 2\nking 1 2 3\nqueen 1 2 3\n", "line 2 has 3 numbers; by the lines above it must have 2"),
        ("king 1 2 3\nqueen 1 x 3\n", "line 2: what follows 'queen' is not 3 numbers"),
        ("king\n", "line 1 has 0 numbers; a line must be .*word2vec's binary form is not read"),
        ("3 3\nking 1 2 3\nqueen 1 2 4\n", "line 1 says 3 words, and 2 follow; fetch it again"),
        ("king 1 2 1e60\nqueen 1 2 3\n", "the vector of 'king' has a number that is not finite"),
        ("king 1 nan 3\n", "the vector of 'king' has a number that is not finite"),
        (b"2 3\nking \xff\xfe\x00\x01", "line 2 is not UTF-8; give vectors in text form"),
        (b"PK\x03\x04rest", "is a zip archive or an office document; unpack it"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:-12], "is damaged or cut short"),
    ],
)
def test_damaged_files_of_vectors(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_vectors(written(tmp_path / "vectors.txt", content), 100)


def test_a_missing_file_of_vectors(tmp_path):
    with pytest.raises(UserError, match="cannot read .*none.txt"):
        read_vectors(str(tmp_path / "none.txt"), 9)


@pytest.fixture
def folder(tmp_path):
    """A published BERT of six tokens."""
    mt.random.seed(0)
    BERT(BERTConfig(6, d_model=4, n_layers=1, n_heads=1, d_ff=4, max_length=8)).save_pretrained(tmp_path)
    return tmp_path


WHOLE = {"[PAD]": 0, "king": 1, "queen": 2, "man": 4, "woman": 5}
TOKENS = {"[PAD]": 0, "king": 1, "queen": 2, "##s": 3, "man": 4, "woman": 5}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer.json": {"model": {"type": "WordPiece", "vocab": TOKENS}}}, WHOLE),
        ({"vocab.txt": "\n".join(TOKENS)}, WHOLE),
        ({"vocab.json": {"\u0120king": 0, "s": 1, "\u0120queen": 3, "\u0120\u00c3": 4}}, {"king": 0, "queen": 3}),
        ({"tokenizer.json": {"model": {"vocab": [["<pad>", 0.0], ["\u2581king", -3.5], ["s", -4.0]]}}}, {"king": 1}),
    ],
    ids=["WordPiece", "vocab.txt", "byte-level", "SentencePiece"],
)
def test_folders_of_published_models(folder, files, expected):
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    words, table = read_vectors(str(folder), 100)
    weight = BERT.from_pretrained(folder).state_dict()
    stored = next(value for name, value in weight.items() if np.shape(value) == (6, 4))
    assert words == list(expected)
    np.testing.assert_array_equal(table, np.asarray(stored)[list(expected.values())])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no words: it needs tokenizer.json, vocab.json, vocab.txt"),
        ({"vocab.json": {"king": 6}}, "its vocabulary has an id 6, its table .* has 6 rows"),
        (
            {"vocab.json": {"king": "1"}},
            "vocab.json is damaged or not a vocabulary: it must give each token its number",
        ),
        ({"tokenizer.json": {"model": 1}}, "tokenizer.json is damaged or not a vocabulary"),
        ({"vocab.json": {"##s": 1}}, "its vocabulary has no words"),
    ],
)
def test_damaged_folders(folder, files, message):
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_vectors(str(folder), 100)


def test_folders_without_a_table(tmp_path):
    with pytest.raises(UserError, match=r"has neither model.safetensors nor"):
        read_vectors(str(tmp_path), 9)
    mt.save(tmp_path / "model.safetensors", {"weight": mt.zeros((2, 2))})
    with pytest.raises(UserError, match="has no table of words; looked for were names that end in"):
        read_vectors(str(tmp_path), 9)


def test_published_vectors_stand_beside_the_trained(tmp_path):
    path = written(tmp_path / "v.txt", GLOVE)
    settings = embeddings.Settings(sentences=300, budget=Budget(d_model=4, steps=2, batch=8), seeds=1, vectors=path)
    numbers = embeddings.measure(settings, seed=0, workers=1)
    (found,) = numbers["tables"]["published"]
    assert found["analogies"] == 4 and found["words"] == 6  # king by man, man by king, both ways
    assert found["ranks"]["out"] == 1 and found["cosines"]["king, queen"] == pytest.approx(0.8)
    assert set(found["neighbours"]) == {"king", "queen", "apple"}
    assert (
        "In v.txt, of which 6 words were read, king and queen (0.80) are closer than each of them and apple;"
        in embeddings.conclusion(numbers)
    )
    assert [table.rows[-1][0] for table in embeddings.tables(numbers)] == ["published"] * 4
    assert embeddings.tables(numbers)[0].rows[-1][-1] == "-"  # nothing is known of what was withheld


def test_vectors_without_the_words(tmp_path, capsys):
    path = written(tmp_path / "v.txt", "king 1 2\nman 2 1\nwoman 0 1\n")
    with pytest.raises(UserError, match="no vector of queen and apple among its first 3 words"):
        program.main(["--vectors", path, "--quick", "--workers", "1", "--out", str(tmp_path / "out")])


def test_vectors_ask_for_their_claim(tmp_path):
    shown = []
    show, program.show = program.show, lambda name, folder, settings, *_: shown.append((name, settings))
    try:
        program.main(["--vectors", written(tmp_path / "v.txt", GLOVE), "--only", "mask", "--out", str(tmp_path)])
    finally:
        program.show = show
    assert [name for name, _ in shown] == ["mask", "embeddings"]
    assert shown[1][1].vectors.endswith("v.txt") and shown[0][1] == program.CLAIMS["mask"].Settings()
