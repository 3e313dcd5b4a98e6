"""The CUDA kernels made wrong in their text, one place at a time, and what the tests of the
emulator say. See ``kernel_mutants.py``.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kernel_mutants import KernelMutant, judge_all, spread

from minitensor.backend.kernels import FOLDER, REALS, signatures, sources

__all__ = ["cuda_mutants", "text_changes"]

EACH, LIMIT = 4, 12  # mutants of a function, and of a file of few functions
PATIENCE = 8  # seconds of the processor for a test of a mutant; of what is right none takes 3
HEAD = ("softmax", "random", "sums")  # files that run all that is in the head
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
NAMED = re.compile(
    r"^(?:extern \"C\" __global__|__device__)(?: __forceinline__| __launch_bounds__\([^)]*\))? [\w ]+ (\w+)\("
)


class Changed(SimpleNamespace):
    """One mutant of a text: kind, the function it is in, diff, text."""


def text_changes(text):
    """All mutants of a CUDA text, in its order, those of equal text once."""
    found, seen = [], {text}
    start = 0
    function = ""
    for line in text.splitlines(keepends=True):
        code = line.split("//")[0]
        named = NAMED.search(line)
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


def _recorded(test, least=None):
    """``test`` with ``launched``, the names of the kernels that run, as its last argument, and what
    it may patch if it asks for that; least: of attention in tiles.
    """
    from minitensor.backend import namespace
    from minitensor.nn.functional import cuda_attention

    def run():
        kernels, names = namespace("cuda").kernels, []
        launch = kernels.launch
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "launch", lambda name, *rest: names.append(name) or launch(name, *rest))
            if least is not None:
                patch.setattr(cuda_attention, "LEAST", least)
            test(names, patch) if "monkeypatch" in inspect.signature(test).parameters else test(names)

    return run


def _tests():
    """``{name: test}``: the tests of ``tests/backend`` that run kernels."""
    from table import TABLE

    from minitensor.backend import namespace
    from tests.backend import test_fake_device as fake
    from tests.backend import test_fake_gradients as gradients
    from tests.backend import test_kernels as direct
    from tests.backend import test_sixteen as sixteen
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
            if name == "test_edges_of_masks":
                for query, key in ((1, 4), (1, 0), (0, 1)):
                    found[f"masks {query} {key} {dtype}"] = partial(test, xp, dtype, query, key)
            elif name.startswith("test_edges"):
                found[f"{name} {dtype}"] = partial(test, xp, dtype)
        for p in (0.3, 0.5, 1e-5):
            found[f"dropout {p} {dtype}"] = partial(
                fake.test_dropout_is_that_of_the_cpu_bit_for_bit, dtype=dtype.type, p=p
            )
    for name in ("float16", "bfloat16"):
        found[f"halves {name}"] = partial(sixteen.test_halves_are_what_rounding_leaves, name)
    found["softmax infinities"] = partial(direct.test_softmax_meets_infinities_as_numpy_does, xp)
    for counter in (0, 2**64 - 3, 2**128 - 1):
        for count in (5, 2050):
            found[f"words {count} {counter}"] = partial(direct.test_random_words_equal_numpys, xp, counter, count)
    found["add_at any"] = partial(direct.test_add_at_takes_any_index, xp)
    found["ids"] = partial(direct.test_an_id_out_of_range_is_told_at_the_next_read, xp)
    found["masked"] = fake.test_masked_out_nan_reaches_nothing
    found["dropout backwards"] = fake.test_dropout_does_not_depend_on_the_order_of_threads
    found["dropout again"] = fake.test_dropout_on_the_device_keeps_no_mask_and_differentiates_again
    found["gradients"] = gradients.test_shared_and_cut_parameters
    found["steps"] = gradients.test_steps_write_to_the_same_memory_again
    found |= _tests_of_recurrent() | _tests_of_sums(xp) | _tests_of_tiles()
    used = {  # the rows of the table that run kernels of ours
        "softmax", "log_softmax", "layer_norm", "rms_norm", "gelu", "silu", "relu", "cross_entropy",
        "symmetric_kl_div", "embedding", "floor_divide", "remainder", "getitem", "put",
        "scaled_dot_product_attention", "packed_attention",
    }  # fmt: skip
    for row in TABLE:
        if row.name in used:
            found[f"table {row}"] = partial(check_row, row, 8)
    return found


def _tests_of_recurrent():
    from tests.backend import test_fake_recurrent as recurrent

    found = {}
    for kind in ("RNN", "LSTM", "GRU"):
        found[f"recurrent {kind}"] = partial(recurrent.test_layers_equal_those_of_the_cpu_and_never_wait, kind)
        found[f"recurrent {kind}, defined"] = partial(recurrent.test_kernels_equal_the_definition, kind.lower())
        found[f"recurrent {kind}, asked for"] = partial(
            recurrent.test_only_gradients_that_are_asked_for_are_made, kind.lower()
        )
    for kind, keywords in recurrent.NONLINEARITIES:
        for reverse in (False, True):
            found[f"recurrent {kind} {keywords} backwards"] = partial(
                recurrent.test_no_result_depends_on_the_order_of_threads, kind, keywords
            )
            found[f"recurrent {kind} {keywords} {reverse}"] = partial(
                recurrent.test_kernels_equal_those_of_the_cpu, kind, keywords, reverse
            )
    return found


def _tests_of_sums(xp):
    from tests.backend import test_cuda_sums as sums

    found = {"crossing twice": sums.test_cross_entropy_goes_back_twice_and_to_the_second_order}
    for shape in ((3, 5), (300, 1), (2100, 33), (9, 1030), (5000, 3)):
        for dtype in (np.float64, np.float32):
            found[f"columns {shape} {dtype.__name__}"] = partial(
                sums.test_columns_are_summed_whatever_their_length, xp, shape, dtype
            )
    for axis in (0, (0, 1), None):
        found[f"sums over {axis}"] = partial(sums.test_sums_over_any_axes_are_numpys, xp, axis, False)
    found["sums of rules"] = _recorded(sums.test_rules_and_ops_sum_tall_arrays_by_the_kernel)
    for name, ids in sums.RUNS.items():
        for width in (3, 33, 130):
            found[f"runs {name} {width}"] = partial(sums.test_runs_of_equal_ids_are_summed_in_pieces, xp, ids, width)
    found["runs outside"] = partial(sums.test_ids_outside_the_table_write_nowhere, xp)
    found["runs of small numbers"] = partial(sums.test_a_sum_of_many_small_numbers_keeps_its_digits, xp)
    for size in (1.0, 1e30, 1e-30, 0.0, 3e38, np.inf, np.nan):
        for sizes in ((5000, 3), (1,)):
            for dtype in ("float64", "float32"):
                found[f"clip {size} {sizes} {dtype}"] = _recorded(
                    partial(sums.test_clipping_by_the_norm_is_the_cpus, size, sizes, dtype)
                )
    found["sums backwards"] = _recorded(partial(sums.test_no_result_depends_on_the_order_of_threads, xp))
    found["norm of many blocks"] = partial(sums.test_a_norm_of_more_blocks_than_threads, xp)
    found["clip two types"] = _recorded(sums.test_a_norm_over_two_types_takes_each_by_itself)
    for warmup in (False, True):
        found[f"averages {warmup}"] = _recorded(partial(sums.test_averages_are_moved_in_one_launch, warmup))
    found["averages of types"] = sums.test_averages_follow_parameters_of_two_types_and_views
    for dtype, settings, tolerance in (("float64", sums.OTHERS, 1e-12), ("float32", {}, 2e-5)):
        found[f"Adafactor {dtype}"] = partial(sums.test_adafactor_equals_the_cpus, settings, dtype, tolerance)
    found["Adafactor with NaN"] = _recorded(sums.test_adafactor_makes_seven_launches_a_step)
    found["Adafactor of vectors"] = sums.test_adafactor_of_vectors_alone
    return found


def _tests_of_tiles():
    from tests.backend import test_attention_tiles as tiles

    found = {name: partial(tiles.test_tiles_equal_the_cpus_attention, name, "float64", 1e-10) for name in tiles.CASES}
    for shape in ((), (43,), (40, 1), (2, 1, 43), (2, 1, 40, 43)):
        found[f"bias {shape}"] = partial(tiles.test_a_bias_of_any_shape_gets_its_gradient, shape, "float64", 1e-10)
    found["float32"] = tiles.test_tiles_of_float32_equal_the_cpus_attention
    found["backwards"] = partial(tiles.test_no_result_depends_on_the_order_of_threads, "dropout")
    for name in ("causal", "causal, fewer keys"):
        found[f"around {name}"] = partial(tiles.test_what_lies_around_an_array_is_neither_read_nor_written, name)
    found["wide"] = partial(tiles.test_wide_heads, 33)
    found["broadcast"] = partial(tiles.test_axes_before_the_rows_are_broadcast, (3, 37, 4))
    found["views"] = tiles.test_heads_that_are_views_are_read_where_they_lie
    for dropout in (0.3, 1e-3):
        for length in (32, 37):
            found[f"dropout {dropout} {length}"] = partial(
                tiles.test_dropout_drops_what_it_drops_on_the_cpu, False, length, dropout
            )
    for number in (np.nan, np.inf):
        found[f"hidden {number}"] = partial(tiles.test_what_is_hidden_reaches_nothing, number)
    found["NaN that is seen"] = lambda launched: tiles.test_nan_that_is_seen_stays()
    found["scores far apart"] = lambda launched: tiles.test_scores_far_apart()
    return {f"tiles {name}": _recorded(test, least=1) for name, test in found.items()}


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
    """Let the emulator run the kernels of ``file`` with its text changed, compiled without the
    other files, for each type when it is first used.
    """
    from tests.backend import emulator

    files = HEAD if file == "head" else (file,)
    names = {name for one in files for name in signatures(sources()[one])}
    right, right_files, compiling, wrong = emulator.library, emulator.files_with, emulator.library.__wrapped__, {}

    def library(dtype, asked):
        if asked != files:
            return right(dtype, asked)
        if dtype not in wrong:
            try:
                wrong[dtype] = compiling(dtype, files)
            except subprocess.CalledProcessError:
                raise SystemExit("does not compile") from None
        return wrong[dtype]

    def plant():
        emulator.FOLDER = folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        for path in FOLDER.glob("*.cu"):
            shutil.copy(path, folder)
        (folder / f"{file}.cu").write_text(text, encoding="utf-8")
        emulator.files_with = lambda name: files if name in names else right_files(name)
        emulator.library = library

    return plant


def chosen(text):
    """The mutants of a text that are judged: of each function a few of all kinds."""
    of_functions: dict = {}
    for change in text_changes(text):
        of_functions.setdefault(change.function, []).append(change)
    each = max(EACH, -(-LIMIT // len(of_functions)))
    return [change for changes in of_functions.values() for change in spread(changes, each)]


def cuda_mutants(only=(), jobs=1):
    """All mutants of the CUDA texts, judged; ``only``: files. Those that do not compile are not
    among them.
    """
    from tests.backend import emulator, fake_device

    for dtype in REALS:
        for name in ("philox", "attention_tiles"):
            emulator.library(np.dtype(dtype), emulator.files_with(name))
    with fake_device.installed():
        by_kernel = _coverage(_tests())
        made = []
        for path in sorted(FOLDER.glob("*.cu")):
            if only and path.stem not in only:
                continue
            text = path.read_text(encoding="utf-8")
            own = [
                name for file in (HEAD if path.stem == "head" else (path.stem,)) for name in signatures(sources()[file])
            ]
            for change in chosen(text):
                kernels = [change.function] if change.function in own else own
                tests = {name: test for kernel in kernels for name, test in by_kernel.get(kernel, [])}
                mutant = KernelMutant(path.stem, change.function or path.stem, change.kind, change.diff)
                made.append((mutant, list(tests.items()), _plant(path.stem, change.text)))
        return [mutant for mutant in judge_all(made, jobs, PATIENCE) if "does not compile" not in mutant.said]
