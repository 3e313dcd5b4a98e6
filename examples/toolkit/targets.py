"""Several target languages in one model: each source begins with a token that says which is wanted.

Johnson et al., "Google's multilingual neural machine translation system: enabling zero-shot
translation", 2017, arXiv:1611.04558. The token ``<2de>`` is one of the vocabulary's own, which no
text gives. All targets share the sub-words and all weights; a run of one target has no such token.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toolkit.blank import stripped
from toolkit.console import UserError
from toolkit.corpus import Corpus
from toolkit.language_names import same_language
from toolkit.loading import digest
from toolkit.reading import composed
from toolkit.tokenizer import Tokenizer
from toolkit.translation import fingerprint, learn_tokenizer, load_corpus
from toolkit.translator import Translator

__all__ = [
    "Corpora",
    "add_to",
    "check_targets",
    "fingerprint_all",
    "into",
    "learn_shared",
    "listed",
    "load_corpora",
    "name_into",
    "one_target",
    "tagged",
    "targets_of",
]

Corpora = dict[str, Corpus]  # by target language, of one source language


def tag_of(language: str) -> str:
    """The token that asks for a language: ``<2de>``."""
    return f"<2{language}>"


# --- what is asked for ----------------------------------------------------------------------------


def listed(text: str) -> str:
    """One language or several with commas between them, without blanks around: a type for
    argparse.
    """
    return ",".join(stripped(language) for language in composed(text).split(","))


def check_targets(source: str, target: str) -> None:
    """Raise UserError for languages of which a model cannot be made."""
    targets = target.split(",")
    twice = next((language for language in targets if targets.count(language) > 1), None)
    if not all(targets):
        raise UserError(f"--target {target} has an empty name; write languages with a comma between two: de,fr")
    if twice:
        raise UserError(f"--target {target} names {twice} twice")
    if len(targets) > 1 and source in targets:
        raise UserError(f"--target {target} names the source, {source}; name others")


def targets_of(data: dict[str, Any]) -> list[str]:
    """The target languages of what is said of data, such as ``run.about["data"]``."""
    return str(data["target"]).split(",")


def add_to(parser: argparse.ArgumentParser, all_help: str = "") -> None:
    """--to."""
    help = f"of a run with several target languages: into which{all_help}"
    parser.add_argument("--to", type=composed, metavar="LANGUAGE", help=help)


def one_target(data: dict[str, Any], to: str | None) -> str:
    """The target language of ``data`` that ``to`` names, None if there is but one. Raises UserError
    if it names none, or is missing.
    """
    targets = targets_of(data)
    if to is None and len(targets) > 1:
        raise UserError(
            f"the run translates into {' and '.join(targets)}; say which by --to, such as: --to {targets[0]}"
        )
    found = [to] if to in targets else [language for language in targets if to is None or same_language(language, to)]
    if len(found) != 1:
        raise UserError(
            f"--to {to}: the run translates into {' and '.join(targets)}; name {'one' if targets[1:] else 'it'}"
        )
    return str(found[0])


def into(translator: Translator, data: dict[str, Any], language: str) -> Translator:
    """The translator of a run with these ``data``, into one of their target languages."""
    return translator.tagged(tag_of(language), language) if len(targets_of(data)) > 1 else translator


def name_into(name: str, data: dict[str, Any], language: str) -> str:
    """The name of a test set, with the target language if there are several."""
    return f"{name}, {language}" if len(targets_of(data)) > 1 else name


# --- the data -------------------------------------------------------------------------------------


def load_corpora(data: str | None, source: str, targets: Sequence[str], **how: bool) -> Corpora:
    """`load_corpus` for each target language. Raises UserError for a file of pairs, if there are
    several.
    """
    if len(targets) > 1 and os.path.isfile(data or "") and how.get("whole"):  # of what has --to
        raise UserError(f"{data} is a file of pairs, of one target; say which by --to, such as: --to {targets[0]}")
    if len(targets) > 1 and os.path.isfile(data or ""):
        files = ", ".join(f"train.{language}" for language in (source, *targets))
        raise UserError(
            f"{data} is a file of pairs, of one target; several need a folder of {files}, and val and tests"
        )
    return {target: replace(load_corpus(data, source, target, **how), languages=(source, target)) for target in targets}


def tagged(corpora: Corpora) -> Corpus | Corpora:
    """What `translation.Task` is given: the corpora by the tokens that their sources begin with; a
    single one as it is, without any.
    """
    if len(corpora) == 1:
        return next(iter(corpora.values()))
    return {tag_of(language): corpus for language, corpus in corpora.items()}


def learn_shared(corpora: Corpora, settings: Any) -> Tokenizer:
    """Sub-words of all languages, learned from each text once, since translations share their
    source; of one target, those of `learn_tokenizer`.
    """
    if len(corpora) == 1:
        return learn_tokenizer(next(iter(corpora.values())), settings)
    texts = dict.fromkeys(text for corpus in corpora.values() for pair in corpus.train for text in pair)
    return Tokenizer.train(texts, settings.vocab, tags=[tag_of(language) for language in corpora])


def fingerprint_all(corpora: Corpora) -> str:
    """`fingerprint` of one corpus, or of several with their languages."""
    if len(corpora) == 1:
        return fingerprint(next(iter(corpora.values())))
    return digest(f"{language} {fingerprint(corpus)}\n" for language, corpus in corpora.items())
