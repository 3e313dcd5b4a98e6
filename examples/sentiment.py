#!/usr/bin/env python3
"""Tell whether a review praises or blames: a network that reads words in order, beside naive Bayes.

    python examples/sentiment.py                       train on made reviews, show what came of it
    python examples/sentiment.py train --data reviews.tsv --out runs/own       (text<TAB>label)
    python examples/sentiment.py train --arch bert --out runs/bert
    python examples/sentiment.py train --resume --out runs/own
    python examples/sentiment.py evaluate --run runs/sentiment
    python examples/sentiment.py classify --run runs/sentiment "The soup was far from bland."
    python examples/sentiment.py read --run runs/sentiment "The plot was dull, but I loved the end."

The made reviews are of films, meals, hotels and books. A grammar writes them, whose rules say what
each comes to: "not", "anything but" and the like turn an adjective around, what follows "but"
decides, and the stronger of two judgements does. Words alone tell nothing there, by construction.
What is held out are new reviews, and those that turn on a combination of words that training does
not have. In Japanese, Chinese, Thai and the like, which put no blanks between words, each character
is a word. `read` shows the judgement change from word to word: that of the text up to there, with a
full stop behind it. The run folder holds config.json, vocabulary.json, labels.json,
weights.safetensors, log.jsonl, loss.png, confusion.png, kinds.png, reading.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit import classification, console
from toolkit.classifier import NETWORK, Guesses, TextClassifier, Trained
from toolkit.judging import draw_kinds, draw_reading, parts_by_kind, tell_kinds
from toolkit.labelled import Labelled
from toolkit.plots import picture_path
from toolkit.program import Data
from toolkit.reading import as_line
from toolkit.reviews import reviews
from toolkit.settings import option
from toolkit.words import Words, word_ngrams

KINDS, READING = "kinds.png", "reading.png"
SHOWN = "but"  # the kind of review that is drawn word by word


@dataclass(frozen=True, kw_only=True)
class Settings(classification.Settings):
    """Hyper-parameters; the defaults suit ten thousand reviews of a few sentences."""

    lr: float = option(5e-3, "peak learning rate of Adam", least=0, below=1e6)
    epochs: int | None = option(12, "stop after so many passes over the data", least=1)
    vocab: int = option(20_000, "words that are known, the most frequent ones", least=1, below=2**20)
    bidirectional: bool = option(False, "recurrent: read from both ends")
    dropout: float = option(0.1, "dropout", least=0, below=1)


BERT_SUITED: dict[str, Any] = {"lr": 1e-3, "warmup": 100, "d_model": 64, "layers": 2}


class Sentiment(TextClassifier):
    """Tell praise from blame, or what the labels of a file tell apart, by words in their order."""

    name, settings, vocabulary = "sentiment", Settings, Words
    files = (*TextClassifier.files, KINDS, READING)
    data_help = "file of lines text<TAB>label, or of columns that its first line names (made reviews)"
    defaults_note = "; default lr, warmup, d_model and layers suit the architecture"
    baselines = {"naive Bayes": word_ngrams(1), "naive Bayes, pairs": word_ngrams(2)}

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit the architecture."""
        super().presets(data, given)
        return BERT_SUITED if given.get("arch") == "bert" else {}

    def embedded(self) -> Labelled:
        return reviews()

    def learn_vocabulary(self, loaded: Labelled, settings: Settings) -> Words:
        """Words that training has; others have no meaning to the model, and are passed over."""
        return Words.of((text for text, _ in loaded.train), settings.vocab)

    def report_more(self, trained: Trained, texts: Labelled, guesses: Mapping[str, Guesses]) -> None:
        """Tables and a picture by kind, where kinds are known, and a review read word by word."""
        run, text = trained.run, texts.test[0][0]
        if texts.kinds:
            parts = parts_by_kind(texts, guesses, (NETWORK, *self.baselines))
            for name, shares in parts.items():
                tell_kinds(name, shares)
            draw_kinds(parts, run.picture(KINDS))
            print(f"see {run.picture(KINDS)}")
            text = next(text for text, _ in texts.test if texts.kinds[text] == SHOWN)
        words, judged = trained.word_by_word(text)
        print(f"see {draw_reading(words, judged, trained.labels, run.picture(READING))}: {text}")

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        super().commands(add)
        made = add("read", self.read, "the judgement after each word of a text, and a picture of it")
        made.add_argument("text", type=as_line, metavar="TEXT")
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )

    def read(self, options: argparse.Namespace) -> None:
        """Print each word and the most probable label up to there, and draw all of them."""
        trained = self.open_trained(options)
        path = picture_path(options.output or trained.run.path(READING))
        words, judged = trained.word_by_word(options.text)
        for word, row in zip(words, judged, strict=True):
            print(f"{word:16}{trained.labels[row.argmax()]} {100 * row.max():.1f} %")
        print(f"see {draw_reading(words, judged, trained.labels, path)}")


main = Sentiment().main

if __name__ == "__main__":
    sys.exit(console.run(main))
