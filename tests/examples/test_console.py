"""What a person sees: one line for what they can put right, a traceback for bugs, progress on any
stream.
"""

import contextlib
import doctest
import errno
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import caller, refuser
from toolkit import console
from toolkit.console import Progress, UserError, arguments_of, require, run
from toolkit.reading import composed


def fail(error):
    """Raise, as an expression."""
    raise error


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(console, extraglobs={"sys": __import__("sys")}).failed == 0


def test_a_user_error_is_one_line_and_code_2(capsys):
    assert run(lambda: fail(UserError("no file a.txt"))) == 2
    assert capsys.readouterr() == ("", "error: no file a.txt\n")


def test_ctrl_c_is_code_130(capsys):
    assert run(lambda: fail(KeyboardInterrupt())) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback_and_success_is_0():
    with pytest.raises(ZeroDivisionError):
        run(lambda: fail(ZeroDivisionError()))
    assert run(lambda: None) == 0
    assert run(lambda: 3) == 3


def test_a_missing_library_is_named_with_the_command_that_installs_it():
    with pytest.raises(UserError, match=r'no_such_library .*pip install "minitensor-autograd\[train\]"'):
        require("no_such_library.part", "train")
    assert require("math", "train").pi > 3


def test_a_library_that_is_broken_keeps_its_own_error(monkeypatch):
    monkeypatch.setattr(
        console.importlib, "import_module", lambda _: fail(ModuleNotFoundError("x", name="its_own_part"))
    )
    with pytest.raises(ModuleNotFoundError):
        require("library", "train")


def test_progress_in_a_pipe_is_a_line_every_ten_seconds():
    stream, times = io.StringIO(), iter(range(0, 400, 4))
    with Progress("training", total=8, done=2, stream=stream, clock=lambda: float(next(times))) as progress:
        for _ in range(5):
            progress.advance(loss=1.0, tokens=800)
        progress.advance()  # loss and speed stay shown
        progress.say("epoch 1 is done")
    assert stream.getvalue().splitlines() == [
        "training 5/8  loss 1.000  200 tokens/s  0:12 left",
        "training 8/8  loss 1.000  167 tokens/s  0:00 left",
        "epoch 1 is done",
    ]


def test_progress_counts_hours():
    times = iter([0.0, 10.0])
    progress = Progress("training", total=1001, stream=io.StringIO(), clock=lambda: next(times))
    progress.advance()
    assert progress.status() == "2:46:40 left"


def test_progress_at_a_terminal_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress("training", total=2, stream=stream) as progress:
        progress.advance(loss=0.5, tokens=10)
        progress.say("[saved]")
        progress.advance(loss=0.25, tokens=10)
    assert "2/2" in stream.getvalue()
    assert "loss 0.250" in stream.getvalue()
    assert "[saved]" in stream.getvalue()


def test_a_reader_that_goes_away_is_no_error():
    program = (
        "import sys; from toolkit import console; sys.exit(console.run(lambda: [print(n) for n in range(10**5)] and 0))"
    )
    command = [sys.executable, "-c", program]
    folder = Path(console.__file__).resolve().parents[1]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == console.PIPE


@pytest.mark.parametrize("value", ["caf\udce9", "\udcff\udcfe", "a\ud800b"])
def test_arguments_that_are_not_utf_8_are_refused(value):
    assert arguments_of(["a", "é", 'x"$1']) == ["a", "é", 'x"$1']
    with pytest.raises(UserError) as caught:
        arguments_of(["fine", value])
    assert str(caught.value).startswith("argument 2, '") and "is not UTF-8" in str(caught.value)
    str(caught.value).encode()  # so that it can be shown


PROGRAMS = (
    "digits forecast from_rnn_to_transformer language_model languages masked_language_model sentence_similarity stories"
)


@pytest.mark.parametrize(
    "program", [*PROGRAMS.split(), "captions", "genes", "sentiment", "speech", "summaries", "text_to_text", "translate"]
)
def test_every_program_refuses_them(program, capsys):
    refuser(caller(importlib.import_module(program).main))(
        capsys, "argument 1, 'caf\\udce9', is not UTF-8", "caf\udce9"
    )


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, as Linux has it")


@needs_full
def test_a_note_that_cannot_be_written_ends_nothing(monkeypatch):
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr("sys.stderr", full)
        console.note("nobody hears this")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


PATHS = {  # an option that names a file or a folder, and what comes before it
    "digits": ("--data", "evaluate"),
    "forecast": ("--data", "predict"),
    "from_rnn_to_transformer": ("--out",),
    "genes": ("--input", "translate"),
    "language_model": ("--data", "evaluate"),
    "languages": ("--out", "train"),
    "masked_language_model": ("--run", "fill"),
    "sentence_similarity": ("--input",),
    "sentiment": ("--output", "read"),
    "stories": ("--output", "write"),
    "summaries": ("--input", "summarize"),
    "text_to_text": ("--data", "evaluate"),
    "translate": ("--output", "translate"),
}


