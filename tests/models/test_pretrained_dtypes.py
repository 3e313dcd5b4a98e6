"""Published weights in numbers of 16 bits: read as such where that is asked for, computed with, and
saved as what they are.
"""

import builtins
import json

import numpy as np
import pytest

import minitensor as mt
from minitensor.files.safetensors import TensorFile
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.marian import Marian, MarianConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.vit import ViT, ViTConfig

ml_dtypes = pytest.importorskip("ml_dtypes")
IDS = np.array([[3, 4, 5, 6]])
SMALL = dict(d_model=8, n_heads=2, d_ff=16)
MODELS = {
    "bert": (lambda: BERT(BERTConfig(20, n_layers=1, max_length=8, n_classes=2, **SMALL)), lambda m: m(IDS)),
    "gpt": (lambda: GPT(GPTConfig(20, 8, n_layers=1, **SMALL)), lambda m: m(IDS)),
    "t5": (
        lambda: T5(T5Config(20, d_head=4, n_encoder_layers=1, n_decoder_layers=1, **SMALL)), lambda m: m(IDS, IDS),
    ),
    "marian": (
        lambda: Marian(
            MarianConfig(
                20, d_model=8, n_encoder_heads=2, n_decoder_heads=2, d_encoder_ff=16, d_decoder_ff=16, n_encoder_layers=1,
                n_decoder_layers=1, pad_id=19, start_id=19,
            )
        ),
        lambda m: m(IDS, IDS),
    ),
    "vit": (
        lambda: ViT(ViTConfig(image_size=8, patch_size=4, n_layers=1, n_classes=3, **SMALL)),
        lambda m: m(np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)),
    ),
}  # fmt: skip
STORED = {"float16": "F16", "bfloat16": "BF16"}


@pytest.fixture(params=MODELS)
def model(request):
    """A small model, what it answers, and nothing else."""
    mt.random.seed(0)
    make, answer = MODELS[request.param]
    return make().eval(), answer


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("form", [str, lambda name: mt.zeros(1, dtype=name).dtype])
def test_sixteen_bits_that_are_asked_for(tmp_path, model, name, form):
    ours, answer = model
    ours.save_pretrained(tmp_path / "wide")
    narrow = type(ours).from_pretrained(tmp_path / "wide", dtype=form(name))
    assert {parameter.dtype.name for parameter in narrow.parameters()} == {name}
    wide, eps = answer(ours).numpy(), 2.0 ** (-10 if name == "float16" else -7)
    np.testing.assert_allclose(
        answer(narrow).astype("float32").numpy(), wide, rtol=0, atol=16 * eps * np.abs(wide).max()
    )

    narrow.save_pretrained(tmp_path / "narrow")
    assert set(TensorFile(tmp_path / "narrow/model.safetensors").dtypes.values()) == {STORED[name]}
    assert json.loads((tmp_path / "narrow/config.json").read_text(encoding="utf-8"))["dtype"] == name
    again = type(ours).from_pretrained(tmp_path / "narrow", dtype=name)
    for (_, old), (_, new) in zip(narrow.named_parameters(), again.named_parameters(), strict=True):
        np.testing.assert_array_equal(new.astype("float32").numpy(), old.astype("float32").numpy())
    widened = type(ours).from_pretrained(tmp_path / "narrow")
    assert {parameter.dtype.name for parameter in widened.parameters()} == {"float32"}


@pytest.mark.parametrize("name", STORED)
def test_a_training_step_in_sixteen_bits(model, name):
    ours, answer = model
    ours.astype(name).train()
    mt.sum(mt.square(answer(ours).astype("float32"))).backward()
    for parameter in ours.parameters():
        assert parameter.grad is None or (
            parameter.grad.dtype.name == name and np.isfinite(parameter.grad.numpy()).all()
        )


@pytest.mark.parametrize(
    "dtype", ["bf16", "torch.float16", "float8_e4m3fn", ml_dtypes.float8_e5m2, "longdouble", "O", 3]
)
def test_types_that_there_are_not(tmp_path, dtype):
    if dtype == "longdouble" and np.dtype(dtype).itemsize == 8:
        pytest.skip("long doubles are doubles here")
    GPT(GPTConfig(20, 8, n_layers=1, **SMALL)).save_pretrained(tmp_path)
    for take in (lambda: GPT.from_pretrained(tmp_path, dtype=dtype), lambda: mt.nn.Linear(2, 2).astype(dtype)):
        with pytest.raises(
            TypeError, match="the types of tensors are float16, bfloat16, float32, float64, int8 to int64"
        ):
            take()
    with pytest.raises(TypeError, match="a module's state is floating, got int64"):
        GPT.from_pretrained(tmp_path, dtype=int)


def test_bfloat16_without_its_package(tmp_path, monkeypatch):
    """What is asked for is refused with the way out, and what is stored is widened."""
    model = GPT(GPTConfig(20, 8, n_layers=1, **SMALL)).astype("bfloat16")
    model.save_pretrained(tmp_path)
    real = builtins.__import__

    def without(name, *rest):
        if name == "ml_dtypes":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        TypeError, match="bfloat16 needs the package ml_dtypes: pip install ml_dtypes; the types of tensors"
    ):
        GPT.from_pretrained(tmp_path, dtype="bfloat16")
    assert GPT.from_pretrained(tmp_path).tokens.weight.dtype == "float32"


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", STORED)
def test_transformers_reads_what_is_saved_in_sixteen_bits(tmp_path, name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    mt.random.seed(0)
    ours = GPT(GPTConfig(20, 8, n_layers=1, **SMALL)).astype(name).eval()
    ours.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, dtype="auto").eval()
    assert theirs.dtype == getattr(torch, name)
    weight = theirs.transformer.wte.weight.detach().float().numpy()
    np.testing.assert_array_equal(weight, ours.tokens.weight.astype("float32").numpy())
    expected = theirs.float()(torch.tensor(IDS)).logits.detach().numpy()
    np.testing.assert_allclose(ours.astype("float32")(IDS).numpy(), expected, rtol=0, atol=1e-5)
