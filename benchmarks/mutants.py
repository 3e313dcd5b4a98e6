"""How good the net is: each rule and kernel of the table made wrong, one place at a time, and what
``check_op`` says of it.

    python benchmarks/mutants.py                   all ops; writes docs/checks.md
    python benchmarks/mutants.py sin softmax       these ops; prints, and writes nothing
    python benchmarks/mutants.py --limit 5         at most five mutants an op, spread over all kinds
    python benchmarks/mutants.py --false-alarms 100     the right ops with so many seeds
    python benchmarks/mutants.py --compiled        the compiled CPU kernels; writes their part
    python benchmarks/mutants.py --cuda            the CUDA texts, on the CPU; writes theirs
    python benchmarks/mutants.py --false-alarms 40 --first-seed 60 --jobs 14 --minutes 8

With the last, all ops get seed 60 before any gets 61, each check is a line as it ends, and no check
begins after 8 minutes: what is printed so far counts, whatever ends the run. Several processes want
OMP_NUM_THREADS=1 in the environment.

The inputs are those of the table of ops that the tests have, and the checks run as they are by
default: 25 inputs, both orders, seed 0, in NumPy (compiled kernels are switched off). It needs
hypothesis, as the tests do.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(ROOT), str(ROOT / "tests")]  # so that a plain checkout runs too

from table import TABLE  # noqa: E402

import minitensor as mt  # noqa: E402
from minitensor.engine.fused import FUSED  # noqa: E402
from minitensor.engine.op import OPS  # noqa: E402
from minitensor.testing import check_op, mutants  # noqa: E402

__all__ = ["TARGETS", "false_alarms", "survey"]

PAGE = ROOT / "docs" / "checks.md"
LIMIT = 10  # mutants of an op
ALARMS = (  # what --false-alarms found, which takes too long to be run each time
    "False alarms: none in 15 800 checks of right ops: 100 seeds that the tests do not use (10000 to",
    "10099), each of the 158 rows of the table that have a gradient, 25 inputs each, all by the checker",
    "as it is. Earlier states met one in 15 708 checks (a check of eigh that ended with the op's own",
    "error, since a step of the differences had made a matrix unsymmetric), and one in 15 700 (the",
    "second derivative of a softmax of numbers around 1000, where the gradient is 35 units in the last",
    "place of 1 and moves in steps of these). Both are cured. A fresh reader then found a right sort",
    "called wrong, with ties of both signs, which is cured as well. A check took 0.33 s in the mean and",
    "0.93 s at most, of all rows with one seed, on a quiet core of a Xeon (cpu family 6, model 207);",
    "beside other trainings on all 16 cores the slowest row, F.lstm, took 1.04 s in the mean of 27",
    "seeds.",
)
# Each op of the table with a gradient, and the row whose inputs it gets: the first that names it.
TARGETS = {name: row for row in reversed(TABLE) if row.order for name in row.ops}
TARGETS = {name: TARGETS[name] for name in sorted(TARGETS, key=str.lower)}


def survey(name, limit=LIMIT):
    """What became of the mutants of the op called ``name``."""
    row = TARGETS[name]
    op = OPS.get(name) or FUSED[name]
    return mutants(op, row.cases, function=row.function, order=row.order, wanted=row.wanted, limit=limit, name=name)


def false_alarms(row, seeds):
    """``(messages, seconds)``: what ``check_op`` says of the right op with each of the seeds."""
    found, started = [], time.process_time()
    for seed in seeds:
        try:
            check_op(row.function, row.cases, order=row.order, wanted=row.wanted, name=row.name, seed=seed)
        except Exception as error:
            found.append(f"{row}, seed {seed}: {error}")
    return found, time.process_time() - started


def one_alarm(place):
    """``(number of the row, seed, messages, seconds)``; None if the time is over."""
    number, seed, end = place
    if time.monotonic() > end:
        return None
    return number, seed, *false_alarms(TABLE[number], [seed])


def search_alarms(names, seeds, jobs, minutes):
    """Print each check of a right op as it ends, and then what became of all."""
    rows = [k for k, row in enumerate(TABLE) if row.order and (not names or row.name in names)]
    end = time.monotonic() + 60.0 * minutes
    alarms: list[str] = []
    spent: dict[int, list[float]] = {k: [] for k in rows}
    with multiprocessing.Pool(jobs, mt.backend.use_compiled, (False,)) as pool:
        places = [(k, seed, end) for seed in seeds for k in rows]
        for done in pool.imap_unordered(one_alarm, places):
            if done is None:
                continue
            k, seed, found, seconds = done
            spent[k].append(seconds)
            alarms += found
            print(f"{TABLE[k]}, seed {seed}: {len(found)} false alarms, {seconds:.2f} s", *found, sep="\n", flush=True)
    for k in sorted((k for k in rows if spent[k]), key=lambda k: sum(spent[k]) / len(spent[k])):
        mean = sum(spent[k]) / len(spent[k])
        print(f"{TABLE[k]}: {len(spent[k])} seeds, {mean:.2f} s a check on average, {max(spent[k]):.2f} s at most")
    count = [len(each) for each in spent.values()]
    print(
        f"{len(alarms)} false alarms in {sum(count)} checks: {len(rows)} ops, {min(count)} to {max(count)} seeds each"
    )
    print(*alarms, sep="\n", flush=True)


def page(found):
    """The published report."""
    total = {
        what: sum(len(r.of(what)) for r in found) for what in ("caught", "survived", "equivalent", "kink", "crashed")
    }
    able = total["caught"] + total["survived"]
    kinds: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    for report in found:
        for mutant in report.all:
            kinds[mutant.kind] += mutant.outcome in ("caught", "survived")
            caught[mutant.kind] += mutant.outcome == "caught"
    lines = [
        "# How good are the checks?",
        "",
        "Made by `python benchmarks/mutants.py`, which says how to run it again; do not edit.",
        "",
        "A check that has never failed has shown nothing. So the rules of the ops are made wrong on",
        "purpose, one place at a time: `mt.testing.mutants` takes the syntax tree of a rule, of a fused",
        "kernel or of its definition, changes a sign, a factor, an axis, a mask, drops a term or a sum,",
        "exchanges operands, shifts an index by one, takes a part for a constant, and runs `check_op` on",
        "the result. [How to do it with your own op](howto/write-an-op.md).",
        "",
        f"Of {able} mutants of {len(found)} ops, {total['caught']} were caught by `check_op` as it is by default",
        f"({100 * total['caught'] / max(able, 1):.4g} %). At most {LIMIT} mutants an op were made, spread over all kinds.",
        "",
        f"{total['equivalent']} more are equivalent: values, first and second derivatives were those of the op, to",
        "rounding, on all inputs drawn for the check, on 40 more, and on some of these times 0.001, 10 and",
        "100 and with zeros and ones put in. Where the inputs that the table draws do not reach, they may",
        f"differ. {total['kink']} more make another choice at a kink, where no derivative exists: they give what",
        "the op gives on every other input, and lie between the slopes of both sides, which the check allows.",
        f"{total['crashed']} more crashed: they raised on every input, which any test sees. None of",
        "these is in the share.",
        "",
        *ALARMS,
        "",
        "| kind | mutants | caught |",
        "|---|---:|---:|",
        *(f"| {kind} | {kinds[kind]} | {caught[kind]} |" for kind in kinds if kinds[kind]),
        "",
        "## By op",
        "",
        "Seconds: of the whole search, processor time; the check of the right op is one of its parts.",
        "",
        "| op | mutants | caught | equivalent | at kinks | crashed | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for report in found:
        count = len(report.caught) + len(report.survived)
        lines.append(
            f"| {report.op} | {count} | {len(report.caught)} | {len(report.of('equivalent'))} | {len(report.of('kink'))} | "
            f"{len(report.of('crashed'))} | "
            f"{report.seconds:.1f} |"
        )
    survived = [mutant for report in found for mutant in report.survived]
    if survived:
        lines += [
            "",
            "## What survived",
            "",
            "These differ on the further inputs alone, and `check_op` passed them.",
            "",
        ]
        for mutant in survived:
            lines += [
                f"{mutant.kind} in {mutant.part} of {mutant.op}:",
                "",
                *("    " + x for x in mutant.diff.splitlines()),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


# Parts of the page with scripts of their own: {title: what is said of them}.
COMPILED, CUDA = "Compiled kernels", "CUDA kernels"
WORDS = {
    COMPILED: (
        "`python benchmarks/mutants.py --compiled` makes the numba kernels wrong by their syntax trees,",
        "runs them as plain Python, and asks whether `tests/backend/test_compiled_parity.py` sees it: values",
        "and gradients against those of NumPy.",
    ),
    CUDA: (
        "`python benchmarks/mutants.py --cuda` makes the CUDA texts wrong, sign by sign, compiles them",
        "for the emulator of `tests/backend`, and asks whether the tests there see it: values and gradients",
        "against those of the CPU.",
    ),
}


def parts_of(text):
    """``{title: lines}`` of the parts of the page that have scripts of their own."""
    found = {}
    for title in WORDS:
        start = text.find(f"## {title}\n")
        if start >= 0:
            end = text.find("\n## ", start)
            found[title] = (text[start:] if end < 0 else text[start:end]).strip().splitlines()
    return found


def write(body, parts):
    """The page: the rules of the ops, then the kernels."""
    made = [body.rstrip(), *("\n".join(parts[title]) for title in WORDS if title in parts)]
    PAGE.write_text("\n\n".join(made) + "\n", encoding="utf-8")
    print(f"written: {PAGE}")


def write_part(title, found):
    """Put ``found`` in its place on the page."""
    from kernel_mutants import section

    text = PAGE.read_text(encoding="utf-8")
    starts = [place for place in (text.find(f"## {one}\n") for one in WORDS) if place >= 0]
    body = text[: min(starts)] if starts else text
    write(body, parts_of(text) | {title: section(title, WORDS[title], found)})


def main():
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", help="default: all of the table")
    parser.add_argument("--limit", type=int, default=LIMIT, help="mutants of an op, at most; default: %(default)s")
    parser.add_argument("--false-alarms", type=int, metavar="N", help="check the right ops with N seeds instead")
    parser.add_argument("--first-seed", type=int, default=0, metavar="K", help="of these; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="begin no check of a seed later")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes; default: %(default)s")
    parser.add_argument("--compiled", action="store_true", help="the compiled CPU kernels instead; OPS are functions")
    parser.add_argument("--cuda", action="store_true", help="the CUDA texts instead; OPS are files")
    options = parser.parse_args()
    if options.compiled or options.cuda:
        if options.compiled:
            from kernel_mutants import compiled_mutants as made
        else:
            from cuda_mutants import cuda_mutants as made
        found = made(options.ops, options.jobs)
        if not options.ops:
            write_part(COMPILED if options.compiled else CUDA, found)
        return
    mt.backend.use_compiled(False)
    if options.false_alarms:
        seeds = range(options.first_seed, options.first_seed + options.false_alarms)
        search_alarms(options.ops, seeds, options.jobs, options.minutes)
        return
    found = []
    with multiprocessing.Pool(options.jobs) as pool:
        for report in pool.imap(functools.partial(survey, limit=options.limit), options.ops or list(TARGETS)):
            found.append(report)
            print(f"{report}\n  {report.seconds:.1f} s", flush=True)
    if not options.ops and options.limit == LIMIT:
        write(page(found), parts_of(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
