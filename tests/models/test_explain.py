"""What `explain` shows is what the model computes, for every architecture."""

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.explain import explain
from minitensor.models.explain.reading import log_softmax
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.marian import Marian, MarianConfig
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceRegressor,
    SequenceRegressorConfig,
)
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig

SOURCE = [5, 6, 7, 8, 9, 2]
NEAR = dict(rtol=0, atol=1e-6)
SMALL = dict(vocab_size=13, d_model=8, n_heads=2, d_ff=12)


def seeded(make):
    mt.random.seed(3)
    return make().eval()


def transformer(**options):
    return seeded(lambda: Transformer(TransformerConfig(**SMALL, n_encoder_layers=2, n_decoder_layers=2, **options)))


def t5():
    return seeded(lambda: T5(T5Config(**SMALL, d_head=4, n_encoder_layers=2, n_decoder_layers=2)))


def marian():
    sizes = dict(d_encoder_ff=12, d_decoder_ff=12, n_encoder_layers=2, n_decoder_layers=2, max_length=90, init_std=0.4)
    tokens = dict(pad_id=0, start_id=0, stop_id=2, forbidden_ids=(0,), renormalize=True)
    config = MarianConfig(vocab_size=13, d_model=8, n_encoder_heads=2, n_decoder_heads=2, **sizes, **tokens)
    return seeded(lambda: Marian(config))


def seq2seq(cell="gru", attention="additive", **options):
    config = dict(vocab_size=13, d_model=8, hidden_size=6)
    return seeded(lambda: Seq2Seq(Seq2SeqConfig(cell=cell, attention=attention, **config, **options)))


def gpt():
    return seeded(lambda: GPT(GPTConfig(**SMALL, n_layers=2, max_length=16)))


def bert(**heads):
    return seeded(lambda: BERT(BERTConfig(**SMALL, n_layers=2, max_length=16, **heads)))


def vit(**options):
    config = dict(image_size=8, patch_size=4, n_channels=1, d_model=8, n_layers=2, n_heads=2, d_ff=12, n_classes=3)
    return seeded(lambda: ViT(ViTConfig(**(config | options))))


TRANSLATORS = {
    "post-norm": transformer,
    "pre-norm": lambda: transformer(norm_first=True),
    "learned positions": lambda: transformer(positions="learned", share_embeddings=False),
    "t5": t5,
    "marian": marian,
    "gru": seq2seq,
    "lstm, dot": lambda: seq2seq("lstm", "dot", n_layers=2),
    "rnn, none": lambda: seq2seq("rnn", "none"),
    "input feeding": lambda: seq2seq("gru", "dot", input_feeding=True, n_layers=2),
}


@pytest.mark.parametrize("make", TRANSLATORS.values(), ids=TRANSLATORS)
def test_a_translator_is_shown_as_it_is(make):
    model = make()
    seen = explain(model, SOURCE, max_new_tokens=5)
    found = model.generate(np.array([SOURCE]), 5)[0]
    out = [*found, model.config.stop_id][:5]
    given = [model.config.start_id, *out[:-1]]
    with mt.no_grad():
        logits = model(np.array([SOURCE]), np.array([given])).numpy()[0]
    np.testing.assert_allclose(seen.logits, logits, **NEAR)
    assert [step.id for step in seen.steps] == out
    np.testing.assert_allclose(
        [s.log_probability for s in seen.steps], log_softmax(logits)[range(len(out)), out], **NEAR
    )
    maps = model.attention_maps(np.array([SOURCE]), np.array([given]))
    shown = {"encoder.{}.self": [], "decoder.{}.cross": []}
    for one in seen.attentions:
        name = {"encoder self": "encoder.{}.self", "cross": "decoder.{}.cross"}.get(one.side)
        if name:
            np.testing.assert_allclose(one.weights, maps[name.format(len(shown[name]))].numpy()[0], **NEAR)
            shown[name].append(one)
    assert sum(map(len, shown.values())) == len(maps)
    assert seen.difference < 2e-6


