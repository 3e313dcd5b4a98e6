"""The CUDA kernels made wrong in their text, one place at a time, and what the tests of the
emulator say. See ``kernel_mutants.py``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from kernel_mutants import KernelMutant, judge_all, spread

from minitensor.backend.kernels import FOLDER, REALS, signatures, sources

__all__ = ["cuda_mutants", "text_changes"]

LIMIT = 12  # mutants of a file
NUMBER = r"(?<![\w.])(\d+\.\d+)(?![\w.])"
TERM = r"[\w.]+(?:\[[^\[\]]*\])?(?:\([^()]*\))?"
PATTERNS = [  # (kind, pattern, replacement)
    ("sign", r"(?<=[\w\])]) \+ (?=[\w(*])", " - "), ("sign", r"(?<=[\w\])]) - (?=[\w(*])", " + "),
    ("sign", r" \+= ", " -= "), ("sign", r"(?<=[(,=?:] )-(?=[\w(])|(?<=\()-(?=[\w(])", ""),
    ("factor", r"(?<=[\w\])]) \* (?=[\w(*])", " / "), ("factor", r"(?<=[\w\])]) / (?=[\w(*])", " * "),
    ("factor", NUMBER, r"(2 * \1)"),
    ("wrong tie", r" < ", " <= "), ("wrong tie", r" <= ", " < "), ("wrong tie", r" > ", " >= "), ("wrong tie", r" >= ", " > "),
    ("wrong mask", r" < ", " > "), ("wrong mask", r" > ", " < "), ("wrong mask", r" == ", " != "), ("wrong mask", r" != ", " == "),
    ("wrong mask", r" && ", " || "), ("wrong mask", r" \|\| ", " && "),
    ("wrong mask", r"if \(!", "if ("), ("wrong mask", r"\? !", "? "),
    ("lost sum", r"block_sum(?=\()(?!\(REAL)", ""), ("lost sum", r"block_max(?=\()(?!\(REAL)", ""),
    ("lost sum", r" \+= (?=\w)", " = "),
    ("dropped term", rf"\b{TERM} \* (?=\w)", ""), ("dropped term", rf" \* {TERM}(?=[ ;)])", ""),
    ("dropped term", rf" \+ {TERM}(?=[;)])", ""), ("dropped term", rf" - {TERM}(?=[;)])", ""),
    ("dropped term", rf" / {TERM}(?=[;)])", ""),
    ("dropped term", r"(?<= )\w+ = ROW\(\w+\);", ";"), ("dropped term", r"(?<= )(\w+) = block_(?:sum|max)\(\1\);", ";"),
    ("swapped operands", rf"(?<![\w\])*/] )(?<![\w.])({TERM}) - ({TERM})(?=[;)])", r"\2 - \1"),
    ("off by one", r"(?<=\[)(\w+)(?=\])", r"\1 + 1"), ("off by one", r"(?<== )0(?=[;,])", "1"),
    ("off by one", r"(?<![\w.])(\d+)(?=;)", r"(\1 + 1)"),
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
                        found.append(
                            (start + match.start(), order, Changed(kind=kind, function=function, diff=diff, text=whole))
                        )
        start += len(line)
    return [change for _, _, change in sorted(found, key=lambda x: x[:2])]


def _tests():
    """``{name: test}``: the tests of ``tests/backend`` that run kernels."""
    from table import TABLE

    from minitensor.backend import namespace
    from tests.backend import test_fake_device as fake
    from tests.backend import test_fake_recurrent as recurrent
    from tests.backend import test_kernels as direct
    from tests.backend.parity import check_row

    xp, single, double = namespace("cuda"), np.dtype(np.float32), np.dtype(np.float64)
    found = {}
    for dtype in (double, single):
        for width in (5, 150, 1, 32, 5000):
            found[f"softmax rows {width} {dtype}"] = partial(direct.test_softmax_rows_of_every_width, xp, dtype, width)
        for keep, coupled in ((0.99, 0.0), (1.0, 0.1), (1.0, 0.0)):
            found[f"adam {keep} {coupled} {dtype}"] = partial(
                direct.test_adam_equals_the_rule_of_the_optimiser, xp, dtype, keep, coupled
            )
        for shape in ((6,), (6, 3), (6, 2, 3)):
            found[f"add_at {shape} {dtype}"] = partial(direct.test_add_at_sums_repeated_ids, xp, dtype.type, shape)
        found[f"quotients {dtype}"] = partial(fake.test_whole_quotients_and_remainders_are_numpys, dtype.name)
        for name, *row in fake.OVERRIDES:
            tolerance = 1e-10 if dtype == double else 1e-4
            found[f"{name} {dtype}"] = partial(fake.test_kernels_equal_those_of_the_cpu, *row, dtype, tolerance)
        for name, test in vars(direct).items():
            if name.startswith("test_edges"):
                found[f"{name} {dtype}"] = partial(test, xp, dtype)
    found["softmax infinities"] = partial(direct.test_softmax_meets_infinities_as_numpy_does, xp)
    for counter in (0, 2**64 - 3, 2**128 - 1):
        for count in (5, 2050):
            found[f"words {count} {counter}"] = partial(direct.test_random_words_equal_numpys, xp, counter, count)
    found["add_at any"] = partial(direct.test_add_at_takes_any_index, xp)
    found["ids"] = partial(direct.test_an_id_out_of_range_is_told_at_the_next_read, xp)
    found["masked"] = fake.test_masked_out_nan_reaches_nothing
    for kind in ("RNN", "LSTM", "GRU"):
        found[f"recurrent {kind}"] = partial(recurrent.test_layers_equal_those_of_the_cpu_and_never_wait, kind)
    used = {  # the rows of the table that run kernels of ours
        "softmax", "log_softmax", "layer_norm", "rms_norm", "gelu", "silu", "cross_entropy", "embedding", "floor_divide",
        "remainder", "getitem", "put", "scaled_dot_product_attention", "packed_attention",
    }  # fmt: skip
    for row in TABLE:
        if row.name in used:
            found[f"table {row}"] = partial(check_row, row, 8)
    return found


def _coverage(tests):
    """``{kernel: [(name, test), ...]}``: which tests launch which kernel, the quick ones first."""
    from tests.backend import emulator

    called: set = set()
    plain = emulator.Module.get_function

    def noting(self, name):
        function = plain(self, name)

        def kernel(*arguments):
            called.add(name)
            return function(*arguments)

        return kernel

    emulator.Module.get_function = noting
    timed = []
    for name, test in tests.items():
        called.clear()
        started = time.perf_counter()
        try:
            test()
        except BaseException as error:
            raise AssertionError(f"{name} fails without a change") from error
        timed.append((time.perf_counter() - started, name, test, set(called)))
    emulator.Module.get_function = plain
    by_kernel: dict = {}
    for _, name, test, names in sorted(timed, key=lambda x: x[0]):
        for kernel in names:
            by_kernel.setdefault(kernel, []).append((name, test))
    return by_kernel


def _plant(file, text):
    """Let the emulator run the kernels of ``file`` with its text changed, each type compiled when
    it is first used.
    """
    from tests.backend import emulator

    files = list(sources()) if file == "head" else [file]
    names = {name for one in files for name in signatures(sources()[one])}
    right, compiling, of_files = emulator.library, emulator.library.__wrapped__, {one: sources()[one] for one in files}

    def plant():
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        for path in FOLDER.glob("*.cu"):
            shutil.copy(path, folder)
        (folder / f"{file}.cu").write_text(text, encoding="utf-8")
        emulator.FOLDER, emulator.sources = folder, lambda: of_files
        wrong: dict = {}

        class Both:
            """The library of a type: changed kernels and right ones."""

            def __init__(self, dtype):
                self.dtype = dtype

            def __getattr__(self, name):
                if name.removeprefix("run_") not in names:
                    return getattr(right(self.dtype), name)
                if self.dtype not in wrong:
                    try:
                        wrong[self.dtype] = compiling(self.dtype)
                    except Exception:
                        raise SystemExit("does not compile") from None
                return getattr(wrong[self.dtype], name)

        emulator.library = Both

    return plant


def cuda_mutants(only=(), jobs=1, limit=LIMIT):
    """All mutants of the CUDA texts, judged; ``only``: files. Those that do not compile are not
    among them.
    """
    from tests.backend import emulator, fake_device

    for dtype in REALS:
        emulator.library(np.dtype(dtype))
    with fake_device.installed():
        by_kernel = _coverage(_tests())
        made = []
        for path in sorted(FOLDER.glob("*.cu")):
            if only and path.stem not in only:
                continue
            text = path.read_text(encoding="utf-8")
            own = list(signatures(text)) or ["softmax_forward", "norm_backward", "norm_forward"]  # of the head
            for change in spread(text_changes(text), limit):
                kernels = [change.function] if change.function in own else own
                tests = {name: test for kernel in kernels for name, test in by_kernel.get(kernel, [])}
                mutant = KernelMutant(path.stem, change.function, change.kind, change.diff)
                made.append((mutant, list(tests.items()), _plant(path.stem, change.text)))
        return [mutant for mutant in judge_all(made, jobs) if "does not compile" not in mutant.said]
