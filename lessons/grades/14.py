"""Lesson 14: the graders."""

import numpy as np

from lessons.grading import exercise, frozen, need, same


def softmax(x):
    """Of arrays."""
    e = np.exp(x - x.max())
    return e / e.sum()


@exercise("14.1", "GPT: temperature and the k best", gives="array")
def next_word_probabilities(solution):
    """Beside the typical mistakes; then extreme temperatures."""
    logits = np.array([0.5, 2.0, -1.0, 1.0, 0.0])
    logits.flags.writeable = False
    top = np.array([False, True, False, True, False])
    smallest = np.array([False, False, True, False, True])
    right = softmax(np.where(top, logits / 0.5, -np.inf))
    same(
        solution(logits, 0.5, 2), right, "the probabilities for temperature 0.5 and k = 2",
        {
            "the kept do not add up to 1: cut before the softmax, not behind it": np.where(top, softmax(logits / 0.5), 0),
            "the temperature multiplies; it must divide: a low one makes sure": softmax(np.where(top, logits * 0.5, -np.inf)),
            "a logit of 0 is no probability of 0: exp(0) = 1; put -inf there": softmax(np.where(top, logits / 0.5, 0)),
            "nothing is cut: all words have a probability": softmax(logits / 0.5),
            "the temperature is not used": softmax(np.where(top, logits, -np.inf)),
            "the k smallest logits are kept; keep the k largest": softmax(np.where(smallest, logits / 0.5, -np.inf)),
            "the softmax is missing": np.where(top, logits / 0.5, 0),
            "these are the k kept alone: the others have the probability 0": right[top],
        },
    )  # fmt: skip
    cold = solution(logits, 0.001, 5)
    need(
        np.isfinite(cold).all(),
        "with temperature 0.001 there is a nan: exp overflows, so subtract the largest logit first",
    )
    same(cold, [0, 1, 0, 0, 0], "the probabilities for temperature 0.001")


@exercise("14.2", "BERT: hide words", gives=("array", "array"))
def hide(solution):
    """One row of each kind."""
    ids = np.array([[11, 12, 13, 14, 15]])
    chosen, what = np.array([[True, True, False, True, False]]), np.array([[0, 1, 0, 2, 1]])
    random = np.array([[21, 22, 23, 24, 25]])
    got = solution(ids, chosen, what, random, 9)
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return two arrays, input and targets")
    same(
        got[0], [[9, 22, 13, 14, 15]], "the input",
        {
            "words that are not chosen are shown as they are": [[9, 22, 9, 14, 25]],
            "all chosen words are masked; `what` says which are changed to another word or stay": [
                [9, 9, 13, 9, 15]
            ],
            "the chosen words are shown and the others hidden: chosen is upside down": [[11, 12, 9, 14, 25]],
            "1 and 2 have changed places: 1 shows a random word, 2 the word as it was": [[9, 12, 13, 24, 15]],
        },
    )  # fmt: skip
    same(
        got[1], [[11, 12, -100, 14, -100]], "the targets",
        {
            "words that were not hidden have a loss too: the model would only copy them": ids,
            "the word as it was is asked for too: it is chosen, only not hidden": [[11, 12, -100, -100, -100]],
            "only masked words are asked for; all chosen ones are": [[11, -100, -100, -100, -100]],
            "the targets are what is shown; asked for are the words that were there": [[9, 22, -100, 14, -100]],
            "the targets are upside down: the chosen words are asked for": [[-100, -100, 13, -100, 15]],
            "a target of 0 is a word; -100 is the one without a loss": [[11, 12, 0, 14, 0]],
        },
    )  # fmt: skip


