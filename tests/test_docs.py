"""The pages hold: their Python runs and prints what they say, their command lines are understood,
their names are all there.

The Python blocks of a page run in order, in one namespace and an empty folder. What a statement
prints is compared with the comments behind its prints, or in the lines right below it:

    print(x.grad)  # tensor([ 3., 12., 27.])
    print(x.shape)  # a remark may be before it, with a colon: (3,)

A block below ``<!-- not run: REASON -->`` is only compiled.
"""

import ast
import contextlib
import gc
import importlib.util
import io
import re
import shlex
import sys
import textwrap
import tokenize
from argparse import ArgumentParser
from pathlib import Path

import pytest

import minitensor as mt
from lessons.__main__ import parser as lessons_parser
from minitensor import nn, optim, testing
from minitensor.__main__ import command_line as face_parser
from minitensor.backend import at_work, products
from minitensor.models.gpt import GPT, GPTConfig

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), ROOT / "benchmarks" / "RESULTS.md", *sorted(ROOT.glob("docs/**/*.md")))
}
BLOCK = re.compile(r"^(?:<!-- not run: (.+) -->\n+)?( *)```(\w*).*\n((?:.*\n)*?)\2```$", re.MULTILINE)


def blocks(page, *languages):
    """``(line, reason not to run it or None, text)`` of the code blocks of a page that are in one
    of ``languages``.
    """
    for match in BLOCK.finditer(PAGES[page]):
        if match[3] in languages:
            yield PAGES[page].count("\n", 0, match.start(4)), match[1], textwrap.dedent(match[4])


# --- Python ---------------------------------------------------------------------------------------


