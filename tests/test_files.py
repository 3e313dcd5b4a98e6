"""mt.save and mt.load: whole or not at all, and what went in comes out."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from minitensor.files import safetensors
from minitensor.files import state as files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_everything_comes_back(path):
    state = {
        "model": {"weight": mt.tensor([[1.0, 2.0], [3.0, 4.0]]), "scale": mt.tensor(0.5, dtype="float64")},
        "arrays": [np.arange(3), np.zeros((0, 2), dtype=np.float16), np.array(True), np.arange(6).reshape(2, 3).T],
        "numbers": [1, -2.5, True, None, "text é", 10**30, float("inf"), np.float32(0.25)],
        "tuple": (1, (2, "b"), []),
        "$odd": {"$tensor": 1, "a.b": {}},
        "": {"": mt.ones(1)},
    }
    mt.save(path, state)
    back = mt.load(path)
    assert list(back) == list(state)
    assert isinstance(back["model"]["weight"], mt.Tensor) and not back["model"]["weight"].requires_grad
    for a, b in zip(state["model"].values(), back["model"].values()):
        np.testing.assert_array_equal(a.data, b.data)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
    for a, b in zip(state["arrays"], back["arrays"]):
        assert isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    assert (
        back["numbers"] == state["numbers"] and type(back["numbers"][2]) is bool and type(back["numbers"][-1]) is float
    )
    assert back["tuple"] == state["tuple"] and back["$odd"] == state["$odd"]
    back["model"]["weight"].assign(0.0)  # writable


@pytest.mark.parametrize("state", [None, 3, "x", [], {}, ()])
def test_state_may_be_anything(path, state):
    mt.save(path, state)
    assert mt.load(path) == state


def test_names_in_the_file_are_the_paths(path):
    mt.save(path, {"encoder.weight": mt.ones(2), "encoder": {"weight": mt.zeros(2)}, "list": [mt.ones(3)]})
    assert sorted(safetensors.TensorFile(path).shapes) == ["encoder.weight", "encoder.weight_", "list.0"]
    back = mt.load(path)
    assert back["encoder.weight"].tolist() == [1, 1] and back["encoder"]["weight"].tolist() == [0, 0]


def test_tied_weights_are_written_once_and_stay_tied(path):
    table = mt.ones((1000, 100))
    mt.save(path, {"embedding": table, "output": mt.Tensor(table.data), "part": table[:10]})
    back = mt.load(path)
    assert back["embedding"] is back["output"] and back["part"] is not back["embedding"]
    assert path.stat().st_size < 1.1 * 4 * 101 * 1000


def test_metadata(path):
    mt.save(path, {"w": mt.ones(2)}, metadata={"version": 3, "name": "run"})
    assert files.read_metadata(path) == {"version": 3, "name": "run"}
    mt.save(path, {"w": mt.ones(2)})
    assert files.read_metadata(path) is None


def test_a_saved_run_goes_on_bit_for_bit(path):
    def make():
        w = mt.tensor(np.linspace(-1, 1, 12).reshape(3, 4), dtype="float32", requires_grad=True)
        return w, optim.Adam([w], lr=0.1)

    def train(w, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (w * w * w).sum().backward()
            optimizer.step()

    w, optimizer = make()
    train(w, optimizer, 5)
    mt.save(path, {"w": w, "optimizer": optimizer.state_dict()})
    train(w, optimizer, 5)
    v, resumed = make()
    state = mt.load(path)
    v.assign(state["w"])
    resumed.load_state_dict(state["optimizer"])
    train(v, resumed, 5)
    np.testing.assert_array_equal(w.data, v.data)
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


# --- files that are not whole ---------------------------------------------------------------------


def test_every_truncation_is_refused(path):
    mt.save(path, {"w": mt.ones((3, 3)), "step": 3})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(mt.FileFormatError, match="state.safetensors"):
            mt.load(path)


def test_every_flipped_bit_is_refused_or_harmless(path):
    state = {"w": mt.tensor([1.0, 2.0, 3.0]), "step": 3}
    mt.save(path, state, metadata={"a": 1})
    content = path.read_bytes()
    rng = random.Random(0)
    harmless = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            back = mt.load(path)
        except mt.FileFormatError:
            continue
        harmless += 1  # white space of the header
        assert back["step"] == 3 and back["w"].tolist() == [1.0, 2.0, 3.0]
    assert harmless < 10


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x04}.", b"PK\x03\x04" + b"\0" * 100, b"\xff" * 64, b"\0" * 64, b"{}"]
)
def test_foreign_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(mt.FileFormatError, match=r"state.safetensors: not a safetensors file.*take a backup"):
        mt.load(path)


def test_safetensors_of_others_is_refused_with_the_way_to_read_it(path):
    safetensors.write_whole({path: safetensors.tensor_file({"w": np.ones(2)}, {"format": "pt"})})
    with pytest.raises(mt.FileFormatError, match=r"not one that mt.save wrote; read it by .*TensorFile\(path\)"):
        mt.load(path)
    assert safetensors.TensorFile(path).read("w").tolist() == [1, 1]


def test_a_later_format_is_refused(path, monkeypatch):
    monkeypatch.setattr(files, "VERSION", 99)
    mt.save(path, {})
    monkeypatch.undo()
    with pytest.raises(mt.FileFormatError, match="written in format 99"):
        mt.load(path)


def test_missing_file_and_folder(path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        mt.load(path)
    with pytest.raises(FileNotFoundError, match="create it first"):
        mt.save(path / "inside" / "x", {})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, r"state\.a\.b is an object"),
        ({"a": {1: 2}}, r"state\.a has the key 1; keys must be strings"),
        ({"a": [np.array(["x"])]}, r"state\.a\.0 has dtype"),
        (optim.SGD([mt.ones(1, requires_grad=True)]), "pass its state_dict"),
    ],
)
def test_what_cannot_be_saved_is_named(path, state, message):
    with pytest.raises(TypeError, match=message):
        mt.save(path, state)
    assert not path.exists()


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file(path, monkeypatch, step, error):
    mt.save(path, {"step": 1})

    def fail(*args, **kwargs):
        raise error

    if step == "open":
        monkeypatch.setattr(safetensors, "open", fail, raising=False)
    else:
        monkeypatch.setattr(safetensors.os, step, fail)
    with pytest.raises(type(error)):
        mt.save(path, {"step": 2})
    monkeypatch.undo()
    assert mt.load(path) == {"step": 1}
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_windows_keeps_for_a_reader_is_waited_for(path, monkeypatch):
    """There a file that somebody has open cannot be replaced, and the system's error has its own
    number.
    """
    mt.save(path, {"step": 1})
    refusals, pauses, real = [32, 5], [], os.replace

    def refuse(source, target):
        if not refusals:
            return real(source, target)
        error = PermissionError(13, "The process cannot access the file")
        error.winerror = refusals.pop()
        raise error

    monkeypatch.setattr(safetensors.os, "replace", refuse)
    monkeypatch.setattr(safetensors.time, "sleep", pauses.append)
    mt.save(path, {"step": 2})
    assert mt.load(path) == {"step": 2} and pauses == [0.01, 0.05]
    refusals.extend([5] * 9)
    with pytest.raises(PermissionError):
        mt.save(path, {"step": 3})
    assert sum(pauses[2:]) > 1 and mt.load(path) == {"step": 2}
    pauses.clear()
    refusals[:] = [1]  # whatever else is refused stays so
    with pytest.raises(PermissionError):
        mt.save(path, {"step": 4})
    assert not pauses and os.listdir(path.parent) == [path.name]


SAVER = """
import sys
import numpy as np
import minitensor as mt
step = 0
while True:
    step += 1
    mt.save(sys.argv[1], {"w": mt.asarray(np.full(400_000, step, dtype=np.float32)), "step": step})
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_file(path):
    rng = random.Random(5)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, encoding="utf-8"
        ) as process:
            process.stdout.readline()  # the first is written
            time.sleep(0.2 * rng.random())
            process.send_signal(signal.SIGKILL)
            seen = [int(line) for line in process.stdout]
        state = mt.load(path)
        assert state["step"] >= max(seen, default=1)
        assert (state["w"].data == state["step"]).all()
    mt.save(path, {"step": 0})
    assert os.listdir(path.parent) == [path.name]  # what the killed ones left is gone
