"""Two small models with dropout that learn to write words backwards, for one process or many.

Run by ``mpiexec`` (or by itself, as one process, or with ``--pipes N`` as N without MPI):

    python tests/ranks/tiny.py [--pipes N] WHAT FOLDER [ARGUMENTS]

brief      what processes say to each other, and 6 updates of each model, by all and by each alone,
           and of one in float16
steps      24 updates of each model, with and without accumulation, and the first gradients; to
           FOLDER/<ranks>.npz
run        a run of the trainer in FOLDER; --die RANK UPDATE, --stop RANK UPDATE, --fail RANK UPDATE
group      what processes say to each other
mixing     a model that mixes the rows of a batch
agreement  weights that are no longer equal, and other models on other ranks
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [folder for folder in (str(ROOT), str(ROOT / "examples")) if folder not in sys.path]


from toolkit import console  # noqa: E402
from toolkit.batches import Batches  # noqa: E402
from toolkit.ranks import together  # noqa: E402
from toolkit.settings import Training  # noqa: E402
from toolkit.trainer import Trainer  # noqa: E402

import minitensor as mt  # noqa: E402
from minitensor import distributed, nn  # noqa: E402
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig  # noqa: E402
from minitensor.models.transformer import Transformer, TransformerConfig  # noqa: E402
from tests.ranks import forked  # noqa: E402

VOCABULARY, STEPS = 12, 24
SHARED = dict(
    vocab_size=VOCABULARY, d_model=8, dropout=0.2, max_length=20, label_smoothing=0.1, pad_id=0, start_id=1, stop_id=2
)
SETTINGS = dict(lr=1e-2, warmup=3, clip=0.5, seed=5)


def transformer():
    layers = dict(n_encoder_layers=1, n_decoder_layers=1, n_heads=2, d_ff=12)
    return Transformer(TransformerConfig(**SHARED, **layers))


def lstm():
    return Seq2Seq(Seq2SeqConfig(cell="lstm", attention="additive", n_layers=2, hidden_size=8, **SHARED))


class Task:
    """What the trainer asks of a task; the last batch of an epoch has a sentence or two."""

    def __init__(self, make, dtype="float64"):
        mt.random.seed(5)
        self.model = make().astype(dtype)
        words = np.random.default_rng(0).integers(3, VOCABULARY, (34, 18))
        sources = [word[: 2 + i % 5].tolist() for i, word in enumerate(words)] + [words[0].tolist()]
        self.batches = Batches(sources, [word[::-1] for word in sources], max_tokens=50, seed=5)

    def epoch(self, number):
        return self.batches.epoch(number)

    def loss(self, batch, divide_by):
        return self.model.loss(batch.source, batch.target_in, batch.target_out, batch.source_mask, divide_by=divide_by)

    def validate(self):
        return {"validation_loss": sum(self.loss(batch, batch.tokens).item() for batch in self.batches.epoch(0))}


def steps(make, accumulate, group, folder, dtype="float64", count=STEPS):
    """``(losses, gradients of the first update, weights at the end)`` of a training."""
    task = Task(make, dtype)
    trainer = Trainer(task, Training(**SETTINGS, accumulate=accumulate, steps=count), folder, group)
    first, step = [], trainer.optimizer.step

    def stepping():
        if not first:
            first.extend(p.grad.numpy().copy().reshape(-1) for p in trainer.parameters)
        step()

    trainer.optimizer.step = stepping
    task.model.train()
    batches = [batch for number in range(count) for batch in task.epoch(number)[:]][:count]
    losses = [trainer.update(batch) for batch in batches]
    return losses, np.concatenate(first), np.concatenate([p.data.reshape(-1) for p in trainer.parameters])


def all_steps(group, folder):
    found = {}
    for make in (transformer, lstm):
        for accumulate in (1, 3):
            values = steps(make, accumulate, group, folder / "none")
            found |= {f"{make.__name__} {accumulate} {i}": value for i, value in enumerate(values)}
    if group.rank == 0:
        np.savez(folder / f"{group.size}.npz", **found)


def brief(group, folder):
    talk(group, folder)
    for make in (transformer, lstm):
        many, one = (steps(make, 2, which, folder / "none", count=6)[0] for which in (group, distributed.Group()))
        assert len(many) == 6 and np.allclose(many, one, rtol=1e-12, atol=0), (many, one)
    (many, there), (one, here) = (in_16_bits(which, folder / "none") for which in (group, distributed.Group()))
    assert there == here and 0 < here["skipped"] < 12 and np.allclose(many, one, rtol=3e-3, atol=0), (
        many,
        there,
        one,
        here,
    )


def in_16_bits(group, folder, count=12):
    """``(losses, state of the scaler)`` of updates in float16; the first overflow, and are
    skipped.
    """
    task = Task(transformer, "float32")
    trainer = Trainer(task, Training(**SETTINGS, precision="float16", steps=count), folder, group)
    trainer.scaler = mt.optim.GradScaler(2.0**22)
    task.model.train()
    batches = [batch for number in range(count) for batch in task.epoch(number)[:]][:count]
    return [trainer.update(batch) for batch in batches], trainer.scaler.state_dict()


def run(group, folder, *arguments):
    """A run of the trainer, in which a rank may come to grief."""
    what, rank, update = (*arguments, "", "-1", "-1")[:3]
    folder.mkdir(exist_ok=True)
    settings = Training(**SETTINGS, epochs=4, save_every=0.0)
    trainer = Trainer(Task(transformer), settings, folder, group)
    make_step = trainer.update

    def updating(batch):
        if group.rank == int(rank) and trainer.position.step == int(update):
            if what == "--die":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "--stop":
                os.kill(os.getpid(), signal.SIGTERM)
            if what == "--fail":
                raise ValueError("a fault of this rank alone")
            if what == "--refuse":
                raise console.UserError("a file is missing here")
        if what == "--diverge" and trainer.position.step == int(update):
            for p in trainer.parameters:
                p.assign(p.data * np.inf)
        return make_step(batch)

    trainer.update = updating
    outcome = trainer.run()
    print(f"ended: {outcome.reason}")
    sys.stderr.write(f"rank {group.rank}: signal {outcome.signal} at {outcome.position.step}\n")
    return 0


def talk(group, folder):
    """What processes say to each other."""
    rank, size = group.rank, group.size
    for dtype in ("float32", "float64", "int64"):
        x = np.full((3, 2), rank + 1, dtype=dtype)
        group.all_reduce(x)
        assert (x == size * (size + 1) // 2).all() and x.dtype == dtype
    for dtype in ("float16", "float32", "bool"):
        x = np.full((2, 2), rank == size - 1, dtype=dtype)
        group.broadcast(x, root=size - 1)
        assert x.all()
    assert group.gather({"rank": rank}) == [{"rank": i} for i in range(size)]
    assert group.share([rank], root=1) == [1]
    assert group.sum([1, rank / 4]) == [size, sum(range(size)) / 4]
    for wrong, error in (
        (np.zeros(2, "float16"), TypeError),
        (np.zeros((4, 4)).T[:2], ValueError),
        (mt.zeros(2), TypeError),
    ):
        try:
            group.all_reduce(wrong)
        except error:
            continue
        raise AssertionError(wrong)
    group.barrier()
    weight = mt.nn.Parameter(mt.full((3,), float(rank)))
    absent, one = mt.nn.Parameter(mt.zeros(2)), mt.nn.Parameter(mt.zeros(2))
    optimizer = mt.optim.Adam([weight, absent, one], lr=0.1)
    one.grad = mt.ones(2)  # what an update before left in the flat buffer
    optimizer.step()
    optimizer.zero_grad()
    distributed.share_parameters([weight], group)
    assert (weight.data == 0).all()
    (weight * (rank + 1.0)).sum().backward()
    if rank == size - 1:
        (one * 3.0).sum().backward()
    assert distributed.sum_gradients(optimizer, group, [2.0]) == [2.0 * size]
    assert (weight.grad.data == size * (size + 1) / 2).all()
    assert absent.grad is None and (one.grad.data == 3).all()
    print("said")


class Mixing(nn.Module):
    """A model whose rows are centred by the mean of the batch."""

    def __init__(self):
        self.inner, self.norm = transformer(), BatchNorm()

    def loss(self, source, target_in, target_out, mask, divide_by):
        logits = self.norm(self.inner(source, target_in, mask))
        return nn.functional.cross_entropy(logits, mt.asarray(target_out), ignore_index=0, reduction="sum") / divide_by


class BatchNorm(nn.Module):
    def forward(self, x):
        return 30 * (x - x.mean(axis=0, keepdims=True))


def mixing(group, folder):
    folder.mkdir(exist_ok=True)
    Trainer(Task(Mixing), Training(**SETTINGS, steps=3), folder, group).run()


def agreement(group, folder):
    weight = mt.nn.Parameter(mt.ones(4 if group.rank else 3))
    try:
        distributed.share_parameters([weight], group)
    except ValueError as error:
        print(error)
    weight = mt.nn.Parameter(mt.ones(3))
    distributed.check_agreement([weight], group)
    if group.rank == 1:
        weight.assign(weight.data + 1e-7)
    try:
        distributed.check_agreement([weight], group)
    except RuntimeError as error:
        print(error)


WORK = {"brief": brief, "steps": all_steps, "run": run, "group": talk, "mixing": mixing, "agreement": agreement}


def main():
    children = []
    if sys.argv[1] == "--pipes":
        children = forked.install(int(sys.argv[2]))
        del sys.argv[1:3]
    what, folder, *arguments = sys.argv[1:]
    group = distributed.join()
    with together(group):
        code = WORK[what](group, Path(folder), *arguments)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    return code


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("TMPDIR", scratch)
        sys.exit(console.run(main))
