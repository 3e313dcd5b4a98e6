"""The API reference shows ops as they are called.

griffe, which reads the source for mkdocstrings, sees ``@op def add(xp, x, y)`` and ``exp =
_unary("exp", ...)``. A caller writes ``add(x, y)`` and ``exp(x)``. So ops, and the methods that
Tensor gets from them, are looked up in the running library; the source that is shown reaches to the
last gradient rule.
"""

import ast
import functools
import inspect
import re
import sys

import griffe

import minitensor

OPS = (type(minitensor.add), type(minitensor.nn.functional.linear))


class Ops(griffe.Extension):
    """Functions, methods and docstrings of the library as a reader expects them."""

    def on_package(self, *, pkg, loader, **_):
        """Put ops and the methods of Tensor where griffe has seen decorated functions, attributes
        or nothing.
        """
        running = [(path, module) for path, module in sys.modules.items() if path.split(".")[0] == pkg.name]
        pairs = [
            (pkg if path == pkg.name else pkg[path.removeprefix(f"{pkg.name}.")], module) for path, module in running
        ]
        for seen, module in pairs:
            for name, value in vars(module).items():
                if isinstance(value, OPS) and (value.__module__, value.__name__) == (seen.path, name):
                    seen.set_member(name, _function(name, value, seen.members[name]))
        tensor = pkg["Tensor"].final_target
        for name, value in vars(minitensor.Tensor).items():
            if inspect.isfunction(value) and not isinstance(tensor.members.get(name), griffe.Function):
                tensor.set_member(name, _function(name, value))
        loader.resolve_aliases(implicit=True, external=False)
        for seen, module in pairs:  # a function that griffe takes for the module of its name, such as checkpoint
            for name, hidden in list(seen.members.items()):
                if isinstance(hidden, griffe.Module) and callable(getattr(module, name, None)):
                    seen.members[name] = griffe.Alias(name, hidden.members[name], parent=seen)

    def on_object(self, *, obj, **_):
        """A docstring is Markdown but for its doctests, which want a fence, and for the ``::``
        before an indented block.
        """
        if obj.docstring:
            text = re.sub(r"::$", ":", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE)


def _function(name, value, seen=None):
    """An op or a method of the running library, with the place in the source where griffe has
    ``seen`` it.
    """
    made = griffe.Function(
        name, parameters=griffe.Parameters(*map(_parameter, inspect.signature(value).parameters.values()))
    )
    made.docstring = griffe.Docstring(inspect.getdoc(value) or "", parent=made)
    if seen is not None:
        ends = [end for of, end in _additions(seen.filepath) if of == name]
        made.lineno, made.endlineno = seen.lineno, max([seen.endlineno, *ends])
    return made


def _parameter(p):
    default = None if p.default is p.empty else repr(p.default)
    return griffe.Parameter(p.name, kind=griffe.ParameterKind[p.kind.name.lower()], default=default)


@functools.cache
def _additions(path):
    """``(op, last line)`` of every ``op.vjp(...)``, ``@op.vjp`` and ``@op.kernel`` in a file."""
    found = []
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        for expression in getattr(statement, "decorator_list", [getattr(statement, "value", None)]):
            text = ast.unparse(expression) if expression else ""
            if match := re.match(r"(\w+)\.(vjp|kernel)\b", text):
                found.append((match[1], statement.end_lineno))
    return found
