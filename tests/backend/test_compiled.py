"""The compiled CPU kernels: what they promise beyond the table of ops, which runs with them
wherever numba is installed.
"""

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from tests.backend.parity import check_row

pytest.importorskip("numba", reason="compiled kernels need numba: pip install -e '.[fast]'")
from minitensor.backend.compiled import kernels, ready  # noqa: E402


@pytest.fixture(autouse=True)
def compiled():
    """The kernels are on in each test, and after it as they were, on as many threads."""
    was = kernels.on
    kernels.switch(True)
    count = kernels.pool.threads()
    yield
    kernels.pool.resize(count)
    kernels.switch(was)


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def trained(steps=3):
    """A few steps of a small Transformer with all that the kernels do; its weights as bytes."""
    mt.random.seed(0)
    model = nn.Transformer(64, 4, 1, 1, 256, dropout=0.1, activation="gelu")
    table = nn.Embedding(300, 64)
    gru = nn.GRU(64, 64)
    parameters = [*model.parameters(), *table.parameters(), *gru.parameters()]
    optimizer = optim.Adam(parameters)
    ids = np.random.default_rng(0).integers(0, 300, (16, 20))
    for _ in range(steps):
        optimizer.zero_grad()
        x = table(ids)
        y, _ = gru(model(x, x))
        F.cross_entropy(y @ table.weight.T, ids, label_smoothing=0.1).backward()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return b"".join(p.numpy().tobytes() for p in parameters)


def test_no_bit_depends_on_the_number_of_threads_or_on_what_ran_before():
    kernels.pool.resize(1)
    alone = trained()
    for count in (2, 5):
        kernels.pool.resize(count)
        F.softmax(mt.tensor(draw(700, 30)))
        assert trained() == alone


KERNELS_OF_ROWS = {  # name: what each array is, x a matrix, r one number a row, c one a column; numbers as they are
    "softmax": "xx", "softmax_gradient": "xxx", "log_softmax": "xx", "log_softmax_gradient": "xxx",
    "norm": ("x", "c", "c", 1e-5, True, "x", "r", "r"), "norm_gradient": ("x", "c", "x", "r", "r", True, "x"),
    "norm_columns": "xxrrcc", "column_sums": "xc", "row_sums": "xr",
}  # fmt: skip


def packed(arrays, order, gap):
    """Copies of the arrays in one piece of memory, in an order, ``gap`` bytes apart."""
    memory = np.zeros(sum(a.nbytes + gap for a in arrays) + 64, np.uint8)
    at, places = -memory.ctypes.data % 64, [None] * len(arrays)
    for k in order:
        places[k] = memory[at : at + arrays[k].nbytes].view(arrays[k].dtype).reshape(arrays[k].shape)
        places[k][...] = arrays[k]
        at += arrays[k].nbytes + gap
    return places


