#!/usr/bin/env python3
"""The road from RNN to Transformer, measured: claims about RNN, LSTM, GRU and Transformer, and
about the parts of the last.

    python examples/from_rnn_to_transformer.py                      all, in some minutes
    python examples/from_rnn_to_transformer.py --only gradients     one of them
    python examples/from_rnn_to_transformer.py --claim 1 6          two, by their numbers
    python examples/from_rnn_to_transformer.py --out pictures/claims --seed 1
    python examples/from_rnn_to_transformer.py --vectors glove.6B.50d.txt      8 and your own

     1  gradients       gradients vanish or explode over many steps; gates, attention, clipping
     2  memory          how far back each network remembers: one symbol, and ten
     3  parallelism     the time of a training step against the length of the sequences
     4  bottleneck      what a fixed context loses of long sentences, and what attention adds
     5  positions       the cat on the mat, the mat on the cat: with positions, without, and longer
     6  mask            a decoder that is trained without its mask reads the answer
     7  depth           residual connections and layer norms are what lets a Transformer be deep
     8  embeddings      king and queen, not king and apple: vectors of words by their neighbours
     9  context         which "point", which country: one vector in the table, many in context
    10  inference       training is parallel, writing is not; what a cache gives
    11  scale           the loss against parameters and against data, by a power law each
    12  heads           what the heads of a Transformer do, and what is lost without them
    13  gates           LSTM against GRU, at equal parameters and at equal size
    14  explanation     attention beside occlusion, gradients and the known alignment

Each claim prints tables and a conclusion that is computed from them, and leaves NAME.png and
NAME.json (the numbers) in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from claims import (
    bottleneck,
    context,
    depth,
    embeddings,
    explanation,
    gates,
    gradients,
    heads,
    inference,
    mask,
    memory,
    parallelism,
    positions,
    scale,
)
from claims.processes import MOST_WORKERS
from claims.report import WIDTH, print_table
from toolkit import console
from toolkit.console import UserError, require
from toolkit.files import write_text
from toolkit.lock import Lock
from toolkit.numbers import integer, natural_number

NUMBERED = {
    1: gradients,
    2: memory,
    3: parallelism,
    4: bottleneck,
    5: positions,
    6: mask,
    7: depth,
    8: embeddings,
    9: context,
    10: inference,
    11: scale,
    12: heads,
    13: gates,
    14: explanation,
}
CLAIMS = {claim.__name__.rpartition(".")[2]: claim for claim in NUMBERED.values()}  # each by the name of its module


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and draw the selected claims."""
    options = _parser().parse_args(console.arguments_of(arguments))
    folder = Path(options.out)
    for package in ("matplotlib", "rich"):  # before minutes of work
        require(package, "train")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}; give another by --out") from None
    started = time.monotonic()
    with Lock() as lock:
        lock.take(folder)
        asked = [name for number, name in zip(NUMBERED, CLAIMS, strict=True) if number in (options.claim or ())]
        asked = [*(options.only or ()), *asked, *(["embeddings"] if options.vectors else [])]
        for name in dict.fromkeys(asked or CLAIMS):
            settings = CLAIMS[name].Settings.quick() if options.quick else CLAIMS[name].Settings()
            if name == "embeddings":
                settings = replace(settings, vectors=options.vectors or "")
            show(name, folder, settings, options.seed, options.workers)
    print(f"{time.monotonic() - started:.0f} seconds in all; the pictures and numbers are in {folder}")
    return 0


def show(name: str, folder: Path, settings: Any, seed: int, workers: int) -> None:
    """One claim: its tables and conclusion on the terminal, picture and numbers in the folder."""
    claim = CLAIMS[name]
    print(f"{name}: {claim.TITLE}", flush=True)
    started = time.monotonic()
    numbers = claim.measure(settings, seed, workers)
    numbers["elapsed"] = round(time.monotonic() - started, 1)
    for table in claim.tables(numbers):
        print_table(table)
    print(textwrap.fill(claim.conclusion(numbers), WIDTH))
    path = folder / f"{name}.png"
    claim.draw(numbers, path)
    write_text(folder / f"{name}.json", json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    print(f"{path}, {numbers['elapsed']:.0f} seconds\n", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--only", nargs="+", choices=CLAIMS, metavar="CLAIM", help=f"{', '.join(CLAIMS)} (all)")
    numbers = ", ".join(map(str, NUMBERED))
    parser.add_argument(
        "--claim", nargs="+", type=int, choices=NUMBERED, metavar="N", help=f"the same by number: {numbers}"
    )
    parser.add_argument(
        "--out",
        type=console.path,
        default="runs/claims",
        metavar="FOLDER",
        help="for pictures and numbers (runs/claims)",
    )
    parser.add_argument(
        "--vectors",
        type=console.path,
        metavar="PATH",
        help="published word vectors, to be looked at by embeddings: a file of GloVe's or word2vec's text form, or a "
        "folder of Hugging Face transformers (none)",
    )
    parser.add_argument("--seed", type=natural_number, default=0, help="of weights and data (0)")
    parser.add_argument(
        "--workers",
        type=integer(1, MOST_WORKERS),
        default=min(os.cpu_count() or 1, MOST_WORKERS),
        metavar="N",
        help="trainings at the same time, one on each core (all cores)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks and few updates: seconds, and no proof of anything"
    )
    return parser


if __name__ == "__main__":
    sys.exit(console.run(main))
