"""What the arguments of a function, an op, a layer or a rule of any library are."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["binds", "labels_of", "names_all", "signature_of", "takes_keywords"]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def signature_of(function):
    """The signature of what ``function`` runs: the first of a pair, the ``forward`` of a layer or
    of a class of rules (without its ``ctx``); None if it has none, as built-in functions.
    """
    if isinstance(function, tuple) and function:
        function = function[0]
    function = getattr(function, "target", function)  # of what is adapted
    owner = getattr(function, "__self__", None)
    rules = _is_rules(function) or _is_rules(owner)
    described: Any = owner if _is_rules(owner) else function
    try:
        signature = inspect.signature(getattr(described, "forward", described))
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    first = parameters[:1]
    if rules and first and first[0].kind in POSITIONAL and first[0].name == "ctx":
        return signature.replace(parameters=parameters[1:])
    return signature


def _is_rules(value):
    """Whether ``value`` is a class with a forward and a backward that is called by ``apply``."""
    return isinstance(value, type) and hasattr(value, "forward") and hasattr(value, "apply")


def takes_keywords(function):
    """Whether ``function`` can be given keywords: ``apply`` of a class of rules cannot."""
    function = getattr(function, "target", function)
    return not _is_rules(function) and not _is_rules(getattr(function, "__self__", None))


def labels_of(function):
    """What the arguments of a function are called, as far as it says."""
    signature = signature_of(function)
    return [p.name for p in signature.parameters.values() if p.kind in POSITIONAL] if signature else []


def binds(signature, inputs, keywords):
    """Whether a function of this signature can be called so."""
    try:
        signature.bind(*inputs, **keywords)
    except TypeError:
        return False
    return True


def names_all(signature, names):
    """Whether each of ``names`` is a parameter that can be given by its name."""
    return set(names) <= {p.name for p in signature.parameters.values() if p.kind in BY_NAME}
