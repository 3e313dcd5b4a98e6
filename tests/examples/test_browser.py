"""A translator exported as a page: its JavaScript computes what the models compute, cuts texts as
the tokenizer does, and the page stands alone.
"""

import json

import numpy as np
import pytest
import translate
from exported import LONGEST, SMALL, Small, data_of, run_node, sentences
from scripts import caller, refuser, unreported
from toolkit import browser
from toolkit.browser.weights import dequantised, quantised
from toolkit.console import UserError, unmarked
from toolkit.reading import as_line
from toolkit.tokenizer import START, STOP, Tokenizer
from toolkit.translator import _one_line

import minitensor as mt

call = caller(translate.main)
refused = refuser(call)
TEXTS = [source for source, _ in sentences(seed=2, count=4)]
TARGET = [START, 60, 70, 61, 62]

ANSWERS = """
const translator = new Translator(GIVEN), found = [];
for (const text of GIVEN.texts) {
  const ids = translator.tokenizer.encode(text), state = translator.model.start([...ids, translator.config.stop]), steps = [];
  for (const id of GIVEN.forced) {
    const [{logp, attention}] = translator.model.step([id], state);
    steps.push({logp: Array.from(logp), attention: attention && Array.from(attention)});
  }
  const [greedy, beam] = [await translator.translate(text), await translator.translate(text, {width: 3, alpha: 0.8})];
  found.push({ids, steps, greedy, beam, words: translator.attention(greedy)});
}
console.log(JSON.stringify(found));
"""


# --- the engine -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "form"), [*((name, "int8") for name in SMALL), ("pre-norm, learned", "float16")])
def test_it_computes_what_the_model_computes(name, form):
    """With the weights that the page has: log-probabilities, attention, greedy search, beam."""
    small = Small(name)
    given = browser.data(small, ("en", "fr"), "", form)
    state = {key: dequantised(values.numpy(), form) for key, values in small.model.state_dict().items()}
    small.model.load_state_dict(state)
    for text, found in zip(TEXTS, run_node(ANSWERS, **given, texts=TEXTS, forced=TARGET), strict=True):
        assert found["ids"] == small.tokenizer.encode(text)
        source = mt.asarray([[*found["ids"], STOP]])
        with mt.no_grad():
            state = small.model.start(source)
            for token, step in zip(TARGET, found["steps"], strict=True):
                answer = small.model.step(np.array([token]), state).numpy()[0]
                np.testing.assert_allclose(step["logp"], answer, rtol=1e-4, atol=1e-4)
        maps = small.model.attention_maps(source, np.array([TARGET]))
        cross = [mt.asarray(maps[key]).numpy()[0].mean(axis=0) for key in maps if key.endswith("cross")]
        shown = [step["attention"] for step in found["steps"]]
        if cross:
            np.testing.assert_allclose(shown, np.mean(cross, axis=0), atol=1e-4)
        else:
            assert shown == [None] * len(TARGET)
        greedy = small.model.generate(source, LONGEST)[0]
        beam = small.model.generate(source, LONGEST, beam_size=3, length_penalty=0.8)[0]
        assert (found["greedy"]["ids"], found["beam"]["ids"]) == (greedy, beam)
        assert found["greedy"]["text"] == _one_line(small.tokenizer.decode(greedy))
        assert bool(found["words"]) == bool(cross)
        for row in (found["words"] or {"shares": []})["shares"]:
            assert sum(row.values()) == pytest.approx(1, abs=1e-4)


def test_words_look_at_words():
    """What the words of both sides are, and what they get, as `Translator.attention` has it."""
    given = {"tokens": ["<pad>", "<start>", "<stop>", "Ġa", "b", "Ġc", "."], "merges": [], "special": 3, "stretch": 100}
    code = """
    const translator = Object.create(Translator.prototype);
    translator.tokenizer = new Tokenizer(GIVEN);
    console.log(JSON.stringify(translator.attention({ids: [3, 4, 5], source: [5, 3, 4, 6, 2],
      looks: [[0.1, 0.2, 0.3, 0.4, 0], [0.3, 0.2, 0.1, 0.2, 0.2], [0, 0, 0, 0, 1]]})));
    """
    found = run_node(code, **given)
    assert (found["sourceWords"], found["targetWords"]) == (["c", "ab", ".", "<stop>"], ["ab", "c"])
    shares = [list(row.values()) for row in found["shares"]]
    np.testing.assert_allclose(shares, [[0.2, 0.4, 0.3, 0.1], [0, 0, 0, 1]], atol=1e-6)


