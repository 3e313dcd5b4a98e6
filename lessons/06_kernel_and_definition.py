# %% [markdown]
# # 6. A kernel beside its definition
#
# Clear code and fast code are often two different texts. A library needs both, and must know that
# they say the same. Here we write one function twice, and hold the fast text to the clear one.

# %%
import time

import numpy as np

import minitensor as mt
from lessons import claim, picture
from minitensor.testing import check_op

# %% [markdown]
# ## The definition
#
# Layer normalisation: give each row of `x` mean 0 and variance 1. It is in every Transformer. Here
# it stands as on a blackboard. Its gradient needs no thought: each op in it has a rule.


# %%
def definition(x, *, eps=1e-5):
    """Each row (..., D) minus its mean, over its standard deviation."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / mt.sqrt(variance + eps)


x = mt.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
rows = definition(x).numpy()
print(np.abs(rows.mean(axis=-1)).max() < 1e-6, np.allclose(rows.var(axis=-1), 1, atol=1e-3))
# True True


def count_nodes(end):
    """How many ops are recorded below a Tensor."""
    found, stack = {end.node}, [end.node]
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return sum(node.pullback is not None for node in found)


print(count_nodes(definition(x)))  # 7

# %% [markdown]
# Seven ops: seven arrays written forwards, and more backwards. Arithmetic is cheap, going through
# memory is not. Let us do it in few passes.
#
# ## The gradient by hand
#
# Write `y` for the result, `s` for the standard deviation of a row, `g` for the gradient of `y`. On
# its way to `x`, `g` is divided by `s`. What of it would shift the whole row is lost, as the mean
# is subtracted. What of it would stretch the row is lost, as the row is scaled back:
#
#     dx = (g - mean(g) - y * mean(g * y)) / s
#
# That is one formula for seven rules, and it needs `y` and `s` alone.
#
# ## The kernel
#
# A kernel works on arrays and returns the output, and a function `backward` for the gradient. `xp`
# is NumPy, or CuPy on a GPU. It may write in place, but only to arrays that it made itself.


# %%
normalise = mt.fused(definition)  # second derivatives are taken of the definition


@normalise.kernel
def _(xp, x, *, eps=1e-5):
    y = x - x.mean(axis=-1, keepdims=True)
    scale = 1.0 / xp.sqrt(xp.einsum("...d,...d->...", y, y)[..., None] / x.shape[-1] + eps)
    y *= scale

    def backward(g):
        shift = g.mean(axis=-1, keepdims=True)
        stretch = xp.einsum("...d,...d->...", g, y)[..., None] / x.shape[-1]
        dx = y * -stretch
        dx += g
        dx -= shift
        dx *= scale
        return (dx,)

    return y, backward


print(count_nodes(normalise(x)))  # 1

# %% [markdown]
# ## Do they say the same?
#
# `check_op` compares the kernel with the definition, values and gradients, and both with
# differences. A kernel with a slip does not get through. Here is one that forgets the stretch:

# %%
report = check_op(normalise, [np.random.default_rng(1).standard_normal((2, 5))])
print(report.checked, "derivatives compared")  # 3 derivatives compared

hasty = mt.fused(definition)


@hasty.kernel
def _(xp, x, *, eps=1e-5):
    y = x - x.mean(axis=-1, keepdims=True)
    scale = 1.0 / xp.sqrt((y * y).mean(axis=-1, keepdims=True) + eps)
    y *= scale
    return y, lambda g: ((g - g.mean(axis=-1, keepdims=True)) * scale,)


try:
    check_op(hasty, [np.random.default_rng(1).standard_normal((2, 5))])
except AssertionError as error:
    print(str(error).partition(" is ")[0])
# definition: the kernel's gradient of input 0 (x) at index (0, 0)

# %% [markdown]
# ## Is it worth it?
#
# Only a measurement tells. Take the best of several: other programs only ever make a run slower.

# %%
data = mt.tensor(np.random.default_rng(0).standard_normal((256, 512)), dtype="float32", requires_grad=True)


def best_time(function, tries=15):
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        mt.grad(function(data), data, grad_outputs=data.detach())
        times.append(1e3 * (time.perf_counter() - begin))
    return min(times)


times = {"definition": best_time(definition), "kernel": best_time(normalise)}
print({name: f"{t:.2f} ms" for name, t in times.items()})


@picture("A forward and a backward pass on 256 rows of 512", height=1.6)
def _(axes):
    axes.barh(list(times), list(times.values()))
    axes.set_xlabel("milliseconds")


ours, plain = (mt.grad(f(data), data, grad_outputs=data.detach()).numpy() for f in (normalise, definition))
claim("kernel and definition, the largest difference of a gradient", float(np.abs(ours - plain).max()), at_most=1e-5)
