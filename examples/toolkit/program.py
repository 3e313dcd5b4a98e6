"""The command line of an example.

An example is a subclass of `Program`; its --help is the script's docstring, and the script ends in
two lines::

    class Digits(Program):
        name, settings = "digits", Settings
        data_help = "file of images (the digits of scikit-learn)"

        def load(self, data): ...                     the data; data["path"] is None: embedded
        def fingerprint(self, loaded): ...            what a resumed run must find again
        def make_task(self, loaded, settings, run): ...
        def report(self, run, loaded, task): ...      printed when training is over

    main = Digits().main

    if __name__ == "__main__":
        sys.exit(console.run(main))

It then has the subcommand ``train`` with ``--data --out --resume --force`` and an option for each
of its settings, trains on the embedded data if no subcommand is given, and adds further subcommands
by `Program.commands`. What an example says of itself is in `toolkit.example`, what becomes of its
runs in `toolkit.life`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from toolkit.console import arguments_of, path
from toolkit.example import Data
from toolkit.life import Life
from toolkit.loading import digest, load_weights, place
from toolkit.numbers import natural_number, positive_integer
from toolkit.ranks import check_alone
from toolkit.resuming import RESUME_HELP
from toolkit.settings import add_options

__all__ = ["Data", "Program", "digest", "load_weights", "natural_number", "place", "positive_integer"]


class Program(Life):
    """An example, as its subclass describes it; see the head of this file."""

    def main(self, arguments: list[str] | None = None) -> int:
        """Run the subcommand, by default ``train``; returns the exit code."""
        parser = self._parser()
        options = parser.parse_args(arguments_of(arguments))
        if "function" not in options:
            options = parser.parse_args(["train"])
        if not vars(options).get("distributed"):
            check_alone(options.function == self.train)
        return options.function(options) or 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=sys.modules[type(self).__module__].__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        subcommands = parser.add_subparsers(title="subcommands", metavar="COMMAND")

        def add(name: str, function: Any, help: str, of_a_run: bool = True) -> argparse.ArgumentParser:
            # Not abbreviated: --ff 64 would be --ff-dropout 64.
            made = subcommands.add_parser(name, help=help, description=help, allow_abbrev=False)
            made.set_defaults(function=function)
            if of_a_run:
                _add_run(made)
            return made

        made = add("train", self.train, "train a model, or go on training", of_a_run=False)
        made.add_argument("--data", type=path, metavar="PATH", help=self.data_help)
        self.add_data_options(made)
        made.add_argument(
            "--out", type=path, metavar="RUN", help="folder of the run; a new one below runs/ if not given"
        )
        made.add_argument(
            "--resume",
            action="store_true",
            help=RESUME_HELP,
        )
        made.add_argument("--force", action="store_true", help="replace the run in --out")
        made.add_argument(
            "--distributed",
            action="store_true",
            help="train by all processes that mpiexec starts: mpiexec -n 4 python ... train --distributed",
        )
        add_options(made, self.settings, self.defaults_note)
        self.commands(add)
        return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_folder", type=path, metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--weights", choices=("result", "best", "last"), default="", help="a checkpoint other than the result"
    )
    parser.add_argument("--device", help='where to compute, "cpu" or "cuda"; where the model was trained if not given')
