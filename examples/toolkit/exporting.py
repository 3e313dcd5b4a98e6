"""The subcommands for others: ``export`` a translator as a page, ``serve`` it on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from toolkit import browser, console
from toolkit.console import UserError
from toolkit.decoding import check_page
from toolkit.files import write_whole
from toolkit.numbers import integer
from toolkit.program import Program
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.serving import Server
from toolkit.translation import Settings, Translator

__all__ = ["Exports"]


class Exports(Program):
    """A program whose models others can use."""

    settings = Settings

    def commands(self, add: Any) -> None:
        """``export`` and ``serve``."""
        super().commands(add)
        made = add("export", self.export, "the translator as one HTML file that works without a network")
        made.add_argument("--out", type=console.path, required=True, metavar="HTML", help="where to write the page")
        made.add_argument(
            "--as",
            dest="form",
            choices=browser.FORMS,
            default="int8",
            help="how the weights are kept: a byte each, or two (int8)",
        )
        made.add_argument("--example", type=composed, metavar="SENTENCE", help="what the page shows first")

        made = add("serve", self.serve, "a page and an endpoint for JSON on this machine")
        made.add_argument(
            "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1: this machine alone)"
        )
        made.add_argument("--port", type=integer(0, 65535), default=8000, metavar="N", help="0: a free one (8000)")

    def serve(self, options: argparse.Namespace) -> None:
        """Answer until Ctrl-C."""
        run, device = self.open(options)
        data = run.about["data"]
        languages = data["source"], data["target"]
        with Server(Translator(run, options.weights, device), languages, options.host, options.port) as server:
            print(f"{server.url} translates {languages[0]} to {languages[1]}; Ctrl-C ends it", flush=True)
            server.serve_forever()

    def export(self, options: argparse.Namespace) -> None:
        """Write the page, and say how large it is."""
        check_page(options.out, "--out")
        run, device = self.open(options)
        translator = Translator(run, options.weights, device)
        data = run.about["data"]
        made = browser.page(
            translator, (data["source"], data["target"]), options.example or self._example(run), options.form
        )
        write_whole(options.out, made)
        print(f"{options.out}: {len(made) / 1e6:.2f} MB, weights as {options.form}; open it in a browser")

    def _example(self, run: Run) -> str:
        """A short sentence of the run's own data, if these can still be read."""
        try:
            corpus = self.load_again(run)
        except UserError:
            return ""
        sources = [source for pairs in (*corpus.tests.values(), corpus.validation) for source, _ in pairs]
        return min((text for text in sources if len(text.split()) > 4), key=len, default="")
