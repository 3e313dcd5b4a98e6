"""BERT computes what transformers computes, from the files that it writes; and it reads ours."""

import json

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.bert import BERT, IGNORED, BERTConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SIZES = dict(
    vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=20,
)  # fmt: skip
STILL = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
TOLERANCE = {torch.float32: dict(rtol=1e-4, atol=1e-4), torch.float64: dict(rtol=1e-9, atol=1e-9)}
rng = np.random.default_rng(0)


def theirs(kind, dtype=torch.float64, **changes):
    """A model of transformers with random weights, none of them 0 or 1."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**{**SIZES, **STILL, **changes})).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (0.9 if parameter.ndim == 1 else 0.0))
    return model


@pytest.fixture(scope="module")
def batch():
    """ids, mask and segments of three sequences of different lengths."""
    mask = np.arange(11) < np.array([[11], [7], [4]])
    ids = np.where(mask, rng.integers(1, 50, mask.shape), 0)
    segments = np.where(mask, np.arange(11) >= np.array([[5], [3], [2]]), 0)
    return ids, mask, segments


def as_torch(ids, mask, segments):
    return dict(
        input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long(), token_type_ids=torch.tensor(segments)
    )


def assert_close(ours, other, dtype=torch.float64, real=slice(None)):
    np.testing.assert_allclose(ours.data[real], other.detach().numpy()[real], **TOLERANCE[dtype])


def loaded(model, folder, **changes):
    model.save_pretrained(folder)
    return BERT.from_pretrained(folder, **changes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_of_pretraining(tmp_path, batch, dtype):
    other = theirs("BertForPreTraining", dtype)
    model = loaded(other, tmp_path)
    hidden = model(*batch)
    expected = other(**as_torch(*batch))
    real = batch[1]
    assert_close(hidden, other.bert(**as_torch(*batch)).last_hidden_state, dtype, real)
    assert_close(model.word_logits(hidden), expected.prediction_logits, dtype, real)
    assert_close(model.next_logits(hidden), expected.seq_relationship_logits, dtype)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_a_training_step_has_their_gradients(tmp_path, batch, activation):
    other = theirs("BertForPreTraining", hidden_act=activation).train()
    model = loaded(other, tmp_path).train()
    ids, mask, segments = batch
    words = np.where(mask & (rng.random(mask.shape) < 0.4), rng.integers(1, 50, mask.shape), IGNORED)
    unrelated = np.array([1, 0, 1])
    loss = model.loss(ids, mask, segments, words=words, unrelated=unrelated)
    expected = other(**as_torch(*batch), labels=torch.tensor(words), next_sentence_label=torch.tensor(unrelated)).loss
    assert abs(loss.item() - expected.item()) < 1e-9
    loss.backward()
    expected.backward()
    grads = {name: parameter.grad.numpy() for name, parameter in other.named_parameters()}
    for entry in model.entries():
        ours = dict(model.named_parameters())[entry.ours].grad.data
        np.testing.assert_allclose(
            ours, np.concatenate([grads.pop(name) for name in entry.theirs]), rtol=1e-9, atol=1e-9
        )
    assert not grads  # all of theirs were compared


def test_classification(tmp_path, batch):
    other = theirs("BertForSequenceClassification", num_labels=4)
    model = loaded(other, tmp_path)
    labels = np.array([3, 0, 1])
    expected = other(**as_torch(*batch), labels=torch.tensor(labels))
    assert model.config.n_classes == 4
    assert_close(model.class_logits(model(*batch)), expected.logits)
    assert abs(model.loss(*batch, labels=labels).item() - expected.loss.item()) < 1e-9


@pytest.mark.parametrize(
    "kind, heads",
    [
        ("BertModel", (True, False, False)),
        ("BertForMaskedLM", (False, True, False)),
        ("BertForNextSentencePrediction", (True, False, True)),
        ("BertForPreTraining", (True, True, True)),
    ],
)
def test_the_heads_are_those_of_the_file(tmp_path, batch, kind, heads):
    other = theirs(kind)
    model = loaded(other, tmp_path)
    c = model.config
    assert (c.pooler, c.mlm_head, c.nsp_head) == heads
    if kind == "BertModel":
        assert_close(model.pooled(model(*batch)), other(**as_torch(*batch)).pooler_output)
    if kind == "BertForMaskedLM":
        assert_close(model.word_logits(model(*batch)), other(**as_torch(*batch)).logits, real=batch[1])


@pytest.mark.parametrize(
    "heads", [dict(mlm_head=True, nsp_head=True), dict(n_classes=3), dict(), dict(mlm_head=True, pooler=False)]
)
def test_transformers_reads_what_we_write(tmp_path, batch, heads):
    sizes = dict(vocab_size=50, d_model=24, n_layers=2, n_heads=3, d_ff=40, max_length=20, activation="gelu_tanh")
    model = BERT(BERTConfig(**sizes, **heads)).astype("float64").eval()
    model.save_pretrained(tmp_path)
    kind = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    other, told = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float64)
    assert not any(told.values())
    got = other.eval()(**as_torch(*batch))
    hidden = model(*batch)
    if "mlm_head" in heads:
        assert_close(model.word_logits(hidden), got[0], real=batch[1])
    elif heads:
        assert_close(model.class_logits(hidden), got.logits)
    else:
        assert_close(hidden, got.last_hidden_state, real=batch[1])
    again = BERT.from_pretrained(tmp_path)
    assert again.config == model.config
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(dict(again.named_parameters())[name].data, parameter.data)


def test_files_as_they_are_on_hubs(tmp_path, batch):
    """No prefix, gamma and beta, stored positions, the tied matrix twice, a configuration of few
    words.
    """
    other = theirs("BertForPreTraining", torch.float32, layer_norm_eps=1e-12)
    expected = loaded(other, tmp_path)(*batch)
    stored = {name: value.numpy() for name, value in other.state_dict().items()}
    stored = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for name, v in stored.items()
    }
    stored = {name.removeprefix("bert."): value for name, value in stored.items()}
    stored["embeddings.position_ids"] = np.arange(20)[None]
    assert "cls.predictions.decoder.weight" in stored
    mt.save(
        tmp_path / "model.safetensors",
        {name: mt.asarray(np.ascontiguousarray(value)) for name, value in stored.items()},
    )
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    few = {name: config[name] for name in SIZES}  # no model_type, no activation, no eps
    (tmp_path / "config.json").write_text(json.dumps(few), encoding="utf-8")
    np.testing.assert_array_equal(BERT.from_pretrained(tmp_path)(*batch).data, expected.data)


def test_a_masked_word_head_with_weights_of_its_own(tmp_path):
    """``tie_word_embeddings=False``: read, computed with and written as transformers does."""
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        tie_word_embeddings=False,
    )
    theirs = transformers.BertForMaskedLM(config).eval().double()
    torch.nn.init.normal_(theirs.cls.predictions.decoder.weight)
    torch.nn.init.normal_(theirs.cls.predictions.decoder.bias)  # predictions.bias, which it does not add, stays 0
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BERT.from_pretrained(tmp_path / "theirs")
    ids = np.array([[2, 5, 3]])
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    np.testing.assert_allclose(ours.word_logits(ours(ids)).numpy(), expected, rtol=1e-9, atol=1e-9)
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    np.testing.assert_allclose(again(torch.tensor(ids)).logits.detach().numpy(), expected, rtol=1e-9, atol=1e-9)
