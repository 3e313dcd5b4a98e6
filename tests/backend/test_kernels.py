"""The CUDA kernels without a GPU: the compiler accepts them, and run thread by thread on the CPU
they compute what they should.
"""

import re
import shutil
import subprocess

import numpy as np
import pytest

from minitensor.backend import cpu, namespace
from minitensor.backend.kernels import REALS, row_threads, signatures, sources
from tests.backend import emulator, fake_device
from tests.backend.parity import check_parity

needs_compiler = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]


@pytest.fixture(scope="module")
def xp():
    """The namespace of the fake device."""
    with fake_device.installed():
        yield namespace("cuda")


def on_device(*arrays):
    """Copies of host arrays on the fake device."""
    return [fake_device.ndarray(np.array(a)) for a in arrays]


def apart(file, source):
    """A source in a namespace of its own, behind which its macros are gone: nothing of it reaches
    the next.
    """
    macros = re.findall(r"^#define (\w+)", source, re.MULTILINE)
    return "\n".join(
        [f"namespace of_{file} {{", f'#line 1 "{file}.cu"', source, "}", *(f"#undef {name}" for name in macros), ""]
    )


@pytest.mark.parametrize("real", REALS.values())
def test_nvcc_compiles_every_kernel(real, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine")
    source, ptx = tmp_path / "kernels.cu", tmp_path / "kernels.ptx"
    # in one call, each of which takes as long as three files
    source.write_text("".join(apart(file, text) for file, text in sources().items()), encoding="utf-8")
    command = ["nvcc", "-std=c++17", f"-DREAL={real}", "-ptx", "-Werror=all-warnings", "-o", str(ptx), str(source)]
    made = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert made.returncode == 0, made.stderr
    text = ptx.read_text(encoding="utf-8")
    assert all(f".entry {name}(" in text for one in sources().values() for name in signatures(one))


@pytest.mark.parametrize("file", sources())
def test_no_file_has_macros_of_the_c_library(file):
    """NVRTC knows no headers: what a C++ compiler of the CPU takes, and nvcc, it may refuse."""
    code = re.sub(r"//.*", "", sources()[file])
    assert not re.findall(
        r"\b(?:INFINITY|NAN|HUGE_VAL\w*|M_\w+|(?:U?INT|U?LLONG|FLT|DBL|LONG)_\w+|assert|std::\w+)\b", code
    )


@pytest.mark.parametrize("file", sources())
@pytest.mark.parametrize("real", REALS.values())
def test_nvrtc_compiles_every_kernel(real, file):
    try:
        from cupy_backends.cuda.libs import nvrtc
    except ImportError as error:
        pytest.skip(f"no NVRTC (CuPy with its [ctk] extra): {error}")
    program = nvrtc.createProgram(sources()[file], f"{file}.cu", [], [])
    try:
        nvrtc.compileProgram(program, ["-std=c++17", f"-DREAL={real}"])
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))


def test_signatures_are_read_from_the_source():
    found = {file: signatures(text) for file, text in sources().items()}
    names = [name for kernels in found.values() for name in kernels]
    assert len(names) == len(set(names)) and all(found.values())
    assert found["random"]["philox"] == [("word", True), ("long long", False), *[("word", False)] * 4, ("word", True)]
    assert found["softmax"]["softmax_forward"] == [("REAL", True), ("REAL", True), ("long long", False), ("int", False)]


def test_threads_of_a_row_are_whole_warps():
    assert [row_threads(n) for n in (1, 128, 129, 512, 4096, 10**6)] == [32, 32, 64, 128, 1024, 1024]


def test_a_wrong_argument_never_reaches_a_kernel(xp):
    x, wrong = on_device(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float64))
    with pytest.raises(TypeError, match="softmax_forward: needs a contiguous array of float32, got float64"):
        xp.kernels.rows("softmax_forward", x.dtype, 2, 3, x, wrong, 3, 0)
    with pytest.raises(TypeError, match="contiguous"):
        xp.kernels.rows("softmax_forward", x.dtype, 2, 3, x, x.T, 3, 0)
    with pytest.raises(TypeError, match="takes 4 arguments, got 3"):
        xp.kernels.rows("softmax_forward", x.dtype, 2, 3, x, x, 3)


