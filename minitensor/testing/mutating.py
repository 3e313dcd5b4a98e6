"""``mutants``: how good a check is, told by what it catches of an op's rules made wrong one at a
time.

A mutant is the op with one place of one rule, kernel or definition changed (see ``rewriting.py``).
"""

from __future__ import annotations

import inspect
import linecache
import time
from collections import Counter
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from minitensor.engine.fused import Fused
from minitensor.engine.gradient import grad
from minitensor.engine.op import Op
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters import adapt
from minitensor.testing.arguments import as_inputs, split
from minitensor.testing.check import check_op
from minitensor.testing.gradients import gradcheck, gradgradcheck
from minitensor.testing.planted import changed, planted
from minitensor.testing.problem import Problem, generator, name_of
from minitensor.testing.rewriting import KEPT, KINDS, UNSUMMED, changes, unsummed
from minitensor.testing.sources import made_of, names_used, tree_of

__all__ = ["Mutant", "Mutants", "mutants"]

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

ALIKE = 1e-8  # what rounding may change, as a share of the largest element
MORE = 40  # inputs, beside those of the check, on which a mutant must equal the op to be called equivalent
USUAL = 12  # elements of the inputs that are tried first
TRIES = 4  # inputs on which a mutant is checked by themselves, before all are
NOTHING = "derivative was compared"  # a check that says so has caught nothing


@dataclass
class Mutant:
    """One changed rule. part: which rule; kind: the sort of fault; diff: the lines before and
    after.

    outcome: "caught"; "survived"; "equivalent", if it gives what the op gives on every input tried;
    "kink", if it differs only on inputs at kinks, and there lies between the slopes of both sides
    as the op does; "crashed", if it raises on every input. said: what the check said of it, or the
    error.
    """

    op: str
    part: str
    kind: str
    diff: str
    outcome: str = ""
    said: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.kind} in {self.part} of {self.op}\n{self.diff}"


@dataclass
class Mutants:
    """What became of the mutants of an op."""

    op: str
    all: list[Mutant] = field(default_factory=list)
    compared: int = 0  # inputs on which those called equivalent were compared
    seconds: float = 0.0  # of the processor

    def of(self, outcome: str) -> list[Mutant]:
        """Those that were "caught", "survived", "equivalent", "kink" or "crashed"."""
        return [mutant for mutant in self.all if mutant.outcome == outcome]

    @property
    def caught(self) -> list[Mutant]:
        """Those that the check refused."""
        return self.of("caught")

    @property
    def survived(self) -> list[Mutant]:
        """Those that differ from the op and passed: holes in the net."""
        return self.of("survived")

    @property
    def share(self) -> float:
        """Caught of those that could be: caught and survived. 1 if there are none."""
        count = len(self.caught) + len(self.survived)
        return len(self.caught) / count if count else 1.0

    def __str__(self) -> str:
        count = len(self.caught) + len(self.survived)
        lines = [f"{self.op}: {len(self.caught)} of {count} mutants caught ({100 * self.share:.4g} %)"]
        kinds = Counter(m.kind for m in (*self.caught, *self.survived))
        lines += ["  " + ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS if kinds[kind])] * bool(kinds)
        if equal := self.of("equivalent"):
            lines.append(
                f"  {len(equal)} more are equivalent: outputs, first and second derivatives were those of the op, to rounding, on "
                f"{self.compared} inputs"
            )
        if choices := self.of("kink"):
            lines.append(
                f"  {len(choices)} more make another choice at a kink: they differ from the op only on inputs where some "
                "derivative does not exist, and lie between the slopes of both sides there"
            )
        if broken := self.of("crashed"):
            lines.append(f"  {len(broken)} more crashed: they raised on every input, which any test sees")
        return "\n".join([*lines, *(str(mutant) for mutant in self.survived)])


