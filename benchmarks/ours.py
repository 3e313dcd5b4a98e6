"""The work of ``cases.py`` in minitensor."""

from __future__ import annotations

import math

import numpy as np
from cases import ADAM_SHAPES, CHARACTERS

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import namespace
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.search import greedy
from minitensor.models.transformer import Transformer, TransformerConfig


class _Work:
    """What is timed, on a device."""

    def __init__(self, device):
        self.device = device

    def wait(self):
        """Until the device has done all that it was given."""
        namespace(self.device).synchronize()

    def capture(self):
        """From now on ``run`` is the launch of a CUDA graph."""
        self.run = mt.cuda_graph(self.run)
        for _ in range(3):  # two as it is written, and the one that is captured
            self.run()

    def values(self):
        """The result of a run as an array."""
        return self.run().to("cpu").numpy()


class Chain(_Work):
    """900 small ops."""

    def __init__(self, dtype, device):
        super().__init__(device)
        self.arrays = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(dtype) * 0.5

    def take_weights(self, other):
        """There are none."""

    def run(self):
        """Forward and backward; the gradient of w."""
        h, w, x = (mt.tensor(a, device=self.device, requires_grad=True) for a in self.arrays)
        y = h
        for _ in range(300):
            y = mt.tanh(y * w + x)
        y.sum().backward()
        return w.grad


class _Differentiated(_Work):
    """A module on one input, forward and backward from a given gradient; the result is the gradient
    of the input.
    """

    def __init__(self, module, data, device):
        super().__init__(device)
        self.module = module.astype(data.dtype).to(device)
        self.x, self.g = (mt.tensor(a, device=device) for a in data)
        self.x.requires_grad_()

    def take_weights(self, other):
        """Those of the same work in PyTorch."""
        self.module.load_state_dict(_arrays(other.module))

    def output(self):
        return self.module(self.x)

    def run(self):
        self.module.zero_grad()
        self.x.grad = None
        self.output().backward(self.g)
        return self.x.grad


class Layer(_Differentiated):
    """One post-norm encoder layer."""

    def __init__(self, dtype, device, batch, length, d_model, n_heads, d_ff, dropout):
        data = np.random.default_rng(0).normal(size=(2, batch, length, d_model)).astype(dtype)
        super().__init__(nn.TransformerEncoderLayer(d_model, n_heads, d_ff, dropout=dropout), data, device)


class Recurrent(_Differentiated):
    """One recurrent layer over whole sequences."""

    def __init__(self, dtype, device, layer, batch, steps, size):
        data = np.random.default_rng(0).normal(size=(2, batch, steps, size)).astype(dtype)
        super().__init__(getattr(nn, layer)(size, size), data, device)

    def output(self):
        return self.module(self.x)[0]


class Causal(_Work):
    """Attention of each position to those before it, forward and backward."""

    def __init__(self, dtype, device, batch, n_heads, length, features):
        super().__init__(device)
        data = np.random.default_rng(0).normal(size=(4, batch, n_heads, length, features)).astype(dtype)
        *self.inputs, self.g = (mt.tensor(a, device=device) for a in data)
        for x in self.inputs:
            x.requires_grad_()

    def take_weights(self, other):
        """There are none."""

    def run(self):
        """The gradient of the query; those of key and value stay with them."""
        for x in self.inputs:
            x.grad = None
        F.scaled_dot_product_attention(*self.inputs, is_causal=True).backward(self.g)
        return self.inputs[0].grad

    def values(self):
        """All three gradients."""
        self.run()
        return np.stack([x.grad.to("cpu").numpy() for x in self.inputs])


class Adam(_Work):
    """The update of many parameters by gradients that are there; ``fused`` is for PyTorch alone."""

    def __init__(self, dtype, device, fused):
        super().__init__(device)
        rng = np.random.default_rng(0)
        start, slope = ([rng.normal(size=shape).astype(dtype) for shape in ADAM_SHAPES] for _ in range(2))
        self.parameters = [nn.Parameter(mt.tensor(a, device=device)) for a in start]
        self.adam = optim.Adam(self.parameters, lr=1e-2)
        for parameter, g in zip(self.parameters, slope):
            (parameter * mt.tensor(g, device=device)).sum().backward()

    def take_weights(self, other):
        """Both start from the same."""

    def run(self):
        self.adam.step()
        return self.parameters[0]

    def values(self):
        """All parameters after three steps."""
        for _ in range(3):
            self.run()
        return np.concatenate([parameter.detach().to("cpu").numpy().reshape(-1) for parameter in self.parameters])


