"""Marian: what its files may say, what is never written, what a beam is judged by, errors."""

import json
import tracemalloc
import warnings

import numpy as np
import pytest

import minitensor as mt
from minitensor.files.safetensors import TensorFile, tensor_file
from minitensor.models.marian import Marian, MarianConfig
from minitensor.models.search import beam_search, power
from tests.backend import fake_device

SIZES = dict(
    vocab_size=12, d_model=8, n_encoder_heads=2, n_decoder_heads=2, d_encoder_ff=12, d_decoder_ff=10, n_encoder_layers=1,
    n_decoder_layers=2, max_length=16, pad_id=11, start_id=11,
)  # fmt: skip
SOURCE = np.array([[3, 4, 5, 0], [6, 0, 11, 11]])
MASK = SOURCE != 11


def make(**changes):
    """A small model in float64 whose weights are large enough for its answers to differ."""
    mt.random.seed(1)
    return Marian(MarianConfig(**{**SIZES, **changes}, init_std=0.5)).astype("float64").eval()


@pytest.fixture
def saved(tmp_path):
    """A folder of a small model, with other tensors and other values in its files."""

    def save(tensors=None, without=(), config=None, generation=None, **changes):
        make(**changes).save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        file = TensorFile(path)
        arrays = {name: file.read(name) for name in file.shapes if name not in without} | (tensors or {})
        path.write_bytes(b"".join(bytes(piece) for piece in tensor_file(arrays, {"format": "pt"})))
        for name, values in {"config.json": config, "generation_config.json": generation}.items():
            said = json.loads((tmp_path / name).read_text(encoding="utf-8")) | (values or {})
            (tmp_path / name).write_text(json.dumps(said), encoding="utf-8")
        return tmp_path

    return save


# --- searching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 1.0}])
def test_what_is_forbidden_is_never_written(how):
    model = make()
    free = model.generate(SOURCE, 8, mask=MASK, **how)
    often = max(range(1, 12), key=[token for ids in free for token in ids].count)
    bound = Marian(MarianConfig(**SIZES, forbidden_ids=(often, 11, often), renormalize=True)).astype("float64").eval()
    bound.load_state_dict(model.state_dict())
    found = bound.generate(SOURCE, 8, mask=MASK, **how)
    assert any(often in ids for ids in free) and not any({often, 11} & set(ids) for ids in found)
    ids = np.full(2, 11)
    plain = model.step(ids, model.start(SOURCE, MASK)).numpy()
    seen = np.exp(bound.search_step(ids, bound.start(SOURCE, MASK)).numpy())
    assert not seen[:, [often, 11]].any()
    np.testing.assert_allclose(seen.sum(axis=1), 1.0)
    kept = [token for token in range(12) if token not in (often, 11)]
    np.testing.assert_allclose(seen[:, kept] / np.exp(plain)[:, kept], seen[:, :1] / np.exp(plain)[:, :1] * np.ones(10))


def test_what_is_forbidden_is_so_on_another_device(monkeypatch):
    """On a device that is not NumPy, in the place of a GPU."""
    model = make(forbidden_ids=(11, 2))
    y = np.log(np.random.default_rng(0).dirichlet(np.ones(12), 3))
    expected = np.where(np.isin(np.arange(12), (11, 2)), -np.inf, y)
    with fake_device.installed():
        monkeypatch.setattr(model, "step", lambda ids, state: mt.asarray(y, device="cuda"))
        found = model.search_step(None, None)
        assert found.device.startswith("cuda")
        np.testing.assert_array_equal(found.to("cpu").numpy(), expected)


