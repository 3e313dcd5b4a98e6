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

Letters: N sentences still decoded, W hypotheses of each, V vocabulary, k ``beam_size``.
"""

from __future__ import annotations

import math
import operator

import numpy as np

import minitensor as mt

__all__ = ["beam_search", "greedy", "penalty", "power", "real", "sample", "search", "starts"]

BLOCK = 64  # tokens that share one maximum while the best of a row are looked for
# The share of finished rows at which they are dropped: dropping copies the caches of the others.
DROP_AT = 0.25


def penalty(length, alpha):
    """``((5 + length) / 6) ** alpha``, by which a sentence's log-probability is divided."""
    return ((5.0 + length) / 6.0) ** alpha


def power(length, alpha):
    """``length ** alpha``, the penalty of Marian (``--normalize``) and of transformers."""
    return np.asarray(length, dtype=np.float64) ** alpha


def search(
    step, state, start_ids, stop_id, max_new_tokens, beam_size=1, length_penalty=0.6, n_best=None, penalty=penalty
):  # fmt: skip
    """`greedy` if ``beam_size`` is 1, otherwise `beam_search`."""
    if beam_size == 1 and n_best in (None, 1):
        found = greedy(step, state, start_ids, stop_id, max_new_tokens)
        return found if n_best is None else [[ids] for ids in found]
    return beam_search(step, state, start_ids, stop_id, max_new_tokens, beam_size, length_penalty, n_best, penalty)


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
            ids, best = _fetched(log_probabilities.argmax(axis=-1), log_probabilities.max(axis=-1))
        _check_numbers(best)
        return ids

    return _word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream)


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
    moves on as if each had drawn ``max_new_tokens`` times.
    """
    temperature = _check_sampling(temperature, top_k, top_p)
    generator = mt.random.default if generator is None else generator
    seed, first, counter = generator.state
    start_ids = starts(start_ids)
    limits = _limits(max_new_tokens, len(start_ids))
    streams = [mt.random.Generator(seed, first + i, counter) for i in range(len(limits))]
    uniform = [one.uniform(limits.max(), dtype=np.float64).data for one in streams]
    steps = iter(np.transpose(uniform))  # the numbers (N,) of each step
    generator.state = (seed, first, max([counter, *(one.counter for one in streams)]))

    def choose(log_probabilities, sentences):
        values, place = _at_hand(log_probabilities), next(steps)[sentences]
        logits, best = _cooled(values, temperature)
        if isinstance(values, mt.Tensor):
            drawn = _draw(logits, top_k, top_p, mt.asarray(place, device=values.device))
            ids, best = _fetched(drawn, best[:, 0])
            _check_best(best)
            return ids
        _check_best(best)
        return _draw(logits, top_k, top_p, place)

    return _word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream)


def _word_by_word(step, state, start_ids, stop_id, max_new_tokens, choose, stream):
    """What `greedy` and `sample` share; ``choose(log_probabilities, sentences)``, of a Tensor,
    picks tokens.
    """
    ids = starts(start_ids)
    limits, stops = _limits(max_new_tokens, len(ids)), _stops(stop_id)
    outputs: list[list] = [[] for _ in ids]
    sentence = np.arange(len(ids))  # which one each row belongs to
    running = np.ones(len(ids), dtype=bool)
    while running.any():
        if running.mean() <= 1 - DROP_AT:
            rows = np.flatnonzero(running)
            state.reorder(rows)
            ids, sentence, running = ids[rows], sentence[rows], running[rows]
        ids = choose(_checked(step(ids, state), len(ids)), sentence)
        running &= ~np.isin(ids, stops)
        rows = np.flatnonzero(running)
        for row in rows:
            output = outputs[sentence[row]]
            output.append(int(ids[row]))
            running[row] = len(output) < limits[sentence[row]]
        if stream is not None and rows.size:
            stream(sentence[rows].tolist(), ids[rows].tolist())
    return outputs


def _cooled(log_probabilities, temperature):
    """``(logits, best)``: ``(x - max(x)) / temperature`` of each row, in float64, which is 0 for
    the most probable token; and ``max(x)``, (rows, 1).
    """
    x = log_probabilities.astype(np.float64)
    best = x.max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):  # minus infinity is a probability of 0; inf - inf: see below
        return (x - best) / temperature, best


def _check_best(best):
    _check_numbers(best)
    if np.isinf(best).any():
        raise FloatingPointError("the model's log-probabilities are infinite: of no token, or of one without bounds")


def _draw(logits, top_k, top_p, uniform):
    """A token of each row (rows, V), that at ``uniform`` (rows,) of the cumulated probability.

    Arrays of NumPy give one of NumPy, Tensors a Tensor.
    """
    xp = _namespace(logits)
    if top_k is not None:
        values, tokens = _top(logits, top_k)
        order = xp.argsort(tokens, axis=1)  # as on any other machine
        values, tokens = (xp.take_along_axis(x, order, axis=1) for x in (values, tokens))
    else:
        values, tokens = logits, xp.broadcast_to(_columns(logits), logits.shape)
    if top_p is not None:  # the most probable first
        order = xp.argsort(-values, axis=1, kind="stable")
        values, tokens = (xp.take_along_axis(x, order, axis=1) for x in (values, tokens))
    cumulated = xp.cumsum(xp.exp(values - values.max(axis=1, keepdims=True)), axis=1)
    reached = cumulated >= (1.0 if top_p is None else top_p) * cumulated[:, -1:]
    # The first place where p is reached; what comes behind it is not kept.
    last = reached.argmax(axis=1)[:, None]
    total = xp.take_along_axis(cumulated, last, axis=1)
    # The first above: never one of probability 0.
    place = (cumulated <= uniform[:, None] * total).sum(axis=1, keepdims=True)
    return xp.take_along_axis(tokens, xp.minimum(place, last), axis=1)[:, 0]


def beam_search(
    step, state, start_ids, stop_id, max_new_tokens, beam_size, length_penalty=0.6, n_best=None, penalty=penalty
):  # fmt: skip
    """The sentence of the highest ``log P / penalty(length)`` that a beam of hypotheses meets.

        penalty(length) = ((5 + length) / 6) ** length_penalty

    That is equation 14 of Wu et al. 2016, arXiv:1609.08144. The length counts the stop token. In
    each step a sentence's k best continuations that are not a stop token live on, and a stop that
    is among the k best of all completes its hypothesis. A sentence is done when no live hypothesis
    can do better than its best complete one, whatever it goes on with, so that stopping early never
    changes the answer; with k at least V ** max_new_tokens the answer is the best of all sentences.
    If nothing was completed within ``max_new_tokens``, the best unfinished hypothesis is returned.

    penalty: another function of the length and ``length_penalty``, such as `power`: monotonic.

    n_best: up to ``beam_size``; if given, the result has a list of so many such hypotheses for each
    sentence, the best first and complete ones before unfinished ones, and a sentence is done when
    none of them can be outdone.

    Arguments, result and errors as for `greedy`; there is nothing to stream, since all may change
    until a sentence is done.
    """
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty must be a number such as 0.6, got {length_penalty}")
    beam_size = operator.index(beam_size)
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}")
    wanted = 1 if n_best is None else operator.index(n_best)
    if not 1 <= wanted <= beam_size:
        raise ValueError(f"n_best must be from 1 to beam_size, which is {beam_size}, got {n_best}")
    ids = starts(start_ids)
    limits, stop_ids = _limits(max_new_tokens, len(ids)), _stops(stop_id)
    largest = np.maximum(penalty(1, length_penalty), penalty(limits, length_penalty))
    sentence = np.arange(len(ids))  # (N,) the sentences still searched
    scores = np.zeros((len(ids), 1))  # (N, W) log-probability of each live hypothesis, best first
    history = np.empty((len(ids), 1, 0), dtype=np.int64)  # (N, W, length) its tokens
    outputs: list[list] = [[] for _ in ids]  # (value, tokens) of the best hypotheses of each sentence
    bar = np.full(len(ids), -np.inf)  # the value that a hypothesis has to exceed to be among them
    length = 0
    while len(sentence):
        length += 1
        width = scores.shape[1]
        answer = _checked(step(ids, state), scores.size)
        totals, beams, tokens = _continuations(answer, scores, beam_size + len(stop_ids))
        stops = np.isin(tokens, stop_ids)

        complete = np.where(stops, totals, -np.inf)[:, :beam_size] / penalty(length, length_penalty)
        for n in np.flatnonzero(complete.max(axis=1) > bar[sentence]):
            found = [(complete[n, k], history[n, beams[n, k]].tolist()) for k in np.flatnonzero(complete[n] > -np.inf)]
            best = sorted([*outputs[sentence[n]], *found], key=lambda hypothesis: -hypothesis[0])[:wanted]
            outputs[sentence[n]] = best
            bar[sentence[n]] = best[-1][0] if len(best) == wanted else -np.inf

        # The best first, stops behind all others.
        lasting = np.argsort(stops, axis=1, kind="stable")[:, :beam_size]
        scores, beams, tokens, stops = (np.take_along_axis(x, lasting, axis=1) for x in (totals, beams, tokens, stops))
        scores = np.where(stops, -np.inf, scores)
        history = np.concatenate([np.take_along_axis(history, beams[:, :, None], axis=1), tokens[:, :, None]], axis=2)

        # Log-probabilities only fall and are negative: at best a hypothesis keeps its own and gets
        # the largest penalty.
        going = (scores[:, 0] / largest[sentence] > bar[sentence]) & np.isfinite(scores[:, 0])
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


def _continuations(log_probabilities, scores, count):
    """The best ``count`` continuations of each hypothesis.

    Returns ``(totals, beams, tokens)``, each (N, up to W * count), best first.

    k and as many as there are stop tokens are enough: of those, k at least do not stop.
    """
    n, width = scores.shape
    values, tokens = _top(_at_hand(log_probabilities), count)  # (N * W, count)
    if isinstance(values, mt.Tensor):
        tokens, values = _fetched(tokens, values)
    values = values.astype(np.float64).reshape(n, width, -1)
    _check_numbers(values)
    totals = (scores[:, :, None] + values).reshape(n, -1)
    order = np.argsort(-totals, axis=1, kind="stable")
    beams = np.repeat(np.arange(width), values.shape[2])[order]
    return (
        np.take_along_axis(totals, order, axis=1),
        beams,
        np.take_along_axis(tokens.reshape(n, -1), order, axis=1),
    )


def _top(values, count):
    """The ``count`` largest of each row of ``values`` (rows, V) and their places, in any order.

    They lie within the ``count`` blocks of the largest maxima, and maxima are much quicker to find
    than a partition. Arrays of NumPy give such, Tensors give Tensors.
    """
    rows, size = values.shape
    blocks, xp = size // BLOCK, _namespace(values)
    if blocks <= 2 * count:
        places = _largest(values, count)
        return xp.take_along_axis(values, places, axis=1), places
    maxima = values[:, : blocks * BLOCK].reshape((rows, blocks, BLOCK)).max(axis=2)
    chosen, columns = _largest(maxima, count), _columns(values)  # (rows, count), (V,)
    within = (chosen[:, :, None] * BLOCK + columns[:BLOCK]).reshape((rows, -1))
    rest = xp.broadcast_to(columns[blocks * BLOCK :], (rows, size - blocks * BLOCK))
    candidates = xp.concatenate([within, rest], axis=1)
    inner = xp.take_along_axis(values, candidates, axis=1)
    order = _largest(inner, count)
    return xp.take_along_axis(inner, order, axis=1), xp.take_along_axis(candidates, order, axis=1)


def _largest(values, count):
    """The places of the ``count`` largest of each row, in any order."""
    count = min(count, values.shape[1])
    if isinstance(values, mt.Tensor):
        return mt.topk(values, count)[1]
    return np.argpartition(-values, count - 1, axis=1)[:, :count]


def _columns(values):
    """The numbers of the columns, (V,), where ``values`` are."""
    columns = np.arange(values.shape[1])
    return mt.asarray(columns, device=values.device) if isinstance(values, mt.Tensor) else columns


def _namespace(values):
    return mt if isinstance(values, mt.Tensor) else np


def _at_hand(log_probabilities):
    """The log-probabilities as the search works with them: as an array on the CPU, as the Tensor
    that they are on a GPU.
    """
    return log_probabilities.data if log_probabilities.device == "cpu" else log_probabilities


def _fetched(ids, values):
    """Tokens and their log-probabilities, Tensors of one shape on a GPU, as arrays: by one copy."""
    ids, values = mt.stack([ids.astype("float64"), values.astype("float64")]).to("cpu").data
    return ids.astype(np.int64), values


def _checked(log_probabilities, rows):
    """The model's answer as a Tensor (rows, V)."""
    values = mt.asarray(log_probabilities)
    if values.ndim != 2 or len(values) != rows:
        raise ValueError(f"step must return log-probabilities (rows, V) for {rows} rows, got shape {values.shape}")
    return values


