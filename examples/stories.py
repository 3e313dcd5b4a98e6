#!/usr/bin/env python3
"""Answer questions about small stories whose facts change: who is where, who has what; and
follow-ups, whose pronouns need the dialogue so far.

    python examples/stories.py                  train on embedded stories, show what came of it
    python examples/stories.py write --output stories.txt    (others like them: the form of a file)
    python examples/stories.py train --data stories.txt --out runs/own
    python examples/stories.py train --resume --out runs/own
    python examples/stories.py evaluate --run runs/stories
    python examples/stories.py ask --run runs/stories "Anna went to the park." "Where is she?"
    python examples/stories.py ask --run runs/stories         (lines from the standard input)

A file has statements, one a line, and behind them questions, each with a tab and its answer; the
last character of a question is "?", and a blank line separates stories. The idea of such tasks is
that of Weston et al. 2015, arXiv:1502.05698. The run folder holds config.json, vocabulary.json,
weights.safetensors, log.jsonl, loss.png, relations.png, attention.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from toolkit import console
from toolkit.console import UserError, and_more, counted
from toolkit.dialogue import VOCABULARY, Conversation, Listener, Settings, Task
from toolkit.files import write_text
from toolkit.numbers import positive_integer
from toolkit.other_data import load_to_test, tell_seen
from toolkit.program import Data, Program, digest
from toolkit.reading import composed
from toolkit.runs import Run
from toolkit.stories import Line, Stories, Story, corpus, statements
from toolkit.story_batches import Stream
from toolkit.story_files import read_stories, written
from toolkit.story_report import accuracy, by_group, draw_attention, draw_relations, looked_at, table
from toolkit.story_words import Words

PICTURES = ("relations.png", "attention.png")
SHOWN = 3  # wrong answers printed after training


class StoryQuestions(Program):
    """Train on stories; report the share of right answers by relation, by form and by length."""

    name, settings = "stories", Settings
    files = (VOCABULARY, *PICTURES)
    data_help = "file of stories: statements, then question<TAB>answer, then a blank line (embedded stories)"
    loss_label = "loss per word of an answer (nats)"

    def load(self, data: Data) -> Stories:
        """The stories."""
        return corpus() if data["path"] is None else read_stories(data["path"])

    def load_whole(self, data: Data) -> Stories:
        return read_stories(data["path"], whole=True)

    def tested(self, loaded: Stories) -> list[str]:
        return [statements(story) for stories in loaded.tests.values() for story in stories]

    def trained(self, loaded: Stories) -> set[str]:
        return {statements(story) for story in loaded.train + loaded.validation}

    def fingerprint(self, loaded: Stories) -> str:
        return digest([written(loaded.train), written(loaded.validation)])

    def make_task(self, loaded: Stories, settings: Settings, run: Run | None) -> Task:
        """The answers. The words are those of training, as `ask` knows them; a run has its own.
        Raises UserError if each story to validate by, or of a test set, has others.
        """
        texts = (text for story in loaded.train for line in story for text in (line.text, line.answer))
        words = Words.load(run.path(VOCABULARY)) if run else Words.of(texts)
        more = "give more stories, so that each word is in several"
        for name, stories in loaded.tests.items():
            _known(stories, words, name, more)
        validation = _known(loaded.validation, words, "stories to validate by", more)
        return Task(replace(loaded, validation=validation), words, settings)

    def save(self, task: Task, run: Run) -> None:
        task.words.save(run.path(VOCABULARY))

    def sizes(self, task: Task) -> str:
        counts = f"{counted(len(task.train), 'story', 'stories')} to train on, {len(task.validation):,} to validate by"
        dropped = f"; left out {task.dropped:,} too long, see --max-length" if task.dropped else ""
        return f"{counts}, {counted(task.words.vocab_size, 'word')}, {super().sizes(task)}{dropped}"

    def report(self, run: Run, loaded: Stories, task: Task) -> None:
        """Shares of right answers, some wrong ones, and the pictures."""
        _report(run, loaded, loaded.train, Listener(task.model, task.words, task.settings, task.settings.device))
        first = next(story for story in next(iter(loaded.tests.values())) if not _strange(story, task.words))
        print("tell it a story, and ask, by:")
        print(f"  {self.advice('ask', {'--run': run.folder}, *[line.text for line in first])}")

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "right answers to held-out stories, beside those of simpler means")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other stories, all of them, or where those of the run are now",
        )
        made = add("ask", self.ask, "tell a story line by line, and have its questions answered")
        made.add_argument(
            "lines",
            nargs="*",
            type=composed,
            metavar="LINE",
            help="one whose last character is ? is a question (standard input)",
        )
        made = add("write", self.write, "write stories of the embedded kind to a file, to see its form", of_a_run=False)
        made.add_argument("--output", type=console.path, metavar="FILE", required=True, help="where to write them")
        made.add_argument("--count", type=positive_integer, default=1000, metavar="N", help="how many (1000)")

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the shares of right answers of a run."""
        run, device = self.open(options)
        listener = Listener.of(run, options.weights, device)
        stories, own = load_to_test(self, run, options.data)
        _report(run if own else run.tested_on(options.data), stories, stories.train if own else [], listener)
        if not own:
            tell_seen(self, run, stories)

    def ask(self, options: argparse.Namespace) -> None:
        """Print an answer for each question."""
        run, device = self.open(options)
        talk = Conversation(Listener.of(run, options.weights, device))
        for line in options.lines or _spoken():
            answer = talk.hear(line)
            if answer is not None:
                print(f"{line.strip()} {answer}", flush=True)

    def write(self, options: argparse.Namespace) -> None:
        """Write stories of the kind that is embedded."""
        made = corpus(seed=1, n_train=options.count, n_validation=0, n_test=0)
        write_text(options.output, written(made.train))
        print(f"{options.output}: {counted(options.count, 'story', 'stories')}")