@pytest.mark.parametrize("program", PATHS)
def test_an_empty_name_is_refused_not_taken_for_none(program, capsys):
    option, *before = PATHS[program]
    with pytest.raises(SystemExit):
        importlib.import_module(program).main([*before, option, ""])
    assert f"argument {option}: the name is empty; was a variable" in capsys.readouterr().err


def test_arguments_that_are_texts_are_composed():
    assert composed("e\u0301t\u00e9") == "\u00e9t\u00e9"


def test_what_the_system_refuses_is_one_line(capsys):
    assert run(lambda: open("/nowhere/a", encoding="utf-8")) == 2
    assert capsys.readouterr().err == "error: /nowhere/a: No such file or directory\n"
    assert run(lambda: fail(OSError(28, "No space left on device"))) == 2
    assert capsys.readouterr().err == "error: cannot write to the standard output: No space left on device\n"
    assert run(lambda: fail(MemoryError("Unable to allocate 3 TiB"))) == 2
    assert capsys.readouterr().err == "error: this takes more memory than there is: Unable to allocate 3 TiB\n"
    assert run(lambda: fail(UserError("a\nb\r\n  c"))) == 2
    assert capsys.readouterr().err == "error: a b c\n"


def python(program, shell=None, **environment):
    """A program that has the toolkit, started as it is or by a line of the shell."""
    folder = Path(console.__file__).resolve().parents[1]
    command = [sys.executable, "-c", "import sys; from toolkit import console\n" + program]
    if shell:
        command = ["sh", "-c", shell, command[0], command[2]]
    return subprocess.run(command, cwd=folder, capture_output=True, env={**os.environ, **environment})


@needs_full
def test_a_full_disk_behind_the_standard_output_is_one_line():
    done = python("sys.exit(console.run(lambda: print(1)))", 'exec "$0" -c "$1" >/dev/full')
    assert (done.returncode, done.stderr) == (
        2,
        b"error: cannot write to the standard output: No space left on device\n",
    )


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_keep_the_work_from_being_done(closed, tmp_path):
    work = """
import os
def work():
    print("out")
    print("err", file=sys.stderr)
    assert sys.stdin is None or sys.stdin.read() == ""
    assert os.fstat(0) and os.fstat(1) and os.fstat(2)
    with open(PATH, "w") as file, console.Progress("a", 1) as bar:
        bar.advance()
        file.write("done")
sys.exit(console.run(work))
"""
    shell = f'exec "$0" -c "$1" </dev/null {closed}'
    done = python(work.replace("PATH", repr(str(tmp_path / "a"))), shell)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_text(encoding="utf-8") == "done"
    assert done.stdout == (b"" if ">&-" in closed.split() else b"out\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict"])
def test_what_the_terminal_cannot_show_is_shown_as_its_code(encoding):
    done = python(
        "sys.exit(console.run(lambda: print('a \\u6709', 'caf\\udce9', file=sys.stdout)))", PYTHONIOENCODING=encoding
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"a", b"\\u6709", b"caf\\udce9"], b"")


def test_a_pipe_gets_utf_8_whatever_the_locale_is():
    """On Windows that is cp1252 or the like; C is as poor, if Python does not mend it."""
    poor = dict(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="")
    program = "sys.exit(console.run(lambda: print('\\u6709', file=sys.stderr) or print('\\u00e9')))"
    done = python(program, **poor)
    assert (done.returncode, done.stdout.split(), done.stderr.split()) == (0, ["é".encode()], ["有".encode()])


def test_windows_reports_a_reader_that_is_gone_as_an_argument_that_is_not_valid(monkeypatch, capsys):
    gone = OSError(errno.EINVAL, "Invalid argument")
    assert run(lambda: fail(gone)) == 2
    assert capsys.readouterr().err == "error: Invalid argument\n"
    monkeypatch.setattr("sys.platform", "win32")
    assert run(lambda: fail(gone)) == console.PIPE
    assert run(lambda: fail(OSError(errno.EINVAL, "Invalid argument", "a:b"))) == 2
    assert capsys.readouterr().err == "error: a:b: Invalid argument\n"


def test_progress_whose_reader_has_gone_goes_on_and_says_so():
    class Gone(io.StringIO):
        error = BrokenPipeError()

        def write(self, text):
            raise self.error

    stream = Gone()
    with Progress("training", total=1, stream=stream) as progress:
        progress.advance()
        assert progress.unread
    stream.error = OSError(28, "No space left on device")
    with Progress("training", total=1, stream=stream) as progress:
        progress.advance()
        assert not progress.unread
