"""Lesson 3: the backward pass on paper. Replace each `raise NotImplementedError` by your own
lines.
"""


def on_paper():
    """Take a pencil. Let ``x = 2``, ``y = 3``, ``u = x + y``, ``v = x * y`` and
    ``loss = u * u + u * v``. Return the gradients of the loss as a dictionary of numbers:
    ``{"u": ..., "v": ..., "x": ..., "y": ...}``.

    u comes in three times, x and y twice.
    """
    raise NotImplementedError("exercise 3.1")


def visiting_order(parents, end):
    """Return a list of node names in an order in which the backward pass may visit them.

    parents: a dictionary from the name of a node to the list of its parents, such as
    ``{"loss": ["e", "e"], "e": ["p"], "p": []}``. end: where the pass begins. A node may be visited
    only after everything that was made of it. Each node that ``end`` depends on comes once; others
    do not come.
    """
    raise NotImplementedError("exercise 3.2")


def line_gradients(x, w, b, t):
    """Return the gradients ``(dw, db)`` of ``loss = mean((x @ w + b - t) ** 2)``.

    x is an array (N, D), w is (D,), b is a number, t is (N,). dw is (D,), db is a number.
    Write it with arrays, without ``mt.grad``.
    """
    raise NotImplementedError("exercise 3.3")
