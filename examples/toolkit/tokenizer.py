"""Sub-words shared by both languages: byte-level byte-pair encoding, by the `tokenizers` library.

Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016,
arXiv:1508.07909; over bytes as in Radford et al., "Language models are unsupervised multitask
learners", 2019. All 256 bytes are in the vocabulary, so that no character of any language is
unknown and ``decode(encode(text))`` is ``text``.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.blank import stripped
from toolkit.console import UserError, require
from toolkit.files import checked_json, write_text

__all__ = [
    "LONGEST", "PAD", "SPECIAL", "START", "STOP", "Tokenizer", "encode_tagged", "read_library", "train_interruptibly",
]  # fmt: skip

SPECIAL = ("<pad>", "<start>", "<stop>")
PAD, START, STOP = range(len(SPECIAL))
SMALLEST = len(SPECIAL) + 256  # special tokens and single bytes
LONGEST = 100  # characters that are looked at together while sub-words are learned
# What is cut off a longer stretch without blanks, or of blanks: the time that a stretch takes grows
# as its square.
STRETCH = rf" ?\S{{{LONGEST}}}|\s{{{LONGEST}}}"


class Tokenizer:
    """Text to ids and back; ids 0, 1 and 2 are `PAD`, `START` and `STOP`, which encoding never
    gives.

    Text is brought to Unicode's composed form (NFC) and is otherwise kept, capitals and blanks
    included. A space is put before the text, and taken away again, so that a word is the same token
    at the start and inside.
    """

    pad_id, start_id, stop_id = PAD, START, STOP

    def __init__(self, library: Any) -> None:
        """Wrap a ``tokenizers.Tokenizer``; use `train` or `load`."""
        library.encode_special_tokens = True  # a sentence about "<stop>" is text, not a stop
        self._library = library
        # What is before the single bytes: SPECIAL, and the tags.
        self.special = tuple(itertools.takewhile(lambda token: len(token or "") > 1, self.tokens()))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, isolated: str = "", tags: Sequence[str] = ()) -> Tokenizer:
        """Learn at most ``vocab_size`` tokens from texts of both languages; the same texts give the
        same tokens.

        isolated: a regular expression of what shares no token with its surroundings, such as ``"
        ?[0-9]"`` for single digits. tags: further special tokens, such as ``<2de>``, see
        `encode_tagged`.

        Raises UserError if ``vocab_size`` leaves no room for the 256 bytes and the special tokens.
        """
        if vocab_size < (least := SMALLEST + len(tags)):
            raise UserError(f"a vocabulary of {vocab_size} is too small; it takes at least {least} tokens")
        tokenizers = require("tokenizers", "train")
        library = tokenizers.Tokenizer(tokenizers.models.BPE())
        library.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.NFC(), tokenizers.normalizers.Prepend(" ")]
        )
        apart = [isolated, STRETCH] if isolated else [STRETCH]
        splits = [tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in apart]
        words = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([*splits, words])
        library.decoder = tokenizers.decoders.Sequence(
            [tokenizers.decoders.ByteLevel(), tokenizers.decoders.Strip(" ", 1, 0)]
        )
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,  # a token seen once cannot be learned
            special_tokens=[*SPECIAL, *tags],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        train_interruptibly(library, texts, trainer)
        return cls(library)

    @property
    def vocab_size(self) -> int:
        """The number of tokens; may be fewer than asked for if the texts are few."""
        return self._library.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without `START` and `STOP`."""
        return self._library.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all cores."""
        return [encoding.ids for encoding in self._library.encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out, bytes that form no character
        become U+FFFD.
        """
        return self._library.decode(ids, skip_special_tokens=True)

    def labels(self, ids: Sequence[int]) -> list[str]:
        """A readable name for each id, for pictures: ``climb``, ``-ing`` inside a word, ``<0xC3>``
        for a byte.
        """
        pieces = [self._piece(token) for token in ids]
        return [
            f"-{piece}" if inside else stripped(piece) or repr(piece)
            for piece, inside in zip(pieces, _inside(pieces), strict=True)
        ]

    def words(self, ids: Sequence[int]) -> tuple[list[str], np.ndarray]:
        """The words that the ids make up, and for each id the number of its word, an array."""
        pieces = [self._piece(token) for token in ids]
        numbers = np.cumsum([not inside for inside in _inside(pieces)]) - 1
        words = [""] * (int(numbers[-1]) + 1 if len(numbers) else 0)
        for number, piece in zip(numbers, pieces, strict=True):
            words[number] += piece
        return [stripped(word) or repr(word) for word in words], numbers

    def _piece(self, token: int) -> str:
        if token < len(self.special):
            return self.special[token]
        data = bytes(_BYTES[character] for character in self._library.id_to_token(token))
        text = data.decode(errors="replace")
        readable = text.isprintable() and "\ufffd" not in text
        return text if readable else "".join(f"<0x{byte:02X}>" for byte in data)

    def tokens(self) -> list[str]:
        """All tokens by their ids, as the `tokenizers` library writes them."""
        return [self._library.id_to_token(token) for token in range(self.vocab_size)]

    def pieces(self, text: str) -> list[str]:
        """The words of a text, written as the `tokenizers` library writes bytes: what sub-words are
        put together within.
        """
        normalised = self._library.normalizer.normalize_str(text)
        return [piece for piece, _ in self._library.pre_tokenizer.pre_tokenize_str(normalised)]

    def vocabulary(self) -> dict[str, int]:
        """The id of each token, as the `tokenizers` library writes it."""
        return self._library.get_vocab()

    def merges(self) -> dict[tuple[str, str], int]:
        """The number of each merge of two tokens, from 0, the best."""
        pairs = json.loads(self.to_json())["model"]["merges"]
        return {tuple(pair.split(" ") if isinstance(pair, str) else pair): n for n, pair in enumerate(pairs)}

    def to_json(self) -> str:
        """The JSON of the `tokenizers` library."""
        return self._library.to_str(pretty=True)

    def exported_json(self) -> str:
        """As `to_json`, for those who open it with the `tokenizers` library itself.

        That library keeps no ``encode_special_tokens`` in the JSON, and would obey a "<stop>" in a
        text. Here the special tokens are none that it looks for: their ids stay, texts never give
        them, and decoding leaves them out.
        """
        made = json.loads(self.to_json())
        made["added_tokens"] = []
        pattern = f"^(?:{'|'.join(map(re.escape, self.special))})$"
        left_out = {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}
        made["decoder"]["decoders"].insert(0, left_out)
        return json.dumps(made, indent=2, ensure_ascii=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file of the `tokenizers` library, all of it or nothing."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read what `save` wrote. Raises UserError for a missing, damaged or foreign file."""
        library = read_library(path)
        probe = "A b\u00e9\u20ac <stop>"
        try:
            tokenizer = cls(library)
            special = tuple(tokenizer._library.id_to_token(token) for token in range(len(SPECIAL)))
            ours = special == SPECIAL and tokenizer.decode(tokenizer.encode(probe)) == probe
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"{path} is damaged or not a tokenizer: {error}") from None
        if not ours:
            raise UserError(f"{path} is a tokenizer of another kind; use one that this program has written")
        return tokenizer


