"""Decoding word by word: greedy, sampling and beam search, one implementation for every model.

A model takes part with two things:

    step(ids, state)      log-probabilities (rows, V) of the next token, given each row's newest;
                          the state moves on
    state.reorder(rows)   row i of the state goes on from what row ``rows[i]`` was;
                          rows may repeat or be left out

All sentences of a batch are decoded at once, and a sentence that is done leaves the batch. The
search itself works on the host with NumPy: it handles a few numbers per row. Of what a GPU answers
it fetches no more than these: tokens are drawn there, and the best of each row are found there.
``stop_id`` is the token that ends a sentence, or several of them, or none: ``()``.
``stream(sentences, ids)``, if given, is called after every step with the numbers of the sentences
that got a token (other than a stop) and these tokens, both lists.

`sample` is in `sampling.py`, what all share in `decoding_steps.py`.

Letters: N sentences still decoded, W hypotheses of each, V vocabulary, k ``beam_size``.
"""

from __future__ import annotations

import math
import operator

import numpy as np

import minitensor as mt
from minitensor.engine.settings import number
from minitensor.models.decoding_steps import (
    at_hand,
    check_numbers,
    checked,
    fetched,
    limits_of,
    real,
    starts,
    stops_of,
    top,
    word_by_word,
)
from minitensor.models.sampling import check_beam, check_penalty, sample

__all__ = ["beam_search", "enough", "greedy", "penalty", "power", "real", "sample", "search", "starts"]


def penalty(length, alpha):
    """``((5 + length) / 6) ** alpha``, by which a sentence's log-probability is divided."""
    return ((5.0 + length) / 6.0) ** alpha


def power(length, alpha):
    """``length ** alpha``, the penalty of fairseq (``--lenpen``), Marian (``--normalize``) and
    transformers.
    """
    return np.asarray(length, dtype=np.float64) ** alpha


def search(
    step, state, start_ids, stop_id, max_new_tokens, beam_size=1, length_penalty=None, n_best=None, penalty=penalty,
    length_reward=0.0, patience=None,
):  # fmt: skip
    """`greedy` if ``beam_size`` is 1, otherwise `beam_search`.

    Raises ValueError for a ``length_reward`` or a ``patience`` if there is no beam.
    """
    decoding = (step, state, start_ids, stop_id, max_new_tokens)
    check_beam(beam_size, length_reward, patience)
    if beam_size == 1 and n_best in (None, 1):
        found = greedy(*decoding)
        return found if n_best is None else [[ids] for ids in found]
    return beam_search(*decoding, beam_size, length_penalty, n_best, penalty, length_reward, patience)


def greedy(step, state, start_ids, stop_id, max_new_tokens, stream=None):
    """Take the most probable token each time, until a stop token or ``max_new_tokens``.

    start_ids: the newest token of each sentence, one row of ``state`` each. max_new_tokens: a
    number, or one for each sentence. Returns one list of ids per sentence, without the stop token.
    Raises FloatingPointError if the model answers NaN.
    """

    def choose(log_probabilities, _):
        if log_probabilities.device == "cpu":
            values = log_probabilities.data
            ids = values.argmax(axis=-1)
            best = values[np.arange(len(ids)), ids]
        else:
            ids, best = fetched(log_probabilities.argmax(axis=-1), log_probabilities.max(axis=-1))
        check_numbers(best)
        return ids

    return word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream)


