"""Sentences of which it is known what translates what: for the claims on heads and explanations.

    my   sad  aunts  see     an  old  tree
    0    1    2      3       4   5    6

    mes  tantes  tristes  voient  un      vieil  arbre
    0,2  2       1,2      3,2     4,6,5   5,6    6

Someone sees something, in the present; both are noun phrases of the embedded grammar
(`toolkit.english_french_grammar`), whose words French orders otherwise and makes agree. Below each
French word stands its *link* first, the English word that it is the translation of; then the others
that its form depends on: the noun whose gender and number it has, and what an article stands
before. An elision is two words (l' arbre), so that each French word has one link.

Letters: N sentences, S English words, T French words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from toolkit.batches import Batch, Batches
from toolkit.english_french_grammar import NounPhrase, spell_french
from toolkit.english_french_words import ADJECTIVES, DETERMINERS, NOUNS, VERBS, Noun

import minitensor as mt
import minitensor.nn.functional as F
from claims.training import History, train
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.transformer import Transformer, TransformerConfig

__all__ = ["KINDS", "UNKNOWN", "Corpus", "Sentence", "draw", "hideable", "learn", "recurrent", "score", "transformer"]

T = TypeVar("T")

UNKNOWN = 3  # the id of a word that is hidden, behind those of padding, start and stop
RESERVED = 4
LONGEST = 10  # positions: two phrases of at most four words, a verb, and the end
KINDS = ("determiner", "adjective", "noun", "verb")
ACTORS = [noun for noun in NOUNS.values() if noun.kind in ("child", "kin", "animal")]
THINGS = [noun for noun in NOUNS.values() if noun.kind in ("food", "item", "large", "paper")]
ACTIONS = [VERBS[name] for name in ("see", "find", "draw", "love")]


@dataclass(frozen=True)
class Sentence:
    """English and French words; of each French word the English ones that it needs, the one that it
    translates first, and what part of speech it is.
    """

    english: tuple[str, ...]
    french: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]


def draw(generator: np.random.Generator) -> Sentence:
    """A sentence at random."""
    verb = _pick(generator, ACTIONS)
    actor, thing = _phrase(generator, ACTORS), _phrase(generator, ACTORS + THINGS)
    said, told = actor.english().split(), thing.english().split()
    english = [*said, verb.english[not actor.plural], *told]
    french = spell_french(f"{actor.french()} {verb.present[4 if actor.plural else 1]} {thing.french()}")
    place = len(said)  # of the verb
    words = [*_words(actor, 0), ("verb", (place, place - 1)), *_words(thing, place + 1)]
    kinds, needs = zip(*words, strict=True)
    return Sentence(tuple(english), tuple(french.replace("'", "' ").split()), needs, kinds)


def _pick(generator: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(generator.integers(len(options)))]


def _phrase(generator: np.random.Generator, nouns: Sequence[Noun]) -> NounPhrase:
    """A determiner, none to two adjectives that fit (one before the French noun and one behind it),
    and a noun.
    """
    noun = _pick(generator, nouns)
    adjectives: tuple[Any, ...] = ()
    for precedes in (True, False):
        fitting = [one for one in ADJECTIVES.values() if noun.kind in one.kinds and one.precedes == precedes]
        if generator.random() < 0.5:
            adjectives += (_pick(generator, fitting),)
    return NounPhrase(_pick(generator, list(DETERMINERS)), noun, bool(generator.random() < 0.4), adjectives)


def _words(phrase: NounPhrase, start: int) -> list[tuple[str, tuple[int, ...]]]:
    """The kinds and needs of the French words of a phrase whose first English word has the place
    ``start``.
    """
    noun = start + 1 + len(phrase.adjectives)
    before: list[tuple[str, tuple[int, ...]]] = []
    after: list[tuple[str, tuple[int, ...]]] = []
    for place, adjective in enumerate(phrase.adjectives, start + 1):
        (before if adjective.precedes else after).append(("adjective", (place, noun)))
    next_one = [needs[0] for _, needs in before[:1]]  # an article is elided, and "some" is "de", before some
    return [("determiner", (start, noun, *next_one)), *before, ("noun", (noun,)), *after]


class Corpus:
    """``n_train`` sentences to learn from and ``n_test`` others, no English one twice, and the ids
    of their words.
    """

    def __init__(self, seed: int, n_train: int, n_test: int) -> None:
        generator = np.random.default_rng(seed)
        drawn: dict[tuple[str, ...], Sentence] = {}
        while len(drawn) < n_train + n_test:
            sentence = draw(generator)
            drawn.setdefault(sentence.english, sentence)
        sentences = list(drawn.values())
        self.train, self.test = sentences[n_test:], sentences[:n_test]
        words = sorted({word for sentence in sentences for word in (*sentence.english, *sentence.french)})
        self.ids = {word: number for number, word in enumerate(words, RESERVED)}
        self.words = ["", "", "", "(hidden)", *words]

    @property
    def vocab_size(self) -> int:
        """Words of both languages, and the reserved ids."""
        return len(self.words)

    def batches(self, sentences: Sequence[Sentence], max_tokens: int, seed: int = 0) -> Batches:
        """Sentences as batches of ids."""
        english, french = (
            [[self.ids[word] for word in words] for words in column]
            for column in zip(*((one.english, one.french) for one in sentences), strict=True)
        )
        return Batches(english, french, max_tokens, seed)

    def batch(self, sentences: Sequence[Sentence]) -> Batch:
        """All of the sentences in one batch, in their order."""
        return self.batches(sentences, max_tokens=1000).batch(np.arange(len(sentences)))


def transformer(corpus: Corpus, d_model: int, n_heads: int = 4, n_layers: int = 2) -> Transformer:
    """A pre-norm Transformer for the words of a corpus, without dropout."""
    layers: dict[str, Any] = dict(n_encoder_layers=n_layers, n_decoder_layers=n_layers, d_ff=2 * d_model)
    return Transformer(TransformerConfig(n_heads=n_heads, norm_first=True, **layers, **_common(corpus, d_model)))


def recurrent(corpus: Corpus, d_model: int) -> Seq2Seq:
    """A GRU with additive attention, of one layer and one head, likewise."""
    return Seq2Seq(Seq2SeqConfig(cell="gru", attention="additive", hidden_size=d_model, **_common(corpus, d_model)))


def _common(corpus: Corpus, d_model: int) -> dict[str, Any]:
    return dict(
        vocab_size=corpus.vocab_size, d_model=d_model, max_length=LONGEST, dropout=0.0, label_smoothing=0.0,
        share_embeddings=False, tie_output=False,
    )  # fmt: skip


def learn(
    model: EncoderDecoder, corpus: Corpus, steps: int, max_tokens: int, rate: float, seed: int, hidden: float = 0.0
) -> History:
    """Train by Adam for so many updates. hidden: this share of the English words is `UNKNOWN`,
    drawn anew for each batch, so that one which is hidden later is nothing new.
    """
    batches = corpus.batches(corpus.train, max_tokens, seed)
    generator = np.random.default_rng(seed)
    coming: list[Batch] = []
    passes = 0

    def loss_of(step: int) -> mt.Tensor:
        nonlocal passes
        if not coming:
            coming.extend(batches.epoch(passes))
            passes += 1
        batch = coming.pop()
        source = np.where(hideable(batch) & (generator.random(batch.source.shape) < hidden), UNKNOWN, batch.source)
        return model.loss(source, batch.target_in, batch.target_out, batch.source_mask, batch.tokens)

    return train(model, loss_of, steps, mt.optim.Adam(model.parameters(), lr=rate))


def hideable(batch: Batch) -> np.ndarray:
    """Where words stand in the source (B, S): not padding, and not the end."""
    return batch.source >= RESERVED


@mt.no_grad
def score(model: EncoderDecoder, batch: Batch) -> dict[str, Any]:
    """Loss in nats a word, and the share of sentences without an error.

    Greedy search writes a sentence exactly if under teacher forcing the most probable word is the
    right one at every place, so that one pass tells both.
    """
    logits = model(batch.source, batch.target_in, batch.source_mask)  # (N, T, V)
    real = batch.target_out != 0
    right = (logits.numpy().argmax(axis=-1) == batch.target_out) | ~real
    loss = F.cross_entropy(logits, batch.target_out, ignore_index=0).item()
    return {"loss": loss, "exact": float(right.all(axis=1).mean()), "words": float(right[real].mean())}