def encode_tagged(tokenizer: Any, texts: Sequence[str], tag: str = "") -> list[list[int]]:
    """``tokenizer.encode_batch`` of the texts, each behind the special token ``tag``, if there is
    one. Raises UserError for one that the tokenizer does not have.
    """
    ids: list[list[int]] = tokenizer.encode_batch(texts)
    if not tag:
        return ids
    if tag not in tokenizer.special:
        raise UserError(f"the tokenizer has no {tag}, only {' '.join(tokenizer.special)}; it is of another run")
    first = tokenizer.special.index(tag)
    return [[first, *sentence] for sentence in ids]


def read_library(path: str | os.PathLike[str], extra: str = "train") -> Any:
    """The ``tokenizers.Tokenizer`` in a file of JSON; ``extra`` has that library. Raises UserError
    for a missing or damaged file.
    """
    written = checked_json(path, "tokenizer")
    tokenizers = require("tokenizers", extra)
    try:
        return tokenizers.Tokenizer.from_str(written)
    except Exception as error:  # the library raises nothing more special
        raise UserError(f"{path} is damaged or not a tokenizer: {error}") from None


def train_interruptibly(library: Any, texts: Iterable[str], trainer: Any) -> None:
    """``library.train_from_iterator(texts, trainer)`` in another thread, so that Ctrl-C is heard
    meanwhile.
    """
    failures: list[BaseException] = []

    def train() -> None:
        try:
            library.train_from_iterator(texts, trainer)
        except BaseException as error:  # for the thread that waits
            failures.append(error)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)  # with a timeout: during a wait without one, some systems deliver no signal
    if failures:
        raise failures[0]


def _inside(pieces: Sequence[str]) -> list[bool]:
    """Whether each piece goes on with the word of the piece before."""
    return [piece[0].isalnum() and before[-1:].isalnum() for before, piece in zip(["", *pieces], pieces)]


def _byte_characters() -> dict[str, int]:
    """The printable character by which a byte-level vocabulary writes each byte.

    Printable bytes of Latin-1 are themselves, the others are numbered from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_characters()
