"""The subcommands that judge translations: ``evaluate`` those of a run, ``score`` given ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit import console
from toolkit.breakdown import Words
from toolkit.chance import sacrebleu_seed
from toolkit.console import UserError, counted
from toolkit.corpus import Corpus, Pair
from toolkit.decoding import add_decoding, add_length, check_page, search_of, told
from toolkit.distilling import Distills
from toolkit.evaluating import LOWER, advise_tokenisation, evaluation, page
from toolkit.files import write_text
from toolkit.language_names import same_language
from toolkit.other_data import load_to_test, tell_seen
from toolkit.reading import as_line, composed
from toolkit.recipes import check_same_recipe
from toolkit.runs import Run
from toolkit.targets import Corpora, add_to, into, name_into, one_target, targets_of
from toolkit.translation import Settings
from toolkit.translator import Translator

__all__ = ["Evaluates"]


class Evaluates(Distills):
    """A program that translates, and is told how well."""

    settings = Settings

    def commands(self, add: Any) -> None:
        """``evaluate`` and ``score``."""
        super().commands(add)
        made = add("evaluate", self.evaluate, "BLEU, chrF and exact matches, with their intervals")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other data than the run was trained on: all pairs of a file, or the tests of a folder (without any: val)",
        )
        made.add_argument("--skip-blank", action="store_true", help="leave out pairs of which a side is blank")
        made.add_argument(
            "--split",
            type=composed,
            metavar="NAME",
            help="one split, such as test_2016_flickr or validation; all tests if not given",
        )
        made.add_argument(
            "--against",
            type=console.path,
            metavar="RUN2",
            help="another run, to compare: both on the same sentences, with the probability of chance",
        )
        made.add_argument(
            "--also",
            nargs="+",
            action="extend",
            type=console.path,
            metavar="RUN",
            help="runs that differ by their --seed alone: the mean of the scores of all, with its 95 %% interval (of two it"
            " says next to nothing)",
        )
        made.add_argument(
            "--details",
            action="store_true",
            help="tables by length and by rare words, and the worst sentences",
        )
        made.add_argument(
            "--page", type=console.path, metavar="HTML", help="where to write all that, with more sentences"
        )
        add_to(made, "; all of them if not given")
        add_decoding(made)
        add_length(made)

        made = add("score", self.score, "how probable given translations are: forced decoding")
        made.add_argument(
            "texts",
            nargs="*",
            type=as_line,
            metavar="TEXT",
            help="a sentence and its translation, or several such pairs",
        )
        made.add_argument("--data", type=console.path, metavar="PATH", help="pairs in files, as for evaluate")
        made.add_argument(
            "--split", type=composed, metavar="NAME", help="of --data, such as test; all tests if not given"
        )
        add_to(made)

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the scores of a run on its test sets, or on other data."""
        how = search_of(options)
        sacrebleu_seed()  # if it is none, that is told before all is translated
        if options.page:
            check_page(options.page, "--page")
        if options.also and options.against:
            raise UserError("--against compares two runs, --also is of several seeds of one: give one or the other")
        run, device = self.open(options)
        translator, data = Translator(run, options.weights, device), run.about["data"]
        targets = targets_of(data) if options.to is None else [one_target(data, options.to)]
        against = self._open_other(options.against) if options.against else None
        also = [self._open_other(folder) for folder in options.also or []]
        check_same_recipe(run, also)
        compared = [against] if against else also
        others = [self._translators_of(other, options, run, targets) for other in compared]
        changes = {"skip_blank": True} if options.skip_blank else {}
        corpora, own = load_to_test(self, run, options.data, **changes, only=targets[0] if options.to else None)
        splits = {target: _splits(corpora[target], own, options.split) for target in targets}
        self._tell_of_tests(run, compared, corpora, own)
        if run.settings.moses and (against is None or against.settings.moses):
            console.note(LOWER)
        if against:
            self._tell_unlike(run, against, corpora)
        details = options.details or bool(options.page)
        found = []
        for target in targets:
            ours, theirs = into(translator, data, target), [other[target] for other in others]
            words = self._words(run, corpora if own else None, target) if details else None
            for part, pairs in splits[target].items():
                name = name_into(part, data, target)
                remark = ""
                for each in (ours, *theirs):
                    pairs, more = each.short_enough(pairs, name)
                    remark += more
                sources, references = zip(*pairs, strict=True)
                advise_tokenisation(references, target)
                numbers, one = corpora[target].numbers(part, pairs)
                written = []
                for each, its in zip((ours, *theirs), (run, *compared), strict=True):
                    where = f"{its.folder}: {name}{one}" if theirs else f"{name}{one}"
                    written.append(each.translate(sources, where=where, numbers=numbers, **how))
                judged: dict[str, Any] = {"details": details, "words": words, "lower": ours.lower_case}
                by_line = ", numbered as the lines of the file" if part in corpora[target].lines else ""
                judged |= {"numbers": numbers, "numbered": by_line}
                if against:
                    judged |= {
                        "against": (options.against, written[1]),
                        "cased": theirs[0].lower_case == ours.lower_case,
                    }
                elif also:
                    judged["seeds"] = {one.settings.seed: made for one, made in zip((run, *also), written, strict=True)}
                lower = "in lower case alone" if ours.lower_case else ""
                title = ", ".join(filter(None, [name, counted(len(pairs), "sentence") + remark, told(how), lower]))
                found.append(evaluation(title, pairs, written[0], (data["source"], target), **judged))
                found[-1].tell(options.details)
        if options.page:
            write_text(options.page, page(found, f"{run.folder}: what its translations are worth").decode("utf-8"))
            print(options.page)

    def score(self, options: argparse.Namespace) -> None:
        """Print the log-probability of each given translation, its number of tokens, and the pair;
        all of them together on stderr.
        """
        if bool(options.texts) == bool(options.data):
            raise UserError("give sentences and translations in turns, or files of them by --data PATH")
        if len(options.texts) % 2:
            raise UserError(
                f"the last of {counted(len(options.texts), 'text')} has no translation after it; quote each text"
            )
        if options.split and not options.data:
            raise UserError("--split names a part of --data, which is not given")
        run, translator = self.open_translator(options)
        splits, corpus = {"": list(zip(options.texts[::2], options.texts[1::2]))}, None
        if options.data:
            only = one_target(run.about["data"], options.to)
            corpus = self.load_whole({**run.about["data"], "path": options.data, "only": only})[only]
            splits = _splits(corpus, False, options.split)
            for line in corpus.notes:
                console.note(line)
            _tell_left_out(corpus)
        for name, pairs in splits.items():
            numbers, one = corpus.numbers(name, pairs) if corpus else (None, "")
            found = translator.score(pairs, f"{name}{one}" if "line" in one else f"{name} pair".strip(), numbers)
            for (value, tokens), (source, target) in zip(found, pairs, strict=True):
                print(f"{value:.4f}\t{tokens}\t{' '.join(source.split())}\t{' '.join(target.split())}")
            total, count = map(sum, zip(*found, strict=True))
            console.note(
                f"{name or 'all'}: log-probability {total:.2f} of {counted(count, 'token')},"
                f" {-total / count:.4f} nats a token"
            )

    def open_translator(self, options: argparse.Namespace) -> tuple[Run, Translator]:
        """The run given by --run, and its translator into --to. Raises UserError if it has several
        target languages and none is said, or not that one.
        """
        run, device = self.open(options)
        language = one_target(run.about["data"], options.to)
        return run, into(Translator(run, options.weights, device), run.about["data"], language)

    def _open_other(self, folder: str) -> Run:
        """A run of --against or --also."""
        return Run.open(Path(folder), self.name, self.settings, self._data_names)

    def _translators_of(
        self, other: Run, options: argparse.Namespace, run: Run, targets: Sequence[str]
    ) -> dict[str, Translator]:
        """The translators of ``other``, by the target languages of ``run``. Raises UserError if its
        languages are others.
        """
        source, theirs = run.about["data"]["source"], other.about["data"]
        known = targets_of(theirs)
        same = {target: next((name for name in known if same_language(name, target)), None) for target in targets}
        if not same_language(source, theirs["source"]) or not all(same.values()):
            raise UserError(
                f"{other.folder} translates {theirs['source']} to {theirs['target']}, {run.folder} {source} to"
                f" {','.join(targets)}; they cannot be compared"
            )
        translator = Translator(other, options.weights, options.device or other.settings.device)
        return {target: into(translator, theirs, str(name)) for target, name in same.items()}

    def _tell_of_tests(self, run: Run, compared: Sequence[Run], corpora: Corpora, own: bool) -> None:
        """Say on stderr what of the tests is left out, and which a run has seen in training;
        ``own``: they are the run's, which has not.
        """
        if not own:
            for corpus in corpora.values():
                _tell_left_out(corpus)
            tell_seen(self, run, corpora)
        self.tell_seen_before([run, *compared], corpora)

    def _tell_unlike(self, run: Run, other: Run, corpora: Corpora) -> None:
        """Say on stderr what makes the scores of two runs unlike: that one writes lower case alone,
        and how many of the tests the other has seen in training, if its data are others.
        """
        moses, cased = (run, other) if run.settings.moses else (other, run)
        if moses.settings.moses != cased.settings.moses:
            console.note(
                f"{moses.folder} was trained with --moses and writes lower case alone, {cased.folder} does not: only BLEU in"
                " lower case compares them"
            )
        if other.about["data"]["fingerprint"] != run.about["data"]["fingerprint"]:
            tell_seen(self, other, corpora)

    def _words(self, run: Run, corpora: Corpora | None, target: str) -> tuple[Words, Words] | None:
        """The words of the training pairs, source and target; ``corpora`` holds them, if they are
        the run's own. None, and a word on stderr, if they cannot be read.
        """
        try:
            pairs = (corpora or self.load_again(run))[target].train
        except UserError as error:
            console.note(f"no tables by rare words: {error}")
            return None
        source = run.about["data"]["source"]
        return Words.of([one for one, _ in pairs], source), Words.of([other for _, other in pairs], target)


def _tell_left_out(corpus: Corpus) -> None:
    """Say on stderr what of a file is not scored, as --skip-blank or the run's --skip-bad asked."""
    for count, what in ((corpus.blank, "with a blank side"), (corpus.ragged, "with other columns")):
        if count:
            console.note(f"left out {count} {'pair' if count == 1 else 'pairs'} {what}")


def _splits(corpus: Corpus, own: bool, asked: str | None) -> dict[str, list[Pair]]:
    """The parts to evaluate, by name: the one that is asked for, or all tests, or what validates.
    Raises UserError for an unknown one.
    """
    splits = ({"validation": corpus.validation} if own else {}) | corpus.tests
    names = [asked] if asked else list(corpus.tests) or ["validation"]
    if names[0] not in splits:
        raise UserError(f"there is no split {names[0]!r}; there are: {', '.join(splits)}")
    return {name: splits[name] for name in names}
