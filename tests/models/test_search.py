"""Search on toy models whose answer is known: random tables of log-probabilities, one distribution
per prefix.
"""

import itertools
import math
import sys
import threading

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import minitensor as mt
from minitensor.models.decoding_steps import top
from minitensor.models.sampling import _draw, _numbers
from minitensor.models.search import beam_search, enough, greedy, penalty, power, sample, search

STOP = 1


class Toy:
    """A model whose next-token distribution is a fixed random function of (sentence, prefix)."""

    def __init__(self, seed, vocabulary, sharpness=2.0):
        self.seed, self.vocabulary, self.sharpness = seed, vocabulary, sharpness
        self.rows_served = 0

    def log_probabilities(self, sentence, prefix):
        logits = np.random.default_rng([self.seed, sentence, *prefix]).normal(size=self.vocabulary) * self.sharpness
        return logits - np.logaddexp.reduce(logits)

    def step(self, ids, state):
        assert len(ids) == len(state.prefixes)
        state.prefixes = [prefix + (int(token),) for prefix, token in zip(state.prefixes, ids)]
        self.rows_served += len(ids)
        return np.stack([self.log_probabilities(prefix[0], prefix[1:]) for prefix in state.prefixes])


class State:
    """The prefixes of the rows; the start token of row i is the number of its sentence."""

    def __init__(self, n):
        self.prefixes = [()] * n

    def reorder(self, rows):
        self.prefixes = [self.prefixes[row] for row in rows]


def exhaustive(toy, sentence, limit, alpha, stops=(STOP,), reward=0.0):
    """The best complete sentence of all, by its score, without its stop token."""
    others = [token for token in range(toy.vocabulary) if token not in stops]
    best = (-math.inf, [])
    for length in range(limit):
        for prefix, stop in itertools.product(itertools.product(others, repeat=length), stops):
            whole = (*prefix, stop)
            total = sum(toy.log_probabilities(sentence, whole[:i])[whole[i]] for i in range(length + 1))
            best = max(best, (total / penalty(length + 1, alpha) + reward * (length + 1), list(prefix)))
    return best[1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.integers(2, 4),
    limit=st.integers(1, 4),
    alpha=st.sampled_from([0.0, 0.6, 1.0, 2.0, -0.5]),
    reward=st.sampled_from([0.0, 0.7, 3.0, -1.0]),
)
def test_wide_beam_is_exhaustive_search(seed, vocabulary, limit, alpha, reward):
    toy = Toy(seed, vocabulary)
    found = beam_search(toy.step, State(3), range(3), STOP, limit, vocabulary**limit, alpha, length_reward=reward)
    assert found == [exhaustive(toy, sentence, limit, alpha, reward=reward) for sentence in range(3)]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), vocabulary=st.integers(3, 4), limit=st.integers(1, 3), alpha=st.sampled_from([0.0, 1.0])
)
def test_wide_beam_is_exhaustive_search_with_several_stops(seed, vocabulary, limit, alpha):
    toy, stops = Toy(seed, vocabulary), (STOP, 2)
    found = beam_search(toy.step, State(2), range(2), stops, limit, vocabulary**limit, alpha)
    assert found == [exhaustive(toy, sentence, limit, alpha, stops) for sentence in range(2)]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.integers(2, 200),
    beam_size=st.integers(2, 6),
    alpha=st.sampled_from([0.0, 0.6, 1.5, -0.5]),
)
def test_stopping_early_never_changes_the_answer(seed, vocabulary, beam_size, alpha):
    """A plain search of one sentence that always goes to the limit finds the same, in a batch or
    alone.
    """
    toy, limit = Toy(seed, vocabulary), 6
    together = beam_search(toy.step, State(4), range(4), STOP, limit, beam_size, alpha)
    plain = [plain_beam_search(toy, sentence, limit, beam_size, alpha) for sentence in range(4)]
    assert together == [found[0] for found in plain]
    for n_best in range(1, beam_size + 1):
        together = beam_search(toy.step, State(4), range(4), STOP, limit, beam_size, alpha, n_best)
        assert together == [found[:n_best] for found in plain]
    assert search(toy.step, State(2), range(2), STOP, limit, 1, n_best=1) == [
        [ids] for ids in search(toy.step, State(2), range(2), STOP, limit)
    ]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.integers(2, 200),
    beam_size=st.integers(2, 6),
    reward=st.sampled_from([0.0, 0.4, 2.0, 9.0, -0.5]),
    patience=st.sampled_from([None, 0.2, 0.5, 1, 2.0, 1.3, 100]),
    judged=st.sampled_from([penalty, power]),
)
def test_a_reward_of_length_and_patience(seed, vocabulary, beam_size, reward, patience, judged):
    if patience == 0.2:
        patience = 1 / beam_size  # the first that is complete ends the search
    toy, limit, how = Toy(seed, vocabulary), 8, dict(penalty=judged, length_reward=reward, patience=patience)
    limits = [limit, 3, 5, limit]
    together = beam_search(toy.step, State(4), range(4), STOP, limits, beam_size, 0.5, **how)
    if reward and patience is None:
        patience = 2
    how_plain = beam_size, 0.5, reward, patience, judged
    plain = [plain_beam_search(toy, n, most, *how_plain) for n, most in enumerate(limits)]
    assert together == [found[0] for found in plain]
    n_best = min(beam_size, math.ceil(patience * beam_size - 1e-9)) if patience else beam_size
    several = beam_search(toy.step, State(4), range(4), STOP, limits, beam_size, 0.5, n_best, **how)
    assert several == [found[:n_best] for found in plain]


