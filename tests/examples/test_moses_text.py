"""--moses: a model that reads and writes lower-case Moses tokens, and translates for people."""

import pytest
import translate
from scripts import caller, refuser, unreported, write_parallel
from toolkit.bleu import moses, score
from toolkit.corpus import Corpus
from toolkit.moses_text import TextForm, in_moses_form
from toolkit.runs import Run
from toolkit.targets import into
from toolkit.translator import Translator

ENGLISH = ["The man's dog (a small one) isn't here.", 'He says: "Yes, at 10.30!"', "Mr. Smith's   hat"]
FRENCH = ["Le chien de l'homme (un petit) n'est pas là.", "Il dit : « Oui, à 10 h 30 ! »", "Qu'est-ce que c'est ?"]
PAIRS = [(source, target) for source in ENGLISH for target in FRENCH for _ in range(3)]
LEARN = "--arch gru --attention none --hidden 8 --d-model 8 --vocab 300 --steps 3 --max-length 60 --dropout 0".split()

call = caller(translate.main)
learned, refused = unreported(call), refuser(call)


def test_tokens_for_the_model_and_text_for_people():
    form = TextForm.moses("en", "fr")
    assert form.source("The man's dog.") == "the man 's dog ."
    assert form.target("L'homme d'affaires l'a vu !") == "l' homme d' affaires l' a vu !"
    assert form.back("l' homme d' affaires l' a vu !") == "l'homme d'affaires l'a vu !" and form.back("") == ""
    assert form.into("de").target('Der "Hund".') == 'der " hund " .'
    plain = TextForm()
    assert plain.into("de") is plain and plain.source("A b.") == "A b."


@pytest.mark.parametrize("name", ["French", "fra", "fr-FR", "fr_CA", "Français"])
def test_a_language_has_its_rules_by_any_of_its_names(name):
    """Those of English cut and join an elision elsewhere: « l 'homme »."""
    form, text = TextForm.moses("English", name), FRENCH[0]
    assert form.target(text) == TextForm.moses("en", "fr").target(text) != moses("en")(text)
    assert form.back(form.target(text)) == "le chien de l'homme (un petit) n'est pas là."
    assert score(["Le chien de l'ami"], FRENCH[:1], name) == score(["Le chien de l'ami"], FRENCH[:1], "fr")


@pytest.mark.parametrize("language, texts", [("en", ENGLISH), ("fr", FRENCH)])
def test_what_is_written_for_people_has_the_tokens_that_the_model_wrote(language, texts):
    form, tokens = TextForm.moses("en", language), moses(language)
    for text in texts:
        assert tokens(form.back(form.target(text))) == form.target(text) == tokens(text)
    scores = score([form.back(form.target(text)) for text in texts], texts, language)
    assert scores.bleu_tokenised.value == pytest.approx(100.0) and scores.bleu.value < 100.0


def test_all_of_a_corpus_is_prepared_by_its_languages():
    made = in_moses_form(Corpus(PAIRS, PAIRS[:1], {"test": PAIRS[1:2]}, languages=("en", "fr")))
    assert made.train[0] == (moses("en")(ENGLISH[0]), moses("fr")(FRENCH[0])) == made.validation[0]
    assert made.tests["test"][0][1] == moses("fr")(FRENCH[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has hardly learned, of a folder with two target languages."""
    rows = [(source, target, target) for source, target in PAIRS]
    splits = {"train": rows, "val": rows[:3], "test": rows[:2]}
    data = write_parallel(tmp_path_factory.mktemp("data"), ("en", "fr", "de"), splits)
    folder = data / "run"
    assert (
        learned("train", "--data", data, "--source", "en", "--target", "fr,de", "--moses", "--out", folder, *LEARN) == 0
    )
    return folder


def test_a_run_reads_raw_text(run, capsys):
    opened = Run.open(run, "translate", translate.Translate.settings)
    translator = into(Translator(opened), opened.about["data"], "fr")
    tokens = moses("en")(ENGLISH[0])
    assert translator.encode([ENGLISH[0]], "sentence")[0][1:] == translator.tokenizer.encode(tokens)
    assert translator.form.target(FRENCH[0]) == moses("fr")(FRENCH[0])
    assert call("evaluate", "--run", run, "--to", "fr") == 0
    told = capsys.readouterr()
    assert "lower-cased, Moses" in told.out and "sentences, in lower case alone:" in told.out
    assert "in lower case alone, by --moses of train: only BLEU in lower case judges it" in told.err
    (forced,) = translator.score([(ENGLISH[0], FRENCH[0])])
    assert forced == translator.score([(ENGLISH[0].upper(), FRENCH[0].upper())])[0]


def test_an_export_would_lack_the_preparation(run, tmp_path, capsys):
    one = tmp_path / "one"
    data = "--data", run.parent, "--source", "en", "--target", "fr"
    assert learned("train", *data, "--moses", "--out", one, *LEARN) == 0
    refused(capsys, "--moses", "export", "--run", one, "--out", tmp_path / "page.html")
    refused(capsys, "--moses", "export", "--run", one, "--to", "onnx", "--out", tmp_path / "folder")
