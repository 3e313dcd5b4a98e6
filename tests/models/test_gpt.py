"""GPT: causality, loss, generation by steps and in batches, errors, published configurations."""

import json
import math

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn, optim
from minitensor.files.safetensors import TensorFile, tensor_file, write_whole
from minitensor.models.gpt import GPT, IGNORED, GPTConfig
from minitensor.models.search import beam_search, power

SMALL = dict(vocab_size=23, max_length=16, d_model=16, n_layers=2, n_heads=2)
QUIET = dict(dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0)
PROMPTS = [[3], [4, 5, 6, 7, 8], [1, 2], [22, 0, 21, 20, 19, 18]]


def make(seed=0, sharp=6.0, **changes):
    """A model in float64 whose distributions are far from flat,
    so that the tokens it prefers differ.
    """
    mt.random.seed(seed)
    model = GPT(GPTConfig(**{**SMALL, **QUIET, **changes})).astype("float64")
    for parameter in model.parameters():
        parameter.assign(parameter.detach() * sharp)
    return model.eval()


def ids_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(23, size=shape)


# --- logits and loss ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side):
    model = make()
    width = max(map(len, PROMPTS))
    real = np.array([np.arange(width) < len(p) for p in PROMPTS])
    real = real[:, ::-1] if side == "left" else real
    ids = np.full(real.shape, 9)
    ids[real] = np.concatenate(PROMPTS)
    logits = model(ids, mask=real).data
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(logits[row][real[row]], model([prompt]).data[0], rtol=1e-10, atol=1e-12)


def test_the_loss_is_the_mean_over_the_tokens_that_count():
    model, ids, real = make(), ids_of(3, 7), np.ones((3, 7), bool)
    log_p = model(ids).data - np.logaddexp.reduce(model(ids).data, axis=-1, keepdims=True)
    each = -np.take_along_axis(log_p[:, :-1], ids[:, 1:, None], axis=-1)[..., 0]  # (B, T - 1)
    assert model.loss(ids).item() == pytest.approx(each.mean())
    assert model.loss(ids, divide_by=100).item() == pytest.approx(each.sum() / 100)
    targets = np.concatenate([ids[:, 1:], np.full((3, 1), IGNORED)], axis=1)
    assert model.loss(ids, targets).item() == pytest.approx(each.mean())
    real[1, 4:] = False
    counted = np.concatenate([each[0], each[1, :3], each[2]])
    assert model.loss(ids, mask=real).item() == pytest.approx(counted.mean())
    real[:, :2] = False  # on the left: the first real token is not predicted from padding
    alone = [model.loss(ids[row : row + 1, 2:stop], divide_by=1).item() for row, stop in ((0, 7), (1, 4), (2, 7))]
    assert model.loss(ids, mask=real).item() == pytest.approx(sum(alone) / 9)


