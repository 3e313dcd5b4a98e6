"""The Finding of a bad result in forward: the cause, and whose fault it is: the op's, the data's, a
parameter's, or a learning rate's.
"""

from __future__ import annotations

from minitensor.backend import is_array, is_narrow, namespace_of, np, widen
from minitensor.diagnosis import updates
from minitensor.diagnosis.arrays import Bad, bad_in, host, number
from minitensor.diagnosis.finding import Finding, Step
from minitensor.diagnosis.forward import NORMS, Case, Cause, cause_of_result
from minitensor.diagnosis.places import Site
from minitensor.diagnosis.records import MOVES, name_of, nearest, origin, record_of
from minitensor.diagnosis.scales import greatest_gradient, greatest_of, power_below
from minitensor.engine.autograd import call_of, reachable
from minitensor.engine.mode import switched
from minitensor.engine.tensor import Tensor

__all__ = [
    "OVERFLOWS", "blame", "blame_rate", "finding_of", "finding_of_given", "finding_of_result", "maker_of", "maker_of_node",
    "step_of", "within",
]  # fmt: skip

DATA, PARAMETER = "NaN or infinity in the data", "NaN or infinity in a parameter"
OVERFLOWS = ("overflow", "exp overflow", "16-bit overflow")


def step_of(node):
    """A Step of the op of a node."""
    site = call_of(node)
    name = "leaf" if node.pullback is None else node.pullback.op_name
    return Step(name, site.module, site.line) if isinstance(site, Site) else Step(name)


def maker_of_node(node):
    """The name of the op that made a node, past ops that only move values."""
    while node is not None and node.pullback is not None:
        name = node.pullback.op_name
        if name == "multiply":  # of a product of norms that of the norm
            return next((maker for maker in map(maker_of_node, node.parents) if maker in NORMS), name)
        if name == "sqrt" and maker_of_node(node.parents[0]) == "var":
            return "std"
        if name not in MOVES or not node.parents:
            return name
        node = node.parents[0]
    return ""


def maker_of(value):
    """The name of the op that made a value, past ops that only move it; "" if none is known."""
    record = nearest(value) if value is not None else None
    return "" if record is None else name_of(record)


def _masked(value):
    """Whether a sum is one of exponentials of a row that holds infinities."""
    record = nearest(value)
    while record is not None and record.name != "exp":
        record = next((one for one in record.inputs if one is not None), None)
    return record is not None and (
        bool(record.given) or any(one is not None and not one.whole for one in record.inputs)
    )


# --- forward --------------------------------------------------------------------------------------


def finding_of_result(op, args, arrays, params, made, site, maker=None, walk=None):
    """The Finding of a bad result that an op made of ``arrays``. args: the same as they were given,
    Tensors among them. walk: a function that gives the Finding of an operand that was made before
    ``detect_anomaly`` was on.
    """
    names = list(op.input_names(len(arrays)))
    by_name = dict(zip(names, args))
    case = Case(
        op.name, dict(zip(names, map(host, arrays))), dict(params), host(made), _exact(op, arrays, params, made), made.dtype,
        maker or (lambda name: maker_of(by_name[name])), lambda name: _masked(by_name[name]),
    )  # fmt: skip
    cause = cause_of_result(case)
    if cause.name in ("undefined value", "overflow") and hasattr(op, "definition") and op.kernels:
        cause = _inside(op, arrays, params) or cause
    finding = finding_of(cause, op.name, "forward", site, made.dtype)
    if cause.given in by_name:
        _blame_operand(finding, cause, by_name[cause.given], walk)
    if cause.name == "16-bit overflow":
        _scale(finding, cause, args, made)
    if cause.name in OVERFLOWS:
        nodes = [value.node for value in args if isinstance(value, Tensor) and value.node is not None]
        blame_rate(finding, {one for one in reachable(nodes) if one.pullback is None})
    return finding


def finding_of_given(value):
    """The Finding of an infinity that came with an operand and has only been handed on to a result
    since; None if it is not known.
    """
    bad, record = origin(value)
    if bad is None or record is None:
        return None
    cause = Cause(DATA, f"{bad.name} came with an infinity", bad.index, bad.name)
    finding = finding_of(cause, record.name, "forward", record.site)
    blame(finding, bad, bad.leaf, bad.label)
    finding.chain = _records_between(value, record)
    if bad.value == -np.inf and any(step.op == "cross_entropy" for step in finding.chain):
        finding.cause, finding.rows = "masked target", ()
        finding.what = (
            f"the loss of a target whose class has the logit -inf is infinite; the -inf is {bad.name} of {record.name}"
        )
    return finding


def finding_of(cause, name, phase, site, dtype=None):
    """A Finding of a Cause in an op that computed for a type."""
    place = site if isinstance(site, Site) else Site(None, "")
    return Finding(
        cause.name, cause.what, name, phase, cause.index, cause.of, (), place.module, place.line,
        [Step(name, place.module, place.line)], dtype=dtype if dtype is not None and is_narrow(dtype) else None,
    )  # fmt: skip


def _exact(op, arrays, params, made):
    """What an op makes before its result is rounded to 16 bits; None if it is not rounded."""
    if not is_array(made) or not is_narrow(made.dtype):
        return None
    if op.name == "astype":
        return host(arrays[0])
    if hasattr(op, "definition"):
        return _kernel_value(op, arrays, params)
    xp = namespace_of(op.name, arrays, op.input_names(len(arrays)))
    exact = host(op.function(xp, *map(widen, arrays), **params))
    return exact if np.shape(exact) == made.shape else None


