# %% [markdown]
# # 15. How it gets fast
#
# The engine of lesson 1 is right, and slow. This one is right, and trains a translator. It makes
# **fewer calls**, it moves **fewer bytes**, it saves **work done twice**. All three can be counted,
# and a count is the same on every machine.

# %%
import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, picture
from minitensor import nn


def count(function, *inputs):
    """Ops called, bytes that their results took, multiplications in matrix products (x 2)."""
    with mt.profile() as p:
        function(*inputs)
    ops = [row for row in p.rows if row.kind == "op"]
    return sum(row.forward_calls for row in ops), sum(row.forward_bytes for row in ops), sum(row.flops for row in ops)


# %% [markdown]
# ## One pass over memory
#
# A processor multiplies faster than memory can bring it numbers. Ops such as `+` and `exp` do next
# to nothing with each number: they wait for memory. Layer norm, written as its formula:


# %%
def layer_norm(x, weight, bias, eps=1e-5):
    """Mean 0 and variance 1 along the last axis, then scale and shift."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / mt.sqrt(variance + eps) * weight + bias


mt.random.seed(0)
x = mt.random.normal((64, 32, 128))
size = x.size * x.dtype.itemsize
weight, bias = mt.ones(128), mt.zeros(128)
formula = count(layer_norm, x, weight, bias)
fused = count(F.layer_norm, x, weight, bias)
print(f"formula: {formula[0]} ops, results of {formula[1] / size:.1f} times the input")
print(f"fused:   {fused[0]} op,  results of {fused[1] / size:.1f} times the input")
print("they differ by", f"{abs(layer_norm(x, weight, bias) - F.layer_norm(x, weight, bias)).max().item():.0e}")

# %% [markdown]
# Each intermediate result is written out and read back. A *kernel* (lesson 6) keeps it to itself,
# row by row, while the row is still near the processor. The formula stays in the library as the
# *definition*: second derivatives use it, and the tests hold the kernel to it.
#
# ## A softmax that reads once
#
# Softmax needs the maximum, then the sum, then the quotients: it seems to need the row three times.
# But maximum and sum can grow together, block by block. If a block brings a larger maximum, the sum
# so far was measured from a wrong height. One factor puts it right (Milakov and Gimelshein 2018).
# FlashAttention (Dao et al. 2022) is this idea, with the values in the sum.

# %%
row = np.random.default_rng(0).normal(0, 20, 1000)
top, total = -np.inf, 0.0
for start in range(0, 1000, 100):
    block = row[start : start + 100]
    new_top = max(top, block.max())
    total = total * np.exp(top - new_top) + np.exp(block - new_top).sum()
    top = new_top
whole = np.exp(row - row.max()).sum()
print("sum of exponentials, in blocks and at once:", f"{total:.12f} {whole:.12f}")

# %% [markdown]
# ## How it grows with length
#
# Let a text get twice as long. The linear layers have twice the work. The scores are a square of
# T x T: four times the work. That is why long texts are dear.

# %%
lengths = (64, 128, 256, 512, 1024)
flops = {"attention": [], "linear": []}
for T in lengths:
    q = mt.random.normal((1, 4, T, 16))
    flops["attention"].append(count(lambda x: F.scaled_dot_product_attention(x, x, x), q)[2])
    flops["linear"].append(count(nn.Linear(64, 256), mt.random.normal((1, T, 64)))[2])
    print(f"T = {T:4}:", ", ".join(f"{name} {row[-1] / 1e6:5.1f} million" for name, row in flops.items()))


@picture("Operations of attention and of a linear layer, by length", height=2.6)
def _(axes):
    for name, row in flops.items():
        axes.loglog(lengths, row, "o-", label=name)
    axes.set(xlabel="length of the text", ylabel="operations")
    axes.legend(frameon=False)


# %% [markdown]
# By hand: each of the two products has H T T K multiply-adds, each counts as 2.

# %%
by_hand = 2 * 2 * 4 * 512 * 512 * 16
print(f"by hand {by_hand:,}, by the profile {flops['attention'][3]:,}")

# %% [markdown]
# ## Work done twice
#
# The greedy decoding of lesson 10 ran the whole prefix again for each new word. But behind a causal
# mask the old places cannot change (lesson 12). So keep their keys and values: the *KV cache*. Then
# a step has one new query, and nothing is computed twice.

# %%
block = nn.TransformerEncoder(1, 32, 2, 64, dropout=0.0).eval()
text = mt.random.normal((1, 40, 32))


@mt.no_grad
def again():
    """Each prefix from its start."""
    return mt.concat([block(text[:, : t + 1], is_causal=True)[:, -1:] for t in range(40)], axis=1)


@mt.no_grad
def cached():
    """Each place once."""
    cache = block.init_cache(1)
    return mt.concat([block(text[:, t : t + 1], is_causal=True, cache=cache) for t in range(40)], axis=1)


slow, quick = count(again)[2], count(cached)[2]
same = abs(again() - cached()).max().item()
print(f"40 words: {slow:,} against {quick:,}, {slow / quick:.0f} times fewer; results differ by {same:.0e}")

# %% [markdown]
# ## Where does the time go?
#
# `mt.profile()` shows it. *Floor* is what the products of an op would take alone, at this machine's
# speed. Near its floor, leave an op alone. Far above it there is something to win.

# %%
model = nn.TransformerEncoder(2, 32, 2, 64, dropout=0.0)
for _ in range(2):  # the first run makes ready what the second uses
    with mt.profile() as p:
        (model(mt.random.normal((8, 20, 32)), is_causal=True) ** 2).mean().backward()
print(p)

# %%
claim("ops that the fused kernel calls", fused[0], equals=1)
claim("bytes that the formula's results take, over those of the kernel's", formula[1] / fused[1], at_least=3)
claim("attention of twice the length costs", flops["attention"][4] / flops["attention"][3], equals=4.0)
claim("work that the cache saves for 40 words, as a factor", slow / quick, at_least=10)