def test_patience_keeps_a_rewarded_length_from_being_endless():
    """Every token but the stop is the likelier one, and each is worth more than it costs."""
    toy = Toy(0, 3)
    toy.log_probabilities = lambda sentence, prefix: np.log([0.5, 0.3, 0.2])
    patiences = 0.5, 1, 2, None, math.inf
    found = [beam_search(toy.step, State(1), [0], STOP, 50, 2, length_reward=1, patience=p) for p in patiences]
    assert [len(tokens[0]) for tokens in found] == [0, 1, 3, 3, 49]


def test_a_penalty_is_left_out_for_a_reward_and_none_for_a_reward_of_0():
    toy = Toy(3, 9)
    found = [
        beam_search(toy.step, State(9), range(9), STOP, 20, 3, alpha, length_reward=reward)
        for alpha, reward in ((None, 0.9), (0.0, 0.9), (0.6, 0.9), (None, 0), (0.6, 0), (0.0, 0))
    ]
    assert found[0] == found[1] != found[2] and found[3] == found[4] != found[5]


@pytest.mark.parametrize(("beam_size", "patience"), [(25, 0.28), (25, 7 / 25), (3, 1 / 3), (15, 14 / 15), (4, 0.2)])
def test_how_many_hypotheses_are_enough(beam_size, patience):
    assert enough(patience, beam_size, 1, 0.0) == max(1, round(patience * beam_size))


def plain_beam_search(toy, sentence, limit, beam_size, alpha, reward=0.0, patience=None, judged=penalty):
    """All hypotheses that are met, the complete ones first, each kind best first."""
    live, complete = [(0.0, ())], []
    for length in range(1, limit + 1):
        if patience is not None and len(complete) >= patience * beam_size - 1e-9:
            break
        candidates = [
            (total + value, (*prefix, token))
            for total, prefix in live
            for token, value in enumerate(toy.log_probabilities(sentence, prefix))
        ]
        candidates.sort(key=lambda one: -one[0])
        for total, tokens in candidates[:beam_size]:
            if tokens[-1] == STOP:
                complete.append((total / judged(length, alpha) + reward * length, list(tokens[:-1])))
        live = [one for one in candidates if one[1][-1] != STOP][:beam_size]
    complete.sort(key=lambda one: -one[0])
    return [tokens for _, tokens in complete] + [list(tokens) for _, tokens in live]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 9), limit=st.integers(1, 12))
def test_greedy_takes_the_best_token(seed, n, limit):
    toy = Toy(seed, 5)
    expected = []
    for sentence in range(n):
        tokens = []
        while len(tokens) < limit:
            token = int(toy.log_probabilities(sentence, tokens).argmax())
            if token == STOP:
                break
            tokens.append(token)
        expected.append(tokens)
    assert greedy(toy.step, State(n), range(n), STOP, limit) == expected


