"""T5 computes what transformers computes, from the files that it writes; and it reads ours."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minitensor import nn, optim
from minitensor.models.t5 import T5, T5Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SIZES = dict(
    vocab_size=40, d_model=12, d_kv=5, d_ff=24, num_layers=2, num_heads=3, dropout_rate=0.0, decoder_start_token_id=0
)
VERSIONS = {"version 1.0": "relu", "version 1.1": "gated-gelu"}
TOLERANCE = {torch.float32: dict(rtol=1e-4, atol=1e-4), torch.float64: dict(rtol=1e-9, atol=1e-9)}
rng = np.random.default_rng(0)


def root_mean_square_norm(self, x):
    """T5LayerNorm without its detour by float32, so that float64 can be compared to its last
    digits.
    """
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


@pytest.fixture(autouse=True)
def norm_in_full_precision(monkeypatch):
    monkeypatch.setattr(transformers.models.t5.modeling_t5.T5LayerNorm, "forward", root_mean_square_norm)


def theirs(version, dtype=torch.float64, seed=0, **changes):
    """A model of transformers with random weights; that of version 1.1 has an output layer of its
    own.
    """
    torch.manual_seed(seed)
    tied = version == "version 1.0"
    config = transformers.T5Config(
        **{**SIZES, **changes}, feed_forward_proj=VERSIONS[version], tie_word_embeddings=tied
    )
    model = transformers.T5ForConditionalGeneration(config).to(dtype).eval()
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.9 if parameter.ndim == 1 else 0.0))
    return model


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def batch():
    """Sources (3, 30), some longer than the exact buckets, their mask, and targets (3, 20)."""
    mask = np.arange(30) < np.array([[30], [21], [4]])
    return np.where(mask, rng.integers(2, 40, (3, 30)), 0), mask, rng.integers(2, 40, (3, 20))


def loaded(model, folder, **changes):
    model.save_pretrained(folder)
    return T5.from_pretrained(folder, **changes)


def reference(model, source, mask, target):
    """Their logits, as an array."""
    how = dict(attention_mask=torch.tensor(mask).long(), decoder_input_ids=torch.tensor(target))
    return model(input_ids=torch.tensor(source), **how).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits(tmp_path, version, batch, dtype):
    """With an encoder and a decoder of different depth."""
    source, mask, target = batch
    other = theirs(version, dtype, num_decoder_layers=3)
    found = loaded(other, tmp_path)(source, target, mask)
    assert found.dtype == ("float32" if dtype == torch.float32 else "float64")
    np.testing.assert_allclose(found.data, reference(other, source, mask, target).detach().numpy(), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_greedy_generation_gives_the_same_tokens(tmp_path, version, batch, dtype):
    """Of the first random model that says something: one in five repeats a word or two, or ends at
    once.
    """
    source, mask, _ = batch
    how = dict(attention_mask=torch.tensor(mask).long(), max_new_tokens=40, do_sample=False, use_cache=True)
    for seed in range(30):
        other = theirs(version, dtype, seed)
        with torch.no_grad():
            other.shared.weight *= 0.3  # else a tied model says again what it has just said
        rows = other.generate(torch.tensor(source), **how)[:, 1:].tolist()
        expected = [row[: row.index(1)] if 1 in row else row for row in rows]
        if len({token for row in expected for token in row}) > 3:
            break
    else:
        pytest.fail("none of the models says more than three different words")
    assert loaded(other, tmp_path).generate(source, 40, mask=mask) == expected


def test_one_step_of_training_changes_all_parameters_alike(tmp_path, version, batch):
    """The gradients by their names in the file, and what plain gradient descent makes of the
    weights.
    """
    source, mask, target = batch
    other = theirs(version)
    model = loaded(other, tmp_path).train()
    target_in = np.concatenate([np.zeros((3, 1), int), target[:, :-1]], axis=1)
    model.loss(source, target_in, target, mask).backward()
    labels = torch.tensor(target)
    other(input_ids=torch.tensor(source), attention_mask=torch.tensor(mask).long(), labels=labels).loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in other.named_parameters()}
    ours = dict(model.named_parameters())
    for entry in model.entries():
        expected = np.concatenate([gradients.pop(name) for name in entry.theirs])
        np.testing.assert_allclose(ours[entry.ours].grad.data, expected, rtol=1e-9, atol=1e-9, err_msg=entry.ours)
    assert not gradients  # each of theirs has been compared
    optim.SGD(list(model.parameters()), lr=0.1).step()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    found = model.eval()(source, target, mask).data
    np.testing.assert_allclose(found, reference(other, source, mask, target).detach().numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("settings", [(32, 128), (32, 64), (8, 20), (64, 300)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_of_all_distances(settings, bidirectional):
    distance = np.arange(-3000, 3001)
    attention = transformers.models.t5.modeling_t5.T5Attention
    expected = attention._relative_position_bucket(torch.tensor(distance), bidirectional, *settings).numpy()
    found = nn.RelativePositionBias(1, *settings, bidirectional=bidirectional).buckets(distance)
    np.testing.assert_array_equal(found, expected)


# --- files ----------------------------------------------------------------------------------------


def test_transformers_reads_what_we_write(tmp_path, version, batch):
    source, mask, target = batch
    model = loaded(theirs(version), tmp_path / "theirs")
    model.save_pretrained(tmp_path / "ours")
    other = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    found = reference(other, source, mask, target).detach().numpy()
    np.testing.assert_allclose(found, model(source, target, mask).data, rtol=1e-9, atol=1e-9)


def test_sharded_files(tmp_path, version, batch):
    source, mask, target = batch
    other = theirs(version, torch.float32)
    other.save_pretrained(tmp_path, max_shard_size="10KB")
    assert not (tmp_path / "model.safetensors").exists()
    found = T5.from_pretrained(tmp_path)(source, target, mask).data
    np.testing.assert_allclose(found, reference(other, source, mask, target).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_files_as_they_are_on_hubs(tmp_path, version, batch):
    """Copies of the embedding table, a bias that nobody reads, a configuration that says only what
    is unusual.
    """
    source, mask, target = batch
    other = theirs(version, torch.float32)
    other.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    weights |= {f"{stack}.embed_tokens.weight": weights["shared.weight"] for stack in ("encoder", "decoder")}
    weights["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = np.ones((32, 3), np.float32)
    if version == "version 1.0":
        weights["lm_head.weight"] = weights["shared.weight"]
    save_file(weights, path)
    sparse = {
        "model_type": "t5",
        "vocab_size": 40,
        "d_model": 12,
        "d_kv": 5,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 3,
    }
    if version == "version 1.1":
        sparse |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(sparse), encoding="utf-8")
    found = T5.from_pretrained(tmp_path)(source, target, mask).data
    np.testing.assert_allclose(found, reference(other, source, mask, target).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_an_output_that_is_neither_scaled_nor_stored_is_the_embedding_table(tmp_path, batch):
    """So transformers 5 makes and writes version 1.1 from a configuration."""
    source, mask, target = batch
    other = transformers.T5ForConditionalGeneration(
        transformers.T5Config(**SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ).eval()
    model = loaded(other.double(), tmp_path)
    assert model.lm_head.weight is model.shared.weight
    found = model(source, target, mask).data
    np.testing.assert_allclose(found, reference(other, source, mask, target).detach().numpy(), rtol=1e-9, atol=1e-9)


def test_files_that_do_not_fit(tmp_path):
    model = T5(
        T5Config(vocab_size=40, d_model=12, d_head=5, d_ff=24, n_heads=3, n_encoder_layers=1, n_decoder_layers=1)
    )
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config |= {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": True}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"missing: encoder.block.0.layer.1.DenseReluDense.wi_0.weight"):
        T5.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bart"}), encoding="utf-8")
    with pytest.raises(ValueError, match='a model of type "bart", not "t5"'):
        T5.from_pretrained(tmp_path)
