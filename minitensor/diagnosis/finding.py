"""What is found: the cause, in plain words, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from minitensor.tracing.record import Line

__all__ = ["CAUSES", "Finding", "Step"]

CAUSES = {  # name: what to do about it
    "log of 0 or less": "keep the operand above 0: mt.log(mt.maximum(x, 1e-12)), log1p, or F.log_softmax in place of "
    "log(softmax); clamp inside, as mt.where around the result does not stop the gradient",
    "0 / 0": "add a small number to the divisor, or choose both operands by mt.where before the division",
    "x / 0": "add a small number to the divisor, or choose it by mt.where before the division",
    "inf / inf": "find where the two infinities come from; divide before the numbers grow so large",
    "division by a zero norm": "divide by mt.maximum(norm, 1e-12): a vector of zeros has no direction; or an eps that is not 0",
    "mean over nothing": "leave such a batch out, or divide by mt.maximum(count, 1)",
    "variance of one element": "use more elements than ddof, or ddof=0",
    "slope of a root at 0": "add a small number below the root, as in mt.sqrt(x + 1e-12): its slope at 0 is infinite, and "
    "mt.where around the result does not stop it; mt.norm and mt.std have slope 0 there",
    "root of a negative number": "keep the operand at 0 or above: mt.maximum(x, 0.0)",
    "negative base": "a negative number has no power that is not whole: take mt.abs(x) ** y, or keep x at 0 or above",
    "outside the domain": "keep the operand inside the domain: mt.clip(x, -1 + 1e-6, 1 - 1e-6)",
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
    "id outside": "check the ids against the size of the table: it needs one row more than the greatest id",
    "undefined value": "look at the operands that are named here",
    "unknown": "run it again within mt.detect_anomaly(), or call mt.why_nan with a function that computes the loss",
}


@dataclass(frozen=True)
class Step:
    """An op on the way from the first bad value to the loss. line: None if it is not known."""

    op: str
    module: str = ""
    line: Line | None = None

    def __str__(self) -> str:
        return " ".join([self.op, *([f"({self.module})"] if self.module else [])])


@dataclass
class Finding:
    """Why a value is NaN or infinite. ``print`` shows all of it.

    cause: a short name, one of ``minitensor.diagnosis.finding.CAUSES``. what: what happened, with
    the numbers. cure: what to do. op: the op that made the first bad value, and phase: in
    "forward", in "backward" (its gradient rule) or in an "update". index: the first bad element, in
    ``of``, an operand or the "result"; None if it is not known. rows: of bad data, the places on
    the first axis. module, line: where the op was called. chain: the ops from the first bad value
    to the loss, this one first. loss_scale: of an overflow of 16 bits, the greatest power of two
    that would do as far as is known. notes: what is known beside, and what could not be known.
    """

    cause: str
    what: str
    op: str = ""
    phase: str = "forward"
    index: tuple[int, ...] | None = None
    of: str = "result"
    rows: tuple[int, ...] = ()
    module: str = ""
    line: Line | None = None
    chain: list[Step] = field(default_factory=list)
    loss_scale: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.loss_scale is not None:
            scale = f"a loss scale of {self.loss_scale:g} or less (mt.optim.GradScaler finds one)"
            return f"use {scale}; or compute this part in float32 or bfloat16"
        return CAUSES[self.cause]

    def __str__(self) -> str:
        lines = [f"Why NaN: {self.cause}", f"  {self.what}", f"  cure: {self.cure}"]
        if self.op:
            place = f"  where: {self.op}, {self.phase}" + (f", in module {self.module}" if self.module else "")
            lines.append(place)
        if self.line is not None:
            lines.append(f"  line: {self.line.path}:{self.line.number}: {self.line.text}")
        if self.index is not None:
            lines.append(f"  first bad element: {self.index} of {self.of}")
        if self.rows:
            shown = ", ".join(map(str, self.rows[:10])) + (", ..." if len(self.rows) > 10 else "")
            lines.append(f"  rows of the batch: {shown}")
        if len(self.chain) > 1:
            names = [str(step) for step in self.chain]
            names = names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]
            lines.append("  from there to the loss: " + " > ".join(names))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
