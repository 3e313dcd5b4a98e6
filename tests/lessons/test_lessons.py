"""Lessons run, print what they say, and end in claims; answers pass, blanks and mistakes are
refused in words.
"""

import ast
import functools
import gc
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minitensor as mt
from lessons import build, grading, judge, literate
from lessons.__main__ import main
from lessons.literate import HERE, find, lessons, load_file, run
from lessons.say import Record, claim, recording
from tests.test_docs import run as run_as_said

ALL = pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.path.stem)
WRONG = Path(__file__).parent / "wrong"
EXERCISES = [(lesson, item) for lesson in lessons() for item in grading.exercises(lesson)]


@pytest.fixture(autouse=True, scope="module")
def dropped():
    """What lessons made is not alive in later tests, which count what is."""
    yield
    literate.load.cache_clear()
    for name in [name for name in sys.modules if ".file_" in name]:
        del sys.modules[name]


def mistakes(lesson):
    """``(exercise, function, phrase)`` of the wrong solutions of a lesson."""
    return load_file(WRONG / f"{lesson.number:02d}.py").wrong


def of_lesson(lesson, item, name, function):
    """A learner's module that has one function."""
    return SimpleNamespace(__file__=name, **{item.name: function})


# --- the texts ------------------------------------------------------------------------------------


def execute(text, namespace, file, line):
    """Run a cell, and hold what comments say that it prints to what it prints."""
    run_as_said(text, namespace, file, line)


