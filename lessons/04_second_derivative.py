# %% [markdown]
# # 4. A rule run on Tensors: the second derivative
#
# The gradient tells which way is down. The second derivative tells how the slope itself changes:
# whether a valley is narrow or wide, and so how far one may step. We need no new machine for it. We
# run the one we have on its own work.

# %%
import numpy as np

import minitensor as mt
from lessons import claim, picture

# %% [markdown]
# ## An op and its rule
#
# An op is two texts: how to compute the value, and its *rule*, how to turn the gradient `g` of the
# output into that of the input. Here is the cube. Its derivative is `3 x²`.


# %%
@mt.op
def cube(xp, x):
    """``x * x * x``."""
    return x * x * x


def cube_rule(g, x):
    """The gradient of the cube's input, given the gradient ``g`` of its output."""
    return g * (3.0 * x * x)


cube.vjp(cube_rule)

# %% [markdown]
# ## The same text, twice
#
# Run the rule on numbers, and it gives a number: the first derivative. Run the same text on
# Tensors. Each `*` in it is now recorded, like any other computation. The first derivative comes
# out together with a graph of how it was made.

# %%
print(cube_rule(1.0, 2.0))  # 12.0

x = mt.tensor(2.0, requires_grad=True)
first = cube_rule(mt.tensor(1.0), x)
print(first)  # tensor(12., requires_grad=True)

# %% [markdown]
# And what has a graph can be differentiated: `3 x²` gives `6 x`.

# %%
print(mt.grad(first, x))  # tensor(12.)

# %% [markdown]
# That is what `create_graph=True` asks for: run the rules on Tensors. `cube_rule` never learned
# about second derivatives, and there is no end to it.

# %%
x = mt.tensor(2.0, requires_grad=True)
slopes = [cube(x)]
for _ in range(3):
    slopes.append(mt.grad(slopes[-1], x, create_graph=True))
print([s.item() for s in slopes])  # x^3, 3 x^2, 6 x, 6: [8.0, 12.0, 12.0, 6.0]

# %%
place = mt.linspace(-2.0, 2.0, 101).requires_grad_()
bump = mt.exp(-place * place)
curves = [bump]
for _ in range(2):  # the sum only gathers: each point has its own derivative
    curves.append(mt.grad(curves[-1].sum(), place, create_graph=True))


@picture("A bump, its slope, and the slope of its slope")
def _(axes):
    for curve, label in zip(curves, ("f", "f'", "f''")):
        axes.plot(place.numpy(), curve.numpy(), label=label)
    axes.axhline(0.0, color="black", linewidth=0.5)
    axes.legend(frameon=False)


# %% [markdown]
# ## Many inputs: one direction at a time
#
# For n inputs the second derivatives are a table of n times n numbers, the *Hessian*. A million
# inputs make a million million numbers, too many to write down. But the Hessian *times a vector* is
# cheap: take the gradient, multiply it by the vector, take the gradient of that.


# %%
def hill(p):
    """A narrow, bent valley (after Rosenbrock); its lowest point is (1, 1)."""
    return (1.0 - p[0]) ** 2 + 10.0 * (p[1] - p[0] * p[0]) ** 2


def hessian_times(function, point, vector):
    """The Hessian of ``function`` at ``point``, times ``vector``."""
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    gradient = mt.grad(function(p), p, create_graph=True)
    return mt.grad((gradient * mt.tensor(vector)).sum(), p).numpy()


print(hessian_times(hill, [0.0, 0.0], np.array([1.0, 0.0])))  # [2. 0.]

# %% [markdown]
# ## What it is good for
#
# Newton's method asks: if the valley were a perfect bowl, where would its bottom be? It goes there
# at once, by solving `Hessian * step = gradient`. Steps against the gradient crawl along the
# valley; Newton's are a handful.


# %%
def gradient_of(point):
    """The gradient of the hill at a point."""
    p = mt.tensor(point, dtype="float64", requires_grad=True)
    return mt.grad(hill(p), p).numpy()


start = np.array([-1.0, 0.5])
downhill, newton = [start], [start]
for _ in range(60):
    downhill.append(downhill[-1] - 0.01 * gradient_of(downhill[-1]))
for _ in range(7):
    hessian = np.stack([hessian_times(hill, newton[-1], row) for row in np.eye(2)])
    newton.append(newton[-1] - np.linalg.solve(hessian, gradient_of(newton[-1])))


@picture("60 steps against the gradient, and 7 of Newton's", height=3.6)
def _(axes):
    a, b = np.meshgrid(np.linspace(-1.5, 1.5, 200), np.linspace(-1.5, 2.0, 200))
    axes.contour(a, b, np.log1p(hill((a, b))), 12, colors="lightgrey")
    for path, label in ((downhill, "against the gradient"), (newton, "Newton")):
        axes.plot(*np.array(path).T, "o-", markersize=2, label=label)
    axes.plot([1], [1], "k*", markersize=10)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 2.0))
    axes.legend(frameon=False)


print(f"{np.linalg.norm(downhill[-1] - 1):.1f}")  # still away: 1.2
claim("seven of Newton's steps end this far from the lowest point", np.linalg.norm(newton[-1] - 1), at_most=1e-6)
