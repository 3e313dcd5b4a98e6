# %% [markdown]
# # 3. The backward pass on paper
#
# Before a machine does it, do it once with a pencil. Take the smallest thing that learns: a line
# `p = w * x + b` that should give `t`, and the square of its error.
#
# Let `x = 3`, `w = 2`, `b = 1`, `t = 5`. Write a column downwards, the values. Then write a second
# column upwards: how fast the loss grows with each value.
#
# | node | value | gradient | because |
# |---|---|---|---|
# | `p = w * x + b` | 7 | 4 | the gradient of `e`, times 1 |
# | `e = p - t` | 2 | 4 | 1 times `2 e` |
# | `loss = e * e` | 4 | 1 | the loss grows as fast as itself |
#
# And from `p` down to what can be learned: `w` gets `4 x = 12`, `b` gets `4`. That is all there is
# to it. The rest of this lesson is the same table, made by the library.

# %%
import numpy as np

import minitensor as mt
from lessons import claim, picture

# %% [markdown]
# ## The graph in your hands
#
# A Tensor that needs a gradient has a *node*. A node knows its parents, like the `Value` of lesson
# 1. The last line of the table is the first node we meet.

# %%
w = mt.tensor(2.0, requires_grad=True)
b = mt.tensor(1.0, requires_grad=True)
x, t = 3.0, 5.0  # constants have no node, and no row in the table

e = w * x + b - t
loss = e * e
print(loss.node.pullback.op_name)  # multiply
print([parent.pullback.op_name for parent in loss.node.parents])  # ['subtract', 'subtract']

# %% [markdown]
# Both parents of the loss are the same node, `e`. It will receive two contributions: `e` times 1
# from either side. On paper we had written their sum, `2 e`, at once.
#
# ## The pass as a loop
#
# Take the youngest node that waits. Its gradient is complete, because everything that was made of
# it is younger and has been visited. Apply its rule, hand a contribution to each parent, and add up
# where several arrive.


# %%
def backward(end, names):
    """Print the pass, and return the gradient of each node."""
    gradients, waiting = {end.node: np.ones(end.shape)}, [end.node]
    while waiting:
        node = max(waiting, key=lambda node: node.order)
        waiting.remove(node)
        if node.pullback is None:
            print(names[node], "is a leaf: gradient", gradients[node].item())
            continue
        print(node.pullback.op_name, "has gradient", gradients[node].item())
        pulled = node.pullback.pull(node, gradients[node], recorded=False, needed=None)
        for parent, contribution in zip(node.parents, pulled):
            if parent not in gradients:
                gradients[parent] = contribution
                waiting.append(parent)
            else:
                gradients[parent] = gradients[parent] + contribution
    return gradients


found = backward(loss, {w.node: "w", b.node: "b"})
# multiply has gradient 1.0
# subtract has gradient 4.0
# add has gradient 4.0
# multiply has gradient 4.0
# b is a leaf: gradient 4.0
# w is a leaf: gradient 12.0

# %% [markdown]
# ## Watch the library do it
#
# `mt.backward_trace` writes the table for any pass: each node in the order of the visit, the rule
# with its own source line, what it hands to each parent, and which arrival that was. Arrays are
# nothing new: here are three points at once, and `w` and `b`, which were broadcast to them, get
# back sums (lesson 2).

# %%
w = mt.tensor(2.0, dtype="float64", requires_grad=True)
b = mt.tensor(1.0, dtype="float64", requires_grad=True)
xs, ts = mt.tensor([3.0, 0.0, -1.0]), mt.tensor([5.0, 1.0, 0.0])

with mt.backward_trace({"w": w, "b": b}) as trace:
    errors = w * xs + b - ts
    loss = (errors * errors).sum()
    loss.backward()
print(trace)

# %% [markdown]
# Read it from the top. `sum` copies its gradient to all three squares. `multiply` hands `e` to the
# left and `e` to the right, and both arrive at `subtract`. At the end each leaf has what goes into
# its `.grad`.
#
# ## What the numbers are for
#
# The gradient points uphill. Go a little way against it, and the loss falls. Do that over and over,
# and the line finds its points.

# %%
losses = []
for _ in range(60):
    with mt.no_grad():  # new values, no history
        w, b = ((v - 0.05 * v.grad).detach().requires_grad_() for v in (w, b))
    errors = w * xs + b - ts
    loss = (errors * errors).sum()
    loss.backward()
    losses.append(loss.item())


@picture("Sixty steps against the gradient: the loss")
def _(axes):
    axes.plot(losses)
    axes.set(xlabel="step", ylabel="loss")
    axes.set_yscale("log")


best = np.polyfit(xs.numpy(), ts.numpy(), 1)  # the least-squares line, by solving equations
print(f"{w.item():.3f} {b.item():.3f}")
claim("w and b beside the best line there is, difference", np.abs(best - [w.item(), b.item()]).max(), at_most=1e-4)