def _spoken() -> Iterator[str]:
    """The lines of the standard input, as they come."""
    if sys.stdin is None:
        raise UserError("standard input is closed; give the lines as arguments")
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield composed(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"standard input line {number} is not UTF-8; convert it") from None


def _report(run: Run, loaded: Stories, train: Sequence[Story], listener: Listener) -> None:
    """Print tables, some wrong answers and what the attention finds; draw the pictures."""
    for number, (name, stories) in enumerate(loaded.tests.items()):
        write = f"write them by words that it has ({listener.words.some}), or train on stories that have these"
        stories = _short_enough(_known(stories, listener.words, name, write), listener, name)
        lines, right = accuracy(listener, train, stories, name)
        rows = by_group((line.relation for line in lines), right)
        total = by_group(["all"] * len(lines), right)
        print(f"{name}: {counted(len(stories), 'story', 'stories')}, {counted(len(lines), 'question')}")
        print(table("relation", rows | total))
        if number == 0:
            draw_relations(rows | total, name, run.picture("relations.png"))
            network = {"network": right["network"]}
            if any(line.form for line in lines):
                print(table("form", by_group((line.form for line in lines), network)))
            for title, places in _places(stories).items():
                print(table(title, by_group(places, network)))
            _tell_wrong(lines, right["network"])
            _tell_attention(run, stories, listener)
    print(f"see {run.path('loss.png')}, {run.picture('relations.png')} and {run.picture('attention.png')}")


def _known(stories: Sequence[Story], words: Words, name: str, cure: str) -> list[Story]:
    """The stories that have known words alone; stderr tells of others. Raises UserError, with a
    ``cure``, if none is left.
    """
    strange: dict[str, int] = {}  # words, and the first line of each
    kept = []
    for story in stories:
        found = _strange(story, words)
        kept += [] if found else [story]
        for word, number in found:
            strange.setdefault(word, number)
    if strange:
        word, number = next(iter(strange.items()))
        where = f" (line {number})" if number else ""
        what = f"words that no story of the training has, such as {word!r}{where}"
        if not kept:
            raise UserError(f"{name}: each of {counted(len(stories), 'story', 'stories')} has {what}; {cure}")
        left_out = counted(len(stories) - len(kept), "story", "stories")
        console.note(f"{name}: left out {left_out} of {len(stories):,}, with {what}{and_more(strange)}")
    return kept


def _strange(story: Story, words: Words) -> list[tuple[str, int]]:
    """The words of a story that are not known, and the numbers of their lines."""
    return [(word, line.number) for line in story for word in words.unknown(f"{line.text} {line.answer}")]


def _short_enough(stories: Sequence[Story], listener: Listener, name: str) -> list[Story]:
    """The stories that the model can read; stderr tells of others. Raises UserError if none is
    left.
    """
    kept = [story for story in stories if len(Stream.of(listener.words, story)) <= listener.longest]
    if not kept:
        raise UserError(f"{name}: each story has more than {listener.longest} words; train with a larger --max-length")
    if len(kept) < len(stories):
        left_out = counted(len(stories) - len(kept), "story", "stories")
        console.note(f"{name}: left out {left_out} of more than {listener.longest} words")
    return kept


def _places(stories: Sequence[Story]) -> dict[str, list[int]]:
    """Of each question how many statements, and which question of its story, it comes behind."""
    found: dict[str, list[int]] = {"statements before": [], "question of its story": []}
    for story in stories:
        told = asked = 0
        for line in story:
            if line.answer:
                asked += 1
                found["statements before"].append(told)
                found["question of its story"].append(asked)
            else:
                told += 1
    return found


def _tell_wrong(lines: Sequence[Line], right: Sequence[bool]) -> None:
    wrong = [line for line, hit in zip(lines, right, strict=True) if not hit][:SHOWN]
    if wrong:
        print("wrong: " + "; ".join(f"{line.text} (is {line.answer}; {line.relation})" for line in wrong))


def _tell_attention(run: Run, stories: Sequence[Story], listener: Listener) -> None:
    """Whether answers look at the lines that they follow from, which files do not say; and a
    picture of one story.
    """
    share, last, count = looked_at(listener, stories)
    if count:
        print(
            f"the answer looks most at a line that it follows from in {100 * share:.1f} % of"
            f" {counted(count, 'question')}; the last line is one in {100 * last:.1f} %"
        )
    drawn = max(stories, key=lambda story: (sum(bool(line.lines) for line in story), len(story)))
    draw_attention(listener, drawn, run.picture("attention.png"))


main = StoryQuestions().main

if __name__ == "__main__":
    sys.exit(console.run(main))