def _kernel_value(op, arrays, params):
    """The result of a fused op's kernel, not rounded, on the host."""
    xp = namespace_of(op.name, arrays, op.input_names(len(arrays)))
    kernel, takes_needs = op.kernels.get(xp.name) or op.kernels["any"]
    keywords = {key: value for key, value in params.items() if key != "needs"}
    needs = {"needs": (False,) * len(arrays)} if takes_needs else {}
    return host(kernel(xp, *map(widen, arrays), **keywords, **needs)[0])


def _inside(op, arrays, params):
    """The Cause that the definition of a fused op has, run on the same arrays; None if it has
    none.
    """
    inputs = [Tensor(widen(a)) if is_array(a) else a for a in arrays]
    keywords = {key: value for key, value in params.items() if key != "needs"}
    with switched(anomaly=True, watched=True, observer=None, autocast=None, grad=True):
        try:
            op.definition(*inputs, **keywords)
        except FloatingPointError as error:
            return within(op.name, error)
    return None


def within(name, error):
    """The Cause that an error inside of a fused op tells; None if it tells none."""
    found = getattr(error, "finding", None)
    if found is None or found.cause in (DATA, "undefined value", "unknown"):
        return None
    of = f"{found.of}, in {found.op} inside {name}"
    cause, what = found.cause, f"inside {name}, in {found.op}: {found.what}"
    if cause == "division by a zero norm" and name.startswith("layer_norm"):  # the root there is a deviation
        cause, what = "division by a zero deviation", what.replace("a norm,", "a deviation,")
    return Cause(cause, what, found.index, of)


# --- whose fault ----------------------------------------------------------------------------------


def _blame_operand(finding, cause, value, walk):
    """Tell where the NaN or infinity of an operand came from."""
    if record_of(value) is None:
        node = value.node if isinstance(value, Tensor) else None
        if node is not None and node.pullback is not None:
            older = None if walk is None else walk(value)
            if older is not None and older.cause != "unknown":
                _become(finding, older)
            else:
                finding.notes.append(f"{cause.given} was made before detect_anomaly was on, by {node.pullback.op_name}")
            return
        bad = bad_in(value, cause.given)
        if bad is not None:
            if bad.nan or bad.up:
                finding.cause = DATA
            blame(finding, bad, bad.leaf, bad.label, value)
        return
    bad, record = origin(value)
    if bad is None or record is None:
        return
    if bad.nan or bad.up:
        finding.cause = DATA
        blame(finding, bad, bad.leaf, bad.label)
        finding.chain = _records_between(value, record) + finding.chain
        finding.op, finding.module, finding.line = record.name, record.site.module, record.site.line
    else:
        if finding.cause == DATA:
            finding.cause = "inf - inf"
            finding.what += ", which meets a 0 or its opposite"
        place = f" at {record.site}" if record.site else ""
        finding.notes.append(f"the -inf came in as {bad.name} of {record.name}{place}")


def _become(finding, other):
    for name in ("cause", "what", "op", "index", "of", "rows", "module", "line", "loss_scale", "dtype"):
        setattr(finding, name, getattr(other, name))
    finding.chain = other.chain + finding.chain
    finding.notes += other.notes


def _records_between(value, start):
    """The Steps of the ops from a record to the one that made ``value``."""
    steps, record = [], record_of(value)
    while record is not None:
        steps.append(Step(record.name, record.site.module, record.site.line))
        if record is start:
            break
        record = next((one for one in record.inputs if one is not None and not one.whole), None)
    return steps[::-1]


def blame(finding, bad: Bad, leaf, label, value=None):
    """Say of an operand that no op made whether it is data or a parameter."""
    if leaf is not None:  # it requires a gradient: somebody trains it
        label = label or updates.label_of(leaf) or f"{bad.name}, a leaf of shape {leaf.shape},"
        words, _ = updates.wrote(leaf, value, bad.index)
        finding.cause = PARAMETER
        finding.what = f"{updates.called(label)} is {number(bad.value)} at {list(bad.index)}: {words}"
        finding.index, finding.of = bad.index, label
        return
    kind = "NaN" if bad.nan else "an infinity"
    if finding.cause != DATA:
        finding.notes.append(f"{bad.name} came with {kind} in it, first at {list(bad.index)}; no op made it")
        return
    rows = f", in {len(bad.rows)} row(s)" if bad.rows else ""
    finding.what = f"{bad.name} came with {kind}{rows}, first at {list(bad.index)}; no op made it"
    finding.index, finding.of, finding.rows = bad.index, bad.name, bad.rows


def blame_rate(finding, leaves):
    """Say of an overflow whether parameters that have run away made it."""
    told = updates.runaway(leaves)
    if told is not None:
        words, notes = told
        finding.notes += [f"it showed as {finding.cause}", *notes]
        finding.cause, finding.what, finding.loss_scale = "learning rate", f"{words}: {finding.what}", None


def _scale(finding, cause, args, made):
    """The loss scale that would do, if a loss was scaled; else the factor by which the numbers are
    too great.
    """
    most, limit = cause.details["exact"], greatest_of(made.dtype)
    factors = [value for value in args if isinstance(value, Tensor) and value.node is not None]
    scaled = [value for value in factors if value.size == 1 and not value.is_leaf]
    if finding.op == "multiply" and made.size == 1 and scaled and len(factors) == 1:  # a loss, and a constant
        greatest = greatest_gradient(scaled[0])
        finding.loss_scale = power_below(limit / greatest) if greatest else None
        finding.notes.append(f"the greatest finite number among the loss and its gradients is {number(greatest)}")
    elif most > limit:
        finding.notes.append(
            f"the greatest is {number(most)}: {1 / power_below(limit / most):g} times smaller it would fit"
        )