def _limits(max_new_tokens, n):
    """The most tokens of each of ``n`` sentences, an array."""
    limits = np.broadcast_to(np.asarray(max_new_tokens), (n,))
    if limits.dtype.kind not in "iu":
        raise TypeError(f"max_new_tokens must be an integer, or one for each sentence, got {max_new_tokens!r}")
    if (limits < 1).any():
        raise ValueError(f"max_new_tokens must be at least 1, got {limits.min()}")
    return limits


def starts(start_ids):
    """The newest token of each sentence, an array (N,). Raises ValueError for another rank,
    TypeError for other numbers than integers.
    """
    ids = start_ids.to("cpu").data if isinstance(start_ids, mt.Tensor) else np.asarray(start_ids)
    if ids.ndim != 1:
        raise ValueError(f"start_ids must be one token for each sentence, (N,), got shape {ids.shape}")
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"start_ids must be integers, the ids of tokens, got {ids.dtype}")
    return ids.astype(np.int64)


def _stops(stop_id):
    """The stop tokens as a row of integers."""
    stops = np.atleast_1d(np.asarray(stop_id if np.isscalar(stop_id) else list(stop_id)))
    if stops.size and stops.dtype.kind not in "iu":
        raise TypeError(f"stop_id must be the id of a token, or several of them, got {stop_id!r}")
    return stops.astype(np.int64)


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


def real(name, value):
    """``value`` as a Python number, whichever type of number it is; TypeError for others."""
    if isinstance(value, str) or not hasattr(value, "__float__") or getattr(value, "ndim", None):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _check_numbers(values):
    if np.isnan(values).any():
        raise FloatingPointError(
            "the model's log-probabilities are NaN: its weights are spoilt, or its training diverged"
        )