def test_masked_self_attention_is_that_of_the_decoder():
    model = transformer()
    seen = explain(model, SOURCE, target=[3, 4, 5])
    own = [one for one in seen.attentions if one.side == "decoder self"]
    assert [step.id for step in seen.steps] == [3, 4, 5, 2] and len(own) == 2
    for one in own:
        assert one.causal and not np.triu(one.weights, 1).any()
        scores = np.where(one.allowed, one.query @ one.key.swapaxes(1, 2) * one.scale, -np.inf)
        np.testing.assert_allclose(one.weights, np.exp(log_softmax(scores)), **NEAR)
        np.testing.assert_allclose(one.output, one.weights @ one.value, **NEAR)


@pytest.mark.parametrize("make", [gpt, lambda: seeded(_language_model)], ids=["gpt", "lstm"])
def test_a_language_model_is_shown_as_it_is(make):
    model = make()
    seen = explain(model, SOURCE, max_new_tokens=3)
    ids = [*SOURCE, *model.generate([SOURCE], 3)[0]]
    with mt.no_grad():
        output = model(np.array([ids]))
    logits = (output[0] if isinstance(output, tuple) else output).numpy()[0]
    np.testing.assert_allclose(seen.logits, logits, **NEAR)
    assert [step.id for step in seen.steps] == [*ids[1:], logits[-1].argmax()] and seen.difference < 2e-6
    # Without token 1 the third choice is made after tokens 0 and 2.
    with mt.no_grad():
        short = model(np.array([[ids[0], ids[2]]]))
    short = (short[0] if isinstance(short, tuple) else short).numpy()[0, -1]
    effect = log_softmax(logits)[2, ids[3]] - log_softmax(short)[ids[3]]
    np.testing.assert_allclose(seen.agreement.effects[2, 1], effect, **NEAR)
    assert np.isnan(seen.agreement.effects[2, 2:]).all()
    if make is gpt:
        for one, weights in zip(seen.attentions, model.attention_maps(np.array([ids])).values(), strict=True):
            np.testing.assert_allclose(one.weights, weights.numpy()[0], **NEAR)


def _language_model():
    return RecurrentLanguageModel(RecurrentLanguageModelConfig(vocab_size=13, hidden_size=6, d_model=5))


def test_bert_predicts_the_words_and_the_class():
    model = bert(mlm_head=True)
    seen = explain(model, SOURCE, positions=[2, -1])
    with mt.no_grad():
        hidden = model(np.array([SOURCE]))
        logits = model.word_logits(hidden).numpy()[0]
        mask = np.array([[True, False, True, True, True, True]])
        without = model.word_logits(model(np.array([SOURCE]), mask)).numpy()[0]
    np.testing.assert_allclose(seen.logits, logits[[2, 5]], **NEAR)
    word = logits[2].argmax()
    effect = log_softmax(logits)[2, word] - log_softmax(without)[2, word]
    np.testing.assert_allclose(seen.agreement.effects[0, 1], effect, **NEAR)
    model = bert(n_classes=3)
    seen = explain(model, SOURCE, classes=["bad", "fair", "good"])
    with mt.no_grad():
        logits = model.class_logits(model(np.array([SOURCE]))).numpy()
    np.testing.assert_allclose(seen.logits, logits, **NEAR)
    assert seen.steps[0].choice == ["bad", "fair", "good"][logits[0].argmax()]
    with pytest.raises(IndexError, match="are not all among the 6"):
        explain(bert(mlm_head=True), SOURCE, positions=[6])
    bare = explain(bert(), SOURCE)
    assert not bare.steps and len(bare.attentions) == 2 and bare.agreement is None


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_vit_and_its_patches(pooling):
    model = vit(pooling=pooling)
    image = np.random.default_rng(0).uniform(size=(1, 8, 8)).astype(np.float32)
    seen = explain(model, image)
    with mt.no_grad():
        logits = model(image[None]).numpy()
        painted = image.copy()
        painted[:, :4, 4:] = image.mean()
        without = model(painted[None]).numpy()
    np.testing.assert_allclose(seen.logits, logits, **NEAR)
    choice = logits[0].argmax()
    effect = log_softmax(logits)[0, choice] - log_softmax(without)[0, choice]
    np.testing.assert_allclose(seen.agreement.effects[0, 1], effect, rtol=0, atol=2e-6)
    for one, weights in zip(seen.attentions, model.attention_maps(image[None]).values(), strict=True):
        np.testing.assert_allclose(one.weights, weights.numpy()[0], **NEAR)
    assert seen.embeddings[0].total.shape == (4 + (pooling == "class"), 8)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_states_are_those_of_the_layer(cell):
    config = SequenceClassifierConfig(
        cell=cell, vocab_size=13, n_classes=3, hidden_size=4, n_layers=2, bidirectional=True
    )
    model = seeded(lambda: SequenceClassifier(config))
    seen = explain(model, mt.asarray([SOURCE]))
    with mt.no_grad():
        states, _ = model.layers(model.embedding(np.array([SOURCE])))
    shown = np.concatenate([one.states for one in seen.recurrences[-2:]], axis=-1)
    np.testing.assert_allclose(shown, states.numpy()[0], **NEAR)
    assert [(one.layer, one.reverse) for one in seen.recurrences] == [(0, False), (0, True), (1, False), (1, True)]
    gates = {"rnn": 0, "lstm": 5, "gru": 3}[cell]
    assert all(len(one.gates) == gates for one in seen.recurrences)
    if cell == "lstm":
        one = seen.recurrences[0].gates
        kept = one["forget gate"][1] * one["cell"][0] + one["input gate"][1] * one["candidate"][1]
        np.testing.assert_allclose(one["cell"][1], kept, **NEAR)


