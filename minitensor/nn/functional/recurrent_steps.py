"""What the recurrent ops share: the loop over time that defines them, and the memory layout of
their kernels.

A sequence that is over keeps its state. So a final state is the state at the last edge, and, read
from the end, a sequence keeps its initial state through the padding and begins at its own last
step.

Letters: T steps, B batch, I input features, H hidden features, G gates. **Edges** are the T + 1
places between the steps: step t leads from edge t to edge t + 1, in reverse from edge t + 1 to edge
t.
"""

from __future__ import annotations

from typing import Any

from minitensor.nn.functional.blocks import as_rows
from minitensor.ops.creation import arange
from minitensor.ops.elementwise import where
from minitensor.ops.shape import stack

__all__ = ["Steps", "halved", "sum_of_biases", "unroll"]


def unroll(step, x, states, lengths, reverse):
    """The definition: ``states = step(x[t], *states)`` for each t; the output of a step is its
    first state, h.

    x: (T, B, I); states: each (B, H); lengths: (B,) or None. Returns (T + number of states, B, H):
    the outputs of all steps, zeros if a sequence is over, and behind them the final states.
    """
    steps = len(x)
    if lengths is not None:
        alive = (arange(steps, device=x.device)[:, None] < lengths)[..., None]  # (T, B, 1)
        x = where(alive, x, 0.0)  # 0 * NaN is NaN: padding must be gone, not weightless
    outputs: list[Any] = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        new = step(x[t], *states)
        if lengths is None:
            states, outputs[t] = new, new[0]
        else:
            states = tuple(where(alive[t], after, before) for after, before in zip(new, states))
            outputs[t] = where(alive[t], states[0], 0.0)
    return stack([*outputs, *states])


class Steps:
    """One pass of a kernel over a sequence. States lie as (H, B), so that the product of a step is
    ``W (G H, H) @ h (H, B)``.

    ``h`` (H, T + 1, B) holds the state at every edge. ``order`` lists ``(t, before, after)``: each
    step with its two edges, in the order of the pass. All products with the inputs, and those that
    give the gradients of weights, are one product over all steps.
    """

    def __init__(self, xp, x, h, lengths, reverse):
        self.xp, self.reverse = xp, reverse
        self.count, self.batch, _ = x.shape
        self.dtype = x.dtype
        self.alive = None
        if lengths is not None:
            alive = xp.arange(self.count)[:, None] < lengths  # (T, B)
            self.alive, self.over, self.going = alive, ~alive, alive.astype(self.dtype)
            x = xp.where(alive[..., None], x, x.dtype.type(0))
        self.inputs = as_rows(x)  # (T B, I)
        self.order = [(t, t + reverse, t + (not reverse)) for t in range(self.count)]
        self.order = self.order[::-1] if reverse else self.order
        self.h = self.empty(h.shape[1], self.count + 1, self.batch)  # so that all steps together are one matrix
        self.h[:, self.order[0][1]] = h.T

    def edges(self, start):
        """Room for another state at all edges, ``start`` (B, H) at the first: (H, T + 1, B), each
        edge contiguous.
        """
        room = self.empty(self.count + 1, *start.T.shape).swapaxes(0, 1)
        room[:, self.order[0][1]] = start.T
        return room

    def empty(self, *shape):
        """An array of this pass's dtype."""
        return self.xp.empty(shape, dtype=self.dtype)

    def project(self, weight_ih):
        """``W x`` of all steps in one product: (G H, T, B)."""
        return self.xp.matmul(weight_ih, self.inputs.T).reshape(len(weight_ih), self.count, self.batch)

    def hold(self, step, *states):
        """Sequences that are over at this step keep their states."""
        if self.alive is not None:
            t, before, after = step
            for state in states:
                self.xp.copyto(state[:, after], state[:, before], where=self.over[t])

    def pack(self, *states):
        """Outputs of all steps, zeros if a sequence is over, then the final states: (T + number of
        states, B, H).
        """
        out = self.empty(self.count + len(states), self.batch, len(self.h))
        outputs = out[: self.count]
        outputs[...] = (self.h[:, :-1] if self.reverse else self.h[:, 1:]).transpose(1, 2, 0)
        if self.alive is not None:
            self.xp.copyto(outputs, 0.0, where=self.over[..., None])
        for k, state in enumerate(states):
            out[self.count + k] = state[:, self.order[-1][2]].T
        return out

    # --- backward ---------------------------------------------------------------------------------

    def unpack(self, g):
        """A packed gradient as that of the outputs (T, B, H) and fresh ones of the final states,
        each (H, B).
        """
        outputs = g[: self.count]
        if self.alive is not None:
            outputs = self.xp.where(self.alive[..., None], outputs, outputs.dtype.type(0))
        states = [self.empty(len(self.h), self.batch) for _ in range(len(g) - self.count)]
        for k, state in enumerate(states):
            state[...] = g[self.count + k].T
        return outputs, states

    def split(self, t, gradients, kept):
        """Set aside in ``kept`` the gradients of states that were only held at step t; what is left
        goes through the step.
        """
        if self.alive is not None:
            for gradient, held in zip(gradients, kept):
                self.xp.multiply(gradient, self.over[t], out=held)
                gradient *= self.going[t]

    def join(self, gradients, kept):
        """Add again what was set aside."""
        if self.alive is not None:
            for gradient, held in zip(gradients, kept):
                gradient += held

    def input_gradients(self, d, weight_ih, needs):
        """Gradients of x, W_ih and b_ih, if needed, from those of what the step adds to its inputs:
        d (G H, T, B).
        """
        xp, d = self.xp, d.reshape(len(d), self.count * self.batch)  # (G H, T B)
        gx = xp.matmul(d.T, weight_ih).reshape(self.count, self.batch, weight_ih.shape[1]) if needs[0] else None
        return gx, xp.matmul(d, self.inputs) if needs[1] else None, self._summed(d) if needs[2] else None

    def state_gradients(self, d, needs, gb_ih=None):
        """Gradients of W_hh and b_hh, if needed, from those of ``W_hh h + b_hh``: d (G H, T, B).

        gb_ih: the gradient of b_ih, if it is known and the same; copied, since a parameter's
        gradient is added to in place.
        """
        xp, d = self.xp, d.reshape(len(d), self.count * self.batch)  # (G H, T B)
        before = (self.h[:, 1:] if self.reverse else self.h[:, :-1]).reshape(len(self.h), d.shape[1])  # (H, T B)
        gw_hh = xp.matmul(d, before.T) if needs[0] else None
        if not needs[1]:
            return gw_hh, None
        return gw_hh, self._summed(d) if gb_ih is None else gb_ih.copy()

    def _summed(self, d):
        return self.xp.matmul(d, self.xp.ones(d.shape[1], dtype=d.dtype))


def sum_of_biases(*biases):
    """The given ones added up, as a column; None if there are none."""
    given = [bias for bias in biases if bias is not None]
    return sum(given[1:], start=given[0])[:, None] if given else None


def halved(rows, gates, hidden):
    """A copy of ``rows`` (G H, ...) with the sigmoid gates (slices of whole gates) halved; None
    stays None.

    Since ``sigmoid(a) = (1 + tanh(a / 2)) / 2``, one pass of tanh then serves all gates.
    """
    if rows is None:
        return None
    rows = rows.copy()
    for gate in gates:
        rows[gate.start * hidden : gate.stop * hidden] *= 0.5
    return rows
