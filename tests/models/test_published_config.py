"""config.json and generation_config.json of published models:
what they may say, what is obeyed, what comes through.
"""

import json
import tracemalloc

import numpy as np
import pytest

from minitensor.files.safetensors import TensorFile, tensor_file
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.marian import Marian, MarianConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.vit import ViT, ViTConfig

SMALL = dict(d_model=8, n_layers=1, n_heads=2, d_ff=16)
MODELS = {
    "gpt": lambda: GPT(GPTConfig(vocab_size=20, max_length=12, **SMALL)),
    "bert": lambda: BERT(BERTConfig(vocab_size=20, max_length=12, n_classes=2, **SMALL)),
    "masked": lambda: BERT(BERTConfig(vocab_size=20, max_length=12, mlm_head=True, **SMALL)),
    "t5": lambda: T5(
        T5Config(vocab_size=20, d_model=8, d_head=4, d_ff=16, n_heads=2, n_encoder_layers=1, n_decoder_layers=1)
    ),
    "marian": lambda: Marian(
        MarianConfig(
            vocab_size=20, d_model=8, n_encoder_heads=2, n_decoder_heads=2, d_encoder_ff=16, d_decoder_ff=16, n_encoder_layers=1,
            n_decoder_layers=1, max_length=12, pad_id=19, start_id=19, forbidden_ids=(19,),
        )
    ),
    "vit": lambda: ViT(ViTConfig(image_size=8, patch_size=4, n_classes=2, **SMALL)),
}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """A folder of a small model, with other values in one of its files."""

    def save(name, file="config.json", **values):
        made = MODELS[name]()
        made.save_pretrained(tmp_path)
        path = tmp_path / file
        path.write_text(
            json.dumps((json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}) | values),
            encoding="utf-8",
        )
        return type(made), tmp_path

    return save


