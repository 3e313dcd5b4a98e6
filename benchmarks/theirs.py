"""The work of ``cases.py`` in PyTorch, on ``torch.nn``: eager, and by ``compile()`` with the model
compiled by ``torch.compile``. Clipping and the optimiser stay eager there, as users have them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from cases import ADAM_SHAPES, CHARACTERS

torch.manual_seed(0)


class _Work:
    """What is timed, on a device."""

    def __init__(self, device):
        self.device = device

    def wait(self):
        """Until the device has done all that it was given."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def values(self):
        """The result of a run as an array."""
        return self.run().detach().cpu().numpy()


class Chain(_Work):
    """900 small ops."""

    def __init__(self, dtype, device):
        super().__init__(device)
        self.arrays = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(dtype) * 0.5

    def run(self):
        """Forward and backward; the gradient of w."""
        h, w, x = (torch.tensor(a, device=self.device, requires_grad=True) for a in self.arrays)
        y = h
        for _ in range(300):
            y = torch.tanh(y * w + x)
        y.sum().backward()
        return w.grad


class _Differentiated(_Work):
    """A module on one input, forward and backward from a given gradient; the result is the gradient
    of the input.
    """

    def __init__(self, module, data, device):
        super().__init__(device)
        self.x, self.g = (torch.tensor(a, device=device) for a in data)
        self.x.requires_grad_()
        self.module = module.to(device, self.x.dtype)

    def take_weights(self, other):
        """Those of the same work, not compiled."""
        self.module.load_state_dict(other.module.state_dict())

    def compile(self):
        """From now on by ``torch.compile``."""
        self.module = torch.compile(self.module)

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
        layer = torch.nn.TransformerEncoderLayer(d_model, n_heads, d_ff, dropout=dropout, batch_first=True)
        super().__init__(layer, data, device)


class Recurrent(_Differentiated):
    """One recurrent layer over whole sequences."""

    def __init__(self, dtype, device, layer, batch, steps, size):
        data = np.random.default_rng(0).normal(size=(2, batch, steps, size)).astype(dtype)
        super().__init__(getattr(torch.nn, layer)(size, size, batch_first=True), data, device)

    def output(self):
        return self.module(self.x)[0]


class Causal(_Work):
    """Attention of each position to those before it, forward and backward."""

    def __init__(self, dtype, device, batch, n_heads, length, features):
        super().__init__(device)
        data = np.random.default_rng(0).normal(size=(4, batch, n_heads, length, features)).astype(dtype)
        *self.inputs, self.g = (torch.tensor(a, device=device) for a in data)
        for x in self.inputs:
            x.requires_grad_()

    def run(self):
        """The gradient of the query; those of key and value stay with them."""
        for x in self.inputs:
            x.grad = None
        F.scaled_dot_product_attention(*self.inputs, is_causal=True).backward(self.g)
        return self.inputs[0].grad

    def values(self):
        """All three gradients."""
        self.run()
        return np.stack([x.grad.cpu().numpy() for x in self.inputs])


class Adam(_Work):
    """The update of many parameters by gradients that are there. fused: by one kernel; otherwise as
    PyTorch chooses, which on the CPU is a loop over the tensors.
    """

    def __init__(self, dtype, device, fused):
        super().__init__(device)
        rng = np.random.default_rng(0)
        start, slope = ([rng.normal(size=shape).astype(dtype) for shape in ADAM_SHAPES] for _ in range(2))
        self.parameters = [torch.nn.Parameter(torch.tensor(a, device=device)) for a in start]
        self.adam = torch.optim.Adam(self.parameters, lr=1e-2, **({"fused": True} if fused else {}))
        for parameter, g in zip(self.parameters, slope):
            parameter.grad = torch.tensor(g, device=device)

    def run(self):
        self.adam.step()
        return self.parameters[0]

    def values(self):
        """All parameters after three steps."""
        for _ in range(3):
            self.run()
        return np.concatenate([parameter.detach().cpu().numpy().reshape(-1) for parameter in self.parameters])


class _Trained(_Work):
    """A training step; the result is the loss."""

    def __init__(self, model, dtype, device, ids):
        super().__init__(device)
        self.ids = [torch.tensor(part, device=device) for part in ids]
        self.model = model.to(device, getattr(torch, dtype))
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98))

    def take_weights(self, other):
        """Those of the same work, not compiled."""
        self.model.load_state_dict(other.model.state_dict())

    def compile(self):
        """From now on by ``torch.compile``: the model and the loss."""
        self.loss = torch.compile(self.loss)

    def run(self):
        self.adam.zero_grad()
        loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        return loss

    def values(self):
        """The losses of two steps: the second depends on the gradients and the update too."""
        return np.array([self.run().detach().cpu().numpy() for _ in range(2)])


