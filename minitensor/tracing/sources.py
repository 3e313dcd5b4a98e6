"""Where an op was called, in which module, and the text of the rules: all read from Python's frames
and files, so that nothing has to be handed over while no trace is open.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import linecache
import textwrap
from types import CodeType
from typing import Any

from minitensor.tracing.record import Line

__all__ = ["ENGINE", "LIBRARY", "Places", "code_of", "source_of", "source_of_code"]

LIBRARY = ("minitensor.",)  # whose frames are not the user's
ENGINE = tuple(f"minitensor.{room}." for room in ("backend", "engine", "ops", "profiling", "testing", "tracing"))


PLAIN = None, False  # neither a line to show nor a module: most frames
_found: dict[int, Any] = {}  # by id of a code: the code, and its Line


# --- the text of a rule ---------------------------------------------------------------------------


def source_of(function):
    """The Line of a function or lambda, with all its text; None if there is no source to read."""
    code = code_of(function)
    return None if code is None else source_of_code(code)


def source_of_code(code):
    """The same of a code."""
    known = _found.get(id(code))  # hashing a code object takes longer than all else here
    if known is None or known[0] is not code:
        if len(_found) > 4096:
            _found.clear()
        known = _found[id(code)] = code, _source(code)
    return known[1]


def code_of(function):
    """The code of a function, or of what it wraps; None if it was not written in Python."""
    while not hasattr(function, "__code__") or hasattr(function, "__wrapped__"):
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "py_func"):  # compiled by numba
            function = function.py_func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "__func__"):  # a method
            function = function.__func__
        else:
            return getattr(inspect.getattr_static(function, "__call__", None), "__code__", None)
    return function.__code__


def _source(code):
    lines = linecache.getlines(code.co_filename)
    tree = _functions(code.co_filename, tuple(lines)) if lines else {}
    found = tree.get((code.co_name, code.co_firstlineno), ())
    if not found:
        return None
    node = found[0] if len(found) == 1 else _the_one(found, code)
    text = ast.get_source_segment("".join(lines), node, padded=node.lineno != node.end_lineno)
    if text is None:
        return None
    if isinstance(node, ast.Lambda):  # what stands before it on its first line is not part of it
        text = text.lstrip()
    return Line(code.co_filename, node.lineno, textwrap.dedent(text))


@functools.lru_cache(maxsize=64)
def _functions(path, lines):
    """The functions and lambdas of a file, by name and the first line that Python knows them by."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return {}
    found: dict[Any, list[Any]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            found.setdefault((node.name, first), []).append(node)
    return found


def _the_one(lambdas, code):
    """That one of several lambdas on a line which ``code`` is of: it compiles to the same."""
    around = [ast.arg(name) for name in code.co_freevars]  # what is around it, so that it is found there
    given = ast.arguments(posonlyargs=[], args=around, kwonlyargs=[], kw_defaults=[], defaults=[])

    def likeness(node):
        whole = ast.fix_missing_locations(ast.Expression(ast.copy_location(ast.Lambda(given, node), node)))
        made = _code_in(_code_in(compile(whole, code.co_filename, "eval")))
        names = [{*one.co_names, *one.co_freevars, *one.co_cellvars} for one in (made, code)]
        plain = [[c for c in one.co_consts if not isinstance(c, CodeType)] for one in (made, code)]
        return (
            made.co_varnames[: made.co_argcount] == code.co_varnames[: code.co_argcount],
            names[0] == names[1],
            repr(plain[0]) == repr(plain[1]),
            made.co_code == code.co_code,
        )

    return max(lambdas, key=likeness)


def _code_in(code):
    return next(one for one in code.co_consts if isinstance(one, CodeType))


# --- where an op was called -----------------------------------------------------------------------


class Places:
    """Finds, from the frames that are running, the user's line and the module that called.

    model: its own path is "", and those below it are as in ``named_modules``. Other modules, or all
    if there is none, stand below the outermost of them, known by the name of its class. hidden: how
    the names of Python modules begin whose lines are not shown. base: the frame that opened the
    block; what is around it is the same for all calls, and is looked at once.
    """

    def __init__(self, model=None, hidden=LIBRARY, base=None):
        self.hidden, self.base, self.around = hidden, base, None
        self.kinds = {}  # by id of a code: its Lines by instruction, None if hidden; whether it is a method
        self.codes = []  # those codes
        self.lines = {}  # by id of a code and number
        self.is_module = {}  # by class
        self.paths = {}  # by id of a module: the module, and its path
        self.active = []  # frames of methods that are going on, each with its path and the calls around it
        self.numbers = {}  # by id of a frame that calls a module: the frame, the call's number, the path
        self.count = itertools.count(1)
        self.roots = []
        if model is not None:
            self._enter(model, "")

    def look(self, frame, rules=()):
        """``(line, module, calls, rule)`` of the call that a frame belongs to. rules: texts by the
        id of a code; the text of the one that is running, or "".
        """
        line, module, calls, rule, kinds, base = None, None, (), "", self.kinds, self.base
        while frame is not None:
            code = frame.f_code
            kind = kinds.get(id(code))  # hashing a code object takes longer than all else here
            if kind is None:
                kind = self._kind(frame)
            if rules and not rule and id(code) in rules:
                rule = rules[id(code)]
            if kind is not PLAIN:
                lines, method = kind
                if line is None and lines is not None:
                    line = lines.get(frame.f_lasti)
                    if line is None:
                        line = lines[frame.f_lasti] = self._line(code, frame.f_lineno)
                if method and module is None:
                    module, calls = self._call(frame)
                if line is not None:
                    if module is not None:
                        break
                    if frame is base:
                        module = self._module_around(base)
                        break
            frame = frame.f_back
        return line, module or "", calls, rule

    def _call(self, frame):
        """``(path, calls)`` of the module whose method runs in a frame; ``(None, ())`` if it is
        none's.

        calls: ``(path, number)`` of the calls of modules that are going on, the innermost first.
        """
        for known in self.active:
            if known[0] is frame:
                return known[1:]
        path = self._module(frame)
        if path is None:
            return None, ()
        around, calls, outer = {id(frame)}, [], frame
        while outer is not None:
            if outer.f_code.co_name == "__call__" and self._kind(outer)[1]:
                number = self.numbers.get(id(outer))
                if number is None or number[0] is not outer:
                    number = outer, next(self.count), self._module(outer)
                    self.numbers[id(outer)] = number
                if number[2] is not None:
                    calls.append((number[2], number[1]))
                around.add(id(outer))
            if outer is self.base:
                break
            outer = outer.f_back
        # A frame that is over is held until a module is called: so no other can be taken for it.
        self.numbers = {one: number for one, number in self.numbers.items() if one in around}
        self.active = [one for one in self.active if self._is_around(one[0], frame)] + [(frame, path, tuple(calls))]
        return path, tuple(calls)

    def _is_around(self, frame, inner):
        """Whether a frame is one of those that called ``inner``."""
        while inner is not None and inner is not frame and inner is not self.base:
            inner = inner.f_back
        return inner is frame

    def _module(self, frame):
        """The path of the module whose method runs in a frame, None if it is none's."""
        owner = frame.f_locals.get("self")
        if not self._counts(owner):
            return None
        known = self.paths.get(id(owner))
        return known[1] if known is not None else self._unknown(owner, frame)

    def _module_around(self, base):
        """The path of the module that opened the block, "" if none did: looked for once."""
        if self.around is None:
            found, frame = None, base.f_back
            while frame is not None and found is None:
                found = self._module(frame) if self._kind(frame)[1] else None
                frame = frame.f_back
            self.around = found or ""
        return self.around

    def forget(self):
        """Let go of all modules; the class's name of the only one that was called, if it was not
        given.
        """
        self.paths, self.kinds, self.codes, self.base = {}, {}, [], None
        self.active, self.numbers = [], {}
        roots, self.roots = self.roots, []
        return roots[0] if len(roots) == 1 and roots[0] else None

    def _kind(self, frame):
        """What ``kinds`` knows of the code of a frame."""
        found = self.kinds.get(id(frame.f_code))
        if found is None:
            code, name = frame.f_code, f"{frame.f_globals.get('__name__')}."
            method = code.co_argcount > 0 and code.co_varnames[0] == "self" and not name.startswith(ENGINE)
            hidden = name.startswith(self.hidden)
            self.codes.append(code)  # so that its id is its own
            found = self.kinds[id(code)] = PLAIN if hidden and not method else (None if hidden else {}, method)
        return found

    def _line(self, code, number):
        """The Line of that number in the file of a code."""
        found = self.lines.get((id(code), number))
        if found is None:
            text = linecache.getline(code.co_filename, number).strip()
            found = self.lines[id(code), number] = Line(code.co_filename, number, text)
        return found

    def _counts(self, owner):
        """Whether an object is a module."""
        kind = type(owner)
        found = self.is_module.get(kind)
        if found is None:
            found = self.is_module[kind] = callable(getattr(kind, "named_modules", None))
        return found

    def _unknown(self, owner, frame):
        """The path of a module that is below none that is known: below the outermost in the frames
        around it.
        """
        outermost = owner
        while (frame := frame.f_back) is not None:
            if self._kind(frame)[1] and self._counts(around := frame.f_locals.get("self")):
                known = self.paths.get(id(around))
                if known is not None:
                    return self._name(owner, known[1])  # made while its parent ran
                outermost = around
        name = type(outermost).__name__
        taken = sum(root.partition("#")[0] == name for root in self.roots)
        self._enter(outermost, f"{name}#{taken + 1}" if taken else name)
        known = self.paths.get(id(owner))
        return self._name(owner, self.roots[-1]) if known is None else known[1]

    def _name(self, owner, around):
        path = f"{around}.{type(owner).__name__}" if around else type(owner).__name__
        self.paths[id(owner)] = owner, path
        return path

    def _enter(self, root, name):
        self.roots.append(name)
        for path, module in root.named_modules():
            self.paths.setdefault(id(module), (module, ".".join(part for part in (name, path) if part)))
