import numpy as np

import minitensor as mt
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("7.1", "not scaled at all")
def initial_weight(rng, n_in, n_out):
    return rng.standard_normal((n_in, n_out))


@wrong("7.1", "the root of n_in")
def initial_weight(rng, n_in, n_out):
    return rng.standard_normal((n_in, n_out)) / n_in


@wrong("7.1", "all units of the layer learn the same")
def initial_weight(rng, n_in, n_out):
    return np.full((n_in, n_out), rng.standard_normal() / np.sqrt(n_in))


@wrong("7.1", "it should have the shape")
def initial_weight(rng, n_in, n_out):
    return rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)


@wrong("7.1", "n_in products are added up")
def initial_weight(rng, n_in, n_out):
    return rng.standard_normal((n_in, n_out)) / np.sqrt(n_out)


@wrong("7.1", "not those from 0 to 1")
def initial_weight(rng, n_in, n_out):
    return rng.random((n_in, n_out)) / np.sqrt(n_in)


@wrong("7.1", "draw from rng")
def initial_weight(rng, n_in, n_out):
    return np.random.default_rng(0).standard_normal((n_in, n_out)) / np.sqrt(n_in)


@wrong("7.2", "use mt.logsumexp")
def cross_entropy(logits, labels):
    e = mt.exp(logits)
    p = e / e.sum(axis=1, keepdims=True)
    return -mt.log(p[np.arange(len(labels)), labels]).mean()


@wrong("7.2", "along the wrong axis")
def cross_entropy(logits, labels):
    log_p = logits - mt.logsumexp(logits, axis=0, keepdims=True)
    return -log_p[np.arange(len(labels)), labels].mean()


@wrong("7.2", "divide by the number of rows")
def cross_entropy(logits, labels):
    log_p = logits - mt.logsumexp(logits, axis=1, keepdims=True)
    return -log_p[np.arange(len(labels)), labels].sum()


@wrong("7.2", "pick whole columns")
def cross_entropy(logits, labels):
    log_p = logits - mt.logsumexp(logits, axis=1, keepdims=True)
    return -log_p[:, labels].mean()


@wrong("7.2", "the sign is turned")
def cross_entropy(logits, labels):
    log_p = logits - mt.logsumexp(logits, axis=1, keepdims=True)
    return log_p[np.arange(len(labels)), labels].mean()


@wrong("7.3", "the bias correction is missing")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * m / (np.sqrt(v) + eps), m, v


@wrong("7.3", "eps stands inside of the root")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * m / (1 - a**t) / np.sqrt(v / (1 - b**t) + eps), m, v


@wrong("7.3", "return m itself")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    m, v = m / (1 - a**t), v / (1 - b**t)
    return p - lr * m / (np.sqrt(v) + eps), m, v


@wrong("7.3", "the square of g is missing")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g
    return p - lr * m / (1 - a**t) / (np.sqrt(np.abs(v) / (1 - b**t)) + eps), m, v


@wrong("7.3", "changed places")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = (1 - a) * m + a * g, (1 - b) * v + b * g * g
    return p - lr * m / (1 - a**t) / (np.sqrt(v / (1 - b**t)) + eps), m, v


@wrong("7.3", "beside mt.optim.Adam")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * m / (1 - a) / (np.sqrt(v / (1 - b)) + eps), m, v


@wrong("7.3", "before v is corrected, the paper's other form")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * np.sqrt(1 - b**t) / (1 - a**t) * m / (np.sqrt(v) + eps), m, v


@wrong("7.3", "eps is not used")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * m / (1 - a**t) / np.sqrt(v / (1 - b**t)), m, v


@wrong("7.3", "a number of your own")
def adam_step(p, g, m, v, t, lr=0.001, a=0.9, b=0.999, eps=1e-8):
    m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
    return p - lr * m / (1 - a**t) / (np.sqrt(v / (1 - b**t)) + 1e-8), m, v
