"""Derivatives of functions, in JAX's names, arguments and shapes.

With J the matrix of all derivatives of the outputs by the inputs, ``vjp`` multiplies it by a row
from the left, which is one backward pass, and ``jvp`` by a column from the right. Griewank and
Walther, "Evaluating Derivatives", 2nd edition, 2008, chapter 3.
"""

from __future__ import annotations

import functools
from operator import index
from typing import TYPE_CHECKING, Any

from minitensor.backend import is_floating, np
from minitensor.engine.messages import a_kind
from minitensor.engine.settings import flag
from minitensor.engine.tensor import Tensor
from minitensor.engine.trees import leaves_of, matched, named_leaves, rebuilt
from minitensor.ops.creation import zeros, zeros_like
from minitensor.ops.shape import reshape, stack
from minitensor.transforms.level import levels, of_all, of_one
from minitensor.transforms.recording import Recording, as_tangent, check_function, one_like, pulled

__all__ = ["hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


# --- products with the Jacobian -------------------------------------------------------------------


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``fun(*primals)``, and the function that multiplies a row by its Jacobian: reverse mode.

    Returns ``(out, vjp_fun)``, or ``(out, vjp_fun, aux)`` if ``has_aux`` says that ``fun`` returns
    ``(out, aux)``. ``vjp_fun(cotangent)``, with a tree like ``out``, of its shapes and types, gives
    a tuple of one tree for each of ``primals``: ``sum_i cotangent_i d out_i / d primal``. It may be
    called many times. An input that ``out`` does not depend on gets zeros; the cotangent of an
    output that is no floating number is None.

    Raises TypeError if a leaf of ``primals`` is no floating number, or the cotangent has another
    structure or type than ``out``; ValueError if it has another shape.

    >>> import minitensor as mt
    >>> out, vjp_fun = mt.vjp(lambda x, y: x * y, mt.tensor([1.0, 2.0]), mt.tensor([3.0, 4.0]))
    >>> vjp_fun(mt.tensor([1.0, 10.0]))
    (tensor([ 3., 40.]), tensor([ 1., 20.]))
    """
    has_aux = flag("vjp", "has_aux", has_aux)
    record = Recording("vjp", fun, primals, _numbered(primals), has_aux)

    def vjp_fun(cotangent):
        now = levels()
        if any(level not in now for level in record.levels):
            raise RuntimeError("vjp: vjp_fun belongs to the mt.vmap in which it was made, which has ended")
        for level in now:
            if level not in record.levels and level.concerns(cotangent):  # one graph, many cotangents
                return level.one_by_one(vjp_fun, (cotangent,), {})
        return record.input_trees(record.pull(record.cotangents(cotangent)))

    return (record.out, vjp_fun, record.aux) if has_aux else (record.out, vjp_fun)


def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """``fun(*primals)``, and the product of its Jacobian with a column: the derivative of ``fun``
    along ``tangents``.

    Returns ``(out, tangent_out)``, or ``(out, tangent_out, aux)`` with ``has_aux``; ``tangent_out``
    is ``sum_j d out / d primal_j tangent_j``, a tree like ``out``, zeros for what does not depend
    on the primals, None for what is no floating number. ``tangents`` are trees like ``primals``, of
    their shapes and types.

    The derivative is that of ``u -> vjp(u)``, a linear function, by a second backward pass
    (Townsend, "A new trick for calculating Jacobian vector products", 2017,
    https://j-towns.github.io/2017/06/12/A-new-trick.html); it costs about three evaluations of a
    gradient's ops, and the memory of both passes.

    Raises TypeError or ValueError for tangents that are unlike the primals, TypeError for a leaf
    that is no floating number.

    >>> import minitensor as mt
    >>> mt.jvp(mt.sin, (mt.tensor(0.0),), (mt.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    has_aux = flag("jvp", "has_aux", has_aux)
    primals, tangents = _sequences("jvp", primals, tangents)
    record = Recording("jvp", fun, tuple(primals), _numbered(primals), has_aux)
    directions = _directions(record, tangents)
    places = [i for i, x in enumerate(record.outputs) if x.node is not None]
    rows = {i: one_like(record.outputs[i]).requires_grad_() for i in places}
    gradients = record.pull([rows.get(i) for i in range(len(record.outputs))], recorded=True)
    pairs = list(zip(gradients, directions))
    found = dict(zip(places, pulled(pairs, list(rows.values()), record.recorded(directions))))
    leaves = [
        (of_one(found[i] if i in found else zeros_like(x.detach()), record.levels) if is_floating(x.dtype) else None)
        for i, x in enumerate(record.outputs)
    ]
    tangent_out = rebuilt(record.tree, leaves)
    return (record.out, tangent_out, record.aux) if has_aux else (record.out, tangent_out)


def hvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a function with one number for a result, times a column: ``H v``, without H.

    ``fun(*primals)`` returns a tensor of shape (); ``tangents`` are trees like ``primals``. The
    result is the tree of the one primal, or a tuple of one tree for each of several: ``sum_k d^2
    fun / (d primal_j d primal_k) tangent_k``. It is the gradient of ``<gradient, v>``: two backward
    passes (Pearlmutter, "Fast exact multiplication by the Hessian", 1994).

    Raises TypeError or ValueError as ``jvp``, and for a result that is not one number.

    >>> import minitensor as mt
    >>> mt.hvp(lambda x: (x**3).sum(), (mt.tensor([1.0, 2.0]),), (mt.tensor([1.0, 0.0]),))
    tensor([6., 0.])
    """
    primals, tangents = _sequences("hvp", primals, tangents)
    record = Recording("hvp", fun, tuple(primals), _numbered(primals), False)
    _one_number("hvp", record)
    directions = _directions(record, tangents)
    gradients = record.pull([one_like(record.outputs[0])], recorded=True)
    pairs = list(zip(gradients, directions))
    trees = record.input_trees(pulled(pairs, record.inputs, record.recorded(directions)))
    return trees[0] if len(trees) == 1 else trees


# --- gradients and matrices -----------------------------------------------------------------------


def value_and_grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns ``(value, gradient)`` of ``fun``, whose result is one number.

    argnums: the positional argument, or several, by which to differentiate; the gradient is a tree
    like that argument, or a tuple of such trees if ``argnums`` is a sequence. Arguments that are
    not named there, and those by keyword, may be anything. has_aux: ``fun`` returns ``(value,
    aux)``, and the new function ``((value, aux), gradient)``.

    Raises, when the new function is called: ValueError for an argnum that is no argument and for a
    value of another shape than (), TypeError for an argument or a value that is no floating number.

    >>> import minitensor as mt
    >>> weights = {"a": mt.tensor(2.0), "b": mt.tensor(5.0)}
    >>> mt.value_and_grad(lambda w: w["a"] * w["b"])(weights)
    (tensor(10.), {'a': tensor(5.), 'b': tensor(2.)})
    """
    argnums, has_aux = _argnums("value_and_grad", argnums), flag("value_and_grad", "has_aux", has_aux)

    @_wrapped("value_and_grad", fun)
    def run(*args, **keywords):
        record, single = _recorded("value_and_grad", fun, argnums, has_aux, args, keywords)
        _one_number("value_and_grad", record)
        trees = record.input_trees(record.pull([one_like(record.outputs[0])]))
        value = (record.out, record.aux) if has_aux else record.out
        return value, trees[0] if single else trees

    return run


def jacobian(fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns all derivatives of the outputs of ``fun`` by the arguments
    ``argnums``.

    It is a tree like the output, with, in the place of each leaf, a tree like the argument (a tuple
    of such trees if ``argnums`` is a sequence), whose leaves have the shape ``(*output, *input)``.
    has_aux: ``fun`` returns ``(out, aux)``, the new function ``(jacobian, aux)``. One backward pass
    for each element of the outputs: a function of many inputs and few outputs is what it is for.

    Raises as ``value_and_grad``, but takes outputs of any shape.

    >>> import minitensor as mt
    >>> mt.jacobian(lambda x: x * x)(mt.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return _jacobian("jacobian", fun, argnums, has_aux)


def hessian(fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns all second derivatives of ``fun``: the Jacobian of its Jacobian.

    For one argument and a result of shape () it has the shape ``(*input, *input)``; the outputs'
    axes stand before these, and trees nest, as in ``jacobian``. has_aux: ``fun`` returns ``(out,
    aux)``, the new function ``(hessian, aux)``. One backward pass for each output, and one for
    each element of the first derivatives.

    Raises as ``jacobian``.

    >>> import minitensor as mt
    >>> mt.hessian(lambda x: x[0] * x[0] * x[1])(mt.tensor([1.0, 2.0]))
    tensor([[4., 2.],
            [2., 0.]])
    """
    return _jacobian("hessian", _jacobian("hessian", fun, argnums, has_aux), argnums, has_aux)


def _jacobian(owner, fun, argnums, has_aux):
    argnums, has_aux = _argnums(owner, argnums), flag(owner, "has_aux", has_aux)

    @_wrapped(owner, fun)
    def run(*args, **keywords):
        record, single = _recorded(owner, fun, argnums, has_aux, args, keywords)
        blocks = []
        for place, out in enumerate(record.outputs):
            if not is_floating(out.dtype):
                raise TypeError(f"{owner}: the output{record.names[place]} is {out.dtype}, which has no derivative")
            trees = record.input_trees(_rows(record, place))
            blocks.append(trees[0] if single else trees)
        found = rebuilt(record.tree, blocks)
        return (found, record.aux) if has_aux else found

    return run


def _rows(record, place):
    """For each input the derivatives of the output number ``place``: (..., *output, *input)."""
    out, depth = record.outputs[place], len(record.levels)
    shape, leading = record.shape_of(out), out.shape[:depth]
    passes = []
    for at in np.ndindex(*shape) if out.node is not None else ():
        unit = np.zeros(shape, dtype=np.bool_)
        unit[at] = True
        row = Tensor(np.broadcast_to(unit, out.shape).copy()).to(out.device).astype(out.dtype)
        passes.append(record.pull([row if i == place else None for i in range(len(record.outputs))]))
    made = []
    for i, x in enumerate(record.inputs):
        full = (*leading, *shape, *record.shape_of(x))
        if not passes:
            made.append(zeros(full, dtype=x.dtype, device=x.device))
            continue
        made.append(reshape(stack([each[i] for each in passes], axis=depth), shape=full))
    return made


# --- arguments ------------------------------------------------------------------------------------


def _wrapped(owner, fun):
    """A decorator: the new function has the name and words of ``fun``, as far as it has any."""
    check_function(owner, fun)
    return functools.wraps(fun, updated=())


def _argnums(owner, argnums):
    """``argnums`` as an int or a tuple of them."""
    try:
        if isinstance(argnums, (tuple, list)):
            if any(isinstance(n, bool) for n in argnums):
                raise TypeError
            return tuple(index(n) for n in argnums)
        if isinstance(argnums, bool):
            raise TypeError
        return index(argnums)
    except TypeError:
        raise TypeError(f"{owner}: argnums is an integer or a sequence of them, got {argnums!r}") from None


def _recorded(owner, fun, argnums, has_aux, args, keywords):
    """The recording of ``fun`` as a function of the arguments ``argnums``, and whether that is
    one.
    """
    single = not isinstance(argnums, tuple)
    places = []
    for n in (argnums,) if single else argnums:
        if not -len(args) <= n < len(args):
            raise ValueError(
                f"{owner}: argnums = {argnums} is out of range: the function was called with {len(args)} positional arguments"
            )
        places.append(n % len(args))
    if len(set(places)) != len(places):
        raise ValueError(f"{owner}: argnums = {argnums} names an argument twice")

    def call(own):
        given = list(args)
        for place, value in zip(places, own):
            given[place] = value
        return fun(*given, **keywords)

    primals = tuple(args[place] for place in places)
    names = [f"argument {place} (argnums)" for place in places]
    return Recording(owner, fun, primals, names, has_aux, call), single


def _numbered(primals):
    return [f"primal {i}" for i in range(len(primals))]


def _sequences(owner, primals, tangents):
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{owner}: {name} is a tuple or list, one part for each argument, got {a_kind(value)}")
    if len(primals) != len(tangents):
        raise ValueError(f"{owner}: {len(primals)} primals but {len(tangents)} tangents")
    return tuple(primals), tuple(tangents)


def _directions(record, tangents):
    """The leaves of the tangents, of all examples."""
    names = [name for i, tree in enumerate(record.primals) for name, _ in _named(i, tree)]
    parts = [
        part
        for i, (tree, tangent) in enumerate(zip(record.primals, tangents))
        for part in matched(record.owner, tree, tangent, f"tangent {i}", f"primal {i}")
    ]
    return [
        of_all(as_tangent(record.owner, f"tangent {name}", part, record.shape_of(x), x.dtype, x.device, "the primal"),
               record.levels)
        for name, part, x in zip(names, parts, record.inputs)
    ]  # fmt: skip


def _named(i, tree):
    return [(f"{i}{place}", leaf) for place, leaf in named_leaves(tree)]


def _one_number(owner, record):
    """Raise unless the function returned one floating number of shape ()."""
    leaves = leaves_of(record.tree)
    if len(leaves) != 1 or leaves[0] is not record.tree:
        raise TypeError(
            f"{owner}: the function must return one number, a tensor of shape (), got {a_kind(record.tree)}; "
            "has_aux=True is for more that it returns"
        )
    (out,) = record.outputs
    if record.shape_of(out) != ():
        raise ValueError(
            f"{owner}: the function must return one number, a tensor of shape (), got one of shape {record.shape_of(out)}: "
            "write .sum() or .mean(), or mt.jacobian for all its derivatives"
        )
    if not is_floating(out.dtype):
        raise TypeError(f"{owner}: the function returned {out.dtype}, which has no derivative")