def mutants(
    op: Callable[..., Any],
    inputs: Any,
    *,
    function: Callable[..., Any] | None = None,
    keywords: Mapping[str, Any] | None = None,
    wanted: Collection[int] | None = None,
    order: int = 2,
    examples: int = 25,
    seed: int = 0,
    limit: int | None = None,
    name: str | None = None,
    **options: Any,
) -> Mutants:
    """Make the rules of ``op`` wrong, one place at a time, and count how many ``check_op`` catches.

    op: an elementary op (its rules are changed), a fused op (its kernel for all devices, and its
    definition) of the library or your own, with the functions of its own file that these call.
    inputs, keywords, wanted, order, examples, seed and ``options``: as for ``check_op``. function:
    what is checked, if it is not the op itself but a function that runs it. limit: at most so many
    mutants, spread over all kinds; default: all.

    Kinds: sign, factor, axis, lost sum, swapped operands, off by one, wrong tie, wrong mask,
    dropped term, wrong function, and a no-grad branch (a part taken for a constant, which second
    derivatives show). A mutant that gives the op's values and derivatives on all inputs drawn, on
    forty more, and on some of these much larger, smaller, or with zeros and ones put in, counts as
    equivalent; one that differs only at kinks, where it makes another choice that the check allows,
    as such; one that raises on every input as crashed. None of these is in the share.

    Returns a ``Mutants``: print it, or read ``.share`` and ``.survived``. The op itself is not
    changed, and other threads do not see the mutants. Raises TypeError for what has no rules of
    ours, ValueError if a source cannot be read, AssertionError if the op itself does not pass.

    >>> import minitensor as mt
    >>> print(mutants(mt.sin, [mt.tensor([0.3, 2.0])], limit=4))
    sin: 4 of 4 mutants caught (100 %)
      sign 1, factor 1, swapped operands 1, dropped term 1
    """
    if not isinstance(op, (Op, Fused)):
        raise TypeError(
            f"mutants takes an op or a fused op, whose rules it can change, got {name_of(adapt(op))}: give the op, and the "
            "function that runs it as function="
        )
    started = time.process_time()
    plain = changed(op, kernels={"any": op.kernels["any"]}) if isinstance(op, Fused) and op.kernels else changed(op)
    with planted(op, plain):
        net = _Net(function or op, inputs, keywords, wanted, order, examples, seed, name or op.name, options)
        net.check()
        report = Mutants(name or op.name)
        net.op, net.plain = op, plain
        _run(net, op, _chosen(list(_mutants_of(op, report.op)), limit), report)
    report.compared, report.seconds = net.compared, time.process_time() - started
    return report


def _run(net, op, chosen, report):
    """Judge each mutant in turn. Around them stands the op itself, with its kernel for all devices
    alone.
    """
    for mutant, copy in chosen:
        with np.errstate(all="ignore"), planted(op, copy):
            mutant.outcome, mutant.said = net.judge()
        report.all.append(mutant)


def _chosen(made, limit):
    """At most ``limit`` of the mutants, one of each kind in turns, in their own order."""
    if limit is None or len(made) <= limit:
        return made
    turns: Counter[str] = Counter()
    places = []
    for place, (mutant, _) in enumerate(made):
        turns[mutant.kind] += 1
        places.append((turns[mutant.kind], KINDS.index(mutant.kind), place))
    return [made[place] for place in sorted(place for _, _, place in sorted(places)[:limit])]


# --- mutants of an op -----------------------------------------------------------------------------


def _mutants_of(op, name):
    """Pairs of a ``Mutant`` and the changed copy of the op."""
    for part, function, arrays, recorded, install in _parts(op):
        for changing, target in [(part, function), *((f"{part}, {h.__name__}", h) for h in _helpers(function))]:
            tree, filename = tree_of(target)
            lines = linecache.getlines(filename)
            made = list(changes(tree, arrays if target is function else (), recorded))
            if target is function and isinstance(op, Op) and op.arity > 1:
                made += unsummed(tree, f"{part.rpartition(' ')[2]}_shape")
            for change in made:
                try:
                    mutated = made_of(target, change.tree, {KEPT: _constant, UNSUMMED: _slice})
                except SyntaxError:  # no program, and so no mutant
                    continue
                if target is not function:
                    mutated = _rebound(function, {target.__name__: mutated})
                yield Mutant(name, changing, change.kind, change.diff(lines)), install(mutated)


