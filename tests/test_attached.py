"""What ``engine/attached.pyi`` tells editors and type checkers of a Tensor is what a Tensor has."""

import ast
import inspect
from pathlib import Path

import pytest

import minitensor as mt
from minitensor.engine.primitive import Primitive

ENGINE = Path(mt.__file__).parent / "engine"


def class_of(file, name):
    """The syntax tree of a class in a file of the engine."""
    tree = ast.parse((ENGINE / file).read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


DECLARED = {node.name: node for node in class_of("attached.pyi", "Attached").body if isinstance(node, ast.FunctionDef)}
OWN = {node.name for node in class_of("tensor.py", "Tensor").body if isinstance(node, ast.FunctionDef)}
INNER = {"of_parts", "__getattr__"}  # not for users


def test_what_is_declared_is_attached_and_what_is_attached_is_declared():
    plain = set(vars(type("Plain", (), {"__slots__": ()}))) | set(mt.Tensor.__slots__)
    plain |= {"__annotations__", "__hash__", "__orig_bases__", "__static_attributes__", "__firstlineno__"}
    assert set(vars(mt.Tensor)) - plain - OWN - INNER == set(DECLARED)
    assert len(DECLARED) > 60


def parameters(node):
    """``{name: default}`` of a declared function without self, defaults as Python reads them."""
    a = node.args
    positional = [*a.posonlyargs, *a.args][1:]
    defaults = [inspect.Parameter.empty] * (len(positional) - len(a.defaults)) + [
        ast.literal_eval(d) for d in a.defaults
    ]
    named = {x.arg: default for x, default in zip(positional, defaults)}
    empty = inspect.Parameter.empty
    return named, {x.arg: empty if d is None else ast.literal_eval(d) for x, d in zip(a.kwonlyargs, a.kw_defaults)}


@pytest.mark.parametrize(
    "name", [name for name, node in DECLARED.items() if not name.startswith("__") and not node.decorator_list]
)
def test_declared_parameters_are_those_of_the_method(name):
    positional, keyword = parameters(DECLARED[name])
    method = getattr(mt.Tensor, name)
    true = list(inspect.signature(method).parameters.values())[1:]
    # a_min: NumPy's older name
    true = [p for p in true if p.kind is not p.VAR_POSITIONAL and not p.name.startswith("a_")]
    assert {p.name: p.default for p in true} == positional | keyword
    op = inspect.unwrap(method)
    if isinstance(op, Primitive):  # what may be given by position is what the op takes there
        assert (*op.inputs[1:], *op.positions)[: len(positional)] == tuple(positional)
