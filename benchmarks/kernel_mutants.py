"""The compiled CPU kernels made wrong, one place at a time, and what the parity tests say.

``mutants.py --compiled`` and ``mutants.py --cuda`` run what is here. A kernel of numba is changed
by its syntax tree and run as plain Python (see ``plain_kernels.py``); a CUDA kernel is changed in
its text, compiled for the emulator of the tests and run there. The tests are those of
``tests/backend``, each mutant in a process of its own: it may loop for ever or leave its arrays.
"""

from __future__ import annotations

import ast
import copy
import os
import pickle
import re
import signal
import textwrap
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from minitensor.testing.rewriting import Change, changes

__all__ = ["KernelMutant", "compiled_mutants", "section"]

LIMIT = 5  # mutants of a function, at most
OF_ENTRIES = 2  # of one that only cuts work into parts
SINGLE = (  # cases that run in float32 too: those of the functions that only float32 has
    "elements gelu", "elements gelu tanh", "elements silu", "rows softmax", "rows log_softmax", "rows layer_norm plain",
    "recurrent lstm plain",
)  # fmt: skip
PATIENCE = 120  # seconds of the processor until a test that still runs is stopped


@dataclass
class KernelMutant:
    """One changed kernel. outcome: "caught" or "passed"; said: which test saw it, and how."""

    file: str
    function: str
    kind: str
    diff: str
    outcome: str = ""
    said: str = ""


# --- running --------------------------------------------------------------------------------------