@needs_compiler
@pytest.mark.parametrize("counter", [0, 1, 2**63, 2**64 - 3, 2**64, 2**128 - 1])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 2050])
def test_random_words_equal_numpys(xp, counter, count):
    for key in ((0, 0), (7, 1), (2**64 - 1, 2**63 + 5)):
        assert np.array_equal(xp.random_bits(key, counter, count).array, cpu.random_bits(key, counter, count))


@needs_compiler
def test_generators_agree_on_both_devices(xp):
    from minitensor.random import Generator

    for draw in (
        lambda g, d: g.uniform((5, 3), -1, 2, device=d),
        lambda g, d: g.uniform((7,), dtype=np.float64, device=d),
        lambda g, d: g.integers(3, 11, (9,), device=d),
        lambda g, d: g.normal((2, 5), device=d),
        lambda g, d: g.permutation(10, device=d),
        lambda g, d: g.bernoulli(0.3, (11,), device=d),
    ):
        host, device = Generator(3, 4, 5), Generator(3, 4, 5)
        assert np.array_equal(draw(host, "cpu").data, draw(device, "cuda").data.array)
        assert host.state == device.state


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3)])
def test_add_at_sums_repeated_ids(xp, dtype, shape):
    rng = np.random.default_rng(0)
    ids = rng.integers(-6, 6, (40,))
    values = rng.integers(-4, 5, (40, *shape[1:])).astype(dtype)
    out, expected = np.ones(shape, dtype), np.ones(shape, dtype)
    np.add.at(expected, ids, values)
    device_out, device_ids, device_values = on_device(out, ids, values)
    xp.add_at(device_out, device_ids, device_values)
    assert np.array_equal(device_out.array, expected)


@needs_compiler
def test_add_at_takes_any_index(xp):
    rng = np.random.default_rng(1)
    rows, columns, mask = rng.integers(0, 4, (5, 1)), rng.integers(-3, 3, (1, 6)), rng.random((4, 3)) < 0.5
    of_columns, every_other = columns[0], slice(None, None, 2)
    for index in (
        (rows, columns),
        (slice(1, 3),),
        (2,),
        (mask,),
        (Ellipsis, of_columns),
        (rows[:, 0], every_other),
        (None, rows),
    ):
        values = rng.integers(-4, 5, np.zeros((4, 3))[index].shape).astype(float)
        expected = np.zeros((4, 3))
        np.add.at(expected, index, values)
        parts = tuple(fake_device.ndarray(p) if isinstance(p, np.ndarray) else p for p in index)
        for target in on_device(np.zeros((4, 3)))[0], fake_device.ndarray(np.zeros((3, 4)).T):  # contiguous and not
            xp.add_at(target, parts, fake_device.ndarray(values))
            assert np.array_equal(target.array, expected), index


@needs_compiler
def test_an_id_out_of_range_is_told_at_the_next_read(xp):
    from minitensor.backend import cuda

    (ids,) = on_device(np.array([0, 3, 9, 2]))
    xp.check_ids("embedding: id {id} is outside the table, which has rows 0 to 4", ids, 0, 5)
    with pytest.raises(IndexError, match="id 9 is outside the table"):
        cuda.to_host(ids)
    cuda.to_host(ids)  # told once
    xp.check_ids("fine {id}", ids, -1, 10)
    xp.synchronize()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 5, 32, 150, 5000])
def test_softmax_rows_of_every_width(xp, dtype, width):
    x = np.random.default_rng(width).normal(0, 3, (3, width)).astype(dtype)
    device_x, y = on_device(x, np.empty_like(x))
    for logarithm in (0, 1):
        xp.kernels.rows("softmax_forward", dtype, 3, width, device_x, y, width, logarithm)
        right = x - np.log(np.exp(x.astype(float)).sum(-1, keepdims=True))
        tolerance = 1e-6 if dtype == np.float32 else 1e-14
        np.testing.assert_allclose(y.array, right if logarithm else np.exp(right), rtol=10 * tolerance, atol=tolerance)


