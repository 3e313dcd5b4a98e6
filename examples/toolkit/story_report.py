"""How many questions about stories are answered right, by relation and otherwise; and which line an
answer looks at.

Letters: B stories, L layers, H heads, T words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from toolkit.dialogue import Listener, Stream
from toolkit.plots import VALIDATION, attention_heatmap, empty_figure, literal, save_figure
from toolkit.stories import UNSEEN_PAIRS, Line, Story
from toolkit.story_guesses import guesses, questions
from toolkit.words import words_of

__all__ = ["Head", "accuracy", "by_group", "draw_attention", "draw_relations", "looked_at", "table"]

Right = dict[str, list[bool]]  # for each question whether it is right, by who answered
ROWS = 64  # stories looked into at a time


# --- how many are right ---------------------------------------------------------------------------


def accuracy(
    listener: Listener, train: Sequence[Story], stories: Sequence[Story], name: str
) -> tuple[list[Line], Right]:
    """The questions of a test set, and whether they are answered right: by the network, and, if
    there are stories to learn from, by simpler means.

    Of the set "unseen pairs" those questions alone that rest on such a pair.
    """
    made = {"network": [answer for found in listener.answers(stories) for answer in found]}
    if train:
        made |= guesses(train, stories)
    lines = [line for line, _ in questions(stories)]
    chosen = [n for n, line in enumerate(lines) if line.new or name != UNSEEN_PAIRS]
    right = {who: [given[n] == lines[n].answer for n in chosen] for who, given in made.items()}
    return [lines[n] for n in chosen], right


def by_group(groups: Iterable[str | int], right: Right) -> dict[str | int, dict[str, float]]:
    """The number of questions and the shares of right answers, by group."""
    places = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    found: dict[str | int, dict[str, float]] = {}
    for group in sorted(places):
        shares = {who: float(np.mean([hits[place] for place in places[group]])) for who, hits in right.items()}
        found[group] = {"questions": len(places[group]), **shares}
    return found


def table(title: str, rows: dict[str | int, dict[str, float]]) -> str:
    """Shares in per cent under the names of who answered, as lines of text."""
    who = list(next(iter(rows.values())))
    lines = [f"  {title:24}" + "".join(f"{name:>13}" for name in who)]
    for group, shares in rows.items():
        cells = (f"{int(shares[name]):13,}" if name == "questions" else f"{100 * shares[name]:11.1f} %" for name in who)
        lines.append(f"  {group!s:24}" + "".join(cells))
    return "\n".join(lines)


def draw_relations(rows: dict[str | int, dict[str, float]], path: Path) -> None:
    """Draw the shares of right answers by relation as a PNG."""
    who = [name for name in next(iter(rows.values())) if name != "questions"]
    figure = empty_figure(7, 0.9 + 0.42 * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    marks = dict(zip(who, ("o", "s", "^", "D"), strict=False))
    for name in who:
        shares = [100 * row[name] for row in rows.values()]
        colour = VALIDATION if name == "network" else "#b0b0b0"
        axes.plot(shares, places, marks[name], color=colour, label=name, markersize=8 if name == "network" else 5)
    axes.set_yticks(places, [literal(str(group)) for group in rows])
    axes.set(xlabel="right answers to unseen stories, %", xlim=(-2, 102))
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=len(who))
    save_figure(figure, path)


# --- what an answer looks at ----------------------------------------------------------------------

Head = tuple[int, int]  # layer and head, counted from 0


def looked_at(listener: Listener, stories: Sequence[Story], rule: Callable[[np.ndarray], np.ndarray] | None = None):
    """For each question that follows from lines named in the story whether each head, as it begins
    the answer, looks most at one of them: an array (questions, L, H). A line gets what its words
    get; only what the story has said so far counts, not the dialogue.

    With ``rule``, (lines,) numbers of statements to which one is looked at, an array (questions,).
    """
    found = []
    for start in range(0, len(stories), ROWS):
        part = stories[start : start + ROWS]
        streams = [Stream.of(listener.words, story) for story in part]
        maps = listener.attention(streams) if rule is None else [None] * len(part)
        for story, stream, seen in zip(part, streams, maps, strict=True):
            spans = _spans(story)
            asked = iter(stream.asked)
            for number, line in enumerate(story):
                if not line.answer:
                    continue
                place = next(asked)
                if line.lines:
                    told = np.array([n for n in range(number) if not story[n].answer])
                    if rule is not None:
                        found.append(np.isin(rule(told), line.lines))
                        continue
                    taken = np.stack([seen[:, :, place, slice(*spans[n])].sum(axis=-1) for n in told])  # (lines, L, H)
                    found.append(np.isin(told[taken.argmax(axis=0)], line.lines))
    return np.array(found)


def _spans(story: Story) -> list[tuple[int, int]]:
    """Where the words of each line begin and end in its stream."""
    spans, place = [], 1
    for line in story:
        end = place + len(words_of(line.text))
        spans.append((place, end))
        place = end + (len(words_of(line.answer)) + 1 if line.answer else 0)
    return spans


def draw_attention(listener: Listener, story: Story, head: Head, path: Path) -> None:
    """Draw what a head looks at in the story as each answer begins."""
    stream = Stream.of(listener.words, story)
    seen = listener.attention([stream])[0][head]  # (T, T)
    spans = _spans(story)
    told = [place for line, span in zip(story, spans, strict=True) if not line.answer for place in range(*span)]
    labels = [listener.words.decode([int(stream.ids[place])]) for place in told]
    rows = [f"{line.text} {line.answer}" for line in story if line.answer]
    weights = seen[np.ix_(stream.asked, told)][None]
    attention_heatmap({f"layer {head[0] + 1}, head {head[1] + 1}": weights}, labels, rows, path, ("story", "questions"))
