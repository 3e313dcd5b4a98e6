"""minitensor against PyTorch eager: the same work in one process, taking turns, medians of the times and of the ratios.

    python benchmarks/against_pytorch.py                 all cases
    python benchmarks/against_pytorch.py chain step      some of them
    python benchmarks/against_pytorch.py --rounds 15 --write benchmarks/RESULTS.md

Every case computes in float32 in training mode, on the same numbers and with 2 threads for each library; the results of the two are
compared before anything is timed. A ratio below 1 means that minitensor is faster. Run it on a quiet machine. The setting of malloc
that minitensor makes (``minitensor/backend/heap.py``) holds for the whole process, so PyTorch profits from it here as well.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

THREADS = 2
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, str(THREADS))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as TF  # noqa: E402

import minitensor as mt  # noqa: E402
from minitensor import nn, optim  # noqa: E402
from models.transformer import Transformer, TransformerConfig  # noqa: E402

torch.set_num_threads(THREADS)


def chain(_dropout):
    """900 small ops, ``h = tanh(h * w + x)`` 300 times on (4, 4), forward and backward."""
    arrays = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32) * 0.5

    def ours():
        h, w, x = (mt.tensor(a, requires_grad=True) for a in arrays)
        y = h
        for _ in range(300):
            y = mt.tanh(y * w + x)
        y.sum().backward()
        return w.grad.numpy()

    def theirs():
        h, w, x = (torch.tensor(a, requires_grad=True) for a in arrays)
        y = h
        for _ in range(300):
            y = torch.tanh(y * w + x)
        y.sum().backward()
        return w.grad.numpy()

    return ours, theirs


def layer(dropout):
    """One post-norm encoder layer, forward and backward: input (32, 32, 512), 8 heads, feed-forward 2048."""
    torch.manual_seed(0)
    their_layer = torch.nn.TransformerEncoderLayer(512, 8, 2048, dropout=dropout, batch_first=True)
    our_layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=dropout)
    copy_encoder_layer(our_layer, their_layer)
    data = np.random.default_rng(0).normal(size=(2, 32, 32, 512)).astype(np.float32)
    our_x, our_g = mt.tensor(data[0], requires_grad=True), mt.tensor(data[1])
    their_x, their_g = torch.tensor(data[0], requires_grad=True), torch.tensor(data[1])

    def ours():
        our_layer.zero_grad()
        our_x.grad = None
        our_layer(our_x).backward(our_g)
        return our_x.grad.numpy()

    def theirs():
        their_layer.zero_grad()
        their_x.grad = None
        their_layer(their_x).backward(their_g)
        return their_x.grad.numpy()

    return ours, theirs


def step(dropout):
    """A training step of an encoder-decoder: d 256, 3 + 3 layers, feed-forward 1024, vocabulary 8 000, 64 pairs of 24 tokens.

    Forward, label-smoothed cross-entropy, backward, clipping to norm 1, Adam.
    """
    config = TransformerConfig(
        8000, d_model=256, n_heads=8, n_encoder_layers=3, n_decoder_layers=3, d_ff=1024, dropout=dropout, share_embeddings=False,
        tie_output=False, pad_id=0,
    )  # fmt: skip
    our_model = Transformer(config)
    their_model = TorchTransformer(config)
    copy_transformer(our_model, their_model)
    ids = np.random.default_rng(0).integers(3, 8000, size=(3, 64, 24))
    our_adam = optim.Adam(our_model.parameters(), lr=1e-4, betas=(0.9, 0.98))
    their_adam = torch.optim.Adam(their_model.parameters(), lr=1e-4, betas=(0.9, 0.98))
    their_ids = [torch.tensor(part) for part in ids]

    def ours():
        our_adam.zero_grad()
        loss = our_model.loss(*ids, n_tokens=ids[2].size)
        loss.backward()
        optim.clip_grad_norm_(our_model.parameters(), 1.0)
        our_adam.step()
        return np.array(loss.item())

    def theirs():
        their_adam.zero_grad()
        logits = their_model(*their_ids[:2])
        loss = TF.cross_entropy(logits.flatten(0, 1), their_ids[2].flatten(), ignore_index=0, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(their_model.parameters(), 1.0)
        their_adam.step()
        return loss.detach().numpy()

    return ours, theirs


class TorchTransformer(torch.nn.Module):
    """The same encoder-decoder on ``torch.nn.Transformer``."""

    def __init__(self, config):
        super().__init__()
        c = self.config = config
        self.source = torch.nn.Embedding(c.vocab_size, c.d_model, padding_idx=c.pad_id)
        self.target = torch.nn.Embedding(c.vocab_size, c.d_model, padding_idx=c.pad_id)
        self.body = torch.nn.Transformer(
            c.d_model, c.n_heads, c.n_encoder_layers, c.n_decoder_layers, c.d_ff, c.dropout, batch_first=True
        )
        self.body.encoder.norm = self.body.decoder.norm = None  # post-norm, as in the paper
        self.output = torch.nn.Linear(c.d_model, c.vocab_size, bias=False)
        self.dropout = torch.nn.Dropout(c.dropout)
        table = nn.SinusoidalPositionalEncoding(c.d_model)(mt.zeros((1, c.max_length, c.d_model)))
        self.register_buffer("positions", torch.tensor(table.numpy()))
        self.register_buffer("causal", torch.nn.Transformer.generate_square_subsequent_mask(c.max_length))

    def embed(self, ids, table):
        """Scaled embeddings plus positions, with dropout."""
        return self.dropout(table(ids) * self.config.d_model**0.5 + self.positions[:, : ids.shape[1]])

    def forward(self, source, target):
        """Logits of the word after each target word."""
        length = target.shape[1]
        mask = self.causal[:length, :length]
        hidden = self.body(
            self.embed(source, self.source), self.embed(target, self.target), tgt_mask=mask, tgt_is_causal=True
        )
        return self.output(hidden)


def as_tensor(parameter):
    """A torch parameter as a NumPy array."""
    return parameter.detach().numpy()


def copy_linear(ours, theirs):
    """Weights of a torch Linear or LayerNorm into ours."""
    ours.weight.assign(as_tensor(theirs.weight))
    if getattr(ours, "bias", None) is not None:
        ours.bias.assign(as_tensor(theirs.bias))


def copy_attention(ours, theirs):
    """Weights of a torch MultiheadAttention into ours."""
    ours.qkv.weight.assign(as_tensor(theirs.in_proj_weight))
    ours.qkv.bias.assign(as_tensor(theirs.in_proj_bias))
    copy_linear(ours.out, theirs.out_proj)


def copy_encoder_layer(ours, theirs):
    """Weights of a torch TransformerEncoderLayer into ours."""
    copy_attention(ours.attention, theirs.self_attn)
    copy_rest(ours, theirs)


def copy_rest(ours, theirs):
    """Feed-forward network and norms of a torch layer into ours."""
    for name in ("linear1", "linear2"):
        copy_linear(getattr(ours.feed_forward, name), getattr(theirs, name))
    for name in ("norm1", "norm2", "norm3"):
        if hasattr(ours, name):
            copy_linear(getattr(ours, name), getattr(theirs, name))


def copy_transformer(ours, theirs):
    """Weights of TorchTransformer into the model of this repository."""
    ours.source_embedding.weight.assign(as_tensor(theirs.source.weight))
    ours.target_embedding.weight.assign(as_tensor(theirs.target.weight))
    ours.output.weight.assign(as_tensor(theirs.output.weight))
    for a, b in zip(ours.encoder.layers, theirs.body.encoder.layers):
        copy_encoder_layer(a, b)
    for a, b in zip(ours.decoder.layers, theirs.body.decoder.layers):
        copy_attention(a.self_attention, b.self_attn)
        copy_attention(a.cross_attention, b.multihead_attn)
        copy_rest(a, b)


CASES = {
    "chain": (chain, 0.0, 1.0),
    "layer": (layer, 0.1, 0.85),
    "layer-no-dropout": (layer, 0.0, 1.05),
    "step": (step, 0.1, 0.85),
}


def compare(case, dropout, rounds):
    """Median seconds of both and the median of the ratios of neighbouring runs, after a check that the results agree."""
    ours, theirs = case(dropout)
    if dropout == 0.0:
        np.testing.assert_allclose(ours(), theirs(), rtol=2e-3, atol=2e-4)
    times = ([], [])
    for i in range(rounds + 2):
        for run, seconds in zip((ours, theirs), times):
            start = time.perf_counter()
            run()
            if i >= 2:  # the first two warm up
                seconds.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*times)]
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios)


def main():
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; all where none is named")
    parser.add_argument("--rounds", type=int, default=21, help="timed runs of each library (default 21)")
    parser.add_argument("--write", metavar="FILE", help="also write the table to FILE")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(CASES)}")
    lines = [
        f"{platform.machine()}, {THREADS} threads each, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"PyTorch {torch.__version__}, float32, medians of {arguments.rounds} rounds",
        "",
        "| case | minitensor ms | PyTorch ms | ratio | target |",
        "|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines))
    for name in arguments.cases or CASES:
        case, dropout, target = CASES[name]
        mine, other, ratio = compare(case, dropout, arguments.rounds)
        lines.append(f"| {name} | {mine * 1e3:.2f} | {other * 1e3:.2f} | {ratio:.2f} | {target:.2f} |")
        print(lines[-1], flush=True)
    if arguments.write:
        with open(arguments.write, "w", encoding="utf-8") as file:
            file.write(
                "# minitensor against PyTorch eager\n\n`python benchmarks/against_pytorch.py`: a ratio below 1 means faster.\n\n"
            )
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
