"""Everything on a device that is not NumPy: the table of ops, the layers, a training run. Proves
dispatch without a GPU.
"""

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import namespace
from tests.backend import emulator, fake_cublas, fake_device
from tests.backend.parity import check_parity, check_row, nowhere
from tests.test_axes import CALLS, MADE, check_call, python

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


@pytest.fixture(scope="module", autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE if row.name != "to_device"])
def test_every_row_of_the_table(row):
    check_row(row, examples=5)


def of_device(numbers):
    """A raw integer array on the device."""
    return mt.tensor(numbers, device="cuda").data


KINDS = of_device, lambda numbers: mt.tensor(numbers, device="cuda"), np.array


@pytest.mark.parametrize("call", CALLS)
def test_axes_and_counts_may_lie_on_the_device(call):
    check_call(call, KINDS, "cuda")
    check_call(call, [of_device], "cpu")


@pytest.mark.parametrize("make", MADE)
def test_lengths_of_new_tensors_may_lie_on_the_device(make):
    for kind in KINDS:
        made, right = make(kind, "cuda"), make(python, "cuda")
        assert made == right if isinstance(made, tuple) else made.tolist() == right.tolist()


def array(*shape, seed=0):
    """Fixed normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def recurrent(layer):
    """The outputs of a recurrent layer, of weights and a state, over sequences of two lengths."""
    pair = layer is F.lstm
    return lambda x, weight_ih, weight_hh, h: layer(
        x, weight_ih, weight_hh, state=(h, None) if pair else h, lengths=[4, 2], reverse=True
    )[0]


TARGETS = np.array([0, 8, -100, 3, 3, 1])
OVERRIDES = [
    ("softmax", F.softmax, [array(3, 4, 5)], {"axis": 1}),
    ("log_softmax", F.log_softmax, [array(7, 40)], {}),
    ("layer_norm", F.layer_norm, [array(2, 70, 5), array(5, seed=1), array(5, seed=2)], {}),
    ("rms_norm", F.rms_norm, [array(2, 70, 5), array(5, seed=1)], {}),
    ("relu", F.relu, [array(3, 300)], {}),
    ("gelu", F.gelu, [array(3, 300)], {}),
    ("gelu tanh", F.gelu, [array(3, 5)], {"approximate": "tanh"}),
    ("silu", F.silu, [array(3, 5)], {}),
    ("cross_entropy", F.cross_entropy, [array(6, 9), TARGETS, array(9, seed=1) ** 2], {"label_smoothing": 0.1}),
    ("cross_entropy plain", F.cross_entropy, [array(6, 9), TARGETS], {"reduction": "sum"}),
    ("symmetric_kl_div", F.symmetric_kl_div, [array(3, 2, 4, 40)], {}),
    ("symmetric_kl_div nowhere", F.symmetric_kl_div, [nowhere(array(2, 2, 4, 5))], {}),
    ("attention", F.scaled_dot_product_attention, [array(2, 3, 4, 5, seed=i) for i in range(3)], {"is_causal": True}),
    ("attention dropout", F.scaled_dot_product_attention, [array(2, 3, 4, 5, seed=i) for i in range(3)], {"dropout": 0.3}),
    ("attention 3-d", F.scaled_dot_product_attention, [array(3, 4, 5, seed=i) for i in range(3)], {"mask": array(3, 4, 4) > 0}),
    ("packed", F.packed_attention, [array(2, 4, 18)], {"n_heads": 3, "mask": array(2, 1, 1, 4) > -0.5}),
    ("rnn", recurrent(F.rnn), [array(2, 4, 3), array(5, 3, seed=1), array(5, 5, seed=2), array(2, 5, seed=3)], {}),
    ("lstm", recurrent(F.lstm), [array(2, 4, 3), array(20, 3, seed=1), array(20, 5, seed=2), array(2, 5, seed=3)], {}),
    ("gru", recurrent(F.gru), [array(2, 4, 3), array(15, 3, seed=1), array(15, 5, seed=2), array(2, 5, seed=3)], {}),
]  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 1e-4), (np.float16, 3e-2)])
@pytest.mark.parametrize("function, inputs, keywords", [pytest.param(*row[1:], id=row[0]) for row in OVERRIDES])
def test_kernels_equal_those_of_the_cpu(function, inputs, keywords, dtype, tolerance):
    # Numbers of 16 bits come to the kernels as float32.
    check_parity(function, inputs, keywords, dtype=dtype, order=1, rtol=tolerance, atol=tolerance)


def test_more_rows_than_a_grid_has_chunks(monkeypatch):
    from minitensor.nn.functional import cuda

    monkeypatch.setattr(cuda, "MOST_CHUNKS", 2)  # of the 65 535 that a GPU has
    inputs = [array(300, 5), array(5, seed=1), array(5, seed=2)]
    check_parity(F.layer_norm, inputs, {}, order=1, rtol=1e-10, atol=1e-10)


def test_masked_out_nan_reaches_nothing():
    q, k, v = (array(2, 1, 4, 5, seed=i) for i in range(3))
    mask = np.ones((2, 1, 1, 4), dtype=bool)
    mask[:, ..., 3] = False
    k[:, :, 3] = v[:, :, 3] = np.nan
    check_parity(F.scaled_dot_product_attention, [q, k, v], {"mask": mask}, order=1)
    out = F.scaled_dot_product_attention(
        *(mt.tensor(x, device="cuda") for x in (q, k, v)), mask=mt.tensor(mask, device="cuda")
    )
    assert np.isfinite(out.to("cpu").data).all()


class Tagger(nn.Module):
    """A Transformer encoder over embedded ids: every kind of layer that a training step of the main
    job runs.
    """

    def __init__(self):
        self.embedding = nn.Embedding(11, 16)
        self.positions = nn.SinusoidalPositionalEncoding(16)
        self.encoder = nn.TransformerEncoder(2, 16, 2, 32, dropout=0.1, activation="gelu")
        self.out = nn.Linear(16, 11)

    def forward(self, ids, mask):
        """Logits (B, T, 11)."""
        x = self.positions(self.embedding(ids))
        return self.out(self.encoder(x, mask=mask))


def train(device, steps=4):
    """Losses, as device scalars, and the final weights of a short run."""
    mt.random.seed(1)
    model = Tagger().astype("float64").to(device)  # in float32 Adam magnifies rounding if a gradient is 0
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 11, (3, 6)) for _ in range(steps)]
    masks = [nn.padding_mask([6, 4, 5], 6).to(device) for _ in batches]
    batches = [mt.tensor(ids, device=device) for ids in batches]
    fake_device.SYNCS.clear()
    losses = []
    for ids, mask in zip(batches, masks):
        loss = F.cross_entropy(model(ids, mask), ids, label_smoothing=0.1)
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    waits = list(fake_device.SYNCS)
    return [x.item() for x in losses], {k: v.to("cpu").numpy() for k, v in model.state_dict().items()}, waits


def test_attention_of_numbers_of_16_bits_never_waits():
    x = mt.tensor(array(2, 4, 18).astype(np.float16), device="cuda", requires_grad=True)
    mask = nn.padding_mask([4, 2]).to("cuda")
    fake_device.SYNCS.clear()
    mt.grad(F.packed_attention(x, 3, mask, dropout=0.1).sum(), x)
    assert fake_device.SYNCS == []


def test_a_training_run_never_waits_and_equals_the_cpus():
    here, weights, _ = train("cpu")
    there, moved_weights, waits = train("cuda")
    assert waits == [], f"a training step made the host wait for the device: {waits}"
    np.testing.assert_allclose(there, here, rtol=1e-10)
    for name, value in weights.items():
        np.testing.assert_allclose(moved_weights[name], value, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("write", [lambda a, b: a + b, lambda a, b: mt.where(a > 0, a, b), lambda a, b: F.linear(a, b)])
def test_two_devices_never_mix_in_silence(write):
    here, there = mt.ones((2, 2)), mt.ones((2, 2), device="cuda")
    with pytest.raises(
        TypeError, match=r'is on (cpu|cuda:0) but .* is on (cpu|cuda:0).*write .*\.to\("(cpu|cuda:0)"\)'
    ):
        write(here, there)
    with pytest.raises(TypeError, match="is on cuda:0"):
        write(there, here)


@pytest.mark.parametrize(
    "look_up, message",
    [
        (
            lambda: F.embedding(mt.tensor([0, 5], device="cuda"), mt.ones((5, 2), device="cuda")),
            "embedding: id 5 is outside the table",
        ),
        (
            lambda: mt.ones((5, 2), device="cuda")[mt.tensor([-6, 1], device="cuda")],
            "index -6 is out of range for axis 0",
        ),
        (
            lambda: mt.ones((2, 5), device="cuda")[..., mt.tensor([5], device="cuda")],
            "index 5 is out of range for axis 1",
        ),
        (
            lambda: mt.ones((2, 3, 5), device="cuda")[
                mt.ones((2, 3), dtype="bool", device="cuda"), mt.tensor([5], device="cuda")
            ],
            "index 5 is out of range for axis 2",
        ),
        (
            lambda: F.cross_entropy(mt.ones((2, 3), device="cuda"), mt.tensor([-100, 3], device="cuda")),
            "target 3 is not a class",
        ),
    ],
)
def test_an_id_out_of_range_raises_when_a_value_is_read(look_up, message):
    found = look_up()
    with pytest.raises(IndexError, match=message):
        found.sum().item()


def test_a_choice_by_a_python_truth_value():
    x = mt.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    y = mt.where(True, x, 0.0) + mt.where(False, x * 3.0, x * 2.0)
    y.sum().backward()
    assert y.tolist() == [3, 6] and x.grad.tolist() == [3, 3]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
def test_whole_quotients_and_remainders_are_numpys(dtype):
    # CuPy divides and rounds: 1.0 // 0.1 would be 10, and 1.0 % inf NaN.
    x, y = np.array([[1.0, -1.0, 7.0, 0.0, 5.5]]), np.array([[0.1], [-0.1], [np.inf], [-np.inf], [0.0], [2.0]])
    x, y = (x, y) if dtype.startswith("f") else (abs(x), np.array([[1], [2], [3]]))
    x, y = x.astype(dtype), y.astype(dtype)
    there = [mt.tensor(a, device="cuda") for a in (x, y)]
    with np.errstate(all="ignore"):
        wholes, rests = np.floor_divide(x, y), np.remainder(x, y)
    for mine, right in ((there[0] // there[1], wholes), (there[0] % there[1], rests)):
        assert mine.dtype == dtype
        np.testing.assert_array_equal(mine.to("cpu").data, right)
        np.testing.assert_array_equal(np.signbit(mine.to("cpu").data), np.signbit(right))


def test_the_gradient_of_a_remainder_takes_the_quotient_that_was_taken():
    y = mt.tensor(np.array([0.1]), requires_grad=True)
    assert mt.grad((1.0 % y).sum(), y).tolist() == [-9.0]


def test_raw_arrays_of_the_device_and_numpys_functions_meet_tensors_there():
    x = mt.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    raw = mt.tensor([3.0, 4.0], device="cuda").data
    made = (
        raw + x,
        raw * x,
        raw - x,
        np.add(raw, x),
        np.exp(x),
        np.concatenate([raw, x]),
        mt.asarray([x, [1.0, 2.0]]),
        mt.stack([x[0], 1.0]),
    )
    assert all(isinstance(y, mt.Tensor) and y.requires_grad and y.device == "cuda:0" for y in made)
    assert (raw == x).device == "cuda:0" and made[2].tolist() == [2.0, 2.0]
    for call in (np.asarray, lambda x: np.percentile(x, 5)):
        with pytest.raises(TypeError, match=r'write .to\("cpu"\).numpy\(\)'):
            call(x.detach())


def test_host_functions_refuse_device_tensors():
    x = mt.ones((2,), device="cuda")
    with pytest.raises(TypeError, match=r'\.to\("cpu"\)\.numpy\(\)'):
        x.numpy()
    with pytest.raises(TypeError):
        np.asarray(x)
    assert x.to("cpu").numpy().tolist() == [1, 1] and x.tolist() == [1, 1] and x.sum().item() == 2


def test_the_fake_device_refuses_what_a_gpu_refuses():
    x = fake_device.ndarray(np.ones(2))
    for wrong in (
        lambda: np.exp(x),
        lambda: np.sum(x),
        lambda: np.asarray(x),
        lambda: x + np.ones(2),
        lambda: np.ones(2) * x,
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError):
        x[0] = np.ones(1)


def test_devices_that_do_not_exist_are_named():
    with pytest.raises(RuntimeError, match=r'there is no "cuda:3": CuPy sees 1 GPU, "cuda:0"$'):
        mt.ones((2,), device="cuda:3")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        mt.ones((2,), device="gpu")


def test_memory_that_runs_out_names_the_op_and_what_needs_less(monkeypatch):
    class OutOfMemoryError(MemoryError):  # CuPy's takes three arguments
        def __init__(self, size, total, limit):
            super().__init__(f"Out of memory allocating {size} bytes (allocated so far: {total} bytes)")

    def full(*args, **keywords):
        raise OutOfMemoryError(512, 1024, 2048)

    x = mt.ones((8, 16), device="cuda", requires_grad=True)
    y = F.softmax(x)
    monkeypatch.setattr(namespace("cuda"), "empty_like", full)
    said = r"Out of memory allocating 512 bytes.*smaller batches.*mt.no_grad.*mt.checkpoint"
    with pytest.raises(MemoryError, match=r"softmax\(x: \(8, 16\) float32 on cuda:0\): " + said):
        F.softmax(x)
    with pytest.raises(MemoryError, match=r"softmax, in backward from \(8, 16\) to \(8, 16\): " + said):
        y.sum().backward()
    monkeypatch.setattr(namespace("cuda"), "matmul", full)
    with pytest.raises(MemoryError, match=r"matmul\(.*\(8, 16\) float32 on cuda:0, .*\(16, 4\).*: " + said):
        x @ mt.ones((16, 4), device="cuda")


def test_causal_masks_of_long_sequences_are_let_go(monkeypatch):
    from minitensor.nn.functional import causal

    causal.forget()
    q = mt.tensor(array(1, 1, 4, 2), device="cuda", requires_grad=True)
    for kept, remembered in ((10, 0), (16, 1)):
        monkeypatch.setattr(causal, "KEPT", kept)
        F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
        assert causal._small.cache_info().currsize == remembered


@pytest.mark.parametrize("p", [0.3, 0.5, 1e-5])  # 1e-5 takes 64 random bits an element
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_dropout_is_that_of_the_cpu_bit_for_bit(p, dtype):
    x = array(9, 700).astype(dtype)  # more than one block of threads, the last one of few
    check_parity(lambda x: F.dropout(x[:, ::2], p), [x], rtol=0, atol=0)
    states = []
    for device in ("cpu", "cuda"):
        mt.random.seed(3)
        y = F.dropout(mt.ones((70,), device=device, requires_grad=True), p)
        (g,) = mt.grad(y, [y], mt.ones((70,), device=device), create_graph=True)
        states.append((y.tolist(), g.tolist(), mt.random.default.state))
    assert states[0] == states[1]


def test_dropout_on_the_device_keeps_no_mask_and_differentiates_again():
    x = mt.tensor(array(8, 5), device="cuda", requires_grad=True)
    mt.random.seed(1)
    y = F.dropout(x, 0.4)
    kept = y.node.saved[2]["mask"]
    assert kept.shape == (8, 5) and not hasattr(kept, "data")
    (g,) = mt.grad((y**2).sum(), [x], create_graph=True)
    (h,) = mt.grad((g**2).sum(), [x])
    mask = kept.written().array
    np.testing.assert_allclose(h.to("cpu").numpy(), 8 * mask**4 * x.to("cpu").numpy())


def test_attention_takes_six_products_and_each_is_one_call():
    x = mt.tensor(array(3, 5, 48), device="cuda", requires_grad=True)
    fake_cublas.CALLS.clear()
    F.packed_attention(x, 4, is_causal=True).sum().backward()
    assert [call[-1] for call in fake_cublas.CALLS] == [12] * 6


def test_dropout_does_not_depend_on_the_order_of_threads():
    with emulator.backwards():
        for p in (0.3, 1e-5):
            test_dropout_is_that_of_the_cpu_bit_for_bit(p=p, dtype=np.float64)


@pytest.mark.parametrize("width", [601, 640])  # of the second, rows begin where a block of words does
@pytest.mark.parametrize("p", [0.3, 1e-4])
def test_rows_of_a_batch_are_dropped_as_on_the_cpu(p, width):
    found = []
    for device in ("cpu", "cuda"):
        mt.random.seed(1)
        with mt.random.rows(2, 7, of=9):
            found.append(F.dropout(mt.ones((5, 3, width), device=device), p).to("cpu").numpy())
    mt.random.seed(1)
    whole = F.dropout(mt.ones((9, 3, width)), p).numpy()
    assert np.array_equal(*found) and np.array_equal(found[0], whole[2:7]) and (whole == 0).any()


@pytest.mark.parametrize("length", [5, 8])
def test_rows_of_a_batch_attend_as_in_the_whole(length):
    arrays = np.random.default_rng(0).standard_normal((2, 5, length, 12)).astype("float32")
    found, ends = [], set()
    for device, cuts in (("cpu", [0, 5]), ("cuda", [0, 5]), ("cuda", [0, 1, 4, 5])):
        parts = []
        for start, stop in zip(cuts, cuts[1:]):
            mt.random.seed(1)
            x, g = (mt.tensor(a[start:stop], device=device) for a in arrays)
            x.requires_grad_()
            with mt.random.rows(start, stop, of=5):
                y = F.dropout(F.packed_attention(x, 2, is_causal=True, dropout=0.4), 0.3)
            (y * g[..., :4]).sum().backward()
            parts.append([value.detach().to("cpu").numpy() for value in (y, x.grad)])
            ends.add(mt.random.default.state)
        found.append([np.concatenate(values) for values in zip(*parts)])
    assert len(ends) == 1
    for whole, again in zip(found[0] + found[0], found[1] + found[2]):
        np.testing.assert_allclose(again, whole, rtol=1e-5, atol=1e-6)