def test_a_regressor_has_values_and_no_choice():
    model = seeded(lambda: SequenceRegressor(SequenceRegressorConfig(cell="gru", hidden_size=4, horizon=2)))
    x = np.random.default_rng(0).normal(size=(1, 5, 1)).astype(np.float32)
    seen = explain(model, x)
    with mt.no_grad():
        np.testing.assert_allclose(seen.about["values"], model(x).numpy()[0], **NEAR)
    assert not seen.steps and "values: " in str(seen)


# --- what is made of it ---------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [False, True])
def test_sub_layers_add_what_they_say(norm_first):
    model = transformer(norm_first=norm_first)
    seen = explain(model, SOURCE, target=[3, 4])
    assert len(seen.layers) == 2 * 2 + 2 * 3 and all(one.norm_first is norm_first for one in seen.layers)
    assert all((one.normed is None) is norm_first for one in seen.layers)
    first = seen.layers[0]
    with mt.no_grad():
        x = model._embed(mt.asarray([SOURCE]), model.source_embedding, model.source_positions)
        layer = model.encoder.layers[0]
        y = layer.attention(layer.norm1(x) if norm_first else x)
    for shown, vectors in ((first.before, x), (first.added, y), (first.after, x + y)):
        np.testing.assert_allclose(shown, np.linalg.norm(vectors.numpy()[0], axis=-1), rtol=1e-5)
    assert [one.hidden is not None for one in seen.layers[:2]] == [False, True]


def test_embedding_and_waves_make_the_sum():
    model = transformer()
    source, target = explain(model, SOURCE, target=[3, 4]).embeddings
    if source.ids.tolist() != SOURCE:
        source, target = target, source
    names = list(source.parts)
    assert names[0] == f"embedding x {8**0.5:.4g}" and names[1] == "position waves"
    waves = nn.SinusoidalPositionalEncoding(8).encoding(6).numpy()
    np.testing.assert_allclose(source.parts["position waves"], waves, **NEAR)
    np.testing.assert_allclose(sum(source.parts.values()), source.total, **NEAR)


def test_hiding_a_source_token_is_a_mask():
    model = transformer()
    seen = explain(model, SOURCE, target=[3, 4])
    given, out = np.array([[1, 3, 4]]), [3, 4, 2]
    mask = np.array([[True, True, False, True, True, True]])
    with mt.no_grad():
        hidden = log_softmax(model(np.array([SOURCE]), given, mask).numpy()[0])[range(3), out]
    effect = log_softmax(seen.logits)[range(3), out] - hidden
    np.testing.assert_allclose(seen.agreement.effects[:, 2], effect, rtol=0, atol=2e-6)
    assert "correlates by" in str(seen) and "not why it answers" in seen.agreement.sentence()
    cross = np.mean([one.weights.mean(axis=0) for one in seen.attentions if one.side == "cross"], axis=0)
    np.testing.assert_allclose(seen.agreement.attention, cross, **NEAR)