@pytest.mark.parametrize("beam_size", [1, 3])
def test_each_sentence_may_have_its_own_limit(beam_size):
    toy, limits = Toy(7, 20), [1, 5, 2, 9]
    together = search(toy.step, State(4), range(4), STOP, limits, beam_size)
    toy.log_probabilities, plain = lambda sentence, prefix: plain(sentence + offset, prefix), toy.log_probabilities
    for offset, limit in enumerate(limits):
        assert search(toy.step, State(1), [0], STOP, limit, beam_size) == [together[offset]]
    assert all(len(tokens) <= limit for tokens, limit in zip(together, limits))


def test_finished_sentences_leave_the_batch():
    """Sentence i stops after i tokens; the rows served are far fewer than sentences times steps."""
    toy = Toy(0, 3)
    toy.log_probabilities = lambda sentence, prefix: np.log(
        [0.01, 0.98, 0.01] if len(prefix) >= sentence else [0.98, 0.01, 0.01]
    )
    assert greedy(toy.step, State(20), range(20), STOP, 30) == [[0] * i for i in range(20)]
    assert toy.rows_served <= 20 * 21 / 2 * 1.3
    toy.rows_served = 0
    assert beam_search(toy.step, State(20), range(20), STOP, 30, 3) == [[0] * i for i in range(20)]
    assert toy.rows_served <= 3 * 20 * 25 / 2


def test_a_search_that_completes_nothing_returns_the_best_unfinished():
    toy = Toy(0, 3)
    toy.log_probabilities = lambda sentence, prefix: np.array([math.log(0.75), -math.inf, math.log(0.25)])
    assert search(toy.step, State(2), [0, 1], STOP, 4, beam_size=3) == [[0, 0, 0, 0]] * 2
    assert search(toy.step, State(2), [0, 1], STOP, 4) == [[0, 0, 0, 0]] * 2


def test_a_dead_end_is_an_empty_answer():
    toy = Toy(0, 3)
    toy.log_probabilities = lambda sentence, prefix: np.full(3, -math.inf)
    assert beam_search(toy.step, State(1), [0], STOP, 4, 3) == [[]]


def test_length_penalty_prefers_longer_sentences():
    def log_probabilities(sentence, prefix):
        if not prefix:
            return np.log([0.45, 0.5, 0.05])
        return np.log([0.04, 0.95, 0.01])

    toy = Toy(0, 3)
    toy.log_probabilities = log_probabilities
    assert beam_search(toy.step, State(1), [0], STOP, 4, 3, length_penalty=0.0) == [[]]
    assert beam_search(toy.step, State(1), [0], STOP, 4, 3, length_penalty=2.0) == [[0]]
    assert penalty(1, 0.6) == 1.0 and penalty(7, 1.0) == 2.0


def test_tensors_are_accepted():
    toy = Toy(3, 5)
    as_tensor = beam_search(lambda ids, state: mt.asarray(toy.step(ids, state)), State(3), range(3), STOP, 8, 4)
    assert as_tensor == beam_search(toy.step, State(3), range(3), STOP, 8, 4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 3000), count=st.integers(1, 7))
def test_top_finds_the_largest(seed, size, count):
    values = np.random.default_rng(seed).normal(size=(3, size))
    best, places = top(values, count)
    np.testing.assert_array_equal(np.sort(best), np.sort(values)[:, -count:])
    np.testing.assert_array_equal(np.take_along_axis(values, places, axis=1), best)
    best, places = top(mt.asarray(values), count)  # as on a GPU
    np.testing.assert_array_equal(np.sort(best.numpy()), np.sort(values)[:, -count:])
    np.testing.assert_array_equal(np.take_along_axis(values, places.numpy(), axis=1), best.numpy())


@pytest.mark.parametrize("top_k, top_p", [(None, None), (5, None), (None, 0.7), (7, 0.9)])
def test_drawing_on_a_gpu_is_drawing_on_the_host(top_k, top_p):
    rng = np.random.default_rng(0)
    logits, uniform = rng.normal(size=(40, 700)), rng.uniform(size=40)
    there = _draw(mt.asarray(logits), top_k, top_p, mt.asarray(uniform)).numpy()
    np.testing.assert_array_equal(there, _draw(logits, top_k, top_p, uniform))


