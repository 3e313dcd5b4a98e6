"""Lesson 10: the graders."""

import numpy as np

import minitensor as mt
from lessons.grading import derivatives, exercise, frozen, need, same

START, STOP, PAD = 1, 2, 0


@exercise("10.1", "Teacher forcing", gives=("array", "array"))
def teacher_forcing(solution):
    """Two rows of different lengths, then other tokens."""
    got = solution([[5, 6, 7], [8]], START, STOP, PAD)
    need(
        isinstance(got, (tuple, list)) and len(got) == 2, "it should return two arrays: what is read, and what is said"
    )
    reads, says = np.array([[1, 5, 6, 7], [1, 8, 0, 0]]), np.array([[5, 6, 7, 2], [8, 2, 0, 0]])
    same(
        got[0], reads, "what the decoder reads of [[5, 6, 7], [8]]",
        {
            "the decoder reads what it must say: it would only copy": says,
            "the shift goes the wrong way: the decoder reads the word after the one that it must say": [[6, 7, 2, 0], [2, 0, 0, 0]],
            "the start token is missing": [[5, 6, 7], [8, 0, 0]],
            "the padding is on the left; it comes behind the sentence": [[1, 5, 6, 7], [0, 0, 1, 8]],
            "the stop token is not read: nothing comes after it": [[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]],
            "the last word is lost: it has to be read before the stop token is said": [[1, 5, 6], [1, 0, 0]],
        },
    )  # fmt: skip
    same(
        got[1], says, "what the decoder must say of [[5, 6, 7], [8]]",
        {
            "both rows are the same: shift one of them": reads,
            "the stop token is missing: it would never learn to end": [[5, 6, 7], [8, 0, 0]],
            "the stop token stands behind the padding; it comes right behind the last word": [[5, 6, 7, 2], [8, 0, 0, 2]],
            "the start token need not be said": [[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]],
            "the stop token is missing, with padding in its place: it would never learn to end": [[5, 6, 7, 0], [8, 0, 0, 0]],
        },
    )  # fmt: skip
    got = solution([[3], [4, 4]], 9, 8, 7)
    same(np.concatenate(got), [[9, 3, 7], [9, 4, 4], [3, 8, 7], [4, 4, 8]], "with start 9, stop 8, pad 7, both")


@exercise("10.2", "No loss for padding")
def masked_loss(solution):
    """Rows of different lengths, so that each wrong mean shows; then who gets a gradient."""
    logits = 2 * frozen(2, 4, 5)
    targets = np.array([[3, 1, 4, 2], [2, 0, 0, 0]])
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    real = targets != 0
    logits_alone = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    over_steps = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    over_steps = np.take_along_axis(over_steps, targets[..., None], axis=-1)[..., 0]
    rows = (picked * real).sum(axis=1) / real.sum(axis=1)
    got = solution(mt.tensor(logits), targets, PAD)
    same(
        got, -picked[real].mean(), "the loss",
        {
            "padding has a loss too: a mean over all places": -picked.mean(),
            "divided by all places, padding included: divide by the number of real targets": -(picked * real).mean(),
            "this is a mean of each sentence's mean: words of short sentences count more": -rows.mean(),
            "this is the sum: divide by the number of real targets": -picked[real].sum(),
            "the sign is wrong: a loss is minus the log-probability": picked[real].mean(),
            "the logits are no log-probabilities yet": -logits_alone[real].mean(),
            "the softmax is over the steps; it must be over the words, the last axis": -over_steps[real].mean(),
            "the mask is upside down: this is the loss of the padding": -picked[~real].mean(),
            "divided by the number of sentences; divide by that of the real targets": -picked[real].sum() / 2,
        },
    )  # fmt: skip
    x = mt.tensor(logits).requires_grad_()
    out = solution(x, targets, PAD)
    need(isinstance(out, mt.Tensor) and out.requires_grad, "no gradient gets back to the logits: stay with Tensors")
    need(not mt.grad(out, x).numpy()[~real].any(), "logits at padding get a gradient")
    derivatives(lambda x: solution(x, targets, PAD), [logits])


@exercise("10.3", "The last real state", gives="Tensor")
def last_states(solution):
    """Three lengths, one of them all."""
    states, lengths = frozen(3, 5, 2), np.array([2, 5, 1])
    rows = np.arange(3)
    same(
        solution(mt.tensor(states), lengths), states[rows, lengths - 1], "the last real states for lengths 2, 5, 1",
        {
            "these are the states at the end of the padding": states[:, -1],
            "the place is off by one: n words are at the places 0 to n - 1": states[rows, lengths % 5],
            "these are the first states": states[:, 0],
            "this is a mean, not the last": np.stack([states[i, :n].mean(axis=0) for i, n in enumerate(lengths)]),
            "the places count for every sentence: take one of each row": states[:, lengths - 1],
            "lengths - 2 is the last but one": states[rows, lengths - 2],
        },
    )  # fmt: skip


@exercise("10.4", "Greedy decoding")
def greedy(solution):
    """A decoder that counts up from its state, and stops behind 5; the words read are looked at."""
    read = []

    def step(id, state):
        read.append(int(id))
        log_p = np.full(10, -5.0)
        log_p[STOP if state >= 6 else state] = -0.1
        return log_p, state + 1

    got = solution(step, 3, START, STOP, 8)
    need(isinstance(got, (list, tuple)), f"it should return a list of ids, and returns {type(got).__name__}")
    _judge(list(got), [3, 4, 5])
    same(
        read, [START, 3, 4, 5], "what the decoder read",
        {
            "every step read the start token: it must read the newest word": [START] * 4,
            "the newest word is read one step too late": [START, START, 3, 4],
        },
    )  # fmt: skip
    short = list(solution(step, 3, START, STOP, 2))
    need(len(short) <= 2, f"with limit 2 it wrote {len(short)} words")
    same(short, [3, 4], "with limit 2 it")
    same(
        list(solution(step, 6, START, STOP, 5)),
        [],
        "if stop is the first word, it",
        {"the stop token is no word": [STOP]},
    )


def _judge(got, right):
    need(got != [3] * 8, "it wrote 3 again and again: the state does not move on")
    need(got != [*right, STOP], "the stop token is in the list: it ends the sentence and is no word")
    need(not got or got[0] != START, "the start token is in the list: it is read, not written")
    need(got[:5] != [*right, STOP, STOP], "it went on behind the stop token")
    need(len(got) != 8 or got[:3] != right, "it did not stop at the stop token, but at the limit")
    need(
        got and min(got) > 0 or got == right, "it wrote 0, an improbable word: the most probable is the largest, argmax"
    )
    same(got, right, "what was written")