def said(folder, file="config.json"):
    return json.loads((folder / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "field", "value", "wish"),
    [
        ("gpt", "n_layer", "1", "a positive integer"), ("gpt", "n_head", 0, "a positive integer"),
        ("gpt", "n_layer", True, "a positive integer"), ("gpt", "n_embd", 8.0, "a positive integer"),
        ("gpt", "vocab_size", None, "a positive integer"), ("gpt", "n_inner", "x", "a positive integer, or null"),
        ("gpt", "resid_pdrop", float("nan"), "a number from 0 to 1"), ("gpt", "attn_pdrop", 2, "a number from 0 to 1"),
        ("gpt", "layer_norm_epsilon", 0, "a number above 0"), ("gpt", "eos_token_id", "5", "the number of a token, a list of them"),
        ("gpt", "layer_norm_epsilon", 10**400, "a number above 0"), ("gpt", "vocab_size", 2**63, "a positive integer"),
        ("gpt", "eos_token_id", [1, "a"], "the number of a token, a list"), ("gpt", "activation_function", 3, "a text"),
        ("gpt", "tie_word_embeddings", "yes", "true or false"), ("gpt", "n_head", 3, "a multiple"),
        ("bert", "architectures", "BertModel", "a list of texts"), ("bert", "id2label", {"a": "b"}, "a table from numbers"),
        ("bert", "hidden_dropout_prob", None, "a number from 0 to 1"), ("bert", "classifier_dropout", -1, "a number from 0 to 1"),
        ("bert", "initializer_range", -0.1, "a number of at least 0"), ("bert", "pad_token_id", -1, "the number of a token"),
        ("vit", "image_size", "8", "a positive integer, or a list"), ("vit", "qkv_bias", 1, "true or false"),
        ("t5", "d_kv", 1.5, "a positive integer"), ("t5", "num_decoder_layers", 0, "a positive integer, or null"),
        ("marian", "encoder_layers", 0, "a positive integer"), ("marian", "decoder_attention_heads", 3, "a multiple"),
        ("marian", "decoder_vocab_size", "x", "a positive integer, or null"),
        ("marian", "activation_dropout", 2, "a number from 0 to 1"),
        ("marian", "scale_embedding", 1, "true or false"), ("marian", "init_std", -1, "a number of at least 0"),
        ("t5", "decoder_start_token_id", "0", "the number of a token"), ("t5", "feed_forward_proj", None, "a text"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_or_without_sense(saved, name, field, value, wish):
    model, folder = saved(name, **{field: value})
    with pytest.raises(
        ValueError, match=rf"config\.json: .*{field}.* must be .*{wish}|config\.json: .* {wish} of {field}"
    ):
        model.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "field", "value", "wish"),
    [
        ("bert", "problem_type", "ranking", "problem_type must be one of"),
        ("bert", "pad_token_id", 20, "pad_token_id has 20; the tokens are 0 to 19"),
        ("t5", "pad_token_id", 20, "pad_token_id has 20; the tokens are 0 to 19"),
        ("marian", "pad_token_id", 99, "pad_token_id has 99; the tokens are 0 to 19"),
        ("marian", "decoder_start_token_id", 20, "decoder_start_token_id has 20; the tokens are 0 to 19"),
        ("marian", "eos_token_id", [0, 20], "eos_token_id has 20; the tokens are 0 to 19"),
        *((name, "is_encoder_decoder", False, "is_encoder_decoder is False; .* for True") for name in ("t5", "marian")),
        *(
            (name, "is_encoder_decoder", True, "is_encoder_decoder is True; .* for False")
            for name in ("gpt", "bert", "vit")
        ),
        ("gpt", "pruned_heads", {"0": [1]}, "pruned_heads is .*; minitensor.models.gpt.GPT is made for {} alone"),
        ("vit", "quantization_config", {"bits": 4}, "quantization_config is .*ViT is made for None alone"),
        ("t5", "tie_encoder_decoder", True, "tie_encoder_decoder is True; .* for False alone"),
        ("bert", "per_layer_config", {"0": {}}, "per_layer_config is "),
        ("bert", "add_cross_attention", True, "add_cross_attention is True; .* for False alone"),
        (
            "bert",
            "auto_map",
            {"AutoModel": "own.Model"},
            "auto_map names code of its own, 'own.Model', which .*BERT is not",
        ),
        (
            "t5",
            "dense_act_fn",
            "silu",
            "dense_act_fn is 'silu'; a T5 whose feed_forward_proj is 'relu' is made for 'relu'",
        ),
        ("t5", "is_gated_act", True, "is_gated_act is True; a T5 whose .* 'relu' is made for False alone"),
        ("marian", "decoder_vocab_size", 21, "must be vocab_size, 20, if share_embeddings"),
        ("marian", "tie_word_embeddings", "no", "tie_word_embeddings must be true or false"),
        ("marian", "activation_function", "tanh", "activation_function is 'tanh'; known are"),
        (
            "marian",
            "normalize_before",
            True,
            "normalize_before is True; minitensor.models.marian.Marian is made for False alone",
        ),
        ("marian", "encoder_layerdrop", 0.1, "encoder_layerdrop is 0.1; .* is made for 0.0 alone"),
        ("vit", "patch_size", 3, "patches of 3 pixels a side do not divide"),
        ("vit", "patch_size", [4, 2], "made for squares"),
    ],
)
def test_what_a_model_cannot_be_made_of_names_the_file(saved, name, field, value, wish):
    model, folder = saved(name, **{field: value})
    with pytest.raises(ValueError, match=rf"config\.json: .*{wish}"):
        model.from_pretrained(folder)


def test_a_good_generation_config_does_not_hide_an_odd_config(saved):
    """And the other way; each is named."""
    for odd, good in (("config.json", "generation_config.json"), ("generation_config.json", "config.json")):
        model, folder = saved("marian")
        path = folder / odd
        path.write_text(json.dumps(said(folder, odd) | {"pad_token_id": 20}), encoding="utf-8")
        assert said(folder, good)["pad_token_id"] == 19
        with pytest.raises(ValueError, match=rf"{folder.name}/{odd}: pad_token_id has 20; the tokens are 0 to 19"):
            model.from_pretrained(folder)
    _, folder = saved("marian", "generation_config.json", bad_words_ids=[[19], [30]], pad_token_id=19)
    with pytest.raises(ValueError, match=r"generation_config\.json: bad_words_ids has 30"):
        model.from_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt", "t5"])
def test_a_search_that_is_not_obeyed_is_told(saved, name):
    asked = {"num_beams": 4, "no_repeat_ngram_size": 3, "do_sample": False, "min_length": None}
    model, folder = saved(name, "generation_config.json", **asked)
    words = (
        f"generation_config.json: no_repeat_ngram_size is 3, num_beams is 4; {model.__name__}.generate does not obey"
    )
    with pytest.warns(UserWarning, match=words) as told:
        model.from_pretrained(folder)
    assert told[0].filename == __file__


def test_what_transformers_says_besides_of_a_feed_forward_network(saved, tmp_path):
    model, folder = saved("t5", feed_forward_proj="relu", dense_act_fn="relu", is_gated_act=False)
    found = model.from_pretrained(folder, activation="gelu_tanh").config.to_hugging_face()
    assert [found[name] for name in ("feed_forward_proj", "dense_act_fn", "is_gated_act")] == [
        "gelu_new",
        "gelu_new",
        False,
    ]
    gated = T5Config.preset("flan-t5-small").to_hugging_face()
    assert (gated["feed_forward_proj"], gated["dense_act_fn"], gated["is_gated_act"]) == (
        "gated-gelu",
        "gelu_new",
        True,
    )
    assert T5Config.from_hugging_face(gated) == T5Config.preset("flan-t5-small")


def test_null_means_none():
    assert T5Config.from_hugging_face({"eos_token_id": None}).stop_id == ()
    assert GPTConfig.from_hugging_face({"eos_token_id": None}).stop_id is None
    assert GPTConfig.from_hugging_face({"n_inner": None}).d_ff is None
    assert BERTConfig.from_hugging_face({"pad_token_id": None}).pad_id is None
    assert BERTConfig.from_hugging_face({"classifier_dropout": None}).classifier_dropout is None
    nothing = T5Config.from_hugging_face({"pad_token_id": None, "decoder_start_token_id": None})
    assert (nothing.pad_id, nothing.start_id) == (None, None)
    assert T5Config.from_hugging_face({"bos_token_id": 4, "decoder_start_token_id": None}).start_id == 4
    assert BERTConfig.from_hugging_face({"position_embedding_type": None}) == BERTConfig()
    assert T5Config.from_hugging_face({"num_layers": 3, "num_decoder_layers": None}).n_decoder_layers == 3


def test_a_bert_without_a_token_for_padding():
    made = BERT(BERTConfig(vocab_size=20, max_length=12, pad_id=None, **SMALL))
    assert np.abs(made.words.weight.numpy()).min(axis=1).all(), "no row is zero"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("gpt", field) for field in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_inner")),
        *(("bert", field) for field in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size",
                                        "max_position_embeddings", "type_vocab_size")),
        ("masked", "vocab_size"),
        *(("vit", field) for field in ("image_size", "num_channels", "num_hidden_layers", "intermediate_size")),
        *(("t5", field) for field in ("vocab_size", "d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_decoder_layers",
                                      "relative_attention_num_buckets")),
        *(("marian", field) for field in ("d_model", "encoder_layers", "encoder_ffn_dim")),
    ],
)  # fmt: skip
def test_a_size_that_the_weights_do_not_have_takes_no_memory(saved, name, field):
    misfit = r"the weights do not fit .*\n.*(the configuration asks for|missing)"
    for value in (8_000_000, 8 * 10**14):
        model, folder = saved(name, **{field: value})
        tracemalloc.start()
        with pytest.raises(ValueError, match=rf"{misfit}|config\.json: .*(larger than any array|n_buckets must)"):
            model.from_pretrained(folder)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, f"{peak} bytes"


