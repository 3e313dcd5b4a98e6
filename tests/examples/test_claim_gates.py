"""Claim 13: the tasks of LSTM and GRU, and that the conclusion follows the numbers."""

import numpy as np
import pytest
from claiming import run
from claims import gates


def test_gates(tmp_path, capsys):
    numbers, words = run("gates", tmp_path, capsys)
    assert (
        numbers["units"]["LSTM"] == numbers["units"]["GRU, as many units"] < numbers["units"]["GRU, as many parameters"]
    )
    sizes = numbers["parameters"]
    assert sizes["GRU, as many units"] < sizes["LSTM"]
    assert abs(sizes["GRU, as many parameters"] / sizes["LSTM"] - 1) < 0.05
    for ways in numbers["runs"].values():
        for runs in ways.values():
            assert len(runs) == 2 and runs[0]["loss"] != runs[1]["loss"]  # each seed its own
    assert "words a^n b^n with n from 4 to 6, longer than all that were trained" in words


def test_words_to_count():
    ids, targets = gates.count_batch(np.array([1, 3]))
    assert ids.tolist() == [[0, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1]]
    ignored = gates.IGNORED
    assert targets.tolist() == [[ignored, 2, *4 * [ignored]], [*3 * [ignored], 1, 1, 2]]


def test_the_text_that_is_asked_was_not_trained():
    settings = gates.Settings.quick()
    batch_of, (ids, targets) = gates._data("text", settings, seed=0)
    characters, trained, held_out = gates._text()
    assert ids.shape == targets.shape == (settings.sequences, settings.window)
    assert np.array_equal(ids[:, 1:], targets[:, :-1])
    text = characters.decode(held_out)
    assert all(characters.decode(row) in text for row in (ids[0], targets[-1]))
    inputs, following = batch_of(len(trained))  # far beyond the first epoch
    assert characters.decode(inputs[0]) in characters.decode(trained) and np.array_equal(
        inputs[:, 1:], following[:, :-1]
    )


@pytest.mark.parametrize("task", ["recall", "counting"])
def test_batches_differ_by_step_and_seed(task):
    settings = gates.Settings.quick()
    (one, test), (again, same), (other, _) = (gates._data(task, settings, seed) for seed in (0, 0, 1))
    first, second = one(0)[0], one(1)[0]
    assert np.array_equal(first, again(0)[0]) and not np.array_equal(first, second)
    assert not np.array_equal(first, other(0)[0]) and np.array_equal(test[0], same[0])
    if task == "counting":
        words = (test[0] == gates.A).sum(axis=1)
        assert words.tolist() == [4, 5, 6]  # all longer than those trained


def numbers_of(lstm, parameters, units):
    """By network the values of two seeds at recall, counting and text."""
    runs = {
        task: {
            way: [{"loss": value, "accuracy": value, "rate": 0.01} for value in values[place]]
            for way, values in zip(gates.WAYS, (lstm, parameters, units))
        }
        for place, task in enumerate(gates.TASKS)
    }
    about = {name: dict.fromkeys(gates.WAYS, 2.0) for name in ("units", "parameters", "milliseconds")}
    return {"distance": 9, "longest": 5, "updates": 7, "runs": runs} | about


def test_conclusion_follows_the_seeds():
    lstm = ([0.9, 0.8], [0.9, 0.7], [1.5, 1.6])
    words = gates.conclusion(numbers_of(lstm, ([0.7, 0.6], [0.95, 0.65], [1.2, 1.3]), lstm))
    assert (
        "With as many parameters, the LSTM is better at recall, and the GRU is better at text, and the spread of 2 seeds hides "
        "any difference at counting." in words
    )
    assert "With as many units, the spread of 2 seeds hides any difference at recall, counting and text." in words
    assert (
        "longer than all that were trained: 80% and 80% are right (LSTM" in words
        and "the losses of the text are 1.550 and 1.250 nats after 7 updates" in words
    )
    words = gates.conclusion(numbers_of(lstm, ([0.1, 0.2], [0.1, 0.2], [2.0, 3.0]), lstm))
    assert "With as many parameters, the LSTM is better at recall, counting and text. With" in words
    words = gates.conclusion(numbers_of(*3 * [([1.0, 1.0], [0.5, 0.4], [2.0, 2.1])]))
    assert "they are level at recall, and the spread of 2 seeds hides any difference at counting and text." in words
    words = gates.conclusion(numbers_of(*3 * [([1.0, 1.0], [0.0, 0.0], [2.0, 2.1])]))
    assert "they are level at recall, and neither is ever right at counting, and the spread" in words
