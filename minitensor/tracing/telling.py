"""Of a rule of several lines the one that says most: what it returns, for the input in question."""

from __future__ import annotations

import ast
import functools
from typing import Any

__all__ = ["telling"]


@functools.lru_cache(maxsize=1024)
def telling(text, place=0, count=0):
    """``(line, code)``: what a rule gives, in one line, and on which of its lines it stands,
    counted from 0.

    That is its last ``return``. If it returns ``count`` values, only that at ``place``; and of a
    name, the statement that gave it its contents. Which of several ran is not known, so that there
    are several is said.
    """
    try:
        (rule,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        rule = None
    found = [] if not isinstance(rule, (ast.FunctionDef, ast.AsyncFunctionDef)) else list(_own(rule))
    returned = [node for node in found if isinstance(node, ast.Return) and not _is_none(node.value, place, count)]
    if not returned:
        return 0, _one_line(text)
    said: Any = returned[-1]
    value, wanted, made = said, said.value, []
    if isinstance(wanted, ast.Tuple) and len(wanted.elts) == count:
        said = wanted = wanted.elts[place]
    if isinstance(wanted, ast.Name):
        before = [one for one in found if isinstance(one, ast.stmt) and one.lineno < value.lineno]
        made = [one for one in before if _fills(one, wanted.id)]
        said = made[-1] if made else value
    code = _one_line(ast.get_source_segment(text, said) or text)
    if len(returned) > 1:
        code = f"last of {len(returned)} returns: {code}"
    elif len(made) > 1:
        code = f"last of {len(made)} lines for it: {code}"
    return said.lineno - 1, code


def _is_none(value, place, count):
    """Whether nothing, or None, is returned for the input in question."""
    if isinstance(value, ast.Tuple) and len(value.elts) == count:
        value = value.elts[place]
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _own(function):
    """The statements and expressions of a function, without those of functions within, in their
    order.
    """
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own(node)


def _fills(statement, name):
    """Whether a statement gives ``name`` its contents: assigns to it or hands it to a function that
    fills it, and does not merely make room or another shape.
    """
    called = getattr(statement, "value", None)
    mentioned = _names(called) if called is not None else set()
    if isinstance(statement, ast.Expr):
        return isinstance(called, ast.Call) and name in set().union(
            *map(_names, [*_owner(called), *called.args, *called.keywords])
        )
    if isinstance(statement, ast.Assign):
        targets = {one.id for target in statement.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        return name in targets and name not in mentioned and not _makes_room(_part(statement, name))
    return False


def _owner(call):
    """``[x]`` of a call ``x.append(...)`` or ``x.extend(...)``."""
    method = call.func
    return [method.value] if isinstance(method, ast.Attribute) and method.attr in ("append", "extend") else []


def _part(statement, name):
    """What a name is assigned: of ``a, b = x, y`` its own part."""
    value, (target, *_) = statement.value, statement.targets
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for one, part in zip(target.elts, value.elts, strict=True):
            if isinstance(one, ast.Name) and one.id == name:
                return part
    return value


def _makes_room(value):
    """Whether code makes an array or a list whose elements are still to come."""
    if isinstance(value, ast.List) and not value.elts:
        return True
    value = getattr(value, "elt", getattr(value, "body", value))  # for each of several; if it is wanted
    function = getattr(value, "func", None)
    return getattr(function, "attr", getattr(function, "id", "")).startswith("empty")


def _names(tree):
    """The names and attributes in some code."""
    found = {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}
    return found | {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}


def _one_line(text):
    """Code on one line: without its comments at the ends of lines."""
    lines = text.splitlines()
    if len(lines) == 1:
        return text.strip()
    return " ".join(" ".join(line.split("  #")[0].split()) for line in lines).strip()
