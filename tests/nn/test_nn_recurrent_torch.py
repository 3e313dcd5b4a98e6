"""Recurrent layers and cells against PyTorch, to 1e-10 in float64: outputs, final states, all
gradients, weights both ways.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitensor as mt
from minitensor import nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
FEATURES, HIDDEN = 3, 4


@st.composite
def problems(draw):
    """A layer's options, sizes, lengths or none, an initial state or none."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {"num_layers": draw(st.integers(1, 3)), "bidirectional": draw(st.booleans())}
    options |= {"bias": draw(st.booleans()), "batch_first": draw(st.booleans())}
    options |= {"nonlinearity": draw(st.sampled_from(["tanh", "relu"]))} if kind == "RNN" else {}
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    lengths = draw(st.one_of(st.none(), st.lists(st.integers(1, steps), min_size=batch, max_size=batch)))
    return kind, options, batch, steps, lengths, draw(st.booleans()), draw(st.integers(0, 2**32 - 1))


def pair(kind, options, *sizes):
    """Our module and PyTorch's, with our weights in theirs."""
    ours = getattr(nn, kind)(*sizes, **options).astype("float64")
    theirs = getattr(torch.nn, kind)(*sizes, **options).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()})
    return ours, theirs


def both(array):
    """One array as a leaf of either library."""
    return mt.tensor(array, requires_grad=True), torch.tensor(np.nan_to_num(array), requires_grad=True)


def as_list(state):
    """The parts of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def assert_close(ours, theirs, what):
    """To ten digits."""
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), err_msg=what, **TOLERANCE)


def run_theirs(layer, x, state, lengths, batch_first):
    """PyTorch's output and states, of packed sequences where there are lengths."""
    if lengths is None:
        return layer(x, state)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    output, final = layer(packed, state)
    steps = x.shape[1 if batch_first else 0]
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first, total_length=steps)
    return output, final


@settings(max_examples=60, deadline=None)
@given(problems())
def test_layers(problem):
    kind, options, batch, steps, lengths, with_state, seed = problem
    rng = np.random.default_rng(seed)
    ours, theirs = pair(kind, options, FEATURES, HIDDEN)
    over = np.zeros((batch, steps), dtype=bool) if lengths is None else np.arange(steps) >= np.array(lengths)[:, None]
    over = over if options["batch_first"] else over.T
    poisoned = rng.normal(size=(*over.shape, FEATURES))
    poisoned[over] = np.nan  # PyTorch gets zeros, and packs them away
    x, their_x = both(poisoned)
    places = options["num_layers"] * (1 + options["bidirectional"])
    starts = [both(rng.normal(size=(places, batch, HIDDEN))) for _ in range(1 + (kind == "LSTM"))] if with_state else []
    states = [tuple(side) if kind == "LSTM" else side[0] for side in zip(*starts)] or [None, None]

    output, final = ours(x, states[0], lengths)
    their_output, their_final = run_theirs(theirs, their_x, states[1], lengths, options["batch_first"])
    ends, their_ends = [output, *as_list(final)], [their_output, *as_list(their_final)]
    for k, (a, b) in enumerate(zip(ends, their_ends)):
        assert_close(a, b, f"output {k}")

    seeds = [rng.normal(size=end.shape) for end in ends]
    torch.autograd.backward(their_ends, [torch.tensor(g) for g in seeds])
    seeds[0][over] = np.nan  # nor does a gradient that arrives at the padding
    leaves = [x, *(a for a, _ in starts), *ours.parameters()]
    their_leaves = [their_x, *(b for _, b in starts), *theirs.parameters()]
    gradients = mt.grad(ends, leaves, [mt.tensor(g) for g in seeds])
    for k, (a, b) in enumerate(zip(gradients, their_leaves)):
        assert_close(a, b.grad, f"gradient {k}")


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("RNNCell", {"nonlinearity": "tanh"}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})],
)
def test_cells(kind, options, bias, with_state):
    rng = np.random.default_rng(0)
    ours, theirs = pair(kind, {**options, "bias": bias}, FEATURES, HIDDEN)
    x, their_x = both(rng.normal(size=(5, FEATURES)))
    starts = [both(rng.normal(size=(5, HIDDEN))) for _ in range(1 + (kind == "LSTMCell"))] if with_state else []
    states = [tuple(side) if kind == "LSTMCell" else side[0] for side in zip(*starts)] or [None, None]
    ends, their_ends = as_list(ours(x, states[0])), as_list(theirs(their_x, states[1]))
    seeds = [rng.normal(size=end.shape) for end in ends]
    torch.autograd.backward(their_ends, [torch.tensor(g) for g in seeds])
    leaves = [x, *(a for a, _ in starts), *ours.parameters()]
    their_leaves = [their_x, *(b for _, b in starts), *theirs.parameters()]
    for a, b in zip(ends, their_ends):
        assert_close(a, b, "state")
    for k, (a, b) in enumerate(zip(mt.grad(ends, leaves, [mt.tensor(g) for g in seeds]), their_leaves)):
        assert_close(a, b.grad, f"gradient {k}")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_weights_of_pytorch_are_read(kind):
    theirs = getattr(torch.nn, kind)(FEATURES, HIDDEN, 2, bidirectional=True, batch_first=True)
    ours = getattr(nn, kind)(FEATURES, HIDDEN, 2, bidirectional=True)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 7, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(
        ours(mt.tensor(x))[0].data, theirs(torch.tensor(x))[0].detach().numpy(), rtol=1e-4, atol=1e-6
    )
