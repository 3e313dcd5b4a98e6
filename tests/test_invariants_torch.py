"""``minitensor.testing.invariants`` on modules of PyTorch."""

import re

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import invariants
from minitensor.testing.invariants import Floats, Ids

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
X = Floats((3, 5, 4))
MASK = np.arange(5) < np.array([5, 2, 3])[:, None]
TARGETS = np.array([[1, 2, 3], [6, -100, -100], [7, 8, 1], [1, 1, -100]])


class Decoder(torch.nn.Module):
    """A causal Transformer on ids; its mask lets ``ahead`` positions more be seen."""

    def __init__(self, ahead=0, dropout=0.1, detached=False):
        super().__init__()
        self.ahead, self.detached = ahead, detached
        self.table = torch.nn.Embedding(9, 4)
        self.layer = torch.nn.TransformerEncoderLayer(4, 2, 8, dropout, batch_first=True)
        self.output = torch.nn.Linear(4, 9)

    def forward(self, ids):
        hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1 + self.ahead)
        x = self.layer(self.table(ids), src_mask=hidden)
        return self.output(x.detach() if self.detached else x)

    def loss(self, ids, targets, divide_by=None):
        total = torch.nn.functional.cross_entropy(
            self(ids).transpose(1, 2), targets, ignore_index=-100, reduction="sum"
        )
        return total / (max(int((targets != -100).sum()), 1) if divide_by is None else divide_by)


class Averages(Decoder):
    def loss(self, ids, targets, divide_by=None):
        return super().loss(ids, targets)


class Normed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x[:, 0]))


class Bare(torch.nn.Module):
    """A constant that is drawn and not saved, or a weight that is no parameter."""

    def __init__(self, trained=False):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.constant = torch.randn(4, requires_grad=trained)

    def forward(self, x):
        return self.linear(x) * self.constant


