"""Lesson 3: the graders."""

import minitensor as mt
from lessons.grading import exercise, frozen, need, same


@exercise("3.1", "With a pencil")
def on_paper(solution):
    """Each number, and what it is if one of the paths is forgotten."""
    got = solution()
    need(isinstance(got, dict), f"it should return a dictionary, and returns {type(got).__name__}")
    missing = [name for name in "uvxy" if name not in got]
    need(not missing, f"the dictionary has no {', '.join(missing)}")
    same(
        got["u"], 16.0, "the gradient of u",
        {
            "u comes in twice in u * u: both uses count": 11.0,
            "the use in u * v is missing": 10.0,
            "the uses in u * u are missing": 6.0,
        },
    )  # fmt: skip
    same(got["v"], 5.0, "the gradient of v", {"that is the value of v; its slope in u * v is u": 6.0})
    for name, other, right in (("x", 3.0, 31.0), ("y", 2.0, 26.0)):
        same(
            got[name], right, f"the gradient of {name}",
            {
                f"the path through v is missing: {name} comes in there, too": 16.0,
                f"the path through u is missing: {name} comes in there, too": 5.0 * other,
                "slopes along a path multiply: the gradient of v must come in as a factor": 16.0 + other,
            },
        )  # fmt: skip


GRAPHS = [
    {"loss": ["e", "e"], "e": ["p"], "p": []},
    {"loss": ["a", "b"], "a": ["x"], "b": ["a"], "x": [], "unused": ["x"]},
    {"loss": ["b", "a"], "a": ["x"], "b": ["a"], "x": [], "unused": ["x"]},
    {"l": ["h3", "w"], "h3": ["h2", "w"], "h2": ["h1", "w"], "h1": ["w"], "w": []},
    {"l": ["w", "h3"], "h3": ["w", "h2"], "h2": ["w", "h1"], "h1": ["w"], "w": []},
]


@exercise("3.2", "In what order")
def visiting_order(solution):
    """Any order will do that puts each node behind everything made of it."""
    for graph in GRAPHS:
        end = next(iter(graph))
        got = solution({name: list(parents) for name, parents in graph.items()}, end)
        need(isinstance(got, list), f"it should return a list, and returns {type(got).__name__}")
        needed = _below(graph, end)
        twice = sorted({name for name in got if got.count(name) > 1})
        need(not twice, f"{graph} gives {got}: {twice[0] if twice else ''} is visited twice")
        lost = sorted(needed - set(got))
        need(not lost, f"{graph} gives {got}: {', '.join(lost)} is never visited")
        extra = sorted(set(got) - needed)
        need(not extra, f"{graph} gives {got}: {end} does not depend on {', '.join(extra)}, so it has no gradient")
        for name in got:
            for parent in graph[name]:
                need(
                    got.index(parent) > got.index(name),
                    f"{graph} gives {got}: {parent} comes before {name}, which was made of it, so its gradient is not complete",
                )


def _below(graph, end):
    found, stack = {end}, [end]
    while stack:
        for parent in graph[stack.pop()]:
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return found


@exercise("3.3", "The gradients of a line", gives=("array", ""))
def line_gradients(solution):
    """Numbers by minitensor, mistakes by their values."""
    x, w, t, b = frozen(5, 3), frozen(3), frozen(5), 0.7
    leaves = [mt.tensor(v, dtype="float64", requires_grad=True) for v in (w, b)]
    error = mt.tensor(x) @ leaves[0] + leaves[1] - mt.tensor(t)
    right = [g.numpy() for g in mt.grad((error * error).mean(), leaves)]
    got = solution(x, w, b, t)
    need(isinstance(got, (tuple, list)) and len(got) == 2, "it should return dw and db")
    e = x @ w + b - t
    for g, r, what, whole in ((got[0], right[0], "dw", x.T @ e), (got[1], right[1], "db", e.sum())):
        same(
            g, r, what,
            {
                "the factor 2 of the square is missing": whole / 5,
                "the mean is missing: each of N errors counts 1 / N": 2 * whole,
                "the sign is turned: the error is prediction minus target": -r,
                "the gradient of the mean is 1 / N, and it has been divided twice": r / 5,
            },
        )  # fmt: skip
