"""The Transformer's layers and stacks (Vaswani et al. 2017, arXiv:1706.03762).

Around every sublayer f (attention, or the feed-forward network) there is a residual and a layer
normalisation::

    post-norm (the paper)     x = norm(x + dropout(f(x)))
    pre-norm (norm_first)     x = x + dropout(f(norm(x)))       and a last norm behind the stack

Pre-norm is from Xiong et al. 2020, arXiv:2002.04745. A stack ends in a norm of its own if
``final_norm`` says so; default: if ``norm_first``, as the layers then end in none.

``activation`` is one of relu, gelu, gelu_tanh (its approximation by tanh, as GPT-2 has it) and
silu; ``eps`` is that of the norms. ``dropout`` acts behind every sublayer, ``attention_dropout`` on
the attention weights, ``ff_dropout`` inside the feed-forward network, behind its activation;
default of the last two: ``dropout``, as in PyTorch.

Letters: B batch, T target or own positions, S memory positions, D model width, H heads. Masks are
boolean, True = may attend, and broadcast to (B, H, T, S).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from minitensor.engine.settings import choice, flag, integer, probability
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn import functional as F
from minitensor.nn import init
from minitensor.nn.attention import MultiHeadAttention, with_weights
from minitensor.nn.cache import DecoderCache, EncoderCache, KeyValueCache, check_batch, constant_with_cache
from minitensor.nn.layers import Dropout, LayerNorm, Linear
from minitensor.nn.module import Module

__all__ = [
    "FeedForward", "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
]  # fmt: skip

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class FeedForward(Module):
    """``y = W2 dropout(activation(W1 x + b1)) + b2``, for each position alone."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.1, activation: str = "relu") -> None:
        self.activation = choice("FeedForward", "activation", activation, ACTIVATIONS)
        self.linear1 = Linear(d_model, d_ff)
        self.linear2 = Linear(d_ff, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: TensorLike) -> Tensor:
        """(..., D) to (..., D)."""
        return self.linear2(self.dropout(ACTIVATIONS[self.activation](self.linear1(x))))


class _Layer(Module):
    """What encoder and decoder layers share: how a sublayer is wrapped."""

    def __init__(self, dropout: float, norm_first: bool) -> None:
        self.norm_first = flag(type(self).__name__, "norm_first", norm_first)
        self.dropout = Dropout(dropout)

    def _inner_dropouts(self, attention_dropout, ff_dropout):
        """Both as numbers; those that are None are the one behind the sublayers."""
        given = {"attention_dropout": attention_dropout, "ff_dropout": ff_dropout}
        name, usual = type(self).__name__, self.dropout.p
        return [usual if p is None else probability(name, setting, p) for setting, p in given.items()]

    def _enter(self, x, norm):
        """What a sublayer is given of ``x``."""
        return norm(x) if self.norm_first else x

    def _leave(self, x, y, norm):
        """``x`` and the sublayer's output ``y`` joined."""
        x = x + self.dropout(y)
        return x if self.norm_first else norm(x)


