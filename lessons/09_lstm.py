# %% [markdown]
# # 9. LSTM: a road on which the gradient does not fade
#
# Lesson 8 multiplied by a matrix at each step, and the gradient faded. An LSTM (Hochreiter and
# Schmidhuber 1997) keeps its memory in a second state, the *cell* `c`, and treats it gently:
#
#     c_t = f * c_(t-1) + i * g              keep a part of the old, add a part of the new
#     h_t = o * tanh(c_t)                    show a part of it
#
# No matrix touches `c`. The *gates* `f`, `i`, `o` are numbers from 0 to 1, one for each feature.
# The network computes them itself, from the word and from `h`: it learns what to keep.

# %%
import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, load, picture
from minitensor import nn

# %% [markdown]
# Four layers make the three gates and the new content `g`. They are stacked in one matrix of 4 H
# rows, so that one product makes all four. The order is a convention: here, as in PyTorch, i f g o.


# %%
def lstm_step(x, h, c, W_x, W_h, b):
    """The new states (h, c), each (B, H), after the input x (B, I)."""
    i, f, g, o = mt.split(x @ W_x.mT + h @ W_h.mT + b, 4, axis=-1)  # (B, H) each
    c = F.sigmoid(f) * c + F.sigmoid(i) * mt.tanh(g)
    h = F.sigmoid(o) * mt.tanh(c)
    return h, c


mt.random.seed(0)
layer = nn.LSTM(3, 5)
xs = mt.random.normal((2, 7, 3))
h = c = mt.zeros((2, 5))
for t in range(7):
    b = layer.bias_ih_l0 + layer.bias_hh_l0
    h, c = lstm_step(xs[:, t], h, c, layer.weight_ih_l0, layer.weight_hh_l0, b)
_, (last_h, last_c) = layer(xs)
print("ours and the layer's differ by", f"{max(abs(h - last_h).max().item(), abs(c - last_c).max().item()):.0e}")

# %% [markdown]
# ## Why it carries
#
# Along `c` alone, one step back multiplies the gradient by `f`. Nothing else: no matrix, no tanh.
# See it. Hold the gates fixed, and differentiate the last cell by the first.

# %%
first = mt.ones(1, dtype=mt.float64, requires_grad=True)
for forget in (0.5, 0.9, 0.99):
    c = first
    for _ in range(40):
        c = forget * c + (1 - forget) * 0.3
    print(f"forget gate {forget}: after 40 steps {mt.grad(c, first).item():.1e} of the gradient is left")

# %% [markdown]
# The forget gate is a sigmoid of a bias and some more. A new network has biases near 0, and
# sigmoid(0) = 0.5: it forgets half at each step. So start the bias higher: 1 is usual (Jozefowicz
# et al. 2015), more remembers longer. `forget_bias` says it.
#
# The same measurement as in lesson 8: the norm of the gradient of the last `h` by the input of `d`
# steps ago.


# %%
def gradient_by_distance(layer, steps=40, inputs=16):
    """The norm of the gradient of the last state by the input of 0, 1, ... steps ago."""
    layer.astype(mt.float64)
    xs = 0.3 * mt.random.normal((8, steps, inputs), dtype=mt.float64)
    xs = xs.detach().requires_grad_()
    states, _ = layer(xs)
    direction = mt.random.normal(states[:, -1].shape, dtype=mt.float64)
    gradient = mt.grad((states[:, -1] * direction).sum(), xs).numpy()  # (B, T, I)
    return np.linalg.norm(gradient, axis=-1).mean(axis=0)[::-1]


mt.random.seed(0)
layers = {"RNN": nn.RNN(16, 16)}
layers |= {f"LSTM, forget bias {bias}": nn.LSTM(16, 16, forget_bias=bias) for bias in (0.0, 1.0, 5.0)}
curves = {}
print("what is left of the gradient:     10 ago   20 ago   39 ago")
for name, layer in layers.items():
    norms = gradient_by_distance(layer)
    curves[name] = norms / norms[0]
    print(f"{name:32}", "  ".join(f"{curves[name][d]:.1e}" for d in (10, 20, 39)))


@picture("What is left of the gradient, by distance")
def _(axes):
    for name, left in curves.items():
        axes.semilogy(left, label=name)
    axes.set(xlabel="steps ago", ylabel="gradient, 1 at the last step")
    axes.legend(frameon=False)


# %% [markdown]
# A GRU (Cho et al. 2014) does the same with fewer parts: no second state, and one gate `z` that
# says how much of the old state stays and how much of the new comes in: `h = (1 - z) n + z h`.
#
# ## Does it learn further?
#
# The task of lesson 8: which two symbols came first, before up to 30 steps of noise? The same
# training for both. The LSTM starts with the forget bias 3: it forgets 5 % a step.

# %%
recall = load(8).recall
rnn = recall(nn.RNN)
lstm = recall(lambda inputs, hidden: nn.LSTM(inputs, hidden, forget_bias=3.0))
for distance in rnn:
    print(f"both right after {distance:2} steps: RNN {rnn[distance]:4.0%}, LSTM {lstm[distance]:4.0%}")

# %%
more = curves["LSTM, forget bias 5.0"][39] / curves["RNN"][39]
claim("gradient left after 39 steps, LSTM over RNN", float(more), at_least=1e4)
claim("both right after 30 steps, the RNN", rnn[30], at_most=0.8)
claim("both right after 30 steps, the LSTM", lstm[30], at_least=0.9)
