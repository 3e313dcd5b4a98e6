"""Translators exported for onnxruntime and CTranslate2 answer as the models do. The tests need
``pip install -e ".[export]"``; each is skipped without its library.
"""

import json

import numpy as np
import pytest
import translate
from exported import LONGEST, SMALL, Small, sentences
from scripts import caller, refuser, unreported
from toolkit.interchange import ctranslate2_folder, onnx_folder
from toolkit.tokenizer import PAD, START, STOP, Tokenizer

import minitensor as mt

call = caller(translate.main)
refused = refuser(call)
TEXTS = [source for source, _ in sentences(seed=2, count=20)]


class Sessions:
    """An exported folder in onnxruntime: decodes by its own two graphs."""

    def __init__(self, folder):
        onnxruntime = pytest.importorskip("onnxruntime")
        names = ("encoder.onnx", "decoder.onnx")
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"]) for name in names
        )
        self.about = json.loads((folder / "translator.json").read_text(encoding="utf-8"))

    def start(self, source, mask):
        """All that the decoder is given but the ids."""
        held = self._run(self.encoder, {"source": source, "mask": mask}) | {"mask": mask}
        about, rows = self.about, len(source)
        if about["arch"] == "transformer":
            empty = np.zeros((about["layers"], rows, about["heads"], 0, about["d_model"] // about["heads"]), np.float32)
            return held | {"keys": empty, "values": empty, "position": np.array([0])}
        return held | {"feed": np.zeros((rows, about["d_model"]), np.float32)}

    def step(self, ids, held):
        """The logits; ``held`` moves on."""
        found = self._run(self.decoder, held | {"ids": ids})
        held.update({name.removeprefix("new_"): value for name, value in found.items() if name != "logits"})
        held["position"] = held.get("position", np.array([0])) + 1
        return found["logits"]

    def greedy(self, ids):
        """The words of one sentence."""
        source = np.array([[*ids, STOP]])
        held, token, found = self.start(source, source > 0), START, []
        while len(found) < LONGEST:
            token = int(self.step(np.array([token]), held).argmax())
            if token == STOP:
                break
            found.append(token)
        return found

    @staticmethod
    def _run(session, given):
        wanted = {one.name for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(None, {k: v for k, v in given.items() if k in wanted}), strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_onnx_gives_the_logits_and_the_words_of_the_model(name, tmp_path):
    pytest.importorskip("onnx")
    small = Small(name)
    onnx_folder.write(small, tmp_path, {})
    sessions = Sessions(tmp_path)
    source = np.array([[30, 40, 50, 60, STOP], [70, 80, STOP, 0, 0]])
    with mt.no_grad():
        state, held = small.model.start(source, source > 0), sessions.start(source, source > 0)
        for token in (START, 60, 70, 61):
            logits = sessions.step(np.array([token, token]), held).astype(np.float64)
            shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            expected = small.model.step(np.array([token, token]), state).numpy()
            np.testing.assert_allclose(shares, expected, rtol=1e-5, atol=1e-5)
    for text in TEXTS[:5]:
        ids = small.tokenizer.encode(text)
        assert sessions.greedy(ids) == small.model.generate(mt.asarray([[*ids, STOP]]), LONGEST)[0]
    assert Tokenizer.load(tmp_path / "tokenizer.json").encode(TEXTS[0]) == small.tokenizer.encode(TEXTS[0])


@pytest.mark.parametrize("name", [name for name, shape in SMALL.items() if shape["arch"] == "transformer"])
def test_ctranslate2_gives_the_words_of_the_model(name, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    small = Small(name)
    ctranslate2_folder.write(small, tmp_path, {})
    engine, tokens = ctranslate2.Translator(str(tmp_path), intra_threads=1), small.tokenizer.tokens()
    ids = [small.tokenizer.encode(text) for text in TEXTS]
    found = engine.translate_batch([[tokens[i] for i in one] for one in ids], beam_size=1, max_decoding_length=LONGEST)
    for one, result in zip(ids, found, strict=True):
        expected = small.model.generate(mt.asarray([[*one, STOP]]), LONGEST)[0]
        assert result.hypotheses[0] == [tokens[i] for i in expected]


def test_ctranslate2_has_to_be_told_both_lengths(tmp_path):
    """The longest, or a sentence that does not end is an error; and that there may be none."""
    ctranslate2, small = pytest.importorskip("ctranslate2"), Small("post-norm")
    for folder in (tmp_path / "endless", tmp_path / "empty"):
        folder.mkdir()
        ctranslate2_folder.write(small, folder, {})
        for name, values in small.model.named_parameters():  # then a STOP is always the most probable
            if name.startswith("decoder.layers.0.norm3."):
                row = small.model.state_dict()["output.weight"].numpy()[STOP]
                values.assign(100 * row if name.endswith("bias") else 0 * row)
    endless, empty = (ctranslate2.Translator(str(tmp_path / name), intra_threads=1) for name in ("endless", "empty"))
    tokens = small.tokenizer.tokens()
    ids = [small.tokenizer.encode(text) for text in TEXTS[:2]]
    pieces = [[tokens[i] for i in one] for one in ids]
    told = dict(beam_size=1, max_decoding_length=LONGEST, min_decoding_length=0)
    assert [len(one.hypotheses[0]) for one in endless.translate_batch(pieces, **told)] == [LONGEST] * 2
    with pytest.raises(RuntimeError, match="No position encodings are defined"):
        endless.translate_batch(pieces, beam_size=1)
    assert small.model.generate(mt.asarray([[*ids[0], STOP]]), LONGEST)[0] == []
    assert [one.hypotheses[0] for one in empty.translate_batch(pieces, **told)] == [[], []]
    (found, _) = empty.translate_batch(pieces, beam_size=1, max_decoding_length=LONGEST)
    assert len(found.hypotheses[0]) == 1


@pytest.mark.parametrize("kind", ["onnx", "ctranslate2"])
def test_the_tokenizer_of_a_folder_obeys_no_text(kind, tmp_path):
    """Opened by the `tokenizers` library it cuts as ours does: "<stop>" in a text is text."""
    pytest.importorskip({"onnx": "onnx", "ctranslate2": "ctranslate2"}[kind])
    tokenizers, small = pytest.importorskip("tokenizers"), Small("post-norm")
    (onnx_folder if kind == "onnx" else ctranslate2_folder).write(small, tmp_path, {})
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert exported.get_vocab() == small.tokenizer.vocabulary()
    for text in ("<stop> signs", "<pad><start> cats<stop>", "e\u0301t\u00e9  A cat.", *TEXTS):
        ids = small.tokenizer.encode(text)
        assert exported.encode(text).ids == ids and min(ids) > STOP
        for skip in (True, False):
            assert exported.decode([START, *ids, STOP, PAD], skip_special_tokens=skip) == small.tokenizer.decode(ids)


def test_export_from_the_command_line(tmp_path, capsys):
    pytest.importorskip("onnx")
    data, run = tmp_path / "pairs.tsv", tmp_path / "run"
    data.write_text("".join(f"{one}\t{other}\n" for one, other in sentences(count=60)), encoding="utf-8")
    tiny = "--arch gru --d-model 8 --hidden 8 --vocab 300 --max-length 100 --warmup 2 --steps 2".split()
    assert unreported(call)("train", "--data", data, "--source", "en", "--target", "fr", "--out", run, *tiny) == 0
    out = tmp_path / "out"
    assert call("export", "--run", run, "--to", "onnx", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(onnx_folder.FILES)
    assert json.loads((out / "translator.json").read_text(encoding="utf-8"))["target"] == "fr"
    refused(capsys, "exists; name a new folder", "export", "--run", run, "--to", "onnx", "--out", out)
    refused(capsys, "there is no folder", "export", "--run", run, "--to", "onnx", "--out", tmp_path / "no" / "out")
    refused(capsys, "are for pages", "export", "--run", run, "--to", "onnx", "--out", tmp_path / "x", "--as", "int8")
    said = "CTranslate2 has Transformers alone"
    refused(capsys, said, "export", "--run", run, "--to", "ctranslate2", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".x*"))