@pytest.mark.parametrize("make", [transformer, seq2seq, gpt], ids=["transformer", "gru", "gpt"])
@pytest.mark.parametrize("size", [2, 4])
def test_the_tree_is_that_of_the_search(make, size):
    model = make()
    seen = explain(model, SOURCE, beam=size, max_new_tokens=5, length_penalty=0.6)
    if make is gpt:
        found = seen.beam.found
        assert found[0] == model.generate([SOURCE], 5, beam_size=size, length_penalty=0.6)[0]
        assert [step.id for step in seen.steps][len(SOURCE) - 1 : -1] == found[0]
    else:
        found = model.generate(np.array([SOURCE]), 5, size, 0.6, n_best=size)[0]
        assert [step.id for step in seen.steps][: len(found[0])] == found[0]
    assert seen.beam.found == found
    nodes = seen.beam.nodes
    for depth in range(1, max(node.depth for node in nodes) + 1):
        assert 0 <= sum(node.depth == depth and node.kind == "kept" for node in nodes) <= size
    for node in nodes:
        above = nodes[node.parent] if node.parent >= 0 else None
        assert node.depth == (1 if above is None else above.depth + 1)
        assert node.log_probability <= (0 if above is None else above.log_probability) + 1e-9
    best = seen.beam.best()
    assert [nodes[n].token for n in best][: len(found[0])] == found[0]


@pytest.mark.parametrize("make", [transformer, gpt], ids=["transformer", "gpt"])
def test_the_tree_beside_a_target_says_whose_it_is(make):
    seen, own = (explain(make(), SOURCE, target=one, beam=3, max_new_tokens=3) for one in ([3, 4], None))
    assert seen.beam.found == own.beam.found and not own.beam_note
    assert "not of the given target" in str(seen) and b"not of the given target" in seen.to_html()


def test_a_beam_that_ends_chooses_the_stop():
    model = seeded(lambda: GPT(GPTConfig(**SMALL, n_layers=2, max_length=16, stop_id=4)))
    seen = explain(model, SOURCE, beam=3, max_new_tokens=4)
    assert len(seen.beam.found[0]) == 3 and seen.logits[-1].argmax() != 4  # greedy would go on
    assert [step.id for step in seen.steps][len(SOURCE) - 1 :] == [*seen.beam.found[0], 4]


# --- any module -----------------------------------------------------------------------------------


class Own(nn.Module):
    """Attention by the function, without a module for it."""

    def __init__(self):
        self.words = nn.Embedding(13, 8)
        self.project = nn.Linear(8, 24)
        self.out = nn.Linear(8, 3)

    def forward(self, ids):
        q, k, v = (self.project(self.words(ids))[..., 8 * i : 8 * i + 8] for i in range(3))
        return self.out(F.scaled_dot_product_attention(q, k, v).mean(axis=1))


def test_attention_of_a_module_of_ones_own():
    model = seeded(Own)
    seen = explain(model, mt.asarray([SOURCE]), classes="abc")
    with mt.no_grad():
        q, k, _ = np.split(model.project(model.words(np.array([SOURCE]))).numpy()[0], 3, axis=-1)
    np.testing.assert_allclose(seen.attentions[0].weights[0], np.exp(log_softmax(q @ k.T * 8**-0.5)), **NEAR)
    assert seen.steps[0].choice in "abc" and seen.agreement.effects.shape == (1, 6)


def test_a_cell_is_followed_step_by_step():
    class Steps(nn.Module):
        def __init__(self):
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x):
            state = None
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return state[0]

    model = seeded(Steps)
    x = mt.random.normal((1, 5, 3))
    seen = explain(model, x)
    with mt.no_grad():
        np.testing.assert_allclose(seen.recurrences[0].states[-1], model(x).numpy()[0], **NEAR)
    assert seen.recurrences[0].states.shape == (5, 4)


class Tagger(nn.Module):
    """One row of outputs for each word; with ``length`` for texts of that length alone."""

    def __init__(self, n_outputs, length=None):
        self.words, self.look = nn.Embedding(13, 8), nn.MultiHeadAttention(8, n_heads=2)
        self.places = None if length is None else nn.Parameter(mt.ones((length, 8)))
        self.tag = nn.Linear(8, n_outputs)

    def forward(self, ids):
        x = self.words(ids)
        x = x if self.places is None else x + self.places
        return self.tag(x + self.look(x))


