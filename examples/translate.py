#!/usr/bin/env python3
"""Train a model to translate, a Transformer or a recurrent one, and translate with it.

    python examples/translate.py                       train on the embedded English-French corpus, show what came of it
    python examples/translate.py train --data multi30k --source en --target de --out runs/en-de
    python examples/translate.py train --arch gru --attention additive     (rnn, lstm, gru, transformer; none, additive, dot)
    python examples/translate.py train --resume --out runs/en-de
    python examples/translate.py translate --run runs/en-de "A man sleeps."
    python examples/translate.py evaluate --run runs/en-de --beam 5
    python examples/translate.py attention --run runs/en-de "A man sleeps."

The run folder holds config.json, tokenizer.json, weights.safetensors, log.jsonl, loss.png, attention.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a plain checkout runs too

from toolkit import console  # noqa: E402
from toolkit.bleu import score  # noqa: E402
from toolkit.console import UserError  # noqa: E402
from toolkit.corpus import Corpus, Pair, read_lines  # noqa: E402
from toolkit.plots import attention_heatmap, loss_curve  # noqa: E402
from toolkit.runlog import read_log  # noqa: E402
from toolkit.runs import Run, fresh  # noqa: E402
from toolkit.settings import add_options, given_options  # noqa: E402
from toolkit.tokenizer import Tokenizer  # noqa: E402
from toolkit.trainer import Trainer  # noqa: E402
from toolkit.translation import Settings, Task, Translator, complete, fingerprint, learn_tokenizer, load_corpus  # noqa: E402

PROGRAM = "translate"
LIMITS = {"epochs", "steps", "minutes", "patience", "save_every", "device"}  # what --resume may change
SHOWN = 10  # translations printed after training


def main(arguments: list[str] | None = None) -> int:
    """Run the subcommand; returns the exit code."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    return options.run(options)


# --- train --------------------------------------------------------------------------------------------------------------------


def train(options: argparse.Namespace) -> int:
    """Start or resume a run, and where it comes to its end report on it."""
    run, corpus, task = _resume(options) if options.resume else _start(options)
    if task.dropped:
        pairs = "1 pair" if task.dropped == 1 else f"{task.dropped} pairs"
        print(f"left out {pairs} of more than {task.longest} tokens")
    size = f"{task.tokenizer.vocab_size:,} sub-words, {task.model.num_parameters():,} parameters"
    print(f"{run.folder}: {len(task.batches):,} pairs, {size}")
    outcome = Trainer(task, run.settings, run.folder).run()
    print(f"{outcome.reason}; {outcome.position.seconds / 60:.1f} minutes of training in all")
    if outcome.signal:
        print(f"go on by: {_command()} train --resume --out {run.folder}")
        return 128 + outcome.signal
    _report(run, corpus)
    return 0


def _start(options: argparse.Namespace) -> tuple[Run, Corpus, Task]:
    """A new run of the data and the settings given; its folder is made when all of them have been found good."""
    settings = complete(given_options(options, Settings), embedded=options.data is None)
    if options.data is None:
        source, target = "en", "fr"
        if (options.source or source, options.target or target) != (source, target):
            raise UserError("the embedded corpus is English to French; for other languages give their --data")
    else:
        if not (options.source and options.target):
            raise UserError("--data needs --source and --target, such as: --source en --target de")
        source, target = options.source, options.target
    folder = Path(options.out) if options.out else fresh(Path("runs") / f"{source}-{target}")
    Run.check_free(folder, options.force)
    corpus = load_corpus(options.data, source, target)
    tokenizer = learn_tokenizer(corpus, settings)
    task = Task(corpus, tokenizer, settings)
    data = {"path": options.data and os.path.abspath(options.data), "source": source, "target": target}
    run = Run.create(folder, PROGRAM, settings, {"data": {**data, "fingerprint": fingerprint(corpus)}}, options.force)
    tokenizer.save(run.path("tokenizer.json"))
    return run, corpus, task


