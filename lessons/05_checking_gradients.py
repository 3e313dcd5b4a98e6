# %% [markdown]
# # 5. Checking gradients, and what a checker misses
#
# A wrong gradient does not crash. The network still learns, only worse, and nobody knows why. So we
# check: turn the knob and look. It is easy to write a check, and easy to write one that is blind.

# %%
import numpy as np

import minitensor as mt
from lessons import claim, picture
from minitensor.testing import check_op, gradcheck

# %% [markdown]
# ## How far to turn
#
# The slope is `(f(x + h) - f(x)) / h` for a small `h`. Better is to look to both sides:
# `(f(x + h) - f(x - h)) / 2h`, whose error shrinks with the square of `h`. But not too small: a
# float64 has 16 digits, and the difference of two nearly equal numbers keeps few of them.

# %%
steps = 10.0 ** np.arange(-14, 0)
slope = np.cos(1.0)  # of sin at 1
one_side = np.abs((np.sin(1 + steps) - np.sin(1)) / steps - slope)
both_sides = np.abs((np.sin(1 + steps) - np.sin(1 - steps)) / (2 * steps) - slope)
print(f"one side: {one_side.min():.0e}, both sides: {both_sides.min():.0e}")


@picture("The error of a difference: the step is too large on the right, too small on the left")
def _(axes):
    axes.loglog(steps, one_side, "o-", label="one side")
    axes.loglog(steps, both_sides, "o-", label="both sides")
    axes.set(xlabel="h", ylabel="error")
    axes.legend(frameon=False)


# %% [markdown]
# ## A checker as one writes it first
#
# Add up the outputs, and turn each input in turn.


# %%
def naive_check(function, x, h=1e-6):
    """The largest error of the gradient of ``function(x).sum()``."""
    leaf = mt.tensor(x, dtype="float64", requires_grad=True)
    gradient = mt.grad(function(leaf).sum(), leaf).numpy()
    errors = []
    for step, claimed in zip(h * np.eye(len(x)), gradient):
        higher, lower = function(mt.tensor(x + step)).sum(), function(mt.tensor(x - step)).sum()
        errors.append(abs((higher - lower).item() / (2 * h) - claimed))
    return max(errors)


# %% [markdown]
# ## First thing it misses: what always adds up to one
#
# The entries of a softmax have the sum 1, whatever the input. The gradient of that sum is 0. Here
# is a softmax whose rule is plainly wrong: it returns zeros.


# %%
def broken(function, rule):
    """An op with this value and this rule."""
    op = mt.op(name="broken")(function)
    op.vjp(rule)
    return op


def softmax(xp, x):
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


lazy_softmax = broken(softmax, lambda xp, g: g * 0.0)
x = np.array([0.5, -1.0, 2.0])
print(naive_check(lazy_softmax, x) < 1e-8)  # the wrong rule passes: True

# %% [markdown]
# The cure: weigh the outputs with random numbers before adding. These weights are the gradient `g`
# that comes from above, the *cotangent*. No rule is right by accident then.


# %%
def verdict(function, x):
    """What gradcheck says, in a word."""
    try:
        gradcheck(function, [x])
    except AssertionError:
        return "refused"
    return "passed"


print(verdict(lazy_softmax, x))  # refused

# %% [markdown]
# ## Second: small beside large
#
# To save time one moves all inputs at once in one random direction, and compares one number. But a
# slope of a million then hides one of a thousandth. `gradcheck` groups inputs by the size of their
# slopes, so that nothing stands in a shadow.

# %%
scales = np.array([1e6, 1e-3])
shadow = broken(lambda xp, x: scales * x, lambda xp, g: g * np.array([1e6, 2e-3]))
claimed, true = 1e6 + 2e-3, scales.sum()  # along the direction (1, 1)
print(abs(claimed - true) / true < 1e-8)  # one direction: True
print(verdict(shadow, np.array([1.0, 1.0])))  # refused

# %% [markdown]
# ## Third: a corner
#
# `relu` has no slope at 0, and the difference to both sides says 1/2. A checker that insists would
# refuse every right rule there. `gradcheck` sees that the sides differ: anything between them is
# accepted, and counted apart.

# %%
corner = broken(lambda xp, x: xp.maximum(x, 0.0), lambda xp, g, x: g * (x > 0))
print(gradcheck(corner, [np.array([-1.0, 0.0, 2.0])]))  # Report(checked=2, kinks=1)

# %% [markdown]
# ## Fourth: right once, wrong twice
#
# This rule gives the right first derivative. But it computes with a copy, through which no second
# derivative comes (lesson 4). `check_op` looks at the second order too, and at everything else that
# an op promises: that it writes to nothing it was given, that float32 stays float32, and more.


# %%
def forgetful_rule(g, x):
    return g * 2.0 * (x.detach() if isinstance(x, mt.Tensor) else x)


forgetful = broken(lambda xp, x: x * x, forgetful_rule)
x = np.array([1.0, -2.0])
print(naive_check(forgetful, x) < 1e-8, verdict(forgetful, x))  # True passed
try:
    check_op(forgetful, [x])
except AssertionError as error:
    print(str(error).partition(" is ")[0])
# the gradient of broken: the gradient of input 0 (x) at index (0,)

# %%
found = 0
for op in (lazy_softmax, shadow, forgetful):
    try:
        check_op(op, [x])
    except AssertionError:
        found += 1
claim("wrong rules that check_op finds, of the three above", found, equals=3)