def comments(source):
    """``{line: (whether code is before it, text)}`` of the comments of a block."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0]: (bool(t.line[: t.start[1]].strip()), t.string[1:].strip())
        for t in tokens
        if t.type == tokenize.COMMENT
    }


def said_of(statement, found, printed):
    """What the comments say that ``statement`` prints: those behind its prints, and in the lines
    below if it has ``printed``.
    """
    calls = [
        node for node in ast.walk(statement) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    said = [found[call.end_lineno][1] for call in calls if found.get(call.end_lineno, (False,))[0]]
    line = statement.end_lineno + 1
    while (calls or printed) and line in found and not found[line][0]:
        said.append(found[line][1])
        line += 1
    return " ".join(" ".join(said).split())


def run(source, namespace, where="", line=0):
    """Run a block; AssertionError if a statement prints something else than its comments say."""
    found = comments(source)
    for statement in ast.parse(source).body:
        place = f"{where}, line {line + statement.lineno}"
        code = compile(ast.Module([statement], []), place, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, namespace)
        printed = " ".join(out.getvalue().split())
        said = said_of(statement, found, printed)
        assert not said or said == printed or said.endswith(f": {printed}"), f"{place} prints\n{printed}\nnot\n{said}"


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))])
def test_the_python_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    if '"gpt2"' in PAGES[page]:  # a folder of published weights, which are not here: a tiny one
        GPT(GPTConfig(vocab_size=4000, max_length=32, d_model=8, n_layers=1, n_heads=2)).save_pretrained("gpt2")
    gc.collect()  # else graphs in cycles, which other tests left, are among what a page says is alive
    namespace = {"__name__": "page"}
    for line, reason, text in blocks(page, "python"):
        if reason is None:
            run(text, namespace, page, line)
        else:
            compile(text, page, "exec")


@pytest.mark.parametrize(
    "block",
    [
        "print(1 + 1)  # 3",
        "print(1 + 1)  # the sum: 3",
        "print(12)  # 2",
        "print('a')\n# b",
        "for i in range(2):\n    print(i)  # 0",
        "if True:\n    print(1)  # 1\n    print(2)  # 3",
    ],
)
def test_a_block_that_prints_something_else_is_found(block):
    with pytest.raises(AssertionError, match="prints"):
        run(block, {})


def test_a_block_that_prints_what_it_says_passes():
    run(
        "x = 1  # one\nprint(x,\n      2)  # both: 1 2\n\n# next\nprint('a')\nprint('long\\ntext')\n# long\n# text\n\n# last",
        {},
    )


# --- command lines --------------------------------------------------------------------------------


class Understood(Exception):
    """Raised in place of running a program whose command line has been parsed."""


def commands():
    """``(page, command)`` of every command line: in blocks of sh, and in the text between
    backticks.
    """
    for page, text in PAGES.items():
        for _, _, block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words:
                    end = next((i for i, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
                    yield page, shlex.join(words[:end])
                    words = words[end + 1 :]
        for command in re.findall(r"`((?:python|pip|pytest|mkdocs) [^`\n]+)`", BLOCK.sub("", text)):
            yield page, command


def parse(words, monkeypatch):
    """Let the program that ``words`` start parse its command line, and not run."""
    script = ROOT / words[0]
    spec = importlib.util.spec_from_file_location(f"documented_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    real = ArgumentParser.parse_args

    def parse_args(self, arguments=None, namespace=None):
        try:
            real(self, arguments, namespace)
        except SystemExit as exit:  # --help ends with 0
            assert exit.code == 0, words
        raise Understood

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", [str(script), *words[1:]])
    monkeypatch.syspath_prepend(str(script.parent))
    spec.loader.exec_module(module)
    module.main()


@pytest.mark.parametrize("page, command", list(dict.fromkeys(commands())))
def test_a_command_line_is_understood(page, command, monkeypatch):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    command = re.sub(r"^mpiexec -n \d+ ", "", command)
    program, *words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    if program == "python" and words[0] != "-m":
        with pytest.raises(Understood):
            parse(words, monkeypatch)
    elif program == "python" and words[1] == "lessons":
        lessons_parser().parse_args(words[2:])
    elif program == "python" and words[1] == "minitensor":
        face_parser().parse_args(words[2:])
    elif program == "pip":
        extras = re.search(r"\.\[(.+)\]", command)
        assert all(f"\n{extra} = [" in project for extra in (extras[1].split(",") if extras else []))
    elif program == "pytest":
        asked = " ".join(after for flag, after in zip(words, words[1:]) if flag == "-m")
        assert all(f'\n    "{marker}: ' in project for marker in set(asked.split()) - {"and", "or", "not"})
        assert all((ROOT / word).exists() for word in words if word.endswith(".py"))
    else:
        assert program in ("cat", "mkdocs", "ruff", "mypy", "pre-commit", "git", "cd") or (ROOT / program).exists(), (
            program
        )


# --- what is on which page ------------------------------------------------------------------------


def public_names():
    """The paths that the API reference must show."""
    checks = (testing, testing.strategies, testing.invariants, testing.adapters)
    for module in (mt, nn, nn.functional, nn.init, optim, mt.distributed, mt.linalg, mt.random, *checks):
        for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
            value = getattr(module, name)
            if (
                callable(value)
                and getattr(value, "__name__", name) == name
                and value.__module__.startswith("minitensor")
            ):
                yield f"{module.__name__}.{name}"
    yield from (f"minitensor.backend.{name}" for name in (*at_work.__all__, *products.__all__))


def test_the_reference_has_every_public_name_once():
    shown = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", PAGES[page], re.MULTILINE)]
    assert sorted(shown) == sorted(set(shown))
    same = {f"minitensor.{name}" for name in ("matmul", "tensordot", "vecdot", "matrix_transpose")}  # in linalg too
    expected = {name for name in public_names() if name.replace(".linalg", "") not in same or ".linalg" not in name}
    assert {name for name in shown if ".models." not in name} == expected


def test_every_block_is_of_a_kind_that_is_checked():
    assert {match[3] for page in PAGES for match in BLOCK.finditer(PAGES[page])} <= {"python", "sh"}


README_CLAIMS = re.compile(r"^((?:\| .* \|\n\|---\|---\|\n)(?:\| .*\n){14})$", re.MULTILINE)
CLAIM = re.compile(r"^## \d+\. (.+)$", re.MULTILINE)


def test_the_readme_has_sentences_of_each_claim_as_they_were_printed():
    titles, printed = CLAIM.findall(PAGES["docs/claims.md"]), CLAIM.split(PAGES["docs/claims.md"])[2::2]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", README_CLAIMS.search(PAGES["README.md"])[1], re.MULTILINE)[1:]
    assert [title for title, _ in rows] == titles and len(titles) == 14
    for (title, told), text in zip(rows, printed, strict=True):
        words = " ".join(line.removeprefix(">").strip() for line in text.splitlines() if line.startswith(">"))
        for sentence in re.split(r"(?<=[.]) (?=[A-Z])", told):
            assert re.search(rf"(^|[.!?] ){re.escape(sentence)}( |$)", words), f"{title}: {sentence}"


def test_the_readme_is_short_but_for_its_table_of_claims_and_says_first_how_to_run():
    readme = PAGES["README.md"]
    assert len(README_CLAIMS.sub("", readme).split()) <= 1000
    first = [text.strip() for _, _, text in blocks("README.md", "sh")][:2]
    assert first == ['pip install -e ".[train]" && python examples/translate.py', 'pip install -e ".[test]" && pytest']
