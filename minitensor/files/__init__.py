"""Tensors in files: whole or not at all, and never by pickle."""

from minitensor.files.state import FileFormatError, load, save

__all__ = ["FileFormatError", "load", "save"]
