"""Several processes as one: rows that draw what they draw in the whole batch, groups, sums of
gradients; here without MPI and without a GPU.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import distributed, nn
from minitensor.distributed import Group, MPIGroup, NCCLGroup, join, rows_of, sum_gradients
from minitensor.testing import invariants
from tests.ranks import tiny

# --- rows of a batch ------------------------------------------------------------------------------


def parts_of(draw, n, cuts):
    """``draw(rows)`` of parts of ``n`` rows, all begun from one state, and the states after"""
    state, found, ends = mt.random.default.state, [], []
    for start, stop in zip([0, *cuts], [*cuts, n]):
        mt.random.default.state = state
        with mt.random.rows(start, stop, of=n):
            found.append(draw(stop - start).numpy())
        ends.append(mt.random.default.state)
    return np.concatenate(found), ends


@pytest.mark.parametrize(
    "draw",
    [
        lambda n: F.dropout(mt.ones((n, 3, 5)), 0.1),
        lambda n: F.dropout(mt.ones((n, 4, 16)), 0.3),
        lambda n: F.dropout(mt.ones((n, 700), dtype="float64"), 0.25),
        lambda n: F.dropout(mt.ones((n, 7)), 1e-4),  # 64 bits an element
        lambda n: F.dropout(mt.ones((n,)), 0.5),
        lambda n: F.dropout(mt.ones((n, 0, 3)), 0.5),
        lambda n: F.scaled_dot_product_attention(*mt.ones((3, n, 2, 5, 4)), dropout=0.4),
        lambda n: mt.random.uniform((n, 3)),
        lambda n: mt.random.bernoulli(0.3, (n, 5)),
        lambda n: mt.random.integers(0, 1000, (n, 5)),
    ],
)
def test_a_row_draws_what_it_draws_in_the_whole_batch(draw):
    mt.random.seed(3)
    state = mt.random.default.state
    whole, end = draw(13).numpy(), mt.random.default.state
    for cuts in ([], [6], [1, 5, 5, 11]):
        mt.random.default.state = state
        parts, ends = parts_of(draw, 13, cuts)
        assert parts.shape == whole.shape and np.array_equal(parts, whole)
        assert set(ends) == {end}


def test_what_is_not_drawn_by_rows_is_refused():
    with mt.random.rows(2, 5, of=9):
        for draw in (lambda: mt.random.normal((3, 2)), lambda: mt.random.permutation(3)):
            with pytest.raises(RuntimeError, match="rows 2 to 5 of a batch of 9 that would not be that of the whole"):
                draw()
        with pytest.raises(RuntimeError, match=r"array \(4, 3\), on rows 2 to 5 of a batch of 9: its first axis must"):
            F.dropout(mt.ones((4, 3)), 0.5)
        with pytest.raises(RuntimeError, match="first axis"):
            mt.random.uniform()
        with pytest.raises(RuntimeError, match="within"), mt.random.rows(0, 1, of=3):
            pass
    for wrong in ((3, 2, 9), (0, 10, 9), (-1, 3, 9)):
        with pytest.raises(ValueError, match="rows"), mt.random.rows(wrong[0], wrong[1], of=wrong[2]):
            pass
    with mt.random.rows(0, 9, of=9):  # the whole batch: anything
        mt.random.normal((3, 2))


def test_a_checkpoint_draws_the_rows_again_whenever_backward_runs():
    def gradient(rows, of):
        x = mt.ones((rows.stop - rows.start, 6)).requires_grad_()
        with mt.random.rows(rows.start, rows.stop, of=of):
            y = mt.checkpoint(lambda x: F.dropout(x * x, 0.4), x)
        y.sum().backward()
        return x.grad.numpy()

    state = mt.random.default.state
    whole = gradient(slice(0, 8), 8)
    mt.random.default.state = state
    assert np.array_equal(gradient(slice(3, 7), 8), whole[3:7])


@pytest.mark.parametrize("make", [tiny.transformer, tiny.lstm])
def test_ranks_have_the_gradient_of_one_with_dropout(make):
    task = tiny.Task(make)
    batch = max(task.epoch(0), key=len)
    inputs = batch.source, batch.target_in, batch.target_out, batch.source_mask
    held = invariants.data_parallel(task.model, inputs, ranks=(2, 4), dropout=True, tolerance=1e-12)
    assert held.compared == 2

    def drawing_as_it_comes(model, *rows):  # the fault that rows() is against
        mt.random.default.words(1)
        return {}, 1

    with pytest.raises(RuntimeError, match="would not be that of the whole batch"):
        invariants.data_parallel(task.model, inputs, local=drawing_as_it_comes, dropout=True)


# --- groups ---------------------------------------------------------------------------------------


class Third(Group):
    rank, size = 2, 3


def test_rows_are_shared_out():
    groups = [type("Some", (Group,), {"rank": rank, "size": 4})() for rank in range(4)]
    for n in range(10):
        shares = [rows_of(group, n) for group in groups]
        assert [row for share in shares for row in range(n)[share]] == list(range(n))
        sizes = [share.stop - share.start for share in shares]
        assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1  # rank 0 always has some


def test_a_group_of_one():
    group, x = Group(), np.ones((2, 3))
    group.all_reduce(x)
    group.broadcast(x)
    group.barrier()
    assert (x == 1).all() and group.gather(3) == [3] and group.share("x") == "x" and group.sum([1, 2]) == [1.0, 2.0]
    weight = nn.Parameter(mt.ones(3))
    optimizer = mt.optim.SGD([weight], lr=0.1)
    assert sum_gradients(optimizer, group, [4]) == [4.0] and weight.grad is None
    distributed.share_parameters([weight], group)
    distributed.check_agreement([weight], group)
    with pytest.raises(SystemExit):
        group.abort(3)


@pytest.mark.parametrize(
    "array, error, words",
    [
        (mt.ones(3), TypeError, "write x.data"),
        ([1.0], TypeError, "not a list"),
        (np.ones((4, 4))[:, 1], ValueError, "in one piece"),
        (np.broadcast_to(1.0, (1,)), ValueError, "read-only"),
        (np.ones(3, ">f4" if sys.byteorder == "little" else "<f4"), TypeError, "order of bytes"),
        (np.array(["a", None]), TypeError, "objects"),
    ],
)
def test_what_cannot_be_sent_is_refused(array, error, words):
    with pytest.raises(error, match=words):
        Group().all_reduce(array)
    with pytest.raises(ValueError, match="root"):
        Third().broadcast(np.ones(3), root=3)


def test_what_is_missing_has_its_line_of_pip(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minitensor-autograd\[mpi\]"'):
        join()
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    with pytest.raises(ModuleNotFoundError, match=r"minitensor-autograd\[nccl13\]"):
        distributed.nccl.unique_id()
    with pytest.raises(ValueError, match="connects GPUs"):
        NCCLGroup(Group(), "cpu")


def test_an_mpiexec_of_another_library_is_noticed(monkeypatch):
    alone = SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1)
    module = SimpleNamespace(COMM_WORLD=alone, IN_PLACE=None)
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=module))
    assert isinstance(join(), MPIGroup)
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "4")
        with pytest.raises(RuntimeError, match="mpiexec has started 4 processes, and mpi4py sees one"):
            join()
        monkeypatch.delenv(name)


class Refused(Exception):
    """What mpi4py raises."""


class World:
    """A communicator of two ranks, of which the other one says what this one does."""

    def __init__(self):
        self.ended = []

    def Get_rank(self):
        return 1

    def Get_size(self):
        return 2

    def Allreduce(self, in_place, array):
        if array.size == 3:
            raise Refused("Message truncated, error stack:\ninternal_Allreduce_c(342): ...")
        self.meanwhile()

    def meanwhile(self):
        pass


@pytest.fixture
def world(monkeypatch):
    world = World()
    module = SimpleNamespace(COMM_WORLD=world, IN_PLACE=None, Exception=Refused)
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=module))
    return world


def test_calls_that_mpi_refuses_or_two_threads_make_are_told(world):
    group = MPIGroup()
    with pytest.raises(
        RuntimeError, match="all_reduce: MPI says 'Message truncated'; all ranks must make the same calls"
    ):
        group.all_reduce(np.ones(3))
    world.meanwhile = lambda: group.all_reduce(np.ones(4))  # as another thread might
    with pytest.raises(RuntimeError, match="another thread is in a call"):
        group.all_reduce(np.ones(4))
    world.meanwhile = lambda: None
    group.all_reduce(np.ones(4))
    with pytest.raises(TypeError, match="not an int"):
        MPIGroup(3)


def test_an_error_that_nobody_catches_ends_all(world, monkeypatch, capsys):
    ended, told = [], []
    monkeypatch.setattr(sys, "excepthook", lambda *error: told.append(error))
    monkeypatch.setattr(MPIGroup, "abort", lambda self, code=1: ended.append(code))
    join()
    join()
    for error in (ValueError("a fault"), KeyboardInterrupt()):
        sys.excepthook(type(error), error, None)
    assert ended == [1, 130] and len(told) == 2 and capsys.readouterr().err == 2 * "rank 1 of 2:\n"
    for device in ("gpu", "cpu:0", 3):
        with pytest.raises(ValueError, match="unknown device"):
            join(device)


class Other(Group):
    """The second of two ranks; what the first one has differs from what this one has."""

    rank, size, parameters_differ = 1, 2, False

    def gather(self, thing):
        return ["other" if self.parameters_differ else thing, thing]

    def sum(self, numbers):
        return [*(2.0 for _ in numbers[1:]), numbers[-1]]  # the other rank has all gradients, none of them unscaled


def test_ranks_with_other_parameters_or_frozen_ones_are_told():
    layer, group = nn.Linear(2, 1), Other()
    optimizer = mt.optim.SGD(layer.parameters(), lr=0.1)
    group.parameters_differ = True
    with pytest.raises(ValueError, match="the optimiser of rank 1 is not that of rank 0"):
        sum_gradients(optimizer, group)
    group.parameters_differ = False
    assert sum_gradients(optimizer, group, [1.0]) == [2.0] and layer.bias.grad is not None
    group.parameters_differ = True  # looked at once
    optimizer.zero_grad()
    layer.bias.requires_grad_(False)
    with pytest.raises(
        RuntimeError, match="bias has a gradient on another rank, and on rank 1 it does not require one"
    ):
        sum_gradients(optimizer, group)
    for wrong in (lambda: sum_gradients(layer, group), lambda: sum_gradients(optimizer, None), lambda: rows_of(2, 3)):
        with pytest.raises(TypeError, match="takes a"):
            wrong()


@pytest.mark.parametrize("group", [Group(), Other()])
def test_sums_are_added_up_once(group):
    layer = nn.Linear(2, 1)
    optimizer, second = (mt.optim.SGD(layer.parameters(), lr=0.1) for _ in range(2))
    for _ in range(2):
        optimizer.zero_grad()
        layer(mt.ones((1, 2))).sum().backward()
        sum_gradients(optimizer, group)
    for again in (optimizer, second):
        with pytest.raises(RuntimeError, match="a gradient is a sum over all ranks already"):
            sum_gradients(again, group)
    layer(mt.ones((1, 2))).sum().backward()  # one more part of a batch, behind the sum
    with pytest.raises(RuntimeError, match="a gradient is a sum over all ranks already"):
        sum_gradients(optimizer, group)
    layer.weight.grad, layer.bias.grad = mt.ones((1, 2)), None  # by hand
    sum_gradients(optimizer, group)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_processes_train_as_one(tmp_path):
    command = [sys.executable, tiny.__file__, "--pipes", "3", "brief", str(tmp_path)]
    plain = {**os.environ, "MINITENSOR_FAST": "0"}  # numba takes a second in each
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, env=plain)
    assert done.returncode == 0 and done.stdout == "said\n", done.stdout + done.stderr


def test_the_trainer_of_one_rank_computes_parts_as_the_whole(tmp_path):
    runs = [tiny.steps(tiny.transformer, parts, Group(), tmp_path, count=4)[0] for parts in (1, 5)]
    assert np.allclose(*runs, rtol=1e-12, atol=0)


# --- NCCL, as far as a fake can hold it -----------------------------------------------------------


class FakeNCCL:
    """``cupy.cuda.nccl``: arrays are found by their addresses, in host memory."""

    available = True
    NCCL_FLOAT16, NCCL_FLOAT32, NCCL_FLOAT64, NCCL_INT32, NCCL_INT64, NCCL_UINT8, NCCL_SUM = (
        "f2 f4 f8 i4 i8 u1 +".split()
    )

    def __init__(self):
        self.said, fake = [], self

        class NcclCommunicator:
            def __init__(self, size, identity, rank):
                fake.said.append(("init", size, identity, rank))

            def allReduce(self, send, receive, count, kind, op, stream):
                fake.said.append(("allReduce", count, kind, op))
                fake.at(receive, count, kind)[...] += fake.at(send, count, kind)  # as of two equal ranks

            def broadcast(self, send, receive, count, kind, root, stream):
                fake.said.append(("broadcast", count, kind, root))
                fake.at(receive, count, kind)[...] = 7

        self.NcclCommunicator = NcclCommunicator

    def get_unique_id(self):
        return "identity"

    @staticmethod
    def at(address, count, kind):
        import ctypes

        size = count * np.dtype(kind).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype=kind)


class Two(Group):
    """Two ranks that say the same."""

    size = 2
    names: tuple = ()

    def gather(self, thing):
        return [thing, (*thing[:-1], "cuda:1") if thing[-1] == "cuda:0" else thing]

    def sum(self, numbers):
        return [2 * number for number in numbers]

    def all_reduce(self, array):
        array *= 2


def test_gradients_of_gpus_go_over_nccl_and_the_rest_by_the_others(monkeypatch):
    from tests.backend import emulator, fake_device

    if emulator.compiler() is None:
        pytest.skip("running the kernels on the CPU takes Linux and a C++ compiler")
    with fake_device.installed(2) as cupy:
        fake = FakeNCCL()
        monkeypatch.setattr("minitensor.backend.nccl._nccl", lambda: fake)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(
            "minitensor.backend.nccl.Communicator._stream", staticmethod(lambda: cupy.cuda.get_current_stream())
        )
        group = NCCLGroup(Two())
        assert group.device == "cuda:0" and fake.said == [("init", 2, "identity", 0)]
        weight = nn.Parameter(mt.ones(3, device="cuda:0"))
        optimizer = mt.optim.Adam([weight], lr=0.1)
        (weight * mt.asarray([1.0, 2.0, 3.0], device="cuda:0")).sum().backward()
        assert sum_gradients(optimizer, group, [1.5]) == [3.0]
        assert weight.grad.to("cpu").numpy().tolist() == [2.0, 4.0, 6.0]
        assert fake.said[1:] == [("allReduce", 16, "f4", "+")]  # one, of the whole flat buffer
        group.broadcast(weight.data, root=1)
        assert fake.said[-1] == ("broadcast", 12, "u1", 1)
        here = np.ones(2)
        group.all_reduce(here)
        assert here.tolist() == [2, 2] and len(fake.said) == 3
        with pytest.raises(TypeError, match="the array is on cuda:1, this process works on cuda:0"):
            group.all_reduce(mt.ones(2, device="cuda:1").data)
        with pytest.raises(TypeError, match="NCCL has no type for bool"):
            group.all_reduce(mt.ones(2, device="cuda:0", dtype=bool).data)
        with pytest.raises(ValueError, match="both have the GPU cuda:1"):
            NCCLGroup(Two(), "cuda:1")
