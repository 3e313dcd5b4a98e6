"""One model of several target languages: what asks for one, what each subcommand does with it, and
that a run of one target knows nothing of it.
"""

import http.client
import json
import threading
from contextlib import closing

import numpy as np
import pytest
import translate
from scripts import caller, refuser, unreported, write_parallel
from toolkit import targets
from toolkit.serving import Limits, Refused, Server, Together
from toolkit.targets import into, learn_shared, load_corpora, tagged
from toolkit.tokenizer import Tokenizer, encode_tagged
from toolkit.translation import Settings, Task, fingerprint, learn_tokenizer, load_corpus
from toolkit.translator import Translator

NUMBERS = [("two", "zwei", "deux"), ("three", "drei", "trois"), ("ten", "zehn", "dix"), ("six", "sechs", "six")]
NOUNS = [
    ("dogs", "Hunde", "chiens"),
    ("cats", "Katzen", "chats"),
    ("cars", "Autos", "voitures"),
    ("trees", "Bäume", "arbres"),
]
TEXTS = [tuple(f"{number[k]} {noun[k]}" for k in range(3)) for number in NUMBERS for noun in NOUNS]
SPLITS = {"train": TEXTS[:14], "val": TEXTS[:2], "test_small": TEXTS[:4]}
LEARN = "--arch gru --attention dot --layers 1 --d-model 32 --hidden 32 --vocab 300 --max-length 16 --dropout 0".split()
LEARN += "--label-smoothing 0 --lr 0.02 --warmup 20 --schedule constant --max-tokens 600 --steps 40 --validate-every 40".split()

call = caller(translate.main)
refused = refuser(call)
call_unreported = unreported(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parallel(tmp_path_factory.mktemp("data"), ("en", "de", "fr"), SPLITS)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run that has learned its few pairs in both languages."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--source", "en", "--target", "de, fr", "--out", folder, *LEARN) == 0
    return folder


@pytest.fixture(scope="module")
def single(data, tmp_path_factory):
    """A run of one target, that has learned nothing."""
    folder = tmp_path_factory.mktemp("runs") / "single"
    usual = ["--data", data, "--source", "en", "--target", "fr", "--out", folder]
    assert call_unreported("train", *usual, *LEARN, "--steps", 1) == 0
    return folder


def printed(capsys, *arguments):
    capsys.readouterr()
    assert call(*arguments) == 0
    return capsys.readouterr().out


# --- the token ------------------------------------------------------------------------------------


def test_no_text_gives_the_token_that_asks_for_a_language(tmp_path):
    tokenizer = Tokenizer.train(["<2de> a <2de> <2fr>"] * 3, 300, tags=["<2de>", "<2fr>"])
    tokenizer.save(tmp_path / "tokenizer.json")
    for one in (tokenizer, Tokenizer.load(tmp_path / "tokenizer.json")):
        assert one.special[3:] == ("<2de>", "<2fr>") and one.tokens()[3:5] == ["<2de>", "<2fr>"]
        text = "<2de> a <2fr><2fr>"
        plain, behind = one.encode(text), encode_tagged(one, [text], "<2fr>")[0]
        assert min(plain) > 4 and behind == [4, *plain] and one.decode(behind) == text
        assert one.labels(behind)[0] == "<2fr>" and one.words([3, *one.encode("a")])[0] == ["<2de>", "a"]
    assert Tokenizer.train(["a b"], 300).special == ("<pad>", "<start>", "<stop>")


def test_all_pairs_are_trained_on_behind_their_token(data):
    corpora = load_corpora(str(data), "en", ["de", "fr"])
    settings = Settings(d_model=8, heads=2, layers=1, d_ff=8, vocab=300, max_tokens=600)
    task = Task(tagged(corpora), learn_shared(corpora, settings), settings)
    found = []
    for batches, splits in ((task.batches, "train"), (task.validation, "val")):
        batch = batches.batch(np.arange(len(batches)))
        assert list(batch.source[:, 0]) == [3] * len(SPLITS[splits]) + [4] * len(SPLITS[splits])
        found += [
            (task.tokenizer.decode(s), task.tokenizer.decode(t))
            for s, t in zip(batch.source, batch.target_out, strict=True)
        ]
    assert found[:28] == [(en, de) for en, de, _ in SPLITS["train"]] + [(en, fr) for en, _, fr in SPLITS["train"]]