def test_one_number_for_each_position_is_no_choice():
    model = seeded(lambda: Tagger(1))
    seen = explain(model, mt.asarray([SOURCE]), tokens=lambda ids: [f"w{one}" for one in ids])
    with mt.no_grad():
        values = model(mt.asarray([SOURCE])).numpy()[0, :, 0]
    np.testing.assert_allclose(seen.about["values"], values, **NEAR)
    assert not seen.steps and seen.agreement is None and len(seen.attentions) == 1
    assert f"w{SOURCE[0]} {values[0]:.4g}, w{SOURCE[1]} " in str(seen) and "100 %" not in str(seen)
    assert b'"w5"' in seen.to_html()
    model.tag.bias.assign(mt.full((1,), np.nan))
    with pytest.raises(FloatingPointError, match="outputs are NaN"):
        explain(model, mt.asarray([SOURCE]))


def test_outputs_that_are_no_tokens_are_not_called_so():
    seen = explain(seeded(lambda: Tagger(3)), mt.asarray([SOURCE]), tokens="0123456789abc")
    assert {name for name, _ in seen.steps[0].top} == {"0", "1", "2"} and seen.columns == "outputs"
    names = [f"w{one}" for one in range(13)]
    seen = explain(seeded(lambda: Tagger(3)), mt.asarray([SOURCE]), tokens=names)
    assert {name for name, _ in seen.steps[0].top} == {"0", "1", "2"} and seen.tokens[0] == "w5"
    seen = explain(seeded(lambda: Tagger(13)), mt.asarray([SOURCE]), tokens=names)
    assert seen.columns == "tokens" and seen.steps[0].choice in names


def test_a_tagger_names_its_classes():
    seen = explain(seeded(lambda: Tagger(3)), mt.asarray([SOURCE]), tokens="0123456789abc", classes=["x", "y", "z"])
    assert {step.choice for step in seen.steps} <= {"x", "y", "z"} and seen.steps[0].context == "5"


@pytest.mark.parametrize(
    ("make", "inputs"),
    [(lambda: nn.Linear(3, 2), mt.ones((1, 3))), (lambda: Tagger(3, length=6), mt.asarray([SOURCE]))],
    ids=["linear", "attention"],
)
def test_what_cannot_be_left_out_is_told_with_the_reason(make, inputs):
    model = seeded(make)
    seen = explain(model, inputs)
    assert np.isnan(seen.agreement.effects).all()
    said = f"could not be measured: with one position fewer {type(model).__name__} raises"
    assert said in str(seen) and said in seen.agreement.short() and said.encode() in seen.to_html()


