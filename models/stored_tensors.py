"""The weights in a folder of Hugging Face transformers: one file, or several and their index."""

from __future__ import annotations

import os

import numpy as np

from minitensor.files.safetensors import CURE, FileFormatError, TensorFile
from minitensor.models.published_config import read_json

__all__ = ["INDEX", "WEIGHTS", "StoredTensors", "listed"]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHOWN = 12  # names listed in one error


class StoredTensors:
    """All tensors of a folder, in one file or several, by the names they have there."""

    def __init__(self, folder):
        self.files: dict = {}  # the TensorFile that holds each name
        for path in _weight_files(folder):
            file = TensorFile(path)
            self.files |= dict.fromkeys(file.shapes, file)
        self.dtype = np.float64 if "F64" in {self.files[name].dtypes[name] for name in self.files} else np.float32

    def shape(self, name):
        """Of the tensor of this name, by the header of its file."""
        return self.files[name].shapes[name]

    def read(self, name):
        """A new array with its values."""
        return self.files[name].read(name)


def _weight_files(folder):
    """The paths of the safetensors files of ``folder``."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        placement = read_json(folder / INDEX).get("weight_map")
        names = placement.values() if isinstance(placement, dict) else [None]
        if not all(isinstance(name, str) and os.path.basename(name) == name for name in names):
            raise FileFormatError(f'{folder / INDEX}: "weight_map" does not say which files hold the weights; {CURE}')
        paths = [folder / name for name in sorted(set(names))]
        lost = [path.name for path in paths if not path.is_file()]
        if lost:
            raise FileNotFoundError(f"{folder} lacks {listed(lost)}, which {INDEX} names: download it too")
        return paths
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    hint = (
        f"; {pickled[0].name} is in PyTorch's format: convert it by save_pretrained of transformers" if pickled else ""
    )
    raise FileNotFoundError(f"{folder} has neither {WEIGHTS} nor {INDEX}{hint}")


def listed(names):
    """The names, not too many of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
