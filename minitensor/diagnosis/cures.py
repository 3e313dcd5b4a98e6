"""The causes that there are, and what to do about each: by the op, and in numbers that its type can
show.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CAUSES", "cure_of"]

CAUSES = {  # name: what to do about it. {small} and the like: see ``_NUMBERS``
    "log of 0 or less": "keep the operand above 0: mt.log(mt.maximum(x, {small})), log1p, or F.log_softmax in place of "
    "log(softmax); clamp inside, before the logarithm",
    "0 / 0": "add a small number such as {divisor} to the divisor, or choose both operands by mt.where before the division",
    "x / 0": "add a small number such as {divisor} to the divisor, or choose it by mt.where before the division",
    "inf / inf": "find where the two infinities come from; divide before the numbers grow so large",
    "division by a zero norm": "divide by mt.maximum(norm, {divisor}): a vector of zeros has no direction; or an eps that is not 0",
    "division by a zero deviation": "divide by mt.maximum(deviation, {divisor}): equal numbers have none; or an eps that is not 0",
    "mean over nothing": "leave such a batch out, or divide by mt.maximum(count, 1)",
    "variance of one element": "use more elements than ddof, or ddof=0",
    "slope of a root at 0": "add a small number below the root, as in mt.sqrt(x + {small}): its slope at 0 is infinite; "
    "mt.norm and mt.std have slope 0 there",
    "root of a negative number": "keep the operand at 0 or above: mt.maximum(x, 0.0)",
    "negative base": "a negative number has no power that is not whole: take mt.abs(x) ** y, or keep x at 0 or above",
    "outside the domain": "keep the operand inside the domain: mt.clip(x, -1 + {near}, 1 - {near})",
    "masked row": "let each row keep at least one place, or pass a boolean mask=, which gives 0 for such a row",
    "masked target": "let the mask keep the class of each target, or leave that target out by ignore_index",
    "exp overflow": "use F.softmax, mt.logsumexp or F.log_softmax, which subtract the maximum first, or clip the operand",
    "overflow": "scale the numbers down before: normalise the input, use smaller initial values, a layer norm, or clip",
    "16-bit overflow": "compute this part in float32 or bfloat16, or scale the numbers down",
    "inf - inf": "find where the infinities come from; use a large finite number such as -1e9 for a mask",
    "0 * inf": "choose by mt.where(mask, x, 0.0) in place of a product with 0, before the infinity is made",
    "NaN or infinity in the data": "clean or leave out these rows before the training: np.isfinite finds them",
    "NaN or infinity in a parameter": "look at what wrote it; start from weights that are finite, such as the last checkpoint",
    "update with a bad gradient": "find what spoilt the gradient: run forward and backward within mt.detect_anomaly() too; then "
    "clip it by optim.clip_grad_norm_",
    "learning rate": "start again with a lower learning rate, a longer warm-up, or optim.clip_grad_norm_",
    "gradient that was given": "look at the hooks, and at the gradient that was passed to backward()",
    "id outside": "check the indices against the length of the axis: it must be greater than the greatest of them",
    "undefined value": "look at the operands that are named here",
    "unknown": "run it again within mt.detect_anomaly(), or call mt.why_nan with a function that computes the loss",
}

_CLASSES = "check the targets against the number of classes, which must be greater than the greatest of them"
_EPS = "give it an eps that is not 0"
_OF_OPS = {  # (cause, op): where the cause alone would tell what does not fit
    ("log of 0 or less", "log1p"): "keep the operand above -1: mt.log1p(mt.maximum(x, -1 + {near}))",
    (
        "log of 0 or less",
        "slogdet",
    ): "a singular matrix has the determinant 0: add a small multiple of the identity, as in x + {near} * mt.eye(n)",
    (
        "slope of a root at 0",
        "power",
    ): "add a small number to the base, as in (x + {small}) ** y: the slope of the root at 0 is infinite",
    (
        "x / 0",
        "power",
    ): "keep the base away from 0, as in (x + {divisor}) ** y, or choose it by mt.where before the power",
    **{
        ("exp overflow", name): "clip the operand, as in mt.clip(x, -{exponent}, {exponent})"
        for name in ("expm1", "sinh", "cosh")
    },
    ("outside the domain", "arccosh"): "keep the operand above 1: mt.maximum(x, 1 + {near})",
    (
        "id outside",
        "embedding",
    ): "check the ids against the size of the table: it needs one row more than the greatest id",
    ("id outside", "cross_entropy"): f"{_CLASSES}, or leave a target out by ignore_index",
    ("id outside", "nll_loss"): f"{_CLASSES}, or leave a target out by ignore_index",
    ("id outside", "one_hot"): _CLASSES,
    ("division by a zero norm", "rms_norm"): _EPS,
    ("division by a zero deviation", "layer_norm"): _EPS,
}
# By type: added to an operand of a root or logarithm; a distance from a bound; added to a divisor;
# for which exp has a value.
_NUMBERS = {
    "float16": ("1e-4", "1e-3", "1e-2", "10"),
    "bfloat16": ("1e-12", "1e-2", "1e-12", "80"),
    "": ("1e-12", "1e-6", "1e-12", "80"),
}


def cure_of(cause: str, op: str, phase: str, dtype: Any) -> str:
    """What to do about a cause in an op. dtype: of 16 bits, the type in which it was computed."""
    if cause == "0 / 0" and phase == "update":
        return "give the optimiser an eps that is not 0, such as 1e-8"
    name = op.removesuffix("_last")
    words = _OF_OPS.get((cause, name), CAUSES[cause])
    kind = "" if dtype is None else str(dtype)
    small, near, divisor, exponent = _NUMBERS.get(kind, _NUMBERS[""])
    told = words.format(small=small, near=near, divisor=divisor, exponent=exponent)
    if kind == "float16" and told != words and cause != "exp overflow":
        told += " (what is smaller may vanish in float16: 1e-8 is 0 there, and 1 - 1e-6 is 1)"
    return told
