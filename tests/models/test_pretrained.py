"""Folders of published weights: a small model, and files as they really are."""

import dataclasses
import json
import os
import tracemalloc
import warnings

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn
from minitensor.files import safetensors
from minitensor.files.safetensors import TensorFile, tensor_file
from minitensor.models.pretrained import Entry, Pretrained, weight_and_bias


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    width: int = 3
    tied: bool = True
    dropout: float = 0.1

    @classmethod
    def from_hugging_face(cls, values):
        return cls(width=values.get("hidden", 3), tied=values.get("tie_word_embeddings", True))

    def to_hugging_face(self):
        return {"hidden": self.width, "tie_word_embeddings": self.tied}


class Toy(Pretrained):
    model_type = "toy"
    output_names = ("output.weight",)
    config_class = ToyConfig

    def __init__(self, config):
        self.config = config
        self.table = nn.Embedding(5, config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, 5, bias=False)
        self.head = nn.Linear(config.width, 2, bias=False)
        if config.tied:
            self.output.weight = self.table.weight

    def entries(self):
        whole = [
            Entry("table.weight", ("toy.table.weight",)),
            Entry("qkv.weight", ("toy.q.weight", "toy.k.weight", "toy.v.weight"), transposed=True),
            Entry("qkv.bias", ("toy.q.bias", "toy.k.bias", "toy.v.bias")),
            Entry("head.weight", ("head.weight",), optional=True),
        ]
        return whole if self.config.tied else [*whole, Entry("output.weight", ("output.weight",))]

    def clean(self, name):
        if name.endswith("position_ids"):
            return None
        if name == "output.weight":
            return "toy.table.weight" if self.config.tied else name
        return name if name.startswith(("toy.", "head.")) else f"toy.{name}"


def arrays(width=3, seed=0, **more):
    """What a folder of a Toy holds."""
    normal = np.random.default_rng(seed).normal
    shapes = {"toy.table.weight": (5, width), "head.weight": (2, width)}
    for part in "qkv":
        shapes |= {f"toy.{part}.weight": (width, width), f"toy.{part}.bias": (width,)}
    return {name: normal(size=shape).astype(np.float32) for name, shape in shapes.items()} | more


def write(folder, content, config=None, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(bytes(piece) for piece in tensor_file(content, {"format": "pt"})))
    (folder / "config.json").write_text(
        json.dumps({"model_type": "toy"} if config is None else config), encoding="utf-8"
    )
    return folder


def check(model, stored):
    """The model's parameters are those stored."""
    np.testing.assert_array_equal(model.table.weight.data, stored["toy.table.weight"])
    qkv = np.concatenate([stored[f"toy.{part}.weight"].T for part in "qkv"])
    np.testing.assert_array_equal(model.qkv.weight.data, qkv)
    np.testing.assert_array_equal(model.qkv.bias.data, np.concatenate([stored[f"toy.{part}.bias"] for part in "qkv"]))
    np.testing.assert_array_equal(model.head.weight.data, stored["head.weight"])


def test_a_folder_is_read_without_drawing_anything(tmp_path):
    before = mt.random.default.state
    model = Toy.from_pretrained(write(tmp_path / "toy", arrays()))
    check(model, arrays())
    assert mt.random.default.state == before and not model.training and model.output.weight is model.table.weight
    assert {p.dtype for p in model.parameters()} == {np.dtype("float32")}


def test_unprefixed_names_and_what_is_passed_over(tmp_path):
    content = {name.removeprefix("toy."): value for name, value in arrays().items()}
    check(Toy.from_pretrained(write(tmp_path, content | {"position_ids": np.arange(4)})), arrays())


def test_changes_to_the_configuration(tmp_path):
    assert Toy.from_pretrained(write(tmp_path, arrays()), dropout=0.0).config.dropout == 0.0
    with pytest.raises(TypeError, match="ToyConfig has no field widht; it has width, tied, dropout"):
        Toy.from_pretrained(tmp_path, widht=4)


@pytest.mark.parametrize(("given", "expected"), [(None, "float64"), ("float32", "float32"), ("float16", "float16")])
def test_the_dtype_asked_for_or_that_of_the_file(tmp_path, given, expected):
    stored = {name: value.astype(np.float64) for name, value in arrays().items()}
    model = Toy.from_pretrained(write(tmp_path, stored), dtype=given)
    assert {p.dtype.name for p in model.parameters()} == {expected}
    check(model, {name: value.astype(expected) for name, value in stored.items()})


