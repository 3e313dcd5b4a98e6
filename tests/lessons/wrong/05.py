import numpy as np

from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


def steps(x, h):
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = h
        yield index, step


@wrong("5.1", "2h, not h")
def numerical_gradient(function, x, h=1e-5):
    gradient = np.zeros(x.shape)
    for index, step in steps(x, h):
        gradient[index] = (function(x + step) - function(x - step)) / h
    return gradient


@wrong("5.1", "difference to one side")
def numerical_gradient(function, x, h=1e-8):
    gradient = np.zeros(x.shape)
    for index, step in steps(x, h):
        gradient[index] = (function(x + step) - function(x)) / h
    return gradient


@wrong("5.1", "use the h that is given")
def numerical_gradient(function, x, h=1e-5):
    gradient = np.zeros(x.shape)
    for index, step in steps(x, 1e-5):
        gradient[index] = (function(x + step) - function(x - step)) / 2e-5
    return gradient


@wrong("5.1", "do not write into what you are given")
def numerical_gradient(function, x, h=1e-5):
    gradient = np.zeros(x.shape)
    for index, _ in steps(x, h):
        x[index] += h
        higher = function(x)
        x[index] -= 2 * h
        gradient[index] = (higher - function(x)) / (2 * h)
        x[index] += h
    return gradient


@wrong("5.1", "every entry was moved at once")
def numerical_gradient(function, x, h=1e-5):
    return np.full(x.shape, (function(x + h) - function(x - h)) / (2 * h))


@wrong("5.2", "all entries of g are equal")
def telling_cotangent():
    return np.ones(3)


@wrong("5.2", "with g = 0 every rule gives 0")
def telling_cotangent():
    return np.zeros(3)


@wrong("5.2", "since the sum of g * out is only")
def telling_cotangent():
    return np.array([1.0, 1.0, -1.0])


@wrong("5.2", "between -2 and 2")
def telling_cotangent():
    return np.array([10.0, 0.0, 0.0])


@wrong("5.3", "the direction is missing")
def directional_error(function, gradient, x, direction, h=1e-5):
    slope = (function(x + h * direction) - function(x - h * direction)) / (2 * h)
    return abs(slope - gradient.sum()) / max(1.0, abs(slope))


@wrong("5.3", "not divided by the size")
def directional_error(function, gradient, x, direction, h=1e-5):
    slope = (function(x + h * direction) - function(x - h * direction)) / (2 * h)
    return abs(slope - (gradient * direction).sum())


@wrong("5.3", "0 or more")
def directional_error(function, gradient, x, direction, h=1e-5):
    slope = (function(x + h * direction) - function(x - h * direction)) / (2 * h)
    return (slope - (gradient * direction).sum()) / max(1.0, abs(slope))


@wrong("5.3", "must not be divided by")
def directional_error(function, gradient, x, direction, h=1e-5):
    slope = (function(x + h * direction) - function(x - h * direction)) / (2 * h)
    return abs(slope - (gradient * direction).sum()) / abs(slope)


@wrong("5.3", "2h, not h")
def directional_error(function, gradient, x, direction, h=1e-5):
    slope = (function(x + h * direction) - function(x - h * direction)) / h
    return abs(slope - (gradient * direction).sum()) / max(1.0, abs(slope))
