"""Lesson 13: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same


@exercise("13.1", "Not too sure: label smoothing", gives="Tensor")
def smoothed_loss(solution):
    """Beside the formulas of the typical mistakes; without smoothing it is the plain loss."""
    logits, targets, s, V = 2 * frozen(4, 5), np.array([0, 3, 3, 1]), 0.2, 5
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    log_p = np.log(p)
    hot = np.eye(V)[targets]
    picked = (log_p * hot).sum(axis=-1)
    right = -((1 - s) * picked + s * log_p.mean(axis=-1))
    everybody = log_p.sum(axis=-1)
    smoothed_model = np.log((1 - s) * (p * hot).sum(axis=-1) + s / V)
    same(
        solution(mt.tensor(logits), targets, s), right.mean(), "the loss with smoothing 0.2",
        {
            "no smoothing: this is the plain cross-entropy": -picked.mean(),
            "smoothing / V is missing its V: all words together would get more than 1": -((1 - s) * picked + s * everybody).mean(),
            "smoothing / (V - 1) for the others; here each word gets smoothing / V, the target too": -(
                (1 - s) * picked + s / (V - 1) * (everybody - picked)
            ).mean(),
            "the target must get smoothing / V in addition": -((1 - s) * picked + s / V * (everybody - picked)).mean(),
            "the target still has the share 1: it must give up what the others get": -(picked + s * log_p.mean(axis=-1)).mean(),
            "the shares have changed places: the target gets 1 - smoothing": -(s * picked + (1 - s) * log_p.mean(axis=-1)).mean(),
            "the model's probabilities are smoothed; what is asked of it should be": -smoothed_model.mean(),
            "this is the sum over the places, not the mean": right.sum(),
            "the sign is wrong": -right.mean(),
        },
    )  # fmt: skip
    same(solution(mt.tensor(logits), targets, 0.0), -picked.mean(), "the loss with smoothing 0")
    derivatives(lambda x: solution(x, targets, s), [logits])


@exercise("13.2", "Warm up, then cool down")
def learning_rate(solution):
    """Before, at and behind the end of the warm-up."""
    d, step = 64**-0.5, np.array([1.0, 50, 100, 400])
    rising, falling = step * 100**-1.5, step**-0.5
    same(
        [solution(n, 64, 100) for n in (1, 50, 100, 400)], d * np.minimum(rising, falling),
        "the rate in the steps 1, 50, 100, 400 of d_model = 64, warmup = 100",
        {
            "this is the larger of the two; it is the smaller, min": d * np.maximum(rising, falling),
            "this rises for ever: behind the warm-up it falls": d * rising,
            "there is no warm-up: it falls from the first step": d * falling,
            "d_model is missing": np.minimum(rising, falling),
            "a large model has a smaller rate: d_model ** -0.5": np.minimum(rising, falling) / d,
            "warmup ** -1.5, not ** -0.5: at the end of the warm-up both must be equal": d * np.minimum(step * 100**-0.5, falling),
        },
    )  # fmt: skip


TREE = {  # probabilities of the words 0 (stop), 1, 2 behind a row
    (): [0.1, 0.5, 0.4],
    (1,): [0.4, 0.3, 0.3],
    (2,): [0.9, 0.05, 0.05],
    (1, 1): [0.8, 0.1, 0.1],
    (1, 2): [0.8, 0.1, 0.1],
}


def _next_words(row):
    """The tree's; elsewhere stop is likely."""
    return np.log(TREE.get(tuple(row), [0.98, 0.01, 0.01]))


@exercise("13.3", "Beam search")
def beam_search(solution):
    """A tree in which the first word that looks best is the wrong one."""
    asked = []

    def next_words(row):
        need(0 not in list(row), f"a row that has stopped grew on: {list(row)}")
        asked.append(tuple(row))
        return _next_words(row)

    got = solution(next_words, 2, 0, 6)
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return the row and its log-probability")
    row, score = list(got[0]), float(got[1])
    need(0 not in row, f"the row {row} has the stop word in it: leave it out")
    need(row != [1], "this is what greedy search finds, [1]: with a beam of 2 keep [2] too, which ends better")
    need(row != [], "the empty row is the first that is done; a better one is done later: go on while rows grow")
    same(row, [2], "the best row")
    same(
        score, np.log(0.4 * 0.9), "its log-probability",
        {
            "that is the last word alone: the log-probabilities of a row add up": np.log(0.9),
            "this is the probability; the log-probability is asked": 0.36,
            "the probability of the stop word is missing: it is chosen too": np.log(0.4),
            "log-probabilities are multiplied: logs add up": np.log(0.4) * np.log(0.9),
            "this is the mean over the words; the sum is asked": np.log(0.36) / 2,
        },
    )  # fmt: skip
    same(list(solution(_next_words, 1, 0, 6)[0]), [1], "a beam of 1, which is greedy,")

    same(list(solution(_late, 2, 0, 5)[0]), [1, 1], "a beam of 2 in another tree", {
        "rows are compared by their newest word: compare the sums": [2, 2],
    })  # fmt: skip

    asked.clear()
    solution(lambda row: (asked.append(tuple(row)), _late(row))[1], 3, 0, 5)
    widest = max(len({row for row in asked if len(row) == n}) for n in range(1, 4))
    need(widest <= 3, f"with a beam of 3 it let {widest} rows of one length grow: keep the best 3 of all together")


def _late(row):
    """Stop is unlikely at first; behind 2 comes 2, almost surely."""
    if not row:
        return np.log([0.01, 0.9, 0.09])
    if len(row) == 1:
        return np.log([0.01, 0.6, 0.39] if list(row) == [1] else [0.01, 0.01, 0.98])
    return np.log([0.98, 0.01, 0.01])


@exercise("13.4", "BLEU's precision")
def clipped_precision(solution):
    """The paper's example, then pairs of words."""
    cheat, right = ["the"] * 7, "the cat is on the mat".split()
    same(
        solution(cheat, right, 1), 2 / 7, 'the precision of "the the the the the the the" for "the cat is on the mat"',
        {
            "not clipped: a word counts at most as often as the reference has it": 1.0,
            "each word counts once; it counts as often as both have it": 1 / 7,
            "divided by the words of the reference: that is recall": 2 / 6,
            "divided by the different words of the candidate: all count": 2.0,
        },
    )  # fmt: skip
    candidate = "the cat sat on the mat".split()
    same(
        solution(candidate, right, 2), 3 / 5, 'the precision of the pairs of "the cat sat on the mat"',
        {
            "these are single words; an n-gram is n words in a row": 5 / 6,
            "6 words have 5 pairs": 3 / 6,
            "pairs are of neighbours, and overlap: take one at each place": 2 / 3,
            "the last pair is missing": 2 / 4,
            "the order of the words counts": 4 / 5,
        },
    )  # fmt: skip
    same(
        solution("mat the on".split(), right, 2),
        0.0,
        "the precision of pairs in another order",
        {"the order of the words counts": 1.0},
    )
    same(solution(["cat"], right, 2), 0.0, "the precision of a candidate without pairs")
