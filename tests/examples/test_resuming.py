"""What --resume does to a run's limits, its result, its data and its configuration; by the line of
test_program.py.
"""

import json
import shlex
import shutil

import numpy as np
import pytest
from scripts import unreported
from test_program import TINY, Line, Task, config_of, interrupt_once, refused
from test_program import call as reported
from toolkit.lock import Lock, fcntl

call = unreported(reported)  # what a run leaves but its pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--out", folder, *TINY) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A trained run, to be changed at will."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize(
    ("first", "second", "expected", "steps"),
    [
        (["--epochs", 2], ["--steps", 7], dict(epochs=None, steps=7), 7),
        (["--steps", 3], ["--epochs", 4], dict(epochs=4, steps=None), 8),
        (["--steps", 3, "--minutes", 1e-9], ["--steps", 5], dict(steps=5, minutes=None), 5),
        (["--patience", 1, "--lr", 0], ["--steps", 9], dict(steps=9, patience=None), 9),
        (["--steps", 5], ["--patience", 1, "--steps", 5], dict(steps=5, patience=1), 5),
    ],
)
def test_limits_given_take_the_place_of_all_former_ones(tmp_path, capsys, first, second, expected, steps):
    assert call("train", "--out", tmp_path, "--schedule", "constant", "--warmup", 1, *first) == 0
    assert call("train", "--resume", "--out", tmp_path, *second) == 0
    settings = config_of(tmp_path)["settings"]
    assert {name: settings[name] for name in expected} == expected
    assert f"all {steps} updates are done;" in capsys.readouterr().out


def test_with_cosine_the_other_limits_may_be_given(tmp_path):
    assert call("train", "--out", tmp_path, *TINY, "--schedule", "cosine", "--patience", 5) == 0
    assert call("train", "--resume", "--out", tmp_path, "--minutes", 3) == 0
    settings = config_of(tmp_path)["settings"]
    assert (settings["epochs"], settings["minutes"], settings["patience"]) == (2, 3, None)


def test_a_limit_that_is_past_is_told_as_it_is(run, capsys):
    assert call("train", "--resume", "--out", run, "--steps", 1) == 0
    assert "the only update is done (and more: 4)" in capsys.readouterr().out


def test_without_a_limit_the_former_ones_hold(run, capsys):
    assert call("train", "--resume", "--out", run, "--save-every", 9) == 0
    assert config_of(run)["settings"]["epochs"] == 2


def test_a_resumed_run_has_no_result_of_before(run, monkeypatch, capsys):
    monkeypatch.setattr(Task, "validate", interrupt_once(Task.validate))
    assert call("train", "--resume", "--out", run, "--epochs", 9) == 130
    capsys.readouterr()
    assert call("predict", "--run", run, 1) == 0
    assert "is not trained to its end; these are its best weights" in capsys.readouterr().err
    refused(capsys, "has no result weights yet", "predict", "--run", run, 1, "--weights", "result")


def test_a_run_that_was_killed_has_no_result_of_before(run, monkeypatch):
    def killed(self, batch):
        assert not self.checkpoints.result.exists()
        raise RuntimeError("killed")

    monkeypatch.setattr("toolkit.trainer.Trainer.update", killed)
    with pytest.raises(RuntimeError, match="killed"):
        call("train", "--resume", "--out", run, "--epochs", 9)
    assert not (run / "weights.safetensors").exists()


def test_a_lost_checkpoint_is_refused_or_told(run, capsys):
    (run / "checkpoints" / "last.safetensors").unlink()
    refused(capsys, "last.safetensors is gone", "train", "--resume", "--out", run, "--epochs", 9)
    (run / "weights.safetensors").unlink()  # as of a run that died before its first checkpoint
    assert call("train", "--resume", "--out", run) == 0
    assert "last.safetensors does not exist: training starts at update 0" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused(run, capsys):
    config = config_of(run)
    config["settings"]["width"] = 2
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refused(capsys, "last.safetensors does not fit the run", "train", "--resume", "--out", run)