def test_its_blocks_are_those_of_a_causal_encoder_with_the_same_names_of_weights():
    """Also the weights that were saved when it was made of one, and those of PyTorch's."""
    model = make(d_ff=20)
    encoder = nn.TransformerEncoder(2, 16, 2, 20, 0.0, "gelu_tanh", norm_first=True).astype("float64")
    state = {name: value for name, value in model.state_dict().items() if name.startswith("transformer.")}
    encoder.load_state_dict({name.removeprefix("transformer."): value for name, value in state.items()})
    assert list(model.state_dict()) == ["tokens.weight", "positions.weight", *state, "output.weight"]
    assert nn.torch_names(model.transformer) == nn.torch_names(encoder)
    x, mask = mt.random.normal((3, 5, 16), dtype="float64"), nn.padding_mask([5, 2, 4])
    y, seen = model.transformer(x, mask, need_weights=True)
    expected, weights = encoder(x, mask, is_causal=True, need_weights=True)
    np.testing.assert_array_equal(y.data, expected.data)
    for one, other in zip(seen, weights, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    with pytest.raises(ValueError, match="GPT: n_layers must be a positive integer, got 0"):
        make(n_layers=0)


def test_it_starts_near_the_uniform_distribution_and_learns():
    mt.random.seed(1)
    model, ids = GPT(GPTConfig(**SMALL)), ids_of(4, 12)
    assert model.loss(ids).item() == pytest.approx(math.log(23), abs=0.05)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(ids).backward()
        optimizer.step()
    assert model.eval().loss(ids).item() < 0.3


def test_weights_start_as_the_paper_says():
    mt.random.seed(0)
    model = GPT(GPTConfig(vocab_size=500, max_length=64, d_model=128, n_layers=8, n_heads=4))
    assert model.output.weight is model.tokens.weight
    for name, parameter in model.named_parameters():
        adds = name.endswith(("attention.out.weight", "linear2.weight"))
        expected = 0.02 / 4 if adds else 0.02
        if parameter.ndim > 1:
            assert parameter.data.std() == pytest.approx(expected, rel=0.05), name
        else:
            assert (parameter.data == (1 if "norm" in name and name.endswith("weight") else 0)).all(), name


def test_dropout_stands_at_its_three_places():
    ids = ids_of(1, 8)
    for place in QUIET:
        model = make(**{place: 0.5}).train()
        assert (model(ids).data != model(ids).data).any(), place
    model = make().train()
    np.testing.assert_array_equal(model(ids).data, model.eval()(ids).data)
    assert all(layer.feed_forward.dropout.p == 0 for layer in GPT(GPTConfig(**SMALL)).transformer.layers)


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_is_classified_by_its_last_real_token(side):
    model = make()
    classifier = model.with_classifier(3).eval()
    for mine, theirs in zip(classifier.gpt.parameters(), model.parameters(), strict=True):
        assert mine is not theirs and np.array_equal(mine.data, theirs.data)
    width = max(map(len, PROMPTS))
    real = np.array([np.arange(width) < len(p) for p in PROMPTS])
    real = real[:, ::-1] if side == "left" else real
    ids = np.full(real.shape, 9)
    ids[real] = np.concatenate(PROMPTS)
    logits = classifier(ids, real)
    assert logits.shape == (len(PROMPTS), 3)
    for row, prompt in enumerate(PROMPTS):
        state = model.states([prompt]).data[0, -1]
        expected = state @ classifier.classifier.weight.data.T + classifier.classifier.bias.data
        np.testing.assert_allclose(logits.data[row], expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(classifier([prompt]).data[0], expected, rtol=1e-10, atol=1e-12)
    means = model.with_classifier(3, "mean").eval()
    for row, prompt in enumerate(PROMPTS):
        state = model.states([prompt]).data[0].mean(axis=0)
        expected = state @ means.classifier.weight.data.T + means.classifier.bias.data
        np.testing.assert_allclose(means(ids, real).data[row], expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(means([prompt]).data[0], expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="pooling must be"):
        model.with_classifier(3, "first")
    labels = np.array([0, 1, 2, 0])
    log_p = logits.data - np.logaddexp.reduce(logits.data, axis=-1, keepdims=True)
    assert classifier.loss(ids, real, labels).item() == pytest.approx(-log_p[np.arange(4), labels].mean())
    real[1] = False
    with pytest.raises(ValueError, match="no real token in row 1"):
        classifier(ids, real)


# --- generation -----------------------------------------------------------------------------------


def uncached(model, prompt, count, stops=()):
    """The most probable continuation, everything computed anew for each token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        token = int(model([ids]).data[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_cached_equals_uncached_and_batched_equals_single():
    model = make()
    expected = [uncached(model, prompt, 11) for prompt in PROMPTS]
    assert len({token for tokens in expected for token in tokens}) > 5
    assert model.generate(PROMPTS, 11) == expected
    assert [model.generate([prompt], 11)[0] for prompt in PROMPTS] == expected


@pytest.mark.parametrize("how", [dict(temperature=1.0), dict(temperature=0.7, top_k=5, top_p=0.9), dict(beam_size=3)])
def test_sampling_and_beam_search_do_not_depend_on_the_batch(how):
    model = make(sharp=4.0)

    def generator(row):
        return dict(generator=mt.random.Generator(5, stream=row)) if "temperature" in how else {}

    together = model.generate(PROMPTS, 10, **how, **generator(0))
    assert len({tuple(tokens) for tokens in together}) == 4
    for row, prompt in enumerate(PROMPTS):
        assert model.generate([prompt], 10, **how, **generator(row)) == [together[row]]
    if "temperature" in how:
        own = [mt.random.Generator(5, stream=row) for row in (3, 0, 2, 1)]
        mixed = model.generate([PROMPTS[row] for row in (3, 0, 2, 1)], 10, **how, generator=own)
        assert [mixed[i] for i in (1, 3, 2, 0)] == together and {one.counter for one in own} == {3}


def test_lists_of_generators_are_looked_at_before_anything_is_drawn():
    model, own = make(), [mt.random.Generator(0, stream=i) for i in range(2)]
    for prompts in (PROMPTS, []):
        with pytest.raises(ValueError, match=f"generator has 2 generators for {len(prompts)} sentences"):
            model.generate(prompts, 3, temperature=1.0, generator=own)
    for wrong in (dict(), dict(beam_size=2)):
        with pytest.raises(ValueError, match="top_k, top_p and generator are for sampling"):
            model.generate(PROMPTS[:2], 3, generator=own, **wrong)
    with pytest.raises(TypeError, match=r"generator\[0\] must be an mt.random.Generator, got int"):
        model.generate(PROMPTS[:2], 3, temperature=1.0, generator=[5, 6])


def test_a_beam_is_judged_by_another_penalty():
    model, stop = make(sharp=0.3), 6
    how = dict(beam_size=4, stop_ids=stop)

    def steep(length, alpha):
        return power(length, 4.0 * alpha)

    found = model.generate(PROMPTS, 8, length_penalty=1.0, penalty=steep, **how)
    direct = (model.step, model.start(list(map(np.asarray, PROMPTS))), [prompt[-1] for prompt in PROMPTS], stop, 8, 4)
    with mt.no_grad():
        assert (
            found == beam_search(*direct, 1.0, penalty=steep) != model.generate(PROMPTS, 8, length_penalty=1.0, **how)
        )
    with pytest.raises(ValueError, match="penalty are of a beam search, and beam_size is 1"):
        model.generate(PROMPTS, 8, penalty=power)
    with pytest.raises(ValueError, match="of length_penalty: give that too, such as 1.0"):
        model.generate(PROMPTS, 8, beam_size=4, penalty=power)


def test_prompts_as_an_array_with_padding_on_either_side():
    model, expected = make(), make().generate([[4, 5, 6], [7]], 5)
    for ids, real in (
        ([[4, 5, 6], [7, 0, 0]], [[1, 1, 1], [1, 0, 0]]),
        ([[4, 5, 6], [9, 9, 7]], [[1, 1, 1], [0, 0, 1]]),
    ):
        assert model.generate(mt.tensor(ids), 5, mask=np.array(real, bool)) == expected
    assert model.generate(np.array([[4, 5, 6]]), 5) == expected[:1]
    assert model.generate([], 5) == []


def test_stop_tokens():
    model = make()
    whole = uncached(model, [4, 5], 11)
    stop = whole[6]
    cut = whole[: whole.index(stop)]
    assert model.generate([[4, 5]], 11, stop_ids=stop) == [cut]
    assert model.generate([[4, 5]], 11, stop_ids=(stop, whole[0])) == [[]]
    configured = make(stop_id=stop)
    assert configured.generate([[4, 5]], 11) == [cut] and configured.generate([[4, 5]], 11, stop_ids=()) == [whole]


@pytest.mark.parametrize("how", [dict(), dict(temperature=1.0, generator=mt.random.Generator(3))])
def test_the_stream_brings_the_same_tokens_one_by_one(how):
    model, seen = make(), [[] for _ in PROMPTS]
    outputs = model.generate(
        PROMPTS, 9, stop_ids=(1, 2, 3), stream=lambda rows, ids: [seen[r].append(i) for r, i in zip(rows, ids)], **how
    )
    assert seen == outputs


def test_all_positions_of_the_model_can_be_filled():
    model = make()
    assert model.generate([ids_of(16).tolist()], 1) == [uncached(model, ids_of(16), 1)]
    assert len(model.generate([[1, 2]], 15)[0]) == 15


def test_generation_leaves_the_mode_and_records_nothing():
    model = make(dropout=0.5).train()
    assert model.generate([[1]], 3) == make().generate([[1]], 3) and model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate([[1], []], 3), "prompt 1 is empty: begin it with some token"),
        (
            lambda m: m.generate([[1], [2] * 12], 6),
            r"12 tokens and 6 new ones need 17 positions, the model has 16: ask for fewer new tokens, or keep the last 11",
        ),
        (lambda m: m.generate([[1]], 20), "need 20 positions, the model has 16: ask for fewer new tokens$"),
        (lambda m: m.generate([[1]], 0), "max_new_tokens must be at least 1, got 0"),
        (lambda m: m.generate([1, 2], 3), r"got shape \(2,\): \[ids\] is one prompt"),
        (lambda m: m.generate([[1]], 3, mask=[[True]]), "lists of ids have no padding"),
        (
            lambda m: m.generate(mt.tensor([[1]]), 3, mask=[[1]]),
            r"must be boolean and have the shape of the ids \(1, 1\)",
        ),
        (lambda m: m.generate([[1]], 3, top_k=3), "give a temperature above 0"),
        (lambda m: m.generate([[1]], 3, temperature=-1), "temperature must be 0, .* got -1"),
        (lambda m: m.generate([[1]], 3, beam_size=2, temperature=1.0), "beam search neither samples nor streams"),
        (lambda m: m.generate([[1]], 3, beam_size=0), "beam_size must be at least 1"),
        (lambda m: m(ids_of(1, 17)), r"17 tokens is longer than the model allows \(16\)"),
        (lambda m: m([1, 2]), r"ids must be \(sentences, positions\), got shape \(2,\)"),
        (lambda m: m.loss([[1]]), "hold nothing to predict"),
        (lambda m: m.loss([[1, 2]], [[1]]), r"targets \(1, 1\) must have the shape of the ids \(1, 2\)"),
        (lambda m: m([[1, 2]], mask=[[True]]), r"the mask, \(1, 1\) of bool"),
        (lambda m: GPTConfig(attention_dropout=1.5), r"attention_dropout must be a number from 0 to 1, got 1.5"),
        (lambda m: GPTConfig(embedding_dropout=-0.1), "GPTConfig: embedding_dropout must be a number from 0 to 1"),
        (lambda m: GPTConfig.preset("gpt3"), "no preset 'gpt3'; there are: gpt2, gpt2-medium"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(make())


def test_ids_that_are_none():
    model = make()
    for call in (lambda: model([[23]]), lambda: model.generate([[1, 23]], 2), lambda: model.generate([[-1, 2]], 2)):
        with pytest.raises(IndexError, match=r"is outside the table tokens\.weight, which has rows 0 to 22"):
            call()
    with pytest.raises(TypeError, match="ids must be integers, got float64"):
        model.generate([[1.5]], 2)


# --- published configurations and files -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2", 124.4), ("gpt2-medium", 354.8), ("gpt2-large", 774.0), ("gpt2-xl", 1557.6), ("distilgpt2", 81.9)],
)
def test_the_presets_have_the_published_sizes(name, millions):
    c = GPTConfig.preset(name)
    assert c.stop_id == 50256 and GPTConfig.preset(name, dropout=0.0).dropout == 0.0
    layer = 12 * c.d_model**2 + 13 * c.d_model
    assert ((c.vocab_size + c.max_length + 2) * c.d_model + c.n_layers * layer) / 1e6 == pytest.approx(
        millions, abs=0.05
    )


def test_a_sparse_configuration_relies_on_the_defaults():
    assert GPTConfig.from_hugging_face({}) == GPTConfig(stop_id=50256) == GPTConfig.preset("gpt2")
    assert GPTConfig.from_hugging_face({"vocab_size": 100}).stop_id is None
    config = GPTConfig(**SMALL, d_ff=40, activation="relu", stop_id=3, tie_output=False)
    assert GPTConfig.from_hugging_face(json.loads(json.dumps(config.to_hugging_face()))) == config
    with pytest.raises(ValueError, match="activation_function is 'tanh'; known are gelu_new"):
        GPTConfig.from_hugging_face({"activation_function": "tanh"})
    with pytest.raises(ValueError, match="scale_attn_by_inverse_layer_idx is True"):
        GPTConfig.from_hugging_face({"scale_attn_by_inverse_layer_idx": True})


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_files_as_they_are_on_hubs(tmp_path, prefix, head, tied):
    model = make(tie_output=tied)
    model.save_pretrained(tmp_path)
    stored = TensorFile(tmp_path / "model.safetensors")
    tensors = {name: stored.read(name) for name in stored.shapes}
    assert tensors["transformer.h.0.attn.c_attn.weight"].shape == (16, 48)
    output = tensors.pop("lm_head.weight", tensors["transformer.wte.weight"])
    tensors = {prefix + name.removeprefix("transformer."): value for name, value in tensors.items()}
    for i in range(2):
        tensors[f"{prefix}h.{i}.attn.bias"] = np.tril(np.ones((1, 1, 16, 16), np.float32))
        tensors[f"{prefix}h.{i}.attn.masked_bias"] = np.array(-1e4, np.float32)
    if head:
        tensors["lm_head.weight"] = output
    write_whole({tmp_path / "model.safetensors": tensor_file(tensors, {"format": "pt"})})
    if not (tied or head):
        with pytest.warns(UserWarning, match="no weights for output.weight"):
            GPT.from_pretrained(tmp_path)
        return
    back = GPT.from_pretrained(tmp_path)
    assert not back.training and (back.output.weight is back.tokens.weight) == tied
    np.testing.assert_array_equal(back(ids_of(2, 8)).data, model(ids_of(2, 8)).data)


def test_other_sizes_than_the_file_has(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"transformer.h.0.ln_1.weight has shape \(16,\), the configuration asks for \(18,\)"
    ):
        GPT.from_pretrained(tmp_path, d_model=18)
    with pytest.raises(ValueError, match="unexpected: transformer.h.1"):
        GPT.from_pretrained(tmp_path, n_layers=1)
    with pytest.raises(ValueError, match="missing: transformer.h.2"):
        GPT.from_pretrained(tmp_path, n_layers=3)


def test_attention_maps_are_causal_and_pass_padding_over():
    model = make(dropout=0.5).train()
    ids, mask = np.array([[3, 4, 5], [0, 3, 4]]), np.array([[True, True, True], [False, True, True]])
    maps = model.attention_maps(ids, mask)
    assert model.training and list(maps) == [f"decoder.{i}.self" for i in range(model.config.n_layers)]
    for weights in maps.values():
        seen = weights.data  # (B, H, T, T)
        np.testing.assert_allclose(seen[0].sum(-1), 1, rtol=1e-5)
        assert not np.triu(seen, 1).any() and not seen[1, :, :, 0].any()
