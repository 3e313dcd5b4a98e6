"""The work of ``cases.py`` in minitensor."""

from __future__ import annotations

import numpy as np
from cases import BATCH, CHARACTERS

import minitensor as mt
from minitensor import nn, optim
from minitensor.backend import namespace
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.transformer import Transformer, TransformerConfig


class _Work:
    """What is timed, on a device."""

    def __init__(self, device):
        self.device = device

    def wait(self):
        """Until the device has done all that it was given."""
        namespace(self.device).synchronize()

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

    def __init__(self, dtype, device, dropout):
        data = np.random.default_rng(0).normal(size=(2, 32, 32, 512)).astype(dtype)
        super().__init__(nn.TransformerEncoderLayer(512, 8, 2048, dropout=dropout), data, device)


class Recurrent(_Differentiated):
    """One recurrent layer over whole sequences."""

    def __init__(self, dtype, device, layer, steps, size):
        data = np.random.default_rng(0).normal(size=(2, BATCH, steps, size)).astype(dtype)
        super().__init__(getattr(nn, layer)(size, size), data, device)

    def output(self):
        return self.module(self.x)[0]


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


class Step(_Trained):
    """A training step of the encoder-decoder."""

    def __init__(self, dtype, device, d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, dropout):
        config = TransformerConfig(
            vocab_size, d_model=d_model, n_heads=n_heads, n_encoder_layers=n_layers, n_decoder_layers=n_layers, d_ff=d_ff,
            dropout=dropout, share_embeddings=False, tie_output=False, pad_id=0,
        )  # fmt: skip
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


def _arrays(module):
    """The weights of a module of PyTorch's as arrays."""
    return {name: value.cpu().numpy() for name, value in module.state_dict().items()}
