"""Small models, right ones and wrong ones, for the tests of ``minitensor.testing.invariants``.

Letters: B rows, T positions, D features, V vocabulary.
"""

import itertools

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.transformer import Transformer, TransformerConfig

D = 4


class Attention(nn.Module):
    """Causal attention of one head, (B, T, D) to (B, T, D), written by hand."""

    def __init__(self):
        self.qkv = nn.Linear(D, 3 * D)

    def mask(self, steps):
        return np.tril(np.ones((steps, steps), bool))

    def masked(self, scores, mask):
        return mt.where(mask, scores, -np.inf)

    def weights(self, scores):
        return F.softmax(scores, axis=-1)

    def forward(self, x):
        x = mt.asarray(x)
        q, k, v = mt.split(self.qkv(x), 3, axis=-1)
        scores = q @ k.swapaxes(1, 2)  # (B, T, T)
        return self.weights(self.masked(scores, self.mask(x.shape[1]))) @ v


class MaskOffByOne(Attention):
    def mask(self, steps):
        return np.tril(np.ones((steps, steps), bool), k=1)


class MaskTransposed(Attention):
    def mask(self, steps):
        return np.triu(np.ones((steps, steps), bool))


class SoftmaxOverQueries(Attention):
    def weights(self, scores):
        return F.softmax(scores, axis=-2)


class FiniteMask(Attention):
    def masked(self, scores, mask):
        return scores - 12.0 * ~mask


class MaskedAfterwards(Attention):
    """Weights times 0: right in value, but 0 * NaN is NaN."""

    def masked(self, scores, mask):
        return mt.where(mask, scores, -np.inf) * 1.0


class PerPosition(nn.Module):
    """A linear map and a function of the whole (B, T, D), which ``function`` is."""

    def __init__(self, function=lambda x: x):
        self.linear, self.function = nn.Linear(D, D), function

    def forward(self, x):
        return self.function(self.linear(mt.asarray(x)))


def centred(*axes):
    return PerPosition(lambda x: x - x.mean(axis=axes, keepdims=True))


def slope_alone(axis):
    """Adds what is next along an axis minus itself: a value of 0 with a slope of 1."""

    def function(x):
        following = mt.roll(x, -1, axis=axis)
        return x + (following - following.detach())

    return PerPosition(function)


class TwoWays(nn.Module):
    def __init__(self):
        self.table, self.layers = nn.Embedding(9, D), nn.GRU(D, 3, bidirectional=True)

    def forward(self, ids, lengths=None):
        return self.layers(self.table(mt.asarray(ids)), lengths=lengths)[0]


# --- padding --------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """A linear map, masked attention over the positions, and their mean: (B, T, D) to (B, D)."""

    masked_scores = masked_mean = True
    divide_by_real = True

    def __init__(self):
        self.linear, self.score = nn.Linear(D, D), nn.Linear(D, 1)

    def hide(self, scores, mask):
        return mt.where(mask, scores, -np.inf) if self.masked_scores else scores

    def forward(self, x, mask):
        x, mask = self.linear(mt.asarray(x)), mt.asarray(mask)
        weights = F.softmax(self.hide(self.score(x)[..., 0], mask), axis=-1)[:, :, None]
        kept = mt.where(mask[:, :, None], x, 0.0) if self.masked_mean else x
        count = mask.sum(axis=1)[:, None].astype(x.dtype) if self.divide_by_real else float(x.shape[1])
        return (weights * x).sum(axis=1) + kept.sum(axis=1) / count


class MeanWithPadding(Pooled):
    masked_mean = False


class MeanByAll(Pooled):
    divide_by_real = False


class UnmaskedScores(Pooled):
    masked_scores = False


class SubtractedMask(Pooled):
    def hide(self, scores, mask):
        return scores - mt.where(mask, 0.0, 13.0)


class LossOfPadding(nn.Module):
    """A tagger whose loss counts padding among its targets, or not."""

    def __init__(self, ignored):
        self.table, self.output, self.ignored = nn.Embedding(9, D), nn.Linear(D, 9), ignored

    def forward(self, ids, mask):
        ids = mt.asarray(ids)
        targets = mt.where(mask, ids, 0)
        return F.cross_entropy(self.output(self.table(ids)), targets, ignore_index=self.ignored)


