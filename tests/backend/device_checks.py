"""Checks of whole models and of memory layouts on a device: run on the fake one, and on a GPU by
``tests/gpu``.
"""

from __future__ import annotations

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import namespace, precision
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from tests.backend.parity import check_parity

__all__ = [
    "GRAPHED", "LAYOUTS", "MORE_LAYOUTS", "PRODUCTS", "Training", "check_autocast", "check_graph", "check_halves", "check_layout",
    "check_resumed", "check_training_in_16_bits", "check_written",
]  # fmt: skip

# --- training -------------------------------------------------------------------------------------


class Training:
    """An encoder-decoder of 1 + 1 layers in training: dropout, a source mask, clipping, Adam; the
    batch follows from the step.
    """

    def __init__(self, device, dtype="float64"):
        mt.random.seed(0)
        config = TransformerConfig(50, 32, n_heads=4, n_encoder_layers=1, n_decoder_layers=1, d_ff=64, dropout=0.1)
        self.model = Transformer(config).astype(dtype).to(device)
        self.adam = optim.Adam(self.model.parameters(), lr=1e-3, betas=(0.9, 0.98))
        self.device, self.steps = device, 0

    def step(self):
        """The loss, a Tensor on the device."""
        rng = np.random.default_rng(self.steps)
        self.steps += 1
        ids = [mt.asarray(part, device=self.device) for part in rng.integers(3, 50, size=(3, 4, 8))]
        mask = mt.asarray(np.arange(8) < rng.integers(4, 9, size=(4, 1)), device=self.device)
        loss = self.model.loss(*ids, mask=mask, divide_by=4 * 8)
        loss.backward()
        optim.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        self.adam.zero_grad()
        return loss

    def state(self):
        """All that a run goes on from."""
        parts = {"model": self.model.state_dict(), "adam": self.adam.state_dict()}
        return {**parts, "random": mt.random.default.state, "steps": self.steps}

    def resume(self, state):
        """Go on from a ``state()``."""
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        mt.random.default.state, self.steps = state["random"], state["steps"]

    def run(self, steps):
        """The losses of so many steps, and the weights behind them, as host arrays."""
        losses = [self.step() for _ in range(steps)]
        weights = {name: value.to("cpu").numpy() for name, value in self.model.state_dict().items()}
        return np.array([loss.item() for loss in losses]), weights