@pytest.mark.parametrize("beam_size", [1, 2])
def test_errors(beam_size):
    toy = Toy(0, 4)
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        search(toy.step, State(1), [0], STOP, 0, beam_size)
    with pytest.raises(ValueError, match="beam_size must be at least 1, got -1"):
        search(toy.step, State(1), [0], STOP, 3, -1)
    with pytest.raises(ValueError, match="n_best must be from 1 to beam_size, which is 2, got 3"):
        search(toy.step, State(1), [0], STOP, 3, 2, n_best=3)
    with pytest.raises(FloatingPointError, match="log-probabilities are NaN"):
        search(lambda ids, state: np.full((len(ids), 4), np.nan), State(1), [0], STOP, 3, beam_size)
    with pytest.raises(ValueError, match=r"\(rows, V\) for 1 rows, got shape \(1, 1, 4\)"):
        search(lambda ids, state: np.zeros((1, 1, 4)), State(1), [0], STOP, 3, beam_size)


# --- several stops, streaming ---------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(1, 3), np.array([3, 1]), {1, 3}])
def test_greedy_ends_at_any_stop(stops):
    toy = Toy(5, 6)
    never = greedy(toy.step, State(8), range(8), (), 12)
    assert [len(tokens) for tokens in never] == [12] * 8
    expected = [list(itertools.takewhile(lambda token: token not in (1, 3), tokens)) for tokens in never]
    assert len({len(tokens) for tokens in expected}) > 2
    assert greedy(toy.step, State(8), range(8), stops, 12) == expected


@pytest.mark.parametrize("decode", [greedy, sample])
def test_the_stream_brings_the_outputs_token_by_token(decode):
    toy, seen, calls = Toy(2, 5), [[] for _ in range(9)], []

    def stream(sentences, ids):
        calls.append(len(sentences))
        for sentence, token in zip(sentences, ids):
            assert type(sentence) is int and type(token) is int
            seen[sentence].append(token)

    mt.random.seed(0)
    outputs = decode(toy.step, State(9), range(9), STOP, 10, stream=stream)
    assert seen == outputs and 0 not in calls and len(calls) == max(map(len, outputs)) > min(map(len, outputs))


# --- sampling -------------------------------------------------------------------------------------


def shares(probabilities, top_k=None, top_p=None):
    """How much of [0, 1) falls to each token."""
    uniform = (np.arange(4000) + 0.5) / 4000
    tokens = _draw(np.tile(np.log(probabilities), (4000, 1)), top_k, top_p, uniform)
    return np.bincount(tokens, minlength=len(probabilities)) / 4000


def of_those_kept(probabilities, kept):
    return np.where(np.isin(range(len(probabilities)), kept), probabilities, 0) / probabilities[kept].sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_distribution_of_the_model(temperature):
    probabilities, count = np.array([0.4, 0.3, 0.15, 0.1, 0.05, 0.0]), 3000
    toy = Toy(0, 6)
    with np.errstate(divide="ignore"):
        toy.log_probabilities = lambda sentence, prefix: np.log(probabilities)
        tokens = sample(toy.step, State(count), range(count), (), 2, temperature, generator=mt.random.Generator(3))
    first, second = np.transpose(tokens)
    expected = probabilities ** (1 / temperature) / (probabilities ** (1 / temperature)).sum()
    pairs = np.bincount(first * 6 + second, minlength=36) / count  # the draws of a sentence are independent
    for found, wanted in (
        (np.bincount(first, minlength=6) / count, expected),
        (pairs, np.outer(expected, expected).ravel()),
    ):
        assert (found[wanted == 0] == 0).all()
        assert (np.abs(found - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / count)).all()  # five standard deviations


