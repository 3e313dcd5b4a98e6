# %% [markdown]
# # 7. A layer, a loss, Adam
#
# Everything that learns in this course is made of three things: layers with parameters, a loss that
# says how wrong they are, and an optimiser that moves them. We write each of them once, and teach
# a network to tell two spirals apart.

# %%
import numpy as np

import minitensor as mt
from lessons import claim, picture
from minitensor import nn

mt.random.seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## The task
#
# Two arms wind around each other. No straight line parts them.

# %%
turn = np.sqrt(rng.uniform(0.05, 1.0, 400))  # how far along the arm
arm = rng.integers(0, 2, 400)  # which arm: the label
angle = 2.5 * np.pi * turn + np.pi * arm
points = turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
points = (points + rng.normal(0, 0.02, points.shape)).astype(np.float32)  # (N, 2)
x, labels = points[:300], arm[:300]
x_test, labels_test = points[300:], arm[300:]

# %% [markdown]
# ## A layer
#
# A layer is a function with parameters; `nn.Module` finds them by looking at the attributes. How
# large should weights be at first? Each output adds up `n` products. If the weights have variance
# `1 / n`, outputs are as large as inputs, and no signal dies out or explodes on its way.


# %%
class Linear(nn.Module):
    """``x @ weight + bias``, from (..., n_in) to (..., n_out)."""

    def __init__(self, n_in, n_out):
        scale = 1.0 / np.sqrt(n_in)
        self.weight = nn.Parameter(mt.tensor(scale * rng.standard_normal((n_in, n_out)), dtype="float32"))
        self.bias = nn.Parameter(mt.zeros(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Network(nn.Module):
    """Two hidden layers; two numbers for each point, one for each arm."""

    def __init__(self):
        self.layers = [Linear(2, 32), Linear(32, 32), Linear(32, 2)]

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = mt.tanh(layer(x))
        return self.layers[-1](x)


print([name for name, _ in Network().named_parameters()][:3])
# ['layers.0.weight', 'layers.0.bias', 'layers.1.weight']

# %% [markdown]
# ## A loss
#
# The network gives *logits*, any two numbers; a softmax makes probabilities of them. The loss is
# minus the logarithm of the right answer's probability: near 0 if the network is sure and right,
# large if it is sure and wrong. The logarithm of a softmax is the logit minus `logsumexp`.


# %%
def cross_entropy(logits, labels):
    """The mean of -log(probability of the right label)."""
    log_probabilities = logits - mt.logsumexp(logits, axis=1, keepdims=True)  # (N, C)
    return -log_probabilities[np.arange(len(labels)), labels].mean()


print(f"{cross_entropy(mt.zeros((3, 2)), np.array([0, 1, 1])).item():.3f}")  # log(2): 0.693

# %% [markdown]
# ## Adam
#
# Against the gradient, but how far? Adam (Kingma and Ba, 2015) keeps two running means for each
# number: `m` of its gradient and `v` of the gradient's square. It steps by `lr * m / sqrt(v)`,
# about `lr` where the gradient keeps its sign, less where it goes to and fro. Both means begin at
# 0, so the first ones are too small; dividing by `1 - beta ** t` makes up for that.


# %%
class Adam:
    """Adam, for parameters in a list."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.parameters, self.lr, self.betas, self.eps = list(parameters), lr, betas, eps
        self.means = [(np.zeros(p.shape), np.zeros(p.shape)) for p in self.parameters]
        self.t = 0

    def step(self):
        """Move each parameter; its gradient is used up."""
        self.t += 1
        a, b = self.betas
        for i, p in enumerate(self.parameters):
            g, (m, v) = p.grad.numpy().astype(np.float64), self.means[i]
            m, v = self.means[i] = a * m + (1 - a) * g, b * v + (1 - b) * g * g
            step = m / (1 - a**self.t) / (np.sqrt(v / (1 - b**self.t)) + self.eps)
            p.assign(p.numpy() - self.lr * step)
            p.grad = None


# %% [markdown]
# ## The loop
#
# Forwards, loss, backwards, step. Every training in this course is this loop.


# %%
def train(network, optimizer, steps):
    """The losses on the way."""
    losses = []
    for _ in range(steps):
        loss = cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


network = Network()
losses = train(network, Adam(network.parameters(), lr=0.02), 150)
right = (network(x_test).numpy().argmax(axis=1) == labels_test).mean()


@picture("The loss, and what the network says of every place", columns=2)
def _(axes):
    axes[0].semilogy(losses)
    axes[0].set(xlabel="step", ylabel="loss")
    a, b = np.meshgrid(np.linspace(-1.2, 1.2, 120), np.linspace(-1.2, 1.2, 120))
    places = np.stack([a.ravel(), b.ravel()], axis=1).astype(np.float32)
    second = mt.nn.functional.softmax(network(places), axis=1).numpy()[:, 1]
    axes[1].contourf(a, b, second.reshape(a.shape), 20, cmap="coolwarm")
    axes[1].scatter(*x_test.T, c=labels_test, cmap="coolwarm", edgecolors="black", s=14)
    axes[1].set_aspect("equal")


claim("points told apart that the network had not seen", float(right), at_least=0.95)
