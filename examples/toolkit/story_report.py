"""How many questions about stories are answered right, by relation and otherwise; and which line an
answer looks at.

Letters: B stories, S statements, Q questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from toolkit.dialogue import Listener
from toolkit.plots import VALIDATION, attention_heatmap, empty_figure, literal, save_figure
from toolkit.stories import UNSEEN_PAIRS, Line, Story
from toolkit.story_batches import Stream
from toolkit.story_guesses import guesses, questions

__all__ = ["accuracy", "by_group", "draw_attention", "draw_relations", "looked_at", "table"]

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


def draw_relations(rows: dict[str | int, dict[str, float]], stories: str, path: Path) -> None:
    """Draw the shares of right answers by relation as a PNG; ``stories`` they are to, in words."""
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
    axes.set(xlabel=literal(f"right answers to {stories}, %"), xlim=(-2, 102))
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=len(who))
    save_figure(figure, path)


# --- what an answer looks at ----------------------------------------------------------------------


def looked_at(listener: Listener, stories: Sequence[Story]) -> tuple[float, float, int]:
    """Of the questions that follow from lines of the story, the share that look most at one of
    these lines; that of which the last line is one; and how many they are.
    """
    found: list[tuple[bool, bool]] = []
    for start in range(0, len(stories), ROWS):
        part = stories[start : start + ROWS]
        seen = listener.attention([Stream.of(listener.words, story) for story in part])  # (B, Q, S)
        for story, looks in zip(part, seen, strict=True):
            asked = [line for line in story if line.answer]
            told = len(story) - len(asked)
            for line, look in zip(asked, looks, strict=False):
                if line.lines:
                    found.append((int(np.argmax(look[:told])) in line.lines, told - 1 in line.lines))
    shares = np.mean(found, axis=0) if found else (0.0, 0.0)
    return float(shares[0]), float(shares[1]), len(found)


def draw_attention(listener: Listener, story: Story, path: Path) -> None:
    """Draw what each question looks at in the story."""
    seen = listener.attention([Stream.of(listener.words, story)])[0]  # (Q, S)
    labels = [line.text for line in story if not line.answer]
    rows = [f"{line.text} {line.answer}" for line in story if line.answer]
    attention_heatmap(seen[None], labels, rows, path, ("story", "question and answer"))
