# %% [markdown]
# # 8. A recurrent network, and the gradient that fades
#
# A layer maps one vector to one vector. A sentence is many vectors, in an order. The oldest idea
# for it: read one word at a time, and keep notes. The notes are a vector, the *state* `h`.
#
#     h_t = tanh(W_x x_t + W_h h_(t-1) + b)          (Elman 1990)
#
# The new state is made of the new word and of the old state. The weights are the same at each step.

# %%
import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, picture
from minitensor import nn, optim

# %% [markdown]
# Letters: B sequences, T steps, I input features, H hidden features.


# %%
def rnn_step(x, h, W_x, W_h, b):
    """The state (B, H) after the input x (B, I), from the state h (B, H) before it."""
    return mt.tanh(x @ W_x.mT + h @ W_h.mT + b)


def run(step, xs, h):
    """All states (B, T, H) on the inputs xs (B, T, I), from the first state h (B, H)."""
    states = []
    for t in range(xs.shape[1]):
        h = step(xs[:, t], h)  # the state goes round
        states.append(h)
    return mt.stack(states, axis=1)


# %% [markdown]
# The library has the same as a layer, with a kernel for all steps together. It has two biases, as
# PyTorch has; they are added.

# %%
mt.random.seed(0)
layer = nn.RNN(3, 5)
W_x, W_h, b = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0
xs = mt.random.normal((2, 7, 3))
ours = run(lambda x, h: rnn_step(x, h, W_x, W_h, b), xs, mt.zeros((2, 5)))
theirs, last = layer(xs)
print("ours and the layer's differ by", f"{abs(ours - theirs).max().item():.0e}")

# %% [markdown]
# ## How far back does it learn?
#
# To learn from a word, the network needs its gradient. Ask the engine: how strongly does the *last*
# state depend on the input of `d` steps ago? That is the norm of a gradient.
#
# On the way back each step multiplies by `W_h` transposed, and by the slope of tanh, at most 1. So
# the gradient is a product with one factor for each step. Take a `W_h` that turns vectors and
# stretches them by one number, the *gain* (an orthogonal matrix times that number). A product of
# `d` equal factors is a power of `d`: it fades, or it explodes.


# %%
def gradient_by_distance(gain, steps=40, hidden=16):
    """The norm of the gradient of the last state by the input of 0, 1, ... steps ago."""
    mt.random.seed(0)
    W_x = mt.random.normal((hidden, hidden), dtype=mt.float64) / hidden
    W_h = gain * nn.init.orthogonal_(mt.zeros((hidden, hidden), dtype=mt.float64))
    xs = 0.3 * mt.random.normal((8, steps, hidden), dtype=mt.float64)
    xs = xs.detach().requires_grad_()
    states = run(lambda x, h: rnn_step(x, h, W_x, W_h, 0.0), xs, mt.zeros((8, hidden), dtype=mt.float64))
    direction = mt.random.normal((8, hidden), dtype=mt.float64)  # never only ones: see lesson 5
    gradient = mt.grad((states[:, -1] * direction).sum(), xs).numpy()  # (B, T, I)
    return np.linalg.norm(gradient, axis=-1).mean(axis=0)[::-1]  # the last step first


print("gain   now      10 ago   20 ago   39 ago   factor a step")
curves, factors = {}, {}
for gain in (0.5, 0.9, 1.0, 1.1):
    norms = curves[gain] = gradient_by_distance(gain)
    factors[gain] = (norms[39] / norms[0]) ** (1 / 39)
    cells = "  ".join(f"{norms[d]:.1e}" for d in (0, 10, 20, 39))
    print(f"{gain:4}   {cells}  {factors[gain]:.3f}")


@picture("The gradient over the distance: a straight line on this scale is a power")
def _(axes):
    for gain, norms in curves.items():
        axes.semilogy(norms, label=f"gain {gain}")
    axes.set(xlabel="steps ago", ylabel="norm of the gradient")
    axes.legend(frameon=False)


# %% [markdown]
# With gain 0.5 the word of 39 steps ago has a gradient of almost nothing: it is there, but no
# learning rate can use it beside that of the last word. This is the *vanishing gradient*
# (Hochreiter 1991; Bengio, Simard and Frasconi 1994). With a gain above 1 it may grow, until tanh
# flattens and holds it back. Take tanh away and nothing holds it:

# %%
for gain in (0.5, 1.0, 1.5):
    print(f"40 steps without tanh, gain {gain}: {gain**40:.1e}")

# %% [markdown]
# Against an explosion there is a cheap cure: *clipping*. If the norm of all gradients together is
# too large, scale them all by one number. The direction stays (Pascanu et al. 2013).

# %%
parameter = nn.Parameter(mt.zeros(2))
(parameter * mt.tensor([300.0, 400.0])).sum().backward()
before = optim.clip_grad_norm_([parameter], 1.0)
print("norm", before, "-> gradient", parameter.grad)

# %% [markdown]
# Against vanishing there is none so cheap. See what it costs. The task: say at the end which two
# symbols came *first*, each one of four, behind 1 to 30 steps of noise. There are 16 answers. One
# symbol such a network learns to hold. Two are more than it can keep apart for long.


# %%
def recall(make, steps=200, n=4, hidden=24):
    """Train ``make(inputs, hidden)``; the share of right answers by distance."""
    mt.random.seed(0)
    dice = np.random.default_rng(0)
    layer, output = make(2 * n, hidden), nn.Linear(hidden, 2 * n)
    model = nn.ModuleList([layer, output])
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def answers(size, distance):
        ids = dice.integers(n, 2 * n, (size, 2 + distance))  # noise
        ids[:, :2] = dice.integers(0, n, (size, 2))  # what to remember
        last = layer(np.eye(2 * n, dtype=np.float32)[ids])[0][:, -1]  # (B, H)
        return output(last).reshape((size, 2, n)), ids[:, :2]

    for _ in range(steps):
        loss = F.cross_entropy(*answers(32, round(30 ** dice.random())))  # short ones as often as long ones
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    tests = {distance: answers(300, distance) for distance in (1, 10, 30)}
    return {d: float((x.numpy().argmax(axis=-1) == y).all(axis=1).mean()) for d, (x, y) in tests.items()}


right = recall(nn.RNN)
print("both right:", ", ".join(f"{share:.0%} after {d} steps" for d, share in right.items()), "(chance: 6%)")

# %%
claim("share of the gradient that one step back keeps, at gain 0.5", factors[0.5], at_most=0.5)
claim("both symbols right after 30 steps", right[30], at_most=0.8)