# --- modes and files ------------------------------------------------------------------------------


class Dropped(nn.Module):
    """Dropout by hand after a linear map."""

    def __init__(self, p=0.5):
        self.linear, self.p = nn.Linear(D, D), p

    def forward(self, x):
        return self.drop(self.linear(mt.asarray(x)))

    def drop(self, x):
        return F.dropout(x, self.p, training=self.training)


class DropsAlways(Dropped):
    def drop(self, x):
        return F.dropout(x, self.p, training=True)


class ScalesInEvaluation(Dropped):
    def drop(self, x):
        return x if self.training else x * (1.0 - self.p)


class StatisticsOfTheBatch(Dropped):
    def drop(self, x):
        return x - x.mean(axis=0) if self.training else x


class Remembers(Dropped):
    calls = 0

    def drop(self, x):
        self.calls += 1
        return x * float(self.calls)


class RecordsAlways(Dropped):
    def drop(self, x):
        with mt.enable_grad():
            return x * self.linear.bias


class Buffered(nn.Module):
    """A parameter and a buffer."""

    def __init__(self):
        self.linear, self.scale = nn.Linear(D, D), nn.Buffer(mt.ones(D))

    def forward(self, x):
        return self.linear(mt.asarray(x)) * self.scale


class ForgetsItsBuffer(Buffered):
    def state_dict(self):
        return {key: value for key, value in super().state_dict().items() if key != "scale"}

    def load_state_dict(self, state, strict=True):
        return super().load_state_dict(state, strict=False)


class LoadsRounded(Buffered):
    def load_state_dict(self, state, strict=True):
        return super().load_state_dict({key: mt.asarray(v).astype("float16") for key, v in state.items()}, strict)


class LoadsSome(Buffered):
    def load_state_dict(self, state, strict=True):
        return super().load_state_dict({key: v for key, v in state.items() if key != "scale"}, strict=False)


class DrawnConstant(Buffered):
    def __init__(self):
        super().__init__()
        self.constant = mt.random.normal((D,))

    def forward(self, x):
        return super().forward(x) + self.constant


class Hidden(nn.Module):
    """A parameter in an attribute that is not state."""

    def __init__(self):
        self.linear = nn.Linear(D, D)
        self._bias = nn.Parameter(mt.ones(D))

    def forward(self, x):
        return self.linear(mt.asarray(x)) * self._bias


class HiddenLayer(nn.Module):
    """A layer in an attribute that is not state, and one that has no say."""

    def __init__(self, used=True):
        self.linear, self._last, self._teacher = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)
        self._used = used

    def forward(self, x):
        x = self.linear(mt.asarray(x))
        return self._last(x) if self._used else x


class TwoLayers(nn.Module):
    def __init__(self, between=lambda x: x):
        self.first, self.second, self.between = nn.Linear(D, D), nn.Linear(D, D), between

    def forward(self, x):
        return self.second(self.between(self.first(mt.asarray(x))))


# --- training -------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """The mean cross-entropy of the targets that are not -100."""

    def __init__(self):
        self.table, self.output = nn.Embedding(9, D), nn.Linear(D, 9)

    def forward(self, ids):
        return self.output(self.table(mt.asarray(ids)))

    def loss(self, ids, targets, divide_by=None):
        total = F.cross_entropy(self(ids), targets, ignore_index=-100, reduction="sum")
        return total / (max(int((mt.asarray(targets) != -100).sum()), 1) if divide_by is None else divide_by)


class AveragesEachPart(Tagger):
    def loss(self, ids, targets, divide_by=None):
        return super().loss(ids, targets)


class Penalised(Tagger):
    def loss(self, ids, targets, divide_by=None):
        return super().loss(ids, targets, divide_by) + 0.1 * (self.output.weight**2).sum()


class MixesRows(Tagger):
    def forward(self, ids):
        x = self.table(mt.asarray(ids))
        return self.output(x - x.mean(axis=0))


def sum_of_means(model, parts):
    for ids, targets in parts:
        model.loss(ids, targets).backward()


def mean_of_means(model, parts):
    for ids, targets in parts:
        (model.loss(ids, targets) / len(parts)).backward()