class _Trained(_Work):
    """A training step; the result is the loss."""

    def __init__(self, model, dtype, device, ids):
        super().__init__(device)
        self.ids = [mt.tensor(part, device=device) for part in ids]
        self.model = model.astype(dtype).to(device)
        self.adam = optim.Adam(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98))

    def run(self):
        self.adam.zero_grad()
        loss = self.loss()
        loss.backward()
        optim.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        return loss

    def values(self):
        """The losses of two steps: the second depends on the gradients and the update too."""
        return np.array([self.run().to("cpu").numpy() for _ in range(2)])


class Step(_Trained):
    """A training step of the encoder-decoder."""

    def __init__(
        self, dtype, device, d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, dropout, shared=False
    ):
        config = _translator(d_model, n_heads, n_layers, d_ff, vocab_size, dropout, shared)
        ids = np.random.default_rng(0).integers(3, vocab_size, size=(3, batch, length))
        super().__init__(Transformer(config), dtype, device, ids)

    def loss(self):
        return self.model.loss(*self.ids, divide_by=self.ids[2].size)

    def take_weights(self, other):
        """Those of the same work in PyTorch."""
        state = _arrays(other.model)
        names = {"source.": "source_embedding.", "target.": "target_embedding.", "output.": "output."}
        for theirs, mine in names.items():
            getattr(self.model, mine[:-1]).weight.assign(state[f"{theirs}weight"])
        for stack in ("encoder", "decoder"):
            start = f"body.{stack}."
            part = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
            getattr(self.model, stack).load_state_dict(part)


class Decode(_Work):
    """Greedy decoding of sentences that do not stop, with a cache or by running the decoder on all
    words so far; the result is the words.
    """

    def __init__(
        self, dtype, device, d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, tokens, cached
    ):  # fmt: skip
        super().__init__(device)
        config = _translator(d_model, n_heads, n_layers, d_ff, vocab_size, dropout=0.0, shared=False)
        mt.random.seed(0)
        self.model = Transformer(config).astype(dtype).to(device).eval()
        ids = np.random.default_rng(0).integers(3, vocab_size, size=(batch, length))
        self.source, self.tokens, self.cached = mt.tensor(ids, device=device), tokens, cached

    def run(self):
        model, start = self.model, [self.model.config.start_id] * len(self.source)
        with mt.no_grad():
            if self.cached:
                return greedy(model.step, model.start(self.source), start, (), self.tokens)
            return greedy(self._again, _Words(model.encode(self.source)), start, (), self.tokens)

    def _again(self, ids, words):
        """As ``Transformer.step``, but without a cache."""
        words.ids = np.concatenate([words.ids, ids[:, None]], axis=1)
        model, ids = self.model, mt.tensor(words.ids, device=self.device)
        x = model.target_positions(model.target_embedding(ids) * math.sqrt(model.config.d_model))
        return F.log_softmax(model.output(model.decoder(x, words.memory)[:, -1]))

    def values(self):
        """The words (B, T)."""
        return np.array(self.run())


class _Words:
    """A memory (B, S, D), and the words so far."""

    def __init__(self, memory):
        self.memory, self.ids = memory, np.empty((len(memory), 0), np.int64)

    def reorder(self, rows):
        """Keep these rows."""
        self.memory, self.ids = self.memory[rows], self.ids[rows]


class Characters(_Trained):
    """A training step of a GPT."""

    def __init__(self, dtype, device, d_model, n_heads, n_layers, batch, length):
        config = GPTConfig(
            CHARACTERS, length, d_model, n_layers, n_heads, dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0
        )
        ids = np.random.default_rng(0).integers(0, CHARACTERS, size=(2, batch, length))
        super().__init__(GPT(config), dtype, device, ids)

    def loss(self):
        return self.model.loss(*self.ids, divide_by=self.ids[1].size)

    def take_weights(self, other):
        """Those of the same work in PyTorch."""
        state = _arrays(other.model)
        for table in ("tokens", "positions"):
            getattr(self.model, table).weight.assign(state[f"{table}.weight"])
        part = {name.removeprefix("body."): value for name, value in state.items() if name.startswith("body.")}
        self.model.transformer.load_state_dict(part)


def _translator(d_model, n_heads, n_layers, d_ff, vocab_size, dropout, shared):
    """shared: one table for source, target and output; otherwise three."""
    return TransformerConfig(
        vocab_size, d_model=d_model, n_heads=n_heads, n_encoder_layers=n_layers, n_decoder_layers=n_layers, d_ff=d_ff,
        dropout=dropout, share_embeddings=shared, tie_output=shared, pad_id=0,
    )  # fmt: skip


def _arrays(module):
    """The weights of a module of PyTorch's as arrays."""
    return {name: value.cpu().numpy() for name, value in module.state_dict().items()}
