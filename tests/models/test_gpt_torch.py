"""GPT against transformers.GPT2LMHeadModel, built from a configuration with random weights."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from minitensor.models.gpt import GPT

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.torch

SIZES = dict(n_embd=24, n_layer=3, n_head=4, vocab_size=50, n_positions=32, bos_token_id=49, eos_token_id=49)
QUIET = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
LIMITS = {"float32": 1e-4, "float64": 1e-9}


def pair(folder, dtype="float64", **changes):
    """The same model there and here, by way of a folder that transformers wrote."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(**{**SIZES, **QUIET, **changes})
    theirs = transformers.GPT2LMHeadModel(config).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # far from flat, and no bias 0
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.05))
    theirs.save_pretrained(folder)
    return theirs, GPT.from_pretrained(folder)


def ids_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(50, size=shape)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"n_inner": 40, "activation_function": "gelu"}, {"tie_word_embeddings": False, "activation_function": "relu"}],
)
def test_logits(tmp_path, dtype, changes):
    theirs, ours = pair(tmp_path, dtype, **changes)
    ids, real = ids_of(3, 20), np.ones((3, 20), dtype=bool)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    assert ours.output.weight.dtype == dtype
    np.testing.assert_allclose(ours(ids).data, expected, rtol=0, atol=LIMITS[dtype])
    real[1, 13:] = False
    with torch.no_grad():
        expected = theirs(torch.tensor(ids), attention_mask=torch.tensor(real)).logits.numpy()
    np.testing.assert_allclose(ours(ids, mask=real).data[real], expected[real], rtol=0, atol=LIMITS[dtype])


def test_what_we_write_is_read_there(tmp_path):
    theirs, ours = pair(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").eval()
    assert back.config.to_diff_dict().keys() <= theirs.config.to_diff_dict().keys()
    for (name, one), other in zip(theirs.named_parameters(), back.parameters()):
        assert torch.equal(one, other), name


def test_a_model_in_several_files(tmp_path):
    theirs, _ = pair(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="40KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    with torch.no_grad():
        expected = theirs(torch.tensor(ids_of(1, 9))).logits.numpy()
    np.testing.assert_allclose(GPT.from_pretrained(tmp_path / "parts")(ids_of(1, 9)).data, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_files(tmp_path, dtype):
    theirs, _ = pair(tmp_path / "whole", "float32")
    theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path / "half")
    ours = GPT.from_pretrained(tmp_path / "half")
    with torch.no_grad():
        expected = theirs.to(torch.float32)(torch.tensor(ids_of(2, 9))).logits.numpy()
    np.testing.assert_allclose(ours(ids_of(2, 9)).data, expected, rtol=0, atol=1e-4)


def test_greedy_generation_token_for_token(tmp_path):
    theirs, ours = pair(tmp_path, tie_word_embeddings=False)  # a tied output would repeat its input
    prompts = [ids_of(n, seed=n).tolist() for n in (1, 7, 3, 10, 5, 2, 12)]
    expected = []
    for prompt in prompts:
        found = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=20, do_sample=False, pad_token_id=49,
        )[0].tolist()[len(prompt) :]  # fmt: skip
        expected.append(found[: found.index(49)] if 49 in found else found)
    assert len({token for tokens in expected for token in tokens}) > 5
    assert ours.generate(prompts, 20) == expected


def test_gradients_and_one_training_step(tmp_path):
    theirs, ours = pair(tmp_path)
    theirs.train()
    ours.train()
    ids = ids_of(4, 15)
    there, here = torch.optim.AdamW(theirs.parameters(), lr=1e-2), optim.AdamW(ours.parameters(), lr=1e-2)
    # Their own loss is computed in float32.
    logits = theirs(torch.tensor(ids)).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 50), torch.tensor(ids)[:, 1:].reshape(-1))
    found = ours.loss(ids)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    expected.backward()
    found.backward()
    gradients, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    entries = ours.entries()
    assert {name for entry in entries for name in entry.theirs} == set(gradients)

    def compare(of_theirs, of_ours):
        for entry in entries:
            wanted = of_theirs(gradients[entry.theirs[0]]).detach().numpy()
            np.testing.assert_allclose(
                of_ours(parameters[entry.ours]),
                wanted.T if entry.transposed else wanted,
                rtol=1e-8,
                atol=1e-10,
                err_msg=entry.ours,
            )

    compare(lambda p: p.grad, lambda p: p.grad.data)
    there.step()
    here.step()
    compare(lambda p: p, lambda p: p.data)


def test_large_sizes_are_read_straight_into_the_parameters(tmp_path):
    """No random numbers are drawn and no tensor is held twice: reading takes little more memory
    than the model has.
    """
    import tracemalloc

    theirs, _ = pair(tmp_path, "float32", n_embd=256, n_layer=8, vocab_size=2000)
    del theirs
    before = mt.random.default.state
    tracemalloc.start()
    model = GPT.from_pretrained(tmp_path)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = 4 * model.num_parameters()
    assert now > 0.9 * size and peak < 1.25 * size
    assert mt.random.default.state == before