def test_a_beam_and_its_penalty_are_by_default_those_of_the_configuration():
    mt.random.seed(2)
    model = Marian(MarianConfig(**SIZES, beam_size=3, length_penalty=2.0, init_std=0.3)).astype("float64").eval()
    model.output.offset.assign(1.6 * (np.arange(12) == 0)[None])  # sentences end
    found = model.generate(SOURCE, 8, mask=MASK)
    others = [model.generate(SOURCE, 8, beam, alpha, MASK) for beam, alpha in ((3, 2.0), (3, 0.0), (1, 2.0))]
    assert found == others[0] and found not in others[1:]
    expected = beam_search(model.step, model.start(SOURCE, MASK), [11, 11], 0, 8, 3, 2.0, penalty=power)
    assert found == expected and power(4, 2.0) == 16.0
    rewarded = model.generate(SOURCE, 8, mask=MASK, length_reward=1.5)
    start = model.start(SOURCE, MASK)
    assert found != rewarded == beam_search(model.step, start, [11, 11], 0, 8, 3, 0.0, penalty=power, length_reward=1.5)
    early = model.generate(SOURCE, 8, mask=MASK, length_reward=1.5, patience=0.3)
    assert rewarded != early == model.generate(SOURCE, 8, 3, 0.0, MASK, length_reward=1.5, patience=1 / 3)


def test_a_target_may_have_a_vocabulary_of_its_own():
    model = make(target_vocab_size=15, share_embeddings=False, forbidden_ids=(14,))
    assert model(SOURCE, np.array([[14, 13], [11, 2]]), MASK).shape == (2, 2, 15)
    assert model.output.weight is model.target_embedding.weight is not model.source_embedding.weight
    with pytest.raises(IndexError):
        model(SOURCE + 3, SOURCE)


def test_a_text_longer_than_the_positions_is_refused_and_none_is_written():
    model = make()
    assert max(map(len, model.generate(SOURCE, 99, mask=MASK))) <= 16
    with pytest.raises(ValueError, match="a sentence of 17 tokens is longer than the model allows"):
        model(np.ones((1, 17), int), SOURCE[:1])


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(target_vocab_size=13), "must be vocab_size, 12, if share_embeddings"),
        (dict(forbidden_ids=(12,)), "forbidden_ids .* are tokens from 0 to 11, got 12"),
        (dict(ff_dropout=1.5), "ff_dropout"),
    ],
)
def test_a_configuration_that_cannot_be_meant(values, words):
    with pytest.raises(ValueError, match=words):
        MarianConfig(**{**SIZES, **values})


def test_what_transformers_cannot_express_is_refused_before_it_is_trained(saved, tmp_path):
    with pytest.raises(ValueError, match="set share_embeddings to False, or tie_output to True"):
        make(tie_output=False).save_pretrained(tmp_path / "new")
    assert not list((tmp_path / "new").glob("*"))
    with pytest.raises(ValueError, match="set share_embeddings to False"):
        Marian.from_pretrained(saved(), tie_output=False)


def test_stop_tokens_are_not_forbidden_and_come_through(saved):
    folder = saved(stop_id=(0, 3), generation={"bad_words_ids": [[11], [3]], "num_beams": 2})
    model = Marian.from_pretrained(folder)
    assert (model.config.forbidden_ids, model.config.stop_id, model.config.beam_size) == ((11,), (0, 3), 2)


def test_the_search_stands_in_generation_config_alone(saved):
    folder = saved(forbidden_ids=(11,), beam_size=4, length_penalty=0.5, renormalize=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    assert not {"num_beams", "length_penalty", "bad_words_ids", "renormalize_logits"} & set(config)
    assert (said["num_beams"], said["length_penalty"], said["bad_words_ids"]) == (4, 0.5, [[11]])
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"num_beams": 3}), encoding="utf-8")
    model = Marian.from_pretrained(folder)
    assert (model.config.beam_size, model.config.forbidden_ids, model.config.length_penalty) == (3, (), 1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size is 3; Marian.generate is made for 0 alone"),
        ({"do_sample": True}, "do_sample is True; Marian.generate is made for False alone"),
        ({"forced_bos_token_id": 4}, "forced_bos_token_id is 4; Marian.generate is made for None alone"),
        ({"bad_words_ids": [[3, 4]]}, r"bad_words_ids has \[3, 4\]; Marian.generate forbids tokens, not sequences"),
        ({"bad_words_ids": [[None]]}, "bad_words_ids must be a list of lists"),
        ({"num_beams": 0}, "num_beams must be a positive integer"),
        ({"length_penalty": float("nan")}, "length_penalty must be a finite number"),
    ],
)
def test_a_search_that_there_is_not_is_refused_by_file_and_field(saved, values, words):
    with pytest.raises(ValueError, match=rf"generation_config\.json: {words}"):
        Marian.from_pretrained(saved(generation=values))
    folder = saved(config=values)
    (folder / "generation_config.json").unlink()
    with pytest.raises(ValueError, match=rf"config\.json: {words}"):
        Marian.from_pretrained(folder)


