"""Faults that show in one place alone, and right models that look like them."""

import re

import numpy as np
import pytest
import wrong_models as wrong

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.testing import invariants
from minitensor.testing.invariants import Floats, Ids

X = Floats((3, 5, 4))
IDS = Ids(5, (4, 5))
LENGTHS = np.array([3, 5, 2])
PROMPTS = np.array([[2, 3], [0, 4], [3, 3]])


class Layer(nn.Module):
    """A linear map, and what ``after(self, y)`` makes of it; ``rate`` is nothing but a number."""

    def __init__(self, after=lambda self, y: y, d_out=4, **attributes):
        self.linear, self.after = nn.Linear(4, d_out), after
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x, *others):
        return self.after(self, self.linear(x), *others)


class Masked(nn.Module):
    """A mean over the ids that are not 0, by a mask that is kept under ``key(row)``."""

    def __init__(self, key=tuple):
        self.table, self.key, self._masks = nn.Embedding(5, 4), key, {}

    def forward(self, ids):
        rows = mt.asarray(ids).numpy().tolist()
        mask = np.array([self._masks.setdefault(self.key(row), np.array(row) != 0) for row in rows])[..., None]
        return mt.where(mask, self.table(ids), 0.0).sum(axis=1) / (mask.sum(axis=1) + 1)


def first_and_length(row):
    return row[0], len(row)


class Gathers(Layer):
    """Takes off the mean of what it has seen in training, kept in a plain array or a buffer."""

    def __init__(self, kept=np.asarray):
        super().__init__()
        self.mean = kept(np.zeros(4, "float32"))

    def forward(self, x):
        y = self.linear(x)
        if self.training:
            new = 0.9 * np.asarray(self.mean) + 0.1 * y.detach().numpy().mean(axis=(0, 1))
            if isinstance(self.mean, np.ndarray):
                self.mean = new
            else:
                self.mean.assign(new.astype("float32"))
        return y - mt.asarray(self.mean)


def buffer(array):
    return nn.Buffer(mt.asarray(array))


def by_length(self, y):
    return mt.cumsum(y, axis=1) / y.shape[1]


def so_far(self, y):
    return mt.cumsum(y, axis=1) / mt.arange(1, y.shape[1] + 1)[:, None].astype("float32")


def from_the_end(self, y):
    return y + 0.1 * mt.arange(y.shape[1])[::-1][:, None].astype("float32")


def the_last_is_other(self, y):
    return mt.concat([y[:, :-1], -y[:, -1:]], axis=1)


def with_mask(self, y, mask):
    """Attention under a mask (T, T) that is an input."""
    return F.softmax(mt.where(mask, y @ y.swapaxes(1, 2), -np.inf)) @ y


def keys_for_values(self, y):
    q, k, _ = mt.split(y, 3, axis=-1)
    return F.softmax(q @ k.swapaxes(1, 2)) @ k


def with_values(self, y):
    q, k, v = mt.split(y, 3, axis=-1)
    return F.softmax(q @ k.swapaxes(1, 2)) @ v


