"""Two GPUs in one process: what belongs to the second runs there while the first is the current
one, and leaves it so.
"""

import copy

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import namespace, on
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.t5 import T5, T5Config
from tests.backend import emulator, fake_device
from tests.backend.parity import check_row

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


@pytest.fixture(scope="module", autouse=True)
def device():
    """Two fake devices in CuPy's place."""
    with fake_device.installed(gpus=2):
        yield


@pytest.fixture(autouse=True)
def the_first_stays_current():
    """No test leaves another GPU current than it found."""
    fake_device.CURRENT[0] = 0
    yield
    assert fake_device.CURRENT == [0]


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE if row.name != "to_device"])
def test_every_row_of_the_table_on_the_second(row):
    check_row(row, examples=2, device="cuda:1")


def second(*shape, **keywords):
    """Fixed normal numbers on the second GPU."""
    return mt.tensor(np.random.default_rng(0).standard_normal(shape), device="cuda:1", **keywords)


def test_the_current_one_is_what_cuda_means():
    assert mt.ones((2,), device="cuda:1").device == "cuda:1" and mt.ones((2,), device="cuda").device == "cuda:0"
    with on("cuda:1"):
        assert mt.ones((2,), device="cuda").device == "cuda:1"
    with pytest.raises(RuntimeError, match='there is no "cuda:2": CuPy sees 2 GPUs, "cuda:0" to "cuda:1"'):
        mt.ones((2,), device="cuda:2")


def test_the_fake_device_refuses_a_launch_on_the_wrong_gpu():
    x = second(3, 2)._array
    for wrong in (
        lambda: x + 1.0, lambda: x.sum(), lambda: x.copy(), lambda: x.astype("f"), lambda: x.fill(0), lambda: -x,
        lambda: x.__setitem__(0, 1.0), lambda: namespace("cuda:0").exp(x), lambda: x.__iadd__(1.0),
        lambda: namespace("cuda:0").kernels.each("gate_forward", x.dtype, 6, x, x, 6, 2),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="launched on GPU 0 with an array on GPU 1"):
            wrong()
    assert x.T[1:].reshape(-1).device.id == 1


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x.T, lambda x: x[::-1, ::2], lambda x: x[:0], lambda x: x[0, 0]]
)
def test_moving_between_gpus_with_the_gradient(view):
    x = second(3, 4, requires_grad=True)
    y = view(x).to("cuda:0")
    assert y.device == "cuda:0" and y.tolist() == view(x).tolist()
    (y * y).sum().backward()
    assert x.grad.device == "cuda:1"
    right = mt.tensor(x.detach().to("cpu"), requires_grad=True)
    (view(right) * view(right)).sum().backward()
    assert x.grad.tolist() == right.grad.tolist()


def test_gradients_of_both_gpus_meet_in_one_leaf():
    x = second(3, requires_grad=True)
    y = (x * 2.0).sum().to("cuda:0") + (x.to("cuda:0") * mt.tensor([1.0, 2.0, 3.0], device="cuda:0")).sum()
    y.backward()
    assert x.grad.tolist() == [3.0, 4.0, 5.0] and x.grad.device == "cuda:1"
    first = mt.grad((x.to("cuda:0") ** 3.0).sum(), x, create_graph=True)
    assert mt.grad(first.sum(), x).tolist() == pytest.approx((6 * x).tolist())


OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1), lambda p: optim.AdamW(p, lr=0.1),
    lambda p: optim.RMSprop(p, lr=0.1), lambda p: optim.Adafactor(p, lr=0.1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_model_on_two_gpus_is_trained_as_on_the_cpu(optimizer, dtype):
    def run(first, last):
        mt.random.seed(0)
        layers = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.2)), nn.Linear(8, 3)
        model = nn.ModuleList(layers).astype(dtype)
        model[0].to(first), model[1].to(last)
        made, ema = optimizer(model.parameters()), optim.EMA(model.parameters(), decay=0.5)
        x = mt.tensor(np.random.default_rng(0).standard_normal((5, 4)), dtype=dtype, device=first)
        for _ in range(3):
            made.zero_grad()
            F.cross_entropy(model[1](model[0](x).to(last)), mt.tensor([0, 1, 2, 1, 0], device=last)).backward()
            optim.clip_grad_norm_(model.parameters(), 0.5)
            optim.clip_grad_value_(model.parameters(), 0.4)
            made.step()
            ema.update()
        made.load_state_dict(made.state_dict())
        ema.load_state_dict(ema.state_dict())
        with ema.applied():
            averaged = [value.to("cpu").data for value in model.state_dict().values()]
        assert [p.device for p in model.parameters()] == [first] * 4 + [last] * 2
        return averaged + [value.to("cpu").data for value in model.state_dict().values()]

    on_one = run("cpu", "cpu")
    for mine, right in zip(run("cuda:1", "cuda:0") + run("cuda:0", "cuda:1"), on_one + on_one):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=3e-3 if dtype == "float16" else 1e-4)


