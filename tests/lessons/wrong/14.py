import numpy as np

from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@wrong("14.1", "cut before the softmax")
def next_word_probabilities(logits, temperature, k):
    p = softmax(logits / temperature)
    return np.where(p >= np.sort(p)[-k], p, 0.0)


@wrong("14.1", "it must divide")
def next_word_probabilities(logits, temperature, k):
    return softmax(np.where(logits >= np.sort(logits)[-k], logits * temperature, -np.inf))


@wrong("14.1", "exp(0) = 1")
def next_word_probabilities(logits, temperature, k):
    return softmax(np.where(logits >= np.sort(logits)[-k], logits / temperature, 0.0))


@wrong("14.1", "keep the k largest")
def next_word_probabilities(logits, temperature, k):
    return softmax(np.where(logits <= np.sort(logits)[k - 1], logits / temperature, -np.inf))


@wrong("14.1", "exp overflows")
def next_word_probabilities(logits, temperature, k):
    e = np.where(logits >= np.sort(logits)[-k], np.exp(logits / temperature), 0.0)
    return e / e.sum()


@wrong("14.2", "the model would only copy them")
def hide(ids, chosen, what, random_words, mask_id):
    return np.where(chosen, np.choose(what, [np.full_like(ids, mask_id), random_words, ids]), ids), ids


@wrong("14.2", "all chosen words are masked")
def hide(ids, chosen, what, random_words, mask_id):
    return np.where(chosen, mask_id, ids), np.where(chosen, ids, -100)


@wrong("14.2", "asked for are the words that were there")
def hide(ids, chosen, what, random_words, mask_id):
    shown = np.where(chosen, np.choose(what, [np.full_like(ids, mask_id), random_words, ids]), ids)
    return shown, np.where(chosen, shown, -100)


@wrong("14.2", "only masked words are asked for")
def hide(ids, chosen, what, random_words, mask_id):
    shown = np.where(chosen, np.choose(what, [np.full_like(ids, mask_id), random_words, ids]), ids)
    return shown, np.where(shown == mask_id, ids, -100)


@wrong("14.2", "it is chosen, only not hidden")
def hide(ids, chosen, what, random_words, mask_id):
    shown = np.where(chosen, np.choose(what, [np.full_like(ids, mask_id), random_words, ids]), ids)
    return shown, np.where(shown != ids, ids, -100)


@wrong("14.3", "all spans have the same sentinel")
def corrupt(ids, spans, sentinels):
    source, target, place = [], [], 0
    for start, end in spans:
        source += [*ids[place:start], sentinels[0]]
        target += [sentinels[0], *ids[start:end]]
        place = end
    return source + ids[place:], target + sentinels[:1]


@wrong("14.3", "one stands for a whole span")
def corrupt(ids, spans, sentinels):
    source, target = list(ids), []
    for (start, end), sentinel in zip(spans, sentinels):
        source[start:end] = [sentinel] * (end - start)
        target += [sentinel, *ids[start:end]]
    return source, [*target, sentinels[len(spans)]]


@wrong("14.3", "the last sentinel is missing")
def corrupt(ids, spans, sentinels):
    source, target, place = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        source += [*ids[place:start], sentinel]
        target += [sentinel, *ids[start:end]]
        place = end
    return source + ids[place:], target


@wrong("14.3", "what stands behind the last span is lost")
def corrupt(ids, spans, sentinels):
    source, target, place = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        source += [*ids[place:start], sentinel]
        target += [sentinel, *ids[start:end]]
        place = end
    return source, [*target, sentinels[len(spans)]]


@wrong("14.3", "the target is what was cut out")
def corrupt(ids, spans, sentinels):
    source, rest, place = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        source += [*ids[place:start], sentinel]
        rest += ids[place:start]
        place = end
    return source + ids[place:], rest + ids[place:]


@wrong("14.4", "this is query minus key")
def distance_bias(table, length):
    m, steps = len(table) // 2, np.arange(length)
    return table[np.clip(steps[:, None] - steps, -m, m) + m]


@wrong("14.4", "the distance has a sign")
def distance_bias(table, length):
    m, steps = len(table) // 2, np.arange(length)
    return table[np.minimum(abs(steps - steps[:, None]), m) + m]


@wrong("14.4", "distance 0 is in the middle")
def distance_bias(table, length):
    m, steps = len(table) // 2, np.arange(length)
    return table[np.clip(steps - steps[:, None], -m, m)]


@wrong("14.4", "IndexError")
def distance_bias(table, length):
    steps = np.arange(length)
    return table[steps - steps[:, None] + len(table) // 2]


@wrong("14.5", "these are no squares")
def patches(image, size):
    return image.reshape(-1, image.shape[0] * size * size)


@wrong("14.5", "the patches go down first")
def patches(image, size):
    C, H, W = image.shape
    cut = image.reshape(C, H // size, size, W // size, size)
    return cut.transpose(3, 1, 0, 2, 4).reshape(-1, C * size * size)


@wrong("14.5", "the first channel comes first")
def patches(image, size):
    C, H, W = image.shape
    cut = image.reshape(C, H // size, size, W // size, size)
    return cut.transpose(1, 3, 2, 4, 0).reshape(-1, C * size * size)


@wrong("14.5", "a patch has all channels of one place")
def patches(image, size):
    C, H, W = image.shape
    cut = image.reshape(C, H // size, size, W // size, size).swapaxes(2, 3)
    return cut.reshape(-1, C * size * size)
