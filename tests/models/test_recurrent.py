"""Recurrent models: shapes, ragged lengths, gradients, decoding, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceRegressor,
    SequenceRegressorConfig,
    recurrent_layer,
)
from minitensor.optim import Adam

CELLS = ("rnn", "lstm", "gru")
POOLINGS = ("last", "mean", "max")


def classifier(**changes):
    mt.random.seed(0)
    options = dict(cell="gru", vocab_size=11, n_classes=3, d_model=4, hidden_size=5)
    return SequenceClassifier(SequenceClassifierConfig(**{**options, **changes})).astype("float64")


def regressor(**changes):
    mt.random.seed(0)
    options = dict(cell="gru", n_features=2, horizon=4, hidden_size=5)
    return SequenceRegressor(SequenceRegressorConfig(**{**options, **changes})).astype("float64")


def language_model(**changes):
    mt.random.seed(0)
    options = dict(cell="lstm", vocab_size=7, d_model=4, hidden_size=6)
    return RecurrentLanguageModel(RecurrentLanguageModelConfig(**{**options, **changes})).astype("float64").eval()


def ids_of(*shape, high=7, seed=0):
    return np.random.default_rng(seed).integers(0, high, shape)


def close(x, y):
    x, y = (value.numpy() if isinstance(value, mt.Tensor) else value for value in (x, y))
    np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


# --- the factory ----------------------------------------------------------------------------------


def test_a_cell_by_its_name():
    for cell, rows in zip(CELLS, (8, 32, 24)):
        layer = recurrent_layer(cell, 3, 8, 2, bidirectional=True)
        assert layer.weight_hh_l0.shape == (rows, 8) and layer.num_layers == 2
    with pytest.raises(ValueError, match="unknown recurrent cell 'elman'; write one of: rnn, lstm, gru"):
        recurrent_layer("elman", 3, 8)


# --- many to one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
@given(
    st.sampled_from(CELLS),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.booleans(),
    st.integers(1, 2),
    st.booleans(),
)
def test_sequences_do_not_see_their_padding_nor_their_company(pooling, cell, lengths, bidirectional, n_layers, vectors):
    options = dict(cell=cell, pooling=pooling, bidirectional=bidirectional, n_layers=n_layers)
    model = (regressor if vectors else classifier)(**options).eval()
    x = ids_of(len(lengths), 6)
    if vectors:
        x = np.random.default_rng(1).normal(size=(len(lengths), 6, 2))
        for row, length in enumerate(lengths):
            x[row, length:] = np.nan
    together = model(x, lengths)
    assert together.shape == (len(lengths), 4 if vectors else 3)
    for row, length in enumerate(lengths):
        close(together[row : row + 1], model(x[row : row + 1, :length]))


@pytest.mark.parametrize("cell", CELLS)
def test_pooling_is_what_its_name_says(cell):
    x, lengths = np.random.default_rng(0).normal(size=(2, 5, 2)), [5, 3]
    for pooling, expected in (
        ("last", lambda states: states[-1]),
        ("mean", lambda states: states.mean(axis=0)),
        ("max", lambda states: states.max(axis=0)),
    ):
        model = regressor(cell=cell, pooling=pooling).eval()
        states = model.layers(mt.tensor(x), lengths=lengths)[0].numpy()
        pooled = np.stack([expected(row[:length]) for row, length in zip(states, lengths)])
        close(model(x, lengths), pooled @ model.output.weight.numpy().T + model.output.bias.numpy())


def test_the_last_state_of_both_directions_has_seen_the_whole_sequence():
    model = classifier(bidirectional=True, n_layers=2).eval()
    x = ids_of(1, 6)
    for place in (0, 5):  # of a change far from either end
        other = x.copy()
        other[0, place] = (x[0, place] + 1) % 7
        assert np.abs(model(x).numpy() - model(other).numpy()).max() > 1e-6


def test_losses_are_means_and_parts_add_up():
    model, x, targets = classifier().eval(), ids_of(4, 6), np.array([0, 2, 1, 1])
    whole = model.loss(x, targets, [6, 3, 1, 2]).item()
    log_probabilities = F.log_softmax(model(x, [6, 3, 1, 2])).numpy()
    assert whole == pytest.approx(-log_probabilities[np.arange(4), targets].mean(), rel=1e-12)
    parts = [
        model.loss(x[rows], targets[rows], lengths, 4).item()
        for rows, lengths in ((slice(2), [6, 3]), (slice(2, 4), [1, 2]))
    ]
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    model, x, targets = regressor().eval(), np.ones((3, 5, 2)), np.zeros((3, 4))
    assert model.loss(x, targets).item() == pytest.approx((model(x).numpy() ** 2).mean(), rel=1e-12)
    assert model.loss(x, targets, divide_by=1).item() == pytest.approx((model(x).numpy() ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_each_cell_learns_which_symbol_came_first(cell):
    mt.random.seed(1)
    config = SequenceClassifierConfig(cell=cell, vocab_size=8, n_classes=8, d_model=8, hidden_size=16, dropout=0.1)
    model = SequenceClassifier(config)
    optimizer = Adam(model.parameters(), lr=1e-2)
    x = ids_of(256, 6, high=8, seed=2)
    for _ in range(120):
        model.loss(x[:200], x[:200, 0]).backward()
        optimizer.step()
        optimizer.zero_grad()
    # By chance 0.125.
    assert (model.eval()(x[200:]).numpy().argmax(axis=1) == x[200:, 0]).mean() > 0.9


def test_what_the_many_to_one_models_refuse():
    with pytest.raises(ValueError, match="unknown pooling 'first'; write one of: last, mean, max"):
        regressor(pooling="first")
    with pytest.raises(ValueError, match="unknown recurrent cell 'elman'"):
        classifier(cell="elman")
    for changes in (dict(n_features=2), dict(vocab_size=None)):
        with pytest.raises(ValueError, match="give vocab_size for sequences of ids, or n_features"):
            classifier(**changes)
    with pytest.raises(ValueError, match=r"SequenceClassifier: ids must be \(sequences, steps\), got shape \(3,\)"):
        classifier()(np.zeros(3, int))
    with pytest.raises(ValueError, match="3"):
        regressor()(np.zeros((2, 5, 3)))
    for lengths, message in (([6, 7], r"lengths\[1\] is 7"), ([0, 1], "0"), ([1], r"lengths \(1,\)")):
        with pytest.raises(ValueError, match=f"SequenceClassifier: .*{message}"):
            classifier()(ids_of(2, 6), lengths)
    with pytest.raises(ValueError):
        regressor().loss(np.ones((3, 5, 2)), np.zeros((3, 3)))


# --- the language model ---------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_text_in_pieces_is_the_text(cell, n_layers):
    model, ids = language_model(cell=cell, n_layers=n_layers), ids_of(3, 9)
    whole, final = model(ids)
    first, state = model(ids[:, :4])
    second, state = model(ids[:, 4:], state)
    close(mt.concat([first, second], axis=1), whole)
    for part, other in zip(state if cell == "lstm" else [state], final if cell == "lstm" else [final]):
        close(part, other)


def test_the_loss_is_per_token_and_carries_the_state():
    model, text = language_model(), ids_of(2, 9)
    ids, targets = text[:, :-1], text[:, 1:].copy()
    targets[1, 5:] = -100
    log_probabilities = F.log_softmax(model(ids)[0]).numpy()
    wanted = [log_probabilities[b, t, targets[b, t]] for b in range(2) for t in range(8) if targets[b, t] >= 0]
    assert model.loss(ids, targets).item() == pytest.approx(-np.mean(wanted), rel=1e-12)
    total, state = 0.0, None
    for start in (0, 4):
        loss, state = model.loss_and_state(
            ids[:, start : start + 4], targets[:, start : start + 4], state, divide_by=13
        )
        total += loss.item()
    assert len(wanted) == 13 and total == pytest.approx(-np.mean(wanted), rel=1e-12)
    assert not any(part.requires_grad for part in state)


@pytest.mark.parametrize("cell", CELLS)
def test_decoding_step_by_step_is_the_whole_forward_pass(cell):
    model, ids = language_model(cell=cell), ids_of(2, 6)
    expected = F.log_softmax(model(ids)[0]).numpy()
    state = model.start([[0], [1]])
    for t in range(6):
        close(model.step(ids[:, t], state), expected[:, t])
    state = model.start(list(ids[:, :4]))
    state.reorder([1, 1, 0])
    close(model.step(ids[[1, 1, 0], 3], state), expected[[1, 1, 0], 3])


@pytest.mark.parametrize("cell", CELLS)
def test_generating_does_not_depend_on_company(cell):
    model, prompts = language_model(cell=cell), [[3, 1, 4, 1, 5, 2], [6], [5, 3, 5], [0, 2]]
    for how in (dict(), dict(beam_size=3), dict(stop_ids=2), dict(beam_size=2, stop_ids=(1, 2))):
        together = model.generate(prompts, 8, **how)
        assert together == [model.generate([prompt], 8, **how)[0] for prompt in prompts]
    assert all(len(new) == 8 for new in model.generate(prompts, 8))
    padded = np.array([[1, 2, 0], [3, 4, 5]])
    assert model.generate(padded, 8, mask=padded > 0) == model.generate([[1, 2], [3, 4, 5]], 8)
    assert model.generate([], 8) == []


def test_greedy_is_the_most_probable_token_each_time():
    model, text = language_model(), [3]
    for new in model.generate([[3]], 10)[0]:
        assert new == model(np.array([text]))[0].numpy()[0, -1].argmax()
        text.append(new)
    assert len(text) == 11


def test_drawing_follows_the_temperature_and_its_generator():
    model, prompts = language_model(), [[3, 1, 4]]
    greedy = model.generate(prompts, 30)

    def drawn(seed=0, **how):
        return model.generate(prompts, 30, generator=mt.random.Generator(seed), **{"temperature": 1.0, **how})

    assert drawn() == drawn() != drawn(seed=1)
    assert drawn(temperature=1e-6) == greedy and drawn(top_k=1) == greedy and drawn(top_p=1e-9) == greedy
    assert drawn(temperature=5.0) != greedy


def test_generating_leaves_the_mode():
    model = language_model().train()
    model.generate([[1, 2]], 2)
    assert model.training and model.generate([[1, 2]], 2) == model.eval().generate([[1, 2]], 2)


def test_what_the_language_model_refuses():
    model = language_model()
    with pytest.raises(ValueError, match=r"RecurrentLanguageModel: ids must be \(sequences, steps\), got shape \(2,\)"):
        model([1, 2])
    with pytest.raises(ValueError, match=r"lengths\[0\] is 5"):
        model([[1, 2]], lengths=[5])
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        model.generate([[1, 2], []], 3)
    with pytest.raises(ValueError, match="top_k, top_p and generator are for sampling"):
        model.generate([[1, 2]], 3, top_k=2)
    with pytest.raises(ValueError, match="beam search neither samples nor streams"):
        model.generate([[1, 2]], 3, temperature=1.0, beam_size=2)
    with pytest.raises(TypeError, match="the initial state is a pair"):
        model([[1, 2]], mt.zeros((1, 1, 6)))
    with pytest.raises(ValueError, match="the initial state h has shape"):
        model([[1, 2]], (mt.zeros((1, 2, 6)), mt.zeros((1, 2, 6))))
    with pytest.raises(IndexError, match="7"):
        model([[1, 7]])
