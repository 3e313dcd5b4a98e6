#!/usr/bin/env python3
"""Tell languages apart by their spelling: a recurrent network beside naive Bayes.

    python examples/languages.py                       train on six languages, show what came of it
    python examples/languages.py train --data sentences.tsv --out runs/tsv    (text<TAB>label)
    python examples/languages.py train --resume --out runs/sentences
    python examples/languages.py evaluate --run runs/languages
    python examples/languages.py classify --run runs/languages ggwelp bbuox

The syllables are those of the Unicode names of Korean, Yi, Bamum, Cree, Ethiopic and Sumerian
characters, which every Python carries (HANGUL SYLLABLE GWAELP is "gwaelp", Korean). Each syllable
is in one part of the data only: to train on, to choose the best weights by, or to report on. The
run folder holds config.json, vocabulary.json, labels.json, weights.safetensors, log.jsonl,
loss.png, confusion.png, and checkpoints/.
"""

from __future__ import annotations

import sys

from toolkit import console
from toolkit.classification import Settings
from toolkit.classifier import TextClassifier
from toolkit.labelled import Labelled, character_ngrams, syllables
from toolkit.text import Characters


class Languages(TextClassifier):
    """Tell apart six languages, or what the labels of a file tell apart, by their characters."""

    name, vocabulary = "languages", Characters
    data_help = "file of lines text<TAB>label, or of columns that its first line names (syllables of six languages)"
    baselines = {"naive Bayes": character_ngrams}

    def embedded(self) -> Labelled:
        return syllables()

    def learn_vocabulary(self, loaded: Labelled, settings: Settings) -> Characters:
        """All characters are known, those of held-out texts too."""
        texts = loaded.train + loaded.validation + loaded.test
        return Characters.of("".join(text for text, _ in texts))


main = Languages().main

if __name__ == "__main__":
    sys.exit(console.run(main))
