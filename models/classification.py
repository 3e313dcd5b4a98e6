"""What the outputs of a classifier mean, and its loss: the problems of Hugging Face transformers.

    "regression"                    outputs are numbers        mean squared error
    "single_label_classification"   one class is right         cross-entropy of the softmax
    "multi_label_classification"    each is right or not       binary cross-entropy of sigmoids

Default: one output is a regression, integer labels are classes, and other labels say of each class
whether it is right. Letters: B inputs, K outputs.
"""

from __future__ import annotations

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.backend import is_floating
from minitensor.models.losses import IGNORED, per_target

__all__ = ["MULTI_LABEL", "REGRESSION", "SINGLE_LABEL", "check_problem", "classifier_loss", "problem_of"]

REGRESSION, SINGLE_LABEL, MULTI_LABEL = PROBLEMS = (
    "regression", "single_label_classification", "multi_label_classification",
)  # fmt: skip


def check_problem(config):
    """Raise ValueError for an unknown ``problem_type``, and for one right class out of one."""
    if config.problem_type not in (None, *PROBLEMS):
        raise ValueError(f"problem_type must be one of {', '.join(PROBLEMS)}, or None, got {config.problem_type!r}")
    if config.problem_type == SINGLE_LABEL and config.n_classes == 1:
        raise ValueError(
            f'problem_type "{SINGLE_LABEL}" needs at least two classes: the only one is always right. Set n_classes=2 for '
            f'yes or no, or problem_type="{REGRESSION}" for a number'
        )


def problem_of(problem_type, n_classes, integers=True):
    """The problem that is meant; ``integers`` says whether the labels are integers."""
    return problem_type or (REGRESSION if n_classes == 1 else SINGLE_LABEL if integers else MULTI_LABEL)


def classifier_loss(
    logits, labels, problem_type=None, inputs="inputs", divide_by=None, ignore_index=IGNORED, label_smoothing=0.0
):
    """The loss of outputs ``logits`` (B, K), a mean over the inputs.

    But for the cross-entropy, it is one over their K outputs, too.

    labels: numbers (B, K) for a regression, (B,) too if K is 1; classes (B,) or (B, 1), integers
    from 0 to K - 1 or ``ignore_index`` for an input that does not count; floats from 0 to 1 or
    truth values (B, K) for several labels. divide_by: default: the number of inputs that count, see
    `losses.per_target`. inputs: what errors call them. Raises ValueError for labels of another
    shape or type and for smoothing without a softmax, IndexError for classes that there are not.
    """
    labels = mt.asarray(labels)
    (rows, classes), integers = logits.shape, labels.dtype.kind in "iu"
    problem = problem_of(problem_type, classes, integers)
    got = f"got shape {labels.shape} of {labels.dtype}"
    if problem == SINGLE_LABEL:
        if not integers:
            raise ValueError(f"the labels of {SINGLE_LABEL} are the numbers of classes, integers ({rows},), {got}")
        if labels.shape not in ((rows,), (rows, 1)):
            hint = f"; several labels of each are floats ({rows}, {classes})" if labels.ndim > 1 else ""
            raise ValueError(f"{rows} {inputs} need labels ({rows},), got shape {labels.shape}{hint}")
        labels = labels.reshape((rows,))
        how = dict(ignore_index=ignore_index, label_smoothing=label_smoothing)
        total = F.cross_entropy(logits, labels, reduction="sum", **how)
        return per_target(total, labels, divide_by, ignore_index)
    if label_smoothing:
        raise ValueError(f"label_smoothing is for {SINGLE_LABEL}, this is a {problem}: set it to 0")
    if problem == MULTI_LABEL and not (is_floating(labels.dtype) or labels.dtype.kind == "b"):
        raise ValueError(f'the labels of {problem} are floats or truth values, {got}: write labels.astype("float32")')
    if labels.shape != logits.shape and not (problem == REGRESSION and labels.shape == (rows,) and classes == 1):
        hint = "" if problem_type else f"; integers ({rows},) would be classes, problem_type={REGRESSION!r} numbers"
        raise ValueError(f"{rows} {inputs} need labels ({rows}, {classes}) for a {problem}, {got}{hint}")
    if not is_floating(labels.dtype):
        labels = labels.astype(logits.dtype)
    labels = labels.reshape(logits.shape)
    loss = F.mse_loss if problem == REGRESSION else F.binary_cross_entropy_with_logits
    outputs = None if divide_by is None else classes * divide_by
    return per_target(loss(logits, labels, reduction="sum"), labels, outputs)