def beam_search(
    step, state, start_ids, stop_id, max_new_tokens, beam_size, length_penalty=None, n_best=None, penalty=penalty,
    length_reward=0.0, patience=None,
):  # fmt: skip
    """The sentence of the highest value that a beam of hypotheses meets.

        value = log P / penalty(length) + length_reward * length
        penalty(length) = ((5 + length) / 6) ** length_penalty

    The penalty is equation 14 of Wu et al. 2016, arXiv:1609.08144; the reward, in nats a token, is
    the word reward gamma of Murray and Chiang 2018, arXiv:1808.10006: a longer sentence has more
    factors below 1. The length counts the stop token. length_penalty: default: 0.6, or 0 if there
    is a reward.

    In each step a sentence's k best continuations that are not a stop token live on, by their
    log-probability alone, and a stop that is among the k best of all completes its hypothesis. A
    sentence is done when no live hypothesis can do better than its best complete one, whatever it
    goes on with, so that stopping early never changes the answer, and with k at least
    V ** max_new_tokens the answer is the best of all sentences; or sooner, by ``patience``. If
    nothing was completed within ``max_new_tokens``, the best unfinished hypothesis is returned.

    patience: a sentence is also done once ``patience * beam_size`` hypotheses of it are complete
    (Kasai et al. 2022, arXiv:2204.05424); 1 is the rule of fairseq and of transformers'
    ``early_stopping``. Default: 2 if there is a reward, since late hypotheses, which are long, are
    then likely to be endless ones; otherwise infinity.

    penalty: another function of a length and of ``length_penalty``, such as `power`: a positive
    number for each length, rising or falling.

    n_best: up to ``beam_size``; if given, the result has a list of so many such hypotheses for each
    sentence, the best first and complete ones before unfinished ones, and a sentence is done when
    none of them can be outdone.

    Arguments, result and errors as for `greedy`; there is nothing to stream, since all may change
    until a sentence is done. Raises ValueError for numbers that are none of these, such as a
    patience by which fewer hypotheses are complete than ``n_best``.
    """
    length_reward = number("beam search", "length_reward", length_reward, least=-1e6, most=1e6)
    if length_penalty is None:
        length_penalty = 0.0 if length_reward else 0.6
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty must be a number such as 0.6, got {length_penalty}")
    beam_size = operator.index(beam_size)
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}")
    wanted = 1 if n_best is None else operator.index(n_best)
    if not 1 <= wanted <= beam_size:
        raise ValueError(f"n_best must be from 1 to beam_size, which is {beam_size}, got {n_best}")
    last = enough(patience, beam_size, wanted, length_reward)  # complete hypotheses of a sentence
    ids = starts(start_ids)
    limits, stop_ids = limits_of(max_new_tokens, len(ids)), stops_of(stop_id)
    divisors = _divisors(penalty, length_penalty, limits.max(initial=1))  # of the lengths 1, 2 ...
    largest = np.maximum(divisors[0], divisors[np.maximum(limits, 1) - 1])
    sentence = np.arange(len(ids))  # (N,) the sentences still searched
    scores = np.zeros((len(ids), 1))  # (N, W) log-probability of each live hypothesis, best first
    history = np.empty((len(ids), 1, 0), dtype=np.int64)  # (N, W, length) its tokens
    outputs: list[list] = [[] for _ in ids]  # (value, tokens) of the best hypotheses of each sentence
    bar = np.full(len(ids), -np.inf)  # the value that a hypothesis has to exceed to be among them
    met = np.zeros(len(ids), dtype=np.int64)  # complete hypotheses of each sentence
    length = 0
    while len(sentence):
        length += 1
        width = scores.shape[1]
        answer = checked(step(ids, state), scores.size)
        totals, beams, tokens = _continuations(answer, scores, beam_size + len(stop_ids))
        stops = np.isin(tokens, stop_ids)

        complete = np.where(stops, totals, -np.inf)[:, :beam_size] / divisors[length - 1]
        complete += length_reward * length
        met[sentence] += np.isfinite(complete).sum(axis=1)
        for n in np.flatnonzero(complete.max(axis=1) > bar[sentence]):
            found = [(complete[n, k], history[n, beams[n, k]].tolist()) for k in np.flatnonzero(complete[n] > -np.inf)]
            found = sorted([*outputs[sentence[n]], *found], key=lambda hypothesis: -hypothesis[0])[:wanted]
            outputs[sentence[n]] = found
            bar[sentence[n]] = found[-1][0] if len(found) == wanted else -np.inf

        # The best first, stops behind all others.
        lasting = np.argsort(stops, axis=1, kind="stable")[:, :beam_size]
        scores, beams, tokens, stops = (np.take_along_axis(x, lasting, axis=1) for x in (totals, beams, tokens, stops))
        scores = np.where(stops, -np.inf, scores)
        history = np.concatenate([np.take_along_axis(history, beams[:, :, None], axis=1), tokens[:, :, None]], axis=2)

        # Log-probabilities only fall and are negative: at best a hypothesis keeps its own and gets
        # the largest penalty and reward.
        longest = limits[sentence] if length_reward > 0 else length + 1
        best = scores[:, 0] / largest[sentence] + length_reward * longest
        going = (best > bar[sentence]) & np.isfinite(scores[:, 0]) & (met[sentence] < last)
        at_limit = length == limits[sentence]
        for n in np.flatnonzero(going & at_limit & np.isneginf(bar[sentence])):
            live = [(-np.inf, history[n, k].tolist()) for k in np.flatnonzero(np.isfinite(scores[n]))]
            outputs[sentence[n]] = [*outputs[sentence[n]], *live][:wanted]
        going = np.flatnonzero(going & ~at_limit)
        sentence, scores, history = sentence[going], scores[going], history[going]
        state.reorder((going[:, None] * width + beams[going]).reshape(-1))
        ids = tokens[going].reshape(-1)
    hypotheses = [[tokens for _, tokens in best] for best in outputs]
    return hypotheses if n_best is not None else [best[0] if best else [] for best in hypotheses]


