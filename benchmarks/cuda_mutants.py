"""The CUDA kernels made wrong in their text, one place at a time, and what the tests of the
emulator say. See ``kernel_mutants.py``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from kernel_mutants import KernelMutant, judge_all, spread

from minitensor.backend.kernels import FOLDER, REALS, signatures, sources

__all__ = ["cuda_mutants", "text_changes"]

LIMIT = 16  # mutants of a file
TESTS = {  # which tests of tests/backend run a file's kernels, as pytest's -k takes it; default: all
    "activations": "gelu or silu", "attention": "attention or packed or masked_out",
    "cross_entropy": "cross_entropy or out_of_range", "division": "floor_divide or remainder or quotients",
    "indexing": "add_at or out_of_range or embedding or getitem", "norm": "norm or chunks", "random": "random or generators",
    "softmax": "softmax", "updates": "adam", "head": "softmax or norm",
}  # fmt: skip
FILES = "tests/backend/test_kernels.py", "tests/backend/test_fake_device.py"
NUMBER = r"(?<![\w.])(\d+\.\d+)(?![\w.])"
TERM = r"[\w.]+(?:\[[^\[\]]*\])?(?:\([^()]*\))?"
PATTERNS = [  # (kind, pattern, replacement)
    ("sign", r"(?<=[\w\])]) \+ (?=[\w(*])", " - "), ("sign", r"(?<=[\w\])]) - (?=[\w(*])", " + "),
    ("sign", r" \+= ", " -= "), ("sign", r"(?<=[(,=?:] )-(?=[\w(])|(?<=\()-(?=[\w(])", ""),
    ("factor", r"(?<=[\w\])]) \* (?=[\w(*])", " / "), ("factor", r"(?<=[\w\])]) / (?=[\w(*])", " * "),
    ("factor", NUMBER, r"(2 * \1)"),
    ("wrong tie", r" < ", " <= "), ("wrong tie", r" <= ", " < "), ("wrong tie", r" > ", " >= "), ("wrong tie", r" >= ", " > "),
    ("wrong mask", r" < ", " > "), ("wrong mask", r" > ", " < "), ("wrong mask", r" == ", " != "), ("wrong mask", r" != ", " == "),
    ("wrong mask", r" && ", " || "), ("wrong mask", r" \|\| ", " && "), ("wrong mask", r"if \(!", "if ("), ("wrong mask", r"\? !", "? "),
    ("lost sum", r"block_sum(?=\()(?!\(REAL)", ""), ("lost sum", r"block_max(?=\()(?!\(REAL)", ""), ("lost sum", r" \+= (?=\w)", " = "),
    ("dropped term", rf"\b{TERM} \* (?=\w)", ""), ("dropped term", rf" \* {TERM}(?=[ ;)])", ""),
    ("dropped term", rf" \+ {TERM}(?=[;)])", ""), ("dropped term", rf" - {TERM}(?=[;)])", ""), ("dropped term", rf" / {TERM}(?=[;)])", ""),
    ("dropped term", r"(?<= )\w+ = ROW\(\w+\);", ";"), ("dropped term", r"(?<= )(\w+) = block_(?:sum|max)\(\1\);", ";"),
    ("swapped operands", rf"(?<![\w\])*/] )(?<![\w.])({TERM}) - ({TERM})(?=[;)])", r"\2 - \1"),
    ("off by one", r"(?<=\[)(\w+)(?=\])", r"\1 + 1"), ("off by one", r"(?<== )0(?=[;,])", "1"), ("off by one", r"(?<![\w.])(\d+)(?=;)", r"(\1 + 1)"),
    ("wrong function", r"\bexp\(", "expm1("), ("wrong function", r"\bexpm1\(", "exp("), ("wrong function", r"\blog1p\(", "log("),
    ("wrong function", r"\bsqrt\(", "("), ("wrong function", r"\bfabs\(", "("), ("wrong function", r"\btanh\(", "sin("),
    ("wrong function", r"\bfloor\(", "("),
]  # fmt: skip


class Changed(SimpleNamespace):
    """One mutant of a text: kind, the function it is in, diff, text."""


def text_changes(text):
    """All mutants of a CUDA text, in its order, those of equal text once."""
    found, seen = [], {text}
    start = 0
    function = ""
    for line in text.splitlines(keepends=True):
        code = line.split("//")[0]
        named = re.search(r"^(?:extern \"C\" __global__|__device__) \w+ (\w+)\(", line)
        function = named.group(1) if named else function
        body = code.find("{") if named else 0
        if not line.startswith(("typedef", "#define ALL", " " * 40)) and body >= 0:
            for order, (kind, pattern, put) in enumerate(PATTERNS):
                for match in re.finditer(pattern, code):
                    if match.start() < body:
                        continue
                    after = match.expand(put) if put else ""
                    changed = line[: match.start()] + after + line[match.end() :]
                    whole = text[:start] + changed + text[start + len(line) :]
                    if whole not in seen:
                        seen.add(whole)
                        diff = f"- {line.rstrip()}\n+ {changed.rstrip()}"
                        found.append((start + match.start(), order, Changed(kind=kind, function=function, diff=diff, text=whole)))
        start += len(line)
    return [change for _, _, change in sorted(found, key=lambda x: x[:2])]


class _First:
    """A pytest plugin that keeps the name of the first test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid.rpartition("::")[2]

    def pytest_collectreport(self, report):
        if report.failed and not self.failed:
            self.failed = "collection"


