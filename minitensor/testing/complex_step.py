"""The slope of an analytic function by one step along the imaginary axis, and whether differences
confirm that it is one.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from minitensor.testing.differences import STEP, SURE, Differences

__all__ = ["complex_slope", "confirms"]


def confirms(line, exact, scale):
    """Whether differences agree with the slope ``exact`` to four digits, as they do if ``line`` is
    analytic.
    """
    estimate = Differences(line, 0.0, scale).of(STEP)
    return abs(exact - estimate.slope) <= 1e-4 * abs(estimate.slope) + SURE * estimate.uncertainty


def complex_slope(line):
    """``Im f(ih) / h`` with h = 1e-30: the derivative of an analytic function to the last bit,
    without cancellation.

    None if the function does not take complex numbers. Squire and Trapp, SIAM Review 40 (1), 1998.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            outputs = line(1e-30j)
    except (TypeError, ValueError, KeyError, NotImplementedError, np.exceptions.ComplexWarning):
        return None
    if not any(np.iscomplexobj(o) for _, o in outputs):
        return None
    slope = sum(float((c * np.imag(o)).sum()) for c, o in outputs) / 1e-30
    return slope if math.isfinite(slope) else None
