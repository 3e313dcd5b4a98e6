"""The work that is timed: the same on either side, float32 in training mode, forward and backward
(and, for a step, the update).

``make(name, program)`` imports one library alone, so that the process of one never loads the other.
On a GPU weights, inputs and ids lie there from the start, and a result stays there: what is timed
ends with ``wait()``, not with a copy.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ADAM_SHAPES", "CASES", "CHARACTERS", "PEERS", "PROGRAMS", "Case", "make"]


@dataclass(frozen=True)
class Case:
    """What to run: ``kind`` is a class of ``ours.py`` and ``theirs.py``, ``options`` are its
    arguments, ``title`` says it in words.

    small: changes to the options with which results are compared in float64, where the work itself
    is much for that. against: changes that make the work to compare with, in minitensor
    too; default: the same work in PyTorch. measure: "time" or "memory".
    """

    title: str
    kind: str
    options: dict[str, Any]
    small: dict[str, Any] = field(default_factory=dict)
    against: dict[str, Any] = field(default_factory=dict)
    measure: str = "time"


CHARACTERS = 65  # of tinyshakespeare
ADAM_SHAPES = [(576, 576), (1536,)] * 30  # 10 million parameters in 60 tensors
STEP = dict(d_model=256, n_heads=8, n_layers=3, d_ff=1024, vocab_size=8000, batch=64, length=24)
TINY = dict(d_model=128, n_heads=4, n_layers=4, d_ff=256, vocab_size=10_000, batch=128, length=16, shared=True)
TOY = dict(d_model=128, n_heads=4, n_layers=2, d_ff=512, vocab_size=300, batch=64, length=12)
LAYER = dict(batch=32, length=32, d_model=512, n_heads=8, d_ff=2048)
LAYER_256 = dict(batch=8, length=256, d_model=384, n_heads=6, d_ff=1536)
LAYER_1024 = dict(batch=2, length=1024, d_model=512, n_heads=8, d_ff=2048)
CAUSAL = dict(batch=1, n_heads=8, length=4096, features=64)
DECODE = {name: STEP[name] for name in ("d_model", "n_heads", "n_layers", "d_ff", "vocab_size", "batch", "length")}
RECIPE = "dropout 0.1, label smoothing 0.1, clipping, Adam"

CASES = {
    "step": Case(
        "training step of an encoder-decoder: d 256, 8 heads, 3 + 3 layers, feed-forward 1024, vocabulary 8 000, 64 pairs of 24 "
        f"tokens, {RECIPE}", "Step", STEP | dict(dropout=0.1), small=dict(batch=8),
    ),
    "tiny": Case(
        "such a step: d 128, 4 heads, 4 + 4 layers, feed-forward 256, vocabulary 10 000 with one table for source, target and "
        "output, 128 pairs of 16 tokens", "Step", TINY | dict(dropout=0.1), small=dict(batch=16),
    ),
    "toy": Case(
        "such a step: d 128, 4 heads, 2 + 2 layers, feed-forward 512, vocabulary 300, 64 pairs of 12 tokens", "Step",
        TOY | dict(dropout=0.1),
    ),
    "layer-no-dropout": Case(
        "encoder layer (32, 32, 512), 8 heads, feed-forward 2048, no dropout", "Layer", LAYER | dict(dropout=0.0)
    ),
    "layer": Case("encoder layer (32, 32, 512), dropout 0.1", "Layer", LAYER | dict(dropout=0.1)),
    "layer-256-no-dropout": Case(
        "encoder layer (8, 256, 384), 6 heads, feed-forward 1536, no dropout", "Layer", LAYER_256 | dict(dropout=0.0)
    ),
    "layer-256": Case("encoder layer (8, 256, 384), dropout 0.1", "Layer", LAYER_256 | dict(dropout=0.1)),
    "layer-1024-no-dropout": Case(
        "encoder layer (2, 1024, 512), 8 heads, feed-forward 2048, no dropout", "Layer", LAYER_1024 | dict(dropout=0.0)
    ),
    "layer-1024": Case("encoder layer (2, 1024, 512), dropout 0.1", "Layer", LAYER_1024 | dict(dropout=0.1)),
    "gpt": Case(
        "training step of a GPT on characters: 6 layers, d 384, 6 heads, 4 x 256 tokens, no dropout, Adam", "Characters",
        dict(d_model=384, n_heads=6, n_layers=6, batch=4, length=256), small=dict(batch=1),
    ),
    "gpt-small": Case(
        "a smaller GPT: 4 layers, d 128, 4 heads, 12 x 64 tokens", "Characters",
        dict(d_model=128, n_heads=4, n_layers=4, batch=12, length=64),
    ),
    "lstm": Case("LSTM 64 x 32 x 256: sequences, steps, features", "Recurrent", dict(layer="LSTM", batch=64, steps=32, size=256)),
    "lstm-large": Case("LSTM 64 x 64 x 512", "Recurrent", dict(layer="LSTM", batch=64, steps=64, size=512)),
    "lstm-long": Case("LSTM 16 x 128 x 128", "Recurrent", dict(layer="LSTM", batch=16, steps=128, size=128)),
    "gru": Case("GRU 64 x 32 x 256", "Recurrent", dict(layer="GRU", batch=64, steps=32, size=256)),
    "rnn": Case("RNN 64 x 32 x 256", "Recurrent", dict(layer="RNN", batch=64, steps=32, size=256)),
    "chain": Case("900 small ops on (4, 4) arrays: h = tanh(h * w + x) 300 times", "Chain", {}),
    "causal": Case(
        "scaled_dot_product_attention(q, k, v, is_causal=True) on (1, 8, 4096, 64)", "Causal", CAUSAL, small=dict(length=600)
    ),
    "causal-memory": Case(
        "the work of causal: growth of the peak of resident memory in one call, in MB (a million bytes)", "Causal", CAUSAL,
        small=dict(length=600), measure="memory",
    ),
    "adam": Case("Adam on 10 million parameters in 60 tensors, against torch.optim.Adam as it comes", "Adam", dict(fused=False)),
    "adam-fused": Case("the work of adam against torch.optim.Adam(fused=True)", "Adam", dict(fused=True)),
    "decode": Case(
        "greedy decoding of 64 sentences x 30 tokens by the model of step, with a cache of keys and values; compared with our own "
        "decoding that runs the decoder on all words so far each time", "Decode", DECODE | dict(tokens=30, cached=True),
        small=dict(d_model=32, vocab_size=50, batch=3, tokens=9), against=dict(cached=False),
    ),
}  # fmt: skip
PEERS = ("step", "layer", "layer-256", "layer-1024")  # compared with torch.compile and jax.jit too
PROGRAMS = {
    "plain": "ours",
    "fast": "ours",
    "graph": "ours",
    "torch": "theirs",
    "compiled": "theirs",
    "jax": "peers_jax",
}


def make(name, program, dtype="float32", device="cpu", **changes):
    """The work of a case in a program ("plain", "fast" or, on a GPU, "graph" for minitensor,
    "torch", "compiled" for torch.compile, "jax"), with ``changes`` to its options.

    ``run()`` does it, ``wait()`` waits until the device has, and ``values()`` does it and returns
    the result as an array. Whether minitensor is plain or fast is said by MINITENSOR_FAST.
    """
    module = importlib.import_module(PROGRAMS[program])
    work = getattr(module, CASES[name].kind)(dtype=dtype, device=device, **(CASES[name].options | changes))
    if program == "compiled":
        work.compile()
    if program == "graph":
        work.capture()
    return work