def divides_twice(model, parts):
    total = sum(int((targets != -100).sum()) for _, targets in parts)
    for ids, targets in parts:
        (model.loss(ids, targets, divide_by=total) / len(parts)).backward()


def forgets_between(model, parts):
    total = sum(int((targets != -100).sum()) for _, targets in parts)
    for ids, targets in parts:
        model.zero_grad()
        model.loss(ids, targets, divide_by=total).backward()


# --- decoding -------------------------------------------------------------------------------------


def tiny_gpt(kind=GPT):
    mt.random.seed(1)
    model = kind(GPTConfig(vocab_size=5, max_length=12, d_model=8, n_layers=1, n_heads=2, d_ff=8, stop_id=1))
    for parameter in model.parameters():  # far from uniform
        parameter.assign(parameter.detach() * 12.0)
    return model


class PositionsFromZero(GPT):
    def _advance(self, ids, state):
        x = self._embed(mt.asarray(ids), mt.arange(ids.shape[1])[None])
        return self.transformer(x, None, state.cache)[0]


class CacheInTheModel(GPT):
    def start(self, prompts):
        state = super().start(prompts)
        self._cache = vars(self).get("_cache", state.cache)
        state.cache = self._cache
        return state

    def step(self, ids, state):
        if state.cache.length >= 7:
            self._cache = None
        return super().step(ids, state)


class PaddingCounts(GPT):
    def _advance(self, ids, state):
        state.padding = state.padding * 0
        return super()._advance(ids, state)


class ReordersNothing(GPT):
    def start(self, prompts):
        state = super().start(prompts)
        state.cache.reorder = lambda rows: None
        return state


class FeedsPositionZero(Transformer):
    def step(self, ids, state):
        x = self._embed(mt.asarray(ids).reshape((-1, 1)), self.target_embedding, self.target_positions)
        y = self.decoder(x, None, memory_mask=state.keys, cache=state.cache)
        return F.log_softmax(self.output(y[:, -1]))


def tiny_transformer(kind=Transformer):
    sizes = dict(d_model=8, n_heads=2, d_ff=8, n_encoder_layers=1, n_decoder_layers=1)
    return kind(TransformerConfig(vocab_size=5, max_length=12, **sizes))


class Beam:
    """A beam search without a cache, of one way to go wrong or none."""

    def __init__(self, model, flaw=""):
        self.model, self.flaw = model, flaw

    def __call__(self, prompts, max_new_tokens, beam_size, length_penalty):
        return [self.one([int(token) for token in row], max_new_tokens, length_penalty) for row in prompts.numpy()]

    def value(self, total, length, alpha):
        if self.flaw == "no penalty":
            alpha = 0.0
        if self.flaw == "without the stop":
            length -= 1
        if self.flaw == "length alone":
            return total / length**alpha
        penalty = ((5 + length) / 6) ** alpha
        return total * penalty if self.flaw == "multiplied" else total / penalty

    def grown(self, prompt, live):
        """Every hypothesis ``(log P, words)`` with every token behind it."""
        logits = self.model(np.array([prompt + words for _, words in live])).numpy()[:, -1]
        following = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return [
            (total + following[i, token], [*words, token])
            for (i, (total, words)), token in itertools.product(enumerate(live), range(logits.shape[1]))
        ]

    def one(self, prompt, limit, alpha):
        live, complete = [(0.0, [])], []
        for _ in range(limit):
            grown = self.grown(prompt, live)
            if self.flaw == "greedy":
                grown = [max(grown)]
            complete += [one for one in grown if one[1][-1] == 1]
            live = [one for one in grown if one[1][-1] != 1]
            if self.flaw == "ends too early" and complete or not live:
                break
        if self.flaw == "unfinished wins" or not complete:
            complete = live
        best = max(complete, key=lambda one: self.value(one[0], len(one[1]), alpha))[1]
        return best if self.flaw == "keeps the stop" or best[-1] != 1 else best[:-1]


# --- sets -----------------------------------------------------------------------------------------


def adds_positions():
    return PerPosition(lambda x: x + mt.arange(x.shape[1])[:, None].astype("float32"))


def takes_the_first():
    return PerPosition(lambda x: x[:, 0] + x.sum(axis=1))


def weights_by_place():
    return PerPosition(lambda x: (x * mt.arange(x.shape[1])[:, None].astype("float32")).sum(axis=1))