def check_resumed(path, device, other):
    """Assert that a run that is saved on one device goes on from the file on another as it would
    have gone on itself.
    """
    first, second = Training(device), Training(other)
    first.run(2)
    mt.save(path, first.state())
    losses, weights = first.run(2)
    second.resume(mt.load(path))
    again, other_weights = second.run(2)
    np.testing.assert_allclose(again, losses, rtol=1e-9)
    for name, value in weights.items():
        np.testing.assert_allclose(other_weights[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


# --- CUDA graphs ----------------------------------------------------------------------------------


def _translator(rng):
    ids = rng.integers(3, 50, size=(3, 4, 8))
    return (*ids, np.arange(8) < rng.integers(4, 9, size=(4, 1)))


def _ids(rng):
    return (rng.integers(2, 50, (4, 9)),)


def _three(rng):
    return tuple(rng.integers(3, 50, size=(3, 4, 8)))


GRAPHED = {  # model, its batches, its loss
    "transformer": (
        lambda: Transformer(TransformerConfig(50, 32, n_heads=4, n_encoder_layers=1, n_decoder_layers=1, d_ff=64)),
        _translator,
        lambda model, source, start, target, mask: model.loss(source, start, target, mask=mask),
    ),
    "gpt": (
        lambda: GPT(GPTConfig(vocab_size=50, d_model=32, n_heads=4, n_layers=2, max_length=16)),
        _ids,
        lambda model, ids: model.loss(ids),
    ),
    "t5": (
        lambda: T5(T5Config(vocab_size=50, d_model=32, n_heads=4, n_encoder_layers=1, n_decoder_layers=1, d_ff=64)),
        _three,
        lambda model, *ids: model.loss(*ids),
    ),
    "gru with attention": (
        lambda: Seq2Seq(Seq2SeqConfig(50, 16, cell="gru", attention="additive")),
        _translator,
        lambda model, source, start, target, mask: model.loss(source, start, target, mask=mask),
    ),
    "lstm": (
        lambda: nn.LSTM(6, 8),
        lambda rng: (rng.normal(size=(3, 5, 6)).astype(np.float32),),
        lambda model, x: (model(x)[0] ** 2).sum(),
    ),
}


def graph_run(name, device, graphed, dtype=None, steps=6):
    """``(losses, weights, the graph)`` of a run with dropout, clipping and a learning rate that
    changes; dtype: of ``mt.autocast``, which stands around the steps, or None.
    """
    make, batch, loss_of = GRAPHED[name]
    mt.random.seed(1)
    model = make().to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    schedule = optim.LinearWarmup(optimizer, 4)

    def step(*arrays):
        optimizer.zero_grad()
        loss = loss_of(model, *(mt.asarray(array, device=device) for array in arrays))
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    run = mt.cuda_graph(step, device=device) if graphed else step
    rng, losses = np.random.default_rng(0), []
    for _ in range(steps):
        with mt.autocast(dtype or "float16", enabled=dtype is not None):
            losses.append(run(*batch(rng)))
        schedule.step()
    weights = {name: value.to("cpu").numpy() for name, value in model.state_dict().items()}
    return [loss.item() for loss in losses], weights, run


def check_graph(name, device, dtype=None):
    """Assert that the run of the graph is that of the step, bit for bit."""
    losses, weights, _ = graph_run(name, device, False, dtype)
    again, same, graph = graph_run(name, device, True, dtype)
    assert (graph.captured, graph.replayed) == (1, len(losses) - 3)
    assert again == losses and len(set(losses)) == len(losses)
    for key, value in weights.items():
        assert np.array_equal(same[key], value), key


# --- writing --------------------------------------------------------------------------------------

PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
SEARCHES = {
    "greedy": {}, "beam": {"beam_size": 3}, "sampling": {"temperature": 1.0}, "sampling of a few": {"temperature": 1.0, "top_k": 9},
    "sampling of the likely": {"temperature": 2.0, "top_k": 9, "top_p": 0.9},
}  # fmt: skip


def _sharpened(model, factor, device):
    """``model`` on ``device``, in float64, with weights so great that what it writes depends on
    what it reads.
    """
    model = model.astype("float64").eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.assign(parameter * factor)
    return model.to(device)


def _translations(device, how):
    mt.random.seed(1)
    config = TransformerConfig(
        23, 16, n_heads=2, n_encoder_layers=1, n_decoder_layers=2, d_ff=32, share_embeddings=False, tie_output=False
    )
    model = _sharpened(Transformer(config), 4.0, device)
    source, lengths = np.random.default_rng(0).integers(3, 23, size=(4, 7)), [[7], [3], [5], [1]]
    source, mask = (mt.asarray(part, device=device) for part in (source, np.arange(7) < np.array(lengths)))
    return model.generate(source, 9, mask=mask, **how)


def _continuations(device, how):
    mt.random.seed(7)
    config = GPTConfig(vocab_size=23, max_length=24, d_model=16, n_layers=2, n_heads=2)
    return _sharpened(GPT(config), 8.0, device).generate(PROMPTS, 10, **how)


def check_written(search, device):
    """Assert that a Transformer and a GPT write on ``device`` what they write on the CPU, in one of
    the ways of ``SEARCHES``.
    """
    how, models = SEARCHES[search], [_continuations] if "sampling" in search else [_continuations, _translations]
    for write in models:
        right = write("cpu", how)
        assert write(device, how) == right
        assert len({tuple(text) for text in right}) > 1  # not the same token everywhere


# --- layouts --------------------------------------------------------------------------------------


def _sliced(array):
    wide = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
    wide[tuple(slice(1, None, 2) for _ in array.shape)] = array
    return wide


# How an array is kept, how a tensor of it is seen as the array again without a copy, and what is
# made of the result, so that its gradient arrives in such a layout too: transposed, repeated with
# strides of 0, reversed.
LAYOUTS = {
    "transposed": (lambda a: np.ascontiguousarray(a.T), lambda x: x.transpose(), lambda y: y.transpose()),
    "sliced": (_sliced, lambda x: x[(slice(1, None, 2),) * x.ndim], lambda y: y.sum(axis=0) if y.ndim else y),
    "reversed": (lambda a: np.flip(a).copy(), lambda x: mt.flip(x), lambda y: mt.flip(y)),
}
IDS, ROWS = np.array([[0, 3, 3], [4, 0, 1]]), np.random.default_rng(0).standard_normal((5, 4))
MORE_LAYOUTS = [
    ("embedding", F.embedding, [IDS, ROWS], {}),
    ("getitem", lambda x, ids: x[ids], [ROWS, IDS], {}),
    ("getitem of columns", lambda x, ids: x[:, ids % 4], [ROWS, IDS], {}),
    ("floor_divide", mt.floor_divide, [ROWS, ROWS[::-1] + 3.0], {}),
    ("remainder", mt.remainder, [ROWS, ROWS[::-1] + 3.0], {}),
    ("matmul", mt.matmul, [np.stack([ROWS, ROWS]), np.stack([ROWS.T, -ROWS.T])], {}),
]


def check_layout(layout, function, inputs, keywords, device="cuda:0"):
    """`check_parity` of a function whose inputs, masks among its keywords, and gradient are not
    contiguous.
    """
    store, view, end = LAYOUTS[layout]
    seen = []

    def viewed(*stored, **settings):
        xs = [view(x) for x in stored]
        seen.extend(x.data.flags.c_contiguous for x in xs if x.ndim > 1)
        return end(function(*xs, **{k: view(mt.asarray(v)) if hasattr(v, "ndim") else v for k, v in settings.items()}))

    stored = [store(x) for x in inputs]
    kept = {name: store(value) if isinstance(value, np.ndarray) else value for name, value in keywords.items()}
    check_parity(viewed, stored, kept, device=device, order=1, rtol=1e-10, atol=1e-10)
    assert not any(seen)


# --- mixed precision ------------------------------------------------------------------------------

PRODUCTS = {
    "linear": (F.linear, [(6, 5), (7, 5), (7,)]),
    "linear of a batch": (F.linear, [(2, 3, 5), (7, 5)]),
    "linear of a view": (lambda x, w: F.linear(x.swapaxes(0, 1), w.T), [(4, 3, 6), (6, 9)]),
    "nothing": (F.linear, [(0, 5), (7, 5), (7,)]),
    "matmul": (mt.matmul, [(2, 3, 5), (5, 4)]),
    "matmul of views": (lambda x, y: mt.matmul(x.mT, y.swapaxes(0, 1)), [(3, 5, 67), (5, 3, 33)]),
    "einsum": (lambda x, y: mt.einsum("bthk,bshk->hbts", x, y), [(2, 33, 2, 17), (2, 9, 2, 17)]),
    "attention": (F.scaled_dot_product_attention, [(2, 3, 4), (2, 5, 4), (2, 5, 6)]),
    "attention of heads": (
        lambda q, k, v: F.scaled_dot_product_attention(*(x.swapaxes(1, 2) for x in (q, k, v)), is_causal=True),
        [(2, 20, 3, 16), (2, 17, 3, 16), (2, 17, 3, 9)],
    ),
    "packed attention": (lambda x: F.packed_attention(x, 2, is_causal=True), [(2, 4, 12)]),
    "lstm": (lambda *a: F.lstm(*a)[0], [(2, 3, 4), (20, 4), (20, 5), (20,), (20,)]),
}


def check_autocast(name, dtype, device):
    """A product within ``mt.autocast``: values to a rounding of 16 bits, gradients to what sums in
    float32 and halves of 16 bits leave.
    """
    function, shapes = PRODUCTS[name]
    rng, found = np.random.default_rng(0), []
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    for place in ("cpu", device):
        inputs = [mt.tensor(x, device=place, requires_grad=True) for x in arrays]
        with mt.autocast(dtype):
            y = function(*inputs)
        g = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
        (y.astype("float32") * mt.tensor(g, device=place)).sum().backward()
        assert y.dtype.name == dtype and all(x.grad.dtype == np.float32 for x in inputs)
        found.append([value.to("cpu").astype("float64").numpy() for value in (y, *(x.grad for x in inputs))])
    eps = 2.0 ** -precision(mt.backend.as_dtype(dtype))
    (here, *pulled), (there, *again) = found
    np.testing.assert_allclose(there, here, rtol=2 * eps, atol=1e-6)
    for right, mine in zip(pulled, again):
        np.testing.assert_allclose(mine, right, rtol=0, atol=1e-4 * np.abs(right).max(initial=0))


def check_halves(dtype, device):
    """A float32 matrix times one of 16 bits: as near as its halves are, and far nearer than a
    rounding.
    """
    rng, kernels = np.random.default_rng(0), namespace(device).kernels
    a = (rng.standard_normal((3, 129, 257)) * 10.0 ** rng.uniform(-6, 2, (3, 129, 257))).astype("f")
    b = mt.tensor(rng.standard_normal((3, 257, 65)), dtype=dtype)
    made = kernels.product(kernels.halves(mt.tensor(a, device=device).data, b.dtype), b.to(device).data)
    found, exact = mt.Tensor(made).to("cpu").numpy(), a.astype("d") @ b.astype("float64").numpy()
    bound = np.abs(a).astype("d") @ np.abs(b.astype("float64").numpy())  # of a sum of absolute values
    near = 1e-5 if dtype == "float16" else 4e-5
    assert found.dtype == np.float32 and (np.abs(found - exact) <= near * bound).all()


def check_training_in_16_bits(dtype, device):
    """A run in mixed precision: it follows that of the CPU, waits once a step, and skips what
    overflows.
    """
    curves = []
    for place in ("cpu", device):
        mt.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4)).to(place)
        optimizer, scaler = optim.Adam(model.parameters(), lr=0.05), optim.GradScaler(2.0**22)
        x = mt.tensor(np.random.default_rng(0).standard_normal((8, 6)).astype("float32"), device=place)
        targets, losses = mt.tensor(np.arange(8) % 4, device=place), []
        for _ in range(12):
            with mt.autocast(dtype):
                loss = F.cross_entropy(model(x), targets)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            losses.append(loss.item())
        curves.append((losses, scaler.skipped))
    (here, skipped), (there, again) = curves
    assert skipped == again and (skipped > 0) == (dtype == "float16") and here[-1] < here[0]
    np.testing.assert_allclose(there, here, rtol=0.01)