def _resume(options: argparse.Namespace) -> tuple[Run, Corpus, Task]:
    """The run to go on with, and its data, which must be what they were."""
    if not options.out:
        raise UserError("--resume needs the folder of the run: --out RUN")
    run = Run.open(Path(options.out), PROGRAM, Settings)
    data = run.about["data"]
    given = _check_unchanged(options, run)
    path = options.data or data["path"]
    corpus = load_corpus(path, data["source"], data["target"])
    if fingerprint(corpus) != data["fingerprint"]:
        what = path or "the embedded corpus"
        raise UserError(f"{what} is not what the run has been trained on; give that by --data, or start a new run")
    saved = run.path("tokenizer.json")
    tokenizer = Tokenizer.load(saved) if saved.exists() else learn_tokenizer(corpus, run.settings)
    task = Task(corpus, tokenizer, dataclasses.replace(run.settings, **given))
    tokenizer.save(saved)
    run.update(PROGRAM, **given)
    return run, corpus, task


def _check_unchanged(options: argparse.Namespace, run: Run) -> dict[str, Any]:
    """The settings given to a resumed run. Raises UserError where they would make it another run."""
    data = run.about["data"]
    asked = options.source or data["source"], options.target or data["target"]
    if options.force or asked != (data["source"], data["target"]):
        raise UserError("--resume goes on with the run as it is: leave out --force, --source and --target")
    given = given_options(options, Settings)
    free = LIMITS
    if run.settings.schedule == "cosine":  # whose rates depend on the last update
        free = LIMITS - {"steps", "epochs"}
    fixed = sorted(name for name, value in given.items() if name not in free and value != getattr(run.settings, name))
    if fixed:
        names = ", ".join("--" + name.replace("_", "-") for name in fixed)
        raise UserError(f"a resumed run keeps its settings, {names} cannot change; start a new run for that")
    return given


