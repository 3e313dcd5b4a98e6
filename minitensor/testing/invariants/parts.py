"""Rows and columns of parameters that never get a gradient, and what may explain it.

A part that is not used gets none whatever the model is given. Others get none by chance or by what
they are for: a ReLU that is off, ids that do not occur, a table of positions that is longer than
the inputs. They are told apart by trying: with other parameters, other ids and fewer positions, a
part that is not used, or is under a fixed mask, stays what it is, and nothing else does.
"""

from __future__ import annotations

import numpy as np

from minitensor.testing.invariants.inputs import cuts

__all__ = ["Reached", "found_gradients", "in_words", "never_reached"]

TABLES = ("Embedding", "PositionalEncoding", "PositionBias")  # what classes are called whose rows are looked up
TRIES = 4  # of each kind


def found_gradients(s, x, rng):
    """Of a random combination of the outputs: an array for each parameter that has a gradient."""
    with s.enable_grad():
        output = s.output(x)
    parameters = {key: p for key, p in s.model.named_parameters() if p.requires_grad}
    seeds = rng.standard_normal(tuple(output.shape)).astype(s.float_dtype)
    found = s.gradients(output, seeds, list(parameters.values()))
    return {key: g for key, g in zip(parameters, found) if g is not None}


class Reached:
    """Which places along the first two axes of each parameter had a gradient other than 0."""

    def __init__(self, s):
        self.seen = {}  # (name, axis): a boolean for each place
        self.tables = {
            f"{path}.{key}" if path else key
            for path, module in s.model.named_modules()
            if any(word in kind.__name__ for kind in type(module).__mro__ for word in TABLES)
            for key in [*vars(module), *getattr(module, "_parameters", ())]
        }

    def add(self, key, g):
        for axis in range(min(g.ndim, 2)):
            if g.shape[axis] > 1 and not (axis == 0 and key in self.tables):
                seen = (g != 0).any(axis=tuple(other for other in range(g.ndim) if other != axis))  # NaN is
                self.seen[key, axis] = self.seen.get((key, axis), False) | seen

    def left(self, keys):
        """``{(name, axis): places}`` without a gradient, of parameters that have one elsewhere."""
        return {
            (key, axis): np.flatnonzero(~seen)
            for (key, axis), seen in self.seen.items()
            if key in keys and seen.any() and not seen.all()
        }


def never_reached(s, x, left):
    """``(unused, looked up, note)`` of what is left: what no variation explains, what is in a
    parameter that is reached in other places by other inputs, and why all that is not sure.
    """
    other, rng = s.copied(), np.random.default_rng(0)
    if other is None:
        return left, {}, "the model cannot be copied"
    if s.tolerance > 1e-3:
        return left, {}, "a gradient of 16 bits may be too small for them"
    trained = [(p, s.array(p)) for _, p in other.model.named_parameters() if p.requires_grad and s.is_floating(p)]
    found, refused = [], False
    with other.kept(training=True):
        for kind in _variations(s, x):
            reached = Reached(s)
            try:
                for _ in range(TRIES):
                    for p, array in trained:
                        other.assign(p, _like(array, rng))
                    for key, g in found_gradients(other, kind(), rng).items():
                        reached.add(key, g)
            except Exception:
                refused = True
                continue
            found.append(reached.seen)
    unused: dict = {}
    looked_up: dict = {}
    for where, places in left.items():
        seen = [each[where] for each in found if where in each]
        places = np.array([place for place in places if not any(one[place] for one in seen)], dtype=int)
        if len(places):
            same = all(np.array_equal(one, seen[0]) for one in seen)
            (unused if same else looked_up)[where] = places
    if not found or refused:
        return unused, looked_up, "the model cannot be called with other parameters, other ids and fewer positions"
    if any(isinstance(v, np.ndarray) and v.ndim > 1 and v.shape[1] == 1 for v in x.values.values()):
        return unused, looked_up, "there is one position"
    return unused, looked_up, ""


def _like(array, rng):
    """Numbers as large and as different as those of ``array``."""
    spread = max(float(array.std()), 0.5 * abs(float(array.mean())), 0.1)
    return (array.mean() + spread * rng.standard_normal(array.shape)).astype(array.dtype)


def _variations(s, x):
    """Functions that give inputs: as they are, of half of the ids, of fewer positions."""
    kinds = [x.again]
    ids = [
        k
        for k, v in x.values.items()
        if isinstance(v, np.ndarray) and v.ndim > 1 and v.dtype.kind in "iu" and v.max() > 0
    ]
    pools = {key: np.unique(x.values[key][x.values[key] >= 0]) for key in ids}
    pools = {key: pool for key, pool in pools.items() if len(pool) > 1}
    if pools:
        for half in (0, 1):

            def drawn(half=half):
                values = {}
                for key, pool in pools.items():
                    few = pool[: len(pool) // 2] if half else pool[len(pool) // 2 :]
                    array = x.values[key]
                    values[key] = np.where(array >= 0, x.rng.choice(few, array.shape), array).astype(array.dtype)
                return x.again().replaced(values)

            kinds.append(drawn)
    sequences = [
        k for k, v in x.values.items()
        if isinstance(v, np.ndarray) and v.ndim == (3 if v.dtype.kind == "f" else 2) and v.shape[1] > 2
    ]  # fmt: skip
    if sequences:  # of features (B, T, F) or (B, F, T), or ids
        first, array = sequences[0], x.values[sequences[0]]
        shorter = [cut(array.shape[1] - 1) for cut in cuts(x, first)] + [x.replaced({first: array[..., :-1]})]
        kinds.append(lambda: next((one for one in shorter if _runs(s, one)), None))
    return kinds


def _runs(s, x):
    try:
        s.run(x)
    except Exception:
        return False
    return True


def in_words(where, places):
    """A parameter's places, such as ``qkv.weight[8:12]`` and ``weight[:, 3]``."""
    key, axis = where
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    ranges = [str(run[0]) if len(run) == 1 else f"{run[0]}:{run[-1] + 1}" for run in runs]
    words = " and ".join(f"{key}[{':, ' * axis}{one}]" for one in ranges[:3])
    return words if len(ranges) <= 3 else f"{words} and {len(ranges) - 3} more parts of it"
