"""What became of a test set: scores, the comparison with another run, and where translations fail;
as text, and as a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np

from minitensor.pages import document
from toolkit.bleu import Scores, score, tokenisation
from toolkit.breakdown import Line, Words, by_length, by_rarest_word, lines_of, words_found, worst
from toolkit.chance import student_interval
from toolkit.console import counted, note
from toolkit.corpus import Pair
from toolkit.language_names import same_language
from toolkit.paired import NAMES, compare
from toolkit.printed import Table, print_table

__all__ = ["LOWER", "Evaluation", "advise_tokenisation", "evaluation", "mean_of_seeds", "page"]

SHOWN, KEPT = 5, 50  # of the worst sentences: in the terminal, on a page
LOWER = "what is written is in lower case alone, by --moses of train: only BLEU in lower case judges it"
STYLE = """main { max-width: 60rem; margin: 0 auto; padding: 1rem }
dl { margin: 0; padding: .5rem 0; border-bottom: 1px solid var(--line); display: grid; grid-template-columns: 7rem 1fr }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
"""


@dataclass(frozen=True)
class Evaluation:
    """What was found of one test set; ``worst`` sentences come worst first."""

    title: str  # "test_2016_flickr, 1000 sentences"
    scores: Scores
    compared: Table | None = None
    tables: Sequence[Table] = ()
    worst: Sequence[Line] = field(default=(), repr=False)
    whose: str = ""  # the tables and sentences are, if several systems were judged: ", of seed 1"
    remark: str = ""  # what a reader of the page has to know of the scores

    def tell(self, details: bool = True) -> None:
        """Print it; with ``details`` also the tables, and a few of the worst sentences."""
        print(f"{self.title}:\n{self.scores}")
        for table in (*([self.compared] if self.compared else []), *(self.tables if details else ())):
            print()
            print_table(table)
        if details and self.worst:
            print(f"\nthe worst sentences, by chrF{self.whose}:")
        for line in self.worst[: SHOWN if details else 0]:
            print(f"  {line.number}: {line.source}\n    = {line.translation}\n    reference: {line.reference}")


def evaluation(
    title: str,
    pairs: Sequence[Pair],
    translations: Sequence[str],
    languages: tuple[str, str],
    *,
    against: tuple[str, Sequence[str]] | None = None,
    seeds: Mapping[int, Sequence[str]] | None = None,
    cased: bool = True,
    lower: bool = False,
    details: bool = False,
    numbers: Sequence[int] | None = None,
    numbered: str = "",
    words: tuple[Words, Words] | None = None,
) -> Evaluation:
    """Judge the translations of test pairs from the first of ``languages`` into the second.

    against: the name of another system, and its translations. seeds: of a training that was
    repeated the translations by seed, these the first among them, for the mean of their scores.
    cased: False if one of the two systems writes lower case alone, so that they are compared by
    nothing else. lower: whether this one does; the tables and sentences are then of lower case.
    details: also the tables, of which those by the frequency of words need the ``words`` of the
    training pairs, source and target, and the worst sentences; these with their ``numbers``
    (default: from 1), and a word on what they count, ``numbered``.
    """
    references = [reference for _, reference in pairs]
    source, target = languages
    whose = f", of seed {next(iter(seeds))}" if seeds else ""
    title += whose
    compared = None
    if against:
        found = compare(translations, against[1], references, target, cased)
        scores, compared = found.ours, found.table(against[0])
    else:
        scores = score(translations, references, target, intervals=True)
        compared = mean_of_seeds(seeds, references, target) if seeds else None
    if not details:
        return Evaluation(title, scores, compared)
    lines = lines_of(pairs, translations, cased=not lower, numbers=numbers)
    tables = [by_length(lines, source, target)]
    if words:
        tables += [by_rarest_word(lines, words[0], target), words_found(lines, words[1])]
    tables = [replace(table, title=table.title + whose) for table in tables]
    return Evaluation(title, scores, compared, tables, worst(lines, KEPT), whose + numbered, LOWER if lower else "")


def mean_of_seeds(seeds: Mapping[int, Sequence[str]], references: Sequence[str], language: str) -> Table:
    """A row for each score: of each seed's translations, their mean, and its `student_interval`,
    cut to 0 and 100; "all equal" where they are, which says nothing of how far others are.
    """
    found = [score(translations, references, language) for translations in seeds.values()]
    rows = []
    for field_name, name in NAMES.items():
        values = [getattr(scores, field_name).value for scores in found]
        low, high = student_interval(values)
        between = f"[{max(0.0, low):.2f}, {min(100.0, high):.2f}]" if len(set(values)) > 1 else "all equal"
        rows.append([name, *(f"{value:.2f}" for value in (*values, np.mean(values))), between])
    columns = ["", *(f"seed {seed}" for seed in seeds), "mean", "95 % interval"]
    return Table(f"the mean of {counted(len(seeds), 'training')}", columns, rows)


def page(evaluations: Sequence[Evaluation], title: str) -> bytes:
    """An HTML file that stands alone, without scripts."""
    body = "\n".join(line for evaluation in evaluations for line in _section(evaluation))
    return document(title, f"<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>", style=STYLE)


def _section(evaluation: Evaluation) -> Iterator[str]:
    yield f"<h2>{escape(evaluation.title)}</h2>"
    lines = [*str(evaluation.scores).splitlines(), *filter(None, [evaluation.remark])]
    yield "".join(f"<div>{escape(line)}</div>" for line in lines)
    for table in (*([evaluation.compared] if evaluation.compared else []), *evaluation.tables):
        yield f'<h3>{escape(table.title)}</h3>\n<div class="scroll"><table>\n<thead>{_row(table.columns, "th")}</thead>'
        yield from (_row(cells, "td") for cells in table.rows)
        yield "</table></div>"
    if evaluation.worst:
        yield f"<h3>the worst sentences, by chrF{escape(evaluation.whose)}</h3>"
    for line in evaluation.worst:
        said = {
            f"{line.number}": line.source, "translation": line.translation, "reference": line.reference,
            "chrF": f"{line.chrf:.1f}",
        }  # fmt: skip
        yield (
            "<dl>"
            + "".join(f'<dt>{name}</dt><dd dir="auto">{escape(text)}</dd>' for name, text in said.items())
            + "</dl>"
        )


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def advise_tokenisation(references: Sequence[str], language: str) -> None:
    """Say on stderr if BLEU would be of words, were what finds them installed."""
    for code, name in (("ja", "Japanese"), ("ko", "Korean")):
        used = tokenisation(references, language)
        if same_language(language, code) and "mecab" not in used:
            note(f'for BLEU of {name} words install: pip install "sacrebleu[{code}]"; this one is of tok:{used}')
