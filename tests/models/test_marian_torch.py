"""Marian computes what transformers computes, from the files that it writes; and it reads ours."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minitensor.models.marian import Marian, MarianConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WORDS, PAD = 40, 39
SIZES = dict(
    vocab_size=WORDS, d_model=12, encoder_layers=2, decoder_layers=3, encoder_attention_heads=3, decoder_attention_heads=2,
    encoder_ffn_dim=20, decoder_ffn_dim=24, max_position_embeddings=40, pad_token_id=PAD, decoder_start_token_id=PAD,
    eos_token_id=0, forced_eos_token_id=None, scale_embedding=True, activation_function="swish",
)  # fmt: skip
OWN = dict(share_encoder_decoder_embeddings=False)
KINDS = {
    "as published": {},
    "relu, unscaled": dict(activation_function="relu", scale_embedding=False, encoder_layers=3, decoder_layers=1),
    "gelu, of odd width": dict(activation_function="gelu", d_model=15, encoder_attention_heads=5, decoder_attention_heads=3),
    "tables of their own": OWN | dict(decoder_vocab_size=45),
    "an output of its own": OWN | dict(decoder_vocab_size=45, tie_word_embeddings=False),
    "said to share, but untied": dict(tie_word_embeddings=False),
}  # fmt: skip
rng = np.random.default_rng(0)


def theirs(**changes):
    """A model of transformers in float64 whose numbers are all random, biases and padding too."""
    torch.manual_seed(0)
    model = transformers.MarianMTModel(transformers.MarianConfig(**{**SIZES, **changes})).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "positions" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.4 + (0.9 if name.endswith("norm.weight") else 0.0))
        model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
    return model


@pytest.fixture(scope="module")
def batch():
    """Sources (3, 9), their mask, and targets (3, 7)."""
    mask = np.arange(9) < np.array([[9], [5], [2]])
    return np.where(mask, rng.integers(1, PAD, (3, 9)), PAD), mask, rng.integers(1, PAD, (3, 7))


def loaded(model, folder, **changes):
    model.save_pretrained(folder)
    return Marian.from_pretrained(folder, **changes)


def reference(model, source, mask, target):
    """Their logits, as an array."""
    how = dict(attention_mask=torch.tensor(mask).long(), decoder_input_ids=torch.tensor(target))
    return model(input_ids=torch.tensor(source), **how).logits.detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_the_way_back(tmp_path, kind, batch):
    source, mask, target = batch
    other = theirs(**KINDS[kind])
    model, expected = loaded(other, tmp_path / "theirs"), reference(other, source, mask, target)
    assert model(source, target, mask).dtype == "float64"
    np.testing.assert_allclose(model(source, target, mask).data, expected, rtol=1e-9, atol=1e-9)
    model.save_pretrained(tmp_path / "ours")
    back = transformers.MarianMTModel.from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    np.testing.assert_allclose(reference(back, source, mask, target), expected, rtol=1e-9, atol=1e-9)
    again = Marian.from_pretrained(tmp_path / "ours")
    assert again.config == model.config
    np.testing.assert_array_equal(again(source, target, mask).data, model(source, target, mask).data)


def test_without_a_mask_and_in_single_precision(tmp_path, batch):
    source, _, target = batch
    other = theirs().float()
    found = loaded(other, tmp_path)(source, target)
    assert found.dtype == "float32"
    expected = reference(other, source, np.ones_like(source), target)
    np.testing.assert_allclose(found.data, expected, rtol=1e-4, atol=1e-4)


def test_loss_and_gradients(tmp_path, batch):
    """Each gradient by its name in the file, that of the row of padding too."""
    source, mask, target = batch
    target = np.where(np.arange(7) < np.array([[7], [3], [6]]), target, PAD)
    other = theirs(**OWN, decoder_vocab_size=WORDS)
    model = loaded(other, tmp_path).train()
    model.dropout.p = 0.0
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    loss = model.loss(source, np.concatenate([np.full((3, 1), PAD), target[:, :-1]], axis=1), target, mask)
    labels = torch.tensor(np.where(target == PAD, -100, target))
    wanted = other(input_ids=torch.tensor(source), attention_mask=torch.tensor(mask).long(), labels=labels).loss
    np.testing.assert_allclose(loss.item(), wanted.item(), rtol=1e-12)
    loss.backward()
    wanted.backward()
    gradients = {name: p.grad.numpy() for name, p in other.named_parameters() if p.requires_grad}
    ours = dict(model.named_parameters())
    for entry in model.entries():
        if entry.ours in ours:
            expected = np.concatenate([gradients.pop(name) for name in entry.theirs])
            np.testing.assert_allclose(ours[entry.ours].grad.data, expected, rtol=1e-9, atol=1e-9, err_msg=entry.ours)
    assert not gradients  # each of theirs has been compared


# --- searching ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talker():
    """A model in float64 that says many different words, and comes to an end."""
    config = MarianConfig(
        vocab_size=WORDS, d_model=24, n_encoder_layers=1, n_decoder_layers=2, n_encoder_heads=2, n_decoder_heads=2,
        d_encoder_ff=32, d_decoder_ff=32, share_embeddings=False, tie_output=False, pad_id=PAD, start_id=PAD, max_length=64,
    )  # fmt: skip
    model, draw = Marian(config).astype("float64").eval(), np.random.default_rng(0)
    spread = {"source_embedding.weight": 1.0, "target_embedding.weight": 3.0, "output.weight": 0.4}
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            std = spread.get(name, 0.6 * parameter.shape[-1] ** -0.5)
            parameter.assign(draw.normal(size=parameter.shape) * std)
    offset = np.zeros((1, WORDS))
    offset[0, 0], offset[0, PAD] = 2.0, 1.5  # what ends and what is forbidden would be likely
    model.output.offset.assign(offset)
    return model


SEARCHES = [
    dict(num_beams=1),
    dict(num_beams=1, bad_words_ids=[[PAD], [7]]),
    dict(num_beams=4, bad_words_ids=[[PAD]], length_penalty=0.0),
    dict(num_beams=4, bad_words_ids=[[PAD], [0]], length_penalty=1.0, renormalize_logits=True),
    dict(num_beams=3, bad_words_ids=[[PAD], [7]]),
    dict(num_beams=6, length_penalty=0.8),
    dict(num_beams=6, length_penalty=-0.5, renormalize_logits=True),
]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_what_is_generated(tmp_path, talker, batch, search):
    """What generation_config.json says of the search is obeyed, by both."""
    source, mask, _ = batch
    talker.save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    said = {name: value for name, value in json.loads(path.read_text(encoding="utf-8")).items() if name.endswith("_id")}
    path.write_text(json.dumps(said | search), encoding="utf-8")
    model = Marian.from_pretrained(tmp_path)
    found = model.generate(source, 60, mask=mask)
    assert len({token for ids in found for token in ids}) > 2  # no mere repetition
    assert max(map(len, found)) < 60  # nothing is cut: transformers then compares what is whole with what is not
    model.save_pretrained(tmp_path / "again")
    how = dict(attention_mask=torch.tensor(mask).long(), max_new_tokens=60)
    how |= dict(early_stopping="never") if search["num_beams"] > 1 else {}
    for folder in (tmp_path, tmp_path / "again"):
        other = transformers.MarianMTModel.from_pretrained(folder, dtype=torch.float64).eval()
        answers = other.generate(torch.tensor(source), **how)[:, 1:].tolist()
        assert found == [ids[: ids.index(0)] if 0 in ids else ids for ids in answers]
        assert Marian.from_pretrained(folder).generate(source, 60, mask=mask) == found


@pytest.mark.parametrize("beam_size", [2, 3, 6])
def test_a_patience_of_one_is_early_stopping(tmp_path, talker, batch, beam_size):
    source, mask, _ = batch
    talker.save_pretrained(tmp_path)
    model = Marian.from_pretrained(tmp_path)
    how = dict(mask=mask, beam_size=beam_size, length_penalty=2.0)
    found = model.generate(source, 60, **how, patience=1)
    assert found != model.generate(source, 60, **how)
    other = transformers.MarianMTModel.from_pretrained(tmp_path, dtype=torch.float64).eval()
    how = dict(attention_mask=torch.tensor(mask).long(), max_new_tokens=60, num_beams=beam_size, length_penalty=2.0)
    answers = other.generate(torch.tensor(source), early_stopping=True, **how)[:, 1:].tolist()
    assert found == [ids[: ids.index(0)] if 0 in ids else ids for ids in answers]


# --- files ----------------------------------------------------------------------------------------


def test_a_folder_as_the_first_converters_wrote_it(tmp_path, batch):
    """All copies of the table, stored waves, and a config.json that says how to search."""
    source, mask, target = batch
    other = theirs().float()
    model = loaded(other, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for stack in ("encoder", "decoder"):
        weights[f"model.{stack}.embed_tokens.weight"] = weights["model.shared.weight"]
        waves = getattr(other.model, stack).embed_positions.weight.detach().numpy()
        weights[f"model.{stack}.embed_positions.weight"] = waves
    weights["lm_head.weight"] = weights["model.shared.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "generation_config.json").unlink()
    said = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    said |= dict(
        num_hidden_layers=2, num_beams=6, bad_words_ids=[[PAD]], max_length=512, static_position_embeddings=True
    )
    said |= dict(normalize_before=False, add_bias_logits=False)
    (tmp_path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    old = Marian.from_pretrained(tmp_path)
    assert (old.config.beam_size, old.config.forbidden_ids) == (6, (PAD,))
    np.testing.assert_array_equal(old(source, target, mask).data, model(source, target, mask).data)
    old.save_pretrained(tmp_path / "again")
    back = transformers.MarianMTModel.from_pretrained(tmp_path / "again").eval()
    assert (back.generation_config.num_beams, back.generation_config.bad_words_ids) == (6, [[PAD]])
    expected = reference(other, source, mask, target)
    np.testing.assert_allclose(reference(back, source, mask, target), expected, rtol=1e-4, atol=1e-4)


def test_the_waves_of_all_lengths():
    config = MarianConfig(vocab_size=5, d_model=64, pad_id=0, n_encoder_layers=1, n_decoder_layers=1)
    expected = transformers.models.marian.modeling_marian.MarianSinusoidalPositionalEmbedding(1024, 64)
    found = Marian(config).source_positions.encoding(1024).data
    np.testing.assert_allclose(found, expected.create_weight().numpy(), rtol=0, atol=1e-7)


def test_sharded_files(tmp_path, batch):
    source, mask, target = batch
    other = theirs()
    other.save_pretrained(tmp_path, max_shard_size="10KB")
    assert not (tmp_path / "model.safetensors").exists()
    found = Marian.from_pretrained(tmp_path)(source, target, mask).data
    np.testing.assert_allclose(found, reference(other, source, mask, target), rtol=1e-9, atol=1e-9)
