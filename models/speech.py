"""Writing down what is said: a recurrent encoder-decoder with attention that reads sounds.

    features (B, S, F), such as log-mel bands -> every k together -> linear, relu -> vectors
    vectors -> recurrent layers in both directions -> memory
    words so far -> recurrent layer -> attention to the memory -> the next word

That is "Listen, Attend and Spell" (Chan et al. 2016, arXiv:1508.01211), written with the decoder of
`models.seq2seq`. It writes whole words, and it shortens the time once, before the recurrent layers,
not between them: neighbouring moments hold much the same, and attention over a quarter of the
positions is easier to learn. Where in the sound a word is need not be given; attention finds it.

Letters: B utterances, S moments of the sound, F features of each, k ``stack``, E features of a
vector, T words.
"""

from __future__ import annotations

from dataclasses import dataclass

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.checks import check_features
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig

__all__ = ["Listener", "ListenerConfig"]


@dataclass(frozen=True, kw_only=True)
class ListenerConfig(Seq2SeqConfig):
    """Hyper-parameters: those of `Seq2SeqConfig`, and what is heard.

    ``n_features`` of a moment, and so many moments that are read together. ``max_length`` is of
    the words; a sound may be as long as it likes.
    """

    n_features: int
    stack: int = 4
    share_embeddings: bool = False
    label_smoothing: float = 0.0

    def __post_init__(self):
        """Raise ValueError for what no sound fits."""
        if self.share_embeddings:
            raise ValueError("share_embeddings: sounds are no words, and have no table to share with them")
        if self.stack < 1:
            raise ValueError(f"stack must be at least 1, got {self.stack}")


class Listener(Seq2Seq):
    """The words of an utterance; see the head of this file.

    >>> config = ListenerConfig(vocab_size=20, n_features=32, hidden_size=16, d_model=8)
    >>> model = Listener(config)
    >>> model(mt.zeros((2, 150, 32)), mt.ones((2, 5), dtype=int)).shape
    (2, 5, 20)
    """

    def __init__(self, config):
        self.n_features = config.n_features
        super().__init__(config)

    def _make_reader(self):
        c = self.config
        return nn.Linear(c.stack * c.n_features, c.d_model)

    def _read(self, source, mask):
        """Vectors (B, ceil(S / k), E) of features (B, S, F), and which of them have a real one."""
        c = self.config
        check_features(source, c.n_features)
        if mask is not None:
            source = mt.where(mask[..., None], source, 0.0)  # whatever the padding holds
        batch, length, _ = source.shape
        source = mt.pad(source, ((0, 0), (0, -length % c.stack), (0, 0)))
        stacked = source.reshape((batch, -1, c.stack * c.n_features))  # (B, S / k, k F)
        mask = None if mask is None else mask[:, :: c.stack]
        return self.dropout(F.relu(self.source_embedding(stacked))), mask
