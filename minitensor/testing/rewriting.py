"""The changes that make a mutant of a function: one place of its syntax tree, changed in one way.

Each kind is a fault that people write: a sign, a factor, an axis, a sum that is forgotten, operands
exchanged, an index that is off by one, a tie, a mask, a term that is missing, a part that is taken
for a constant.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import Any

__all__ = ["KEPT", "KINDS", "UNSUMMED", "Change", "changes", "unsummed"]

KINDS = (
    "sign", "factor", "axis", "lost sum", "swapped operands", "off by one", "wrong tie", "wrong mask", "dropped term",
    "wrong function", "no-grad branch",
)  # fmt: skip

FLIPPED: dict[type, type] = {
    ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.GtE: ast.LtE, ast.LtE: ast.GtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
TIED: dict[type, type] = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
MASKS = {
    "greater": "less", "less": "greater", "greater_equal": "less_equal", "less_equal": "greater_equal",
    "equal": "not_equal", "not_equal": "equal", "logical_and": "logical_or", "logical_or": "logical_and",
    "tril": "triu", "triu": "tril",
}  # fmt: skip
TIES = {"greater": "greater_equal", "greater_equal": "greater", "less": "less_equal", "less_equal": "less"}
OTHERS = {
    "sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "exp": "expm1", "expm1": "exp", "log": "log1p", "sqrt": "square",
    "tanh": "sin", "maximum": "minimum", "minimum": "maximum", "cumsum": "cumprod", "max": "min", "min": "max", "floor": "ceil",
    "zeros_like": "ones_like", "floor_divide": "divide",
}  # fmt: skip
FLAT = ("sign", "isfinite", "floor_divide", "floor", "zeros_like", "ones_like", "argmax", "argsort")  # no derivative
IN_PLACE = {"add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply"}
INPLACE_SWAPPED: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
# Names under which a mutant finds the function that cuts a part off the graph, and that which does
# not sum.
KEPT, UNSUMMED = "_kept_constant", "_without_sum"


@dataclass(frozen=True)
class Change:
    """One mutant of a tree: what kind of fault, the node that was changed, the text in its place,
    and the changed tree.
    """

    kind: str
    node: Any
    after: str
    tree: Any

    def diff(self, lines):
        """The lines of the file ``lines`` that the change touches, before and after."""
        node = self.node
        before = lines[node.lineno - 1 : node.end_lineno]
        head = before[0].encode()[: node.col_offset].decode()
        tail = before[-1].encode()[node.end_col_offset :].decode()
        after = (head + self.after + tail).splitlines()
        return "\n".join([*("- " + line.rstrip() for line in before), *("+ " + line.rstrip() for line in after)])


def changes(tree, arrays=(), recorded=True):
    """All mutants of a function's ``tree``, in the order of its text, those of equal text once.

    arrays: parameters that hold arrays, which may be taken for each other. recorded: whether the
    function runs on Tensors too, so that a constant in it can be told from a variable.
    """
    seen = {ast.dump(tree)}
    for kind, node, put in _planned(tree, arrays, recorded):
        changed = copy.deepcopy(tree)
        target = _numbered(changed, node)
        made = put(copy.deepcopy(target))
        if made is None:
            continue
        changed = _Replace(target, made).visit(changed)
        ast.fix_missing_locations(changed)
        text = ast.dump(changed)
        if text in seen:
            continue
        seen.add(text)
        yield Change(kind, _numbered(tree, node), _text(made), changed)


def unsummed(tree, shape):
    """The mutants of a rule's ``tree`` that give a slice in place of the sum over what was
    broadcast; ``shape`` is the parameter that holds the operand's shape.
    """
    results = _roles(tree)[2]
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in results and not isinstance(node, ast.Constant):
            changed = copy.deepcopy(tree)
            target = _numbered(changed, number)
            inner: Any = copy.deepcopy(node)
            made: Any = ast.Call(ast.Name(UNSUMMED, ast.Load()), [inner, ast.Name(shape, ast.Load())], [])
            changed = _Replace(target, made).visit(changed)
            names = [a.arg for a in (*changed.args.posonlyargs, *changed.args.args, *changed.args.kwonlyargs)]
            if shape not in names:
                changed.args.args.append(ast.arg(shape))
            yield Change("lost sum", node, _text(made), ast.fix_missing_locations(changed))


def _numbered(tree, number):
    return list(ast.walk(tree))[number]


class _Replace(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        return ast.copy_location(self.new, node) if node is self.old else super().generic_visit(node)


def _text(node):
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return f"({text})" if isinstance(node, (ast.BinOp, ast.Compare)) else text


def _planned(tree, arrays, recorded):
    """``(kind, number of the node, function from a copy of the node to the one in its place)`` for
    all that may be changed.
    """
    skipped, axes, results, masks = _roles(tree)
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    order: list[Any] = sorted(
        (node for node in ast.walk(tree) if hasattr(node, "lineno") and id(node) not in skipped),
        key=lambda node: (node.lineno, node.col_offset, numbers[id(node)]),
    )
    for node in order:
        number = numbers[id(node)]
        free = recorded and id(node) not in masks  # a mask has no derivative anyway
        for kind, put in _of_node(node, arrays, free, id(node) in axes, id(node) in results):
            yield kind, number, put


def _roles(tree):
    """The ids of nodes that are left alone (signatures, docstrings, messages), of numbers that are
    axes, of results, of what masks are made of.
    """
    skipped: set[int] = {id(tree)}
    axes: set[int] = set()
    results: set[int] = set()
    masks: set[int] = set()

    def leave(*nodes):
        for node in nodes:
            skipped.update(id(inner) for inner in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            leave(node.args)
            if isinstance(node, ast.Lambda):
                results.update(map(id, _elements(node.body)))
            else:
                leave(*node.decorator_list, *([node.returns] if node.returns else []))
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    leave(first)
                skipped.add(id(node))
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)):
            leave(node)
        elif isinstance(node, ast.Return) and node.value is not None:
            results.update(map(id, _elements(node.value)))
        elif isinstance(node, ast.Call):
            if _name(node.func) in ("isinstance", "hasattr", "len"):
                leave(node)
            elif _name(node.func) in ("moveaxis", "swapaxes", "expand_dims", "squeeze"):
                axes.update(id(inner) for argument in node.args[1:] for inner in ast.walk(argument))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            skipped.add(id(node.operand))  # a negative number is one number
        elif isinstance(node, ast.keyword) and node.arg in ("axis", "axes", "axis1", "axis2"):
            axes.update(id(inner) for inner in ast.walk(node.value))
        elif isinstance(node, ast.keyword) and node.arg in ("dtype", "keepdims", "out"):
            leave(node.value)
        elif isinstance(node, ast.Compare) and any(
            isinstance(c, ast.Constant) and (c.value is None or isinstance(c.value, str))
            for c in (node.left, *node.comparators)
        ):
            leave(node)
    for node in ast.walk(tree):
        masked = isinstance(node, ast.Call) and (_name(node.func) in MASKS or _name(node.func) in FLAT)
        if masked or isinstance(node, ast.Compare):
            masks.update(map(id, ast.walk(node)))
    return skipped, axes, results, masks


def _elements(node):
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _name(function):
    return getattr(function, "attr", getattr(function, "id", ""))


def _of_node(node, arrays, recorded, is_axis, is_result):
    """The changes of one node: pairs of a kind and a function from a copy of it to its
    replacement.
    """
    kind = type(node)
    if is_result and kind not in (ast.Constant, ast.Tuple, ast.Lambda, ast.Starred):
        yield "sign", lambda n: ast.UnaryOp(ast.USub(), n)
        yield "factor", lambda n: ast.BinOp(n, ast.Mult(), ast.Constant(1.001))
        if recorded:
            yield "no-grad branch", _kept
    yield from {
        ast.BinOp: _of_operation, ast.UnaryOp: _of_sign, ast.AugAssign: _of_augmented, ast.Compare: _of_comparison,
        ast.Call: _of_call, ast.Expr: _of_step, ast.Attribute: _of_attribute, ast.Slice: _of_slice,
    }.get(kind, lambda node, recorded: ())(node, recorded)  # fmt: skip
    if kind is ast.Constant:
        yield from _of_number(node.value, is_axis)
    elif kind is ast.UnaryOp and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        number: Any = node.operand.value
        yield from _of_number(-number, is_axis)
    elif kind is ast.Name and isinstance(node.ctx, ast.Load) and node.id in arrays:
        other = arrays[(arrays.index(node.id) + 1) % len(arrays)]
        yield "swapped operands", lambda n: ast.Name(other, ast.Load())
        if recorded and not is_result:
            yield "no-grad branch", _kept
    elif kind is ast.Name and is_axis and node.id == "axis":
        yield "axis", lambda n: ast.Constant(-1)
        yield "axis", lambda n: ast.Constant(0)


def _kept(node):
    return ast.Call(ast.Name(KEPT, ast.Load()), [node], [])


def _operator(made):
    def put(node):
        node.op = made()
        return node

    return put


def _of_operation(node, recorded):
    kind = type(node.op)
    if kind in (ast.Add, ast.Sub):
        yield "sign", _operator(ast.Sub if kind is ast.Add else ast.Add)
        yield "dropped term", lambda n: n.left
        yield "dropped term", lambda n: n.right if kind is ast.Add else ast.UnaryOp(ast.USub(), n.right)
    elif kind in (ast.Mult, ast.Div):
        yield "factor", _operator(ast.Div if kind is ast.Mult else ast.Mult)
        yield "dropped term", lambda n: n.left
        if kind is ast.Mult:
            yield "dropped term", lambda n: n.right
    elif kind in (ast.BitAnd, ast.BitOr):
        yield "wrong mask", _operator(ast.BitOr if kind is ast.BitAnd else ast.BitAnd)
        yield "dropped term", lambda n: n.left
        yield "dropped term", lambda n: n.right
    if kind in (ast.Sub, ast.Div, ast.MatMult, ast.Pow):
        yield "swapped operands", lambda n: ast.BinOp(n.right, n.op, n.left)


def _of_sign(node, recorded):
    if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", lambda n: n.operand
    elif isinstance(node.op, ast.Invert):
        yield "wrong mask", lambda n: n.operand


def _of_augmented(node, recorded):
    swapped = INPLACE_SWAPPED.get(type(node.op))
    if swapped is not None:
        yield "sign" if swapped in (ast.Add, ast.Sub) else "factor", _operator(swapped)
    yield "dropped term", lambda n: ast.Pass()


def _of_comparison(node, recorded):
    if len(node.ops) == 1:
        for table, kind in ((TIED, "wrong tie"), (FLIPPED, "wrong mask")):
            other = table.get(type(node.ops[0]))
            if other is not None:
                yield kind, lambda n, other=other: ast.Compare(n.left, [other()], n.comparators)


def _of_call(node, recorded):
    name = _name(node.func)

    def renamed(other):
        def put(n):
            if isinstance(n.func, ast.Attribute):
                n.func.attr = other
            else:
                n.func.id = other
            return n

        return put

    of_array = isinstance(node.func, ast.Attribute)  # a name alone may be bound to nothing
    for table, kind in ((MASKS, "wrong mask"), (TIES, "wrong tie"), (OTHERS, "wrong function")):
        if name in table and of_array:
            yield kind, renamed(table[name])
    if name in IN_PLACE and of_array and len(node.args) == 2:
        yield "sign" if name in ("add", "subtract") else "factor", renamed(IN_PLACE[name])
    if name == "sum" and of_array:
        yield "lost sum", renamed("mean")
        yield "lost sum", renamed("max")
    if name == "mean" and of_array:
        yield "lost sum", renamed("max")
    if name == "einsum" and isinstance(node.args[0], ast.Constant):
        yield "axis", _other_letters
    if name == "where" and len(node.args) == 3:
        yield "wrong mask", lambda n: ast.Call(n.func, [n.args[0], n.args[2], n.args[1]], [])
        yield "dropped term", lambda n: n.args[1]
        yield "dropped term", lambda n: n.args[2]
    elif name == "moveaxis" and len(node.args) == 3:
        yield "swapped operands", lambda n: ast.Call(n.func, [n.args[0], n.args[2], n.args[1]], n.keywords)
    elif name in ("matmul", "subtract", "divide", "greater", "less", "arctan2") and len(node.args) >= 2:
        yield "swapped operands", lambda n: ast.Call(n.func, [n.args[1], n.args[0], *n.args[2:]], n.keywords)
    if name in ("broadcast_to", "clip", "roll", "flip", "cumsum", "abs", "conj") and node.args:
        yield "dropped term", lambda n: n.args[0]


def _other_letters(node):
    """Of ``ij,ij->i`` the other letter: a sum along the other axis."""
    left, arrow, right = node.args[0].value.partition("->")
    letters = sorted(set(left) - {",", ".", *right})
    if not arrow or len(right) != 1 or not letters:
        return None
    node.args[0] = ast.Constant(f"{left}->{letters[0]}")
    return node


def _of_step(node, recorded):
    if isinstance(node.value, ast.Call):
        yield "dropped term", lambda n: ast.Pass()


def _of_attribute(node, recorded):
    if node.attr in ("T", "mT"):
        yield "axis", lambda n: n.value


def _of_slice(node, recorded):
    for bound in ("lower", "upper"):
        if getattr(node, bound) is not None:

            def put(n, bound=bound):
                setattr(n, bound, ast.BinOp(getattr(n, bound), ast.Add(), ast.Constant(1)))
                return n

            yield "off by one", put


def _of_number(value, is_axis):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if is_axis:
        yield "axis", lambda n: ast.Constant(0 if value == -1 else -1)
        yield "off by one", lambda n: ast.Constant(value + 1)
    elif isinstance(value, int):
        yield "off by one", lambda n: ast.Constant(value + 1)
    else:
        yield "factor", lambda n: ast.Constant(value * 2.0 if value else 1.0)
        if value == 1.0:
            yield "factor", lambda n: ast.Constant(0.0)