def test_the_model_is_left_as_it_was():
    model = gpt().train()
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    explain(model, SOURCE)
    assert model.training and not any(hook for m in model.modules() for hook in m._hooks or ())
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    loss = model.loss(np.array([SOURCE]))
    loss.backward()
    assert model.tokens.weight.grad is not None
    with pytest.raises(IndexError):
        explain(model, [99])
    assert not any(hook for m in model.modules() for hook in m._hooks or ())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: explain(gpt(), [[1, 2], [3, 4]]), ValueError, "takes one text"),
        (lambda: explain(gpt(), [0.5, 1.0]), TypeError, "must be integers"),
        (lambda: explain(bert(), SOURCE, target=[1]), ValueError, "target is for models that write"),
        (lambda: explain(seeded(Own), mt.asarray([SOURCE]), positions=[1]), ValueError, "positions are for BERT"),
        (lambda: explain(vit(), np.zeros((2, 1, 8, 8), np.float32)), ValueError, "one image"),
        (lambda: explain(gpt(), SOURCE, beam=2, max_new_tokens=0), ValueError, "at least one new token"),
        (lambda: explain(gpt(), SOURCE, target=[1], beam=2, max_new_tokens=99), ValueError, "positions"),
        (lambda: explain(gpt(), SOURCE, target=[1], beam=0), ValueError, "beam must be a positive integer"),
        (lambda: explain(gpt(), SOURCE, beam=True), TypeError, "beam must be a positive integer"),
        (lambda: explain(gpt(), SOURCE, max_new_tokens=1.5), ValueError, "max_new_tokens must be an integer"),
        (lambda: explain(bert(mlm_head=True), SOURCE, positions=[2.7]), TypeError, "positions must be integers"),
        (lambda: explain(bert(mlm_head=True), SOURCE, positions=[True] * 6), TypeError, "positions must be integers"),
        (lambda: explain(bert(mlm_head=True), SOURCE, positions=[]), ValueError, "positions is empty"),
        (lambda: explain(vit(), IMAGE, classes="ab"), ValueError, "2 names, and ViT chooses from 3"),
        (lambda: explain(seeded(lambda: Tagger(3)), mt.asarray([[1, 2], [3, 4]])), ValueError, "one input at a time"),
        (lambda: explain(nn.Embedding(5, 3), mt.asarray([1, 2])), ValueError, "one input at a time"),
        (lambda: explain(nn.Linear(3, 2), ()), ValueError, "empty tuple"),
        (lambda: explain(transformer(), SOURCE, positions=[1]), ValueError, "not for Transformer"),
        (lambda: explain(gpt(), SOURCE, positions=[1]), ValueError, "not for GPT"),
        (lambda: explain(bert(n_classes=3), SOURCE, positions=[1]), ValueError, "no head for words"),
        (lambda: explain(bert(mlm_head=True), SOURCE, classes="ab"), ValueError, "this BERT predicts words"),
        (lambda: explain(transformer(), SOURCE, classes="ab"), ValueError, "Transformer writes a text"),
        (lambda: explain(gpt(), SOURCE, classes="ab"), ValueError, "GPT writes a text"),
        (lambda: explain(nn.Linear(3, 1), mt.ones((1, 3)), classes="ab"), ValueError, "answers numbers"),
        (lambda: explain(bert(mlm_head=True), SOURCE, positions=[6]), IndexError, r"positions \[6\] are not all"),
        (lambda: explain(nn.Linear(3, 3), mt.ones(3)), ValueError, r"give it as \(1, 3\)"),
        (lambda: explain(gpt(), "a text"), TypeError, "got text: let the model's tokenizer encode it"),
        (lambda: explain(gpt(), ["a", "text"]), TypeError, "got text"),
        (lambda: explain(gpt(), SOURCE, tokens={0: "a"}), TypeError, "tokens is a dict; write a list of names by id"),
        (lambda: explain(gpt(), SOURCE, tokens={"a", "b"}), TypeError, "tokens is a set"),
        (lambda: explain(gpt(), SOURCE, tokens=5), TypeError, "tokens is an int"),
        (lambda: explain(gpt(), SOURCE, tokens=lambda ids: "word"), TypeError, "gives 'word' for a list of 1"),
        (lambda: explain(gpt(), SOURCE, tokens=lambda ids: None), TypeError, "gives None for a list of 1"),
        (lambda: explain(vit(), IMAGE, classes={0: "a"}), TypeError, "classes is a dict"),
        (lambda: explain(print, SOURCE), TypeError, "takes a Module"),
    ],
)
def test_what_it_cannot_take_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def classifier():
    return seeded(lambda: SequenceClassifier(SequenceClassifierConfig(vocab_size=13, n_classes=3, hidden_size=4)))


def regressor():
    return seeded(lambda: SequenceRegressor(SequenceRegressorConfig(hidden_size=4)))


class Whole(nn.Module):
    """Answers with ids: nothing that could be taken for logits."""

    def forward(self, ids):
        return ids


