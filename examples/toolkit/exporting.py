"""The subcommands for others: ``export`` a translator as a page, ``serve`` it on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from toolkit import browser, console
from toolkit.console import UserError
from toolkit.decoding import check_page
from toolkit.files import check_new_file, check_new_folder, new_folder, write_whole
from toolkit.interchange import ctranslate2_folder, onnx_folder
from toolkit.numbers import integer
from toolkit.program import Program
from toolkit.reading import as_line
from toolkit.runs import Run
from toolkit.serving import Server
from toolkit.targets import into, targets_of
from toolkit.translation import Settings
from toolkit.translator import Translator

__all__ = ["Exports"]


class Exports(Program):
    """A program whose models others can use."""

    settings = Settings

    def commands(self, add: Any) -> None:
        """``export`` and ``serve``."""
        super().commands(add)
        made = add("export", self.export, "the translator for a browser, for onnxruntime, for CTranslate2")
        made.add_argument(
            "--to",
            choices=("html", "onnx", "ctranslate2"),
            default="html",
            help="one HTML file that works without a network, or a folder for one of the two (html)",
        )
        made.add_argument(
            "--out", type=console.path, required=True, metavar="PATH", help="the page, a new file, or a new folder"
        )
        made.add_argument(
            "--as",
            dest="form",
            choices=browser.FORMS,
            help="weights of the page: int8, a byte each, or float16, two (int8)",
        )
        made.add_argument("--example", type=as_line, metavar="SENTENCE", help="what the page shows first")
        made = add("serve", self.serve, "a page and an endpoint for JSON on this machine")
        made.add_argument(
            "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1: this machine alone)"
        )
        made.add_argument("--port", type=integer(0, 65535), default=8000, metavar="N", help="0: a free one (8000)")

    def serve(self, options: argparse.Namespace) -> None:
        """Answer until Ctrl-C."""
        run, device = self.open(options)
        data = run.about["data"]
        languages = data["source"], ", ".join(targets_of(data))
        translator = Translator(run, options.weights, device)
        targets = {language: into(translator, data, language) for language in targets_of(data)}
        with Server(targets, languages, options.host, options.port) as server:
            print(f"{server.url} translates {languages[0]} to {languages[1]}; Ctrl-C ends it", flush=True)
            server.serve_forever()

    def export(self, options: argparse.Namespace) -> None:
        """Write the page or the folder, and say what is there."""
        if options.to == "html":
            check_page(options.out, "--out")
            check_new_file(options.out)
        elif options.form or options.example is not None:
            raise UserError("--as and --example are for pages: --to html")
        else:
            check_new_folder(options.out)
        run, device = self.open(options)
        if len(targets_of(run.about["data"])) > 1:
            known = " and ".join(targets_of(run.about["data"]))
            raise UserError(
                f"{run.folder} translates into {known}; what is exported has one target language: export a run of one,"
                " or use serve, which knows all"
            )
        if run.settings.moses:
            raise UserError(
                f"{run.folder} was trained with --moses, whose preparation of texts is not in what is exported; export a"
                " run without it, or use serve"
            )
        translator = Translator(run, options.weights, device)
        languages = run.about["data"]["source"], run.about["data"]["target"]
        if options.to == "html":
            form = options.form or browser.FORMS[0]
            made = browser.page(
                translator, languages, self._example(run) if options.example is None else options.example, form
            )
            write_whole(options.out, made)
            print(f"{options.out}: {len(made) / 1e6:.2f} MB, weights as {form}; open it in a browser")
            return
        kind = onnx_folder if options.to == "onnx" else ctranslate2_folder
        about = dict(zip(("source", "target"), languages, strict=True))
        with new_folder(options.out) as folder:
            kind.write(translator, folder, about)
        print(f"{options.out}: {', '.join(kind.FILES)}")

    def _example(self, run: Run) -> str:
        """A short sentence of the run's own data, if these can still be read."""
        try:
            (corpus,) = self.load_again(run).values()
        except UserError:
            return ""
        sources = [source for pairs in (*corpus.tests.values(), corpus.validation) for source, _ in pairs]
        return min((text for text in sources if len(text.split()) > 4), key=len, default="")
