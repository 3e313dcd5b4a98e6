"""Decoding with a cache, as without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, fail, readable

__all__ = ["cached_decoding", "log_probabilities"]


def cached_decoding(
    model: Any, inputs: Any, *, over: int | str | None = None, start: Callable[..., Any] | None = None,
    step: Callable[..., Any] | None = None, reorder: Callable[..., Any] | None = None,
    call: Callable[..., Any] | None = None, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """Token by token with a cache gives what the whole sequence gives, to rounding.

    Compared are log-probabilities of the next token: of ``model(*inputs)``, logits (B, T, V), and
    of ``step``. It goes token by token from the start; once more, while another decoding is under
    way; with rows kept twice, dropped and in another order in the middle; and, of a language model,
    after prompts of several lengths.

    over: the input of tokens (B, T); default: the last of an encoder-decoder's ``(source,
    target)``, the only one of a language model. start: the state before the first token, default
    ``model.start``: of an encoder-decoder ``start(*the other inputs)``, of a language model
    ``start(prompts)``, a list of arrays, each without its last token read. step: ``step(ids,
    state)``, ids (B,) an array (of PyTorch a tensor), gives logits or log-probabilities (B, V); or
    a pair of these and the next state; default ``model.step``. reorder: ``reorder(state, rows)``,
    which may return the new state; default ``state.reorder(rows)`` if there is one. The rest is as
    in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "cached_decoding"
    x = Inputs(inputs, s, seed)
    if over is None:
        arrays = [k for k, v in x.values.items() if isinstance(v, np.ndarray) and v.ndim == 2 and v.dtype.kind in "iu"]
        over = 1 if 1 in arrays else arrays[0] if arrays else 0
    ids = x.array(over, name)
    others = x.without([over])
    with s.kept(), s.no_grad():
        run = _Decoding(s, others, start or s.model.start, step or s.model.step, reorder)
        whole = log_probabilities(readable(name, s, x))  # (B, T, V)
        if whole.ndim != 3 or whole.shape[:2] != ids.shape or ids.shape[1] < 3 or len(ids) < 2:
            raise ValueError(
                f"{name}: needs tokens of at least two rows and three positions, and logits (B, T, V) of them, got {ids.shape} and "
                f"{whole.shape}"
            )
        bound = (s.tolerance if tolerance is None else float(tolerance)) * max(
            1.0, float(np.abs(whole[np.isfinite(whole)]).max())
        )
        check = _Check(s, whole, bound)
        _from_the_start(run, ids, check, "")
        _beside_another(run, ids, check)
        note = _reordered(run, ids, check)
        if not others.values:
            _after_prompts(run, ids, check)
    return Held(name, check.compared, check.largest, (note,) if note else ())