class Step(_Trained):
    """A training step of the encoder-decoder."""

    def __init__(
        self, dtype, device, d_model, n_heads, n_layers, d_ff, vocab_size, batch, length, dropout, shared=False
    ):
        ids = np.random.default_rng(0).integers(3, vocab_size, size=(3, batch, length))
        model = _Translator(d_model, n_heads, n_layers, d_ff, vocab_size, length, dropout, shared)
        super().__init__(model, dtype, device, ids)

    def loss(self):
        source, target, words = self.ids
        logits = self.model(source, target)
        return F.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=0, label_smoothing=0.1)


class Characters(_Trained):
    """A training step of a GPT."""

    def __init__(self, dtype, device, d_model, n_heads, n_layers, batch, length):
        ids = np.random.default_rng(0).integers(0, CHARACTERS, size=(2, batch, length))
        super().__init__(_GPT(d_model, n_heads, n_layers, length), dtype, device, ids)

    def loss(self):
        ids, following = self.ids
        return F.cross_entropy(self.model(ids).flatten(0, 1), following.flatten())


class _Translator(torch.nn.Module):
    """An encoder-decoder on ``torch.nn.Transformer``, post-norm and without norms at the ends, as
    in the paper. shared: one table for source, target and output.
    """

    def __init__(self, d_model, n_heads, n_layers, d_ff, vocab_size, length, dropout, shared):
        super().__init__()
        self.scale = d_model**0.5
        self.source = torch.nn.Embedding(vocab_size, d_model, padding_idx=0)
        self.target = self.source if shared else torch.nn.Embedding(vocab_size, d_model, padding_idx=0)
        for table in (self.source, self.target):  # elements of variance 1 after the scaling
            torch.nn.init.normal_(table.weight, std=1 / self.scale)
        self.body = torch.nn.Transformer(d_model, n_heads, n_layers, n_layers, d_ff, dropout, batch_first=True)
        self.body.encoder.norm = self.body.decoder.norm = None
        self.output = torch.nn.Linear(d_model, vocab_size, bias=False)
        if shared:
            self.output.weight = self.target.weight
        self.dropout = torch.nn.Dropout(dropout)
        self.register_buffer("positions", _waves(length, d_model), persistent=False)
        self.register_buffer("causal", _causal(length), persistent=False)

    def embed(self, ids, table):
        """Scaled embeddings plus positions, with dropout."""
        return self.dropout(table(ids) * self.scale + self.positions)

    def forward(self, source, target):
        """Logits of the word after each target word."""
        words = self.embed(source, self.source), self.embed(target, self.target)
        return self.output(self.body(*words, tgt_mask=self.causal, tgt_is_causal=True))


class _GPT(torch.nn.Module):
    """A GPT on ``torch.nn.TransformerEncoder``: learned positions, pre-norm, tanh-GELU, the output
    tied to the embeddings.
    """

    def __init__(self, d_model, n_heads, n_layers, length):
        super().__init__()
        self.tokens = torch.nn.Embedding(CHARACTERS, d_model)
        self.positions = torch.nn.Embedding(length, d_model)
        layer = torch.nn.TransformerEncoderLayer(
            d_model,
            n_heads,
            4 * d_model,
            dropout=0.0,
            activation=torch.nn.GELU("tanh"),
            batch_first=True,
            norm_first=True,
        )
        norm = torch.nn.LayerNorm(d_model)
        self.body = torch.nn.TransformerEncoder(layer, n_layers, norm, enable_nested_tensor=False)
        torch.nn.init.normal_(self.tokens.weight, std=0.02)
        self.register_buffer("causal", _causal(length), persistent=False)

    def forward(self, ids):
        """Logits of the next character."""
        x = self.tokens(ids) + self.positions.weight
        return F.linear(self.body(x, mask=self.causal, is_causal=True), self.tokens.weight)


def _causal(length):
    return torch.nn.Transformer.generate_square_subsequent_mask(length)


def _waves(length, d_model):
    """Sinusoidal positions (T, D): sines at even places, cosines at odd ones."""
    rates = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float64) * (-math.log(10_000.0) / d_model))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
