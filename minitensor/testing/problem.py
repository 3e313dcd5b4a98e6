"""A function with its inputs, ready to be checked: float64, frozen, with its outputs as a list and
its random bits repeatable.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from minitensor import random
from minitensor.engine.autograd import new_leaf, raw
from minitensor.engine.mode import current_mode, enable_grad, no_grad
from minitensor.engine.tensor import Tensor
from minitensor.testing.adapters import Adapted, adapt
from minitensor.testing.arguments import as_choice, as_inputs
from minitensor.testing.forms import Turns, form_of, kind_of
from minitensor.testing.lending import on_device, with_parameters
from minitensor.testing.packing import count_of, freeze, frozen, pack, spread
from minitensor.testing.pulling import frozen_graph, pull

__all__ = ["Problem", "check_options", "generator", "name_of", "show"]


SMALL = 2**12  # bytes of inputs, and of outputs, that are remembered
REMEMBERED = 2**12  # outputs beside the inputs that are


def check_options(name, seed, rtol, atol, order=1):
    """Raise if an option of a check is none that it can have."""
    for option, value in (("rtol", rtol), ("atol", atol)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
            raise ValueError(f"{name}: {option} must be a number of at least 0, got {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"{name}: seed must be an integer of at least 0, got {seed!r}")
    if order not in (0, 1, 2):
        raise ValueError(
            f"{name}: order must be 0 (values), 1 (first derivatives) or 2 (second ones as well), got {order!r}"
        )


def generator(seed):
    """Random numbers for cotangents and directions, not those of ``default_rng(seed)``, which
    inputs are often made of.
    """
    return np.random.default_rng((seed, 2026))


def name_of(function):
    """What to call a function, an op or a module in a message."""
    return getattr(function, "name", None) or getattr(function, "__name__", None) or type(function).__name__


def show(value):
    """An input as one would type it."""
    value = raw(value)
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return f"np.zeros({value.shape}, dtype={str(value.dtype)!r})"
        body = np.array2string(value, separator=", ", threshold=200, floatmode="unique").replace("\n", "")
        return f"np.array({body}, dtype={str(value.dtype)!r})"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(show(v) for v in value)})"
    if isinstance(value, dict):
        return ", ".join(f"{k}={show(v)}" for k, v in value.items())
    return repr(value)


class Problem:
    """``function`` at ``inputs``, with every floating input in ``dtype`` and read-only.

    The differentiable inputs are the floating ones (of them, those numbered in ``wanted``). A
    module's parameters count as further inputs, so that a layer is checked like any function. Calls
    repeat the same random bits: dropout is a function too.
    """

    def __init__(
        self, function, inputs, keywords=None, wanted=None, dtype=np.float64, name=None, device=None, at_kinks=None
    ):
        inputs = as_inputs(inputs)
        function = adapt(function, (inputs, keywords))
        if isinstance(function, Adapted) and device is not None:
            function, device = function.on(device), None
        self.name = name or name_of(function)
        self.given = function  # as it is called: an op of ours, or one that was adapted
        self.scale = 0.0  # size of what the outputs are made of, if that is larger than they are
        self.cancelling = 0.0  # size of numbers that may cancel in a gradient
        self.keywords = dict(keywords or {})
        self.beside: dict[bytes, list] = {}  # what was computed beside the inputs: lines cross there again and again
        self.looked_at: set = set()  # forms with which no backward was found that nobody calls
        self.turns = Turns()
        self.returned: list = []  # what rules returned at the last pass, and copies of it
        self.cotangents_given: list = []  # those of the gradient that is being compared
        values: list = []
        origins: list[int] = []
        self.labels: list[str] = []
        self.layout: list = []
        for i, (value, label) in enumerate(zip(inputs, _labels(function, len(inputs)))):
            self.layout.append(spread(value, label, values, self.labels))
            origins += [i] * (len(values) - len(origins))
        foreign = isinstance(function, Adapted)
        parameters = list(function.named_parameters()) if hasattr(function, "named_parameters") else []
        self.function = with_parameters(function, [p for _, p in parameters], len(inputs)) if parameters else function
        parameters = function.parameters if foreign else parameters
        self.function = self.function if device is None else on_device(self.function, device)
        self.labels += [f"parameter {label}" for label, _ in parameters]
        self.values = [frozen(value, dtype) for value in [*values, *(p for _, p in parameters)]]
        self.at_kinks = as_choice(self.name, at_kinks, self.values)
        for i, value in enumerate(self.values):
            if isinstance(value, np.ndarray) and value.dtype.kind == "O":
                raise TypeError(
                    f"{self.name}: {self.label(i)} is an array of objects: give one of numbers, .astype(float)"
                )
        if wanted is not None and (isinstance(wanted, (str, bytes)) or not hasattr(wanted, "__iter__")):
            raise TypeError(f"{self.name}: wanted must be a list of numbers of inputs, such as [0], got {wanted!r}")
        unknown = [i for i in wanted or () if i not in range(len(inputs))]
        if unknown:
            raise ValueError(f"{self.name}: wanted={wanted!r} numbers inputs from 0, and there are {len(inputs)}")
        floating = [i for i, v in enumerate(self.values) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
        self.wanted = [i for i in floating if wanted is None or i >= len(origins) or origins[i] in wanted]
        for i, value in enumerate(self.values):
            asked = wanted is None or i >= len(origins) or origins[i] in wanted
            if asked and isinstance(value, np.ndarray) and value.dtype.kind == "c":
                raise TypeError(
                    f"{self.name}: {self.label(i)} is {value.dtype}, and complex numbers are not differentiated: make it of its "
                    "real and imaginary part within the function, or leave it out of wanted="
                )

    def packed(self, values):
        """``values`` as the arguments of the function: those that came in a list are in
        one again.
        """
        count = sum(count_of(item) for item in self.layout)
        return [*(pack(item, values) for item in self.layout), *values[count:]]

    def replaced(self, values):
        """The same problem at other ``values``, which are taken as they are."""
        other = object.__new__(Problem)
        other.__dict__.update(self.__dict__, values=list(values), beside={})
        for known in ("outputs", "recorded", "pulled_back"):
            other.__dict__.pop(known, None)
        return other

    @cached_property
    def form(self):
        """What a function mostly branches on: inputs that are no arrays, and of arrays the types,
        the dimensions, and which have length 0 or 1; not the elements, nor other lengths.
        """
        return str(self.layout), *map(form_of, self.values), *((name, form_of(v)) for name, v in self.keywords.items())

    @cached_property
    def kind(self):
        """What the code of a rule branches on, told more roughly than by ``form``: without numbers,
        and of lengths whether some input, and some output, has no element, or one.
        """
        given = {**dict(enumerate(self.values)), **self.keywords}
        sizes = [min([2, *(a.size for a in some)]) for some in ([self.values[i] for i in self.wanted], self.outputs)]
        return str(self.layout), *sizes, *((name, kind_of(raw(value))) for name, value in given.items())

    @cached_property
    def outputs(self):
        """The raw outputs at the inputs themselves, computed once."""
        return self.evaluate()

    @cached_property
    def recorded(self):
        """``(outputs, leaves)`` of one recorded call, for what changes nothing in its graph."""
        return self.record()

    @cached_property
    def pulled_back(self):
        """``(cotangents, gradients)``: random ones, and what all wanted inputs get from them,
        computed once.
        """
        cotangents = self.cotangents(self.outputs, generator(0))
        return cotangents, self.gradients(cotangents)

    def refuse_complex(self):
        """TypeError if an output is complex: it would be left out."""
        for k, out in enumerate(self.outputs):
            if out.dtype.kind == "c":
                raise TypeError(
                    f"{self.name}: output {k} is {out.dtype}, and complex numbers are not differentiated: return its real and "
                    "imaginary part, two outputs"
                )

    def label(self, i):
        """Input ``i`` in words."""
        return f"input {i} ({self.labels[i]})" if i < len(self.labels) else f"input {i}"

    def index(self, i, place):
        """The index of an element of input ``i``, numbered in the flat array."""
        return tuple(int(k) for k in np.unravel_index(place, self.values[i].shape))

    def given_text(self):
        """The inputs and keywords, a line each."""
        given = "\n".join(f"  {self.label(i)} = {show(v)}" for i, v in enumerate(self.values))
        return given + (f"\n  {show(self.keywords)}" if self.keywords else "")

    def call(self, values):
        """The outputs at ``values`` (Tensors, arrays or anything else), as a list of Tensors."""
        state = random.default.state
        try:
            out = self.function(*self.packed(values), **self.keywords)
        except ValueError as error:
            raise _impure(self.name, error) from None
        finally:
            if random.default.state != state:
                random.default.state = state
        outputs = list(out) if isinstance(out, (tuple, list)) else [out]
        if not all(isinstance(o, Tensor) for o in outputs):
            raise TypeError(f"{self.name}: a check needs a function that returns Tensors, got {type(out).__name__}")
        return outputs

    def evaluate(self, values=None):
        """Raw outputs, nothing recorded."""
        if current_mode.get().grad:
            with no_grad():
                return self.evaluate(values)
        values = self.values if values is None else values
        return [o._array for o in self.call([Tensor(v) if isinstance(v, np.ndarray) else v for v in values])]

    def evaluate_beside(self, values):
        """The raw outputs at ``values``, which are the inputs moved by a step: NaN if the function
        refuses these, by an ``assert`` too, since they lie outside its domain.
        """
        arrays = [v for v in values if isinstance(v, np.ndarray)]
        known = None
        if sum(v.nbytes for v in arrays) <= SMALL:
            known = b"".join(v.tobytes() for v in arrays)
            if known in self.beside:
                return self.beside[known]
        refusals = (ValueError, ArithmeticError, *([RuntimeError] if isinstance(self.given, Adapted) else ()))
        try:
            outputs = self.evaluate(values)
        except (*refusals, AssertionError) as error:
            if isinstance(error, AssertionError) and _is_ours(error):
                raise
            outputs = [np.full(o.shape, np.nan) for o in self.evaluate()]
        if known is not None and len(self.beside) < REMEMBERED and sum(o.nbytes for o in outputs) <= SMALL:
            self.beside[known] = outputs
        return outputs

    def record(self, wanted=None):
        """``(outputs, leaves)``: Tensors, with one leaf per wanted input."""
        wanted = self.wanted if wanted is None else wanted
        arguments = [Tensor(v) if isinstance(v, np.ndarray) else v for v in self.values]
        for i in wanted:
            arguments[i].node = new_leaf(arguments[i]._array)
        with enable_grad():
            return self.call(arguments), [arguments[i] for i in wanted]

    def cotangents(self, outputs, rng):
        """One frozen random gradient per floating output; None for the others."""
        return [
            freeze(np.asarray(rng.standard_normal(o.shape), dtype=o.dtype)) if o.dtype.kind == "f" else None
            for o in outputs
        ]

    def gradients(self, cotangents, wanted=None):
        """The first-order gradients of all wanted inputs as raw arrays, with everything that a rule
        is given frozen.
        """
        outputs, leaves = self.record(wanted)
        return self.pulled(outputs, leaves, cotangents)

    def pulled(self, outputs, leaves, cotangents, keep=False):
        """As ``gradients``, of outputs that are recorded already. keep: the graph, for another
        time.
        """
        given = [None if c is None else Tensor(c) for c in cotangents]
        with frozen_graph([o.node for o in outputs if o.node is not None]) as returned:
            gradients = [raw(g) for g in self.pull(outputs, leaves, given, keep=keep)]
        for array, as_it_was in [*self.returned, *returned]:
            if not np.array_equal(array, as_it_was, equal_nan=True):
                raise AssertionError(
                    f"{self.name}: a rule writes to an array that it returned at an earlier call, a buffer that it keeps: whoever "
                    "holds that gradient has another one then; return a new array at each call"
                )
        self.returned[:] = returned
        return gradients

    def pull(self, outputs, leaves, cotangents, create_graph=False, keep=False):
        """Gradients of ``leaves`` as Tensors, zeros if there is none; whatever a rule raises is a
        failed check.
        """
        try:
            return pull(outputs, leaves, cotangents, create_graph, keep)
        except Exception as error:
            impure = _impure(self.name, error)
            recorded = " if it is recorded for a second derivative" if create_graph else ""
            text = f"{self.name}: its gradient fails{recorded}: {type(error).__name__}: {error}"
            raise (AssertionError(text) if impure is error else impure) from error


def _impure(name, error):
    """A write to a frozen array told as what it is; any other error as it is."""
    if not isinstance(error, ValueError) or "read-only" not in str(error):
        return error
    return AssertionError(
        f"{name} writes to one of its arguments ({error}); an op and its rules are pure: return a new array"
    )


def _is_ours(error):
    """Whether a check raised the AssertionError, and not the function that it runs."""
    while isinstance(error.__cause__, AssertionError):  # a check may have put the name of the function before it
        error = error.__cause__
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    return f"{place.tb_frame.f_globals.get('__name__')}.".startswith("minitensor.testing.")


def _labels(function, count):
    names = getattr(function, "input_names", None)
    names = list(names(count)) if callable(names) else list(getattr(function, "labels", ()))
    return (names + [f"argument {i}" for i in range(len(names), count)])[:count]
