"""Modules that hold other modules.

Plain lists and dicts also work; these add ``parameters()``, and ``Sequential`` a ``forward``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minitensor.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
    from typing import SupportsIndex, TypeAlias

    from typing_extensions import Self

    # What is taken out of a container may have attributes and a ``forward`` that Module does not
    # have.
    Item: TypeAlias = Any


class ModuleList(Module):
    """A list of modules, itself a module.

    Its children are named "0", "1", ... Anything else is refused.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._modules: list[Item] = []
        self.extend(modules)

    def _items(self):
        return [*super()._items(), *((str(i), module) for i, module in enumerate(self._modules))]

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the container."""
        self._modules.append(self._checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, all or none; returns the container."""
        self._modules += self._several(modules)
        return self

    def insert(self, index: SupportsIndex, module: Module) -> Self:
        """Add a module before the place ``index``; returns the container."""
        self._modules.insert(index, self._checked(module))
        return self

    def pop(self, index: SupportsIndex = -1) -> Item:
        """Take the module at ``index`` out and return it."""
        return self._modules.pop(index)

    def __getitem__(self, index: SupportsIndex | slice) -> Item:
        if isinstance(index, slice):
            return ModuleList(self._modules[index])
        return self._modules[index]

    def __setitem__(self, index: SupportsIndex | slice, module: Module | Iterable[Module]) -> None:
        self._modules[index] = self._several(module) if isinstance(index, slice) else self._checked(module)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        del self._modules[index]

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> Self:
        return self[:].extend(modules)

    def __contains__(self, module: object) -> bool:
        return any(module is one for one in self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._modules)

    def _checked(self, module):
        if not isinstance(module, Module):
            raise TypeError(_refusal(self, module))
        return module

    def _several(self, modules):
        """``modules`` as a list, looked at before the first of them comes in."""
        if not hasattr(modules, "__iter__") or isinstance(modules, (str, dict, ModuleDict)):
            raise TypeError(_refusal(self, modules))
        return [self._checked(module) for module in modules]


class Sequential(ModuleList):
    """Modules applied one after the other: ``Sequential(f, g)(x) = g(f(x))``."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """The last module's output."""
        for module in self._modules:
            x = module(x)
        return x

    def __getitem__(self, index: SupportsIndex | slice) -> Item:
        if isinstance(index, slice):
            return Sequential(*self._modules[index])
        return self._modules[index]


class ModuleDict(Module):
    """A dict of modules, itself a module.

    Its children are named by their keys. Anything else is refused.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        self._modules: dict[str, Item] = {}
        self.update(modules or {})

    def _items(self):
        return [*super()._items(), *self._modules.items()]

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> Self:
        """Enter a dict, or pairs ``(name, module)``, all or none; returns the container."""
        try:
            pairs = list(modules.items()) if hasattr(modules, "items") else [(name, module) for name, module in modules]
        except (TypeError, ValueError):
            raise TypeError(
                f"ModuleDict takes a dict, or pairs of a name and a module, got {type(modules).__name__}"
            ) from None
        self._modules.update({self._checked_name(name): self._checked(name, module) for name, module in pairs})
        return self

    def pop(self, name: str) -> Item:
        """Take the module ``name`` out and return it."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def __setitem__(self, name: str, module: Module) -> None:
        self._modules[self._checked_name(name)] = self._checked(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __getitem__(self, name: str) -> Item:
        return self._modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Item]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Item]:
        """``(name, module)`` pairs."""
        return self._modules.items()

    def _checked_name(self, name):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"a name in a ModuleDict is a string without dots, got {name!r}")
        if name != "training" and name in vars(self):
            raise ValueError(f"the name {name!r} is that of an attribute of this ModuleDict: choose another")
        return name

    def _checked(self, name, module):
        if not isinstance(module, Module):
            raise TypeError(f"{_refusal(self, module)} for {name!r}")
        return module


def _refusal(container, given):
    name, kind = type(container).__name__, type(given).__name__
    hint = ""
    if isinstance(given, type) and issubclass(given, Module):
        hint = f"; make one: {given.__name__}(...)"
    elif isinstance(given, (list, tuple)) and isinstance(container, Sequential):
        hint = "; write Sequential(*modules)"
    elif isinstance(given, (dict, ModuleDict)):
        hint = "; write its .values()"
    elif callable(given) and not isinstance(given, (type, Module)):
        hint = "; make a module of the function, whose forward calls it"
    return f"{name} holds modules, got {f'the class {given.__name__}' if isinstance(given, type) else kind}{hint}"