def _divisors(penalty, length_penalty, longest):
    """What log P is divided by at each length from 1 to ``longest``, in float64."""
    check_penalty(penalty)
    found = np.empty(longest)
    with np.errstate(all="ignore"):
        values = [penalty(length, length_penalty) for length in range(1, longest + 1)]
    for length, value in enumerate(values, start=1):
        try:
            found[length - 1] = value
        except (TypeError, ValueError):
            found[length - 1] = np.nan
        if not 0 < found[length - 1] < np.inf:
            raise ValueError(
                f"penalty must give a positive number for each length; of {length} and the length_penalty {length_penalty:g}"
                f" it gives {value!r}"
            )
    return found


def enough(patience, beam_size, wanted, length_reward):
    """How many complete hypotheses end the search of a sentence.

    Raises ValueError if they are fewer than are wanted.
    """
    if patience is None:
        patience = 2.0 if length_reward else math.inf
    patience = number("beam search", "patience", patience, above=0, infinite=True)
    complete = math.inf if math.isinf(patience) else math.ceil(round(patience * beam_size, 9))
    if complete < wanted:
        least = math.ceil(100 * wanted / beam_size) / 100
        raise ValueError(
            f"a patience of {patience:g} and {beam_size} beams end a search at {complete} of the {wanted} hypotheses wanted:"
            f" give {least:g} or more"
        )
    return complete


def _continuations(log_probabilities, scores, count):
    """The best ``count`` continuations of each hypothesis.

    Returns ``(totals, beams, tokens)``, each (N, up to W * count), best first.

    k and as many as there are stop tokens are enough: of those, k at least do not stop.
    """
    n, width = scores.shape
    values, tokens = top(at_hand(log_probabilities), count)  # (N * W, count)
    if isinstance(values, mt.Tensor):
        tokens, values = fetched(tokens, values)
    values = values.astype(np.float64).reshape(n, width, -1)
    check_numbers(values)
    totals = (scores[:, :, None] + values).reshape(n, -1)
    order = np.argsort(-totals, axis=1, kind="stable")
    beams = np.repeat(np.arange(width), values.shape[2])[order]
    return (
        np.take_along_axis(totals, order, axis=1),
        beams,
        np.take_along_axis(tokens.reshape(n, -1), order, axis=1),
    )