def _parts(op):
    """``(words, function, parameters that hold arrays, whether it runs on Tensors, function from a
    mutant to the changed op)`` for each function of the op whose faults a check should see.
    """
    if isinstance(op, Op):
        for i, rule in enumerate(op.rules or ()):
            if isinstance(rule, FunctionType):
                names = inspect.signature(rule).parameters
                arrays = tuple(n for n in ("g", "out", *op.inputs) if n in names)

                def install(mutant, i=i):
                    return changed(op, rules=(*op.rules[:i], mutant, *op.rules[i + 1 :]))

                yield f"the rule of {op.inputs[i]}", rule, arrays, True, install
        return
    if "any" in op.kernels:
        kernel, takes_needs = op.kernels["any"]
        yield "the kernel", kernel, op.inputs, False, lambda mutant: changed(op, kernels={"any": (mutant, takes_needs)})
    # A definition that is another op, or wrapped, has no source of its own.
    if isinstance(op.definition, FunctionType):
        yield "the definition", op.definition, op.inputs, True, lambda mutant: changed(op, definition=mutant)


def _helpers(function):
    """The functions of the same file that ``function`` calls, and those that these call."""
    found: dict[str, FunctionType] = {}
    waiting = [function]
    while waiting:
        for name in sorted(names_used(waiting.pop().__code__)):
            value = function.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__globals__ is function.__globals__ and name not in found:
                if value is not function and not hasattr(value, "__wrapped__") and "check" not in name:
                    found[name] = value
                    waiting.append(value)
    return list(found.values())


def _rebound(function, replaced):
    """``function`` with ``replaced`` in place of the functions of these names, wherever its file
    calls them.
    """
    names = dict(function.__globals__)

    def moved(one):
        made = FunctionType(one.__code__, names, one.__name__, one.__defaults__, one.__closure__)
        made.__kwdefaults__ = one.__kwdefaults__
        return made

    for name, value in function.__globals__.items():
        if isinstance(value, FunctionType) and value.__globals__ is function.__globals__:
            names[name] = moved(value)
    names.update(replaced)
    return moved(function)


def _constant(value):
    """``value``, of which no derivative is taken."""
    return Tensor(value._array) if isinstance(value, Tensor) else value


def _slice(value, shape):
    """``value`` cut down to ``shape``, where it should have been summed."""
    while getattr(value, "ndim", 0) > len(shape):
        value = value[0]
    if getattr(value, "ndim", None) != len(shape):
        return value
    return value[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]


# --- the net --------------------------------------------------------------------------------------


class _Net:
    """``check_op`` of one function, and what the right op gives on the inputs that it draws."""

    def __init__(self, function, inputs, keywords, wanted, order, examples, seed, name, options):
        self.op = self.plain = function
        self.function, self.inputs, self.keywords, self.wanted = function, inputs, dict(keywords or {}), wanted
        self.order, self.name, self.seed = order, name, seed
        self.options = {"order": order, "wanted": wanted, "seed": seed, "name": name, **options}
        self.examples = examples
        self.cases = sorted(_drawn(inputs, examples, seed), key=lambda case: abs(_size(case) - USUAL))
        self.right = [self.results(case) for case in self.cases]
        self.more: list | None = None
        self.kinks: dict[int, bool] = {}
        self.compared = 0

    def check(self):
        """The check of all inputs."""
        return check_op(self.function, self.inputs, keywords=self.keywords, examples=self.examples, **self.options)

    def judge(self):
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
            return "" if NOTHING in str(error) else str(error)
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
        from hypothesis import strategies as st

        drawing = [value if isinstance(value, st.SearchStrategy) else st.just(value) for value in inputs]
        inputs = st.tuples(*drawing).map(list)
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