ODD = [
    "", " ", "a", "  two  blanks ", "don't we'll I'M it's", "Été, cafe\u0301!", "x\u00a0y\u2003z\u3000w", "tabs\tand\nlines\r\n\r",
    "1234567 3.14 ²½Ⅷ", "赤い猫が三匹。", "\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7", "<stop> <pad>", "x" * 250, " " * 230,
    "a" * 99 + " " + "b" * 101, "\ufeffbom", "\x85next\u2028line", "é" * 150, "\x00\x1f\x7f",
    "ﬁ Å K", "नमस्ते", "ابجد", "_snake__", "a\u200bb",
]  # fmt: skip


@pytest.mark.parametrize("vocab", [260, 400])
def test_texts_are_cut_as_the_tokenizer_cuts_them(vocab):
    tokenizer = Tokenizer.train([*(text for pair in sentences() for text in pair), *ODD], vocab)
    small = type("Small", (), {"tokenizer": tokenizer})
    code = """
    const tokenizer = new Tokenizer(GIVEN), ids = GIVEN.texts.map(text => tokenizer.encode(text));
    console.log(JSON.stringify([ids, ids.map(one => tokenizer.decode(one)), GIVEN.ids.map(one => tokenizer.decode(one))]));
    """
    numbers = np.random.default_rng(0)
    strange = [numbers.integers(0, tokenizer.vocab_size, 12).tolist() for _ in range(40)]
    ids, texts, decoded = run_node(code, **browser._tokenizer(small), texts=ODD, ids=strange)
    assert ids == [tokenizer.encode(text) for text in ODD]
    assert texts == [_one_line(tokenizer.decode(one)) for one in ids]
    assert decoded == [_one_line(tokenizer.decode(one)) for one in strange]


def test_what_is_typed_becomes_what_a_line_of_a_file_is():
    """No character at an end, and none that is composed, is taken for another than in Python."""
    letters = [chr(code) for code in range(0x1_1000) if not 0xD800 <= code < 0xE000]
    texts = [*ODD, " e\u0301t\u00e9 \u200b", *(f"{letter}e\u0301 {letter}" for letter in letters)]
    found = run_node("console.log(JSON.stringify(GIVEN.texts.map(asLine)))", texts=texts)
    assert found == [as_line(unmarked(text)) for text in texts]
    assert found[len(ODD)] == "\u00e9t\u00e9 \u200b"
    assert 'input.value.split("\\n").map(asLine)' in browser.script("form.js")


def test_halves_are_those_of_ieee():
    values = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    found = run_node("console.log(JSON.stringify(Array.from({length: 65536}, (_, bits) => String(half(bits)))))")
    said = np.array([float(text.replace("Infinity", "inf")) for text in found])
    np.testing.assert_array_equal(said, values)


def test_what_cannot_be_translated_is_said():
    code = """
    const translator = new Translator(GIVEN), said = [];
    for (const text of GIVEN.texts) await translator.translate(text).catch(error => said.push(error.message));
    console.log(JSON.stringify(said));
    """
    given = browser.data(Small("gru"), ("en", "fr"), "")
    said = run_node(code, **given, texts=[" \n", "cat " * 50])
    assert said[0] == "There is nothing to translate." and f"at most {LONGEST - 1} can be translated" in said[1]