@needs_compiler
def test_softmax_meets_infinities_as_numpy_does(xp):
    x = np.array([[-np.inf, 0, 1], [np.nan, 0, 1], [1e30, 1e30, -1e30]])
    device_x, y = on_device(x, np.empty_like(x))
    xp.kernels.rows("softmax_forward", x.dtype, 3, 3, device_x, y, 3, 0)
    np.testing.assert_allclose(y.array, [[0, 1 / (1 + np.e), np.e / (1 + np.e)], [np.nan] * 3, [0.5, 0.5, 0]])


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keep, coupled", [(1.0, 0.0), (0.99, 0.0), (1.0, 0.1)])
def test_adam_equals_the_rule_of_the_optimiser(xp, dtype, keep, coupled):
    from minitensor.optim import Adam, AdamW

    rng = np.random.default_rng(0)
    p, g, m, v = (rng.random(300).astype(dtype) for _ in range(4))
    group = {"lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": coupled or (1 - keep) / 0.1}
    kind = AdamW if keep != 1.0 else Adam
    expected = [x.copy() for x in (p, m, v)]
    scratch = [np.empty_like(p) for _ in range(kind.n_scratch)]
    kind.rule(object.__new__(kind), group, 3)(cpu, expected[0], g, *expected[1:], *scratch)
    found = on_device(p, g, m, v)
    correction = np.sqrt(1 - 0.98**3)
    xp.adam(
        *found,
        beta1=0.9,
        beta2=0.98,
        keep=keep,
        coupled=coupled,
        eps=1e-8 * correction,
        size=0.1 * correction / (1 - 0.9**3),
    )
    for mine, right in zip([found[0], *found[2:]], expected):
        np.testing.assert_allclose(mine.array, right, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)


# --- edges: what ``benchmarks/mutants.py --cuda`` found that no other test sees -------------------


