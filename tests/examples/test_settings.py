"""Hyper-parameters: from the command line, from a run's JSON, checked against their ranges."""

import argparse
import dataclasses
import doctest

import pytest
from toolkit import settings as module
from toolkit.console import UserError
from toolkit.settings import Training, add_options, from_dict, given_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape(Training):
    width: int = option(128, "features, 100 % of them", least=1)
    residual: bool = option(True, "add the input")


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_options(parser, Shape)
    return given_options(parser.parse_args(arguments), Shape)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0


def test_only_what_is_given_is_set():
    assert parse() == {}
    given = {
        "no_residual": ["--no-residual"],
        "lr": ["--lr", "1e-3"],
        "steps": ["--steps", "7"],
        "schedule": ["--schedule", "constant"],
    }
    assert parse(*sum(given.values(), [])) == {"residual": False, "lr": 1e-3, "steps": 7, "schedule": "constant"}


def test_every_field_is_an_option_with_help():
    parser = argparse.ArgumentParser()
    add_options(parser, Shape)
    text = parser.format_help()
    for field in dataclasses.fields(Shape):
        assert "--" + field.name.replace("_", "-") in text
    assert "100 % of them (128)" in " ".join(text.split())


def test_a_training_has_an_end():
    assert Training().epochs == 50
    assert Training(minutes=3.0).epochs is None
    assert Training(patience=3).epochs is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(lr=-1.0), "--lr -1.0: it must be at least 0"),
        (dict(lr=float("nan")), "--lr nan: it must be at least 0"),
        (dict(beta2=1.0), "--beta2 1.0: it must be below 1"),
        (dict(schedule="linear"), "--schedule linear: write one of inverse-sqrt, cosine, constant"),
        (dict(schedule="cosine", minutes=3.0), "--schedule cosine ends at a known update; give --steps or --epochs"),
        (dict(width=0), "--width 0: it must be at least 1"),
    ],
)
def test_values_out_of_range_are_told_with_their_option(changes, message):
    with pytest.raises(UserError) as error:
        Shape(**changes)
    assert str(error.value) == message


def test_settings_survive_json_and_other_versions_are_told():
    values = dataclasses.asdict(Shape(width=3))
    assert from_dict(Shape, values, "config.json") == Shape(width=3)
    del values["width"]
    with pytest.raises(
        UserError, match=r"config\.json was written by another version of this program \(it differs in: height, width\)"
    ):
        from_dict(Shape, {**values, "height": 1}, "config.json")


def test_a_setting_that_was_added_has_its_default_in_runs_of_before():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Grown(Shape):
        depth: int = option(2, "layers", added=True)

    values = dataclasses.asdict(Shape(width=3))
    assert from_dict(Grown, values, "config.json") == Grown(width=3)
    assert from_dict(Grown, {**values, "depth": 5}, "config.json") == Grown(width=3, depth=5)
