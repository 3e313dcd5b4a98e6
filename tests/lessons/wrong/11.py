import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("11.1", "your weights add up to 1 over the queries; they must over the keys")
def attention(query, key, value):
    return F.softmax(query @ key.mT / query.shape[-1] ** 0.5, axis=1) @ value


@wrong("11.1", "not divided by the root of K")
def attention(query, key, value):
    return F.softmax(query @ key.mT, axis=-1) @ value


@wrong("11.1", "divided by K; it is the root")
def attention(query, key, value):
    return F.softmax(query @ key.mT / query.shape[-1], axis=-1) @ value


@wrong("11.1", "the softmax is missing")
def attention(query, key, value):
    return query @ key.mT / query.shape[-1] ** 0.5 @ value


@wrong("11.1", "the number of keys")
def attention(query, key, value):
    return F.softmax(query @ key.mT / key.shape[1] ** 0.5, axis=-1) @ value


@wrong("11.1", "is a Tensor detached")
def attention(query, key, value):
    return F.softmax(query.detach() @ key.mT / query.shape[-1] ** 0.5, axis=-1) @ value


@wrong("11.2", "upside down")
def padding_mask(lengths, length):
    return np.arange(length) >= np.array(lengths)[:, None]


@wrong("11.2", "one too many")
def padding_mask(lengths, length):
    return np.arange(length) <= np.array(lengths)[:, None]


@wrong("11.2", "a mask is of booleans")
def padding_mask(lengths, length):
    return np.array([[1.0] * n + [0.0] * (length - n) for n in lengths])


@wrong("11.2", "the padding stands on the right")
def padding_mask(lengths, length):
    return np.arange(length)[::-1] < np.array(lengths)[:, None]


@wrong("11.2", "that is the last real word alone")
def padding_mask(lengths, length):
    return np.arange(length) == np.array(lengths)[:, None] - 1


@wrong("11.3", "the rest no longer adds up to 1")
def masked_weights(scores, mask):
    return F.softmax(scores, axis=-1) * mask[:, None, :]


@wrong("11.3", "exp(0) = 1")
def masked_weights(scores, mask):
    return F.softmax(mt.where(mask[:, None, :], scores, 0.0), axis=-1)


@wrong("11.3", "the mask is upside down")
def masked_weights(scores, mask):
    return F.softmax(mt.where(mask[:, None, :], -np.inf, scores), axis=-1)


@wrong("11.3", "put -inf there")
def masked_weights(scores, mask):
    return F.softmax(scores - 1e9 * ~mask[:, None, :], axis=-1)


@wrong("11.3", "the mask is not used")
def masked_weights(scores, mask):
    return F.softmax(scores, axis=-1)


@wrong("11.4", "the tanh is missing")
def additive_scores(query, key, W_q, W_k, v):
    return ((query @ W_q.mT)[:, :, None] + (key @ W_k.mT)[:, None]) @ v


@wrong("11.4", "here they are added")
def additive_scores(query, key, W_q, W_k, v):
    return mt.tanh((query @ W_q.mT)[:, :, None] * (key @ W_k.mT)[:, None]) @ v


@wrong("11.4", "queries and keys have changed places")
def additive_scores(query, key, W_q, W_k, v):
    return mt.tanh((query @ W_q.mT)[:, None] + (key @ W_k.mT)[:, :, None]) @ v


@wrong("11.4", "v is missing")
def additive_scores(query, key, W_q, W_k, v):
    return mt.tanh((query @ W_q.mT)[:, :, None] + (key @ W_k.mT)[:, None]).sum(axis=-1)


@wrong("11.5", "asked is the place for each written word")
def alignment(weights):
    return weights.argmax(axis=1)


@wrong("11.5", "asked is where they are")
def alignment(weights):
    return weights.max(axis=-1)


@wrong("11.5", "one for each row of the picture")
def alignment(weights):
    return weights.argmax()


@wrong("11.5", "the mean place")
def alignment(weights):
    return weights @ np.arange(weights.shape[-1])
