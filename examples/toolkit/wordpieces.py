"""Word pieces, as BERT reads text (Wu et al. 2016, arXiv:1609.08144, section 4.1), by the
`tokenizers` library.

Text becomes lower case without accents, is cut at blanks and punctuation, and each word is written
with the fewest pieces that the vocabulary offers, all but the first marked by ``##``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from toolkit.console import UserError, require
from toolkit.tokenizer import LONGEST, Tokenizer, read_library, train_interruptibly

__all__ = ["CLS", "MASK", "PAD", "SEP", "SPECIAL", "UNKNOWN", "WordPieces"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLS, SEP, MASK = range(len(SPECIAL))


class WordPieces(Tokenizer):
    """Text to ids and back; ids 0 to 4 are `PAD`, `UNKNOWN`, `CLS`, `SEP` and `MASK`, of which
    encoding gives only `UNKNOWN`.
    """

    pad_id = PAD

    @classmethod
    def learn(cls, texts: Iterable[str], vocab_size: int) -> WordPieces:
        """Learn at most ``vocab_size`` pieces; the same texts give the same pieces. Raises
        UserError for too few.
        """
        tokenizers = require("tokenizers", "train")
        texts = list(texts)
        normalizer = tokenizers.normalizers.BertNormalizer()
        letters = sorted(
            {letter for text in texts for letter in normalizer.normalize_str(text) if not letter.isspace()}
        )
        inside = ["##" + letter for letter in letters]
        smallest = len(SPECIAL) + len(letters) + len(inside)
        if vocab_size < smallest:
            raise UserError(f"a vocabulary of {vocab_size} is too small; this text takes at least {smallest} pieces")
        library = tokenizers.Tokenizer(tokenizers.models.WordPiece())
        library.normalizer = normalizer
        words = tokenizers.pre_tokenizers.BertPreTokenizer()
        # A longer stretch without blanks is learned from in parts: the time that it takes grows as
        # its square.
        stretch = tokenizers.pre_tokenizers.Split(tokenizers.Regex(rf"\S{{{LONGEST}}}"), "isolated")
        library.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([stretch, words])
        # Special tokens are numbered first. ``inside`` is among them, because the trainer would
        # number those pieces at random, and so break ties.
        trainer = tokenizers.trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=2,  # a piece seen once cannot be learned
            special_tokens=[
                *SPECIAL,
                *inside,
            ],
            show_progress=False,
        )
        train_interruptibly(library, texts, trainer)
        model = tokenizers.models.WordPiece(library.get_vocab(), unk_token=SPECIAL[UNKNOWN])
        finished = tokenizers.Tokenizer(model)  # one to which "##a" is an ordinary piece
        finished.add_special_tokens(list(SPECIAL))
        finished.normalizer, finished.pre_tokenizer = normalizer, words
        finished.decoder = tokenizers.decoders.WordPiece()
        return cls(finished)

    def encode_with_masks(self, text: str) -> list[int]:
        """The ids of a text in which ``[MASK]`` is the place of a word to be filled in."""
        first, *others = (self.encode(part) for part in text.split(SPECIAL[MASK]))
        return [*first, *(token for part in others for token in (MASK, *part))]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id as the vocabulary writes it."""
        return [self._library.id_to_token(token) for token in ids]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordPieces:
        """Read what `save` wrote. Raises UserError for a missing, damaged or foreign file."""
        library = read_library(path)
        if tuple(library.id_to_token(token) for token in range(len(SPECIAL))) != SPECIAL:
            raise UserError(f"{path} is a tokenizer of another kind; use one that this program has written")
        return cls(library)
