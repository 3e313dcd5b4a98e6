"""Attention: multi-head scaled dot products, and single heads for recurrent translation models.

Masks are boolean, True = may attend, and broadcast to (B, H, T, S), H being 1 for a single head;
see `functional/masking.py`. A query that may see nothing gets zeros.

Letters: B batch, T queries, S keys, D model width, H heads, K features of a head (default: D / H).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.backend import widen
from minitensor.engine.mode import no_grad
from minitensor.engine.settings import flag, integer, number, probability
from minitensor.engine.tensor import Tensor, asarray
from minitensor.nn import functional as F
from minitensor.nn import init
from minitensor.nn.cache import KeyValueCache, constant_with_cache
from minitensor.nn.functional.masking import admit, as_mask, blank_padding
from minitensor.nn.layers import Linear
from minitensor.nn.module import Module, Parameter
from minitensor.ops.creation import zeros
from minitensor.ops.elementwise import tanh
from minitensor.ops.linalg import matmul

__all__ = ["AdditiveAttention", "DotAttention", "MultiHeadAttention"]

if TYPE_CHECKING:
    from minitensor.engine.attached import TensorLike


class MultiHeadAttention(Module):
    """``n_heads`` scaled dot-product attentions in parallel (Vaswani et al. 2017, section 3.2).

        head_h = softmax(scale Q_h K_h^T) V_h        y = [head_1 ... head_H] W_out^T + b_out

    ``qkv`` is one Linear from D to 3 H K whose rows are the projections to queries, keys and
    values, in this order (PyTorch's ``in_proj_weight``); self-attention then takes one product.
    ``out``, from H K to D, is the Linear behind the heads.

    d_head: K; default: D / H. T5 has models whose H K is not D. scale: of the scores; default:
    1 / sqrt(K). T5 has 1.
    """

    torch_names = {"qkv.weight": "in_proj_weight", "qkv.bias": "in_proj_bias", "out": "out_proj"}

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        d_head: int | None = None,
        scale: float | None = None,
    ) -> None:
        name = type(self).__name__
        d_model, n_heads = integer(name, "d_model", d_model, least=1), integer(name, "n_heads", n_heads, least=1)
        if d_head is None and d_model % n_heads:
            raise ValueError(f"{name}: d_model = {d_model} is not divisible by n_heads = {n_heads}")
        self.d_model, self.n_heads, self.dropout = d_model, n_heads, probability(name, "dropout", dropout)
        self.d_head = d_model // n_heads if d_head is None else integer(name, "d_head", d_head, least=1)
        self.scale = None if scale is None else number(name, "scale", scale)
        self.qkv = Linear(d_model, 3 * n_heads * self.d_head, bias)
        self.out = Linear(n_heads * self.d_head, d_model, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, as PyTorch does: ``qkv`` after Xavier, biases zero."""
        init.xavier_uniform_(self.qkv.weight)
        self.out.reset_parameters()
        for linear in (self.qkv, self.out):
            if linear.bias is not None:
                init.zeros_(linear.bias)

    @constant_with_cache
    def forward(
        self,
        x: TensorLike,
        memory: TensorLike | None = None,
        mask: TensorLike | None = None,
        is_causal: bool = False,
        bias: TensorLike | None = None,
        cache: KeyValueCache | None = None,
        need_weights: bool = False,
    ) -> Any:
        """Attend from ``x`` (B, T, D) to ``memory`` (B, S, D), default: ``x``; returns (B, T, D).

        mask: boolean, broadcasts to (B, H, T, S). is_causal: query t sees keys up to t + S - T.
        bias: added to the scores, broadcasts to (B, H, T, S). need_weights: returns
        ``(output, weights)``, weights (B, H, T, S) as they are before dropout.

        cache: a KeyValueCache; ``x`` is then the new positions alone. Its keys and values are added
        to those held, and S counts all of them; a fixed cache, from ``fill_cache(memory)``, takes
        the place of ``memory``. Nothing is recorded.
        """
        how = {"is_causal": is_causal, "bias": bias, "need_weights": need_weights}
        if cache is not None:
            if memory is not None:
                raise ValueError(
                    "attention takes memory or a cache, not both: a cache of the memory comes from fill_cache(memory)"
                )
            return self._step(x, mask, cache, **how)
        if memory is not None:
            return self._cross(x, memory, mask, **how)
        return self._self(x, mask, **how)

    def _self(self, x, mask, is_causal, bias, need_weights):
        """Self-attention: one product for queries, keys and values."""
        x, mask = self.admit(x, mask)
        qkv = self.qkv(x)  # (B, T, 3 H K)
        if bias is None and not need_weights:
            y = F.packed_attention(qkv, self.n_heads, mask, is_causal, self._active_dropout(), self.scale)
            return self.out(y)  # (B, T, H K) to (B, T, D)
        return self._attend(self._heads(qkv), mask, is_causal, bias, need_weights)

    def _cross(self, x, memory, mask, is_causal, bias, need_weights):
        """Attention to a memory, whose keys and values are made of it here."""
        x = _checked_sequence(self, "input", x)
        memory, mask = self.admit_memory(x, memory, mask)
        heads = self._project(x, 0), self._project(memory, 1), self._project(memory, 2)
        return self._attend(heads, mask, is_causal, bias, need_weights)

    def _step(self, x, mask, cache, is_causal, bias, need_weights):
        """Attention to what a cache holds: a memory, or all positions, those of ``x`` added."""
        x, mask = self.admit(x, mask, cache)
        if cache.fixed:
            q = self._project(x, 0)
        else:
            q, k, v = map(Tensor, self._heads(self.qkv(x)._array))  # nothing is recorded here
            cache.append(k, v)
        return self._attend((q, *cache.read()), mask, is_causal, bias, need_weights)

    def _attend(self, heads, mask, is_causal, bias, need_weights):
        """Queries (B, H, T, K), keys and values (B, H, S, K) to (B, T, D), weights if needed."""
        q, k, v = heads
        how = {"is_causal": is_causal, "scale": self.scale, "bias": bias}
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout=self._active_dropout(), **how)  # (B, H, T, K)
        batch, n_heads, queries, width = y.shape
        y = self.out(y.swapaxes(1, 2).reshape((batch, queries, n_heads * width)))  # (B, T, H K) to (B, T, D)
        return (y, F.attention_weights(q, k, mask, **how)) if need_weights else y

    def _active_dropout(self):
        """The probability with which a weight is dropped now."""
        return self.dropout if self.training else 0.0

    # --- what comes in ----------------------------------------------------------------------------

    def admit(
        self, x: TensorLike, mask: TensorLike | None = None, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """``(x, mask)`` looked at, padding blank: the door to attention of ``x`` to itself.

        cache: what else it attends to. A stack goes through the door once for all of its layers;
        what has been through comes back as it is. Raises TypeError or ValueError for an input or a
        mask of another shape, type or device.
        """
        x = _checked_sequence(self, "input", x)
        batch, queries, _ = x.shape
        if cache is not None and cache.fixed:
            return x, as_mask(mask, (batch, self.n_heads, queries, cache.length), x.device)
        keys = queries if cache is None else cache.length + queries
        return admit(x, mask, (batch, self.n_heads, queries, keys))

    def admit_memory(
        self, x: Tensor, memory: TensorLike | None, mask: TensorLike | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `admit`, the door to attention of ``x`` to ``memory``: ``(memory, mask)``."""
        if memory is None:
            raise ValueError(
                f"{type(self).__name__}: the memory is None: pass one of shape ({x.shape[0]}, time, {self.d_model}), "
                "or a cache of one"
            )
        memory = _checked_sequence(self, "memory", memory, batch=x.shape[0])
        return admit(memory, mask, (x.shape[0], self.n_heads, x.shape[1], memory.shape[1]))

    @no_grad
    def fill_cache(self, memory: TensorLike) -> KeyValueCache:
        """A KeyValueCache that holds the keys and values of ``memory`` (B, S, D)."""
        memory = _checked_sequence(self, "memory", memory)
        cache = KeyValueCache(fixed=True)
        cache.append(self._project(memory, 1), self._project(memory, 2))
        return cache

    # --- heads ------------------------------------------------------------------------------------

    def _heads(self, qkv):
        """(B, T, 3 H K) to queries, keys and values (B, H, T, K), a Tensor or a raw array."""
        qkv = qkv.reshape((*qkv.shape[:2], 3, self.n_heads, self.d_head))  # (B, T, 3, H, K)
        return tuple(qkv[:, :, i].swapaxes(1, 2) for i in range(3))

    def _project(self, x, part):
        """Queries (part 0), keys (1) or values (2) of ``x`` by heads: (B, T, D) to (B, H, T, K)."""
        width = self.n_heads * self.d_head
        rows = slice(part * width, (part + 1) * width)
        bias = None if self.qkv.bias is None else self.qkv.bias[rows]
        y = F.linear(x, self.qkv.weight[rows], bias)
        return y.reshape((*x.shape[:2], self.n_heads, self.d_head)).swapaxes(1, 2)  # (B, T, H, K) to (B, H, T, K)


def with_weights(attention, x, need_weights, **how):
    """``(output, weights)`` of an attention; weights is None if they are not needed."""
    return attention(x, need_weights=True, **how) if need_weights else (attention(x, **how), None)


class AdditiveAttention(Module):
    """One head whose scores come from a small network (Bahdanau et al. 2015, arXiv:1409.0473).

        score(q, m) = v . tanh(W_q q + b + W_m m)        y = softmax(score) memory

    query: (B, T, d_query); memory: (B, S, d_memory); returns (B, T, d_memory). ``key`` is W_m: a
    loop over target positions computes ``keys = attention.key(memory)`` once and passes it in.
    """

    def __init__(self, d_query: int, d_memory: int, d_attention: int) -> None:
        d_attention = integer(type(self).__name__, "d_attention", d_attention, least=1)
        self.query = Linear(d_query, d_attention)
        self.key = Linear(d_memory, d_attention, bias=False)
        self.score = Parameter(zeros(d_attention))
        init.uniform_(self.score, -(d_attention**-0.5), d_attention**-0.5)

    def forward(
        self,
        query: TensorLike,
        memory: TensorLike,
        mask: TensorLike | None = None,
        keys: Tensor | None = None,
        need_weights: bool = False,
    ) -> Any:
        """Attend; with ``need_weights`` returns ``(output, weights)``, weights (B, 1, T, S)."""
        query, memory = _checked_pair(query, memory)
        memory, mask = admit(memory, mask, (query.shape[0], 1, query.shape[1], memory.shape[1]))
        keys = self.key(memory) if keys is None else blank_padding(keys, mask)  # (B, S, A)
        hidden = tanh(self.query(query)[:, :, None] + keys[:, None])  # (B, T, S, A)
        # (B, 1, T, S), not rounded to 16 bits.
        scores = matmul(widen(hidden), widen(self.score))[:, None]
        none = zeros((*scores.shape[:2], 1, 1), dtype=scores.dtype, device=scores.device)
        query, key = (
            none.broadcast_to((*scores.shape[:3], 1)),
            none.broadcast_to((*scores.shape[:2], memory.shape[1], 1)),
        )
        # Of products that are zero, with a bias.
        return _attend(query, key, memory, mask, need_weights, bias=scores)


class DotAttention(Module):
    """One head whose scores are products of query and memory (Luong et al. 2015, arXiv:1508.04025).

        score(q, m) = (W q) . m        y = softmax(score) memory

    query: (B, T, d_query); memory: (B, S, d_memory); returns (B, T, d_memory). W is Luong's
    "general" form; with ``projection=False`` there is none, and both widths must be equal ("dot").
    """

    def __init__(self, d_query: int, d_memory: int, projection: bool = True) -> None:
        projection = flag(type(self).__name__, "projection", projection)
        if not projection and d_query != d_memory:
            raise ValueError(
                f"DotAttention: without projection both widths must be equal, got {d_query} and {d_memory}"
            )
        self.query = Linear(d_query, d_memory, bias=False) if projection else None

    def forward(
        self, query: TensorLike, memory: TensorLike, mask: TensorLike | None = None, need_weights: bool = False
    ) -> Any:
        """Attend; with ``need_weights`` returns ``(output, weights)``, weights (B, 1, T, S)."""
        query, memory = _checked_pair(query, memory)
        memory, mask = admit(memory, mask, (query.shape[0], 1, query.shape[1], memory.shape[1]))
        query = query if self.query is None else self.query(query)
        return _attend(query[:, None], memory[:, None], memory, mask, need_weights, scale=1.0)


def _attend(query, key, memory, mask, need_weights, **how):
    """One head over ``memory`` (B, S, D): (B, T, D), with ``need_weights`` also (B, 1, T, S).

    query: (B, 1, T, K); key: (B, 1, S, K).
    """
    y = F.scaled_dot_product_attention(query, key, memory[:, None], mask, **how)[:, 0].astype(memory.dtype)  # (B, T, D)
    return (y, F.attention_weights(query, key, mask, **how).astype(memory.dtype)) if need_weights else y


def _checked_sequence(module, what, x, batch=None) -> Tensor:
    """``x`` as a tensor; ValueError if its shape is not (batch, time, d_model)."""
    x = asarray(x)
    if x.ndim != 3 or x.shape[-1] != module.d_model or batch not in (None, x.shape[0]):
        wanted = f"({'batch' if batch is None else batch}, time, {module.d_model})"
        raise ValueError(f"{type(module).__name__}: the {what} has shape {x.shape}, it must be {wanted}")
    return x


def _checked_pair(query, memory) -> tuple[Tensor, Tensor]:
    """Both as tensors; ValueError if their shapes do not belong together."""
    query, memory = asarray(query), asarray(memory)
    if query.ndim != 3 or memory.ndim != 3 or query.shape[0] != memory.shape[0]:
        raise ValueError(
            f"attention: query {query.shape} and memory {memory.shape} must be (B, T, d_query) and (B, S, d_memory)"
        )
    return query, memory