class TransformerEncoderLayer(_Layer):
    """Self-attention and feed-forward network: (B, T, D) to (B, T, D)."""

    torch_names = {"attention": "self_attn", "feed_forward.linear1": "linear1", "feed_forward.linear2": "linear2"}

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        eps: float = 1e-5,
        *,
        attention_dropout: float | None = None,
        ff_dropout: float | None = None,
    ) -> None:
        super().__init__(dropout, norm_first)
        attention_dropout, ff_dropout = self._inner_dropouts(attention_dropout, ff_dropout)
        self.attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.feed_forward = FeedForward(d_model, d_ff, ff_dropout, activation)
        self.norm1, self.norm2 = LayerNorm(d_model, eps), LayerNorm(d_model, eps)

    @constant_with_cache
    def forward(
        self,
        x: TensorLike,
        mask: TensorLike | None = None,
        is_causal: bool = False,
        bias: TensorLike | None = None,
        need_weights: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Any:
        """One layer.

        With ``need_weights`` returns ``(output, weights)``, weights (B, H, T, S). cache: its
        KeyValueCache.
        """
        x, mask = self.attention.admit(x, mask, cache)
        how = {"mask": mask, "is_causal": is_causal, "bias": bias, "cache": cache}
        y, weights = with_weights(self.attention, self._enter(x, self.norm1), need_weights, **how)
        x = self._leave(x, y, self.norm1)
        x = self._leave(x, self.feed_forward(self._enter(x, self.norm2)), self.norm2)
        return (x, weights) if need_weights else x


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory, and feed-forward network: (B, T, D) to (B, T, D)."""

    torch_names = {
        "self_attention": "self_attn", "cross_attention": "multihead_attn",
        "feed_forward.linear1": "linear1", "feed_forward.linear2": "linear2",
    }  # fmt: skip

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        eps: float = 1e-5,
        *,
        attention_dropout: float | None = None,
        ff_dropout: float | None = None,
    ) -> None:
        super().__init__(dropout, norm_first)
        attention_dropout, ff_dropout = self._inner_dropouts(attention_dropout, ff_dropout)
        self.self_attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.feed_forward = FeedForward(d_model, d_ff, ff_dropout, activation)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model, eps) for _ in range(3))

    @constant_with_cache
    def forward(
        self,
        x: TensorLike,
        memory: TensorLike | None,
        mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        is_causal: bool = True,
        cache: tuple[KeyValueCache, KeyValueCache] | None = None,
        bias: TensorLike | None = None,
        need_weights: bool = False,
    ) -> Any:
        """One layer. cache: its pair ``(own, memory)`` of a DecoderCache;
        ``memory`` is then ignored.

        With ``need_weights`` returns ``(output, weights)``, weights (B, H, T, S) of the attention
        to the memory.
        """
        x, memory, mask, memory_mask = self.admit(x, memory, mask, memory_mask, cache)
        own, held = (None, None) if cache is None else cache
        how: dict[str, Any] = {"mask": mask, "is_causal": is_causal, "bias": bias, "cache": own}
        x = self._leave(x, self.self_attention(self._enter(x, self.norm1), **how), self.norm1)
        how = {"memory": memory, "mask": memory_mask, "cache": held}
        y, weights = with_weights(self.cross_attention, self._enter(x, self.norm2), need_weights, **how)
        x = self._leave(x, y, self.norm2)
        x = self._leave(x, self.feed_forward(self._enter(x, self.norm3)), self.norm3)
        return (x, weights) if need_weights else x

    def admit(
        self,
        x: TensorLike,
        memory: TensorLike | None,
        mask: TensorLike | None,
        memory_mask: TensorLike | None,
        cache: tuple[KeyValueCache, KeyValueCache] | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """All four looked at, padding blank; see ``MultiHeadAttention.admit``.

        ``memory`` is None if there is a cache of it.
        """
        own, held = (None, None) if cache is None else cache
        x, mask = self.self_attention.admit(x, mask, own)
        if held is not None:
            return x, None, mask, self.cross_attention.admit(x, memory_mask, held)[1]
        memory, memory_mask = self.cross_attention.admit_memory(x, memory, memory_mask)
        return x, memory, mask, memory_mask


class _Stack(Module):
    """``n_layers`` layers of a kind, and a last norm if ``final_norm``; default: ``norm_first``."""

    layer_class: Callable[..., Module]

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        eps: float = 1e-5,
        final_norm: bool | None = None,
        *,
        attention_dropout: float | None = None,
        ff_dropout: float | None = None,
    ) -> None:
        n_layers = integer(type(self).__name__, "n_layers", n_layers, least=1)
        norm_first = flag(type(self).__name__, "norm_first", norm_first)
        shape = (d_model, n_heads, d_ff, dropout, activation, norm_first, eps)
        final_norm = norm_first if final_norm is None else flag(type(self).__name__, "final_norm", final_norm)
        dropouts: dict[str, Any] = {"attention_dropout": attention_dropout, "ff_dropout": ff_dropout}
        self.layers = [self.layer_class(*shape, **dropouts) for _ in range(n_layers)]
        self.norm = LayerNorm(d_model, eps) if final_norm else None

    def _layer_caches(self, cache):
        """What each layer keeps, None without a cache."""
        return [None] * len(self.layers) if cache is None else cache.layers


class TransformerEncoder(_Stack):
    """Encoder layers, and a last norm if there is one: embedded inputs (B, T, D) to (B, T, D)."""

    layer_class = TransformerEncoderLayer

    @constant_with_cache
    def forward(
        self,
        x: TensorLike,
        mask: TensorLike | None = None,
        is_causal: bool = False,
        bias: TensorLike | None = None,
        need_weights: bool = False,
        cache: EncoderCache | None = None,
    ) -> Any:
        """Encode ``x`` (B, T, D).

        mask: boolean, broadcasts to (B, H, T, S). bias: added to the scores of every layer,
        likewise.

        S is T, unless there is a cache, from ``init_cache``; ``x`` is then the new positions alone,
        S counts those held as well (in ``mask`` and ``bias`` too), the encoder must be causal, and
        the result is a constant. With ``need_weights`` returns ``(output, weights)``, a list of
        (B, H, T, S), one per layer.
        """
        if cache is not None and not is_causal:
            raise ValueError("a cache is for causal encoders, where no position sees a later one: pass is_causal=True")
        x, caches, seen = asarray(x), self._layer_caches(cache), []
        check_batch(cache, x)
        x, mask = self.layers[0].attention.admit(x, mask, caches[0])
        for layer, held in zip(self.layers, caches):
            out: Any = layer(x, mask, is_causal, bias, need_weights, held)
            x, weights = out if need_weights else (out, None)
            seen.append(weights)
        x = x if self.norm is None else self.norm(x)
        return (x, seen) if need_weights else x

    def init_cache(self, batch: int) -> EncoderCache:
        """An EncoderCache of ``batch`` rows, without positions, for a causal encoder by steps."""
        return EncoderCache([KeyValueCache() for _ in self.layers], batch)


class TransformerDecoder(_Stack):
    """Decoder layers, and a last norm if there is one: embedded targets (B, T, D) to (B, T, D)."""

    layer_class = TransformerDecoderLayer

    @constant_with_cache
    def forward(
        self,
        x: TensorLike,
        memory: TensorLike | None,
        mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        is_causal: bool = True,
        cache: DecoderCache | None = None,
        bias: TensorLike | None = None,
        need_weights: bool = False,
    ) -> Any:
        """Decode ``x`` (B, T, D) looking at ``memory`` (B, S, D), the encoder's output.

        mask: added to the causal rule, broadcasts to (B, H, T, T). memory_mask: broadcasts to
        (B, H, T, S). bias: added to the scores of every layer's self-attention, broadcasts as
        ``mask``. With ``need_weights`` returns ``(output, weights)``, a list of the layers'
        attention to the memory, (B, H, T, S) each.

        cache: from ``init_cache``; ``x`` is then the new positions alone, ``mask`` and ``bias``
        cover those held as well, ``memory`` is not looked at, and the result is a constant.
        """
        x, caches, seen = asarray(x), self._layer_caches(cache), []
        check_batch(cache, x)
        x, memory, mask, memory_mask = self.layers[0].admit(x, memory, mask, memory_mask, caches[0])
        for layer, held in zip(self.layers, caches):
            out: Any = layer(x, memory, mask, memory_mask, is_causal, held, bias, need_weights)
            x, weights = out if need_weights else (out, None)
            seen.append(weights)
        x = x if self.norm is None else self.norm(x)
        return (x, seen) if need_weights else x

    def init_cache(self, memory: Tensor) -> DecoderCache:
        """A DecoderCache without targets, with keys and values of ``memory`` (B, S, D)."""
        pairs = [(KeyValueCache(), layer.cross_attention.fill_cache(memory)) for layer in self.layers]
        return DecoderCache(pairs, memory.shape[0])


class Transformer(Module):
    """Encoder and decoder over embedded inputs: source (B, S, D) and target (B, T, D) to (B, T, D).

    As in PyTorch, weights with two axes start after Xavier, and both stacks end in a norm of their
    own; ``load_state_dict`` takes the state of a ``torch.nn.Transformer``. The paper's post-norm
    model has no such norms: ``final_norm=False``.
    """

    def __init__(
        self,
        d_model: int = 512,
        n_heads: int = 8,
        n_encoder_layers: int = 6,
        n_decoder_layers: int = 6,
        d_ff: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        eps: float = 1e-5,
        final_norm: bool = True,
        *,
        attention_dropout: float | None = None,
        ff_dropout: float | None = None,
    ) -> None:
        shape = (d_model, n_heads, d_ff, dropout, activation, norm_first, eps, final_norm)
        dropouts: dict[str, Any] = {"attention_dropout": attention_dropout, "ff_dropout": ff_dropout}
        self.encoder = TransformerEncoder(n_encoder_layers, *shape, **dropouts)
        self.decoder = TransformerDecoder(n_decoder_layers, *shape, **dropouts)
        for _, parameter in self.named_parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        source: TensorLike,
        target: TensorLike,
        source_mask: TensorLike | None = None,
        target_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
    ) -> Tensor:
        """Encode ``source``, decode ``target`` causally.

        source_mask broadcasts to (B, H, S, S), target_mask (added to the causal rule) to
        (B, H, T, T), memory_mask to (B, H, T, S). memory_mask: default: a source_mask that hides
        padding, the same keys from every query as ``nn.padding_mask`` does.
        """
        source_mask = source_mask if source_mask is None else asarray(source_mask)
        memory = self.encoder(source, source_mask)
        if memory_mask is None and source_mask is not None and (source_mask.ndim == 1 or source_mask.shape[-2] == 1):
            memory_mask = source_mask
        return self.decoder(target, memory, target_mask, memory_mask)
