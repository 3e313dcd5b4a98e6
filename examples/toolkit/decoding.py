"""Options of subcommands that decode, and the files they write."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from toolkit.console import UserError
from toolkit.numbers import beam_size, real

__all__ = ["add_beam", "add_decoding", "check_output", "check_page", "penalty_of"]


def check_page(path: str, option: str) -> None:
    """Raise UserError for a page that cannot be written, before hours of work."""
    if not path.lower().endswith(".html"):
        raise UserError(f"{option} {path} must end in .html: a page is written")
    check_output(path, None)


def check_output(output: str, source: str | None) -> None:
    """Raise UserError for a file that cannot be written, or that is the one to translate."""
    path = Path(output)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    if source and path.exists() and os.path.exists(source) and path.samefile(source):
        raise UserError(f"--output {path} is the file to translate; name another, so that it is kept")


def add_beam(parser: argparse.ArgumentParser, default: int = 1) -> None:
    """--beam."""
    help = f"hypotheses of the beam search; 1: greedy ({default})"
    parser.add_argument("--beam", type=beam_size, default=default, metavar="K", help=help)


def add_decoding(parser: argparse.ArgumentParser, beam: int = 1) -> None:
    """--beam, by default ``beam``, and --length-penalty."""
    add_beam(parser, beam)
    parser.add_argument(
        "--length-penalty", type=real(-10, 10), metavar="A", help="of a beam; 0: none; more prefers longer ones (0.6)"
    )


def penalty_of(options: argparse.Namespace) -> float | None:
    """--length-penalty. Raises UserError if there is no beam, of which it is."""
    if options.length_penalty is not None and options.beam == 1:
        raise UserError("--length-penalty weighs the hypotheses of a beam, and there is none: give --beam 5 too")
    return options.length_penalty
