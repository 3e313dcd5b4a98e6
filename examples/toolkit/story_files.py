"""Files of stories with questions behind each.

    Anna went to the kitchen.
    She picked up the apple.
    What does she have?<TAB>apple<TAB>possession
    Where is it?<TAB>kitchen

A line without a tab is a statement. Behind the statements come questions: the last character of
each is "?", of no other language's form and with nothing behind it; behind a tab comes its answer,
and behind another, if wanted, the name of its kind, by which accuracy is told. A blank line
separates stories. A line that is neither, such as a statement that ends like a question, is an
error.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from toolkit.blank import is_blank, stripped
from toolkit.console import UserError, counted
from toolkit.reading import lines_of, read_text
from toolkit.stories import LONGEST_ANSWER, Line, Stories, Story, statements
from toolkit.story_words import is_question, spaced

__all__ = ["read_stories", "written"]

HELD_OUT = 0.1  # share of the stories to validate by, and as many to test by
ANY = "any"  # the relation of a question that names none


def read_stories(path: str, whole: bool = False) -> Stories:
    """The stories of a file; those of the smallest hashes are held out, the same ones wherever they
    stand. whole: all are to be tested by.

    Raises UserError for a line that is neither statement nor question, a question before any
    statement, a story without a question, too few stories.
    """
    stories: list[Story] = []
    lines: list[Line] = []
    for number, text in enumerate([*lines_of(read_text(path)), ""], start=1):
        if not is_blank(text):
            lines.append(_line(f"{path} line {number}", number, text.split("\t"), lines))
        elif lines:
            if not any(line.answer for line in lines):
                raise UserError(
                    f"{path} line {number - 1} ends a story without a question; write one, a tab and its answer"
                )
            stories.append(tuple(lines))
            lines = []
    if not stories:
        raise UserError(f"{path} holds no story")
    return Stories([], [], {f"stories of {Path(path).name}": stories}) if whole else _split(path, stories)


def written(stories: list[Story]) -> str:
    """The text of a file that `read_stories` reads."""
    return "\n".join("".join("\t".join(filter(None, _cells(line))) + "\n" for line in story) for story in stories)


def _cells(line: Line) -> tuple[str, str, str]:
    return line.text, line.answer, line.relation


def _line(where: str, number: int, cells: list[str], before: list[Line]) -> Line:
    text, answer, relation = ([stripped(cell) for cell in cells] + ["", ""])[:3]
    if len(cells) > 3:
        raise UserError(
            f"{where} has {len(cells)} columns separated by tabs; a question has two or three: it, its answer, its kind"
        )
    if len(cells) == 1:
        if is_question(text, where):
            raise UserError(f"{where} is a question without an answer; write a tab and the answer behind it")
        if before and before[-1].answer:
            raise UserError(
                f"{where} is a statement behind a question; a story is told first, and a blank line ends it"
            )
        return Line(text, number=number)
    if not is_question(text, where):
        raise UserError(f'{where} has a tab, but what is before it is no question; end it in "?", or remove the tab')
    if not spaced(answer):
        raise UserError(f"{where} is a question without an answer; write it behind the tab")
    if len(spaced(answer).split()) > LONGEST_ANSWER:
        count = len(spaced(answer).split())
        raise UserError(f"{where} has an answer of {count} words; one has at most {LONGEST_ANSWER}")
    if not before:
        raise UserError(f"{where} asks before anything is told; put a statement before it")
    return Line(text, spaced(answer), relation or ANY, number=number)


def _split(path: str, stories: list[Story]) -> Stories:
    """Hold out the stories whose statements have the smallest hashes."""
    said = sorted({statements(story) for story in stories}, key=lambda text: hashlib.sha256(text.encode()).digest())
    count = int(len(said) * HELD_OUT)
    if not count:
        raise UserError(
            f"{path} has {counted(len(said), 'different story', 'different stories')}, too few to hold some out;"
            f" {math.ceil(1 / HELD_OUT)} are needed"
        )
    test, validation = set(said[:count]), set(said[count : 2 * count])
    parts: tuple[list[Story], list[Story], list[Story]] = ([], [], [])
    for story in stories:
        parts[2 if statements(story) in test else 1 if statements(story) in validation else 0].append(story)
    return Stories(parts[0], parts[1], {"unseen stories": parts[2]})