def half_of_relu(self, y):
    return F.relu(y)[..., : y.shape[-1] // 2]


def positions(self, y):
    return y + self.places[: y.shape[1]]


def drop(self, y):
    return F.dropout(y, self.rate, self.training)


def drop_always(self, y):
    return F.dropout(y, self.rate, True)


def drop_by_hand(self, y):
    if self.training and self.drop_prob:
        y = y * (mt.random.uniform(y.shape[:1] + (1, 1)) >= self.drop_prob) / (1.0 - self.drop_prob)
    return y


def power(self, y):
    return mt.abs(y) ** self.p


def noise(self, y):
    return y + mt.random.normal(y.shape) if self.training else y


def draws_and_forgets(self, y):
    mt.random.normal(y.shape)
    return y


def sorted_by_length(self, y, lengths):
    order = np.argsort(-mt.asarray(lengths).numpy(), kind="stable")
    mask = np.arange(y.shape[1]) < mt.asarray(lengths).numpy()[:, None]
    y = mt.where(mask[..., None], y, 0.0).sum(axis=1)[order]
    return y[np.argsort(order)] if self.undone else y


class Averaging(Layer):
    """A loss that takes off a running mean, which each call moves."""

    def __init__(self, moves=True):
        super().__init__(d_out=3)
        self.mean, self.moves = nn.Buffer(mt.zeros(4)), moves

    def loss(self, x, targets, divide_by=None):
        y = self.linear(x - self.mean)
        if self.moves:
            self.mean.assign(0.9 * self.mean + 0.1 * x.detach().mean(axis=0))
        return F.cross_entropy(y, targets, reduction="sum") / (len(x) if divide_by is None else divide_by)


class Beam(wrong.Beam):
    """A beam that prunes, k live ones or fewer."""

    def one(self, prompt, limit, alpha, k):
        live, complete = [(0.0, [])], []
        for _ in range(limit):
            loses = self.flaw == "complete ones compete"
            grown = sorted(self.grown(prompt, live) + (complete if loses else []), key=lambda one: -self.worth(*one))[
                :k
            ]
            new = [one for one in grown if one[1][-1] == 1]
            complete = new if loses else complete + new
            live = [one for one in grown if one[1][-1] != 1]
            if not live or self.flaw == "ends with k" and len(complete) >= k:
                break
        best = max(complete or live, key=lambda one: self.value(one[0], len(one[1]), alpha))[1]
        return best if best[-1] != 1 else best[:-1]

    def worth(self, total, words):
        return total if self.flaw != "the first alone" else total - 9.0 * words[0]

    def __call__(self, prompts, max_new_tokens, beam_size, length_penalty):
        k = 125 if self.flaw == "always wide" else beam_size
        return [self.one(list(map(int, row)), max_new_tokens, length_penalty, k) for row in prompts.numpy()]


CAUSAL = np.tril(np.ones((5, 5), bool))
STATE = "in a copy of the model that has seen no other.*a cache whose key leaves out"

# (invariant, what makes the model, inputs, options, what is said or, if it holds, noted)
RIGHT = [
    ("no_look_ahead", lambda: Layer(so_far), X, {}, ""),
    ("no_look_ahead", lambda: Layer(by_length), X, dict(prefixes=False), ""),
    ("no_look_ahead", lambda: Layer(with_mask), (X, CAUSAL), {}, ""),
    ("no_look_ahead", lambda: nn.GRU(4, 3), {0: X, "lengths": LENGTHS}, {}, ""),
    ("no_look_ahead", lambda: Layer(), X, dict(call=lambda m, x: m(x) + np.zeros((5, 1))), "lengths 1, 2, 3, 4 were not compared"),
    ("rows_independent", Masked, IDS, dict(gradient=False), ""),
    ("rows_in_any_order", Masked, IDS, {}, ""),
    ("evaluation_mode", Masked, IDS, {}, ""),
    ("rows_in_any_order", lambda: Layer(sorted_by_length, undone=True), (X, LENGTHS), {}, ""),
    ("save_and_load", lambda: Gathers(buffer), X, {}, ""),
    ("evaluation_mode", lambda: Layer(drop, rate=0.3), X, {}, ""),
    ("evaluation_mode", lambda: Layer(drop_by_hand, drop_prob=0.5), X, {}, ""),
    ("evaluation_mode", lambda: Layer(power, p=0.5), X, {}, ""),
    ("evaluation_mode", lambda: Layer(draws_and_forgets), X, {}, "drawn in evaluation, and did not change the output in 64"),
    ("gradient_reaches_parameters", lambda: Layer(with_values, d_out=12), X, {}, ""),
    ("gradient_reaches_parameters", lambda: Layer(lambda self, y: F.relu(y), d_out=256), Floats((2, 4)), {}, ""),
    ("gradient_reaches_parameters", lambda: Layer(positions, places=nn.Parameter(mt.ones((9, 4)))), X, {},
     r"no gradient reached places\[5:9\]; other inputs reach"),
    ("gradient_reaches_parameters", lambda: Layer(keys_for_values, d_out=12), X, dict(without=["linear.*"]), ""),
    ("gradient_accumulation", lambda: Averaging(moves=False), (Floats((6, 4)), np.array([0, 1, 2] * 2)), {}, ""),
    ("beam_search", "", PROMPTS, {}, ""), ("beam_search", "ends with k", PROMPTS, {}, ""),
    ("beam_search", "complete ones compete", PROMPTS, dict(widths=()), ""),
    ("beam_search", "always wide", PROMPTS, {}, "beam_size may have no say"),
]  # fmt: skip

WRONG = [
    ("no_look_ahead", lambda: Layer(by_length), X, {}, "up to position 3 are other ones if the inputs end there.*divided by T"),
    ("no_look_ahead", lambda: Layer(from_the_end), X, {}, "it is their number that is looked at.*counted from the end"),
    ("no_look_ahead", lambda: Layer(the_last_is_other), X, {}, "if the inputs end there.*at the last position alone"),
    ("rows_independent", lambda: Masked(first_and_length), IDS, dict(gradient=False), STATE),
    ("rows_in_any_order", lambda: Masked(first_and_length), IDS, {}, STATE),
    ("evaluation_mode", lambda: Masked(first_and_length), IDS, {}, "after other inputs than in a copy that sees it first"),
    ("rows_in_any_order", lambda: Layer(sorted_by_length, undone=False), (X, LENGTHS), {}, "a sort, by length, say, that is not"),
    ("save_and_load", Gathers, X, {}, "gives another output.*a number changed in training"),
    ("save_and_load", Gathers, X, dict(make=Gathers), "gives another output.*a number changed in training"),
    ("evaluation_mode", lambda: Layer(noise), X, {}, "written by hand: random numbers are drawn in training"),
    ("gradient_reaches_parameters", lambda: Layer(keys_for_values, d_out=12), X, {},
     r"no gradient reaches linear\.weight\[8:12\], linear\.bias\[8:12\].*a part of a split"),
    ("gradient_reaches_parameters", lambda: Layer(lambda self, y: y[..., :4], d_out=8), Floats((3, 4)), {}, r"weight\[4:8\]"),
    ("gradient_reaches_parameters", lambda: Layer(half_of_relu, d_out=8), X, {}, r"weight\[4:8\]"),
    ("gradient_accumulation", Averaging, (Floats((6, 4)), np.array([0, 1, 2] * 2)), {},
     r"the parts have \[2, 4\] rows\n.*keeps state, such as a running mean"),
    ("data_parallel", Averaging, (Floats((6, 4)), np.array([0, 1, 2] * 2)), {}, "keeps state, such as a running mean"),
    ("beam_search", "complete ones compete", PROMPTS, {}, "a plain beam of 4 finds.*compete with unfinished ones and are lost"),
    ("beam_search", "the first alone", PROMPTS, {}, "a plain beam of . finds.*something else than the sum"),
]  # fmt: skip


def check(invariant, make, inputs, options):
    mt.random.seed(0)
    if invariant == "beam_search":
        model = wrong.tiny_gpt()
        return invariants.beam_search(model, inputs, generate=Beam(model, make), **options)
    return getattr(invariants, invariant)(make(), inputs, **options)


def test_right_models_pass():
    for invariant, make, inputs, options, note in RIGHT:
        held = check(invariant, make, inputs, options)
        assert held.invariant == invariant and held.largest < 1e-5
        assert bool(held.notes) == bool(note) and re.search(note, "; ".join(held.notes)), held


def test_planted_faults_are_told_in_words():
    for invariant, make, inputs, options, words in WRONG:
        with pytest.raises(AssertionError) as caught:
            check(invariant, make, inputs, options)
        assert re.search(words, str(caught.value), re.DOTALL), f"{words}\n\nis not in\n\n{caught.value}"


def test_dropout_in_evaluation_is_found_even_if_it_drops_nothing():
    lucky = 0
    for seed in range(8):
        mt.random.seed(seed)
        with pytest.raises(AssertionError, match="dropout acts in evaluation|another output") as caught:
            invariants.evaluation_mode(Layer(drop_always, rate=1e-3), Floats((2, 4)))
        lucky += "none where dropout is switched off" in str(caught.value)
    assert lucky > 4


def test_a_cache_that_an_earlier_check_has_filled_hides_nothing():
    mt.random.seed(0)
    with pytest.raises(AssertionError, match="3 of 5 invariants do not hold"):
        invariants.check_model(Masked(first_and_length), IDS)