TEXT, IMAGE, SERIES = mt.asarray([SOURCE]), np.zeros((1, 8, 8), np.float32), mt.ones((1, 5, 1))
KINDS = {  # how it is made, its input, and the arguments that it uses alone
    "transformer": (transformer, SOURCE, "target tokens beam max_new_tokens"),
    "t5": (t5, SOURCE, "target tokens beam max_new_tokens"),
    "rnn": (lambda: seq2seq("rnn", "none"), SOURCE, "target tokens beam max_new_tokens"),
    "lstm, dot": (lambda: seq2seq("lstm", "dot"), SOURCE, "target tokens beam max_new_tokens"),
    "gru": (seq2seq, SOURCE, "target tokens beam max_new_tokens"),
    "gpt": (gpt, SOURCE, "target tokens beam max_new_tokens"),
    "lstm of texts": (lambda: seeded(_language_model), SOURCE, "target tokens beam max_new_tokens"),
    "bert": (bert, SOURCE, "tokens"),
    "bert of words": (lambda: bert(mlm_head=True), SOURCE, "tokens positions"),
    "bert of classes": (lambda: bert(n_classes=3), SOURCE, "tokens classes"),
    "vit": (vit, IMAGE, "classes"),
    "vit, no head": (lambda: vit(n_classes=0), IMAGE, ""),
    "classifier": (classifier, TEXT, "tokens classes"),
    "regressor": (regressor, SERIES, ""),
    "linear": (lambda: seeded(lambda: nn.Linear(3, 3)), mt.ones((1, 3)), "classes"),
    "own": (lambda: seeded(Own), TEXT, "tokens classes"),
    "own, ids": (lambda: seeded(Whole), TEXT, "tokens"),
}
NAMED = [f"<{n}>" for n in range(13)]
ARGUMENTS = {"target": [3, 4], "tokens": NAMED, "classes": ["x", "y", "z"], "positions": [1], "beam": 2,
             "length_penalty": 1.0, "max_new_tokens": 3}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_is_used_or_refused(kind):
    make, inputs, used = KINDS[kind]
    model, plain = make(), _page(explain(make(), inputs, occlusion=False))
    writes = "beam" in used
    for name, value in ARGUMENTS.items():
        if name in used.split():
            seen = explain(model, inputs, occlusion=False, **{name: value})
            assert _page(seen) != plain, name
        else:
            with pytest.raises(ValueError, match=f"^explain: {name} .*(leave|give)"):
                explain(model, inputs, **{name: value})
    if writes:  # two of them together
        for given in ({"max_new_tokens": 3, "target": [3, 4]}, {"length_penalty": 1.0, "target": [3]}):
            with pytest.raises(ValueError, match=f"^explain: {next(iter(given))} .*give beam=5 too"):
                explain(model, inputs, **given)
        both = [
            explain(model, inputs, beam=2, occlusion=False, length_penalty=p, max_new_tokens=4) for p in (-9.0, 9.0)
        ]
        assert [node.score for node in both[0].beam.nodes] != [node.score for node in both[1].beam.nodes]
        given = [explain(model, inputs, target=[3], beam=2, occlusion=False, max_new_tokens=n) for n in (1, 3)]
        assert [max(node.depth for node in one.beam.nodes) for one in given] != [1, 1]


def _page(seen):
    made = seen.to_html()
    return (made[made.index(b'id="data"') :], str(seen))


def test_a_beam_is_weighed_as_the_model_s_own_search_does():
    for make, penalty in ((gpt, 0.0), (transformer, 0.6)):
        assert explain(make(), SOURCE, beam=3, max_new_tokens=3).beam.length_penalty == penalty


def test_a_spoilt_model_is_told():
    model = bert(mlm_head=True)
    model.words.weight.assign(mt.full(model.words.weight.shape, np.nan))
    with pytest.raises(FloatingPointError, match="outputs are NaN: its weights are spoilt"):
        explain(model, SOURCE)
    for wrong in (np.nan, np.inf):
        image = np.zeros((1, 8, 8), np.float32)
        image[0, 2, 2] = wrong
        with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match="or infinity in what it was given"):
            explain(vit(), image)
    tagger = seeded(lambda: Tagger(3))
    tagger.tag.bias.assign(mt.asarray([0.0, np.inf, 0.0], dtype=np.float32))
    with pytest.raises(FloatingPointError, match="infinite, so that softmax makes NaN"):
        explain(tagger, mt.asarray([SOURCE]))
    tagger.tag.bias.assign(mt.asarray([0.0, -np.inf, 0.0], dtype=np.float32))  # what is never chosen
    assert explain(tagger, mt.asarray([SOURCE]), occlusion=False).steps[0].top[-1][1] == 0.0


def test_float16_and_float64_and_no_names():
    for dtype in ("float16", "float64"):
        model = gpt().astype(dtype)
        seen = explain(model, SOURCE[:3], max_new_tokens=1)
        assert np.isfinite(seen.logits).all() and seen.tokens[:3] == ["5", "6", "7"]
        assert len(seen.to_html()) > 10_000 and len(seen.layers) == 4
    made = transformer(norm_first=True).astype("float16")
    assert len(explain(made, SOURCE, [3, 4]).layers) == len(explain(transformer(), SOURCE, [3, 4]).layers) == 10
    assert explain(gpt(), SOURCE, occlusion=False).agreement is None
