"""The reader of stories: no answer depends on what comes later, on other stories or on padding, the
written words are those of the forward pass, and what does not fit is refused.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.story_reader import StoryReader, StoryReaderConfig
from minitensor.testing import gradcheck

LINES = np.array([[0, 0, 0], [3, 4, 5], [4, 3, 5], [6, 5, 0], [7, 8, 0], [8, 7, 7], [4, 0, 0]])
STORY = np.array([[1, 2, 3], [2, 1, 0]])
QUESTIONS = np.array([[4, 5], [5, 0]])
REPLIES = np.array([[0, 6], [0, 0]])
WRITTEN = np.array([[[1, 4, 0], [1, 3, 8]], [[1, 0, 0], [0, 0, 0]]])
TARGETS = np.array([[[4, 2, 0], [3, 8, 2]], [[2, 0, 0], [0, 0, 0]]])
GIVEN = (LINES, STORY, QUESTIONS, REPLIES)


def make(**options):
    mt.random.seed(0)
    shape = dict(vocab_size=9, d_model=8, n_layers=2, n_heads=2, d_ff=12)
    return StoryReader(StoryReaderConfig(**{**shape, **options})).astype(np.float64).eval()


def test_gradients_are_those_of_finite_differences():
    model = make(d_model=4, n_layers=1, d_ff=3)
    gradcheck(lambda *_: model.loss(*GIVEN, WRITTEN, TARGETS), list(model.parameters()))


def test_gradients_reach_every_parameter():
    model = make()
    model.loss(*GIVEN, WRITTEN, TARGETS).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and np.abs(parameter.grad.numpy()).max() > 1e-8, name


def test_a_story_is_read_as_it_would_be_alone():
    """Without the padding, the longer story beside it, and lines that it does not have."""
    model = make()
    together = model(*GIVEN, WRITTEN).numpy()
    alone = model(LINES[[0, 1, 2, 5]], [[2, 1]], [[3]], [[0]], WRITTEN[1:, :1]).numpy()
    np.testing.assert_allclose(together[1, :1], alone[0], atol=1e-12)


def test_parts_of_a_batch_add_up():
    model = make()
    whole = model.loss(*GIVEN, WRITTEN, TARGETS).item()
    count = np.count_nonzero(TARGETS)
    parts = [model.loss(LINES, *(x[[i]] for x in (*GIVEN[1:], WRITTEN, TARGETS)), divide_by=count) for i in (0, 1)]
    assert sum(part.item() for part in parts) == pytest.approx(whole, rel=1e-12)


def test_a_later_question_has_no_say_and_every_line_has():
    model = make()
    before = model.read(*GIVEN).numpy()
    later = model.read(LINES, STORY, [[4, 4], [5, 0]], REPLIES).numpy()
    np.testing.assert_array_equal(before[0, 0], later[0, 0])
    assert np.abs(before[0, 1] - later[0, 1]).max() > 1e-4
    swapped = model.read(LINES, [[2, 1, 3], [2, 1, 0]], QUESTIONS, REPLIES).numpy()
    answered = model.read(LINES, STORY, QUESTIONS, [[0, 3], [0, 0]]).numpy()
    assert np.abs(before[0] - swapped[0]).max(axis=-1).min() > 1e-4  # statements come in an order
    assert np.abs(before[0, 1] - answered[0, 1]).max() > 1e-4  # and the answer before is heard
    np.testing.assert_array_equal(before[1, 0], swapped[1, 0])


def test_words_stand_in_an_order():
    model = make()
    one, other = model.read_lines(LINES[[1, 2]]).numpy()  # the same words
    assert np.abs(one - other).max() > 1e-3


def test_attention_is_a_share_of_the_statements_and_earlier_questions():
    maps = make().attention_maps(*GIVEN)
    assert list(maps) == ["encoder.0.self", "encoder.1.self"]
    for seen in (weights.numpy() for weights in maps.values()):
        assert seen.shape == (2, 2, 5, 5)
        np.testing.assert_allclose(seen.sum(axis=-1), 1)
        assert not seen[:, :, :3, 3:].any() and not seen[:, :, 3, 4].any() and not seen[1, :, :, 2].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((LINES[0], STORY, QUESTIONS, REPLIES), "lines must be a table of ids"),
        ((LINES, STORY, QUESTIONS[:1], REPLIES[:1]), "story must be"),
        ((LINES, STORY, QUESTIONS, REPLIES[:, :1]), "story must be"),
        ((LINES, np.zeros_like(STORY), QUESTIONS, REPLIES), "length"),
    ],
)
def test_shapes_that_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make().read(*given)


def test_configurations_that_are_refused():
    with pytest.raises(ValueError, match="dropout"):
        make(dropout=1.5)
