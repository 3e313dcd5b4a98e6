"""Files are whole or not there, whatever the system refuses, and the person gets its words."""

import contextlib
import os
import re
import stat
from pathlib import Path

import forecast
import pytest
from scripts import caller
from toolkit.checkpoints import Checkpoints
from toolkit.console import UserError
from toolkit.files import read_json, write_text, write_whole, writing
from toolkit.plots import empty_figure, literal, save_figure
from toolkit.runlog import RunLog, read_log

import minitensor as mt


@contextlib.contextmanager
def limited(size):
    """No file may grow beyond so many bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")  # Windows has no such limits
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.fixture
def small_disk():
    """A disk with room for files of 2 000 bytes."""
    with limited(2000):
        yield


def test_a_text_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path, small_disk):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UserError, match=r"^cannot write .*a: File too large$"):
        write_text(tmp_path / "a", "x" * 3000)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_picture_that_does_not_fit_leaves_nothing(tmp_path, fine_pictures, small_disk):
    with pytest.raises(UserError, match=r"^cannot draw .*a\.png: File too large$"):
        save_figure(empty_figure(4, 3), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_leave_the_old_ones_and_nothing_else(tmp_path, small_disk):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best({"w": mt.ones(3)})
    for write in (checkpoints.save_best, checkpoints.save_result, lambda state: checkpoints.save(state, [])):
        with pytest.raises(UserError, match="^cannot write .*safetensors: File too large$"):
            write({"w": mt.ones(3000)})
    assert [path.name for path in tmp_path.rglob("*.*")] == ["best.safetensors"]
    assert mt.load(checkpoints.best)["w"].shape == (3,)


def test_a_record_that_does_not_fit_is_taken_back(tmp_path, small_disk):
    with RunLog(tmp_path / "log") as log:
        log.append({"step": 1})
        with pytest.raises(UserError, match="^cannot write .*log: File too large$"):
            log.append({"step": 2, "note": "x" * 3000})
        log.append({"step": 3})
    assert read_log(tmp_path / "log") == [{"step": 1}, {"step": 3}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes among its files")
def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"a")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"a"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert save_figure(empty_figure(4, 3), tmp_path / "pipe") == tmp_path / "pipe"
    assert os.read(reader, 4) == b"\x89PNG" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)


def test_what_is_said_is_what_was_written(tmp_path):
    assert save_figure(empty_figure(4, 3), tmp_path / "att") == tmp_path / "att.png"
    assert save_figure(empty_figure(4, 3), tmp_path / "att.v2.jpg") == tmp_path / "att.v2.jpg"
    assert {path.name for path in tmp_path.iterdir()} == {"att.png", "att.v2.jpg"}
    for name, message in (
        ("", "it is a folder; name a file"),
        ("a.xyz", ".xyz is the ending of no picture that can be drawn; .* png"),
        ("no/a.png", "there is no folder"),
    ):
        with pytest.raises(UserError, match=f"cannot draw .*{message}"):
            save_figure(empty_figure(4, 3), tmp_path / name)


def test_no_text_is_a_formula(tmp_path):
    for text in ("$", "$$", "$x^$", r"\$x^$", r"$\frac$", "a $ b $ c", r"\\$_$"):
        figure = empty_figure(4, 3)
        shown = figure.text(0, 0, literal(text))
        assert shown._preprocess_math(literal(text)) == (text, False)
    save_figure(figure, tmp_path / "a.png")


def test_json_that_cannot_be_read_back(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match="there is no list .*a.json"):
        read_json(path, "list")
    for content in (b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(UserError, match="a.json is damaged or not a list"):
            read_json(path, "list")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot read .*a.json: (Is a directory|Permission denied)"):
        read_json(path, "list")
    with pytest.raises(UserError, match="cannot write x: Permission denied"), writing("x"):
        raise PermissionError(13, "Permission denied", "elsewhere")


def test_text_with_bytes_that_are_none_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*'\\udce9' is not UTF-8"):
        write_text(tmp_path / "a", "caf\udce9")
    assert not list(tmp_path.iterdir())


def test_nothing_in_examples_writes_a_file_on_its_own():
    """All writes go through toolkit/files.py, but for the log, which grows."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    for path in folder.rglob("*.py"):
        if path.name not in ("files.py", "runlog.py"):
            found = re.search(
                r"\.write_(text|bytes)\(|savefig\(path|open\((?!os.devnull)[^)]*\"[wax]b?\"",
                path.read_text(encoding="utf-8"),
            )
            assert found is None, (path, found)


def test_a_program_on_a_full_disk_goes_on_when_there_is_room(tmp_path, capsys):
    call = caller(forecast.main)
    (tmp_path / "a.csv").write_text("a\n" + "".join(f"{i % 7}\n" for i in range(300)), encoding="utf-8")
    options = "--window 8 --step 4 --season 7 --horizon 2 --hidden 16 --schedule constant --steps 12".split()
    with limited(6000):
        assert call("train", "--out", tmp_path / "run", "--data", tmp_path / "a.csv", *options) == 2
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("error: cannot write ") and told.endswith(".safetensors: File too large\n")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".tmp")]
    assert call("train", "--out", tmp_path / "run", "--resume") == 0
    assert "all 12 updates are done;" in capsys.readouterr().out