# --- weights --------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(tmp_path):
    for changes in (
        {},
        dict(share_embeddings=False, target_vocab_size=15),
        dict(share_embeddings=False, tie_output=False),
    ):
        model = make(**changes)
        model.output.offset.assign(np.arange(model.output.out_features)[None] / 9.0)
        model.save_pretrained(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            back = Marian.from_pretrained(tmp_path)
        assert back.config == model.config
        np.testing.assert_array_equal(back(SOURCE, SOURCE, MASK).data, model(SOURCE, SOURCE, MASK).data)
        assert Marian.from_pretrained(tmp_path, dtype="float32").output.offset.dtype == "float32"


def test_a_folder_without_an_offset_has_none(saved):
    with pytest.warns(UserWarning, match=r"no weights for output\.offset"):
        model = Marian.from_pretrained(saved(without=["final_logits_bias"]))
    assert not model.output.offset.data.any()


def waves(**rows):
    """The positions that such a model has, as a file stores them."""
    return make().source_positions.encoding(16).data.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_positions_are_those_that_are_computed(saved, dtype):
    names = [f"model.{stack}.embed_positions.weight" for stack in ("encoder", "decoder")]
    Marian.from_pretrained(saved(dict.fromkeys(names, waves().astype(dtype))))


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (lambda: waves()[:, ::-1], "are not the waves of a Marian"),
        (lambda: np.stack([waves()[:, :4], waves()[:, 4:]], axis=-1).reshape(16, 8), "are not the waves of a Marian"),
        (lambda: np.full((16, 8), np.nan, np.float32), "are not the waves of a Marian"),
        (lambda: waves()[:9], r"has shape \(9, 8\), the configuration asks for \(16, 8\)"),
    ],
    ids=["backwards", "interleaved", "nan", "short"],
)
def test_other_positions_are_refused(saved, stored, words):
    folder = saved({"model.decoder.embed_positions.weight": np.ascontiguousarray(stored())})
    with pytest.raises(ValueError, match=rf"{folder}: model.decoder.embed_positions.weight {words}"):
        Marian.from_pretrained(folder)


def test_missing_unexpected_and_misshapen_weights_are_named(saved):
    lost = "model.decoder.layers.1.encoder_attn.k_proj.bias"
    fc1 = "model.encoder.layers.0.fc1.weight"
    folder = saved({"model.encoder.layernorm_embedding.weight": np.zeros(8), fc1: np.zeros((8, 12))}, [lost])
    with pytest.raises(ValueError) as caught:
        Marian.from_pretrained(folder)
    message = str(caught.value)
    assert f"missing: {lost}" in message and "unexpected: model.encoder.layernorm_embedding.weight" in message
    assert f"{fc1} has shape (8, 12), the configuration asks for (12, 8)" in message


def test_copies_of_the_table_must_be_equal(saved):
    with pytest.raises(
        ValueError, match="model.shared.weight are one weight in this model|are one weight in this model"
    ):
        Marian.from_pretrained(saved({"lm_head.weight": np.ones((12, 8))}))


def test_a_vocabulary_that_the_weights_do_not_have_takes_no_memory(saved):
    folder = saved(config={"vocab_size": 8 * 10**14, "decoder_vocab_size": None})
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"the weights do not fit|larger than any array"):
        Marian.from_pretrained(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_folder_with_weights_of_pytorch_alone_is_told_how_to_convert_them(saved):
    folder = saved()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match="pytorch_model.bin is in PyTorch's format: convert it by save_pretrained"
    ):
        Marian.from_pretrained(folder)