def test_random_numbers_and_new_tensors_lie_on_the_second():
    for make in (
        lambda d: mt.random.uniform((5,), device=d), lambda d: mt.random.normal((5,), device=d),
        lambda d: mt.random.integers(3, 9, (5,), device=d), lambda d: mt.random.bernoulli(0.5, (5,), device=d),
        lambda d: mt.random.permutation(5, device=d), lambda d: mt.linspace(0.0, 1.0, 5, dtype="float64", device=d),
        lambda d: mt.arange(5, device=d), lambda d: mt.eye(3, device=d), lambda d: mt.full((2,), 7, device=d),
        lambda d: F.dropout(mt.ones((50,), device=d), 0.3), lambda d: mt.tensor(second(3).to(d), dtype="float32"),
        lambda d: F.one_hot(mt.tensor([1, 0], device=d)), lambda d: nn.padding_mask(mt.tensor([1, 3], device=d)),
        lambda d: nn.causal_mask(3, device=d), lambda d: mt.take(second(3).to(d), mt.tensor([-4, 9], device=d), 0, mode="wrap"),
        lambda d: mt.where(mt.tensor([True, False], device=d), 1.0, 2.0),
    ):  # fmt: skip
        mt.random.seed(3)
        here = make("cpu")
        mt.random.seed(3)
        there = make("cuda:1")
        assert there.device == "cuda:1" and there.dtype == here.dtype and there.tolist() == here.tolist()


def test_values_written_and_read():
    x = second(3, 2, requires_grad=True)
    x.assign(2.0)
    x.assign(np.full((3, 2), 3.0))
    x.grad = mt.ones((3, 2), dtype="float64", device="cuda:1")
    x.grad.assign(4.0)
    assert x.tolist() == [[3.0, 3.0]] * 3 and x.grad.tolist() == [[4.0, 4.0]] * 3 and x.sum().item() == 18.0
    assert copy.deepcopy(x).device == "cuda:1" and mt.asarray(x._array).device == "cuda:1"
    assert "3." in repr(x) and bool((x > 2.0).all())
    with mt.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="log: non-finite"):
        mt.log(-x)


def test_an_id_out_of_range_on_the_second():
    with pytest.raises(IndexError, match="id 5 is outside the table"):
        F.embedding(mt.tensor([0, 5], device="cuda:1"), mt.ones((5, 2), device="cuda:1")).sum().item()
    assert second(2).sum().item()  # told once


def test_a_decoder_with_a_cache():
    mt.random.seed(0)
    decoder = nn.TransformerDecoder(1, 8, n_heads=2, d_ff=16).eval()

    def run(device):
        decoder.to(device)
        rng = np.random.default_rng(0)
        memory, x = (mt.tensor(rng.standard_normal((2, n, 8)).astype("f"), device=device) for n in (5, 3))
        cache = decoder.init_cache(memory)
        steps = [
            decoder(x[:, t : t + 1], memory, cache=cache, memory_mask=nn.padding_mask([5, 2]).to(device))
            for t in range(2)
        ]
        cache.reorder([1, 0])
        out = mt.concat([*steps, decoder(x[:, 2:], memory, cache=cache)], 1)
        assert out.device == device
        return out.to("cpu").data

    np.testing.assert_allclose(run("cuda:1"), run("cpu"), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_on_the_second():
    x = second(4, 4, requires_grad=True)
    y = mt.checkpoint(lambda a: F.dropout(mt.tanh(a @ a), 0.5), x)
    assert mt.grad(y.sum(), x).device == "cuda:1"


def test_models_on_the_second_write_what_they_write_on_the_cpu():
    mt.random.seed(0)
    gpt = GPT(GPTConfig(vocab_size=11, max_length=16, d_model=8, n_layers=1, n_heads=2)).eval()
    t5 = T5(
        T5Config(vocab_size=11, d_model=8, d_head=4, d_ff=16, n_heads=2, n_encoder_layers=1, n_decoder_layers=1)
    ).eval()
    ids = np.array([[1, 2, 3], [2, 3, 4]])
    right = [gpt.generate(ids, 4), t5.generate(ids, 4)]
    gpt.to("cuda:1"), t5.to("cuda:1")
    there = mt.tensor(ids, device="cuda:1")
    assert [gpt.generate(there, 4), t5.generate(there, 4)] == right