class Listed(torch.nn.Module):
    """A layer in a list, where PyTorch does not look."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.layers = [self.first, torch.nn.Linear(4, 4)]

    def forward(self, x):
        return self.layers[1](self.first(x))


class Cached(torch.nn.Module):
    """A GRU that goes on from its state, or from zeros in every step."""

    def __init__(self, forgets=False):
        super().__init__()
        self.table, self.cells, self.output = (
            torch.nn.Embedding(9, 4),
            torch.nn.GRU(4, 4, batch_first=True),
            torch.nn.Linear(4, 9),
        )
        self.forgets = forgets

    def forward(self, ids):
        return self.output(self.cells(self.table(ids))[0])

    def start(self, prompts):
        prefix = [prompt[:-1] for prompt in prompts]
        state = torch.zeros(1, len(prefix), 4)
        for row, ids in enumerate(prefix):
            if len(ids):
                state[:, row] = self.cells(self.table(torch.as_tensor(ids))[None])[1][:, 0]
        return state

    def step(self, ids, state):
        y, new = self.cells(self.table(ids)[:, None], state)
        return self.output(y[:, 0]), torch.zeros_like(new) if self.forgets else new


class Called(torch.nn.Module):
    """A linear map, and what ``after(self, y)`` makes of it; ``rate`` is nothing but a number."""

    def __init__(self, after, d_out=4, rate=0.3):
        super().__init__()
        self.linear, self.after, self.rate = torch.nn.Linear(4, d_out), after, rate
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x):
        return self.after(self, self.linear(x))


def attention_with_dropout(self, y):
    q, k, v = y.chunk(3, -1)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=self.rate if self.training else 0.0)


def channels(self, y):
    y = torch.nn.functional.dropout1d(torch.alpha_dropout(y, self.rate, self.training), self.rate, self.training)
    return torch.dropout_(y, p=self.rate, train=self.training)


def noise_of(self, y):
    return y + torch.randn_like(y) if self.training else y


def takes_off_a_mean(self, y):
    if self.training:
        self.mean.mul_(0.9).add_(0.1 * y.detach().mean((0, 1)))
    return y - self.mean


def keys_for_values(self, y):
    q, k, _ = y.chunk(3, -1)
    return torch.softmax(q @ k.mT, -1) @ k


def encoder():
    return torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)


def masked(model, x, mask):
    return model(x, src_key_padding_mask=~mask)


def take(state, rows):
    return state[:, rows]


TAGGED = (Ids(9, (4, 3)), TARGETS)
RIGHT = [
    ("no_look_ahead", Decoder, Ids(9, (3, 5)), {}),
    ("padding_ignored", encoder, (X, MASK), dict(padding=1, call=masked)),
    ("rows_independent", Normed, X, {}), ("rows_independent", Decoder, Ids(9, (3, 5)), {}),
    ("rows_in_any_order", Decoder, Ids(9, (3, 5)), {}), ("evaluation_mode", Decoder, Ids(9, (3, 5)), {}),
    ("evaluation_mode", Normed, X, dict(training=False)), ("save_and_load", Decoder, Ids(9, (3, 5)), dict(make=Decoder)),
    ("save_and_load", Normed, X, {}), ("gradient_reaches_parameters", Decoder, Ids(9, (3, 5)), {}),
    ("gradient_accumulation", Decoder, TAGGED, {}), ("data_parallel", Decoder, TAGGED, {}),
    ("cached_decoding", Cached, Ids(9, (3, 5)), dict(reorder=take)),
    ("permutation", encoder, X, {}),
    ("evaluation_mode", lambda: Called(attention_with_dropout, 12), X, {}), ("evaluation_mode", lambda: Called(channels), X, {}),
    ("evaluation_mode", lambda: torch.nn.LSTM(4, 4, 2, batch_first=True, dropout=0.5), X, {}),
    ("evaluation_mode", lambda: torch.nn.MultiheadAttention(4, 2, 0.5, batch_first=True), (X, X, X), {}),
]  # fmt: skip
WRONG = [
    ("no_look_ahead", lambda: Decoder(ahead=1), Ids(9, (3, 5)), {}, "position 0 changes with the input at position 1.*off by 1"),
    ("padding_ignored", encoder, (X, MASK), dict(padding=1, call=lambda model, x, mask: model(x)), "padding of input 0 change"),
    ("rows_independent", lambda: torch.nn.TransformerEncoderLayer(4, 2, 8), X, {}, "row 0 changes with the rows beside it"),
    ("rows_in_any_order", lambda: torch.nn.GRU(4, 3), X, {}, "a recurrence goes over them"),
    ("evaluation_mode", Normed, X, {}, "training with every dropout 0 gives another output.*batch norm"),
    ("evaluation_mode", lambda: Called(lambda self, y: torch.dropout(y, 1e-3, True)), X, {}, "none where dropout is switched off"),
    ("evaluation_mode", lambda: Called(noise_of), X, {}, "written by hand: random numbers are drawn in training"),
    ("save_and_load", lambda: Called(takes_off_a_mean), X, {}, "a number changed in training"),
    ("gradient_reaches_parameters", lambda: Called(keys_for_values, 12), X, {}, r"linear\.weight\[8:12\], linear\.bias\[8:12\]"),
    ("save_and_load", Bare, X, dict(make=Bare), "a plain tensor or array drawn"),
    ("gradient_reaches_parameters", lambda: Decoder(detached=True), Ids(9, (3, 5)), {}, "no gradient reaches table.weight, layer"),
    ("gradient_reaches_parameters", lambda: Bare(trained=True), X, {}, "constant is to be trained and is no parameter"),
    ("gradient_reaches_parameters", Listed, X, {}, r"layers\.1\.bias, layers\.1\.weight is to be.*nn\.ModuleList"),
    ("gradient_accumulation", Averages, TAGGED, {}, "the means are added up"),
    ("data_parallel", Decoder, TAGGED, dict(reduce=lambda gradients, counts: gradients[-1]), "the last of the ranks alone"),
    ("cached_decoding", lambda: Cached(forgets=True), Ids(9, (3, 5)), dict(reorder=take), "after token 2|after token 1"),
    ("permutation", lambda: torch.nn.GRU(4, 3, batch_first=True), X, {}, "a recurrence goes through the elements"),
]  # fmt: skip


def test_right_modules_pass_and_are_left_as_they_were():
    for invariant, make, inputs, options in RIGHT:
        torch.manual_seed(0)
        model = make()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        state = torch.random.get_rng_state()
        held = getattr(invariants, invariant)(model, inputs, **options)
        assert held.invariant == invariant and held.largest < 1e-5
        assert model.training and torch.equal(state, torch.random.get_rng_state())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())


def test_planted_faults_are_told_in_words():
    for invariant, make, inputs, options, words in WRONG:
        torch.manual_seed(0)
        with pytest.raises(AssertionError) as caught:
            getattr(invariants, invariant)(make(), inputs, **options)
        assert re.search(words, str(caught.value), re.DOTALL), f"{words}\n\nis not in\n\n{caught.value}"


def test_both_libraries_are_told_the_same():
    for make in (
        lambda: torch.nn.GRU(4, 3, bidirectional=True, batch_first=True),
        lambda: mt.nn.GRU(4, 3, bidirectional=True),
    ):
        with pytest.raises(
            AssertionError, match="no_look_ahead does not hold for GRU: the output at position 0 changes with"
        ):
            invariants.no_look_ahead(make(), X)


def test_all_that_apply():
    torch.manual_seed(0)
    held = invariants.check_model(Decoder(), Ids(9, (3, 5)), causal=True, loss_inputs=TAGGED, make=Decoder)
    assert len(held) == 8