@pytest.mark.parametrize("name", KERNELS_OF_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_bit_depends_on_where_the_arrays_lie(name, dtype):
    # A compiler asks at run time whether arrays overlap, and guesses on the safe side: for
    # neighbours in memory it goes element by element, and a sum would be taken in another order.
    for rows, width, seed in [(4, 4, 0), (4, 4, 1), (3, 7, 0), (3, 7, 2), (2, 33, 0)]:
        shapes = {"x": (rows, width), "r": (rows,), "c": (width,)}
        given = [
            2 * draw(*shapes[a], dtype=dtype, seed=(seed, k)) if isinstance(a, str) else a if a is True else dtype(a)
            for k, a in enumerate(KERNELS_OF_ROWS[name])
        ]
        where = [k for k, a in enumerate(given) if isinstance(a, np.ndarray)]
        arrays = [given[k] for k in where]
        found = set()
        for gap in (0, 64, 1 << 12):
            for order in (range(len(arrays)), range(len(arrays))[::-1]):
                placed = packed(arrays, order, gap)
                call = list(given)
                for k, array in zip(where, placed):
                    call[k] = array
                kernels.run(name, *call)
                found.add(b"".join(array.tobytes() for array in placed))
        assert len(found) == 1, (rows, width)


def test_a_loop_of_a_kernel_that_adds_up_writes_to_no_array():
    """What keeps the order of a sum the same wherever the arrays lie: see the test above."""
    sums = 0
    for path in Path(mt.__file__).parent.glob("backend/compiled/*.py"):
        for loop in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            inside = [node for node in ast.walk(loop) if isinstance(node, (ast.For, ast.While))]
            if inside != [loop]:  # no loop, or loops within one
                continue
            changed = [n for n in ast.walk(loop) if isinstance(n, (ast.Assign, ast.AugAssign, ast.AnnAssign))]
            adds = [n for n in changed if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)]
            writes = [n for n in ast.walk(loop) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
            sums += bool(adds)
            assert not (adds and writes), f"{path.name}, line {loop.lineno}: sum in a loop of its own"
    assert sums > 10


def test_two_threads_of_python_may_compute_at_once():
    kernels.pool.resize(2)
    want, found = trained(), []
    x = mt.tensor(draw(900, 70), requires_grad=True)
    busy = threading.Event()

    def other():
        while not busy.is_set():
            found.append(F.layer_norm(x).numpy().tobytes())

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert trained() == want  # the default generator is this thread's alone: layer_norm draws nothing
    finally:
        busy.set()
        thread.join()
    assert len(set(found)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_of_a_fork_makes_its_own_threads():
    code = """
import os, sys
import numpy as np
import minitensor as mt
x = mt.tensor(np.ones((2000, 300), np.float32))
before = (x @ x.T).sum().item()
child = os.fork()
if child == 0:
    os._exit(0 if (x @ x.T).sum().item() == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (x @ x.T).sum().item() == before
"""
    done = run(code, MINITENSOR_THREADS="2")
    assert done.returncode == 0, done.stderr


def run(code, **environment):
    """A process of Python."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"MINITENSOR_FAST": "1"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("MINITENSOR_FAST", "yes", "must be 0 or 1"), ("MINITENSOR_THREADS", "0", "must be a positive number of threads")],
)
def test_the_environment_is_checked(variable, value, said):
    done = run("import minitensor as mt; mt.nn.functional.softmax(mt.ones((3, 4)))", **{variable: value})
    assert done.returncode and variable in done.stderr and said in done.stderr


def test_it_can_be_turned_off_and_says_what_is_at_work():
    assert "compiled by numba" in mt.backend.describe()
    mt.backend.use_compiled(False)
    assert mt.backend.describe().endswith("compiled kernels are turned off")
    code = """
import sys
import minitensor as mt
print(mt.backend.describe())
mt.nn.functional.softmax(mt.ones((90, 90)) @ mt.ones((90, 90)))
print("numba" in sys.modules)
"""
    done = run(code, MINITENSOR_FAST="0")
    assert done.stdout.splitlines()[0].endswith("MINITENSOR_FAST=0 turns compiled kernels off")
    assert done.stdout.splitlines()[1] == "False"


def test_numba_missing_says_what_to_install():
    code = """
import sys
sys.modules["numba"] = None
import minitensor as mt
try:
    mt.backend.use_compiled()
except ImportError as error:
    print(error)


class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise SystemError("initialization of _internal failed")


del sys.modules["numba"]
sys.meta_path.insert(0, Broken())
try:
    mt.backend.use_compiled()
except ImportError as error:
    print(error)
"""
    done = run(code, MINITENSOR_FAST="0")
    missing, broken = done.stdout.splitlines()
    assert 'pip install "minitensor-autograd[fast]"' in missing and "SystemError: initialization" in broken


def test_compiling_says_so_once_and_what_is_kept_computes_the_same_bits(tmp_path):
    code = """
import numpy as np, minitensor as mt
x = mt.tensor(np.random.default_rng(0).standard_normal((384, 64)).astype("f"))
print(mt.nn.functional.gelu(x).numpy().tobytes().hex(), mt.nn.functional.log_softmax(x).numpy().tobytes().hex())
"""
    first, second = (run(code, MINITENSOR_CACHE=str(tmp_path)) for _ in range(2))
    assert first.stderr.count("minitensor: ") == 1 and str(tmp_path) in first.stderr
    assert second.stderr == "" and second.returncode == first.returncode == 0
    assert first.stdout == second.stdout != ""


def test_a_part_that_finds_no_memory_raises():
    from numba import njit

    from minitensor.backend.compiled.lowlevel import parallel, part

    @part
    def body(number, room, out):
        scratch = np.empty(room, np.float64)
        scratch[0] = number
        out[number] = scratch[0]

    @njit
    def job(pool, room, out):
        parallel(pool, out.size, body, (room, out))

    out = np.zeros(8)
    job(kernels.pool.address(), 5, out)
    assert out.tolist() == list(range(8))
    with pytest.raises(MemoryError, match="compiled kernel"):
        job(kernels.pool.address(), 2**60, out)


def test_the_kernel_of_the_page_halves():
    page = Path(__file__).parents[2] / "docs" / "howto" / "compiled-kernels.md"
    namespace = {}
    exec(page.read_text(encoding="utf-8").split("```python\n")[-1].split("```")[0], namespace)
    x, y = draw(70_000), np.empty(70_000, np.float32)
    namespace["halve"](kernels.pool.address(), x, y)
    np.testing.assert_array_equal(y, x / 2)


# --- the functions of one number ------------------------------------------------------------------

FAR = np.array([0.0, -0.0, 1e-40, 1e-30, 88.7, 88.8, -87.3, -104.0, 1e4, -1e4, 1e38, -1e38, np.inf, -np.inf, np.nan])


def reference(name, x):
    """The function in float64, by the standard library where NumPy has none."""
    import math

    with np.errstate(all="ignore"):
        if name == "silu":
            return np.where(x == -np.inf, -0.0, x / (1 + np.exp(-x)))
        phi = np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x])
        return np.where(x == -np.inf, -0.0, x * phi)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_activations_are_right_everywhere(name):
    x = np.concatenate([np.linspace(-12, 12, 20_001), FAR]).astype(np.float32)
    found, want = getattr(F, name)(mt.tensor(x)).numpy(), reference(name, x.astype(np.float64))
    with np.errstate(over="ignore"):
        want = want.astype(np.float32)
    np.testing.assert_allclose(found, want, rtol=4e-6, atol=1e-30)


def test_softmax_of_far_numbers():
    x = np.array(
        [[1e38, -1e38, 0], [-np.inf, 0, 0], [np.inf, 0, 0], [np.nan, 0, 0], [-np.inf] * 3, [3e38, 3e38, -3e38]],
        np.float32,
    )
    with np.errstate(all="ignore"):
        top = x.max(axis=1, keepdims=True)
        want = np.exp(x - top) / np.exp(x - top).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(F.softmax(mt.tensor(x)).numpy(), want, rtol=1e-6)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(np.exp(F.log_softmax(mt.tensor(x)).numpy()), want, rtol=1e-6)


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.relu, F.softmax, F.log_softmax, F.layer_norm])
def test_nan_reaches_the_gradient(function):
    x = draw(130, 140)
    x[3, 5] = np.nan
    leaf = mt.tensor(x, requires_grad=True)
    y = function(leaf)
    y.backward(mt.tensor(draw(130, 140, seed=1)))
    assert np.isnan(y.numpy()[3, 5]) and np.isfinite(y.numpy()[4]).all() and np.isfinite(leaf.grad.numpy()[4]).all()
    if function is not F.relu:  # whose derivative there is 0
        assert np.isnan(leaf.grad.numpy()[3, 5])


def test_adam_of_a_gradient_whose_square_overflows_stands_still():
    found = []
    for on in (False, True):
        kernels.switch(on)
        p = mt.tensor(np.ones(5000, np.float32), requires_grad=True)
        p.grad = mt.tensor(np.full(5000, 1e25, np.float32))
        with np.errstate(over="ignore"):
            optim.Adam([p], lr=0.1).step()
        found.append(p.numpy().copy())
    np.testing.assert_array_equal(*found)
    assert (found[0] == 1).all()


# --- products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 700, 90), (90, 700, 1), (600, 1, 70), (129, 257, 65), (40, 300, 2000), (2000, 40, 300)]
)
def test_products_of_all_layouts(m, k, n, dtype):
    a, b = draw(m, k, dtype=dtype), draw(k, n, dtype=dtype, seed=1)
    want = a.astype(np.float64) @ b.astype(np.float64)
    for x in (a, np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2], a[::-1][::-1]):
        for y in (b, np.asfortranarray(b), np.repeat(b, 2, axis=0)[::2]):
            found = kernels.products.matmul(x, y)
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-3 if dtype == np.float32 else 1e-10)
            room = np.empty((m, n), dtype=dtype)
            assert kernels.products.matmul(x, y, out=room) is room
            np.testing.assert_array_equal(room, found)


def test_stacks_and_broadcast_products():
    a, b = draw(6, 5, 70, 40), draw(5, 40, 30, seed=1)
    np.testing.assert_allclose(kernels.products.matmul(a, b), np.matmul(a, b), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kernels.products.matmul(a, b[0]), np.matmul(a, b[0]), rtol=1e-4, atol=1e-4)
    heads = a.swapaxes(1, 2).copy().swapaxes(1, 2)  # (B, H, T, K), in memory (B, T, H, K)
    room = np.empty((6, 70, 5, 70), np.float32).swapaxes(1, 2)
    kernels.products.matmul(heads, heads.swapaxes(-1, -2), out=room)
    np.testing.assert_allclose(room, np.matmul(a, a.swapaxes(-1, -2)), rtol=1e-4, atol=1e-4)


def test_an_overlapping_result_is_not_corrupted():
    a = draw(300, 300)
    want = np.matmul(a, a)
    np.testing.assert_allclose(kernels.products.matmul(a, a, out=a), want, rtol=1e-4, atol=1e-3)


def test_read_only_and_strided_operands_are_taken():
    x = draw(200, 300)
    x.flags.writeable = False
    for view in (x, x[:, ::2], x[::-1]):
        assert ready(view).flags.carray
        np.testing.assert_allclose(F.softmax(view).numpy().sum(axis=1), 1.0, rtol=1e-5)


# --- random bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", [0, 1, 12345, 2**64 - 700])
def test_random_words_are_philox_as_numpy_has_it(counter):
    kernels.switch(False)
    plain = mt.random.Generator(7, 3, counter)
    want = (
        plain.words(5003),
        plain.halves((77, 101)),
        F.dropout(mt.ones((100, 333)), 0.1, generator=plain).numpy(),
        plain.state,
    )
    kernels.switch(True)
    again = mt.random.Generator(7, 3, counter)
    found = (
        again.words(5003),
        again.halves((77, 101)),
        F.dropout(mt.ones((100, 333)), 0.1, generator=again).numpy(),
        again.state,
    )
    for a, b in zip(want, found):
        np.testing.assert_array_equal(a, b)


# --- attention ------------------------------------------------------------------------------------


def test_a_causal_gpt_writes_no_matrix_of_scores():
    import tracemalloc

    q, k, v = (mt.tensor(draw(1, 2, 2048, 16, seed=i), requires_grad=True) for i in range(3))
    F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
    tracemalloc.start()
    F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(q.detach())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2048 * 2048 * 4 / 10


@pytest.mark.parametrize("causal", [False, True])
def test_hidden_nan_reaches_nothing_in_tiles(causal):
    q, k, v = (draw(2, 3, 150, 8, seed=i) for i in range(3))
    k[:, :, 140:], v[:, :, 140:] = np.nan, np.nan
    mask = np.ones((2, 1, 1, 150), bool)
    mask[..., 140:] = False
    leaves = [mt.tensor(x, requires_grad=True) for x in (q, k, v)]
    y = F.scaled_dot_product_attention(*leaves, mask=mask, is_causal=causal)
    y.sum().backward()
    assert np.isfinite(y.numpy()).all() and all(np.isfinite(x.grad.numpy()).all() for x in leaves)
    assert (leaves[1].grad.numpy()[:, :, 140:] == 0).all()


# --- what a first reader found --------------------------------------------------------------------


def both(function, *arrays):
    """What a function gives in plain NumPy and on the kernels: the values, or its error."""
    found = []
    for on in (False, True):
        mt.backend.use_compiled(on)
        try:
            found.append(function(*arrays).numpy())
        except ValueError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("shape", [(), (1,), (45,), (200,), (2, 90), (300, 1), (300, 90)])
def test_a_bias_of_another_shape_is_broadcast_or_refused_as_numpy_does(shape):
    x, weight, bias = (np.random.default_rng(0).standard_normal(s).astype("f") for s in ((300, 70), (90, 70), shape))
    plain, compiled = both(F.linear, x, weight, bias)
    assert plain == compiled if isinstance(plain, str) else np.allclose(plain, compiled, atol=1e-4)


NANS = [0x7FC00000, 0x7FC00001, 0x7F800001, 0xFFC00000, 0xFFC00003]  # bits: with a sign, with something in their digits


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's sigmoid meets a NaN that signals
@pytest.mark.parametrize("bits", NANS)
def test_every_nan_is_one(bits):
    x = np.random.default_rng(0).standard_normal((3, 5)).astype("f")
    x[1, 2] = np.uint32(bits).view("f")
    for function in (F.softmax, F.log_softmax, F.layer_norm):
        y = function(x).numpy()
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all(), function
    for function in (F.gelu, F.silu, F.tanh, F.sigmoid, F.relu):
        assert np.array_equal(np.isnan(function(x).numpy()), np.isnan(x)), function
    assert np.isnan(F.cross_entropy(x, np.array([0, 1, 2])).item())
    query = np.ones((1, 1, 3, 5), "f")
    query[0, 0, 1, 2] = x[1, 2]
    y = F.scaled_dot_product_attention(query, np.ones((1, 1, 3, 5), "f"), np.ones((1, 1, 3, 5), "f")).numpy()
    assert np.isnan(y[0, 0, 1]).all() and np.isfinite(y[0, 0, [0, 2]]).all()


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_adam_leaves_an_infinite_weight_infinite(kind):
    p = nn.Parameter(mt.tensor([1.0, -np.inf, np.inf, 2.0]))
    optimiser = kind([p], lr=0.1, weight_decay=0.0)
    for _ in range(2):
        p.grad = mt.tensor([1.0, 0.0, 0.0, 1.0])
        optimiser.step()
    assert p.numpy() == pytest.approx([0.8, -np.inf, np.inf, 1.8])


def test_the_switch_takes_truth_values_alone():
    with pytest.raises(TypeError, match="True or False"):
        mt.backend.use_compiled("no")


# Of all kernels this one is compiled soonest.
SILU = "import minitensor as mt; print(mt.nn.functional.silu(mt.ones((3, 4)) * 100).sum().item())"


def test_what_lies_damaged_on_disk_is_made_again(tmp_path):
    assert run(SILU, MINITENSOR_CACHE=str(tmp_path)).stdout == "1200.0\n"
    for ending in (".nbi", ".nbc"):
        damaged = list(tmp_path.rglob(f"*{ending}"))
        assert damaged
        for path in damaged:
            path.write_bytes(path.read_bytes()[:20])
        assert run(SILU, MINITENSOR_CACHE=str(tmp_path)).stdout == "1200.0\n"  # compiled again, and kept
        done = run(SILU, MINITENSOR_CACHE=str(tmp_path))
        assert done.stdout == "1200.0\n" and done.stderr == ""


def test_without_a_folder_to_write_to_it_compiles_and_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = run(SILU, MINITENSOR_CACHE=str(tmp_path / "file"))
    assert done.stdout == "1200.0\n" and "cannot be kept in" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_full_disk_costs_a_compilation_and_no_more(tmp_path):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n" + SILU
    done = run(code, MINITENSOR_CACHE=str(tmp_path))
    assert done.stdout == "1200.0\n" and done.returncode == 0, done.stderr


def test_rows_of_the_table_that_are_said_to_call_no_kernel_call_none(monkeypatch):
    called, address = [], kernels._address
    monkeypatch.setattr(kernels, "_address", lambda: called.append(row) or address())
    for row in (row for row in TABLE if not row.compiled and row.name != "to_device"):
        check_row(row, 2, "cpu")
    assert not called, f"compiled in tests/table/row.py leaves out {sorted(set(map(str, called)))}"
    row = next(row for row in TABLE if row.compiled and row.name == "softmax")
    check_row(row, 2, "cpu")
    assert called
