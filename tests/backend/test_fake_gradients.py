"""Gradients that a pass writes where an optimiser wants them: on a GPU, before they are
deposited.
"""

import threading

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim
from tests.backend import emulator, fake_device

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


@pytest.fixture(autouse=True)
def device():
    """The fake device in CuPy's place."""
    with fake_device.installed():
        yield


def numbers(*shape, seed=0):
    """Fixed normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


class Model:
    """A table that is the output layer too, a layer used twice, and one whose parts are used."""

    def __init__(self, device):
        made = [numbers(5, 4, seed=1), numbers(4, 4, seed=2), numbers(4, seed=3), numbers(8, 4, seed=4)]
        self.parameters = [mt.tensor(x, device=device, requires_grad=True) for x in made]
        self.optimizer = optim.Adam(self.parameters, lr=0.1)
        self.ids = mt.tensor([[0, 3, 3], [1, 0, 2]], device=device)

    def loss(self):
        table, weight, bias, wide = self.parameters
        x = F.embedding(self.ids, table)
        x = mt.tanh(F.linear(mt.tanh(F.linear(x, weight, bias)), weight, bias))
        x = F.linear(x, wide[:4]) * F.linear(x, wide[4:])
        return (F.linear(x, table) ** 2).sum()

    def gradients(self):
        """Those that were deposited, on the host, unread."""
        return [x.node.watch.grad if self.on_host else x.node.watch.grad.get() for x in self.parameters]

    @property
    def on_host(self):
        return self.parameters[0].device == "cpu"


def both(run):
    """``run(model)`` on the CPU and on the device: equal gradients, which stand in the flat
    buffer.
    """
    right, model = Model("cpu"), Model("cuda")
    run(right)
    run(model)
    for entry in model.optimizer._entries:
        assert entry.parameter.node.watch.grad is entry.gradient and not entry.parameter.node.watch.claimed
    for mine, theirs in zip(model.gradients(), right.gradients()):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_shared_and_cut_parameters():
    both(lambda model: model.loss().backward())


def test_gradients_add_up():
    def run(model):
        model.loss().backward()
        (3.0 * model.loss()).backward()

    both(run)


def test_steps_write_to_the_same_memory_again():
    def run(model):
        for _ in range(3):
            model.optimizer.zero_grad()
            model.loss().backward()
            model.optimizer.step()

    both(run)


def test_what_was_read_does_not_change():
    model = Model("cuda")
    model.loss().backward()
    read = [x.grad for x in model.parameters]
    before = [x.tolist() for x in read]
    model.optimizer.zero_grad()
    (2.0 * model.loss()).backward()
    assert [x.tolist() for x in read] == before


def test_hooks_see_and_replace_gradients():
    seen = []

    def run(model):
        model.parameters[1].register_hook(lambda g: seen.append(g) or g * 2.0)
        model.loss().backward()
        model.loss().backward()

    both(run)
    np.testing.assert_allclose(seen[2].to("cpu").numpy(), seen[0].numpy(), rtol=1e-12)


def test_a_recorded_pass_is_differentiated_again():
    second = []
    for device in ("cpu", "cuda"):
        model = Model(device)
        model.loss().backward(create_graph=True)
        total = sum((x.grad**2).sum() for x in model.parameters)
        second.append([g.to("cpu").numpy() for g in mt.grad(total, model.parameters)])
    for mine, theirs in zip(*second):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_a_pass_that_fails_leaves_nothing_behind():
    def run(model):
        x = model.loss()
        x.register_hook(lambda g: g)
        model.parameters[0].register_hook(failing := lambda g: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            x.backward()
        assert failing
        for parameter in model.parameters:
            parameter.node.watch.hooks.clear()
            parameter.grad = None
        model.loss().backward()

    both(run)


def test_threads_add_to_the_same_gradients():
    def run(model):
        losses = [model.loss() * factor for factor in (1.0, 2.0, 4.0)]
        threads = [threading.Thread(target=loss.backward) for loss in losses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for x in model.parameters:  # whichever came first: the sums may not be in the flat buffer
            x.node.watch.grad_buffer[...] = x.node.watch.grad
            x.node.watch.grad = x.node.watch.grad_buffer

    both(run)


def test_two_passes_at_once_do_not_share_memory():
    def run(model):
        second = model.loss() * 2.0

        def within(g):
            second.backward()
            return g

        first = model.loss()
        first.register_hook(within)
        first.backward()

    both(run)