def test_sixteen_bits_are_widened(tmp_path):
    stored = {name: value.astype(np.float16) for name, value in arrays().items()}
    model = Toy.from_pretrained(write(tmp_path, stored))
    assert model.table.weight.dtype == np.float32
    check(model, stored)


def test_bfloat16_is_widened(tmp_path, monkeypatch):
    monkeypatch.setitem(safetensors.NAMES, np.dtype("<u2"), "BF16")
    stored = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in arrays().items()}
    folder = write(tmp_path, stored)
    assert set(TensorFile(folder / "model.safetensors").dtypes.values()) == {"BF16"}
    model = Toy.from_pretrained(folder)
    truncated = {n: (v.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for n, v in arrays().items()}
    check(model, truncated)
    assert all(np.abs(value - arrays()[name]).max() < 0.02 for name, value in truncated.items())


# --- several files --------------------------------------------------------------------------------


def sharded(folder):
    content, placement = arrays(), {}
    for i, names in enumerate((list(content)[:3], list(content)[3:])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        write(folder, {name: content[name] for name in names}, name=file)
        placement |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": placement}), encoding="utf-8"
    )
    return folder


def test_a_model_in_several_files(tmp_path):
    check(Toy.from_pretrained(sharded(tmp_path)), arrays())


def test_a_lost_shard_is_named(tmp_path):
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks model-00002-of-00002.safetensors.*download it too"):
        Toy.from_pretrained(tmp_path)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {"a": "../a.safetensors"}}', '{"weight_map": {"a": 3}}', "[1"])
def test_a_damaged_index(tmp_path, index):
    (sharded(tmp_path) / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(mt.FileFormatError, match="index.json"):
        Toy.from_pretrained(tmp_path)


# --- what does not fit ----------------------------------------------------------------------------


def test_missing_unexpected_and_misshapen_weights_are_listed_in_one_error(tmp_path):
    content = arrays(extra=np.zeros(1, np.float32))
    del content["toy.k.bias"], content["toy.table.weight"]
    content["toy.q.weight"] = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError) as caught:
        Toy.from_pretrained(write(tmp_path, content))
    message = str(caught.value)
    assert "the weights do not fit Toy" in message
    assert "missing: toy.table.weight, toy.k.bias" in message and "unexpected: extra" in message
    assert "toy.q.weight has shape (3, 4), the configuration asks for (3, 3)" in message