@ALL
def test_a_lesson_runs_prints_what_it_says_and_ends_in_a_claim(lesson, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    record = Record(draw=True)
    begin = time.process_time()
    run(lesson, record, execute=execute)
    assert time.process_time() - begin < 60
    assert record.claims, "the lesson claims nothing"
    last = [cell for cell in lesson.cells() if cell.kind == "code"][-1]
    assert "claim(" in last.text, "the last cell makes no claim"


@ALL
def test_a_lesson_is_short_and_well_formed(lesson):
    lines = lesson.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    cells = lesson.cells()
    assert re.match(rf"# {lesson.number}\. \S", cells[0].text)
    assert cells[0].line == 1
    for cell in cells:
        assert cell.text.strip()
        if cell.kind == "markdown":
            body = lines[cell.line : cell.line + cell.text.count("\n") + 1]
            assert all(line == "#" or line.startswith("# ") for line in body)


def test_the_lessons_are_numbered_from_1():
    assert [lesson.number for lesson in lessons()] == list(range(1, len(lessons()) + 1))


def test_a_claim_that_does_not_hold_is_an_error():
    for keywords in ({"at_most": 1.0}, {"at_least": 3.0}, {"equals": 3.0}):
        with pytest.raises(AssertionError, match="does not hold"):
            claim("two", 2.0, **keywords)
    for keywords in ({"at_most": 1.0}, {"at_least": 1.0}):
        with pytest.raises(AssertionError, match="does not hold"):
            claim("nothing", float("nan"), **keywords)
    with pytest.raises(TypeError, match="exactly one|one of"):
        claim("two", 2.0)


def test_a_claim_is_printed_and_recorded(capsys):
    with recording(Record()) as record:
        claim("half", 0.5, at_most=1.0)
    assert record.claims == ["claim: half: 0.5 (at most 1)"]
    assert capsys.readouterr().out == "claim: half: 0.5 (at most 1)\n"


@ALL
def test_a_lesson_imports_numpy_minitensor_and_the_standard_library_alone(lesson):
    allowed = {*sys.stdlib_module_names, "numpy", "minitensor", "lessons"}
    for path in (lesson.path, *map(lesson.part, ("exercises", "answers", "grades"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", ())]
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert {name.partition(".")[0] for name in named} <= allowed, f"{path.name} imports {named}"


def test_numpy_alone_will_do(tmp_path):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('matplotlib', 'hypothesis', 'numba', 'scipy')));"
        "from lessons.__main__ import main; "
        "print(main(['run', '1', '--pictures', sys.argv[1]]), main(['check', '1', sys.argv[2]]))"
    )
    answers = str(HERE / "answers" / "01.py")
    command = [sys.executable, "-W", "error", "-X", "utf8", "-c", code, str(tmp_path), answers]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "[picture, left out since matplotlib is not installed: " in done.stdout
    assert "3 of 3 passed" in done.stdout and done.stdout.endswith("0 0\n")


# --- the exercises --------------------------------------------------------------------------------


@ALL
def test_there_are_three_exercises_with_an_answer_and_a_blank_of_the_same_form(lesson):
    items = grading.exercises(lesson)
    assert [item.id for item in items] == [f"{lesson.number}.{i + 1}" for i in range(len(items))]
    assert len(items) >= 3
    forms = []
    for folder in ("exercises", "answers"):
        tree = ast.parse(lesson.part(folder).read_text(encoding="utf-8")).body
        nodes = {node.name: node for node in tree if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert all(ast.get_docstring(nodes[item.name]) for item in items)
        forms.append([ast.dump(nodes[item.name].args) for item in items if hasattr(nodes[item.name], "args")])
    assert forms[0] == forms[1]


@ALL
def test_the_answers_pass(lesson):
    results = grading.check(lesson, lesson.part("answers"))
    assert [(r.exercise.id, r.reason) for r in results if r.verdict != "passed"] == []
    assert not any(r.printed for r in results)


@ALL
def test_the_blanks_are_blank(lesson):
    results = grading.check(lesson, lesson.part("exercises"))
    assert {(r.verdict, r.reason) for r in results} == {("blank", "still blank")}


@pytest.mark.parametrize("lesson, item", EXERCISES, ids=[item.id for _, item in EXERCISES])
def test_typical_mistakes_are_refused_with_the_reason(lesson, item):
    wrong = [(solution, phrase) for exercise, solution, phrase in mistakes(lesson) if exercise == item.id]
    assert len(wrong) >= 3
    assert len({phrase for _, phrase in wrong}) >= 3
    for solution, phrase in wrong:
        assert solution.__name__ == item.name
        result = grading.grade(item, of_lesson(lesson, item, str(WRONG / f"{lesson.number:02d}.py"), solution))
        assert result.verdict == "refused", f"{item.id}: the mistake '{phrase}' passes"
        assert phrase in result.reason


def test_every_mistake_is_of_an_exercise():
    for lesson in lessons():
        assert {exercise for exercise, _, _ in mistakes(lesson)} == {e.id for e in grading.exercises(lesson)}


# --- what else can go wrong -----------------------------------------------------------------------


def learner(tmp_path, text):
    """A learner's file for lesson 1: two answers, and ``text`` for the first."""
    answers = (HERE / "answers" / "01.py").read_text(encoding="utf-8")
    path = tmp_path / "mine.py"
    path.write_text(f"{answers}\n\ndef slopes_of_power(x, n):\n{text}\n", encoding="utf-8")
    return path


@pytest.fixture
def uncollected():
    """No garbage is collected: of a whole suite that takes longer than a short patience."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "text, reason",
    [
        ("    return x**n / 0, 1", "it raised ZeroDivisionError: .*, in line [0-9]+: `return x\\*\\*n / 0, 1`"),
        ("    raise ValueError", "it raised ValueError, in line"),
        ("    assert n == 2", "it raised AssertionError, in line"),
        ("    raise SystemExit(3)", "it raised SystemExit: 3"),
        ("    return slopes_of_power(x, n)", "RecursionError"),
        ("    x ** n", "returned None: is a `return` missing?"),
        ("    while True:\n        n += 1", "did not come to an end in 0.2 seconds, in line .*: does a loop"),
        ("    return missing", "NameError: name 'missing' is not defined"),
        ("    return 'a', 'b'", "should be numbers, and it is str"),
        ("    return x", "two numbers"),
        ("    class E(Exception):\n        __str__ = None\n    raise E", "it raised E, in line"),
        ("    return len(x, n)", "it raised TypeError: len.* takes exactly one .*, in line"),
        (
            "    return 1\nslopes_of_power = lambda x: (x, 1)",
            "1 positional argument .*: leave the parameters as the blank",
        ),
    ],
)
def test_a_solution_that_fails_is_told_kindly(text, reason, tmp_path, monkeypatch, uncollected):
    monkeypatch.setattr(grading, "PATIENCE", 0.2)
    first, *others = grading.check(find(1), learner(tmp_path, text))
    assert first.verdict == "refused"
    assert re.search(reason, first.reason), first.reason
    assert [other.verdict for other in others] == ["passed", "passed"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_solution_that_goes_on_is_stopped_again(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "PATIENCE", 0.1)
    monkeypatch.setattr(grading, "AGAIN", 0.1)
    garbage = """
    class Garbage:
        def __del__(self):
            while True:  # what is raised in here is ignored
                pass
    Garbage()"""
    caught = """
    try:
        while True:
            pass
    except BaseException:
        pass"""
    for text in (garbage + "\n    while True:\n        pass", garbage, caught):
        first, *others = grading.check(find(1), learner(tmp_path, f"{text}\n    return x**n, n * x ** (n - 1)"))
        assert "did not come to an end" in first.reason
        assert [other.verdict for other in others] == ["passed", "passed"]


def test_waiting_is_no_computing_but_ends_too_and_loading_a_lesson_takes_no_time(tmp_path, monkeypatch, uncollected):
    monkeypatch.setattr(grading, "PATIENCE", 0.2)
    first, *_ = grading.check(find(1), learner(tmp_path, "    import time\n    while True:\n        time.sleep(0.01)"))
    assert "did not come to an end" in first.reason
    text = "    import time\n    time.sleep(0.05)\n    return x**n, n * x ** (n - 1)"
    assert grading.check(find(1), learner(tmp_path, text))[0].verdict == "passed"

    def slow(lesson, record):
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass

    monkeypatch.setattr(literate, "run", slow)
    text = "    load.__wrapped__(1)\n    return x**n, n * x ** (n - 1)"  # not what has been loaded already
    result = grading.check(find(1), learner(tmp_path, text))[0]
    assert result.verdict == "passed", result.reason


def test_what_a_solution_prints_is_shown_and_shortened(tmp_path, capsys):
    path = learner(tmp_path, "    for i in range(30):\n        print('step', i)\n    return x**n, n * x ** (n - 1)")
    assert main(["check", "1", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "| step 0" in shown
    assert "lines more" in shown
    assert "3 of 3 passed" in shown


def test_a_file_of_an_editor_that_marks_utf_8_is_graded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "check", grading.check)  # in this process, to save time
    path = learner(tmp_path, "    print('long' * 1000)\n    return x**n, n * x ** (n - 1)")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert main(["check", "1", str(path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 240


def test_a_file_that_cannot_run_is_told_kindly(tmp_path, capsys, monkeypatch, uncollected):
    monkeypatch.setattr(grading, "PATIENCE", 0.2)
    monkeypatch.setattr(judge, "check", grading.check)  # in this process, to save time
    path = tmp_path / "mine.py"
    for text, said in (
        ("def f(:\n    pass", "mine.py is no Python yet: .*line 1"),
        ("import nothing_of_that_name", "mine.py cannot be run: it raised ModuleNotFoundError.*line 1"),
        ("while True:\n    pass", "mine.py cannot be run: it did not come to an end"),
    ):
        path.write_text(text, encoding="utf-8")
        assert main(["check", "1", str(path)]) == 2
        assert re.search(said, capsys.readouterr().err)
    for encoding in ("latin-1", "utf-16"):
        path.write_text("x = 1  # \u00e9\n", encoding=encoding)
        assert main(["check", "1", str(path)]) == 2
        assert "mine.py is not a text in UTF-8: save it as UTF-8" in capsys.readouterr().err
    assert main(["check", "1", str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err or os.name == "nt"
    path.write_text("slopes_of_power = 3", encoding="utf-8")
    assert main(["check", "1", str(path)]) == 1
    assert "there is no function slopes_of_power in the file" in capsys.readouterr().out


ENDS = """
import os, signal

def slopes_of_power(x, n):
    os._exit(0)

def sigmoid(x):
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
"""


def test_no_solution_puts_another_grader_in_place(tmp_path, capfd):
    path = learner(tmp_path, "    return 1, 1")
    text = "from lessons import grading\n\n\ndef passes(*args, **keywords):\n    return None\n\n\n"
    text += "grading.need = grading.same = grading.exercises = grading.grade = passes\n"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    assert main(["check", "1", str(path)]) == 1
    assert "2 of 3 passed" in capfd.readouterr().out


def test_a_solution_that_ends_the_program_is_refused_and_the_others_are_graded(tmp_path, capfd):
    path = learner(tmp_path, "    return 1")
    path.write_text(path.read_text(encoding="utf-8") + ENDS, encoding="utf-8")
    assert main(["check", "1", str(path)]) == 1
    shown = capfd.readouterr().out
    assert re.search(r"1\.1 +refused .*\n +it ended the whole program \(os\._exit, or a crash; status 0\)", shown)
    assert re.search(r"1\.2 +refused .*\n +it ended the whole program", shown)
    assert re.search(r"1\.3 +passed", shown) and "1 of 3 passed" in shown
    path.write_text("import os\nos._exit(0)", encoding="utf-8")
    assert main(["check", "1", str(path)]) == 2
    assert "mine.py cannot be run: it ended the whole program" in capfd.readouterr().err


@pytest.mark.skipif(not os.environ.get("MINITENSOR_THOROUGH"), reason="waits for ten seconds")
def test_what_no_exception_reaches_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "LOADING", 10.0)
    monkeypatch.setattr(judge, "SILENCE", 0)
    first, *others = judge.check(find(1), learner(tmp_path, "    import time\n    time.sleep(1000)"))
    assert first.verdict == "refused" and "ended after 10 seconds without a sign of life" in first.reason
    assert [other.verdict for other in others] == ["passed", "passed"]


# --- what a solution must give --------------------------------------------------------------------


def listed(value):
    """Arrays as lists, Tensors as arrays, also those in a tuple or a list."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(listed, value))
    return value.numpy() if isinstance(value, mt.Tensor) else value.tolist() if isinstance(value, np.ndarray) else value


@ALL
def test_no_list_passes_for_an_array_and_no_array_for_a_tensor(lesson):
    answers = load_file(lesson.part("answers"))
    for item in grading.exercises(lesson):
        answer, seen = getattr(answers, item.name), set()
        if isinstance(answer, type) or item.nothing:
            continue

        def other(*args, answer=answer, seen=seen, **keywords):
            value = answer(*args, **keywords)
            seen.add(listed(value).__class__ is not value.__class__ or repr(listed(value)) != repr(value))
            return listed(value)

        result = grading.grade(item, of_lesson(lesson, item, "other.py", functools.wraps(answer)(other)))
        # A number of NumPy may stand for an array without axes.
        assert result.verdict == ("refused" if True in seen else "passed"), (item.id, result)
        words = "asked for|a Tensor|Tensors|are lost|is lost|gets? back"
        assert result.verdict == "passed" or re.search(words, result.reason), (item.id, result.reason)


@ALL
def test_several_results_may_be_a_list(lesson):
    answers = load_file(lesson.part("answers"))
    for item in grading.exercises(lesson):
        right = getattr(answers, item.name)
        if item.id in ("2.1", "6.2") or isinstance(right, type):  # a shape, and what a kernel returns, is a tuple
            continue

        def listed(*args, right=right, **keywords):
            out = right(*args, **keywords)
            return list(out) if isinstance(out, tuple) else out

        result = grading.grade(item, of_lesson(lesson, item, "mine.py", listed))
        assert result.verdict == "passed", (item.id, result.reason)


# --- the command line -----------------------------------------------------------------------------


def test_blanks_are_written_checked_and_not_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "1"]) == 2
    assert "there is no exercises_01.py: python -m lessons blank 1 writes it" in capsys.readouterr().err
    assert main(["blank", "1"]) == 0
    assert main(["check", "1"]) == 1
    assert "0 of 3 passed" in capsys.readouterr().out
    Path("exercises_01.py").write_text("x = 1", encoding="utf-8")
    assert main(["blank", "1"]) == 2
    assert "left as it is" in capsys.readouterr().err
    assert Path("exercises_01.py").read_text(encoding="utf-8") == "x = 1"
    assert main(["blank", "1", "--overwrite"]) == 0
    assert "sigmoid" in Path("exercises_01.py").read_text(encoding="utf-8")