@exercise("14.3", "T5: cut out spans")
def corrupt(solution):
    """Two spans, one of them of one word; then none."""
    ids, spans, sentinels = list(range(10, 18)), [(1, 3), (5, 6)], [90, 91, 92]
    got = solution(ids, spans, sentinels)
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return two lists, source and target")
    same(
        got[0], [10, 90, 13, 14, 91, 16, 17], f"the source of {ids} without [11, 12] and [15]",
        {
            "all spans have the same sentinel: the decoder could not say which it fills": [10, 90, 13, 14, 90, 16, 17],
            "each word has a sentinel; one stands for a whole span": [10, 90, 90, 13, 14, 91, 16, 17],
            "the spans are cut out without a sentinel": [10, 13, 14, 16, 17],
            "the end of a span is not part of it: ids[start:end]": [10, 90, 14, 91, 17],
            "what stands behind the last span is lost": [10, 90, 13, 14, 91],
            "the sentinels stand behind the words that stay": [10, 13, 14, 16, 17, 90, 91],
            "the words of the spans are still there": [10, 90, 11, 12, 13, 14, 91, 15, 16, 17],
        },
    )  # fmt: skip
    same(
        got[1], [90, 11, 12, 91, 15, 92], "the target",
        {
            "the last sentinel is missing: it says that nothing follows": [90, 11, 12, 91, 15],
            "the sentinels are missing: which span is which?": [11, 12, 15],
            "this is what stays; the target is what was cut out": [10, 13, 14, 16, 17],
            "the sentinel stands before its span, not behind it": [11, 12, 90, 15, 91],
            "each sentinel stands before its span, not behind it": [11, 12, 90, 15, 91, 92],
            "all spans have the same sentinel": [90, 11, 12, 90, 15, 90],
            "this is the whole sentence; only what was cut out is asked for": ids,
        },
    )  # fmt: skip
    same(solution([7, 8], [], [90])[1], [90], "the target if nothing is cut out")


@exercise("14.4", "T5: a bias for the distance", gives="array")
def distance_bias(solution):
    """A table whose numbers all differ, and distances beyond it."""
    table, steps = np.array([1.0, 2, 3, 4, 5]), np.arange(4)
    distance = steps - steps[:, None]
    right = table[np.clip(distance, -2, 2) + 2]
    same(
        solution(table, 4), right, "the bias for length 4 with a table of 5",
        {
            "the distance is key minus query; this is query minus key": right.T,
            "before and behind are not told apart: the distance has a sign": table[np.clip(abs(distance), 0, 2) + 2],
            "distance 0 is in the middle of the table: add m": table[np.clip(distance, -2, 2)],
            "distances beyond the table begin at its other end: clip them": table[(distance + 2) % 5],
            "this depends on the key's place, not on the distance": np.broadcast_to(table[:4], (4, 4)),
            "beyond the table there is no bias; here it takes the last number": np.where(abs(distance) <= 2, right, 0),
        },
    )  # fmt: skip
    same(
        solution(table, 2),
        [[3, 4], [2, 3]],
        "the bias for length 2",
        {"distance 0 is in the middle of the table": [[1, 2], [1, 1]]},
    )


@exercise("14.5", "ViT: an image as a sentence", gives="array")
def patches(solution):
    """Two channels and an image that is no square."""
    image = frozen(2, 4, 6)
    cut = image.reshape(2, 2, 2, 3, 2)  # (C, rows of patches, P, columns of patches, P)
    right = cut.transpose(1, 3, 0, 2, 4).reshape(6, 8)
    same(
        solution(image, 2), right, "the patches of an image (2, 4, 6) in squares of 2",
        {
            "these are no squares: a reshape alone cuts rows of pixels": image.reshape(6, 8),
            "the patches go down first; reading order goes to the right first": cut.transpose(3, 1, 0, 2, 4).reshape(6, 8),
            "the pixels of a patch go down first; reading order goes right first": cut.transpose(1, 3, 0, 4, 2).reshape(6, 8),
            "the channels of a pixel stand together; the first channel comes first": cut.transpose(1, 3, 2, 4, 0).reshape(6, 8),
            "the channels are separate sentences; a patch has all channels": cut.transpose(0, 1, 3, 2, 4).reshape(12, 4),
            "channels and places are mixed: a patch has all channels of one place": cut.transpose(0, 1, 3, 2, 4).reshape(6, 8),
            "the pixels of a patch are still a square: one row for each patch": cut.transpose(1, 3, 0, 2, 4).reshape(6, 2, 2, 2),
        },
    )  # fmt: skip