@pytest.mark.parametrize("name", ["gpt", "bert", "t5", "marian", "vit"])
def test_what_a_model_does_not_use_comes_through(saved, tmp_path, name):
    more = {"task_specific_params": {"x": {"do_sample": True}}, "my_field": [1, None], "bos_token_id": 4}
    model, folder = saved(name, **more)
    before, out = said(folder), tmp_path / "again"
    loaded = model.from_pretrained(folder)
    assert json.loads(json.dumps(loaded.config.to_dict()))["extras"]["my_field"] == [1, None]
    loaded.save_pretrained(out)
    assert said(out) == before


def test_the_names_of_classes_come_through_both_ways(saved, tmp_path):
    names = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    for name in ("bert", "vit"):
        model, folder = saved(name, problem_type="single_label_classification", **names)
        model.from_pretrained(folder).save_pretrained(tmp_path / "again")
        found = said(tmp_path / "again")
        assert {key: found[key] for key in names} == names and found["problem_type"] == "single_label_classification"
        with pytest.warns(UserWarning, match="classifier"):
            (folder / "model.safetensors").write_bytes(_without_classifier(model, folder))
            other = model.from_pretrained(folder, n_classes=3)
        other.save_pretrained(tmp_path / "three")
        assert list(said(tmp_path / "three")["id2label"].values()) == ["LABEL_0", "LABEL_1", "LABEL_2"]


