"""Decoding by drawing each token at random: see `search.py`, of which this is one way."""

from __future__ import annotations

import math
import operator

import numpy as np

import minitensor as mt
from minitensor.models.decoding_steps import (
    at_hand,
    check_numbers,
    columns,
    fetched,
    limits_of,
    namespace,
    real,
    starts,
    top,
    word_by_word,
)

__all__ = ["check_beam", "check_choices", "check_generators", "check_penalty", "sample"]


def sample(
    step, state, start_ids, stop_id, max_new_tokens,
    temperature=1.0, top_k=None, top_p=None, generator=None, stream=None,
):  # fmt: skip
    """Draw each token from the model's distribution; arguments and result as for `greedy`.

        P(token) proportional to exp(log-probability / temperature)   for tokens that are kept

    top_k: keep the k most probable tokens (Fan et al. 2018, arXiv:1805.04833). top_p: of those,
    keep the smallest set of the most probable whose probability reaches p (nucleus sampling;
    Holtzman et al. 2020, arXiv:1904.09751).

    generator: an ``mt.random.Generator``; default: the library's. Sentence i draws from its stream
    ``generator.stream + i``, so that what it gets does not depend on the others. The generator then
    moves on as if each had drawn ``max_new_tokens`` times. Or a list of N of them, one for each
    sentence, which draws the numbers that it would draw with that one alone; each moves on as if
    its sentence had drawn its ``max_new_tokens`` times.

    What a sentence gets may differ in a batch of another size or padding all the same: products of
    other shapes differ in their last bits, and now and then a number lies so near to the border of
    two tokens that this decides.
    """
    temperature = _check_sampling(temperature, top_k, top_p)
    start_ids = starts(start_ids)
    limits = limits_of(max_new_tokens, len(start_ids))
    check_generators(generator, len(limits))
    steps = iter(_numbers(generator, limits).T)  # the numbers (N,) of each step

    def choose(log_probabilities, sentences):
        values, place = at_hand(log_probabilities), next(steps)[sentences]
        logits, best = _cooled(values, temperature)
        if isinstance(values, mt.Tensor):
            drawn = _draw(logits, top_k, top_p, mt.asarray(place, device=values.device))
            ids, best = fetched(drawn, best[:, 0])
            _check_best(best)
            return ids
        _check_best(best)
        return _draw(logits, top_k, top_p, place)

    return word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream)


def _numbers(generator, limits):
    """What each sentence draws, (N, the most of ``limits``); of its own generator its own limit
    alone.
    """
    found = np.zeros((len(limits), limits.max(initial=0)))
    if isinstance(generator, (list, tuple)):
        for row, one, limit in zip(found, generator, limits.tolist(), strict=True):
            row[:limit] = one.uniform(limit, dtype=np.float64).data
        return found
    generator = mt.random.default if generator is None else generator
    seed, first, _ = generator.state
    counted = mt.random.Generator()
    counted.uniform(found.shape[1], dtype=np.float64)
    counter = generator.advance(counted.counter if len(found) else 0)  # at once: threads may share it
    for i, row in enumerate(found):
        row[:] = mt.random.Generator(seed, first + i, counter).uniform(len(row), dtype=np.float64).data
    return found


def _cooled(log_probabilities, temperature):
    """``(logits, best)``: ``(x - max(x)) / temperature`` of each row, in float64, which is 0 for
    the most probable token; and ``max(x)``, (rows, 1).
    """
    x = log_probabilities.astype(np.float64)
    best = x.max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):  # minus infinity is a probability of 0; inf - inf: see below
        return (x - best) / temperature, best


def _check_best(best):
    check_numbers(best)
    if np.isinf(best).any():
        raise FloatingPointError("the model's log-probabilities are infinite: of no token, or of one without bounds")


