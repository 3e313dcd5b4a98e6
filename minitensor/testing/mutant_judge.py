"""Whether ``check_op`` catches the mutant that is planted now, and if not, whether it could."""

from __future__ import annotations

import re

import numpy as np

from minitensor.engine.gradient import grad
from minitensor.engine.tensor import Tensor
from minitensor.testing.arguments import as_inputs, drawn_list, split
from minitensor.testing.check import check_op
from minitensor.testing.gradients import gradcheck, gradgradcheck
from minitensor.testing.planted import planted
from minitensor.testing.problem import Problem, generator

__all__ = ["Judge"]

ALIKE = 1e-8  # what rounding may change, as a share of the largest element
MORE = 40  # inputs, beside those of the check, on which a mutant must equal the op to be called equivalent
USUAL = 12  # elements of the inputs that are tried first
TRIES = 4  # inputs on which a mutant is checked by themselves, before all are
NOTHING = re.compile("derivative (of .+ |in .+ )?was compared")  # a check that says so has caught nothing


class Judge:
    """``check_op`` of one function that runs an op, and what the right op gives on the inputs that
    the check draws, which is computed here: while a mutant is planted, `outcome` compares.

    plain: the op with its kernel for all devices alone, which stands where no mutant does. cases:
    the drawn inputs; right: outputs and derivatives of each; more: such pairs for mutants that are
    alike on all of these, drawn when the first is; kinks: by the number of a case whether the op
    has one there; compared: on how many inputs equivalent mutants were compared.
    """

    def __init__(self, op, plain, function, inputs, *, keywords, examples, wanted, order, seed, name, **options):
        self.op, self.plain, self.function = op, plain, function
        self.inputs, self.keywords, self.examples, self.wanted = inputs, keywords, examples, wanted
        self.order, self.seed, self.name = order, seed, name
        self.options = {"order": order, "wanted": wanted, "seed": seed, "name": name, **options}
        self.cases = sorted(_drawn(inputs, examples, seed), key=lambda case: abs(_size(case) - USUAL))
        self.right = [self.results(case) for case in self.cases]
        self.more: list | None = None
        self.kinks: dict[int, bool] = {}
        self.compared = 0

    def check(self):
        """The check of all inputs."""
        return check_op(self.function, self.inputs, keywords=self.keywords, examples=self.examples, **self.options)

    def outcome(self):
        """``(outcome, words)`` of the mutant that is planted now."""
        raised, different = [], []
        for k, (case, right) in enumerate(zip(self.cases, self.right)):
            if isinstance(right, Exception):
                continue
            found = self.results(case)
            if isinstance(found, Exception):
                raised.append((k, found))
            elif not _alike(found, right):
                different.append(k)
                if len(different) <= TRIES and (said := self.complaint(k)):
                    return "caught", said
        if raised and len(raised) == sum(
            _size(c) > 0 for c, r in zip(self.cases, self.right) if not isinstance(r, Exception)
        ):
            return "crashed", f"{type(raised[0][1]).__name__}: {raised[0][1]}"
        for k, _ in raised[:TRIES]:
            if said := self.complaint(k):
                return "caught", said
        if not different and not raised and self.equals_elsewhere():
            return "equivalent", ""
        try:
            self.check()
        except Exception as error:
            return "caught", str(error)
        if different and not raised and all(map(self.at_kink, different)):
            return "kink", ""
        return "survived", ""

    def complaint(self, k):
        """What ``check_op`` says of the ``k``-th input, "" if it passes."""
        try:
            check_op(self.function, self.cases[k], keywords=self.keywords, **self.options)
        except AssertionError as error:
            return "" if NOTHING.search(str(error)) else str(error)
        except Exception as error:
            return str(error)
        return ""

    def at_kink(self, k):
        """Whether the op has kinks at the ``k``-th input, in its value or its gradient."""
        if k not in self.kinks:
            options = {"keywords": self.keywords, "wanted": self.wanted, "seed": self.seed}
            case, at_end = split(self.function, self.cases[k], self.keywords)
            options["keywords"] = {**self.keywords, **(at_end or {})}
            with planted(self.op, self.plain):
                self.kinks[k] = any(
                    _has_kinks(check, self.function, case, options) for check in (gradcheck, gradgradcheck)
                )
        return self.kinks[k]

    def equals_elsewhere(self):
        """Whether the mutant gives what the op gives on many more inputs, near and far."""
        if self.more is None:
            drawn = _drawn(self.inputs, MORE, self.seed + 1)
            part = [case for case in drawn if _size(case)][: MORE // 4]
            cases = [*drawn, *(_scaled(case, s) for s in (1e-3, 10.0, 100.0) for case in part)]
            cases += [_with(case, value) for value in (0.0, 1.0) for case in part]
            with planted(self.op, self.plain):
                self.more = [(case, self.results(case)) for case in cases]
            self.compared = len(self.cases) + len(self.more)
        return all(_alike(self.results(case), right) for case, right in self.more)

    def results(self, case):
        """Outputs and all derivatives at one input, as arrays; or the error."""
        try:
            return self.derivatives(case)
        except Exception as error:
            return error

    def derivatives(self, case):
        case, at_end = split(self.function, case, self.keywords)
        named = {**self.keywords, **(at_end or {})}
        found = []
        for dtype in (np.float64, np.float32):
            problem = Problem(self.function, case, named, self.wanted, dtype=dtype, name=self.name)
            rng = generator(self.seed)
            outputs = problem.evaluate()
            found += outputs
            cotangents = problem.cotangents(outputs, rng)
            if not any(c is not None and c.size for c in cotangents) or not problem.wanted or self.order == 0:
                continue
            found += problem.gradients(cotangents)
            if dtype == np.float64 and self.order > 1:
                found += self.second(problem, cotangents, rng)
                if len(problem.wanted) > 1:
                    found += [g for i in problem.wanted for g in problem.gradients(cotangents, wanted=[i])]
        return found

    def second(self, problem, cotangents, rng):
        """The recorded gradients and their derivatives."""
        outputs, leaves = problem.record()
        seeds = [None if c is None else Tensor(c).requires_grad_() for c in cotangents]
        first = problem.pull(outputs, leaves, seeds, create_graph=True)
        pairs = [(g, Tensor(rng.standard_normal(g.shape))) for g in first if g.node is not None]
        ends = [*leaves, *(s for s in seeds if s is not None)]
        if not pairs:
            return [*(g._array for g in first), *(np.zeros(e.shape) for e in ends)]
        found = grad([g for g, _ in pairs], ends, [c for _, c in pairs], allow_unused=True)
        return [
            *(g._array for g in first),
            *(np.zeros(e.shape) if g is None else g._array for g, e in zip(found, ends)),
        ]


def _has_kinks(check, function, case, options):
    try:
        return check(function, case, **options).kinks > 0
    except AssertionError as error:
        return "is at a kink" in str(error)  # every one of them


def _alike(found, right):
    """Whether two lists of arrays are equal to rounding. A float32 result counts to its own, and a
    small one may be what is left of numbers as large as the largest: the float64 ones tell.
    """
    if isinstance(right, Exception):
        return True  # nothing to compare with
    if isinstance(found, Exception) or len(found) != len(right):
        return False
    singles = [np.abs(b[np.isfinite(b)]).max(initial=0.0) for b in right if b.dtype == np.float32]
    top = max(singles, default=0.0)
    for a, b in zip(found, right):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            continue
        if a.dtype.kind != "f":
            return False
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
            return False
        bound = ALIKE * np.abs(b[finite]).max(initial=0.0) if a.dtype == np.float64 else 1e-4 * top
        if (np.abs(a[finite] - b[finite]) > bound).any():
            return False
    return True


def _drawn(inputs, count, seed):
    """The inputs that ``check_op`` draws with this seed, each a list; or the given ones."""
    inputs = inputs if hasattr(inputs, "example") else as_inputs(inputs)
    if isinstance(inputs, list):
        if not any(hasattr(value, "example") for value in inputs):
            return [inputs]
        inputs = drawn_list(inputs)
    import hypothesis as hy

    cases: list = []

    @hy.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hy.HealthCheck),
        phases=(hy.Phase.generate,),
    )
    @hy.seed(seed)
    @hy.given(inputs)
    def draw(case):
        cases.append(list(case) if isinstance(case, (list, tuple)) else [case])

    draw()
    return cases


def _scaled(case, factor):
    """A case whose floating inputs are ``factor`` times as large."""
    return [
        value * factor if isinstance(value, (np.ndarray, Tensor)) and value.dtype.kind == "f" else value
        for value in case
    ]


def _with(case, number):
    """A case with ``number`` in every other place of its floating inputs."""
    changed = []
    for value in case:
        if isinstance(value, (np.ndarray, Tensor)) and value.dtype.kind == "f":
            value = np.array(value.data if isinstance(value, Tensor) else value, order="C")
            value.reshape(-1)[::2] = number
        changed.append(value)
    return changed


def _size(case):
    return sum(int(np.prod(value.shape)) for value in case if isinstance(value, (np.ndarray, Tensor)))
