# %% [markdown]
# # 12. Masks, positions, and the Transformer block
#
# In lesson 11 a recurrent network read, and attention looked back. The Transformer (Vaswani et al.
# 2017) drops the recurrent network: each word looks at all words of its own sentence, in one step.
# That is *self-attention*. Two things come back by hand: who may look at whom, and the order.

# %%
from functools import reduce

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, picture
from minitensor import nn


def attention(query, key, value, mask=None):
    """Answers (..., T, K) of keys and values (..., S, K); the mask is True where one may look."""
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (..., T, S)
    if mask is not None:
        scores = mt.where(mask, scores, -np.inf)  # exp(-inf) = 0: no weight at all
    return F.softmax(scores, axis=-1) @ value


# %% [markdown]
# ## No look into the future
#
# A decoder learns all words of a sentence at once. Word 3 must not see word 4, which it predicts.
# The *causal mask* is a triangle: a row for each query, a column for each key.

# %%
T = 6
causal = np.tril(np.ones((T, T), dtype=bool))
print(causal.astype(int))

# %% [markdown]
# Does it hold? Ask the engine. The gradient of answer `t` by input `s` must be 0 for all s > t.

# %%
mt.random.seed(0)
x = mt.random.normal((T, 8)).requires_grad_()
direction = mt.random.normal((8,))  # a random direction: lesson 5


def influence(function):
    """How strongly each answer (rows) depends on each input (columns): norms of gradients."""
    answers = function(x)
    gradients = [mt.grad(answers[t] @ direction, x, retain_graph=True).numpy() for t in range(T)]
    return np.linalg.norm(gradients, axis=-1)  # (T, T)


future = np.triu(influence(lambda x: attention(x, x, x, causal)), 1).max()
print("greatest influence of a later input:", future)

# %% [markdown]
# *Padding*, which fills up short sentences, is hidden in the same way; masks are combined by `&`.
#
# ## The order is lost
#
# A sum does not know the order of its terms. Shuffle the words, and the answers are the same,
# shuffled. To this network "dog bites man" is "man bites dog".

# %%
order = np.random.default_rng(0).permutation(T)
plain = attention(x, x, x)
shuffled = attention(x[order], x[order], x[order])
blind = abs(shuffled - plain[order]).max().item()
print("order", order, "changes the answers by", f"{blind:.0e}")

# %% [markdown]
# The cure: add to each word a vector that says where it stands. The paper takes waves, slow and
# fast ones, like the hands of a clock:
#
#     P[t, 2 i] = sin(t / 10000^(2 i / D))      P[t, 2 i + 1] = cos(t / 10000^(2 i / D))


# %%
def positions(length, d_model):
    """The waves (length, D)."""
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, d_model, 2) / d_model)  # (T, D / 2)
    table = np.empty((length, d_model))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


P = mt.tensor(positions(T, 8))
a, b = x + P, x[order] + P
print("with positions:", f"{abs(attention(b, b, b) - attention(a, a, a)[order]).max().item():.2f}")

# %% [markdown]
# Why waves? A step of 3 turns each pair (sin, cos) by the same angle, wherever it starts. So the
# product of two places depends on their distance alone, and attention can learn "3 words back".

# %%
waves = positions(50, 32)
print("P[t] . P[t + 3] for t = 0, 10, 40:", [round(float(waves[t] @ waves[t + 3]), 4) for t in (0, 10, 40)])


@picture("The waves: fast ones above, slow ones below", height=2.6)
def _(axes):
    axes.imshow(waves.T, aspect="auto", cmap="RdBu")
    axes.set(xlabel="position", ylabel="feature")


# %% [markdown]
# ## Heads
#
# One attention mixes all in one way. Cut the D features into H *heads* of K = D / H, and let each
# look by itself: one at the verb, one at the word before. The cut is a reshape and a transpose.


# %%
class Block(nn.Module):
    """Attention between words, then a network for each word alone; each is added to its input."""

    def __init__(self, d_model, n_heads):
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def heads(self, x):
        """(T, D) to (H, T, K)."""
        return x.reshape((len(x), self.n_heads, -1)).swapaxes(0, 1)

    def forward(self, x, mask=None):
        """(T, D) to (T, D)."""
        q, k, v = map(self.heads, mt.split(self.qkv(self.norm1(x)), 3, axis=-1))  # (H, T, K) each
        y = attention(q, k, v, mask).swapaxes(0, 1).reshape(x.shape)  # (H, T, K) to (T, D)
        x = x + self.out(y)  # the residual: what was there stays, something is added
        return x + self.down(F.relu(self.up(self.norm2(x))))


# %% [markdown]
# That is all of it. The smallest GPT-2 is twelve of these. The *residual* sums are again a road for
# the gradient (lesson 9): each block passes it on as it is, and adds its own part. Stack 12 blocks.

# %%
blocks = [Block(8, 2) for _ in range(12)]
deep = influence(lambda x: reduce(lambda y, block: block(y, causal), blocks, x))
print("12 blocks, influence of the first word on the last:", f"{deep[-1, 0]:.2f}")
print("greatest influence of a later word:", np.triu(deep, 1).max())

# %%
claim("influence of a later word behind a causal mask", float(future), equals=0.0)
claim("the same through 12 blocks", float(np.triu(deep, 1).max()), equals=0.0)
claim("change by another order, without positions", blind, at_most=1e-5)
claim("influence of the first word on the last answer through 12 blocks", float(deep[-1, 0]), at_least=1e-3)
