"""A profile of work on a GPU: it waits around each op, or does not, and knows where products
ran.
"""

import itertools

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import optim
from minitensor.profiling import recorder, rows, speed, table
from tests.backend import emulator, fake_device

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="running the kernels on the CPU takes Linux and a C++ compiler"
)


def work(device):
    x = mt.tensor(np.ones((3, 4), np.float32), device=device, requires_grad=True)
    w = mt.tensor(np.ones((2, 4), np.float32), device=device, requires_grad=True)
    F.gelu(F.linear(x, w)).sum().backward()
    optim.SGD([x, w], lr=0.1).step()


def test_it_waits_around_each_op(device, monkeypatch):
    """The clock is read behind a wait: at the start and end of each op, and of the block."""
    events, ticks = [], itertools.count()
    monkeypatch.setattr(recorder, "wait", lambda: events.append("wait"))
    monkeypatch.setattr(recorder, "clock", lambda: events.append("clock") or float(next(ticks)))
    x = mt.tensor(np.ones((3, 4), np.float32), device=device)
    with mt.profile() as p:
        del events[:]
        mt.exp(x)
        assert events == ["wait", "clock", "clock", "wait", "clock", "clock"]
    with mt.profile(synchronize=False) as p:
        del events[:]
        mt.exp(x)
        assert "wait" not in events
        with mt.profile():
            del events[:]
            mt.exp(x)
            assert events.count("wait") == 2  # one of the two wants true times
    assert [row.calls for row in p.rows if row.name == "exp"] == [2]


@pytest.mark.parametrize("synchronize", [True, False])
def test_the_device_is_waited_for_only_if_that_is_wanted(device, synchronize):
    work(device)
    del fake_device.SYNCS[:]
    with mt.profile(synchronize=synchronize) as p:
        work(device)
    waits = list(fake_device.SYNCS)
    gpus, calls = 1 + int(device[-1]), sum(row.calls for row in p.rows)
    assert waits == ["synchronize"] * (gpus * (2 * calls + 2) if synchronize else 0)


def test_bytes_flops_and_speed_are_of_the_device(device, monkeypatch):
    asked = set()
    monkeypatch.setattr(rows, "speed", lambda *place: asked.add(place) or 1000.0)
    monkeypatch.setattr(table, "speed", rows.speed)
    with mt.profile() as p:
        work(device)
    linear = next(row for row in p.rows if row.name == "linear")
    assert (linear.flops, linear.floor) == (2 * 3 * 24, pytest.approx(0.072)) and asked == {
        (device, np.dtype(np.float32))
    }
    assert (linear.forward_bytes, linear.backward_bytes) == (4 * 6, 4 * (12 + 8))
    with mt.profile() as p:
        x = mt.tensor(np.ones((3, 4), np.float32), device=device)
        x.T.reshape(2, 6) * x[:1, :1] + 1.0
    made = {row.name: row.forward_bytes for row in p.rows if row.kind == "op"}
    assert made == {"permute_dims": 0, "reshape": 48, "getitem": 0, "multiply": 48, "add": 48}
    assert f"Products of float32 on {device}" not in p.table()


def test_the_speed_of_products_is_measured_there(device, monkeypatch):
    monkeypatch.setattr(speed, "SIZE", 64)
    monkeypatch.setattr(speed, "LEAST", 0.0)
    assert speed.speed.__wrapped__(device, np.dtype(np.float32)) > 0


def test_gpus_that_nobody_has_asked_for_are_let_be():
    with fake_device.installed():
        from minitensor.backend import cuda

        with mt.profile() as p:
            mt.exp(mt.ones(2))
        assert not cuda.gpus.usable and not fake_device.SYNCS
        assert [row.calls for row in p.rows if row.name == "exp"] == [1]


def test_a_wrong_id_is_no_error_of_the_profile(device):
    """It is raised, as ever, when a value is read."""
    ids = mt.tensor([7], device=device)
    weight = mt.tensor(np.ones((3, 2), np.float32), device=device)
    with mt.profile() as p:
        y = F.embedding(ids, weight)
    assert "embedding" in str(p)
    with pytest.raises(IndexError, match="7"):
        y.to("cpu")
