"""Recurrent encoder-decoders: decoding agrees with training, padding has no say,
attention is what its formula says.
"""

import dataclasses

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from minitensor.models.checks import evaluating
from minitensor.models.search import sample
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.testing import gradcheck, invariants

PAD, START, STOP = 0, 1, 2
SOURCE = np.array([[3, 4, 5, 9, STOP], [6, 7, STOP, PAD, PAD]])
MASK = SOURCE != PAD
TARGET_IN, TARGET_OUT = np.array([[START, 5, 6], [START, 8, PAD]]), np.array([[5, 6, STOP], [8, STOP, PAD]])

CELLS = ("rnn", "lstm", "gru")
ATTENTIONS = ("none", "additive", "dot")


def make(cell="gru", attention="additive", seed=0, **options):
    mt.random.seed(seed)
    shape = dict(vocab_size=11, d_model=8, hidden_size=6, max_length=12, dropout=0.0)
    return Seq2Seq(Seq2SeqConfig(cell=cell, attention=attention, **{**shape, **options}))


@pytest.fixture(params=[(1, False), (2, False), (3, True)], ids=["1 layer", "2 layers", "3 layers fed"])
def shape(request):
    return dict(zip(("n_layers", "input_feeding"), request.param))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_decoding_step_by_step_is_the_forward_pass(cell, attention, shape):
    model = make(cell, attention, **shape).astype(np.float64).eval()
    invariants.cached_decoding(model, {0: SOURCE, 1: TARGET_IN, "mask": MASK})


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_reach_every_parameter(cell, attention, shape):
    model = make(cell, attention, **shape)
    batch = (SOURCE, TARGET_IN, TARGET_OUT, MASK)
    invariants.gradient_reaches_parameters(model, batch, call=Seq2Seq.loss, batches=1)


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "additive"), ("gru", "dot"), ("rnn", "none")])
def test_gradients_are_those_of_finite_differences(cell, attention):
    model = make(cell, attention, n_layers=2, input_feeding=True).astype(np.float64)
    parameters = list(model.parameters())
    gradcheck(lambda *_: model.loss(SOURCE, TARGET_IN, TARGET_OUT, MASK), parameters)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_and_company_have_no_say(attention, shape):
    model = make("lstm", attention, **shape).astype(np.float64).eval()
    poisoned = np.where(MASK, SOURCE, 7)  # other words behind the end
    logits = model(SOURCE, TARGET_IN, MASK).data
    np.testing.assert_array_equal(logits, model(poisoned, TARGET_IN, MASK).data)
    alone = model(SOURCE[1:, :3], TARGET_IN[1:]).data
    np.testing.assert_allclose(logits[1:], alone, atol=1e-12)
    for beam_size in (1, 3):
        together = model.generate(SOURCE, mask=MASK, beam_size=beam_size)
        apart = [model.generate(SOURCE[i : i + 1, : MASK[i].sum()], beam_size=beam_size)[0] for i in range(2)]
        assert together == apart


def test_the_mode_is_as_before_after_decoding():
    model = make(dropout=0.5)
    with pytest.raises(ValueError, match=r"the sources have no positions, \(2, 0\)"):
        model.generate(SOURCE[:, :0])
    first = model.generate(SOURCE, mask=MASK)
    assert model.training and first == model.generate(SOURCE, mask=MASK)
    assert model.eval().generate(SOURCE, mask=MASK) == first and not model.training


def test_smoothing_and_dropout_are_for_training():
    model, plain = make(dropout=0.3, label_smoothing=0.2), make(label_smoothing=0.0)
    expected = plain.loss(SOURCE, TARGET_IN, TARGET_OUT, MASK).item()
    assert model.loss(SOURCE, TARGET_IN, TARGET_OUT, MASK).item() != expected
    assert model.eval().loss(SOURCE, TARGET_IN, TARGET_OUT, MASK).item() == expected
    total = model.loss(SOURCE, TARGET_IN, TARGET_OUT, MASK, divide_by=1).item()
    np.testing.assert_allclose(total, 5 * expected, rtol=1e-6)  # five target tokens are real


# --- attention ------------------------------------------------------------------------------------


