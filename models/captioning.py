"""Captioning: a decoder that writes while it looks at the regions of an image.

    image -> CNN, or a ViT on patches -> regions (B, N, D), the memory
    words -> embedding -> GRU -> h;  h attends to the memory -> context
             h, context, embedding -> tanh(W [h, context, embedding]) -> linear -> logits
    or, as decoder, a Transformer's, whose layers attend to the memory -> linear -> logits

The first is Xu et al. 2015, "Show, Attend and Tell", arXiv:1502.03044, with soft attention; as in
`seq2seq.py` the query is the step's new state. The second is the decoder of Vaswani et al. 2017.

An image may have several captions and is encoded once: of R captions the first R / B are those of
the first image, and so on. What a caption starts with says which one it is to be, such as a token
for each language.

Letters: B images, C channels, S pixels a side, P pixels a side of a region, n = S / P regions a
side, N = n**2 regions, R captions, T positions, D model width, H hidden features, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
from minitensor.models import transformer
from minitensor.models.checks import check_ids, check_images, evaluating
from minitensor.models.configuration import Config, check_dropouts
from minitensor.models.encoder_decoder import EncoderDecoder
from minitensor.models.vit import PatchEmbedding, ViT, ViTConfig

__all__ = ["Captioner", "CaptionerConfig"]

CHOICES = {"encoder": ("cnn", "patches"), "decoder": ("gru", "transformer"), "attention": ("additive", "dot")}
SQUARES = 4  # squares a side of a region, whose sides a CNN then halves twice
WORD_STD = 0.3  # of a word's features at the start: see `Captioner`


@dataclass(frozen=True)
class CaptionerConfig(Config):
    """Hyper-parameters; the defaults suit drawings of 32 x 32 pixels."""

    vocab_size: int
    n_starts: int = 0  # ids from vocab_size on that only start captions, such as one for each language
    image_size: int = 32
    n_channels: int = 3
    patch_size: int = 8
    encoder: str = "patches"
    decoder: str = "transformer"
    d_model: int = 64
    n_encoder_layers: int = 2
    n_decoder_layers: int = 1  # of a Transformer
    n_heads: int = 4
    d_ff: int = 128
    attention: str = "additive"  # of a GRU; dot learns to look much more slowly
    hidden_size: int = 128
    dropout: float = 0.0
    label_smoothing: float = 0.0
    max_length: int = 64
    pad_id: int = 0
    start_id: int = 1
    stop_id: int = 2

    def __post_init__(self):
        """Check what can be checked before a model is made."""
        check_dropouts(self)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; write one of: {', '.join(known)}")
        if self.image_size % self.patch_size:
            raise ValueError(f"regions of {self.patch_size} pixels a side do not divide images of {self.image_size}")
        if self.encoder == "cnn" and self.patch_size % SQUARES:
            raise ValueError(f"a CNN needs a patch_size that {SQUARES} divides, got {self.patch_size}")

    @property
    def n_regions(self):
        """N."""
        return (self.image_size // self.patch_size) ** 2


# --- encoders -------------------------------------------------------------------------------------


class CNN(nn.Module):
    """Squares of P / 4 pixels, two convolutions that halve the sides, and others that keep them and
    add to what they are given (residuals, as He et al. 2016, arXiv:1603.05027).

    Each is given a GELU of what is before it. Of ReLUs a third had died by the time a GRU could
    count, and what colours and shapes are told by with them. At the end come learned positions, as
    a caption says where things are, and layer norm. Weights are drawn as He et al. 2015 do,
    arXiv:1502.01852, which keeps the variance from layer to layer: with less, the positions would
    drown what is seen. Those of residuals start at 0: at first a region shows little but itself.
    """

    def __init__(self, config):
        c, few = config, max(config.d_model // 2, 1)
        self.squares = PatchEmbedding(c.n_channels, c.patch_size // SQUARES, few)
        halving = [nn.Conv2d(width, c.d_model, 3, stride=2, padding=1) for width in (few, c.d_model)]
        keeping = [nn.Conv2d(c.d_model, c.d_model, 3, padding=1) for _ in range(c.n_encoder_layers - 1)]
        self.halving, self.keeping = nn.ModuleList(halving), nn.ModuleList(keeping)
        for layer in halving:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        for parameter in self.keeping.parameters():
            nn.init.zeros_(parameter)
        self.positions = nn.init.normal_(nn.Parameter(mt.zeros((1, c.n_regions, c.d_model))), std=0.5)
        self.norm = nn.LayerNorm(c.d_model)

    def encode(self, images):
        """Memory (B, N, D) of images (B, C, S, S)."""
        x = self.squares(images).swapaxes(1, 2)  # (B, D / 2, 16 N)
        side = images.shape[-1] // self.squares.weight.shape[-1]  # 4 n
        x = x.reshape((*x.shape[:2], side, side))  # (B, D / 2, 4 n, 4 n)
        for layer in self.halving:
            x = layer(F.gelu(x))  # (B, D, 2 n, 2 n), then (B, D, n, n)
        for layer in self.keeping:
            x = x + layer(F.gelu(x))
        x = x.reshape((*x.shape[:2], -1)).swapaxes(1, 2)  # (B, D, n, n) to (B, N, D)
        return self.norm(x + self.positions)


def _vision_transformer(config):
    """A ViT without classes; its memory is what the last layer says of each patch."""
    c = config
    return ViT(
        ViTConfig(
            image_size=c.image_size, patch_size=c.patch_size, n_channels=c.n_channels, d_model=c.d_model,
            n_layers=c.n_encoder_layers, n_heads=c.n_heads, d_ff=c.d_ff, dropout=c.dropout, eps=1e-6, position_std=1.0,
            pooling="mean",
        )
    )  # fmt: skip


# --- decoders -------------------------------------------------------------------------------------


class GRUDecoder(nn.Module):
    """A GRU whose states attend to the memory; its first state comes from the memory's mean."""

    def __init__(self, config):
        c = config
        self.bridge = nn.Linear(c.d_model, c.hidden_size)
        self.layer = nn.GRU(c.d_model, c.hidden_size, orthogonal=True)
        self.attention: nn.AdditiveAttention | nn.DotAttention
        if c.attention == "additive":
            self.attention = nn.AdditiveAttention(c.hidden_size, c.d_model, c.d_model)
        else:
            self.attention = nn.DotAttention(c.hidden_size, c.d_model)
        self.readout = nn.Linear(c.hidden_size + 2 * c.d_model, c.d_model)
        self.dropout = nn.Dropout(c.dropout)

    def start(self, memory):
        """The state before the first word."""
        return GRUState(memory, mt.tanh(self.bridge(memory.mean(axis=1)))[None])

    def forward(self, x, memory, need_weights=False):
        """Readouts (R, T, D) of words (R, T, D), and the attention: [(R, 1, T, N)], or [None]."""
        return self.advance(x, self.start(memory), need_weights)

    def advance(self, x, state, need_weights=False):
        """As `forward`, of words that follow those before; ``state`` moves on."""
        h, state.h = self.layer(x, state.h)  # (R, T, H)
        found = self.attention(h, state.memory, need_weights=need_weights)
        context, weights = found if need_weights else (found, None)  # (R, T, D), (R, 1, T, N)
        seen = mt.concat([h, context, x], axis=-1)  # (R, T, H + 2 D)
        return self.dropout(mt.tanh(self.readout(seen))), [weights]


