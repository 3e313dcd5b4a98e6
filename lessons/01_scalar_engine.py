# %% [markdown]
# # 1. A scalar engine
#
# How much does the result change if I turn this knob a little? That question is all of training.
# Here the computer learns to answer it for every knob at once, in a hundred lines, with no library.

# %%
import itertools
import math

from lessons import claim, picture

# %% [markdown]
# ## A number that remembers
#
# Take `z = x * y`. If `x` grows by a tiny `h`, `z` grows by `h * y`: the slope of `z` with respect
# to `x` is `y`. With respect to `y` it is `x`. Both slopes are known the moment `z` is computed, so
# we write them down there and then. A `Value` is a number, the numbers it was made of (its
# *parents*), and the slope with respect to each parent.

# %%
clock = itertools.count()


class Value:
    """A number, and how it depends on the numbers that it was made of."""

    def __init__(self, number, parents=(), slopes=()):
        self.number = float(number)
        self.parents = parents
        self.slopes = slopes
        self.order = next(clock)  # its birthday: parents are older than their children

    def __add__(self, other):
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __sub__(self, other):
        return Value(self.number - other.number, (self, other), (1.0, -1.0))

    def __mul__(self, other):
        return Value(self.number * other.number, (self, other), (other.number, self.number))

    def __truediv__(self, other):
        quotient = self.number / other.number
        return Value(quotient, (self, other), (1.0 / other.number, -quotient / other.number))


# %% [markdown]
# Functions of one number work the same way. The derivative of `tanh` is `1 - tanh²`, that of `exp`
# is `exp`, that of `sin` is `cos`. `maximum` passes everything to the larger one.


# %%
def tanh(x):
    """Hyperbolic tangent."""
    y = math.tanh(x.number)
    return Value(y, (x,), (1.0 - y * y,))


def exp(x):
    """Exponential."""
    y = math.exp(x.number)
    return Value(y, (x,), (y,))


def sin(x):
    """Sine."""
    return Value(math.sin(x.number), (x,), (math.cos(x.number),))


def maximum(x, y):
    """The greater; a tie shares the gradient."""
    share = 0.5 if x.number == y.number else float(x.number > y.number)
    return Value(max(x.number, y.number), (x, y), (share, 1.0 - share))


def total(values):
    """The sum of any number of values."""
    values = tuple(values)
    return Value(math.fsum(v.number for v in values), values, (1.0,) * len(values))


# %% [markdown]
# ## The chain rule, backwards
#
# Along one path slopes multiply: if `z` moves 3 times as fast as `y`, and `y` 2 times as fast as
# `x`, then `z` moves 6 times as fast as `x`. Where several paths meet, their slopes add up.
#
# So start at the result with slope 1 and go back in time. When we come to a value, all its children
# have been visited, since they are younger. Its own slope is complete, and can be passed on to its
# parents. (Several results are allowed; each begins with a *seed*, and here the seed is 1.)


# %%
def gradients(outputs, seeds):
    """Slopes of (sum of seed * output) by every value that was used, as a dictionary."""
    found, stack = set(outputs), list(outputs)
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    slopes = dict.fromkeys(found, 0.0)
    for output, seed in zip(outputs, seeds):
        slopes[output] += seed
    for value in sorted(found, key=lambda v: v.order, reverse=True):
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] += slopes[value] * slope
    return slopes


# %% [markdown]
# Try it. In `x * y + x` two paths lead from `x` to the result. One has slope `y`, the other 1.

# %%
x, y = Value(2.0), Value(3.0)
z = x * y + x
slopes = gradients([z], [1.0])
print(z.number)  # 8.0
print(slopes[x], slopes[y])  # y + 1 and x: 4.0 2.0

# %% [markdown]
# ## Is it right?
#
# Turn each knob a little and look. This costs two computations for each knob; going back costs one
# for all of them together. With a million knobs that is the difference between a second and a week.


# %%
def f(a, b):
    return exp(sin(a * b)) / (b + tanh(a))


a, b = Value(0.4), Value(1.9)
slopes = gradients([f(a, b)], [1.0])
h = 1e-6
higher, lower = f(Value(0.4 + h), Value(1.9)), f(Value(0.4 - h), Value(1.9))
by_turning = (higher.number - lower.number) / (2 * h)


@picture("The curve, and the line that has the slope the engine found at a = 0.4")
def _(axes):
    curve = [i / 50 for i in range(101)]
    axes.plot(curve, [f(Value(i), Value(1.9)).number for i in curve])
    axes.plot(curve, [f(a, b).number + slopes[a] * (i - 0.4) for i in curve], "--")
    axes.plot([0.4], [f(a, b).number], "o", color="black")
    axes.set_xlabel("a")


claim("slope by the engine and by turning the knob, difference", abs(slopes[a] - by_turning), at_most=1e-8)