def test_one_target_is_what_it_was(data, single):
    settings = Settings(vocab=300)
    corpus, corpora = load_corpus(str(data), "en", "fr"), load_corpora(str(data), "en", ["fr"])
    assert tagged(corpora) == corpus and targets.fingerprint_all(corpora) == fingerprint(corpus)
    assert learn_shared(corpora, settings).to_json() == learn_tokenizer(corpus, settings).to_json()
    config = json.loads((single / "config.json").read_text(encoding="utf-8"))
    assert config["data"] == {
        "path": str(data), "source": "en", "target": "fr", "skip_blank": False, "skip_bad": False,
        "fingerprint": fingerprint(corpus),
    }  # fmt: skip


# --- a run ----------------------------------------------------------------------------------------


def test_it_translates_into_the_language_that_is_asked_for(run, capsys):
    for to, side in (("de", 1), ("fr", 2), ("German", 1)):
        out = printed(capsys, "translate", "--run", run, "--to", to, *(text[0] for text in TEXTS[:6]))
        assert out.splitlines() == [text[side] for text in TEXTS[:6]]
    scores = [
        float(printed(capsys, "score", "--run", run, "--to", to, "two dogs", "zwei Hunde").split("\t")[0])
        for to in ("de", "fr")
    ]
    assert scores[0] > -0.5 and scores[1] < scores[0] - 5


def test_the_language_must_be_said_and_known(run, single, capsys):
    missing = "the run translates into de and fr; say which by --to, such as: --to de"
    for arguments in (("translate", "A"), ("score", "A", "B"), ("attention", "A"), ("explain", "A")):
        refused(capsys, missing, arguments[0], "--run", run, *arguments[1:])
        wrong = "--to es: the run translates into de and fr; name one"
        refused(capsys, wrong, arguments[0], "--run", run, "--to", "es", *arguments[1:])
    refused(capsys, "--to es: the run", "evaluate", "--run", run, "--to", "es")
    refused(capsys, "--to de: the run translates into fr; name it", "translate", "--run", single, "--to", "de", "A")
    assert printed(capsys, "translate", "--run", single, "--to", "fr", "A") == printed(
        capsys, "translate", "--run", single, "A"
    )