def sure_rows(dtype):
    """``(y, g, gx)``: logarithms of probabilities, some nearly 1, cotangents that are 1 there, and
    the gradients, which are small and have all their digits.
    """
    x = np.array(
        [[14.0, 0.0, 1.0], [0.0, 4.61, -9.0], [0.0, 0.0, 4.9], [-0.5, 12.0, 0.0], [0.0, 9.0, 9.5]], np.longdouble
    )
    y = x - x.max(-1, keepdims=True)
    y = y - np.log(np.exp(y).sum(-1, keepdims=True))
    one = np.arange(3) == x.argmax(-1)[:, None]
    rest = np.where(one, 0, np.exp(y)).sum(-1, keepdims=True)
    return y.astype(dtype), one.astype(dtype), np.where(one, rest, -np.exp(y)).astype(dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_log_softmax(xp, dtype):
    y, g, want = sure_rows(dtype)
    device_y, device_g, gx = on_device(y, g, np.empty_like(y))
    xp.kernels.rows("softmax_backward", dtype, 5, 3, device_y, device_g, gx, 3, 1)
    np.testing.assert_allclose(gx.array, want, rtol=2e-5 if dtype == np.float32 else 1e-13)


FAR = [
    0.0,
    -0.0,
    1e-30,
    12.0,
    -12.0,
    39.0,
    41.0,
    -41.0,
    50.0,
    -50.0,
    104.0,
    -104.0,
    1e20,
    -1e20,
    2e30,
    -2e30,
    np.inf,
    -np.inf,
    np.nan,
]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_gates(xp, dtype):
    import math

    x = np.array(FAR, dtype)
    g = np.linspace(1.0, 2.0, len(x)).astype(dtype)
    with np.errstate(all="ignore"):
        wide = x.astype(float)
        cut = np.clip(wide, -1e6, 1e6)
        phi = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in cut])
        u = math.sqrt(2 / math.pi) * (cut + 0.044715 * cut**3)
        almost = 0.5 * (1 + np.tanh(u))
        sigmoid = 1 / (1 + np.exp(-cut))
        slopes = [
            phi + cut * np.exp(-cut * cut / 2) / math.sqrt(2 * math.pi),
            almost + cut * 2 * almost * (1 - almost) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * cut * cut),
            sigmoid * (1 + cut * (1 - sigmoid)),
        ]
    for kind, (share, slope) in enumerate(zip((phi, almost, sigmoid), slopes)):
        given, cotangent, y, gx = on_device(x, g, np.empty_like(x), np.empty_like(x))
        xp.kernels.each("gate_forward", dtype, x.size, given, y, x.size, kind)
        xp.kernels.each("gate_backward", dtype, x.size, given, cotangent, gx, x.size, kind)
        with np.errstate(all="ignore"):
            right = np.where(share == 0, 0.0, wide * share).astype(dtype)
        tolerance = {"rtol": 1e-5 if dtype == np.float32 else 1e-12, "atol": 1e-6 if kind < 2 else 1e-30}
        np.testing.assert_allclose(y.array, right, **tolerance)
        np.testing.assert_allclose(
            gx.array, (g * slope).astype(dtype), **(tolerance | {"atol": 1e-6 if kind < 2 else 1e-26})
        )


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_arrays(xp, dtype):
    """No kernel reads or writes behind what it was given: there lie a NaN and a seven."""
    rng = np.random.default_rng(0)

    def given(count):
        return np.append(rng.random(count), np.nan).astype(dtype)

    def room(count):
        return np.full(count + 1, 7, dtype)

    each, rows, none = xp.kernels.each, xp.kernels.rows, None
    x, y = on_device(given(300), given(300))
    for kernel, arrays, more in (
        ("gate_forward", (x, room), (0,)), ("gate_backward", (x, y, room), (2,)), ("floor_divide", (x, y, room), ()),
        ("remainder_of", (x, y, room), ()), ("adam", (room, y, room, room), (0.9, 0.98, 1.0, 0.0, 1e-8, 0.1, none, none)),
        ("relu_backward", (x, y, room), ()),
    ):  # fmt: skip
        outs = [fake_device.ndarray(room(300)) if a is room else a for a in arrays]
        each(kernel, dtype, 300, *outs, 300, *more)
        for out, array in zip(outs, arrays):
            assert np.isfinite(out.array[:300]).all(), kernel
            assert out.array[300] == 7 if array is room else np.isnan(out.array[300]), kernel
    width, count = 40, 3
    x, g = on_device(given(width * count), given(width * count))
    mean, rstd, loss, weight, bias = on_device(room(count), room(count), room(count), given(width), given(width))
    mask = fake_device.ndarray(np.append(rng.random(width * count) < 0.7, True))
    drop = fake_device.ndarray(given(width * count))
    targets = fake_device.ndarray(np.array([1, 39, 0, 5], np.int64))
    for kernel, call in (
        ("softmax_forward", lambda out: (x, out, width, 0)), ("softmax_forward", lambda out: (x, out, width, 1)),
        ("softmax_backward", lambda out: (x, g, out, width, 0)),
        ("norm_forward", lambda out: (x, weight, bias, out, mean, rstd, width, 1e-5, 1)),
        ("norm_backward", lambda out: (x, weight, g, mean, rstd, out, width, 1)),
        ("cross_entropy_gradient", lambda out: (x, targets, weight, x, g, loss, out, width, -100, 0.1)),
        ("attention_forward", lambda out: (x, mask, none, out, none, width, 1, count, width * count, width * count, width, 1, 2)),
        ("attention_backward", lambda out: (x, g, drop, out, width, 2)),
    ):  # fmt: skip
        out = fake_device.ndarray(room(width * count))
        rows(kernel, dtype, count, width, *call(out))
        assert np.isfinite(out.array[:-1]).all() and out.array[-1] == 7, kernel
    tops, rests = on_device(room(count), room(count))
    rows("cross_entropy", dtype, count, width, x, targets, weight, loss, tops, rests, width, -100, 0.1)
    for out in (mean, rstd, loss, tops, rests):
        assert np.isfinite(out.array).all() and out.array[-1] == 7 and (out.array[:-1] != 7).all()
    sums = fake_device.ndarray(room(4 * width))
    xp.kernels.launch("norm_columns", dtype, (2, 2), 32, (x, g, mean, rstd, sums, count, width, 2))
    assert np.isfinite(sums.array).all() and sums.array[-1] == 7
    sums = fake_device.ndarray(room(2 * width))
    xp.kernels.launch("column_sums", dtype, (2, 2), 256, (x, sums, count, width, 2, 32))
    assert np.isfinite(sums.array).all() and sums.array[-1] == 7
    ids, order = on_device(np.array([0, 0, 2, 9], np.int64), np.array([1, 0, 2, 5], np.int64))
    out = fake_device.ndarray(np.append(np.zeros(3 * width), 7).astype(dtype))
    xp.kernels.launch("segment_pieces", dtype, (1,), 128, (out, none, x, ids, order, count, 3, width, 32, 64))
    want = x.array[:-1].reshape(count, width)
    np.testing.assert_array_equal(
        out.array, np.concatenate([want[1] + want[0], 0 * want[0], want[2], [7]]).astype(dtype)
    )
    for share in (1, 4):
        out = fake_device.ndarray(room(300))
        xp.kernels.launch("dropout", dtype, (1,), 256, (none, out, 300, 1, 2, 3, 2**14, share, 2, none))
        assert set(out.array[:-1]) <= {0, 2} and out.array[-1] == 7
    words = fake_device.ndarray(np.full(6, 7, np.uint64))
    each("philox", dtype, 2, words, 5, 1, 2, 3, 4, none)
    assert (words.array[:-1] > 7).all() and words.array[-1] == 7
    fault = fake_device.ndarray(np.zeros(3, np.int64))
    each("check_ids", dtype, 3, ids, 3, 0, 3, 4, fault)
    assert fault.array.tolist() == [0, 0, 0]
    wrong = fake_device.ndarray(np.zeros(4, np.int64))
    each("check_ids", dtype, 4, ids, 4, 0, 3, 4, wrong)
    assert wrong.array.tolist() == [1, 4, 9, 0]
    targets.array[0] = width  # no class: check_ids tells of it
    rows("cross_entropy", dtype, count, width, x, targets, weight, loss, tops, rests, width, -100, 0.1)
    assert loss.array[0] == 0 != loss.array[1]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_wide_rows(xp, dtype):
    """Rows of which a thread has several elements and a block several warps."""
    import minitensor.nn.functional as F

    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(3, 150)), rng.random(150), rng.normal(size=150)
    x[0, 40], x[1, 33], x[2, 149] = 1e4, 2e3, 1e3  # the greatest lies with another warp than the first
    small = x.clip(-3, 3)
    rtol, atol = (1e-4, 1e-5) if dtype == np.float32 else (1e-10, 1e-12)
    targets = np.array([3, 149, 60])
    huge = 1e25 if dtype == np.float32 else 1e200
    for function, inputs in (
        (lambda x, t, w: F.cross_entropy(x, t, w, label_smoothing=0.1, reduction="none"), [small, targets, weight]),
        (lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1, reduction="none"), [x, targets]),
        (F.layer_norm, [small, weight, bias]), (F.rms_norm, [small, weight]), (F.softmax, [x]), (F.log_softmax, [x]),
        (lambda x: F.rms_norm(-x * huge), [np.abs(small) + 0.1]), (lambda x: F.layer_norm(x * huge), [small]),
        (F.scaled_dot_product_attention, [small[:, :4], rng.normal(size=(150, 4)), rng.normal(size=(150, 2))]),
    ):  # fmt: skip
        check_parity(function, inputs, dtype=dtype, order=1, rtol=rtol, atol=atol)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_quotients(xp, dtype):
    rng = np.random.default_rng(0)
    x, y = (scale * rng.standard_normal(4000).astype(dtype) for scale in (dtype.type(1000), dtype.type(1)))
    there, other, out = on_device(x, y, np.empty_like(x))
    for kernel, function in (("floor_divide", np.floor_divide), ("remainder_of", np.remainder)):
        xp.kernels.each(kernel, dtype, x.size, there, other, out, x.size)
        np.testing.assert_array_equal(out.array, function(x, y))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query, key", [(1, 4), (1, 0), (0, 1)])
