"""Texts for a `Marian`, and back: the sub-words of an OPUS-MT folder.

    text -> (language code) + pieces of source.spm -> ids by vocab.json + the id of </s>

The pieces are those of sentencepiece (Kudo and Richardson 2018, arXiv:1808.06226), of one model for
each side; both sides have one list of ids, unless there is a target_vocab.json. Needs the package
sentencepiece, the extra ``opus``.

Letters: B texts, S positions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minitensor.backend.installing import line
from minitensor.files.safetensors import CURE, FileFormatError, refuse_pointer
from minitensor.models.published_config import read_json

__all__ = ["MarianText"]

SOURCE, TARGET, WORDS, TARGET_WORDS = "source.spm", "target.spm", "vocab.json", "target_vocab.json"
STOP, UNKNOWN, PAD = SPECIAL = ("</s>", "<unk>", "<pad>")


class MarianText:
    """Turns texts into ids for a `Marian` and its answers into texts.

    languages: the codes that this model knows, such as ">>fra<<"; a text for a model of several
    target languages begins with one.
    """

    def __init__(self, source, target, words, target_words=None):
        """Sub-word models of sentencepiece for both sides, and the ids of their pieces."""
        self.sides = (source, target)
        self.words = (words, words if target_words is None else target_words)
        self.pieces = {number: piece for piece, number in self.words[1].items()}
        self.languages = sorted(piece for piece in words if piece.startswith(">>") and piece.endswith("<<"))

    @classmethod
    def from_pretrained(cls, folder) -> MarianText:
        """That of a ``folder`` with source.spm, target.spm and vocab.json.

        Raises FileNotFoundError if one is not there, FileFormatError for a damaged one, and
        ModuleNotFoundError without sentencepiece.
        """
        folder = Path(folder)
        lost = [name for name in (SOURCE, TARGET, WORDS) if not (folder / name).is_file()]
        if lost:
            raise FileNotFoundError(f"{folder} lacks {', '.join(lost)}: it is not the folder of an OPUS-MT model")
        words = _words(folder / WORDS)
        own = _words(folder / TARGET_WORDS) if (folder / TARGET_WORDS).is_file() else None
        return cls(_sub_words(folder / SOURCE), _sub_words(folder / TARGET), words, own)

    def encode(self, texts, target=False):
        """``(ids, mask)`` of a list of texts, (B, S) each: what ``generate`` takes.

        Each ends in the stop token; shorter ones are padded, where the mask is False. target: texts
        are of the target's side, to train on. Raises ValueError for a language code that the model
        does not know.
        """
        if isinstance(texts, str):
            raise TypeError(f"encode takes a list of texts, got one: write encode([{texts[:20]!r}])")
        rows = [self._ids(text, int(target)) for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        ids = np.full(mask.shape, self.words[int(target)][PAD], dtype=np.int64)
        ids[mask] = [number for row in rows for number in row]
        return ids, mask

    def _ids(self, text, side):
        """The ids of one text and the stop token."""
        words, code = self.words[side], []
        if side == 0 and text.startswith(">>") and "<<" in text:
            end = text.index("<<") + 2
            code, text = [text[:end]], text[end:]
            if code[0] not in words:
                known = f"there are {', '.join(self.languages)}" if self.languages else "it takes no code"
                raise ValueError(f"{code[0]} is no language of this model; {known}")
        pieces = self.sides[side].encode(text, out_type=str)
        return [words.get(piece, words[UNKNOWN]) for piece in (*code, *pieces, STOP)]

    def decode(self, rows):
        """The texts of lists of ids, as ``generate`` returns them; special tokens are left out.

        Raises ValueError for an id that vocab.json does not have.
        """
        texts = []
        for row in rows:
            odd = [number for number in row if int(number) not in self.pieces]
            if odd:
                raise ValueError(f"no piece has the id {odd[0]}; there are {len(self.pieces)}")
            pieces = [self.pieces[int(number)] for number in row]
            joined = self.sides[1].decode_pieces([piece for piece in pieces if piece not in SPECIAL])
            texts.append(joined.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip())
        return texts


def _words(path):
    """``{piece: id}`` of a vocabulary."""
    words = read_json(path)
    odd = [piece for piece, number in words.items() if not isinstance(number, int) or number < 0]
    lost = [piece for piece in SPECIAL if piece not in words]
    if odd or lost:
        problem = f"the id of {odd[0]!r} is {words[odd[0]]!r}" if odd else f"it has no {', '.join(lost)}"
        raise FileFormatError(f"{path}: {problem}; {CURE}")
    return words


def _sub_words(path):
    """The model of sentencepiece in the file at ``path``."""
    try:
        import sentencepiece
    except ImportError:
        raise ModuleNotFoundError(f"texts for a Marian need the package sentencepiece: {line('opus')}") from None
    refuse_pointer(path)
    model = sentencepiece.SentencePieceProcessor()
    try:
        loaded = model.LoadFromSerializedProto(path.read_bytes())
    except (RuntimeError, OSError) as error:
        raise FileFormatError(f"{path}: not a model of sentencepiece, or damaged ({error}); {CURE}") from None
    if not loaded or not model.get_piece_size():
        raise FileFormatError(f"{path}: not a model of sentencepiece, or empty; {CURE}")
    return model