def test_listing_running_and_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(lesson.title in listed for lesson in lessons())
    assert main(["run", "1", "--pictures", "drawn"]) == 0
    assert "claim: " in capsys.readouterr().out
    assert len(list(Path("drawn").glob("01-*.png"))) >= 1
    assert main(["answer", "1.1"]) == 0
    assert capsys.readouterr().out.startswith("def slopes_of_power(x, n):")
    assert main(["answer", "1.99"]) == 2
    assert main(["answer", "1"]) == 2
    assert capsys.readouterr().err.count("lesson 1 has 1.1, 1.2, 1.3") == 2
    assert main(["run", "99"]) == 2
    assert "there is no lesson 99" in capsys.readouterr().err


def test_notebooks_and_pages_have_text_code_outputs_and_pictures(tmp_path, capsys):
    assert main(["build", str(tmp_path), "--only", "1"]) == 0
    page = (tmp_path / "01.md").read_text(encoding="utf-8")
    assert page.startswith("# 1. A scalar engine")
    assert "``` { .text .output }\n8.0\n4.0 2.0\n```" in page
    assert "](01-1.png)" in page
    code, drawing = page.split('??? note "How it is drawn"')
    assert "@picture" not in code and "by_turning = " in code and "\n    @picture(" in drawing
    assert (tmp_path / "01-1.png").read_bytes().startswith(b"\x89PNG")
    assert "### 1.3 The backward pass" in page
    made = json.loads((tmp_path / "01_scalar_engine.ipynb").read_text(encoding="utf-8"))
    assert made["nbformat"] == 4
    kinds = [cell["cell_type"] for cell in made["cells"]]
    assert kinds.count("code") == 1 + sum(cell.kind == "code" for cell in find(1).cells())
    outputs = [out for cell in made["cells"] for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} == {"stream", "display_data"}
    assert build.exercise_text(find(1)).count("### ") == 3


# --- the course page ------------------------------------------------------------------------------


@ALL
def test_the_course_page_has_the_lesson(lesson):
    page = (HERE.parent / "docs" / "lessons" / "index.md").read_text(encoding="utf-8")
    assert f"| {lesson.number}. [{lesson.title}](../../lessons/{lesson.path.name}) |" in page