def by_hand(model, kind, query, memory):
    """Attention of one query (H,) to ``memory`` (S, M) as its paper writes it:
    ``(weights, context)``.
    """
    a = model.attention
    if kind == "additive":  # v . tanh(W_q q + b + W_m m)
        scores = [
            a.score.data @ np.tanh(a.query.weight.data @ query + a.query.bias.data + a.key.weight.data @ m)
            for m in memory
        ]
    else:  # (W q) . m
        scores = [(a.query.weight.data @ query) @ m for m in memory]
    weights = np.exp(scores) / np.exp(scores).sum()
    return weights, weights @ memory


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_attention_is_the_papers_formula(kind):
    model = make("gru", kind).astype(np.float64).eval()
    state = model.start(SOURCE, MASK)
    memory = state.memory.data
    h, _ = model.lower(model.target_embedding(mt.asarray(TARGET_IN)) * 8**0.5, state.lower)  # (B, T, H)
    maps = model.attention_maps(SOURCE, TARGET_IN, MASK)["decoder.0.cross"].data  # (B, 1, T, S)
    context, _ = model._context(h, state, False)
    for b, length in enumerate(MASK.sum(axis=1)):
        for t in range(3):
            weights, expected = by_hand(model, kind, h.data[b, t], memory[b, :length])
            np.testing.assert_allclose(maps[b, 0, t, :length], weights, atol=1e-12)
            np.testing.assert_allclose(context.data[b, t], expected, atol=1e-12)
    assert (maps[1, 0, :, 3:] == 0).all()


def test_a_fixed_context_is_the_encoders_last_states_at_every_step():
    model = make("gru", "none").eval()
    assert model.attention_maps(SOURCE, TARGET_IN, MASK) == {}
    state = model.start(SOURCE, MASK)
    context, _ = model._context(mt.zeros((2, 3, 6)), state, False)
    embedded = model.source_embedding(mt.asarray(SOURCE)) * 8**0.5
    output, _ = model.encoder(embedded, lengths=MASK.sum(axis=1))
    # Forward states end at the last word, backward ones at the first.
    for row, last in enumerate(MASK.sum(axis=1) - 1):
        expected = np.concatenate([output.data[row, last, :6], output.data[row, 0, 6:]])
        np.testing.assert_allclose(context.data[row], np.tile(expected, (3, 1)), rtol=1e-6)


def test_input_feeding_makes_a_step_see_what_the_last_one_looked_at():
    model = make("gru", "additive", input_feeding=True).eval()
    state = model.start(SOURCE, MASK)
    assert not state.feed.data.any()
    model.step(TARGET_IN[:, 0], state)
    changed = model.start(SOURCE, MASK)
    model.step(TARGET_IN[:, 0], changed)
    changed.feed = changed.feed + 1.0
    assert not np.allclose(model.step(TARGET_IN[:, 1], state).data, model.step(TARGET_IN[:, 1], changed).data)


# --- copying --------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS[1:])
def test_decoding_of_a_copying_model_step_by_step_is_the_forward_pass(attention, shape):
    model = make("gru", attention, copy=True, **shape).astype(np.float64).eval()
    invariants.cached_decoding(model, {0: SOURCE, 1: TARGET_IN, "mask": MASK})


def test_gradients_of_a_copying_model_are_those_of_finite_differences():
    model = make(copy=True, input_feeding=True).astype(np.float64)
    invariants.gradient_reaches_parameters(model, (SOURCE, TARGET_IN, TARGET_OUT, MASK), call=Seq2Seq.loss, batches=1)
    gradcheck(lambda *_: model.loss(SOURCE, TARGET_IN, TARGET_OUT, MASK), list(model.parameters()))


def test_copying_is_the_papers_mixture():
    """The two halves by themselves, by the gate's bias, and both together, place by place."""
    model = make(copy=True).astype(np.float64).eval()
    source = np.array([[3, 4, 3, STOP]])  # 3 gets what its two places get
    target = np.array([[START, 5]])
    weights = model.attention_maps(source, target)["decoder.0.cross"].data[0, 0]  # (T, S)
    copied = np.zeros((2, 11))
    for place, word in enumerate(source[0]):
        copied[:, word] += weights[:, place]
    readouts, _ = model._decode(model._embed(mt.asarray(target), model.target_embedding), model.encode(source), True)
    logits = model.output(readouts).data[0]
    written = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    model.gate.weight.assign(np.zeros((8, 1)) if model.gate.weight.shape == (8, 1) else np.zeros((1, 8)))
    for bias, share in ((40.0, 1.0), (-40.0, 0.0), (1.0, 1 / (1 + np.exp(-1.0)))):
        model.gate.bias.assign(np.array([bias]))
        found = np.exp(model(source, target).data[0])
        np.testing.assert_allclose(found, share * written + (1 - share) * copied, atol=1e-8)


def test_padding_is_not_copied_and_company_has_no_say():
    model = make(copy=True).astype(np.float64).eval()
    alone = model(SOURCE[1:, :3], TARGET_IN[1:]).data
    np.testing.assert_allclose(model(SOURCE, TARGET_IN, MASK).data[1:], alone, rtol=1e-10)


