"""The syntax tree of a function that is there already, and functions made of changed trees.

A lambda among several of one line is found by the columns that its instructions have (Python 3.11
and later); where these are not kept, by its parameters and the names that it uses.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
from types import CodeType, FunctionType

__all__ = ["made_of", "names_used", "tree_of"]


def tree_of(function):
    """``(node, filename)``: the ``FunctionDef`` or ``Lambda`` that ``function`` was made of.

    Raises ValueError if the source cannot be read or several functions would fit.
    """
    code = function.__code__
    try:
        lines, _ = inspect.findsource(code)
    except (OSError, TypeError) as error:
        raise ValueError(f"{function.__qualname__}: its source cannot be read ({error})") from None
    found = [
        node for node in _functions("".join(lines)) if _first_line(node) == code.co_firstlineno and _fits(node, code)
    ]
    if code.co_name != "<lambda>" or len(found) == 1:
        if len(found) != 1:
            raise ValueError(f"{function.__qualname__}: its source has changed since it was loaded")
        return found[0], code.co_filename
    places = _positions(code)
    inside = [node for node in found if places and all(_within(place, node.body) for place in places)]
    if places:
        found = sorted(inside, key=lambda node: (node.body.end_lineno - node.body.lineno, _width(node.body)))[:1]
    if len({ast.dump(node) for node in found}) != 1:
        raise ValueError(
            f"line {code.co_firstlineno} of {code.co_filename} holds several lambdas that cannot be told apart: write each "
            "on a line of its own"
        )
    return found[0], code.co_filename


@functools.lru_cache(maxsize=64)
def _functions(text):
    """All functions and lambdas of a source."""
    return tuple(node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.Lambda)))


def _first_line(node):
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def _fits(node, code):
    """Whether the node has the name and the parameters of ``code``, and names all that it uses."""
    arguments = node.args
    named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    count = code.co_argcount + code.co_kwonlyargcount
    if getattr(node, "name", "<lambda>") != code.co_name or named != list(code.co_varnames[:count]):
        return False
    if isinstance(node, ast.FunctionDef):
        return True
    words = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }
    return words.issuperset((*code.co_names, *code.co_freevars))


def _positions(code):
    """The spans of the instructions of ``code``; none before Python 3.11."""
    if not hasattr(code, "co_positions"):
        return []
    spans = [span for span in code.co_positions() if None not in span]
    return [span for span in spans if (span[0], span[2]) < (span[1], span[3])]


def _within(span, node):
    first, last, start, end = span
    return (node.lineno, node.col_offset) <= (first, start) and (last, end) <= (node.end_lineno, node.end_col_offset)


def _width(node):
    return node.end_col_offset - node.col_offset


def made_of(function, node, names, parameters=None):
    """A function like ``function`` (its closure, defaults and globals, beside ``names``) of the
    changed tree ``node``.
    """
    node = copy.deepcopy(node)
    code = function.__code__
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
        inner: ast.stmt = node
    else:
        inner = ast.copy_location(ast.Return(node), node)
    around = ast.parse(f"def around({', '.join(code.co_freevars)}): pass")
    around.body[0].body = [inner]  # type: ignore[attr-defined]  # a FunctionDef, as the line above says
    module = compile(ast.fix_missing_locations(around), f"<a mutant of {code.co_filename}>", "exec")
    made = next(one for one in _codes(module) if one.co_name == code.co_name)
    cells = dict(zip(code.co_freevars, function.__closure__ or ()))
    result = FunctionType(
        made,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        tuple(cells[n] for n in made.co_freevars),
    )
    result.__kwdefaults__ = function.__kwdefaults__
    return result


def _codes(code):
    """The code objects in ``code``, outer ones first."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return [*inner, *(one for each in inner for one in _codes(each))]


def names_used(code):
    """The global names of a function and of those inside of it."""
    return {*code.co_names, *(name for inner in _codes(code) for name in inner.co_names)}