class GRUState:
    """The memory, and how far the captions have come, with one row for each."""

    def __init__(self, memory, h):
        self.memory, self.h = memory, h  # (rows, N, D), (1, rows, H)

    def reorder(self, rows):
        """Keep these rows, in this order; one may be kept several times, or dropped."""
        self.memory, self.h = self.memory[rows], self.h[:, rows]


class TransformerDecoder(nn.Module):
    """Sinusoidal positions and a pre-norm decoder."""

    def __init__(self, config):
        c = config
        self.positions = nn.SinusoidalPositionalEncoding(c.d_model)
        shape = (c.n_decoder_layers, c.d_model, c.n_heads, c.d_ff)
        self.layers = nn.TransformerDecoder(*shape, dropout=c.dropout, norm_first=True)
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def start(self, memory):
        """The state before the first word."""
        return transformer.DecodingState(self.layers.init_cache(memory), None, memory.device)

    def forward(self, x, memory, need_weights=False):
        """Readouts (R, T, D) of words (R, T, D), and each layer's attention (R, heads, T, N)."""
        found = self.layers(self.positions(x), memory, need_weights=need_weights)
        return found[0] if need_weights else found, found[1] if need_weights else [None]

    def advance(self, x, state):
        """As `forward`, of words that follow those before; ``state`` moves on."""
        return self.layers(self.positions(x, state.cache.length), None, cache=state.cache), [None]


