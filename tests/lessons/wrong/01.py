import math

from lessons import load
from tests.lessons.mistakes import Mistakes

wrong = Mistakes()
scalar = load(1)
Value = scalar.Value


@wrong("1.1", "the factor n is missing")
def slopes_of_power(x, n):
    return x**n, x ** (n - 1)


@wrong("1.1", "the exponent falls by one")
def slopes_of_power(x, n):
    return x**n, n * x**n


@wrong("1.1", "two numbers")
def slopes_of_power(x, n):
    return n * x ** (n - 1)


@wrong("1.2", "no gradient gets back to x")
def sigmoid(x):
    return Value(1 / (1 + math.exp(-x.number)))


@wrong("1.2", "the slope of tanh")
def sigmoid(x):
    y = 1 / (1 + math.exp(-x.number))
    return Value(y, (x,), (1 - y * y,))


@wrong("1.2", "written with the result y")
def sigmoid(x):
    return Value(1 / (1 + math.exp(-x.number)), (x,), (x.number * (1 - x.number),))


@wrong("1.2", "it is exp(-x)")
def sigmoid(x):
    y = 1 / (1 + math.exp(x.number))
    return Value(y, (x,), (y * (1 - y),))


@wrong("1.3", "+= instead of =")
def backward(output):
    slopes = dict.fromkeys(scalar.gradients([output], [1.0]), 0.0)
    slopes[output] = 1.0
    for value in sorted(slopes, key=lambda v: v.order, reverse=True):
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] = slopes[value] * slope
    return slopes


@wrong("1.3", "from the youngest to the oldest")
def backward(output):
    slopes, stack, seen = {output: 1.0}, [output], {output}
    while stack:
        value = stack.pop()
        for parent, slope in zip(value.parents, value.slopes):
            slopes[parent] = slopes.get(parent, 0.0) + slopes[value] * slope
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return slopes


@wrong("1.3", "parents of parents")
def backward(output):
    slopes = {output: 1.0}
    for parent, slope in zip(output.parents, output.slopes):
        slopes[parent] = slopes.get(parent, 0.0) + slope
    return slopes


@wrong("1.3", "begins with slope 1")
def backward(output):
    return dict.fromkeys(scalar.gradients([output], [1.0]), 0.0)