def _tests(file):
    """The tests of a file's kernels as one function, which raises if one fails."""
    import pytest

    def run():
        first = _First()
        chosen = ["-k", TESTS[file]] if file in TESTS else []
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-n", "0", *FILES, *chosen], plugins=[first])
        if code:
            raise AssertionError(first.failed or f"pytest ended with {code}")

    return run


def _plant(file, text):
    """Let the emulator run the kernels of ``file`` with its text changed."""
    from tests.backend import emulator

    right = {dtype: emulator.library(dtype) for dtype in REALS}
    files = {file: ""} if file != "head" else sources()
    names = {name for one in files for name in signatures(sources()[one])} if file != "head" else None

    def plant():
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        for path in FOLDER.glob("*.cu"):
            shutil.copy(path, folder)
        (folder / f"{file}.cu").write_text(text, encoding="utf-8")
        of_files = {one: sources()[one] for one in files}
        emulator.FOLDER, emulator.sources = folder, lambda: of_files
        emulator.library.cache_clear()
        try:
            wrong = {dtype: emulator.library(dtype) for dtype in REALS}
        except Exception:
            raise SystemExit("does not compile") from None
        finally:
            shutil.rmtree(folder)

        class Both:
            def __init__(self, dtype):
                self.dtype = dtype

            def __getattr__(self, name):
                changed = names is None or name.removeprefix("run_") in names
                return getattr((wrong if changed else right)[self.dtype], name)

        emulator.library = Both

    return plant


def cuda_mutants(only=(), jobs=1, limit=LIMIT):
    """All mutants of the CUDA texts, judged; ``only``: files. Those that do not compile are not
    among them.
    """
    import pytest

    from tests.backend import emulator

    for dtype in REALS:
        emulator.library(np.dtype(dtype))
    made = []
    for path in sorted(FOLDER.glob("*.cu")):
        if only and path.stem not in only:
            continue
        for change in spread(text_changes(path.read_text(encoding="utf-8")), limit):
            mutant = KernelMutant(path.stem, change.function, change.kind, change.diff)
            made.append((mutant, [("tests", _tests(path.stem))], _plant(path.stem, change.text)))
    pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", "-n", "0", *FILES])  # imported once, for all children
    return [mutant for mutant in judge_all(made, jobs) if "does not compile" not in mutant.said]