def test_each_language_is_evaluated(run, single, data, tmp_path, capsys):
    out = printed(capsys, "evaluate", "--run", run, "--details", "--page", tmp_path / "a.html")
    assert [out.count(f"test_small, {to}, 4 sentences:") for to in ("de", "fr")] == [1, 1]
    assert out.count("BLEU 100.00") == 4  # in two ways each
    out = printed(capsys, "evaluate", "--run", run, "--to", "fr", "--against", single, "--split", "validation")
    assert "validation, fr, 2 sentences" in out and "de," not in out and "p" in out
    out = printed(capsys, "evaluate", "--run", single, "--against", run)
    assert out.startswith("test_small, 4 sentences") and " 100.00 " in out  # that of the other, into French
    refused(capsys, "cannot be compared", "evaluate", "--run", run, "--against", single)
    table = tmp_path / "pairs.tsv"
    table.write_text("two dogs\tdeux chiens\n", encoding="utf-8")
    cure = "is a file of pairs, of one target; say which by --to, such as: --to de"
    refused(capsys, cure, "evaluate", "--run", run, "--data", table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACREBLEU_SEED", "abc")
        refused(capsys, "SACREBLEU_SEED=abc; it must be a whole number", "evaluate", "--run", run)
    assert "test, fr, 1 sentence" in printed(capsys, "evaluate", "--run", run, "--data", table, "--to", "fr")
    assert "deux chiens" in printed(capsys, "score", "--run", run, "--data", table, "--to", "fr")


def test_what_is_looked_at_begins_with_the_token(run, tmp_path, capsys):
    assert call("attention", "--run", run, "--to", "de", "two dogs", "--output", tmp_path / "a.png") == 0
    assert call("explain", "--run", run, "--to", "de", "two dogs", "--out", tmp_path / "a.html") == 0
    translator = open_run(run)
    _, source, target = into(translator, {"target": "de,fr"}, "de").attention("two dogs")
    assert source == ["<2de>", "two", "dogs", "<stop>"] and target == ["zwei", "Hunde", "<stop>"]
    assert "<2de>" in str(into(translator, {"target": "de,fr"}, "de").explain("two dogs"))


def test_requests_say_the_language(run):
    translator = open_run(run)
    several = {to: into(translator, {"target": "de,fr"}, to) for to in ("de", "fr")}
    with Server(several, ("en", "de, fr"), "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(**more):
            with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=30)) as connection:
                body = json.dumps({"texts": ["two dogs"], **more})
                connection.request("POST", "/translate", body, {"Content-Type": "application/json"})
                return json.loads(connection.getresponse().read())

        assert ask(to="de") == {"translations": ["zwei Hunde"], "cut_off": [False]}
        assert ask(to="fr")["translations"] == ["deux chiens"]
        assert ask(to="German") == ask(to="de-DE") == ask(to="de") and ask(to="français") == ask(to="fr")
        assert ask() == ask(to="es") == {"error": '"to" must be one of: de, fr'}
        assert '"to" must be the name of a language' in ask(to=3)["error"]
        server.shutdown()
    together = Together(translator, Limits())
    with pytest.raises(Refused, match="there is one target language"):
        together.translate(["two dogs"], 1, "de")
    together.close()
    together = Together({"de": several["de"]}, Limits())  # of a run with one, as translate --to takes it
    for to in ("", "de", "German"):
        assert together.translate(["two dogs"], 1, to).translations == ["zwei Hunde"]
    with pytest.raises(Refused, match='"to" must be one of: de'):
        together.translate(["two dogs"], 1, "French")
    together.close()


def test_it_is_resumed_checked_and_not_exported(run, data, tmp_path, capsys):
    usual = ["train", "--data", data, "--source", "en", "--target", "de,fr", *LEARN]
    assert call_unreported(*usual, "--steps", 2, "--out", tmp_path / "parts") == 0
    assert call_unreported("train", "--resume", "--target", "de,fr", "--steps", 4, "--out", tmp_path / "parts") == 0
    assert call_unreported(*usual, "--steps", 4, "--out", tmp_path / "whole") == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert weights[0] == weights[1]
    out = printed(capsys, "check", "--data", data, "--source", "en", "--target", "de,fr", *LEARN)
    assert "en to de:\n" in out and "en to fr:\n" in out and out.count("expected: ") == 1
    for kind, path in (("html", "a.html"), ("onnx", "a"), ("ctranslate2", "a")):
        said = "translates into de and fr; what is exported has one target language"
        refused(capsys, said, "export", "--run", run, "--to", kind, "--out", tmp_path / path)


def test_bad_languages_are_refused(data, tmp_path, capsys):
    usual = ["train", "--data", data, "--source", "en", "--out", tmp_path / "run", *LEARN, "--target"]
    refused(capsys, "names de twice", *usual, "de,fr,de")
    refused(capsys, "names the source, en", *usual, "de,en")
    refused(capsys, "has an empty name", *usual, "de,")
    refused(capsys, "has no language 'es'; there are: de, en, fr", *usual, "de,es")
    refused(capsys, "has no language 'es'", *usual, "es")
    refused(
        capsys,
        "makes pairs of one target",
        "diversify",
        *usual[1:5],
        "--target",
        "de,fr",
        "--out",
        tmp_path / "a",
        "--forward",
        "x",
    )
    assert not (tmp_path / "run").exists()


def open_run(folder):
    return Translator(translate.Run.open(folder, "translate", Settings))
