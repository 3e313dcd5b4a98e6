"""Numbers of the command line: refused when they are parsed, whatever they are."""

import argparse
import doctest
import typing

import captions
import digits
import forecast
import from_rnn_to_transformer
import genes
import language_model
import languages
import masked_language_model
import pytest
import sentence_similarity
import sentiment
import speech
import stories
import summaries
import text_to_text
import translate
from toolkit import console, numbers
from toolkit.console import UserError
from toolkit.numbers import integer, natural_number, positive_integer, real
from toolkit.reading import as_line, composed
from toolkit.targets import listed

ODD = ("nan", "inf", "-inf", "-1e308", "1e308", "-1", "9" * 30, "9" * 400, "x", "")
PROGRAMS = {
    "captions": captions.Captions(), "digits": digits.Digits(), "forecast": forecast.Forecast(), "genes": genes.Genes(),
    "language_model": language_model.LanguageModel(), "languages": languages.Languages(),
    "masked": masked_language_model.MaskedLanguageModel(), "sentiment": sentiment.Sentiment(),
    "speech": speech.Speech(), "stories": stories.main.__self__, "summaries": summaries.Summaries(),
    "text_to_text": text_to_text.TextToText(), "translate": translate.Translate(),
}  # fmt: skip


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(numbers).failed == 0


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (integer(2, 9), ["2", "9", " 3 "], ["1", "10", "2.0", "-3", "nan", "inf", "", "9" * 5000]),
        (positive_integer, ["1", "2147483647"], ["0", "-1", "2147483648", "1e3"]),
        (natural_number, ["0", str(2**64 - 1)], ["-1", str(2**64)]),
        (real(0, 1), ["0", "1", "1e-9", "0.5"], ["nan", "-nan", "inf", "-inf", "-1e-9", "1.1", "1e400", "x", ""]),
    ],
)
def test_what_is_out_of_range_is_refused(kind, good, bad):
    for text in good:
        assert float(kind(text)) == float(text)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_setting_refuses_what_no_training_can_use(name, capsys):
    """Each number of `train` by itself: a UserError or argparse's own, or settings that are finite
    and of a sane size.
    """
    program = PROGRAMS[name]
    parser = program._parser()
    kinds = typing.get_type_hints(program.settings)
    for field in vars(program.settings()):
        if {bool, str} & {kinds[field], *typing.get_args(kinds[field])}:
            continue
        for text in ODD:
            try:
                options = parser.parse_args(["train", f"--{field.replace('_', '-')}={text}"])
                settings = program.settings(**{field: getattr(options, field)})
            except (UserError, SystemExit):
                continue
            value = getattr(settings, field)
            assert isinstance(value, float) and abs(value) <= 1e308 or 0 <= value < 2**64, (field, text)
    capsys.readouterr()


def numbers_of(parser):
    """Each option, of subcommands too, that makes a number of its text."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if name not in ("train", "check"):  # hyper-parameters are checked by the settings
                    yield from numbers_of(inner)
        elif action.type not in (None, as_line, composed, listed, console.path) and action.dest != "index":
            yield action  # an --index is checked against the images instead


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_subcommand_takes_a_number_that_is_none(name):
    for action in numbers_of(PROGRAMS[name]._parser()):
        assert action.type is not float, action.option_strings
        for text in ("nan", "inf", "-inf", "1e308", "9" * 30):
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                action.type(text)


@pytest.mark.parametrize("main", [from_rnn_to_transformer.main, sentence_similarity.main])
@pytest.mark.parametrize("text", ["nan", "inf", "-1", "9" * 30])
def test_programs_without_runs(main, text, capsys):
    flag = "--workers" if main is from_rnn_to_transformer.main else "--top"
    with pytest.raises(SystemExit) as ending:
        main([f"{flag}={text}"])
    assert ending.value.code == 2
    assert "error: argument" in capsys.readouterr().err