def test_edges_of_masks(xp, dtype, query, key):
    """Masks that are turned, or repeated along the keys or the queries."""
    s, mask = np.random.default_rng(0).normal(size=(4, 40)), np.random.default_rng(1).random(160) < 0.6
    x, allowed, p = on_device(s.astype(dtype), mask, np.empty_like(s, dtype))
    xp.kernels.rows("attention_forward", dtype, 4, 40, x, allowed, None, p, None, 40, 1, 4, 0, 0, query, key, 0.7)
    right = np.exp(0.7 * s) * mask[query * np.arange(4)[:, None] + key * np.arange(40)]
    np.testing.assert_allclose(p.array, right / np.maximum(right.sum(-1, keepdims=True), 1e-300), rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_smoothing(xp, dtype):
    """Where the target has half of the weight, a NaN stays one."""
    x, y = on_device(np.array([[1.0, np.nan, 2.0], [1.0, 0.0, 2.0]], dtype), np.zeros((3, 2), dtype))
    targets, (loss, tops, rests) = fake_device.ndarray(np.array([0, 1])), on_device(*y.array)
    xp.kernels.rows("cross_entropy", dtype, 2, 3, x, targets, None, loss, tops, rests, 3, -100, 0.5)
    assert np.isnan(loss.array[0]) and np.isfinite(loss.array[1])
    gx, g = on_device(np.zeros((2, 3), dtype), np.ones(2, dtype))
    xp.kernels.rows("cross_entropy_gradient", dtype, 2, 3, x, targets, None, tops, rests, g, gx, 3, -100, 0.5)
    assert np.isnan(gx.array[0]).all() and np.isfinite(gx.array[1]).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_relu(xp, dtype):
    y = np.array([2.0, 0.0, -0.0, np.nan, np.inf, 3.0, 0.0, 1e-30, 0.0], dtype)
    g = np.array([3.0, 4.0, 5.0, 6.0, 7.0, np.nan, np.nan, np.inf, np.inf], dtype)
    there, cotangent, gx = on_device(y, g, np.empty_like(y))
    xp.kernels.each("relu_backward", dtype, y.size, there, cotangent, gx, y.size)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(gx.array, g * (y > 0))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_threads(xp, dtype):
    """Results are those of the CPU if threads and blocks run from the last to the first, too."""
    with emulator.backwards():
        test_random_words_equal_numpys(xp, 7, 2050)
        test_softmax_rows_of_every_width(xp, dtype, 150)
        test_add_at_sums_repeated_ids(xp, dtype.type, (6, 3))
        test_edges_of_wide_rows(xp, dtype)
        test_edges_of_arrays(xp, dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 1, 1, 40), (1, 40), (2, 3, 5, 40), (1, 3, 5, 1), (5, 1), (2, 1, 5, 40), (1, 1)])