def _draw(logits, top_k, top_p, uniform):
    """A token of each row (rows, V), that at ``uniform`` (rows,) of the cumulated probability.

    Arrays of NumPy give one of NumPy, Tensors a Tensor.
    """
    xp = namespace(logits)
    if top_k is not None:
        values, tokens = top(logits, top_k)
        order = xp.argsort(tokens, axis=1)  # as on any other machine
        values, tokens = (xp.take_along_axis(x, order, axis=1) for x in (values, tokens))
    else:
        values, tokens = logits, xp.broadcast_to(columns(logits), logits.shape)
    if top_p is not None:  # the most probable first
        order = xp.argsort(-values, axis=1, kind="stable")
        values, tokens = (xp.take_along_axis(x, order, axis=1) for x in (values, tokens))
    cumulated = xp.cumsum(xp.exp(values - values.max(axis=1, keepdims=True)), axis=1)
    total = cumulated[:, -1:]
    if top_p is not None:  # what comes behind the first place where p is reached is not kept
        last = (cumulated >= top_p * total).argmax(axis=1)[:, None]
        total = xp.take_along_axis(cumulated, last, axis=1)
    # The first above, never one of probability 0. There is one: a number below 1, times the total,
    # is below the total.
    place = (cumulated > uniform[:, None] * total).argmax(axis=1)[:, None]
    return xp.take_along_axis(tokens, place, axis=1)[:, 0]


def _check_sampling(temperature, top_k, top_p):
    """The temperature as a Python number; raises for settings that nothing is sampled by."""
    temperature = real("temperature", temperature)
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a number above 0, got {temperature}; greedy search is what 0 would mean")
    if top_k is not None and not hasattr(top_k, "__index__"):
        raise TypeError(f"top_k must be an integer, how many tokens are kept, got {top_k!r}")
    if top_k is not None and operator.index(top_k) < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < real("top_p", top_p) <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    return temperature


def check_choices(
    temperature, top_k, top_p, beam_size, generator, stream=None, length_reward=0.0, patience=None, penalty=None,
    length_penalty=None,
):  # fmt: skip
    """Raise for ways of choosing that exclude each other."""
    if not 0 <= real("temperature", temperature) < math.inf:
        raise ValueError(f"temperature must be 0, for the most probable token, or above, got {temperature}")
    if temperature == 0 and not (top_k is top_p is generator is None):
        raise ValueError("top_k, top_p and generator are for sampling: give a temperature above 0, such as 1.0")
    check_generators(generator)
    if isinstance(beam_size, bool) or not hasattr(beam_size, "__index__"):
        raise TypeError(f"beam_size must be an integer, how many hypotheses are kept, got {beam_size!r}")
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}")
    if beam_size > 1 and (temperature > 0 or stream is not None):
        raise ValueError("beam search neither samples nor streams: leave out beam_size, or temperature and stream")
    check_beam(beam_size, length_reward, patience, penalty)
    if penalty is not None and length_penalty is None:
        raise ValueError("penalty is a function of a length and of length_penalty: give that too, such as 1.0")


def check_generators(generator, n=None):
    """Raise for what is neither None nor an ``mt.random.Generator`` nor a list of them, one for
    each of ``n`` sentences, if their number is known.
    """
    if not isinstance(generator, (list, tuple)):
        if generator is not None and not isinstance(generator, mt.random.Generator):
            raise TypeError(
                "generator must be an mt.random.Generator, such as mt.random.Generator(0), or a list of them, one for "
                f"each sentence, got {type(generator).__name__}"
            )
        return
    places: dict[int, int] = {}
    for i, one in enumerate(generator):
        if not isinstance(one, mt.random.Generator):
            raise TypeError(f"generator[{i}] must be an mt.random.Generator, got {type(one).__name__}")
        if places.setdefault(id(one), i) != i:
            raise ValueError(
                f"generator[{i}] is that of sentence {places[id(one)]} too: give each its own, such as "
                "[mt.random.Generator(0, stream=i) for i in range(N)]"
            )
    if n not in (None, len(generator)):
        raise ValueError(
            f"generator has {len(generator)} generators for {n} sentences: give one for each, or one alone"
        )


def check_beam(beam_size, length_reward, patience, penalty=None):
    """Raise for what weighs the hypotheses of a beam if there is none."""
    if beam_size == 1 and (length_reward or patience is not None or penalty is not None):
        raise ValueError(
            "length_reward, patience and penalty are of a beam search, and beam_size is 1: give beam_size=5, or leave them out"
        )
    if penalty is not None:
        check_penalty(penalty)


def check_penalty(penalty):
    """Raise for what is no function."""
    if not callable(penalty):
        raise TypeError(
            "penalty must be a function of a length and of length_penalty, such as minitensor.models.search.power, got"
            f" {type(penalty).__name__}"
        )