# --- both -----------------------------------------------------------------------------------------


class Captioner(EncoderDecoder):
    """Encoder, embedding, decoder and output layer; see the head of this file.

    The words start small, as in small initial values a network is more apt to find what words have
    in common than to learn each by itself. Of French agreement in unseen combinations that seemed
    to be so (docs/results.md), in single runs.

    >>> model = Captioner(CaptionerConfig(vocab_size=100))
    >>> images, words = mt.zeros((3, 3, 32, 32)), mt.zeros((6, 7), dtype=int)
    >>> model(images, words).shape  # two captions of each image
    (6, 7, 100)
    """

    def __init__(self, config):
        c = self.config = config
        self.encoder = CNN(c) if c.encoder == "cnn" else _vision_transformer(c)
        self.embedding = nn.Embedding(c.vocab_size + c.n_starts, c.d_model)
        nn.init.normal_(self.embedding.weight, std=WORD_STD)
        self.dropout = nn.Dropout(c.dropout)
        self.decoder = GRUDecoder(c) if c.decoder == "gru" else TransformerDecoder(c)
        self.output = nn.Linear(c.d_model, c.vocab_size)

    def encode(self, images, captions=None):
        """Memory (B, N, D) of ``images`` (B, C, S, S); repeated to (R, N, D) for R ``captions``.

        Raises ValueError for images of another size, and if B does not divide R.
        """
        images = check_images(images, self.config).astype(self.embedding.weight.dtype)
        memory = self.encoder.encode(images)
        if captions is None or captions == len(images):
            return memory
        if not len(images) or captions % len(images):
            raise ValueError(
                f"{captions} captions cannot be shared out among {len(images)} images: give each equally many"
            )
        return mt.repeat(memory, captions // len(images), axis=0)

    def _embed(self, ids):
        """(R, T) ids to (R, T, D) vectors."""
        ids = mt.asarray(ids)
        check_ids(ids, self.config.max_length)
        return self.dropout(self.embedding(ids))

    def _read(self, images, target, need_weights=False):
        """Readouts (R, T, D), and what was looked at meanwhile."""
        x = self._embed(target)
        return self.decoder(x, self.encode(images, len(x)), need_weights)

    def forward(self, source, target, mask=None):
        """Logits (R, T, V) of the word after each word of ``target`` (R, T).

        source: images (B, C, S, S). Raises ValueError for a mask, since an image is seen whole.
        """
        _check_unmasked(mask)
        readouts, _ = self._read(source, target)
        return self.output(readouts)

    @property
    def n_read(self) -> int:
        """Those that are written, and the starts."""
        return self.config.vocab_size + self.config.n_starts

    def generate(self, source, max_new_tokens=None, *args, **how):
        """Captions of images (B, C, S, S), as of `EncoderDecoder`; see its ``start_ids``.

        max_new_tokens: default: the model's ``max_length``.
        """
        return super().generate(
            source, self.config.max_length if max_new_tokens is None else max_new_tokens, *args, **how
        )

    @mt.no_grad
    def start(self, source, mask=None):
        """Encode the images; the state from which ``step`` goes on, one row per image."""
        _check_unmasked(mask)
        return self.decoder.start(self.encode(source))

    @mt.no_grad
    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next word, given each row's newest, ``ids``."""
        ids = mt.asarray(ids).to(self.output.weight.device).reshape((-1, 1))  # (rows, 1)
        readouts, _ = self.decoder.advance(self._embed(ids), state)
        return F.log_softmax(self.output(readouts[:, -1]))

    def attention_maps(self, images, target):
        """``{"decoder.0.cross": (R, heads, T, N)}``: what region each step looks at, by layer.

        Row t is looked at while the word after ``target[:, t]`` is written. A GRU has one layer of
        one head.
        """
        with evaluating(self):
            _, seen = self._read(images, target, need_weights=True)
        return {f"decoder.{i}.cross": weights for i, weights in enumerate(seen)}


def _check_unmasked(mask):
    if mask is not None:
        raise ValueError("a Captioner takes no mask: each image is seen whole")