def _without_classifier(model, folder):
    file = TensorFile(folder / "model.safetensors")
    arrays = {name: file.read(name) for name in file.shapes if not name.startswith("classifier")}
    return b"".join(bytes(piece) for piece in tensor_file(arrays, {"format": "pt"}))


# --- generation -----------------------------------------------------------------------------------


def test_generation_config_goes_before_config(saved, tmp_path):
    model, folder = saved("gpt", "generation_config.json", eos_token_id=[3, 4])
    loaded = model.from_pretrained(folder)
    assert loaded.config.stop_id == (3, 4)
    first = model.from_pretrained(folder, stop_id=None).generate([[5, 6]], 1)[0][0]
    model, folder = saved("gpt", "generation_config.json", eos_token_id=int(first), temperature=0.5)
    again = model.from_pretrained(folder)
    again.save_pretrained(tmp_path / "again")
    assert said(tmp_path / "again", "generation_config.json") == {"eos_token_id": int(first), "temperature": 0.5}
    assert model.from_pretrained(tmp_path / "again").config.stop_id == first


def test_generation_config_of_a_t5(saved):
    model, folder = saved("t5", "generation_config.json", eos_token_id=[2, 3], decoder_start_token_id=7, pad_token_id=5)
    config = model.from_pretrained(folder).config
    assert (config.stop_id, config.start_id, config.pad_id) == ((2, 3), 7, 5)


def test_generation_config_alone_says_where_texts_stop_and_start(saved):
    model, folder = saved("t5", eos_token_id=3, decoder_start_token_id=7)
    (folder / "generation_config.json").write_text('{"bos_token_id": 4}', encoding="utf-8")
    assert (model.from_pretrained(folder).config.stop_id, model.from_pretrained(folder).config.start_id) == ((), 4)
    (folder / "generation_config.json").unlink()
    assert (model.from_pretrained(folder).config.stop_id, model.from_pretrained(folder).config.start_id) == (3, 7)


def test_a_t5_without_tokens_for_padding_start_and_stop(saved):
    model, folder = saved("t5", pad_token_id=None, decoder_start_token_id=None, eos_token_id=None)
    (folder / "generation_config.json").unlink()
    made = model.from_pretrained(folder)
    with pytest.raises(ValueError, match="no token to start with: set start_id"):
        made.generate([[1, 2]])
    ids = np.array([[0, 5, 0]])
    everything = -np.log(np.exp(made(ids, ids).numpy()) / np.exp(made(ids, ids).numpy()).sum(-1, keepdims=True))
    expected = np.take_along_axis(everything, ids[..., None], -1).mean()
    np.testing.assert_allclose(made.loss(ids, ids, ids).item(), expected, rtol=1e-5)
    started = model.from_pretrained(folder, start_id=1)
    assert len(started.generate([[1, 2]], 5)[0]) == 5
    started.save_pretrained(folder)
    assert model.from_pretrained(folder).config == started.config