def test_what_is_hidden_is_blank_in_one_launch(xp, dtype, shape):
    """As ``blank_hidden`` does it; nothing is written behind the arrays."""
    from minitensor.nn.functional.cuda import _hidden
    from minitensor.nn.functional.masking import blank_hidden

    rng = np.random.default_rng(0)
    for share in (0.0, 0.05, 0.5):
        mask = rng.random(shape) < share
        q, k, v = (rng.standard_normal((2, 3, *rest)).astype(dtype) for rest in ((5, 37), (40, 37), (40, 70)))
        q[0, 0], k[1, :, 3], v[:, 2, ::7] = np.nan, np.inf, np.nan
        right = blank_hidden(np.where, q, k, v, mask)
        (mask_there,) = on_device(mask)
        made = _hidden(xp, *on_device(q, k, v), mask_there)
        assert all(np.array_equal(mine.array, theirs, equal_nan=True) for mine, theirs in zip(made, right, strict=True))
        made = _hidden(
            xp, *(x.swapaxes(1, 2) for x in on_device(*(x.swapaxes(1, 2).copy() for x in (q, k, v)))), mask_there
        )
        assert all(np.array_equal(mine.array, theirs, equal_nan=True) for mine, theirs in zip(made, right, strict=True))
    for wrong in ((q[0], k, v), (q.astype(np.float16), k, v), (q, k[:, :1], v), (q[:, :, :0], k, v)):
        assert _hidden(xp, *on_device(*wrong, np.ones((1, 1), bool))) is None
