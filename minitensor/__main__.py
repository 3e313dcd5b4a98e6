"""``python -m minitensor doctor``: what is installed and whether it works."""

from __future__ import annotations

import argparse
import sys

from minitensor.health.checkup import checkup


def command_line() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(
        prog="python -m minitensor", description="Look after an installation of minitensor."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor",
        help="say what is installed and whether it works: NumPy and its BLAS, compiled kernels, CuPy, the driver and the "
        "GPUs, MPI and NCCL; and the cure for what does not",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 1 if something is broken."""
    command_line().parse_args(arguments)
    return 1 if checkup() else 0


if __name__ == "__main__":
    sys.exit(main())