def judged(tests, plant, patience=PATIENCE):
    """``(outcome, words)``: in a child, plant a mutant and run tests until one fails, or takes more
    seconds of the processor than ``patience``.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        said = ("passed", "") if tests else ("passed", "no test runs it")
        try:
            plant()
            for name, test in tests:
                signal.setitimer(signal.ITIMER_PROF, patience)
                try:
                    test()
                except BaseException as error:
                    lines = [x.strip() for x in str(error).splitlines() if x.strip()]
                    said = "caught", f"{name}: {type(error).__name__}: {lines[0] if lines else ''}"
                    break
        except BaseException as error:
            said = "caught", f"{type(error).__name__}: {error}"
        os.write(writing, pickle.dumps(said)[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if told:
        return pickle.loads(told)
    code = os.waitstatus_to_exitcode(status)
    return (
        "caught",
        f"a test ran for more than {patience} s" if code == -signal.SIGPROF else f"the process ended with {code}",
    )


# --- compiled kernels -----------------------------------------------------------------------------


def tree_changes(tree):
    """The changes of ``mutants``, and bounds of loops that are off by one."""
    yield from changes(tree, (), recorded=False)
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range":
            for place, sign in ((len(node.args) - 1, ast.Sub()), (0, ast.Add())):
                if place == 0 and len(node.args) == 1 and isinstance(sign, ast.Add):
                    continue
                changed = copy.deepcopy(tree)
                call = list(ast.walk(changed))[number]
                call.args[place] = ast.BinOp(call.args[place], sign, ast.Constant(1))
                yield Change("off by one", node, ast.unparse(call), ast.fix_missing_locations(changed))


def spread(made, limit):
    """At most ``limit`` of the changes: of each kind in turns, and of one kind from all over the
    text.
    """
    if len(made) <= limit:
        return made
    kinds: dict[str, list] = {}
    for change in made:
        kinds.setdefault(change.kind, []).append(change)
    chosen, turn = [], 0
    while len(chosen) < limit:
        for number, (_, group) in enumerate(sorted(kinds.items())):
            if group and len(chosen) < limit:
                chosen.append(group.pop((7 * turn + 3 * number + len(group) // 2) % len(group)))
        turn += 1
    return sorted(chosen, key=made.index)


def cases_of(plain):
    """``[(name, test, functions, seconds)]``: each test of the compiled kernels, with the plain
    functions that it runs.
    """
    from minitensor.backend.compiled import kernels
    from tests.backend import test_compiled_parity as parity

    rights: dict = {}

    def of_op(name, dtype):
        function, inputs = parity.CASES[name]

        def run():
            with np.errstate(all="ignore"):
                return parity._results(function, inputs, {}, None, "cpu", np.dtype(dtype), 1)

        kernels.switch(False)
        rights[name, dtype] = run()
        kernels.switch(True)
        return lambda: parity.check((rights[name, dtype], run()), np.dtype(dtype).type)

    found = []
    for dtype in ("float64", "float32"):
        names = parity.CASES if dtype == "float64" else SINGLE
        found += [(f"{name} {dtype}", of_op(name, dtype)) for name in names]
        real = np.dtype(dtype).type
        found.append(
            (f"sure {dtype}", lambda real=real: parity.test_the_gradient_of_a_sure_log_softmax_keeps_its_digits(real))
        )
        if dtype == "float32":
            continue
        for kind in (parity.optim.Adam, parity.optim.AdamW):
            for settings in ({}, {"weight_decay": 0.1}):
                found.append((
                    f"{kind.__name__} {settings} {dtype}",
                    lambda kind=kind, settings=settings, real=real: parity.test_updates_are_those_of_numpy(kind, settings, real),
                ))  # fmt: skip
        found.append(
            (f"sums of rows {dtype}", lambda real=real: parity.test_updates_sums_of_rows_are_those_of_numpy(real))
        )
        found.append(
            (f"squares {dtype}", lambda real=real: parity.test_updates_sums_of_squares_are_those_of_numpy(real))
        )
        found.append((f"adam {dtype}", lambda real=real: parity.test_updates_of_adam_reach_the_last_element(real)))
        for place in (0, 16_383, 16_384, 32_768):
            for value, moderate in ((1e15, False), (-1e15, False), (-9e14, True), (np.nan, False)):
                found.append((
                    f"moderate {place} {value} {dtype}",
                    lambda p=place, v=value, m=moderate, real=real: parity.test_updates_whatever_is_not_moderate_is_found(
                        p, v, m, real
                    ),
                ))  # fmt: skip
    for count, counter in ((4096, 3), (16_385, 2**64 - 700)):
        found.append(
            (f"words {count}", lambda n=count, c=counter: parity.test_updates_random_words_are_those_of_numpy(n, c))
        )
        found.append((
            f"dropout {count}",
            lambda n=count, c=counter: parity.test_updates_dropout_draws_what_numpy_draws(max(n, 4099), c, np.float64),
        ))  # fmt: skip
    cases = []
    for name, test in found:
        plain.called.clear()
        started = time.perf_counter()
        test()
        cases.append((name, test, set(plain.called), time.perf_counter() - started))
    return sorted(cases, key=lambda case: case[3])


def compiled_mutants(only=(), jobs=1, limit=LIMIT):
    """All mutants of the compiled kernels, judged; ``only``: functions."""
    from plain_kernels import PlainKernels

    plain = PlainKernels(record=True)
    plain.use()
    cases = cases_of(plain)
    plain.stop_recording()
    made = []
    for (file, name), node in plain.functions.items():
        if only and name not in only:
            continue
        lines = plain.lines[file]
        entry = any(getattr(d, "id", "") == "entry" for d in node.decorator_list)
        of_function = [case for case in cases if (file, name) in case[2]]
        double = [case for case in of_function if case[0].endswith("float64")]
        tests = [case[:2] for case in (*double, *(case for case in of_function if case not in double))]
        decorated = {getattr(d, "id", "") for d in node.decorator_list} & {"part", "entry", "njit"}
        if not decorated and file not in ("maths", "lowlevel"):  # what prepares a call, in Python
            continue
        for change in spread(list(tree_changes(node)), OF_ENTRIES if entry else limit):
            mutant = KernelMutant(file, name, change.kind, change.diff(lines))
            made.append((mutant, tests, lambda file=file, change=change: plain.install(file, change.tree)))
    return judge_all(made, jobs)


def judge_all(made, jobs, patience=PATIENCE):
    """Judge the mutants, several at once."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs) as threads:
        for (mutant, *_), (mutant.outcome, mutant.said) in zip(
            made, threads.map(lambda m: judged(*m[1:], patience), made)
        ):
            print(f"{mutant.outcome}: {mutant.kind} in {mutant.function}: {mutant.said}", flush=True)
            if mutant.outcome != "caught":
                print(mutant.diff, flush=True)
    return [mutant for mutant, *_ in made]


# --- the page -------------------------------------------------------------------------------------


