#!/usr/bin/env python3
"""Train a model to translate, a Transformer or a recurrent one, and translate with it.

    python examples/translate.py        train on an English-French corpus, show what came of it
    python examples/translate.py train --data multi30k --source en --target de --out runs/en-de
    python examples/translate.py train --data multi30k --source en --target de,fr --out runs/en-many
                                        (one model of several target languages: translate --to de)
    python examples/translate.py check --data pairs.tsv --source en --target de   (before training)
    python examples/translate.py train --arch gru --attention additive   (or rnn, lstm; none, dot)
    python examples/translate.py train --resume --out runs/en-de
    python examples/translate.py train --start-from runs/en-de --data other.tsv ...  (fine-tuning)
    python examples/translate.py train --teachers runs/en-de-1,runs/en-de-2 ...   (distillation)
    python examples/translate.py translate --run runs/en-de "A man sleeps."   (or --input FILE)
    python examples/translate.py translate --run runs/en-de --beam 5 --n-best 3 "A man sleeps."
    python examples/translate.py evaluate --run runs/en-de --beam 5 --details --page evaluation.html
    python examples/translate.py evaluate --run runs/en-de --against runs/en-de-gru
    python examples/translate.py evaluate --run runs/seed1 --also runs/seed2 runs/seed3
    python examples/translate.py score --run runs/en-de "A man sleeps." "Ein Mann schläft."
    python examples/translate.py attention --run runs/en-de "A man sleeps."
    python examples/translate.py export --run runs/en-de --out translator.html   (or --to onnx)
    python examples/translate.py serve --run runs/en-de --port 8000
    python examples/translate.py explain --run runs/en-de --beam 5 "A man sleeps."
    python examples/translate.py diversify --forward runs/en-de --backward runs/de-en ...
                                        new data: the pairs, and what trained runs make of them

--data is a folder of train.en, train.de, val.en, ... and test*.en, or one file of tab-separated
pairs, of which the first column is the source unless a first line names the columns (en<TAB>de,
English<TAB>German, source<TAB>target). All is UTF-8.

The run folder holds config.json, tokenizer.json, weights.safetensors, log.jsonl, loss.png,
attention.png, explain.html, checkpoints/, start.safetensors, the weights of --start-from, and
teachers.json, fingerprints of those of --teachers.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from toolkit import console
from toolkit.bleu import score
from toolkit.checking import Checks
from toolkit.console import UserError, counted
from toolkit.decoding import add_decoding, add_length, check_output, check_page, penalty_of, search_of
from toolkit.distilling import DECIDED
from toolkit.diversifying import Diversifies
from toolkit.exporting import Exports
from toolkit.files import write_text
from toolkit.judgement import Evaluates
from toolkit.moses_text import in_moses_form
from toolkit.numbers import positive_integer
from toolkit.plots import attention_heatmap, picture_path
from toolkit.reading import STDIN, as_line, composed, read_lines
from toolkit.recipes import TEACHERS
from toolkit.resuming import ENDS
from toolkit.runs import Run, kept_or
from toolkit.sizes import said, slow_enough, suited
from toolkit.starting import FALLING, Starts
from toolkit.targets import (
    Corpora,
    add_to,
    check_targets,
    fingerprint_all,
    into,
    learn_shared,
    listed,
    load_corpora,
    name_into,
    tagged,
    targets_of,
)
from toolkit.tokenizer import Tokenizer
from toolkit.translation import Settings, Task, presets
from toolkit.translator import Translator

SHOWN = 10  # translations printed after training


class Translate(Evaluates, Checks, Diversifies, Exports, Starts):
    """Train on sentence pairs; report scores, some translations, and what one of them looks at."""

    name, settings = "translate", Settings
    files = ("tokenizer.json", TEACHERS, "attention.png", "explain.html")
    data_help = "folder of train, val, test files, or file of pairs, the source in the first column (embedded corpus)"
    defaults_note = (
        "; defaults of a Transformer for 10,000 to 300,000 pairs of --data (fewer and more, the embedded corpus and"
        " recurrent networks have their own)"
    )

    # --- train ------------------------------------------------------------------------------------

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        """The two languages, and whether pairs may be blank."""
        named = "; in a file of pairs that of the {} column, unless its first line names the columns"
        for side, way, column, kind in (
            ("source", "from, such as en", "first", composed),
            ("target", "to, such as de, or of a folder several, such as de,fr", "second", listed),
        ):
            help = f"language to translate {way}{named.format(column)}"
            parser.add_argument(f"--{side}", type=kind, metavar="LANGUAGE", help=help)
        parser.add_argument(
            "--skip-blank",
            action="store_true",
            default=None,
            help="leave out pairs of which a side is blank, and count them",
        )
        parser.add_argument(
            "--skip-bad", action="store_true", default=None, help="these, and what `check` finds bad, and count them"
        )

    def describe(self, options: argparse.Namespace) -> dict[str, Any]:
        """The two languages; those of the embedded corpus need not be given."""
        if options.data is None:
            source, target = "en", "fr"
            if (options.source or source, options.target or target) != (source, target):
                raise UserError("the embedded corpus is English to French; for other languages give their --data")
            if options.skip_blank or options.skip_bad:
                flag = "--skip-blank" if options.skip_blank else "--skip-bad"
                raise UserError(f"{flag} is for --data; the embedded corpus has no such pairs")
            return {"source": source, "target": target, "skip_blank": False, "skip_bad": False}
        if not (options.source and options.target):
            raise UserError("--data needs --source and --target, such as: --source en --target de")
        check_targets(options.source, options.target)
        skipped = {name: bool(getattr(options, name)) for name in ("skip_blank", "skip_bad")}
        return {"source": options.source, "target": options.target, **skipped}

    def presets(self, data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit the corpus and the architecture; of --start-from, those of its run;
        and the sub-words of --teachers.
        """
        if "start_from" in given:
            made = self.start(given["start_from"]).presets(data, given)
        else:
            made = presets(given, embedded=data["path"] is None)
        return self.taught(made, data, given)

    def suited(self, data: dict[str, Any], loaded: Corpora, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that follow from the number of pairs; the embedded corpus and --start-from have
        their own, and so have sub-words of --teachers.
        """
        if "start_from" in given:
            ends = given if given.keys() & ENDS else {**given, "epochs": FALLING["epochs"]}
            return slow_enough(self.presets(data, given), _count(loaded), ends)
        made = {} if data["path"] is None else suited(_count(loaded), given)
        return {name: value for name, value in made.items() if not ("teachers" in given and name in DECIDED)}

    def told(self, data: dict[str, Any], loaded: Corpora, settings: Settings) -> str:
        """These in words."""
        return "" if data["path"] is None and not settings.start_from else said(_count(loaded), settings)

    def run_name(self, data: dict[str, Any]) -> str:
        """The languages, ``en-fr``, ``en-de-fr``."""
        return "-".join([data["source"], *targets_of(data)])

    def load(self, data: dict[str, Any]) -> Corpora:
        return load_corpora(**_arguments(data), targets=targets_of(data))

    def load_whole(self, data: dict[str, Any]) -> Corpora:
        """``data["only"]``: the target language, if they are wanted for one."""
        only = data.get("only")
        return load_corpora(**_arguments(data), targets=[only] if only else targets_of(data), whole=True)

    def notes(self, loaded: Corpora) -> list[str]:
        return list(dict.fromkeys(note for corpus in loaded.values() for note in corpus.notes))

    def tested(self, loaded: Corpora) -> list[str]:
        return [source for corpus in loaded.values() for pairs in corpus.tests.values() for source, _ in pairs]

    def trained(self, loaded: Corpora) -> set[str]:
        return {source for corpus in loaded.values() for source, _ in (*corpus.train, *corpus.validation)}

    def fingerprint(self, loaded: Corpora) -> str:
        return fingerprint_all(loaded)

    def make_task(self, loaded: Corpora, settings: Settings, run: Run | None) -> Task:
        """Translation; a resumed run has its tokenizer already."""
        if settings.moses:
            loaded = {language: in_moses_form(corpus) for language, corpus in loaded.items()}
        teachers = self.open_teachers(settings, run)
        tokenizer = kept_or(
            run,
            "tokenizer.json",
            Tokenizer.load,
            lambda: self.decided_tokenizer(settings) or learn_shared(loaded, settings),
        )
        task = Task(tagged(loaded), tokenizer, settings, teachers)
        if run is None and settings.start_from:
            self.start(settings.start_from).load_into(task.model)
        elif run:
            self.load_beginning(task.model, run)
        return task

    def save(self, task: Task, run: Run) -> None:
        task.tokenizer.save(run.path("tokenizer.json"))
        self.keep_beginning(task.model, run)
        self.keep_teachers(task.teachers, run)

    def sizes(self, task: Task) -> str:
        size = f"{counted(len(task.batches), 'pair')}, {counted(task.tokenizer.vocab_size, 'sub-word')}, {super().sizes(task)}"
        whys = f"of more than {task.longest} tokens", "with a blank side", "with other columns", "found suspicious"
        for count, why in zip((task.dropped, *task.left_out), whys, strict=True):
            size += f"; left out {counted(count, 'pair')} {why}" if count else ""
        return size

    def report(self, run: Run, loaded: Corpora, task: Task) -> None:
        """Pictures, scores and some translations of a trained run."""
        self.tell_seen_before([run], loaded)
        data, trained = run.about["data"], Translator(run, device=run.settings.device)
        tests = [
            (target, name, pairs, corpus)
            for target, corpus in loaded.items()
            for name, pairs in (corpus.tests or {"validation": corpus.validation}).items()
        ]
        shown: list[tuple[str, str]] = []
        for target, part, pairs, corpus in tests:
            translator, name = into(trained, data, target), name_into(part, data, target)
            pairs, remark = translator.short_enough(pairs, name)
            sources, references = zip(*pairs, strict=True)
            numbers, one = corpus.numbers(part, pairs)
            translations = translator.translate(sources, where=f"{name}{one}", numbers=numbers)
            scores = score(translations, references, target)
            print(f"{name}, {counted(len(pairs), 'sentence')}{remark}:\n{scores}")
            examples = list(zip(pairs, translations, strict=True))[: max(1, SHOWN // len(tests))]
            for (source, reference), ours in examples:
                print(f"  {source}\n    = {ours}" + ("" if ours == reference else f"\n    reference: {reference}"))
            shown += [(source, target) for (source, _), _ in examples]
        first, target = min(shown, key=lambda one: len(one[0]))  # a picture that fits a page
        translator = into(trained, data, target)
        pictures = [run.path("loss.png")]
        maps, source_words, target_words = translator.attention(first)
        if maps:
            attention_heatmap(maps, source_words, target_words, run.path("attention.png"))
            pictures.append(run.path("attention.png"))
        print(f"see {' and '.join(map(str, pictures))}; translate by:")
        to = {"--to": target} if len(loaded) > 1 else {}
        print(f"  {self.advice('translate', {'--run': run.folder, **to}, first)}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Any) -> None:
        super().commands(add)
        made = add("translate", self.translate, "translate sentences or a file")
        made.add_argument("sentences", nargs="*", type=as_line, metavar="SENTENCE")
        made.add_argument(
            "--input",
            type=console.path,
            metavar="FILE",
            help="sentences, one a line; - is standard input, as is a pipe",
        )
        made.add_argument(
            "--output",
            type=console.path,
            metavar="FILE",
            help="where to write the translations, instead of printing them",
        )
        made.add_argument(
            "--skip-blank", action="store_true", help="translate a blank line by a blank line, not refuse it"
        )
        made.add_argument(
            "--n-best",
            type=positive_integer,
            default=1,
            metavar="K",
            help="hypotheses of --beam shown, the best first (1)",
        )
        made.add_argument(
            "--scores",
            action="store_true",
            help="begin each line with the log-probability of the translation (nats) and a tab",
        )
        add_to(made)
        add_decoding(made)
        add_length(made)

        made = add("attention", self.attention, "a picture of what a translation looks at")
        made.add_argument("sentence", type=as_line, metavar="SENTENCE")
        add_to(made)
        made.add_argument("--subwords", action="store_true", help="show sub-words apart, not joined into words")
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )

        made = add("explain", self.explain, "a page on which a sentence walks through the model, stage by stage")
        made.add_argument("sentence", type=as_line, metavar="SENTENCE")
        made.add_argument(
            "--out", type=console.path, metavar="HTML", help="where to write the page; into the run if not given"
        )
        add_to(made)
        add_decoding(made)

    def translate(self, options: argparse.Namespace) -> None:
        """Translate sentences of the command line, of a file or of standard input."""
        if options.n_best > options.beam:
            raise UserError(f"--n-best {options.n_best} needs as many hypotheses: --beam {options.n_best}")
        sentences, where = _sentences(options)
        if options.output:
            check_output(options.output, options.input)  # before all is translated
        how = search_of(options) | {"n_best": options.n_best, "scores": options.scores}
        _, translator = self.open_translator(options)
        translations = translator.translate(sentences, where=where, skip_blank=options.skip_blank, **how)
        text = "".join(line + "\n" for line in translations)
        if options.output:
            write_text(options.output, text)
        else:
            print(text, end="")

    def attention(self, options: argparse.Namespace) -> None:
        """Draw what the translation of a sentence looks at."""
        run, translator = self.open_translator(options)
        path = picture_path(options.output or run.path("attention.png"))
        maps, source, target = translator.attention(options.sentence, options.subwords)
        if not maps:
            raise UserError(f"{run.folder} was trained with --attention none: there is nothing to draw")
        print(attention_heatmap(maps, source, target, path))

    def explain(self, options: argparse.Namespace) -> None:
        """Write a page of how a sentence becomes its translation, and print it in short."""
        penalty = penalty_of(options)
        run, translator = self.open_translator(options)
        path = str(options.out or run.path("explain.html"))
        check_page(path, "--out")
        made = translator.explain(options.sentence, options.beam, penalty)
        write_text(path, made.to_html().decode("utf-8"))
        print(f"{made}\n{path}")


def _count(loaded: Corpora) -> int:
    """Pairs to train on, of all targets."""
    return sum(len(corpus.train) for corpus in loaded.values())


def _arguments(data: dict[str, Any]) -> dict[str, Any]:
    """What `load_corpora` is asked for the data of a run, besides their targets."""
    names = ("source", "skip_blank", "skip_bad")
    return {"data": data["path"], **{name: data[name] for name in names}}


def _sentences(options: argparse.Namespace) -> tuple[list[str], str]:
    """The sentences to translate, and their name in errors. Raises UserError if there is no
    sentence, or both kinds of input.
    """
    pipe = not options.sentences and not options.input and sys.stdin is not None and not sys.stdin.isatty()
    source = STDIN if pipe else options.input
    if bool(options.sentences) == bool(source):
        raise UserError("give sentences to translate, or a file of them by --input FILE (- is standard input)")
    if not source:
        return options.sentences, "sentence"
    where = "standard input line" if source == STDIN else f"{source} line"
    return read_lines(source, "remove it, or give --skip-blank", options.skip_blank), where


main = Translate().main

if __name__ == "__main__":
    sys.exit(console.run(main))