def test_an_odd_generation_config_is_named(saved):
    model, folder = saved("gpt", "generation_config.json", eos_token_id="5")
    with pytest.raises(ValueError, match=r"generation_config\.json: eos_token_id must be"):
        model.from_pretrained(folder)
    (folder / "generation_config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"generation_config\.json: it must hold a JSON object"):
        model.from_pretrained(folder)


def test_saving_does_not_leave_another_models_generation(saved):
    _, folder = saved("gpt", "generation_config.json", eos_token_id=9)
    made = GPT(GPTConfig(vocab_size=20, max_length=12, stop_id=2, **SMALL))
    made.save_pretrained(folder)
    assert GPT.from_pretrained(folder).config.stop_id == 2


# --- a head of its own for masked words -----------------------------------------------------------


def test_the_flag_counts_where_there_is_something_to_tie(saved, tmp_path):
    model, folder = saved("bert", tie_word_embeddings=False)
    assert model.from_pretrained(folder).mlm is None
    made = BERT(BERTConfig(vocab_size=20, max_length=12, mlm_head=True, tie_mlm=False, **SMALL))
    assert made.mlm.embeddings is not made.words.weight
    made.save_pretrained(tmp_path / "own")
    again = BERT.from_pretrained(tmp_path / "own")
    np.testing.assert_array_equal(again.mlm.embeddings.numpy(), made.mlm.embeddings.numpy())
    assert said(tmp_path / "own")["tie_word_embeddings"] is False


def test_an_untied_gpt_without_an_output_layer_is_read_with_a_warning(saved):
    model, folder = saved("gpt", tie_word_embeddings=False)
    with pytest.warns(UserWarning, match=r"no weights for output\.weight"):
        made = model.from_pretrained(folder)
    assert made.output.weight is not made.tokens.weight


@pytest.mark.parametrize(
    ("name", "copy"),
    [("masked", "cls.predictions.decoder"), ("gpt", "lm_head"), ("t5", "lm_head")],
)
def test_the_cure_for_weights_of_two_values_works(saved, name, copy):
    model, folder = saved(name)
    file = TensorFile(folder / "model.safetensors")
    arrays = {name: file.read(name) for name in file.shapes}
    own = np.ones((20, 8), np.float32)
    bias = {f"{copy}.bias": np.arange(20, dtype=np.float32)} if name == "masked" else {}
    pieces = tensor_file(arrays | {f"{copy}.weight": own} | bias, {"format": "pt"})
    (folder / "model.safetensors").write_bytes(b"".join(bytes(piece) for piece in pieces))
    with pytest.raises(ValueError, match=r'are one weight .* set "tie_word_embeddings" to false in config\.json'):
        model.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(said(folder) | {"tie_word_embeddings": False}), encoding="utf-8")
    made = model.from_pretrained(folder)
    found = {
        "masked": lambda: made.mlm.embeddings,
        "gpt": lambda: made.output.weight,
        "t5": lambda: made.lm_head.weight,
    }
    np.testing.assert_array_equal(found[name]().numpy(), own)
    if bias:
        np.testing.assert_array_equal(made.mlm.bias.numpy(), bias[f"{copy}.bias"])


def test_copies_that_no_flag_unties_are_named_without_that_cure(saved):
    model, folder = saved("t5")
    file = TensorFile(folder / "model.safetensors")
    arrays = {name: file.read(name) for name in file.shapes} | {
        "encoder.embed_tokens.weight": np.ones((20, 8), np.float32)
    }
    pieces = tensor_file(arrays, {"format": "pt"})
    (folder / "model.safetensors").write_bytes(b"".join(bytes(piece) for piece in pieces))
    with pytest.raises(
        ValueError, match="are one weight .*; leave the one in the file that the model is meant to have"
    ):
        model.from_pretrained(folder)


@pytest.mark.parametrize("config", [GPTConfig, BERTConfig, T5Config, MarianConfig, ViTConfig])
def test_presets_have_one_form_in_all_models(config):
    for name, changes in config.presets.items():
        made = config.preset(name)
        assert made == config(**changes) == config(**made.to_dict())
        assert config.preset(name, dropout=0.5).dropout == 0.5
    with pytest.raises(ValueError, match=f"there is no preset 'nothing'; there are: {next(iter(config.presets))}, "):
        config.preset("nothing")
    with pytest.raises(TypeError, match="depth"):
        config.preset(next(iter(config.presets)), depth=3)
