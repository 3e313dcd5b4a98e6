import numpy as np

from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("15.1", "counts as 2")
def attention_operations(batch, heads, queries, keys, features):
    return 2 * batch * heads * queries * keys * features


@wrong("15.1", "there are heads")
def attention_operations(batch, heads, queries, keys, features):
    return 4 * batch * queries * keys * features


@wrong("15.1", "not queries squared")
def attention_operations(batch, heads, queries, keys, features):
    return 4 * batch * heads * queries**2 * features


@wrong("15.1", "there are two products")
def attention_operations(batch, heads, queries, keys, features):
    return batch * heads * queries * keys * features


@wrong("15.2", "the sum so far is not corrected")
def one_pass(blocks):
    top, total = -np.inf, 0.0
    for block in blocks:
        top = max(top, block.max())
        total += np.exp(block - top).sum()
    return top, total


@wrong("15.2", "the correction is upside down")
def one_pass(blocks):
    top, total = None, 0.0
    for block in blocks:
        new_top = block.max() if top is None else max(top, block.max())
        total = total * np.exp(new_top - (new_top if top is None else top)) + np.exp(block - new_top).sum()
        top = new_top
    return top, total


@wrong("15.2", "blocks can be read only once")
def one_pass(blocks):
    top = max(block.max() for block in blocks)
    return top, sum(np.exp(block - top).sum() for block in blocks)


@wrong("15.2", "not shifted")
def one_pass(blocks):
    top, total = -np.inf, 0.0
    for block in blocks:
        top = max(top, block.max())
        total += np.exp(block).sum()
    return top, total


@wrong("15.2", "shift by the maximum before exp")
def one_pass(blocks):
    top, total = -np.inf, 0.0
    for block in blocks:
        top = max(top, block.max())
        total += np.exp(block).sum()
    return top, total / np.exp(top)


@wrong("15.3", "does not look at itself")
def cached_step(query, key, value, cache):
    keys, values = cache
    e = np.exp(keys @ query / len(query) ** 0.5)
    answer = e @ values / e.sum() if len(e) else value
    return answer, (np.vstack([keys, key]), np.vstack([values, value]))


@wrong("15.3", "the newest word is in front")
def cached_step(query, key, value, cache):
    keys, values = np.vstack([key, cache[0]]), np.vstack([value, cache[1]])
    e = np.exp(keys @ query / len(query) ** 0.5)
    return e @ values / e.sum(), (keys, values)


@wrong("15.3", "not divided by the root of K")
def cached_step(query, key, value, cache):
    keys, values = np.vstack([cache[0], key]), np.vstack([cache[1], value])
    e = np.exp(keys @ query)
    return e @ values / e.sum(), (keys, values)


@wrong("15.3", "the newest word is not put in")
def cached_step(query, key, value, cache):
    keys, values = np.vstack([cache[0], key]), np.vstack([cache[1], value])
    e = np.exp(keys @ query / len(query) ** 0.5)
    return e @ values / e.sum(), cache


@wrong("15.3", "it looks at itself alone")
def cached_step(query, key, value, cache):
    return value, (np.vstack([cache[0], key]), np.vstack([cache[1], value]))


@wrong("15.3", "the old cache was changed")
def cached_step(query, key, value, cache):
    keys, values = np.vstack([cache[0], key]), np.vstack([cache[1], value])
    e = np.exp(keys @ query / len(query) ** 0.5)
    if cache[0].flags.writeable:
        cache[0][:] = key
    return e @ values / e.sum(), (keys, values)


@wrong("15.4", "the weight is missing")
def layer_norm_backward(g, x_hat, rstd, weight):
    return rstd * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))


@wrong("15.4", "the variance depends on x too")
def layer_norm_backward(g, x_hat, rstd, weight):
    h = g * weight
    return rstd * (h - h.mean(axis=-1, keepdims=True))


@wrong("15.4", "the mean of h is missing")
def layer_norm_backward(g, x_hat, rstd, weight):
    h = g * weight
    return rstd * (h - x_hat * (h * x_hat).mean(axis=-1, keepdims=True))


@wrong("15.4", "each row has its own")
def layer_norm_backward(g, x_hat, rstd, weight):
    h = g * weight
    return rstd * (h - h.mean() - x_hat * (h * x_hat).mean())


@wrong("15.4", "takes them as constants")
def layer_norm_backward(g, x_hat, rstd, weight):
    return rstd * g * weight
