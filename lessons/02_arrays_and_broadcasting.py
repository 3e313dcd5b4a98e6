# %% [markdown]
# # 2. Arrays and broadcasting
#
# Networks compute with arrays, not with single numbers. What changes for the gradient? Nothing in
# the idea, and one thing in practice: a number may be used in many places without our writing it
# many times. That is broadcasting, and its gradient is a sum.

# %%
import numpy as np

import minitensor as mt
from lessons import claim, load, picture

scalar = load(1)  # the engine of lesson 1
Value = scalar.Value

# %% [markdown]
# ## An array of values
#
# NumPy can keep any objects in an array, so ours as well. Then everything of lesson 1 works on
# arrays, slowly and without a new idea.


# %%
def array(numbers):
    """A NumPy array of fresh values."""
    out = np.empty(np.shape(numbers), dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = Value(numbers[index])
    return out


def numbers(values):
    """The numbers of an array of values."""
    return np.array([v.number for v in np.ravel(values)]).reshape(np.shape(values))


def each(function, *arrays):
    """``function`` of the values of arrays that broadcast."""
    arrays = np.broadcast_arrays(*arrays)
    out = np.empty(arrays[0].shape, dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = function(*(a[index] for a in arrays))
    return out


def summed(values, axis, keepdims):
    """Sums along one axis, or of all."""
    if axis is None:
        out = np.empty((), dtype=object)
        out[()] = scalar.total(np.ravel(values))
        return out.reshape((1,) * values.ndim) if keepdims else out
    moved = np.moveaxis(values, axis, -1)
    out = np.empty(moved.shape[:-1], dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = scalar.total(moved[index])
    return np.expand_dims(out, axis) if keepdims else out


def matmul(x, y):
    """Product of two matrices."""
    out = np.empty((x.shape[0], y.shape[1]), dtype=object)
    for i, j in np.ndindex(out.shape):
        out[i, j] = scalar.total(a * b for a, b in zip(x[i], y[:, j]))
    return out


# %% [markdown]
# ## One bias, three rows
#
# A row `b` of two numbers is added to a table `x` of three rows. Nobody copies `b`; NumPy reads it
# three times. The engine sees three uses of each number, and slopes of several uses add up. To
# tell the uses apart, each row of the result gets its own seed.

# %%
x, b = array(np.zeros((3, 2))), array(np.array([10.0, 20.0]))
y = each(Value.__add__, x, b)  # (3, 2) and (2,) give (3, 2)
seeds = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
slopes = scalar.gradients(list(y.ravel()), seeds.ravel())
print([float(slopes[v]) for v in b])  # [9.0, 12.0]
print(seeds.sum(axis=0))  # [ 9. 12.]


@picture("Forwards, b is read in every row; backwards, what the rows send is added up", columns=2)
def _(axes):
    tables = (np.tile([10.0, 20.0], (3, 1)), seeds)
    for a, title, table, small in zip(axes, ("b, copied", "g, added up"), tables, ((10, 20), (9, 12))):
        a.imshow(np.vstack([table, [[0, 0]], [small]]), cmap="Oranges", vmin=0, vmax=60)
        for (i, j), number in np.ndenumerate(np.vstack([table, [[np.nan] * 2], [small]])):
            a.text(j, i, "" if np.isnan(number) else f"{number:g}", ha="center", va="center")
        style = {"arrowstyle": "->" if title[0] == "g" else "<-", "linewidth": 2}
        for j in range(2):
            a.annotate("", (j, 3.45), (j, 2.55), arrowprops=style)
        a.set_title(title)
        a.axis("off")


# %% [markdown]
# That is the rule, and it holds for every broadcast: **the adjoint of a copy is a sum**. If `g` is
# the gradient of the large array, the gradient of the small one is the sum of `g` over the axes
# along which it was copied: those it lacks, and those where it has length 1.


# %%
def unbroadcast(g, shape):
    """Add ``g`` up to ``shape``, which had been broadcast to the shape of ``g``."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


print(unbroadcast(seeds, (2,)), unbroadcast(seeds, (3, 1)).tolist())
# [ 9. 12.] [[3.0], [7.0], [11.0]]

# %% [markdown]
# ## One node for an array
#
# A Python object for every number is slow. From here on the array is the unit: one node, one
# rule, a few calls of NumPy. That is minitensor. It keeps the rule above in one place, so that no
# other rule has to think of broadcasting.

# %%
rng = np.random.default_rng(0)
data = [rng.standard_normal(shape) for shape in ((5, 4), (4, 3), (3,))]
w = rng.standard_normal((5, 3))  # weights of the outputs, so that each counts differently

x, m, b = (mt.tensor(a, dtype="float64", requires_grad=True) for a in data)
ours = mt.grad((mt.tanh(x @ m + b) * mt.tensor(w)).sum(), [x, m, b])

values = [array(a) for a in data]
out = each(scalar.tanh, each(Value.__add__, matmul(values[0], values[1]), values[2]))
slopes = scalar.gradients(list(out.ravel()), w.ravel())
theirs = [np.array([slopes[v] for v in a.ravel()]).reshape(a.shape) for a in values]
print(len(slopes), "values, and 3 arrays made of", sum(a.size for a in data), "numbers")
# 140 values, and 3 arrays made of 35 numbers

worst = max(np.abs(a.numpy() - t).max() for a, t in zip(ours, theirs))
claim("gradients of tanh(x m + b) by arrays and by single numbers, difference", worst, at_most=1e-12)