def test_what_is_cut_off_is_said():
    """Of a model that stops at a step, or later than the longest output."""
    code = """
    const translator = new Translator(GIVEN), found = [];
    for (const last of GIVEN.steps) {
      translator.model = {start: () => ({steps: 0}), reorder() {}, step(ids, state) {
        const best = ++state.steps === last ? translator.config.stop : 60;
        const logp = Float32Array.from({length: 200}, (_, id) => (id === best ? -0.1 : id > 100 ? -9 : -99));
        return ids.map(() => ({logp, attention: null}));
      }};
      for (const width of [1, 3]) found.push((await translator.translate("A cat.", {width})).cut);
    }
    console.log(JSON.stringify(found));
    """
    given = browser.data(Small("gru"), ("en", "fr"), "")
    assert run_node(code, **given, steps=[1, LONGEST, LONGEST + 1]) == [False] * 4 + [True] * 2
    code = f"""
    const make = () => null, DATA = {{}};
    {browser.script("form.js")}
    console.log(JSON.stringify(GIVEN.cut.map(cutOff)));
    """
    said = run_node(code, cut=[[False], [True], [False, False], [False, True], [True, False, True]])
    ends = "cut off at the longest length that the model was trained for."
    assert said == [
        "", f". The translation is {ends}", "", f". Line 2 of the translation is {ends}",
        f". Lines 1, 3 of the translation are {ends}",
    ]  # fmt: skip


# --- weights --------------------------------------------------------------------------------------


def test_bytes_are_within_half_a_level():
    values = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32) * np.array(
        [[1], [1e-6], [1e6], [0], [1]], np.float32
    )
    scales, levels = quantised(values)
    assert levels.dtype == np.int8 and abs(levels.astype(int)).max() == 127 and scales[3] == 0
    assert (abs(values - dequantised(values, "int8")) <= 0.5001 * scales[:, None]).all()
    np.testing.assert_array_equal(dequantised(values[0], "int8"), values[0])  # a vector stays


@pytest.mark.parametrize(
    ("form", "value", "said"), [("float16", 1e6, "too large for float16"), ("int8", np.nan, "is not finite")]
)
def test_weights_that_a_form_cannot_hold_are_refused(form, value, said):
    small = Small("gru")
    parameter = dict(small.model.named_parameters())["readout.weight"]
    values = parameter.numpy().copy()
    values[0, 0] = value
    parameter.assign(values)
    with pytest.raises(UserError, match=f"readout.weight.*{said}"):
        browser.data(small, ("en", "fr"), "", form)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_holds_all_and_asks_for_nothing():
    made = browser.page(Small("post-norm"), ("<en>", "fr"), "</script><b>")
    text = made.decode("utf-8")
    assert "default-src 'none'" in text and "&lt;en&gt; to fr" in text
    assert "src=" not in text and "fetch(" not in text
    assert data_of(made)["example"] == "</script><b>" and text.count("</script>") == 2


def test_export(tmp_path, capsys):
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{one}\t{other}\n" for one, other in sentences(count=60)), encoding="utf-8")
    tiny = "--arch gru --d-model 8 --hidden 8 --vocab 300 --max-length 100 --warmup 2 --steps 2".split()
    run, page = tmp_path / "run", tmp_path / "page.html"
    languages = "--source", "en", "--target", "fr"
    assert unreported(call)("train", "--data", data, *languages, "--out", run, *tiny) == 0
    assert call("export", "--run", run, "--out", page) == 0
    assert "MB, weights as int8" in capsys.readouterr().out
    small = data_of(page.read_bytes())
    assert len(small["example"].split()) > 4 and small["config"]["cell"] == "gru"
    refused(capsys, "page.html exists; name a new file", "export", "--run", run, "--out", page, "--as", "float16")
    assert data_of(page.read_bytes()) == small
    (tmp_path / "pairs.tsv").unlink()
    page = tmp_path / "other.html"
    assert call("export", "--run", run, "--out", page, "--as", "float16", "--example", "A cat.") == 0
    whole = data_of(page.read_bytes())
    assert whole["example"] == "A cat." and len(json.dumps(whole)) > len(json.dumps(small))
    refused(capsys, "must end in .html", "export", "--run", run, "--out", tmp_path / "page")
