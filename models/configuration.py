"""What all configurations share: frozen dataclasses of plain values, checked when they are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from minitensor.engine.settings import probability

__all__ = ["Config", "changed", "check_dropouts"]


@dataclass(frozen=True)
class Config:
    """The base of a configuration."""

    def to_dict(self):
        """All fields by name, for JSON: ``cls(**values)`` is the way back."""
        return asdict(self)


def changed(config, changes):
    """``config`` with other values of the fields that ``changes`` names.

    Raises TypeError for one that is no field.
    """
    names = [field.name for field in fields(config)]
    odd = [name for name in changes if name not in names]
    if odd:
        raise TypeError(f"{type(config).__name__} has no field {', '.join(odd)}; it has {', '.join(names)}")
    return replace(config, **changes)


def check_dropouts(config):
    """Raise for a field ``...dropout`` that is neither a probability nor None, for a default."""
    for name in (field.name for field in fields(config) if field.name.endswith("dropout")):
        value = getattr(config, name)
        if value is not None:
            probability(type(config).__name__, name, value)