def test_copying_needs_words_to_look_at():
    with pytest.raises(ValueError, match="copy needs an attention to words of the source"):
        make(attention="none", copy=True)


# --- it learns, and it says what is wrong ---------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_to_reverse(cell):
    words = np.random.default_rng(0).integers(3, 9, (600, 4))
    stop, start = np.full((600, 1), STOP), np.full((600, 1), START)
    source, backward = np.hstack([words, stop]), words[:, ::-1]
    target_in, target_out = np.hstack([start, backward]), np.hstack([backward, stop])
    model = make(cell, "additive", d_model=24, hidden_size=32, label_smoothing=0.0)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for step in range(150):
        rows = slice(step % 10 * 50, step % 10 * 50 + 50)
        model.loss(source[rows], target_in[rows], target_out[rows]).backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    found = model.generate(source[500:])  # unseen
    assert np.mean([a == b.tolist() for a, b in zip(found, backward[500:])]) >= 0.9


def test_drawn_targets_are_those_of_sample():
    model = make()
    options = dict(temperature=0.7, top_k=5, top_p=0.9)
    with evaluating(model):
        state = model.start(SOURCE, MASK)
        state.reorder(np.arange(2).repeat(3))
        wanted = sample(model.search_step, state, [START] * 6, STOP, 9, **options, generator=mt.random.Generator(4))
    found = model.generate(SOURCE, 9, mask=MASK, start_ids=[START] * 6, **options, generator=mt.random.Generator(4))
    assert found == wanted and len(set(map(tuple, found))) > 2
    assert model.generate(SOURCE, 9, mask=MASK, temperature=1e-9) == model.generate(SOURCE, 9, mask=MASK)
    for wrong, message in (
        (dict(temperature=1.0, beam_size=2), "beam search neither samples"),
        (dict(temperature=1.0, n_best=2), "to draw several of each source, repeat its start_ids"),
        (dict(top_k=3), "give a temperature above 0"),
        (dict(temperature=-1.0), "temperature must be 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(SOURCE, 9, mask=MASK, **wrong)


@pytest.mark.parametrize("named", [{}, dict(attention="dot", copy=True), dict(cell="lstm", attention="none")])
def test_several_targets_of_several_sources_draw_what_they_draw_alone(named):
    model, each = make(**named), 3
    real = [int(row.sum()) for row in MASK]

    def own(seed):
        return [mt.random.Generator(seed, stream=k) for k in range(each)]

    alone = [
        model.generate(SOURCE[i : i + 1, : real[i]], 9, start_ids=[START] * each, temperature=1.0, generator=own(i))
        for i in range(len(SOURCE))
    ]
    both = [*own(0), *own(1)]
    found = model.generate(SOURCE, 9, mask=MASK, start_ids=[START] * 2 * each, temperature=1.0, generator=both)
    assert [found[:each], found[each:]] == alone and len(set(map(tuple, found))) > each
    assert {one.counter for one in both} == {3}
    with pytest.raises(ValueError, match="generator has 3 generators for 6 sentences"):
        model.generate(SOURCE, 9, mask=MASK, start_ids=[START] * 6, temperature=1.0, generator=own(0))


def test_bad_input_is_named():
    model = make()
    with pytest.raises(ValueError, match="unknown recurrent cell 'elman'; write one of: rnn, lstm, gru"):
        make("elman")
    with pytest.raises(ValueError, match="unknown attention 'soft'; write one of: none, additive, dot"):
        make(attention="soft")
    with pytest.raises(ValueError, match="pad to the right"):
        model.encode(SOURCE, MASK[:, ::-1])
    with pytest.raises(ValueError, match="no real token in row 0"):
        model.encode(SOURCE, np.zeros_like(MASK))
    with pytest.raises(
        ValueError, match=r"mask, \(2, 4\) of bool, must be boolean and have the shape of the ids \(2, 5\)"
    ):
        model.encode(SOURCE, MASK[:, :4])
    with pytest.raises(ValueError, match="13 tokens is longer than the model allows"):
        model.encode(np.full((1, 13), 3))
    with pytest.raises(ValueError, match="2 source sentences but 1 target"):
        model(SOURCE, TARGET_IN[:1], MASK)


def test_the_configuration_is_plain_values():
    config = make().config
    assert Seq2SeqConfig(**config.to_dict()) == config == dataclasses.replace(config)


def test_a_batch_of_padding_alone_has_no_loss():
    model = make()
    loss = model.loss(SOURCE, np.full((2, 3), PAD), np.full((2, 3), PAD), MASK)
    loss.backward()
    assert loss.item() == 0.0 and not any(parameter.grad.data.any() for parameter in model.parameters())
