"""``minitensor.testing.invariants``: right models pass, planted faults are told in words."""

import re

import numpy as np
import pytest
import wrong_models as wrong

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.testing import invariants
from minitensor.testing.invariants import Floats, Ids

X = Floats((3, 5, wrong.D))
IDS = Ids(9, (3, 5))
MASK = np.arange(5) < np.array([5, 2, 3])[:, None]
TOKENS = Ids(5, (3, 6))
PROMPTS = np.random.default_rng(0).integers(0, 5, (8, 3))
TARGETS = np.array([[1, 2, 3, 4, 5], [6, -100, -100, -100, -100], [7, 8, 1, -100, -100], [1, 1, 1, 1, -100]])
TAGGED = (Ids(9, (4, 5)), TARGETS)


def averaged(gradients, counts):
    return {key: sum(one[key] / n for one, n in zip(gradients, counts)) / len(counts) for key in gradients[0]}


def never_divided(gradients, counts):
    return {key: sum(one[key] for one in gradients) for key in gradients[0]}


def of_the_first(gradients, counts):
    return {key: g / counts[0] for key, g in gradients[0].items()}


def own_means(model, ids, targets):
    """What a rank sends that divides by its own number."""
    model.zero_grad()
    model.loss(ids, targets).backward()
    return {key: p.grad for key, p in model.named_parameters()}, 1


def check(invariant, make, inputs, options):
    mt.random.seed(0)
    model, options = make(), dict(options)
    if "generate" in options:
        options["generate"] = wrong.Beam(model, options["generate"])
    return getattr(invariants, invariant)(model, inputs, **options)


# invariant: right models, as (what makes it, inputs, options)
RIGHT = {
    "no_look_ahead": [
        (wrong.Attention, X, {}), (lambda: nn.LSTM(wrong.D, 3), X, dict(nan=True)), (wrong.tiny_gpt, TOKENS, {}),
        (wrong.MaskedAfterwards, X, {}),
    ],
    "padding_ignored": [
        (wrong.Pooled, (X, MASK), dict(padding=1)),
        (wrong.TwoWays, {0: IDS, "lengths": np.array([5, 2, 3])}, dict(padding="lengths", nan=True)),
        (lambda: wrong.LossOfPadding(0), (Ids(9, (3, 5), low=1), MASK), dict(padding=1)),
    ],
    "rows_independent": [(wrong.Attention, X, dict(nan=True)), (lambda: wrong.centred(1), X, {}), (wrong.tiny_gpt, TOKENS, {})],
    "rows_in_any_order": [(wrong.Attention, X, {}), (lambda: wrong.centred(0), X, {})],
    "evaluation_mode": [
        (wrong.Dropped, X, {}), (wrong.StatisticsOfTheBatch, X, dict(training=False)), (wrong.tiny_gpt, TOKENS, {}),
    ],
    "save_and_load": [(wrong.Buffered, X, {}), (wrong.Buffered, X, dict(make=wrong.Buffered)), (wrong.tiny_gpt, TOKENS, {})],
    "gradient_reaches_parameters": [
        (lambda: wrong.HiddenLayer(used=False), X, {}), (wrong.TwoLayers, X, {}), (wrong.tiny_gpt, TOKENS, {}),
        (lambda: wrong.TwoLayers(lambda x: x.detach()), X, dict(without=["first.*"])),
    ],
    "gradient_accumulation": [(wrong.Tagger, TAGGED, {}), (wrong.Tagger, TAGGED, dict(loss=wrong.Tagger.loss))],
    "data_parallel": [(wrong.Tagger, TAGGED, {})],
    "cached_decoding": [
        (wrong.tiny_gpt, TOKENS, {}), (wrong.tiny_transformer, (Ids(5, (3, 4)), TOKENS), {}),
        (wrong.tiny_gpt, TOKENS, dict(reorder=lambda state, rows: state.reorder(rows))),
    ],
    "beam_search": [(wrong.tiny_gpt, PROMPTS, {}), (wrong.tiny_gpt, PROMPTS, dict(generate=""))],
    "permutation": [
        (wrong.PerPosition, X, {}), (lambda: nn.MultiHeadAttention(wrong.D, 2), X, {}),
        (wrong.Pooled, (X, MASK), {}),
    ],
}  # fmt: skip

