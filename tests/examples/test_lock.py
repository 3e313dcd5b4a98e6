"""One writer a run, and a dead one is no obstacle."""

import subprocess
import sys
from pathlib import Path

import pytest
from toolkit import lock as lock_module
from toolkit.console import UserError
from toolkit.lock import Lock

needs_locks = pytest.mark.skipif(lock_module.fcntl is None, reason="this system has no fcntl, hence no locks")
HOLD = """
import pathlib, sys, time
from toolkit.lock import Lock
with Lock() as lock:
    lock.take(pathlib.Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(60)
"""


@needs_locks
def test_a_second_writer_is_refused_and_the_next_is_not(tmp_path):
    with Lock() as first, Lock() as second:
        first.take(tmp_path)
        first.take(tmp_path)
        with pytest.raises(UserError, match="another process is writing to"):
            second.take(tmp_path)
    with Lock() as third:
        third.take(tmp_path)
    assert not list(tmp_path.iterdir())


@needs_locks
def test_a_writer_that_was_killed_holds_nothing(tmp_path, monkeypatch):
    folder = Path(lock_module.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with Lock() as lock, pytest.raises(UserError, match="another process is writing to"):
            lock.take(tmp_path)
        process.kill()
        process.wait()
        with Lock() as lock:
            lock.take(tmp_path)


def test_a_system_without_locks_goes_without(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "fcntl", None)
    with Lock() as first, Lock() as second:
        first.take(tmp_path)
        second.take(tmp_path)


@needs_locks
def test_a_drive_without_locks_goes_without(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock_module.fcntl, "flock", refuse)
    with Lock() as first, Lock() as second:
        first.take(tmp_path)
        second.take(tmp_path)


@needs_locks
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    with Lock() as lock, pytest.raises(UserError, match="cannot read .*nothing: No such file or directory"):
        lock.take(tmp_path / "nothing")