@pytest.mark.parametrize(
    ("k", "kept"), [(1, [2]), (2, [2, 4]), (3, [1, 2, 4]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_top_k_keeps_the_k_most_probable(k, kept):
    probabilities = np.array([0.1, 0.2, 0.4, 0.05, 0.25])
    np.testing.assert_allclose(shares(probabilities, top_k=k), of_those_kept(probabilities, kept), atol=3e-4)


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.1, [2]),
        (0.5, [2]),
        (0.51, [1, 2]),
        (0.75, [1, 2]),
        (0.8, [0, 1, 2]),
        (0.9375, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p, kept):
    probabilities = np.array([0.125, 0.25, 0.5, 0.0625, 0.0625])  # exact in binary
    np.testing.assert_allclose(shares(probabilities, top_p=p), of_those_kept(probabilities, kept), atol=3e-4)


def test_top_p_counts_among_the_top_k():
    probabilities = np.array([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(shares(probabilities, top_k=2, top_p=0.55), [1, 0, 0, 0])  # 0.4 / 0.7 reaches 0.55
    np.testing.assert_allclose(shares(probabilities, top_p=0.55), of_those_kept(probabilities, [0, 1]), atol=3e-4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 400),
    top_k=st.none() | st.integers(1, 20),
    top_p=st.none() | st.floats(0.01, 1.0),
    edge=st.sampled_from([0.0, 0.3, 1 - 2.0**-53]),
)
def test_what_is_drawn_is_always_one_of_those_kept(seed, size, top_k, top_p, edge):
    logits = np.random.default_rng(seed).normal(size=(3, size)) * 3
    logits[:, 1:][:, ::2] = -np.inf
    for row, token in enumerate(_draw(logits, top_k, top_p, np.full(3, edge))):
        order = np.argsort(-logits[row], kind="stable")[:top_k]
        mass = np.cumsum(np.exp(logits[row][order] - logits[row].max()))
        kept = order[: 1 + int((mass < (top_p or 1.0) * mass[-1] * (1 - 1e-12)).sum())]
        assert token in kept and np.isfinite(logits[row, token])


def test_a_sentence_draws_the_same_alone_and_in_a_batch():
    toy = Toy(4, 30, sharpness=1.0)
    together = sample(toy.step, State(6), range(6), STOP, 15, generator=mt.random.Generator(11))
    assert len({tuple(tokens) for tokens in together}) == 6
    for sentence in range(6):
        generator = mt.random.Generator(11, stream=sentence)
        assert sample(toy.step, State(1), [sentence], STOP, 15, generator=generator) == [together[sentence]]


def test_sampling_goes_on_from_where_the_generator_stands():
    toy, generator = Toy(4, 30), mt.random.Generator(11)
    first = sample(toy.step, State(2), range(2), (), 5, generator=generator)
    state = generator.state
    second = sample(toy.step, State(2), range(2), (), 5, generator=generator)
    assert first != second and state == (11, 0, 2)  # four draws to a block
    generator.state = state
    assert sample(toy.step, State(2), range(2), (), 5, generator=generator) == second
    mt.random.seed(11)
    assert sample(toy.step, State(2), range(2), (), 5) == first


def test_threads_that_share_a_generator_draw_other_numbers():
    generator, drawn = mt.random.Generator(5), []

    def draw():
        for _ in range(150):
            drawn.append(_numbers(generator, np.array([3])).tobytes())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=draw) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(set(drawn)) == 600 and generator.counter == 600


def test_each_sentence_draws_from_a_generator_of_its_own():
    toy, limits, places = Toy(4, 30), [3, 9, 1, 6], [(11, 5, 0), (11, 2, 7), (0, 5, 0), (11, 5, 0)]
    alone = [mt.random.Generator(*place) for place in places]
    wanted = [
        sample(toy.step, State(1), [1], STOP, limit, generator=one)[0] for limit, one in zip(limits, alone, strict=True)
    ]
    assert len(set(map(tuple, wanted))) == 4 and wanted[3][: len(wanted[0])] == wanted[0]
    for kind in (list, tuple):
        own = kind(mt.random.Generator(*place) for place in places)
        assert sample(toy.step, State(4), [1] * 4, STOP, limits, generator=own) == wanted
        assert [one.state for one in own] == [one.state for one in alone]
    assert [one.counter for one in alone] == [1, 7 + 3, 1, 2]  # four draws to a block
    streams = [mt.random.Generator(11, 5 + i) for i in range(4)]
    together = sample(toy.step, State(4), range(4), (), 9, generator=mt.random.Generator(11, 5))
    assert sample(toy.step, State(4), range(4), (), 9, generator=streams) == together


def test_no_sentences_draw_nothing():
    generator = mt.random.Generator(3)
    for none in (None, [], generator):
        assert sample(Toy(0, 4).step, State(0), [], STOP, 3, generator=none) == []
    assert generator.state == (3, 0, 0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda g: [g(0)], ValueError, "generator has 1 generators for 2 sentences: give one for each, or one alone"),
        (lambda g: [g(0), g(1), g(2)], ValueError, "generator has 3 generators for 2 sentences"),
        (lambda g: [g(0)] * 2, ValueError, r"generator\[1\] is that of sentence 0 too: give each its own"),
        (lambda g: (g(0), 1), TypeError, r"generator\[1\] must be an mt.random.Generator, got int"),
        (lambda g: [g(0), None], TypeError, r"generator\[1\] must be an mt.random.Generator, got NoneType"),
        (lambda g: 0, TypeError, "generator must be an mt.random.Generator, .* or a list of them, .* got int"),
        (lambda g: np.random.default_rng(0), TypeError, "generator must be an mt.random.Generator, .* got Generator"),
    ],
)
def test_generators_that_are_none_are_refused(make, error, message):
    made = make(mt.random.Generator)
    with pytest.raises(error, match=message):
        sample(Toy(0, 4).step, State(2), [0, 1], STOP, 3, generator=made)
    first = made[0] if isinstance(made, (list, tuple)) else mt.random.Generator()
    assert first.counter == 0  # nothing has been drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0; greedy"),
        ({"temperature": math.nan}, "temperature must be a number above 0, got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
    ],
)
def test_sampling_errors(options, message):
    toy = Toy(0, 4)
    with pytest.raises(ValueError, match=message):
        sample(toy.step, State(1), [0], STOP, 3, **options)
    with pytest.raises(ValueError, match="n_best must be from 1 to beam_size, which is 2, got 3"):
        search(toy.step, State(1), [0], STOP, 3, 2, n_best=3)
    with pytest.raises(FloatingPointError, match="log-probabilities are NaN"):
        sample(lambda ids, state: np.full((len(ids), 4), np.nan), State(1), [0], STOP, 3)
    with pytest.raises(TypeError, match="stop_id must be the id of a token"):
        sample(toy.step, State(1), [0], "x", 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(beam_size=2, length_penalty=math.nan), "length_penalty must be a number"),
        (dict(beam_size=2, length_reward=math.inf), "length_reward must be a number from -1000000.0 to 1000000.0"),
        (dict(beam_size=2, length_reward=None), "length_reward must be a number"),
        (dict(beam_size=4, n_best=3, patience=0.5), "2 of the 3 hypotheses wanted: give 0.75 or more"),
        (dict(beam_size=6, n_best=2, patience=0.1), "1 of the 2 hypotheses wanted: give 0.34 or more"),
        (dict(beam_size=2, patience=math.nan), "patience must be a positive number, got nan"),
        (dict(beam_size=2, patience=0), "patience must be a positive number, got 0"),
        (dict(beam_size=2, patience="2"), "patience must be a positive number, got"),
        (dict(beam_size=1, length_reward=0.5), "are of a beam search, and beam_size is 1: give beam_size=5"),
        (dict(beam_size=1, patience=1), "are of a beam search, and beam_size is 1: give beam_size=5"),
        (dict(penalty=5), "penalty must be a function of a length .* got int"),
        (dict(penalty=lambda length, alpha: 0.0), "a positive number for each length; of 1 and .* 0.6 it gives 0.0"),
        (dict(penalty=lambda length, alpha: 3 - length), "of 3 and the length_penalty 0.6 it gives 0"),
        (dict(penalty=lambda length, alpha: math.nan), "it gives nan"),
        (dict(penalty=lambda length, alpha: "long"), "it gives 'long'"),
        (dict(penalty=power, length_penalty=1e4), "of 2 and the length_penalty 10000 it gives .*inf"),
        (dict(beam_size=1.5), "integer"),
        (dict(max_new_tokens=2.5), "max_new_tokens must be an integer"),
    ],
)
def test_numbers_that_are_none_are_refused(options, message):
    toy = Toy(0, 3)
    with pytest.raises((TypeError, ValueError), match=message):
        search(toy.step, State(1), [0], STOP, **{"max_new_tokens": 4, "beam_size": 2, **options})


@pytest.mark.parametrize("way", [greedy, sample, lambda *a: beam_search(*a, 2)], ids=["greedy", "sample", "beam"])
def test_start_ids_are_one_token_a_sentence(way):
    toy = Toy(0, 5)
    for wrong, error, message in (
        ([[0], [1]], ValueError, r"one token for each sentence, \(N,\), got shape \(2, 1\)"),
        (0, ValueError, r"got shape \(\)"),
        ([0.5, 1.0], TypeError, "must be integers, the ids of tokens, got float64"),
        ([True, False], TypeError, "got bool"),
    ):
        with pytest.raises(error, match=message):
            way(toy.step, State(2), wrong, STOP, 3)
    assert way(toy.step, State(0), [], STOP, 3) == []
