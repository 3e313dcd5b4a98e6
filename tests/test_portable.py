"""What holds on every system: names that any file system takes, encodings that are said, programs
without what only POSIX has.
"""

import ast
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minitensor.backend.heap import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("minitensor", "models", "examples", "lessons", "tests", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}  # of Windows


def test_every_file_system_takes_the_names():
    names = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    names = [name for name in names if "__pycache__" not in name]
    assert len(names) > 300 and len({name.lower() for name in names}) == len(names)
    for name in names:
        assert name.isascii() and not set(name) & set('<>:"|?*\\') and len(name) < 100, name
        assert not any(part.split(".")[0].lower() in DEVICES or part[-1] in ". " for part in name.split("/")), name


OPENING = re.compile(r"open\(|read_text|write_text|TextIOWrapper|text=|universal_newlines")


def silent(source):
    """The lines that read or write text in whatever encoding the system prefers; most files have
    no word of that, and are not parsed.
    """
    for node in ast.walk(ast.parse(source)) if OPENING.search(source) else ():
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        named = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if named.keys() & {"encoding", None}:  # None is for **options
            continue
        method, count = isinstance(node.func, ast.Attribute), len(node.args)
        mode = getattr(node.args[1], "value", "") if count > 1 else named.get("mode", "")
        text = {
            "open": not method and "b" not in str(mode),
            "read_text": method and count < 1,
            "write_text": method and count < 2,
            "TextIOWrapper": count < 2,
        }
        if text.get(name) or named.get("text") is True or named.get("universal_newlines") is True:
            yield node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_has_an_encoding_that_is_said(folder):
    paths = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == folder]
    assert not [f"{path}:{line}" for path in paths for line in silent(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", 1),
        ("open(path, 'w')", 1),
        ("open(path, mode='r')", 1),
        ("path.read_text()", 1),
        ("path.write_text('a')", 1),
        ("run(command, text=True)", 1),
        ("open(path, 'rb'), open(path, mode='wb'), os.open(path, 0), read_text(path), run(command)", 0),
        ("open(path, encoding='utf-8'), path.read_text('utf-8'), path.write_text('a', 'utf-8'), open(**options)", 0),
    ],
)
def test_encodings_that_are_not_said_are_found(code, found):
    assert len(list(silent(code))) == found


def test_where_malloc_cannot_be_told_nothing_happens(monkeypatch):
    """A C library without mallopt, a Python without ctypes, another system."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert keep_freed_memory() is False
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_freed_memory() is False


# What Windows lacks is taken away once the libraries are there, which have their own ways without
# it.
ELSEWHERE = """
import argparse, importlib, multiprocessing.pool, os, pathlib, pkgutil, signal, subprocess, sys
import matplotlib.figure, matplotlib.backends.backend_agg, numpy, rich.console, rich.progress, tokenizers

for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None
for name in ("fork", "getloadavg", "sched_getaffinity", "getuid", "mkfifo", "O_NONBLOCK", "killpg", "uname"):
    delattr(os, name) if hasattr(os, name) else None
for name in ("SIGHUP", "SIGPIPE", "SIGKILL", "SIGUSR1", "SIGALRM", "alarm"):
    delattr(signal, name) if hasattr(signal, name) else None
sys.platform = "win32"

import toolkit, claims, minitensor.models
for package in (minitensor.models, toolkit, claims):
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(info.name)
for path in pathlib.Path(toolkit.__file__).parents[1].glob("*.py"):
    importlib.import_module(path.stem)

import languages
from toolkit import console
arguments = "train --data words.tsv --d-model 8 --hidden 8 --epochs 1 --out run".split()
sys.exit(console.run(lambda: languages.main(arguments)))
"""


@pytest.mark.parametrize("encoding", ["", "cp1252:strict"])
def test_an_example_trains_without_what_only_posix_has(tmp_path, encoding):
    for library in ("matplotlib", "rich", "tokenizers"):
        pytest.importorskip(library)
    rows = [f"{word}\t{label}\n" for word, label in zip(["łódź", "дом", "naïve", "house"] * 50, "abcd" * 50)]
    (tmp_path / "words.tsv").write_text("".join(f"{n}{row}" for n, row in enumerate(rows)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")])}
    environment |= {"PYTHONIOENCODING": encoding, "PYTHONWARNDEFAULTENCODING": "1", "LC_ALL": "C"}
    environment |= {
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "MINITENSOR_FAST": "0",
    }  # kernels ask for Windows' own locks
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    warned = [line for line in done.stderr.decode("utf-8").splitlines() if "EncodingWarning" in line]
    assert not [line for line in warned if line.startswith(str(ROOT))]
    assert (tmp_path / "run" / "weights.safetensors").exists() and b"classify --run run" in done.stdout
