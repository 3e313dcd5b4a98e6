"""Modules that hold other modules. Plain lists and dicts do as well; these add ``parameters()`` and, for one, ``forward``."""

from __future__ import annotations

from minitensor.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class ModuleList(Module):
    """A list of modules, itself a module. Its children are named "0", "1", ..."""

    def __init__(self, modules=()):
        self._modules = []
        self.extend(modules)

    def _items(self):
        return [*super()._items(), *((str(i), module) for i, module in enumerate(self._modules))]

    def append(self, module):
        """Add a module at the end; returns the container."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds modules, got {type(module).__name__}")
        self._modules.append(module)
        return self

    def extend(self, modules):
        """Add modules at the end; returns the container."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, index):
        if isinstance(index, slice):
            return ModuleList(self._modules[index])
        return self._modules[index]

    def __setitem__(self, index, module):
        self._modules[index] = module

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)


class Sequential(ModuleList):
    """Modules applied one after the other: ``Sequential(f, g)(x) = g(f(x))``."""

    def __init__(self, *modules):
        super().__init__(modules)

    def forward(self, x):
        """The last module's output."""
        for module in self._modules:
            x = module(x)
        return x

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential(*self._modules[index])
        return self._modules[index]


class ModuleDict(Module):
    """A dict of modules, itself a module. Its children are named by their keys."""

    def __init__(self, modules=None):
        self._modules = {}
        for name, module in dict(modules or {}).items():
            self[name] = module

    def _items(self):
        return [*super()._items(), *self._modules.items()]

    def __setitem__(self, name, module):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"a name in a ModuleDict is a string without dots, got {name!r}")
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict holds modules, got {type(module).__name__} for {name!r}")
        self._modules[name] = module

    def __getitem__(self, name):
        return self._modules[name]

    def __contains__(self, name):
        return name in self._modules

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def keys(self):
        """The names."""
        return self._modules.keys()

    def values(self):
        """The modules."""
        return self._modules.values()

    def items(self):
        """``(name, module)`` pairs."""
        return self._modules.items()
