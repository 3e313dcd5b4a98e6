"""What is handed over as an array: lists that hold tensors, subclasses of NumPy's array, numbers
given as tensors.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn

# --- lists that hold tensors ----------------------------------------------------------------------


def nested(array, leaves):
    """``array`` as nested lists of tracked tensors of one number each, also put into ``leaves``;
    every third stays a number.
    """
    if array.ndim:
        return [nested(part, leaves) for part in array]
    leaves.append(mt.tensor(array, requires_grad=True))
    return array.item() if len(leaves) % 3 == 0 else leaves[-1]


def outputs_of(row, inputs, keywords):
    mt.random.seed(0)  # for dropout
    out = row.function(*inputs, **keywords)
    return [y for y in (out if isinstance(out, (tuple, list)) else [out]) if y.dtype.kind == "f"]


def pulled(outputs, inputs):
    seeds = [np.random.default_rng(i).standard_normal(y.shape) for i, y in enumerate(outputs) if y.requires_grad]
    wanted = [y for y in outputs if y.requires_grad]
    return mt.grad(wanted, inputs, seeds, allow_unused=True) if wanted else [None] * len(inputs)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=str(row)) for row in TABLE if row.order and row.name != "getitem"]
)
def test_a_list_of_tensors_is_taken_for_the_array_with_the_gradient_of_its_parts(row):
    @given(row.cases)
    @settings(
        max_examples=3, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case):
        inputs = [value for value in case if not isinstance(value, dict)]
        keywords = case[-1] if isinstance(case[-1], dict) else {}
        for place, value in enumerate(inputs):
            if not isinstance(value, mt.Tensor) or value.dtype != "float64" or place not in (row.wanted or range(9)):
                continue
            assume(0 < value.size <= 60)
            x, leaves = mt.tensor(value, requires_grad=True), []
            right = outputs_of(row, [*inputs[:place], x, *inputs[place + 1 :]], keywords)
            parts = nested(value.numpy(), leaves)
            found = outputs_of(row, [*inputs[:place], parts, *inputs[place + 1 :]], keywords)
            for y, z in zip(found, right):
                np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-12)
            (gradient,), given_back = pulled(right, [x]), pulled(found, leaves)
            if gradient is not None:
                flat = gradient.numpy().reshape(-1)
                for i, leaf in enumerate(given_back):
                    assert (leaf is None and (i % 3 == 2 or flat[i] == 0)) or leaf.item() == pytest.approx(
                        flat[i], 1e-9, 1e-12
                    )

    check()


@pytest.mark.parametrize(
    "call", [mt.mean, mt.sum, mt.max, mt.prod, mt.logsumexp, mt.norm, mt.exp, mt.stack, mt.asarray]
)
def test_a_list_of_results_carries_their_gradient(call):
    x = mt.tensor(3.0, requires_grad=True)
    call([x * 2.0, x * 4.0]).sum().backward()
    y = mt.tensor(3.0, requires_grad=True)
    call(mt.stack([y * 2.0, y * 4.0])).sum().backward()
    assert x.grad.item() == y.grad.item() != 0.0


def parts(*shape, of):
    """Nested lists of ``shape`` filled with the tensor ``of``."""
    return [parts(*shape[1:], of=of) for _ in range(shape[0])] if shape else of


LAYERS = {
    "Linear": (lambda: nn.Linear(2, 3), (4, 2)),
    "LayerNorm": (lambda: nn.LayerNorm(2), (4, 2)),
    "RMSNorm": (lambda: nn.RMSNorm(2), (4, 2)),
    "Conv2d": (lambda: nn.Conv2d(1, 2, 3), (1, 1, 4, 4)),
    "Dropout": (lambda: nn.Dropout(0.0), (3,)),
    "LSTM": (lambda: nn.LSTM(2, 3), (1, 4, 2)),
    "GRUCell": (lambda: nn.GRUCell(2, 3), (1, 2)),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(4, 2), (1, 3, 4)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (1, 3, 4)),
    "encoder": (lambda: nn.TransformerEncoder(1, 4, 2, 8, norm_first=True), (1, 3, 4)),
    "decoder": (lambda: nn.TransformerDecoder(1, 4, 2, 8), (1, 3, 4), (1, 2, 4)),
    "Transformer": (lambda: nn.Transformer(4, 2, 1, 1, 8), (1, 3, 4), (1, 2, 4)),
    "AdditiveAttention": (lambda: nn.AdditiveAttention(4, 4, 4), (1, 3, 4), (1, 2, 4)),
    "SinusoidalPositionalEncoding": (lambda: nn.SinusoidalPositionalEncoding(4), (1, 3, 4)),
    "MSELoss": (nn.MSELoss, (3,), (3,)),
    "GELU": (nn.GELU, (3,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_lists_of_tensors(name):
    make, *shapes = LAYERS[name]
    layer = make().eval()
    layer = layer.astype("float64")
    x = mt.tensor(np.array(0.5), requires_grad=True)
    out = layer(*(parts(*shape, of=x) for shape in shapes))
    right = layer(*(x.broadcast_to(shape) for shape in shapes))
    out, right = (y[0] if isinstance(y, tuple) else y for y in (out, right))
    g = np.random.default_rng(0).standard_normal(right.shape)
    np.testing.assert_allclose(out.numpy(), right.numpy(), rtol=1e-12)
    assert mt.grad(out, x, g).item() == pytest.approx(mt.grad(right, x, g).item(), rel=1e-9, abs=1e-9)


def test_what_stands_beside_tensors_takes_their_type():
    x = mt.tensor(np.array([1.0, 2.0]), requires_grad=True)
    assert mt.asarray([x[0], 0.1]).dtype == "float64" and mt.asarray([x[0], 0.1]).data[1] == 0.1
    assert mt.stack([0.1, x[0]]).data[0] == 0.1 and mt.asarray([[0.1, 0.2], x]).data[0, 1] == 0.2
    assert mt.asarray([mt.tensor(1.0), 2]).dtype == "float32" and mt.asarray([mt.tensor(1), 2.5]).tolist() == [1.0, 2.5]
    assert mt.asarray([mt.tensor([1]), [2]]).dtype == "int64" and mt.asarray([mt.tensor(True), 2]).tolist() == [1, 2]
    assert mt.asarray([np.ones(2), x]).requires_grad and mt.asarray([x, x], dtype="float32").dtype == "float32"
    assert mt.tensor([x.detach(), x.detach()]).tolist() == [[1.0, 2.0], [1.0, 2.0]]
    with mt.no_grad():
        assert not mt.tensor([x, x]).requires_grad
    assert mt.full((2, 2), x).requires_grad and mt.full((2,), x.detach()).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "uint32", "uint64", "int64"])
def test_lists_of_numpy_integers_are_int64(dtype):
    ids = list(np.array([2, 0, 2], dtype=dtype))
    x = mt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert mt.tensor(ids).dtype == "int64" and mt.tensor(ids).tolist() == [2, 0, 2]
    assert mt.grad((x[ids] * mt.tensor([1.0, 2.0, 4.0])).sum(), x).tolist() == [2.0, 0.0, 5.0]
    assert F.one_hot(ids, 3).tolist() == np.eye(3)[[2, 0, 2]].tolist()
    with pytest.raises(OverflowError, match="does not fit int64"):
        mt.tensor([np.uint64(2**63)])


@mt.fused
def weighted(x, y, scale=None):
    """Made of a definition alone: an op with no kernel."""
    product = x * y
    return product if scale is None else product * scale


def test_a_definition_without_a_kernel_takes_what_ops_take():
    x = mt.tensor(2.0, requires_grad=True)
    a = np.array([1.0, 3.0], dtype=np.float32)
    assert mt.grad(weighted([x, 3.0], (1.0, x)).sum(), x).item() == 4.0
    assert mt.grad(weighted(a, [x, x], 2.0).sum(), x).item() == 8.0
    assert mt.grad(weighted(np.float64(3.0), x), x).item() == 3.0
    assert weighted(2.0, 3.0).item() == 6.0 and weighted(a, a).tolist() == [1.0, 9.0]
    y = weighted(a, x)
    a[:] = 0.0
    assert mt.grad(y.sum(), x).item() == 4.0
    with pytest.raises(TypeError, match="weighted: x: a tensor holds numbers"):
        weighted("a", x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mt.tensor([x, x]), r"this list holds tensors that require a gradient: write mt.stack\(list\)"),
        (lambda x: nn.Parameter([x, 1.0]), r"write mt.stack\(list\)"),
        (lambda x: mt.asarray([x, [x]]), r"rows of equal length, got parts of shapes \[\(\), \(1,\)\]"),
        (lambda x: mt.exp([x, "a"]), "exp: x: a tensor holds numbers"),
        (lambda x: x * [x, None], "multiply: y: a tensor holds numbers"),
        (lambda x: mt.asarray(np.array([x, 1.0], dtype=object)), r"np.asarray of a tensor|write .* mt.stack\(list\(array\)\)"),
        (lambda x: x * np.array([None, 1.0]), r"multiply: y: .* got object; write array.astype\(float\)"),
        (lambda x: x * np.array([1j]), "multiply: y: a tensor holds numbers or truth values, got complex128"),
        (lambda x: mt.sum(v for v in (x, x)), "sum: x: a tensor holds numbers or truth values, got generator"),
        (lambda x: mt.exp(None), "exp: x is None"),
        (lambda x: F.linear(None, x), "linear: x is None"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_array_is_refused_in_words(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(mt.tensor(3.0, requires_grad=True))


# --- subclasses of NumPy's array ------------------------------------------------------------------


class Reversed(np.ndarray):
    """Somebody's class, whose product is another."""

    def __mul__(self, other):
        return "theirs"