def test_data_that_have_moved_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("old.txt", np.ones((2, 16)))
    assert call("train", "--data", "old.txt", "--out", "run", *TINY) == 0
    (tmp_path / "old.txt").rename(tmp_path / "new.txt")
    assert call("train", "--resume", "--out", "run", "--data", "new.txt", "--epochs", 3) == 0
    assert config_of(tmp_path / "run")["data"]["path"] == str(tmp_path / "new.txt")
    assert call("train", "--resume", "--out", "run", "--epochs", 4) == 0


@pytest.mark.skipif(fcntl is None, reason="this system has no fcntl, hence no locks")
def test_a_run_in_use_is_refused_before_anything_is_touched(run, tmp_path, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with Lock() as lock:
        lock.take(run)
        for arguments in (["--force", *TINY], ["--resume"], [*TINY]):
            refused(capsys, f"another process is writing to {run}", "train", "--out", run, *arguments)
        assert call("predict", "--run", run, 1) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_commands_are_quoted_for_the_shell(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    line = Line().advice("say", {"--run": "my runs/$1", "--prompt": "-x", "--resume": True}, 'it\'s "a" `b`', "-c $1")
    words = shlex.split(line)
    assert words[0] == "python"
    assert words[2:] == [
        "say", "--run", "my runs/$1", "--prompt=-x", "--resume", "--", "it's \"a\" `b`", "-c $1",
    ]  # fmt: skip


def test_commands_for_windows_have_its_quotes_and_its_drives(monkeypatch):
    def on_another_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.argv", [r"D:\my examples\line.py"])
    monkeypatch.setattr("os.path.relpath", on_another_drive)
    line = Line().advice("say", {"--run": r"runs\a"}, 'it\'s "a"')
    assert line == r'''python "D:\my examples\line.py" say --run runs\a "it's \"a\""'''


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([1], "it holds no table of names"),
        ("text", "it holds no table of names"),
        (dict(data=None), '"data" are no table'),
        (dict(data={}), '"data" lack "path"'),
        (dict(data={"path": None}), '"data" lack "fingerprint"'),
        (dict(data={"path": None, "fingerprint": "a"}), '"data" lack "slope"'),
        (dict(data={"path": 5, "fingerprint": "a", "slope": 1}), 'the "path" of its "data" is 5'),
        (dict(settings=[1]), '"settings" are no table'),
        (dict(settings={}), "was written by another version"),
        (dict(width=1.5), "does not fit: width is 1.5, no int"),
        (dict(width=None), "does not fit: width is null, no int"),
        (dict(width=True), "does not fit: width is true, no int"),
        (dict(steps="3"), 'does not fit: steps is "3", no int or null'),
        (dict(lr=float("inf")), "does not fit: --lr inf: it must be a finite number"),
        (dict(device=3), "does not fit: device is 3, no str"),
    ],
)
def test_a_configuration_that_was_changed_is_refused(run, capsys, change, message):
    config = config_of(run)
    if isinstance(change, dict):
        inside = config["settings"] if change.keys() <= config["settings"].keys() else config
        inside.update(change)
        change = config
    (run / "config.json").write_text(json.dumps(change), encoding="utf-8")
    refused(capsys, message, "predict", "--run", run, 1)


@pytest.mark.parametrize("name", ["program", "format", "settings", "data"])
def test_a_configuration_without_what_is_read_is_refused(run, capsys, name):
    config = config_of(run)
    del config[name]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refused(capsys, f'it lacks "{name}"', "predict", "--run", run, 1)


def test_a_run_that_cannot_be_written_leaves_no_folder(tmp_path, capsys, monkeypatch):
    def full(path, text):
        from toolkit.files import writing

        with writing(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.runs.write_text", full)
    refused(capsys, "config.json: No space left on device", "train", "--out", tmp_path / "run", *TINY)
    assert not (tmp_path / "run").exists()