def log_probabilities(logits):
    """``log softmax`` over the last axis, in float64; of log-probabilities it is themselves."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class _Decoding:
    """``start``, ``step`` and ``reorder`` of arrays."""

    def __init__(self, s, others, start, step, reorder):
        self.s, self.others, self.start, self.step, self._reorder = s, others, start, step, reorder

    def begin(self, prompts):
        args, kwargs = self.others.called()
        if not self.others.values:
            args = [[np.asarray(prompt) for prompt in prompts]]
        return self.start(*args, **kwargs)

    def next(self, ids, state):
        """``(log-probabilities (B, V), state)`` after one more token (B,)."""
        found = self.step(self.s.tokens(ids), state)
        found, state = found if isinstance(found, tuple) else (found, state)
        found = self.s.array(found) if self.s.is_tensor(found) else np.asarray(found)
        return log_probabilities(found.reshape(len(found), -1)), state

    def reordered(self, state, rows):
        if self._reorder is not None:
            new = self._reorder(state, rows)
        else:
            new = state.reorder(rows)
        return state if new is None else new


class _Check:
    """Compares a step with the whole, and counts."""

    def __init__(self, s, whole, bound):
        self.s, self.whole, self.bound, self.compared, self.largest = s, whole, bound, 0, 0.0
        self.scale = max(1.0, float(np.abs(whole[np.isfinite(whole)]).max()))

    def __call__(self, found, rows, positions, when, cause, cure):
        """``found`` (n, V) against the whole at ``rows`` and ``positions``."""
        expected = self.whole[rows, positions]
        if found.shape != expected.shape:
            raise ValueError(
                f"cached_decoding: step gives {found.shape}, and needs {expected.shape}, one row for each token"
            )
        gap = np.where(found == expected, 0.0, np.abs(found - expected))
        gap = np.where(np.isnan(gap), np.inf, gap)
        self.compared += 1
        self.largest = max(self.largest, float(gap.max()) / self.scale)
        if gap.max() > self.bound:
            row, token = np.unravel_index(int(gap.argmax()), gap.shape)
            position = np.broadcast_to(positions, len(found))[row]
            fail(
                "cached_decoding", self.s.name, f"the log-probabilities after token {position} of row {row} are other ones{when}",
                f"of token {token}: {found[row, token]:.6g} with the cache, {expected[row, token]:.6g} without; "
                f"{np.count_nonzero(gap > self.bound)} of {gap.size} differ, by up to {gap.max():.3g}",
                cause=cause, cure=cure,
            )  # fmt: skip


def _from_the_start(run, ids, check, when):
    state = run.begin([row[:1] for row in ids])
    for t in range(ids.shape[1]):
        found, state = run.next(ids[:, t], state)
        cause = (
            "positions are counted from 0 in every step, or the cache is not read"
            if t
            else "start() leaves something else"
        )
        cure = "give a new token the position cache.length, and let it look at all keys that are held and its own"
        check(found, np.arange(len(ids)), t, when, cause, cure)


def _beside_another(run, ids, check):
    """Two decodings in turn: what is held belongs to a state, not to the model."""
    one = run.begin([row[:1] for row in ids])
    found, one = run.next(ids[:, 0], one)
    other = run.begin([row[:1] for row in ids])
    for t in range(1, ids.shape[1]):
        when = ", if another decoding is begun in between"
        cause = "the cache is kept in the model and not in the state, or is not new in start()"
        cure = "make a new cache in start() and hand it on in the state"
        found, one = run.next(ids[:, t], one)
        check(found, np.arange(len(ids)), t, when, cause, cure)
        found, other = run.next(ids[:, t - 1], other)
        check(found, np.arange(len(ids)), t - 1, when, cause, cure)


def _reordered(run, ids, check):
    """Rows in another order, one twice and one dropped; a note if that cannot be done."""
    state = run.begin([row[:1] for row in ids])
    if run._reorder is None and not hasattr(state, "reorder"):
        return "rows were not reordered (the state has no reorder(rows))"
    half = ids.shape[1] // 2
    for t in range(half):
        _, state = run.next(ids[:, t], state)
    rows = np.array([1, 0, 0, *range(3, len(ids))])
    state = run.reordered(state, rows)
    for t in range(half, ids.shape[1]):
        found, state = run.next(ids[rows, t], state)
        check(
            found, rows, t, f" after reorder({rows.tolist()})",
            "reorder() leaves a part of the state as it was, or takes rows along another axis",
            "take the rows of every array in the state: keys, values, masks, recurrent states, paddings",
        )  # fmt: skip
    return ""


def _after_prompts(run, ids, check):
    """Prompts of several lengths at once, each then going on from its own end."""
    lengths = 1 + np.arange(len(ids)) % (ids.shape[1] - 1)
    state = run.begin([row[:n] for row, n in zip(ids, lengths)])
    for more in range(ids.shape[1] - lengths.max() + 1):
        at = lengths - 1 + more
        found, state = run.next(ids[np.arange(len(ids)), at], state)
        check(
            found, np.arange(len(ids)), at, f" after prompts of {lengths.tolist()} tokens",
            "the padding of shorter prompts is looked at, or counted among the positions",
            "mask the padding in every later step, and count a token's position without it",
        )  # fmt: skip