# invariant: planted faults, as (what makes it, inputs, options, what is said)
WRONG = {
    "no_look_ahead": [
        (wrong.MaskOffByOne, X, {},
         r"the output at position 0 changes with the input at position 1.*the causal mask is off by 1"),
        (wrong.MaskTransposed, X, {}, "position 0 changes with the input at position 1.*wrong way round"),
        (wrong.SoftmaxOverQueries, X, {},
         "0 sees 1, 0 sees 2.*and 4 more.*a softmax, norm or mean goes over the axis of positions"),
        (wrong.FiniteMask, X, {}, "a mask that subtracts a finite number.*write minus infinity"),
        (lambda: wrong.centred(1), X, {}, "0 sees 4.*mean goes over the axis of positions"),
        (lambda: wrong.slope_alone(1), X, {},
         r"the gradient of the output at position 0 reaches the input at position 1.*exactly 0"),
        (wrong.MaskedAfterwards, X, dict(nan=True),
         r"NaN in the inputs behind position 0 reaches outputs up to 0.*0 \* NaN is NaN"),
        (wrong.TwoWays, IDS, {}, "the output at position 0 changes with the input at position 1"),
        (lambda: wrong.PerPosition(lambda x: x * 0.0), X, {}, "no output changes when any input does"),
    ],
    "padding_ignored": [
        (wrong.MeanWithPadding, (X, MASK), dict(padding=1),
         "values in the padding of input 0 change what is real.*a mean, a maximum"),
        (wrong.MeanByAll, (X, MASK), dict(padding=1),
         "one position of padding more changes what is real.*number of real positions"),
        (wrong.UnmaskedScores, (X, MASK), dict(padding=1),
         "values in the padding of input 0 change what is real.*attention"),
        (wrong.SubtractedMask, (X, MASK), dict(padding=1),
         r"output\[[12], \d\].*a small weight in place of none.*minus infinity"),
        (wrong.TwoWays, (IDS, MASK), dict(padding=1, call=lambda m, ids, mask: m(ids)),
         "change what is real.*a recurrence"),
        (lambda: wrong.LossOfPadding(-100), (IDS, MASK), dict(padding=1),
         "targets of padding count in the loss.*ignore_index"),
        (wrong.Pooled, (X, MASK), dict(padding=1, nan=True), "NaN in the padding reaches what is real"),
    ],
    "rows_independent": [
        (lambda: wrong.centred(0), X, {},
         "row 0 changes with the rows beside it.*a mean or a maximum goes over the rows"),
        (lambda: wrong.PerPosition(lambda x: mt.asarray(x).swapaxes(0, 1).reshape(x.shape)), X, {},
         "row 0 changes.*a reshape mixes"),
        (lambda: wrong.PerPosition(lambda x: mt.exp(x) / mt.exp(x).sum(axis=0)), X, {}, "row 0 changes.*a softmax"),
        (lambda: wrong.slope_alone(0), X, {}, "the gradient of row 0 reaches the rows beside it"),
        (lambda: wrong.PerPosition(lambda x: x * float(len(x))), X, {}, "row 0 gets something else alone"),
        (lambda: wrong.PerPosition(lambda x: x + 0.0 * mt.roll(x, 1, axis=0)), X, dict(nan=True),
         "NaN in the rows beside it reaches row 0"),
        (wrong.Remembers, X, {}, "a second time.*the model keeps something"),
    ],
    "rows_in_any_order": [
        (lambda: wrong.PerPosition(lambda x: mt.cumsum(x, axis=0)), X, {},
         r"do not go along with the order \[2, 0, 1\].*a cumulative sum"),
        (lambda: wrong.PerPosition(lambda x: x + x[:1]), X, {}, "one row stands for all"),
        (lambda: wrong.PerPosition(lambda x: x * mt.arange(len(x))[:, None, None].astype("float32")), X, {},
         "treated by its number"),
        (wrong.Remembers, X, {}, "the model keeps something between calls"),
    ],
    "evaluation_mode": [
        (wrong.DropsAlways, X, {},
         "the same input gives another output a second time.*dropout or other random numbers act in evaluation"),
        (wrong.ScalesInEvaluation, X, {}, "training with every dropout 0 gives another output.*without the factor"),
        (wrong.StatisticsOfTheBatch, X, {}, "training with every dropout 0 gives another output.*batch norm"),
        (wrong.Remembers, X, {}, "a second time.*keeps something between calls"),
        (wrong.RecordsAlways, X, {}, r"recorded within no_grad\(\)"),
    ],
    "save_and_load": [
        (wrong.ForgetsItsBuffer, X, {}, r"the file lacks scale.*state_dict\(\) that leaves them out"),
        (wrong.LoadsRounded, X, {}, r"linear\.weight comes back as something else.*linear\.weight\[.*casts"),
        (wrong.LoadsSome, X, {}, r"load_state_dict\(\) passes over scale, which the file has"),
        (wrong.DrawnConstant, X, dict(make=wrong.DrawnConstant),
         "gives another output.*a plain tensor or array drawn in __init__"),
        (wrong.Hidden, X, {}, "_bias is to be trained and is not in the file.*without a leading underscore"),
        (wrong.HiddenLayer, X, {}, r"_last\.bias, _last\.weight is to be trained and is not in the file"),
    ],
    "gradient_reaches_parameters": [
        (lambda: wrong.TwoLayers(lambda x: x.detach()), X, {},
         r"no gradient reaches first\.weight, first\.bias.*2 of 4.*detach\(\)"),
        (wrong.Hidden, X, {}, "_bias is to be trained and is no parameter, so that no optimiser sees it"),
        (wrong.HiddenLayer, X, {}, r"_last\.bias, _last\.weight is to be trained and is no parameter"),
        (lambda: wrong.TwoLayers(lambda x: x * 0.0), X, {},
         r"first\.weight, first\.bias, second\.weight is all zero in 3 batches"),
        (lambda: wrong.TwoLayers(lambda x: mt.sqrt(x * 0.0)), X, {}, "is infinite or NaN.*a root"),
        (wrong.TwoLayers, X, dict(without=["first.*"]), r"a gradient does reach first\.weight.*out of date"),
    ],
    "gradient_accumulation": [
        (wrong.AveragesEachPart, TAGGED, {},
         r"of 2 parts are not those of the whole.*\[1, 3\] rows.*the means are added up.*divide_by=n"),
        (wrong.Penalised, TAGGED, {}, "a penalty of the weights, and so is added once for each part"),
        (wrong.Tagger, TAGGED, dict(accumulate=wrong.mean_of_means), "a mean of the means of the parts"),
        (wrong.Tagger, TAGGED, dict(accumulate=wrong.sum_of_means), "each of the parts is divided by its own number"),
        (wrong.Tagger, TAGGED, dict(accumulate=wrong.forgets_between), "the gradients of the last of the parts alone"),
        (wrong.MixesRows, TAGGED, {}, "rows are not independent"),
        (wrong.Tagger, TAGGED, dict(accumulate=wrong.divides_twice),
         "divided by another number: everything is 0.5 times as large"),
    ],
    "data_parallel": [
        (wrong.Tagger, TAGGED, dict(reduce=averaged),
         r"of 2 ranks are not those of one.*\[5, 8\] targets.*a mean of the means of the ranks"),
        (wrong.Tagger, TAGGED, dict(reduce=never_divided), "divided by another number: everything is 13 times"),
        (wrong.Tagger, TAGGED, dict(reduce=of_the_first), "the gradients of the first of the ranks alone"),
        (wrong.Tagger, TAGGED, dict(local=own_means), "a mean of the means of the ranks"),
        (wrong.MixesRows, TAGGED, {}, "rows are not independent"),
        (wrong.Tagger, TAGGED, dict(reduce=lambda gradients, counts: {}), r"there is no gradient of output\.bias"),
    ],
    "cached_decoding": [
        (lambda: wrong.tiny_gpt(wrong.PositionsFromZero), TOKENS, {},
         "after token 1 of row .*positions are counted from 0 in every step"),
        (lambda: wrong.tiny_gpt(wrong.CacheInTheModel), TOKENS, {},
         "another decoding is begun in between.*kept in the model"),
        (lambda: wrong.tiny_gpt(wrong.ReordersNothing), TOKENS, {},
         r"after reorder\(\[1, 0, 0\]\).*leaves a part of the state as it was"),
        (lambda: wrong.tiny_gpt(wrong.PaddingCounts), TOKENS, {},
         r"after prompts of \[1, 2, 3\] tokens.*padding of shorter prompts"),
        (lambda: wrong.tiny_transformer(wrong.FeedsPositionZero), (Ids(5, (3, 4)), TOKENS), {},
         "with the cache.*positions are counted from 0"),
    ],
    "beam_search": [
        (wrong.tiny_gpt, PROMPTS, dict(generate="no penalty"), "the length penalty is not applied"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="without the stop"), "the length is counted without the stop token"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="multiplied"), "log P is multiplied by the penalty"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="greedy"), "the search is greedy"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="ends too early"), "the search ends too early"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="unfinished wins"),
         "which is no complete sentence.*an unfinished sentence wins"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="keeps the stop"), "the stop token is not taken off"),
        (wrong.tiny_gpt, PROMPTS, dict(generate="length alone", length_penalties=(0.6, 1.0, 2.0)),
         r"length \*\* alpha"),
    ],
    "permutation": [
        (wrong.adds_positions, X, {}, r"do not go along with the order \[4, 0, 1, 2, 3\].*positions are added"),
        (wrong.Attention, X, {}, "a causal mask or a recurrence"),
        (wrong.takes_the_first, X, {}, r"depend on the order.*one is singled out"),
        (wrong.weights_by_place, X, {}, "depend on the order.*pool by mean or maximum"),
        (lambda: wrong.PerPosition(lambda x: mt.sort(x, axis=1)), X, {},
         'do not depend on the elements.*outputs="unchanged", if that is meant'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("invariant", RIGHT)
def test_right_models_pass_and_are_left_as_they_were(invariant):
    for make, inputs, options in RIGHT[invariant]:
        held = check(invariant, make, inputs, options)
        assert held.invariant == invariant and held.compared >= 1 and held.largest < 1e-5, held
        assert not any("no gradient" in note for note in held.notes)


@pytest.mark.parametrize("invariant", WRONG)
def test_planted_faults_are_told_in_words(invariant):
    assert len(WRONG[invariant]) >= 3
    for make, inputs, options, words in WRONG[invariant]:
        with pytest.raises(AssertionError) as caught:
            check(invariant, make, inputs, options)
        text = str(caught.value)
        assert text.startswith(f"{invariant} does not hold for ")
        assert "\nlikely cause: " in text and "\ncure: " in text
        assert re.search(words, text, re.DOTALL), f"{words}\n\nis not in\n\n{text}"


# --- how they are asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_models_of_other_dtypes(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    model = nn.TransformerEncoder(1, 8, 2, 8).astype(dtype)
    x = Floats((3, 4, 8))
    for name in ("rows_independent", "rows_in_any_order", "permutation", "evaluation_mode", "save_and_load"):
        assert getattr(invariants, name)(model, x).compared
    with pytest.raises(AssertionError, match="no_look_ahead does not hold"):
        invariants.no_look_ahead(model, x)


def test_inputs_in_every_form():
    model, ids = wrong.tiny_gpt(), np.random.default_rng(0).integers(0, 5, (3, 4))
    forms = (ids, mt.asarray(ids), (ids,), [mt.asarray(ids)], {"ids": ids}, {0: Ids(5, (3, 4))}, (ids, None))
    for inputs in forms:
        over = "ids" if isinstance(inputs, dict) and "ids" in inputs else 0
        assert invariants.no_look_ahead(model, inputs, over=over).compared == 13
    assert np.array_equal(ids, np.random.default_rng(0).integers(0, 5, (3, 4)))


def test_padding_on_the_left():
    model, mask = wrong.tiny_gpt(), MASK[:, ::-1]
    assert invariants.padding_ignored(model, (Ids(5, (3, 5)), mask), padding=1, nan=True).compared == 7

    def blind(model, ids, mask):
        return model(ids)

    with pytest.raises(AssertionError, match=r"(?s)change what is real.*output\[[12], \d, \d\]"):
        invariants.padding_ignored(model, (Ids(5, (3, 5)), mask), padding=1, call=blind)


def test_the_mode_the_gradients_and_the_random_numbers_stay():
    model = wrong.tiny_gpt().eval()
    model.transformer.train()
    model.loss(np.array([[1, 2, 3]])).backward()
    before = [p.grad.numpy().copy() for p in model.parameters()]
    modes, state = [module.training for module in model.modules()], mt.random.default.state
    for name in ("no_look_ahead", "evaluation_mode", "gradient_reaches_parameters", "save_and_load"):
        getattr(invariants, name)(model, Ids(5, (3, 4)))
    with pytest.raises(AssertionError):
        invariants.permutation(model, Ids(5, (3, 4)))
    assert [module.training for module in model.modules()] == modes and mt.random.default.state == state
    assert all(np.array_equal(p.grad.numpy(), g) for p, g in zip(model.parameters(), before)) and model.dropout.p == 0.1


def test_where_all_is_nan_nothing_is_compared():
    names = "no_look_ahead rows_independent rows_in_any_order permutation evaluation_mode save_and_load".split()
    for name in names:
        with pytest.raises(AssertionError, match="the output is NaN throughout"):
            getattr(invariants, name)(wrong.PerPosition(lambda x: x * np.nan), X)


def test_a_random_model_is_told_to_be_random():
    for name in "no_look_ahead rows_independent rows_in_any_order permutation evaluation_mode save_and_load".split():
        with pytest.raises(
            AssertionError, match="another output a second time.*\n.*\nlikely cause: dropout or other random"
        ):
            getattr(invariants, name)(wrong.PerPosition(lambda x: F.dropout(x, 0.5)), X)


def test_frozen_parameters_need_no_gradient():
    model = wrong.TwoLayers(lambda x: x.detach())
    model.first.requires_grad_(False)
    assert invariants.gradient_reaches_parameters(model, X).compared == 6


def test_what_was_not_checked_is_said():
    class OneHot(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(9, 2)

        def forward(self, ids):
            return self.linear(mt.eye(9)[mt.asarray(ids)])

    held = invariants.no_look_ahead(OneHot(), IDS, nan=True)
    assert held.notes == (
        "no gradient (no nn.Embedding reads these ids)",
        "no NaN was planted (no nn.Embedding reads these ids)",
    )
    assert str(held) == f"no_look_ahead: 13 comparisons, bit for bit; {held.notes[0]}; {held.notes[1]}"


def test_all_failures_are_told_together():
    model = wrong.AveragesEachPart()
    with pytest.raises(AssertionError) as caught:
        invariants.check_model(model, Ids(9, (4, 5)), loss_inputs=TAGGED, unordered=True, without=["table.*"])
    text = str(caught.value)
    assert text.startswith(
        "3 of 8 invariants do not hold\n\ngradient_accumulation does not hold for AveragesEachPart: "
    )
    assert "data_parallel" in text and "a gradient does reach table.weight" in text
    assert len(invariants.check_model(wrong.Tagger(), Ids(9, (4, 5)), loss_inputs=TAGGED, unordered=True)) == 8


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: invariants.no_look_ahead(np.tanh, X),
            TypeError,
            "an nn.Module of minitensor or of PyTorch, got ufunc",
        ),
        (lambda: invariants.no_look_ahead(wrong.Pooled(), (X, MASK)), ValueError, r"the output \(3, 4\) must both be"),
        (
            lambda: invariants.no_look_ahead(wrong.Attention(), X, over="x"),
            ValueError,
            "no array as input 'x'; the arrays are 0",
        ),
        (
            lambda: invariants.no_look_ahead(wrong.tiny_gpt(), np.ones((2, 3), int)),
            ValueError,
            "has one value alone, 1",
        ),
        (
            lambda: invariants.rows_independent(wrong.Attention(), Floats((1, 3, 4))),
            ValueError,
            "at least 2 rows, got 1",
        ),
        (
            lambda: invariants.rows_independent(wrong.PerPosition(lambda x: x.sum()), X),
            ValueError,
            "has not the 3 rows",
        ),
        (
            lambda: invariants.padding_ignored(wrong.Pooled(), (X, MASK | True), padding=1),
            ValueError,
            "give some padding",
        ),
        (lambda: invariants.padding_ignored(wrong.Pooled(), (X, MASK[:2]), padding=1), ValueError, "neither a mask"),
        (lambda: invariants.permutation(wrong.Attention(), X, outputs="same"), ValueError, '"permuted" or "unchanged"'),
        (
            lambda: invariants.evaluation_mode(wrong.PerPosition(lambda x: {"x": x}), X),
            TypeError,
            "is a dict and no tensor",
        ),
        (lambda: invariants.gradient_accumulation(wrong.TwoLayers(), X), ValueError, "has no method loss"),
        (lambda: invariants.data_parallel(wrong.TwoLayers(), X), ValueError, "has no method loss"),
        (lambda: invariants.gradient_reaches_parameters(nn.ReLU(), X), ValueError, "no parameter that is trained"),
        (lambda: invariants.cached_decoding(wrong.tiny_gpt(), Ids(5, (1, 6))), ValueError, "at least two rows"),
        (
            lambda: invariants.beam_search(wrong.tiny_gpt(), PROMPTS, stop_id=(1, 2)),
            ValueError,
            "the one token that ends",
        ),
        (lambda: invariants.beam_search(wrong.tiny_gpt(), PROMPTS, max_new_tokens=9), ValueError, "are too many"),
    ],
)
def test_what_cannot_be_checked_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
