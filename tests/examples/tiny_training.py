"""A training of a second: learn to write a word backwards.

As a program it is resumed from what it would leave if it were killed, at many moments, and each
time compared with a run that was left alone:

    python tests/examples/tiny_training.py FOLDER HOW_OFTEN
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
from toolkit.batches import Batches
from toolkit.settings import Training
from toolkit.trainer import Trainer

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn

VOCABULARY = 12
SETTINGS = dict(lr=1e-2, warmup=3, epochs=2, average=2, save_every=0.0, accumulate=2, seed=5)


class Model(nn.Module):
    """The mean of the source and the word so far, through a layer with dropout."""

    def __init__(self):
        self.table = nn.Embedding(VOCABULARY, 8)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(8, VOCABULARY)

    def forward(self, source, target):
        context = self.table(source).mean(axis=1, keepdims=True)
        return self.output(self.dropout(self.table(target) + context))


class Task:
    """What the trainer asks of a task."""

    def __init__(self, seed=5):
        mt.random.seed(seed)
        self.model = Model()
        words = np.random.default_rng(0).integers(3, VOCABULARY, (40, 6))
        sources = [word[: 2 + i % 5].tolist() for i, word in enumerate(words)]
        self.batches = Batches(sources, [word[::-1] for word in sources], max_tokens=40, seed=seed)

    def epoch(self, number):
        return self.batches.epoch(number)

    def loss(self, batch, divide_by):
        logits = self.model(mt.asarray(batch.source), mt.asarray(batch.target_in))
        return F.cross_entropy(logits, mt.asarray(batch.target_out), ignore_index=0, reduction="sum") / divide_by

    def validate(self):
        return {"validation_loss": sum(self.loss(batch, batch.tokens).item() for batch in self.batches.epoch(0))}


def train(folder, **changes):
    """Run, or go on with, the training in ``folder``."""
    folder.mkdir(exist_ok=True)
    return Trainer(Task(), Training(**{**SETTINGS, **changes}), folder).run()


def traces(folder):
    """All that a run leaves, but for what the clock says."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    state = mt.load(folder / "checkpoints" / "last.safetensors")
    state["position"].pop("seconds")
    weights = {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*.safetensors"))
        if path.name != "last.safetensors"
    }
    return (
        [{key: value for key, value in record.items() if key != "seconds"} for record in log],
        repr(flat(state)),
        weights,
    )


def flat(state):
    """Nested state with arrays as bytes, so that it can be compared."""
    if isinstance(state, dict):
        return {key: flat(value) for key, value in state.items()}
    return state.data.tobytes() if isinstance(state, mt.Tensor) else state


def in_a_child(work, *arguments):
    """Call ``work`` in a forked process; returns whether it came to its end."""
    child = os.fork()
    if not child:
        work(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def counting(folder):
    """Train while counting function calls, and note at which of them a file is touched."""
    count, touching = 0, []

    def watch(frame, event, argument):
        nonlocal count
        count += 1
        if event == "c_call" and argument.__name__ in (
            "fsync",
            "replace",
            "unlink",
            "truncate",
            "write",
            "open",
            "close",
        ):
            touching.extend((count, count + 1))

    sys.setprofile(watch)
    train(folder)
    sys.setprofile(None)
    (folder / "calls.json").write_text(json.dumps([count, touching]), encoding="utf-8")


def photographed(folder, moments):
    """Train, and at certain function calls copy the folder to beside it, by the number of the call:
    what is in it then is all that a process killed at that call would leave.
    """
    count = 0

    def watch(frame, event, argument):
        nonlocal count
        count += 1
        if count in moments and folder.exists():
            shutil.copytree(folder, folder.parent / str(count))

    sys.setprofile(watch)
    train(folder)
    sys.setprofile(None)


def main(folder, kills):
    """Two of three moments are at a call that touches a file or right after it."""
    reference = folder / "reference"
    assert in_a_child(counting, reference)
    total, touching = json.loads((reference / "calls.json").read_text(encoding="utf-8"))
    draw = random.Random(0)
    at_files = min(len(touching), kills - kills // 3)
    moments = draw.sample(touching, at_files) + draw.sample(range(1, total), kills - at_files)
    assert in_a_child(photographed, folder / "whole", frozenset(moments))
    expected = traces(reference)
    assert traces(folder / "whole") == expected
    left = [moment for moment in moments if (folder / str(moment)).exists()]
    assert len(left) > 0.8 * kills  # a process killed at one of the others leaves nothing: it goes on from the start
    for moment in moments:
        run = folder / str(moment)
        assert in_a_child(train, run)
        assert traces(run) == expected, f"killed at call {moment} of {total}"
    print(f"{len(moments)} runs, all alike")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