def test_shapes_are_compared_before_anything_of_that_size_is_made(tmp_path):
    folder = write(tmp_path, arrays(width=400), {"hidden": 500})
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"toy.q.weight has shape \(400, 400\), the configuration asks for \(500, 500\)"
    ):
        Toy.from_pretrained(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_a_long_list_is_cut(tmp_path):
    content = arrays(**{f"more.{i}": np.zeros(1, np.float32) for i in range(30)})
    with pytest.raises(ValueError, match=r"unexpected: more\.0, .* and 18 more"):
        Toy.from_pretrained(write(tmp_path, content))


def test_a_missing_optional_weight_keeps_its_initial_value_and_is_named(tmp_path):
    content = arrays()
    del content["head.weight"]
    mt.random.seed(1)
    expected = Toy(ToyConfig()).head.weight.data
    mt.random.seed(1)
    with pytest.warns(UserWarning, match=r"no weights for head\.weight: they keep their initial values"):
        model = Toy.from_pretrained(write(tmp_path, content))
    check(model, content | {"head.weight": expected})


@pytest.mark.parametrize("names", [["output.weight"], ["toy.table.weight", "output.weight"]])
def test_a_tied_weight_may_be_stored_under_either_name_or_both(tmp_path, names):
    content = arrays()
    table = content.pop("toy.table.weight")
    check(Toy.from_pretrained(write(tmp_path, content | dict.fromkeys(names, table))), arrays())


def test_a_tied_weight_of_two_values_is_an_error_unless_it_is_not_tied(tmp_path):
    content = arrays(**{"output.weight": np.ones((5, 3), np.float32)})
    with pytest.raises(ValueError, match=r"are one weight.*\"tie_word_embeddings\" to false"):
        Toy.from_pretrained(write(tmp_path, content))
    model = Toy.from_pretrained(write(tmp_path, content, {"tie_word_embeddings": False}))
    check(model, content)
    assert (model.output.weight.data == 1).all()


def test_another_model_type(tmp_path):
    with pytest.raises(ValueError, match='a model of type "bert", not "toy"'):
        Toy.from_pretrained(write(tmp_path, arrays(), {"model_type": "bert"}))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\ufeff", "[" * 100_000])
def test_a_damaged_configuration(tmp_path, content):
    (write(tmp_path, arrays()) / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(mt.FileFormatError, match="config.json"):
        Toy.from_pretrained(tmp_path)


def test_what_is_no_folder_of_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: from_pretrained reads one with config.json"):
        Toy.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        Toy.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor model.safetensors.index.json$"):
        Toy.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="pytorch_model.bin is in PyTorch's format: convert it"):
        Toy.from_pretrained(tmp_path)


def test_damaged_weights(tmp_path):
    path = write(tmp_path, arrays()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(mt.FileFormatError, match="cut short or damaged"):
        Toy.from_pretrained(tmp_path)


def test_a_table_that_forgets_a_parameter(tmp_path):
    model = Toy(ToyConfig(tied=False))
    model.entries = lambda: Toy(ToyConfig()).entries()
    with pytest.raises(RuntimeError, match=r"entries\(\) lacks output.weight"):
        model.save_pretrained(tmp_path)


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_comes_back(tmp_path, tied, dtype):
    model = Toy(ToyConfig(width=4, tied=tied)).astype(dtype)
    model.save_pretrained(tmp_path / "new" / "folder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = Toy.from_pretrained(tmp_path / "new" / "folder")
    assert back.config == model.config
    for (name, one), (_, other) in zip(model.named_parameters(), back.named_parameters()):
        np.testing.assert_array_equal(one.data, other.data, err_msg=name)
        assert one.dtype == other.dtype
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["config.json", "model.safetensors"]
    stored = TensorFile(tmp_path / "new" / "folder" / "model.safetensors")
    assert stored.metadata == {"format": "pt"} and ("output.weight" in stored.shapes) != tied
    assert stored.shapes["toy.k.weight"] == (4, 4)


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_failure_while_saving_leaves_the_old_model(tmp_path, monkeypatch, step):
    old = Toy(ToyConfig())
    old.save_pretrained(tmp_path)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if step == "open":
        monkeypatch.setattr(safetensors, "open", fail, raising=False)
    else:
        monkeypatch.setattr(safetensors.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        Toy(ToyConfig()).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    np.testing.assert_array_equal(Toy.from_pretrained(tmp_path).qkv.weight.data, old.qkv.weight.data)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "x").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="x is a file, save_pretrained needs a folder"):
        Toy(ToyConfig()).save_pretrained(tmp_path / "x")


def test_other_names_of_transformers_are_read():
    from minitensor.models.gpt import GPTConfig
    from minitensor.models.t5 import T5Config

    named = GPTConfig.from_hugging_face({"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3})
    assert (named.d_model, named.n_heads, named.n_layers) == (24, 2, 3)
    named = T5Config.from_hugging_face({"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3})
    assert (named.d_model, named.n_heads, named.n_encoder_layers, named.n_decoder_layers) == (24, 2, 3, 3)


def test_several_stop_tokens_are_kept():
    from minitensor.models.gpt import GPTConfig

    config = GPTConfig.from_hugging_face({"vocab_size": 9, "eos_token_id": [3, 4]})
    assert config.stop_id == (3, 4) and config.to_hugging_face()["eos_token_id"] == [3, 4]


def test_a_bert_with_another_head_is_refused():
    from minitensor.models.bert import BERT

    with pytest.raises(
        ValueError, match="BertForTokenClassification, a head that minitensor.models.bert.BERT does not have"
    ):
        BERT.configure({"architectures": ["BertForTokenClassification"]}, {})


def test_the_weight_and_the_bias_of_a_layer():
    weight, bias = weight_and_bias("qkv", "q", "k", transposed=True, optional=True)
    assert weight == Entry("qkv.weight", ("q.weight", "k.weight"), transposed=True, optional=True)
    assert bias == Entry("qkv.bias", ("q.bias", "k.bias"), transposed=False, optional=True)