def overwritten(x, value):
    """``x`` after ``x.assign(value)``."""
    x.assign(value)
    return x


DOORS = {
    "tensor": mt.tensor,
    "asarray": mt.asarray,
    "Parameter": nn.Parameter,
    "right operand": lambda a: mt.zeros(a.shape, dtype="float64") + a,
    "left operand": lambda a: a + mt.zeros(a.shape, dtype="float64"),
    "function": lambda a: mt.add(a, 0.0),
    "fused": lambda a: F.softmax(a) - F.softmax(np.array(a)) + mt.asarray(a),
    "assign": lambda a: overwritten(mt.zeros(a.shape, dtype="float64"), a),
    "in a list": lambda a: mt.asarray([a, a], dtype="float64")[0],
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("door", DOORS)
def test_subclasses_become_plain_arrays(door, tmp_path):
    plain = np.array([[1.0, 2.0], [3.0, 4.0]])
    on_disk = np.memmap(tmp_path / "a", dtype="float64", mode="w+", shape=(2, 2))
    on_disk[:] = plain
    for given_array in (np.asmatrix(plain), np.ma.array(plain), plain.view(Reversed), on_disk, plain.astype(">f8")):
        x = DOORS[door](given_array)
        assert type(x.data) is np.ndarray and x.dtype.isnative and (x * x).tolist() == [[1.0, 4.0], [9.0, 16.0]]


@pytest.mark.parametrize("door", [name for name in DOORS if name != "left operand"])
def test_masked_elements_are_refused_at_every_door(door):
    with pytest.raises(TypeError, match=r"1 masked elements.* write array.filled\(value\)"):
        DOORS[door](np.ma.array([1.0, 2.0], mask=[False, True]))


def test_a_memory_map_for_reading_is_shared(tmp_path):
    np.ones(3, dtype="float32").tofile(tmp_path / "a")
    x = mt.asarray(np.memmap(tmp_path / "a", dtype="float32", mode="r"))
    assert x.tolist() == [1.0, 1.0, 1.0] and not x.data.flags.owndata


# --- numbers given as tensors ---------------------------------------------------------------------

Q = mt.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)))
X = mt.tensor(np.random.default_rng(1).standard_normal((4, 3)))
SETTINGS = {  # a function of a number, and the number
    "eps of layer_norm": (lambda n: F.layer_norm(X, eps=n), 0.1),
    "eps of rms_norm": (lambda n: F.rms_norm(X, eps=n), 0.1),
    "label_smoothing": (lambda n: F.cross_entropy(X, [0, 1, 2, 0], label_smoothing=n), 0.1),
    "ignore_index": (lambda n: F.cross_entropy(X, [0, 1, 2, 0], ignore_index=n), 1),
    "ignore_index of nll_loss": (lambda n: F.nll_loss(X, [0, 1, 2, 0], ignore_index=n), 1),
    "p": (lambda n: F.dropout(X, n, generator=mt.random.Generator(1)), 0.5),
    "dropout of attention": (
        lambda n: F.scaled_dot_product_attention(Q, Q, Q, dropout=n, generator=mt.random.Generator(1)),
        0.5,
    ),
    "scale": (lambda n: F.scaled_dot_product_attention(Q, Q, Q, scale=n), 0.5),
    "stride": (lambda n: F.conv2d(mt.ones((1, 1, 4, 4)), mt.ones((1, 1, 2, 2)), stride=n), 2),
    "n of one_hot": (lambda n: F.one_hot([0, 1], n), 3),
    "padding_idx": (lambda n: F.embedding([0, 1], X, padding_idx=n), 1),
    "ddof": (lambda n: mt.var(X, ddof=n), 1),
    "axis": (lambda n: mt.sum(X, axis=n), 1),
    "k of topk": (lambda n: mt.topk(X, n)[0], 2),
    "k of tril": (lambda n: mt.tril(X, n), 1),
    "constant_values": (lambda n: mt.pad(X, 1, constant_values=n), 0.5),
    "pad_width": (lambda n: mt.pad(X, n), 1),
    "shift": (lambda n: mt.roll(X, n), 1),
    "repeats": (lambda n: mt.repeat(X, n), 2),
    "sections": (lambda n: mt.stack(mt.split(X, n)), 2),
    "stop": (lambda n: mt.arange(n), 3),
    "start": (lambda n: mt.linspace(n, 1.0, 3), 0.5),
    "fill_value": (lambda n: mt.full((2,), n), 0.5),
    "length": (lambda n: mt.zeros((n, 2)), 3),
    "mean": (lambda n: mt.random.Generator(1).normal((2,), mean=n), 0.5),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_given_as_a_tensor_is_the_number_that_it_holds(name):
    call, value = SETTINGS[name]
    right = call(value)
    for number in (mt.tensor(value), np.asarray(value)[()], mt.tensor(np.asarray(value))):
        found = call(number)
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-6)
    if isinstance(value, float) and name not in ("scale", "fill_value"):
        with pytest.raises(TypeError, match=r"(carries no gradient|is a constant).* write \.(item|detach)\(\)"):
            call(mt.tensor(value, requires_grad=True))


@pytest.mark.parametrize("call", [
    lambda s: F.scaled_dot_product_attention(Q, Q, Q, scale=s), lambda s: F.attention_weights(Q, Q, scale=s),
    lambda s: F.leaky_relu(X, s), lambda s: F.elu(X, s), lambda s: F.huber_loss(X, X * 3.0, delta=s), lambda s: mt.full((3,), s),
    lambda s: mt.clip(X, -s, s), lambda s: abs(X) ** s,
])  # fmt: skip
def test_a_number_that_learns_gets_its_gradient(call):
    s, h = mt.tensor(np.array(2.0), requires_grad=True), 1e-6
    out = call(s)
    np.testing.assert_allclose(out.numpy(), call(2.0).numpy(), rtol=1e-7)
    g = np.random.default_rng(0).standard_normal(out.shape)
    slope = (call(np.array(2.0 + h)).numpy() - call(np.array(2.0 - h)).numpy()) / (2 * h)
    assert mt.grad(out, s, g).item() == pytest.approx((slope * g).sum(), rel=1e-5)