def section(title, lines, found):
    """The lines of the page on ``found``."""
    same = [m for m in found if m.outcome != "caught" and why_equivalent(m)]
    missed = [m for m in found if m.outcome != "caught" and not why_equivalent(m)]
    caught = [m for m in found if m.outcome == "caught"]
    able = len(caught) + len(missed)
    kinds = Counter(m.kind for m in (*caught, *missed))
    seen = Counter(m.kind for m in caught)
    files = Counter(m.file for m in (*caught, *missed))
    seen_in = Counter(m.file for m in caught)
    made = [
        f"## {title}",
        "",
        *lines,
        "",
        f"Of {able} mutants, {len(caught)} were caught ({100 * len(caught) / max(able, 1):.4g} %).",
        "",
        "| kind | mutants | caught |",
        "|---|---:|---:|",
        *(f"| {kind} | {kinds[kind]} | {seen[kind]} |" for kind in sorted(kinds)),
        "",
        "| file | mutants | caught |",
        "|---|---:|---:|",
        *(f"| {file} | {files[file]} | {seen_in[file]} |" for file in sorted(files)),
    ]
    if same:
        made += ["", f"{len(same)} more are equivalent, and not in the share:", ""]
        reasons: dict = {}
        for mutant in same:
            reasons.setdefault(why_equivalent(mutant), []).append(mutant)
        for reason, group in reasons.items():
            count = f" ({len(group)})" if len(group) > 1 else ""
            line = f"- {', '.join(sorted({f'`{m.function}`' for m in group}))}{count}: {reason}"
            made += textwrap.wrap(line, 100, subsequent_indent="  ", break_on_hyphens=False)
    for mutant in missed:
        made += [
            "",
            f"Not caught: {mutant.kind} in {mutant.function}:",
            "",
            *("    " + x for x in mutant.diff.splitlines()),
        ]
    return made


CUT = "how the work is cut into parts: any share of at least one will do, since the parts are counted from it"
EMPTY = "one part more, which has nothing to do"
AGAIN = "rows of the next part are computed twice, to the same numbers"
COUNTED = "whether the count is 0 is all that is asked"
LINES = {  # of equivalent mutants, by a pattern of the line that they have: why
    r"each = max\(|parts, each = _slices|def _slices|parts = max\(": CUT,
    r"parallel\(.*\+ each\)\) // each|pool, \(\(.* \+ each\)\) // each": EMPTY,
    r"\(number \+ 2\) \* each": AGAIN,
    r"many -= 0": COUNTED,
    r"rest -= minus\(row\[place\], greatest\)": "what is added is 0 or NaN",
    r"zero if \(x\[i\] <= zero\)": "0 and -0 are equal",
    r"nearly = y.dtype.type|y\[j\] >=? REAL\(-": "two forms of one formula, both exact to rounding on either side of the threshold",
    r"over\(over\(eps, top\), top\)": "eps is less than rounding where squares overflow",
    r"word block\[4 \+ 1\]|REAL lanes\[1024 \+ 1\]"
    r"|share\[EACH \+ 1\] = \{\}|held\[16 \+ 1\], top": "an array that is longer than needed",
    r"larger\(REAL a, REAL b\) \{ return a >= b|x <= -most \? -most": "of two equal numbers either may be given",
    r"alignas\(sizeof|weights\[TILE \* STEP \* EACH\]": "the same numbers, more or less close together in shared memory",
    r"seen\[r\] && first - r < m": "a row outside of the matrix is never seen",
    r"sight.keys \+ first - TILE": "tiles behind the last key are done too, of which nothing is seen",
    r"tiles - int\(blockIdx.x % tiles\) - 1\)": "the same whole number: 1 is subtracted last",
    r"threadIdx.x % 32 != 0\) parts": "after the shuffles each lane of a warp has the same number, and any may write it",
    r"if \(top == lowest\) top = \(0 \+ 1\)": "any finite number will do: each exponential that is added is 0, that of -inf",
    r"size > 0x47800000": "65536 becomes infinite either way",
    r"ordered\([xy]\[i, [01]\]\)|top = x\[": "where the search for a maximum begins that looks at all elements",
}


def why_equivalent(mutant):
    """The reason, or None if it is not known to be equivalent."""
    after = " ".join(line[1:].strip() for line in mutant.diff.splitlines() if line.startswith("+"))
    return next((reason for pattern, reason in LINES.items() if re.search(pattern, after)), None)
