"""Options of subcommands that decode, and the files they write."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from minitensor.models.search import enough, power
from toolkit.console import UserError
from toolkit.numbers import beam_size, real

__all__ = ["add_beam", "add_decoding", "add_length", "check_output", "check_page", "penalty_of", "search_of", "told"]


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


def add_length(parser: argparse.ArgumentParser) -> None:
    """--length-power, --length-reward and --beam-patience, beside `add_decoding`."""
    parser.add_argument(
        "--length-power",
        type=real(-10, 10),
        metavar="A",
        help="of a beam, in place of --length-penalty: divides by the length to this power, as fairseq's --lenpen",
    )
    parser.add_argument(
        "--length-reward",
        type=real(-100, 100),
        metavar="G",
        help="of a beam: nats that each token is worth, such as 0.6, with no --length-penalty unless one is given (0: none)",
    )
    parser.add_argument(
        "--beam-patience",
        type=real(0, 1000),
        metavar="P",
        help="of a beam of K: a sentence is done once P * K hypotheses are complete, or none can be outdone"
        " (2 with a --length-reward, otherwise without end)",
    )


def search_of(options: argparse.Namespace) -> dict[str, Any]:
    """What `Translator.translate` is told of the search: --beam, and what weighs its hypotheses.

    Raises UserError for what is of a beam if there is none, and for a patience by which fewer
    hypotheses are complete than are wanted.
    """
    beam, to_power, reward, patience = options.beam, options.length_power, options.length_reward, options.beam_patience
    if beam == 1 and any(value is not None for value in (to_power, reward, patience)):
        raise UserError(
            "--length-power, --length-reward and --beam-patience are of a beam, and there is none: give --beam 5 too"
        )
    penalty = penalty_of(options)
    if to_power is not None and penalty is not None:
        raise UserError("--length-power and --length-penalty both divide by a function of the length: give one of them")
    try:
        enough(patience, beam, getattr(options, "n_best", 1), reward)
    except ValueError as error:
        raise UserError(str(error)) from None
    how = {"beam": beam, "length_penalty": penalty, "length_reward": reward or 0.0, "patience": patience}
    return how if to_power is None else how | {"length_penalty": to_power, "penalty": power}


def told(how: dict[str, Any]) -> str:
    """A search that `search_of` gives, such as ``beam 5, length reward 0.6``; greedy: nothing."""
    if how["beam"] == 1:
        return ""
    divided = "length power" if how.get("penalty") is power else "length penalty"
    named = {divided: how["length_penalty"], "length reward": how["length_reward"] or None}
    named["patience"] = how["patience"]
    return ", ".join(
        [f"beam {how['beam']}", *(f"{name} {value:g}" for name, value in named.items() if value is not None)]
    )


def penalty_of(options: argparse.Namespace) -> float | None:
    """--length-penalty. Raises UserError if there is no beam, of which it is."""
    if options.length_penalty is not None and options.beam == 1:
        raise UserError("--length-penalty weighs the hypotheses of a beam, and there is none: give --beam 5 too")
    return options.length_penalty
