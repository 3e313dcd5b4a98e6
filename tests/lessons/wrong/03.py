from tests.lessons.mistakes import Mistakes

wrong = Mistakes()


@wrong("3.1", "both uses count")
def on_paper():
    return {"u": 11.0, "v": 5.0, "x": 26.0, "y": 21.0}


@wrong("3.1", "the path through v is missing")
def on_paper():
    return {"u": 16.0, "v": 5.0, "x": 16.0, "y": 16.0}


@wrong("3.1", "the use in u * v is missing")
def on_paper():
    return {"u": 10.0, "v": 5.0, "x": 25.0, "y": 20.0}


@wrong("3.1", "must come in as a factor")
def on_paper():
    return {"u": 16, "v": 5, "x": 16 + 3, "y": 16 + 2}


@wrong("3.1", "has no v")
def on_paper():
    return {"u": 16, "x": 31, "y": 26}


@wrong("3.2", "so its gradient is not complete")
def visiting_order(parents, end):
    order, waiting = [], [end]  # breadth first
    while waiting:
        node = waiting.pop(0)
        if node not in order:
            order.append(node)
            waiting += parents[node]
    return order


@wrong("3.2", "is visited twice")
def visiting_order(parents, end):
    order, waiting = [], [end]
    while waiting:
        node = waiting.pop(0)
        order.append(node)
        waiting += parents[node]
    return order


@wrong("3.2", "does not depend on unused")
def visiting_order(parents, end):
    order, left = [], list(parents)
    while left:
        node = next(n for n in left if not any(n in parents[other] for other in left))
        order.append(node)
        left.remove(node)
    return order


@wrong("3.2", "is never visited")
def visiting_order(parents, end):
    return [end, *dict.fromkeys(parents[end])]


@wrong("3.3", "the factor 2 of the square is missing")
def line_gradients(x, w, b, t):
    g = (x @ w + b - t) / len(t)
    return x.T @ g, g.sum()


@wrong("3.3", "the mean is missing")
def line_gradients(x, w, b, t):
    g = 2 * (x @ w + b - t)
    return x.T @ g, g.sum()


@wrong("3.3", "prediction minus target")
def line_gradients(x, w, b, t):
    g = 2 * (t - x @ w - b) / len(t)
    return x.T @ g, g.sum()


@wrong("3.3", "db has the shape (5,)")
def line_gradients(x, w, b, t):
    g = 2 * (x @ w + b - t) / len(t)
    return x.T @ g, g
