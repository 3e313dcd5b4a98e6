"""How much memory a case takes beyond what lies there before: the growth of the peak of resident
memory over one call.

    python benchmarks/memory.py causal torch             one process, one call; prints bytes

Resident memory is what the kernel has given the process, whoever allocates it and how: it is true
for both libraries. Both processes do the same. A call on small sizes, so that threads, kernels and
code are there; then what is free goes back to the system (``malloc_trim``; minitensor tells malloc
to keep it, and a call that is served from what an earlier one left would seem to need nothing);
then the kernel's mark of the peak, VmHWM, is set to what is resident now (by writing 5 to
clear_refs, see proc(5)); then one call. Results that the call leaves, here gradients, count.
How malloc happens to fit blocks into what is free differs from process to process (54 to 71 MB for
PyTorch's attention), hence the median of several. Linux alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import statistics
import subprocess
import sys
from pathlib import Path

from cases import CASES, PROGRAMS, make
from timing import HERE, environment
from worker import prepare

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

__all__ = ["fresh", "growth", "supported"]


def supported():
    """Whether this system can say how far resident memory went in a call."""
    try:
        _reset()
    except OSError:
        return False
    return True


def growth(call):
    """Bytes by which resident memory rose at most, above where it is now, while ``call`` ran."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it: musl keeps little
        ctypes.CDLL(None).malloc_trim(0)
    _reset()
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def fresh(name, program, place, times=5):
    """The median growth of a case in bytes, over so many processes of one call each."""
    command = [sys.executable, str(HERE / "memory.py"), name, program, "--threads", str(place.threads)]
    found = []
    for _ in range(times):
        done = subprocess.run(command, env=environment(program, place), stdout=subprocess.PIPE, encoding="utf-8")
        if done.returncode:
            raise RuntimeError(f"a process ended with {done.returncode}: {' '.join(command)}")
        found.append(int(done.stdout))
    return statistics.median(found)


def _reset():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(key):
    """A figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def main():
    """Measure one case in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES, metavar="CASE", help=f"one of {', '.join(CASES)}")
    parser.add_argument("program", choices=PROGRAMS, help="what runs it")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch or JAX (default: 2)")
    options = parser.parse_args()
    prepare(options.program, options.threads, "cpu", False)
    make(options.case, options.program, **CASES[options.case].small).run()
    work = make(options.case, options.program)

    def call():
        work.run()
        work.wait()

    print(growth(call))


if __name__ == "__main__":
    main()
