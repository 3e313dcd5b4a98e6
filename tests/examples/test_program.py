"""The life of a run, by an example of a few lines: a line through points."""

import json
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scripts import caller, refuser, unreported
from toolkit import ranks
from toolkit.console import UserError
from toolkit.program import Program, digest, load_weights, place, positive_integer
from toolkit.runlog import read_log
from toolkit.runs import Run
from toolkit.settings import Training, option

import minitensor as mt
from minitensor import nn

TINY = ["--lr", "0.1", "--warmup", "1", "--epochs", "2", "--schedule", "constant"]


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Those of any training, and one more."""

    width: int = option(1, "outputs", least=1)


class Points:
    """A batch of points."""

    def __init__(self, x, y):
        self.x, self.y, self.tokens = x, y, len(x)

    def split(self, parts):
        return [self]


class Task:
    """Least squares on points, eight at a time."""

    def __init__(self, points, settings):
        mt.random.seed(settings.seed)
        self.points = points
        self.model = place(nn.Linear(1, settings.width), settings.device)

    def epoch(self, number):
        return [Points(*self.points[:, start : start + 8]) for start in range(0, self.points.shape[1], 8)]

    def loss(self, batch, divide_by):
        error = self.model(mt.tensor(batch.x[:, None])) - mt.tensor(batch.y[:, None])
        return (error * error).sum() / divide_by

    def validate(self):
        return {"validation_loss": sum(self.loss(batch, 16).item() for batch in self.epoch(0))}


class Line(Program):
    """Train on points, whose slope is an option of the data."""

    name, settings = "line", Settings
    files = ("slope.txt",)
    loss_label = "squared error"

    def add_data_options(self, parser):
        parser.add_argument("--slope", type=int, help="slope of the embedded points")

    def describe(self, options):
        return {"slope": options.slope or 2}

    def presets(self, data, given):
        return {"epochs": 3, "lr": 0.2 if given.get("width", 1) > 1 else 0.1}

    def run_name(self, data):
        return f"line-{data['slope']}"

    def load(self, data):
        if data["path"] is not None:
            return np.loadtxt(data["path"], dtype=np.float32)
        x = np.linspace(-1, 1, 16, dtype=np.float32)
        return np.stack([x, data["slope"] * x])

    def fingerprint(self, loaded):
        return digest([loaded.tobytes()])

    def make_task(self, loaded, settings, run):
        return Task(loaded, settings)

    def save(self, task, run):
        run.path("slope.txt").write_text("written", encoding="utf-8")

    def report(self, run, loaded, task):
        print(f"slope {task.model.weight.data[0, 0]:.3f}")

    def commands(self, add):
        made = add("predict", self.predict, "the value at a point")
        made.add_argument("x", type=float)
        made.add_argument("--times", type=positive_integer, default=1)
        add("hello", lambda options: print("hello"), "greet", of_a_run=False)

    def predict(self, options):
        run, device = self.open(options)
        model = place(nn.Linear(1, run.settings.width), device)
        print(load_weights(model, run, options.weights))
        for _ in range(options.times):
            print(f"{model(mt.tensor([[options.x]])).item():.3f}")


call = caller(lambda arguments: Line().main(arguments))
refused = refuser(call)


def config_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--out", folder, "--slope", 3, *TINY) == 0
    return folder


def test_a_run_leaves_all_that_is_promised(run):
    for name in ("config.json", "slope.txt", "weights.safetensors", "log.jsonl", "loss.png"):
        assert (run / name).stat().st_size > 0, name
    config = config_of(run)
    assert config["program"] == "line" and config["settings"]["epochs"] == 2 and config["settings"]["lr"] == 0.1
    assert config["data"].keys() == {"path", "slope", "fingerprint"} and config["data"]["slope"] == 3
    assert "result" in read_log(run / "log.jsonl")[-1]


def test_without_arguments_it_trains_on_the_embedded_data_in_a_fresh_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call() == 0 and call() == 0
    assert "2 parameters" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["line-2", "line-2-2"]


def test_presets_give_way_to_what_is_given(tmp_path):
    for number, (given, expected) in enumerate(
        [([], (3, None, 0.1)), (["--steps", 2], (None, 2, 0.1)), (["--width", 2, "--epochs", 1], (1, None, 0.2))]
    ):
        folder = tmp_path / str(number)
        assert unreported(call)("train", "--out", folder, *given) == 0
        settings = config_of(folder)["settings"]
        assert (settings["epochs"], settings["steps"], settings["lr"]) == expected


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    assert unreported(call)("train", "--out", tmp_path / "whole", *TINY, "--epochs", 4) == 0
    assert unreported(call)("train", "--out", tmp_path / "parts", *TINY) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--epochs", 4, "--slope", 2) == 0
    assert config_of(tmp_path / "parts")["settings"]["epochs"] == 4
    assert (tmp_path / "parts" / "weights.safetensors").read_bytes() == (
        tmp_path / "whole" / "weights.safetensors"
    ).read_bytes()


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Task, "validate", interrupt_once(Task.validate))
    assert call("train", "--out", tmp_path / "run", *TINY) == 130
    assert f"go on by: {Line().command} train --resume --out {tmp_path / 'run'}" in capsys.readouterr().out
    assert call("predict", "--run", tmp_path / "run", 1) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("best\n") and "not trained to its end; these are its best weights" in captured.err
    assert call("train", "--resume", "--out", tmp_path / "run") == 0


def interrupt_once(validate):
    """``validate``, during whose first call Ctrl-C is pressed."""
    pressed = []

    def spoilt(self):
        if not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return validate(self)

    return spoilt


def test_force_replaces_a_run_and_nothing_else(tmp_path):
    assert unreported(call)("train", "--out", tmp_path, *TINY) == 0
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    config = config_of(tmp_path)  # as if another program had left it
    (tmp_path / "theirs.png").write_text("old", encoding="utf-8")
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "program": "chess", "files": ["theirs.png", "../a"]}), encoding="utf-8"
    )
    (tmp_path.parent / "a").write_text("mine", encoding="utf-8")
    assert unreported(call)("train", "--out", tmp_path, *TINY, "--force", "--slope", 5) == 0
    assert not (tmp_path / "theirs.png").exists()
    assert (tmp_path / "notes.txt").exists() and (tmp_path.parent / "a").exists()
    assert config_of(tmp_path)["files"] == ["slope.txt"]


def test_pictures_of_other_data_leave_those_of_the_runs_own(tmp_path):
    assert unreported(call)("train", "--out", tmp_path, *TINY) == 0
    config = config_of(tmp_path) | {"files": ["words.png", "slope.txt"]}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    run = Run(tmp_path, None, {})
    own, other = run.picture("words.png"), run.tested_on("elsewhere/a[b].tsv").picture("words.png")
    assert (own.name, other.name) == ("words.png", "words-of-a[b].tsv.png")
    assert run.tested_on(None).picture("words.png") == own
    mine = tmp_path / "words-off.png"
    for path in (own, other, mine):
        path.write_text("drawn", encoding="utf-8")
    assert unreported(call)("train", "--out", tmp_path, *TINY, "--force") == 0
    assert [path.exists() for path in (own, other, mine)] == [False, False, True]


def test_what_is_refused(run, tmp_path, capsys):
    before = (run / "weights.safetensors").read_bytes()
    resume = "train", "--resume", "--out", run
    refused(capsys, "--resume needs the folder", "train", "--resume")
    refused(capsys, "there is no run", "train", "--resume", "--out", tmp_path / "nothing")
    refused(capsys, "leave out --force and --slope", *resume, "--slope", 4)
    refused(capsys, "leave out --force and --slope", *resume, "--force")
    refused(capsys, "a resumed run keeps its settings, --lr, --width cannot change", *resume, "--lr", 1, "--width", 2)
    np.savetxt(tmp_path / "points.txt", np.zeros((2, 16)))
    refused(capsys, "is not what the run has been trained on", *resume, "--data", tmp_path / "points.txt")
    refused(capsys, "holds a run already", "train", "--out", run, *TINY)
    refused(capsys, "--width 0: it must be at least 1", "train", "--out", tmp_path / "a", "--width", 0)
    refused(capsys, "--device tpu: unknown device", "train", "--out", tmp_path / "a", "--device", "tpu")
    refused(capsys, "there is no run", "predict", "--run", tmp_path / "nothing", 1)
    assert not (tmp_path / "a").exists()
    assert (run / "weights.safetensors").read_bytes() == before


def test_with_cosine_the_end_is_fixed(tmp_path, capsys):
    assert unreported(call)("train", "--out", tmp_path, *TINY, "--schedule", "cosine") == 0
    refused(capsys, "--epochs cannot change", "train", "--resume", "--out", tmp_path, "--epochs", 3)


def test_weights_are_chosen_and_checked(run, tmp_path, capsys):
    for name in ("result", "best", "last"):
        assert call("predict", "--run", run, "--weights", name, "1", "--times", 2) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[0] == name and len(captured.out.splitlines()) == 3 and not captured.err
    opened = Run.open(run, "line", Settings)
    with pytest.raises(UserError, match="do not fit its configuration: .*weight.*and 1 more"):
        load_weights(nn.Linear(1, 3), opened)
    opened.folder = tmp_path
    with pytest.raises(UserError, match="has no trained weights yet; go on by: train --resume"):
        load_weights(nn.Linear(1, 1), opened)
    with pytest.raises(UserError, match="has no best weights yet"):
        load_weights(nn.Linear(1, 1), opened, "best")


def test_subcommands_may_do_without_a_run(capsys):
    assert call("hello") == 0
    assert capsys.readouterr().out == "hello\n"
    with pytest.raises(SystemExit):
        call("predict", "--run", "x", "1", "--times", 0)
    assert "--times: must be at least 1" in capsys.readouterr().err


def test_several_processes_that_do_not_know_each_other_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(UserError, match="started 2 processes: give train --distributed"):
        Line().main(["train"])
    with pytest.raises(UserError, match="this command is for one"):
        Line().main(["hello"])


def test_threads_of_several_processes(monkeypatch, capsys):
    for name in ranks.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ranks.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    ranks.advise_threads(SimpleNamespace(rank=0, size=2), "cpu")
    assert "all 2 cores of its machine" in capsys.readouterr().err
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ranks.advise_threads(SimpleNamespace(rank=0, size=2), "cpu")
    assert not capsys.readouterr().err


def test_a_digest_depends_on_all_parts():
    assert digest(["ab", b"c"]) == digest([b"abc"]) != digest(["ab"])
    assert len(digest([])) == 16


def test_the_help_is_the_docstring_of_the_script(capsys):
    with pytest.raises(SystemExit):
        call("--help")
    assert __doc__.splitlines()[0] in capsys.readouterr().out


@dataclass(frozen=True, kw_only=True)
class Twenty(Settings):
    """Settings whose default end is a number of epochs."""

    epochs: int | None = option(20, "stop after so many passes over the data", least=1)


def test_an_end_that_is_given_takes_the_place_of_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(Line, "settings", Twenty)
    assert call("train", "--out", tmp_path / "run", "--steps", 3, "--warmup", 1) == 0
    settings = Run.open(tmp_path / "run", "line", Twenty).settings
    assert (settings.steps, settings.epochs) == (3, None)