def _report(run: Run, corpus: Corpus) -> None:
    """Pictures, scores and some translations of a trained run."""
    translator = Translator(run, device=run.settings.device)
    tests = corpus.tests or {"validation": corpus.validation}
    for name, pairs in tests.items():
        translations = _evaluate(translator, name, pairs, run.about["data"]["target"])
        for (source, reference), ours in list(zip(pairs, translations, strict=True))[: SHOWN // len(tests)]:
            print(f"  {source}\n    = {ours}" + ("" if ours == reference else f"\n    reference: {reference}"))
    loss_curve(read_log(run.path("log.jsonl")), run.path("loss.png"))
    first = min((source for source, _ in next(iter(tests.values()))[:SHOWN]), key=len)  # a picture that fits a page
    pictures = [run.path("loss.png")]
    maps, *labels = translator.attention(first)
    if maps:
        attention_heatmap(maps, *labels, run.path("attention.png"))
        pictures.append(run.path("attention.png"))
    print(f"see {' and '.join(map(str, pictures))}; translate by:")
    print(f'  {_command()} translate --run {run.folder} "{first}"')


def _evaluate(translator: Translator, name: str, pairs: list[Pair], language: str, **how: float) -> list[str]:
    """Translate the sources of ``pairs`` and print the scores."""
    sources, references = zip(*pairs, strict=True)
    translations = translator.translate(sources, where=f"{name} line", **how)
    print(f"{name}, {len(pairs)} sentences:\n{score(translations, references, language)}")
    return translations


# --- the other subcommands ----------------------------------------------------------------------------------------------------


def translate(options: argparse.Namespace) -> int:
    """Translate sentences of the command line or of a file."""
    if bool(options.sentences) == bool(options.input):
        raise UserError("give sentences to translate, or a file of them by --input FILE")
    if options.output:
        _check_output(options.output, options.input)  # now, rather than after all has been translated
    sentences = read_lines(options.input, "remove it") if options.input else options.sentences
    _, translator = _open(options)
    where = f"{options.input} line" if options.input else "sentence"
    translations = translator.translate(sentences, options.beam, options.length_penalty, where)
    text = "".join(line + "\n" for line in translations)
    if options.output:
        try:
            Path(options.output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {options.output}: {error.strerror}") from None
    else:
        print(text, end="")
    return 0


def _check_output(output: str, source: str | None) -> None:
    """Raise UserError for a file that cannot be written, or that is the one to translate."""
    path = Path(output)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    if source and path.exists() and os.path.exists(source) and path.samefile(source):
        raise UserError(f"--output {path} is the file to translate; name another, so that it stays")


def evaluate(options: argparse.Namespace) -> int:
    """Print the scores of a run on its test sets."""
    run, translator = _open(options)
    data = run.about["data"]
    corpus = load_corpus(options.data or data["path"], data["source"], data["target"])
    splits = {"validation": corpus.validation, **corpus.tests}
    names = [options.split] if options.split else list(corpus.tests) or ["validation"]
    if names[0] not in splits:
        raise UserError(f"there is no split {names[0]!r}; there are: {', '.join(splits)}")
    for name in names:
        how = {"beam": options.beam, "length_penalty": options.length_penalty}
        _evaluate(translator, name, splits[name], data["target"], **how)
    return 0


def attention(options: argparse.Namespace) -> int:
    """Draw what the translation of a sentence looks at."""
    run, translator = _open(options)
    path = Path(options.output) if options.output else run.path("attention.png")
    maps, source, target = translator.attention(options.sentence)
    if not maps:
        raise UserError(f"{run.folder} was trained with --attention none: there is nothing to draw")
    try:
        attention_heatmap(maps, source, target, path)
    except (OSError, ValueError) as error:  # a folder that is missing, a name that is not that of a picture
        raise UserError(f"cannot draw {path}: {error}") from None
    print(path)
    return 0


def _open(options: argparse.Namespace) -> tuple[Run, Translator]:
    """The run asked for, and its translator."""
    run = Run.open(Path(options.run_folder), PROGRAM, Settings)
    translator = Translator(run, options.weights, options.device or run.settings.device)
    if not options.weights and translator.weights != "result":
        print(
            f"{run.folder} is not trained to its end; these are its {translator.weights} weights so far",
            file=sys.stderr,
        )
    return run, translator


# --- the command line ---------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    no_arguments = dict(run=train, resume=False, force=False, data=None, source=None, target=None, out=None)
    parser.set_defaults(**no_arguments)
    commands = parser.add_subparsers(title="subcommands", metavar="COMMAND")

    made = commands.add_parser("train", help="train a model, or go on training")
    made.add_argument(
        "--data", metavar="PATH", help="folder of train, val, test files, or file of pairs (embedded corpus)"
    )
    made.add_argument("--source", metavar="LANGUAGE", help="language to translate from, such as en")
    made.add_argument("--target", metavar="LANGUAGE", help="language to translate to, such as de")
    made.add_argument("--out", metavar="RUN", help="folder of the run; a new one below runs/ if not given")
    made.add_argument("--resume", action="store_true", help="go on with the run in --out")
    made.add_argument("--force", action="store_true", help="replace the run in --out")
    add_options(made, Settings, "; defaults for --data (the embedded corpus has its own)")
    made.set_defaults(run=train)

    made = commands.add_parser("translate", help="translate sentences or a file")
    made.add_argument("sentences", nargs="*", metavar="SENTENCE")
    made.add_argument("--input", metavar="FILE", help="sentences, one a line")
    made.add_argument("--output", metavar="FILE", help="where to write the translations, instead of printing them")
    _add_decoding(made)
    made.set_defaults(run=translate)

    made = commands.add_parser("evaluate", help="BLEU and exact matches")
    made.add_argument("--data", metavar="PATH", help="other data than the run was trained on")
    made.add_argument(
        "--split", metavar="NAME", help="one split, such as test_2016_flickr or validation; all tests if not given"
    )
    _add_decoding(made)
    made.set_defaults(run=evaluate)

    made = commands.add_parser("attention", help="a picture of what a translation looks at")
    made.add_argument("sentence", metavar="SENTENCE")
    made.add_argument("--output", metavar="PNG", help="where to write the picture; into the run if not given")
    _add_run(made)
    made.set_defaults(run=attention)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_folder", metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--weights", choices=("result", "best", "last"), default="", help="a checkpoint other than the result"
    )
    parser.add_argument("--device", help='where to compute, "cpu" or "cuda"; where the model was trained if not given')


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--beam", type=_at_least_one, default=1, metavar="K", help="hypotheses of the beam search; 1: greedy (1)"
    )
    parser.add_argument(
        "--length-penalty", type=float, default=0.6, metavar="A", help="0: none; more prefers longer ones (0.6)"
    )


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _command() -> str:
    return f"python {os.path.relpath(sys.argv[0])}"


if __name__ == "__main__":
    sys.exit(console.run(main))
