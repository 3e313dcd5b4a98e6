"""Published weights: folders of Hugging Face transformers, read and written with NumPy alone.

A folder holds ``config.json`` and ``model.safetensors``, or in its place several files and
``model.safetensors.index.json``, which says what is in which. A model takes part by being a
`Pretrained` and supplying

    model_type                        what config.json must say
    config_class                      the class of its configuration, with the next two
    config_class.from_hugging_face    values of config.json, or defaults, to a configuration
    config.to_hugging_face()          the other way
    model.entries()                   a table of `Entry`: how its parameters are called and cut
                                      in the file; it serves both ways
    model.clean(name)                 the name in that table of a name in a file; None for what
                                      is to be passed over

Tensors are read one by one, straight into the parameters, so that a large model is never held
twice.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.files.safetensors import tensor_file, write_whole
from minitensor.models.configuration import changed
from minitensor.models.published_config import (
    CONFIG,
    GENERATION,
    GENERATION_CONFIG,
    SEARCH,
    check_tokens,
    naming,
    read_config,
    read_generation,
    with_generation,
    written,
)
from minitensor.models.published_search import tell_search
from minitensor.models.stored_tensors import WEIGHTS, StoredTensors, listed

__all__ = ["Entry", "Pretrained", "our_activation", "their_activation", "usual_names", "weight_and_bias"]

if TYPE_CHECKING:
    from typing_extensions import Self

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}  # in config.json: ours
ACTIVATIONS |= {"gelu": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """Our parameter ``ours`` is the concatenation along axis 0 of ``theirs``, equal parts.

    transposed: each of them is transposed first.

    optional: if a file has none of ``theirs`` the parameter keeps its initial value, and a warning
    names it.
    """

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False
    optional: bool = False


def weight_and_bias(ours, *theirs, transposed=False, optional=False):
    """Both entries of a layer called ``ours`` and ``theirs``; ``transposed``: the weight alone."""
    names = {x: tuple(f"{name}.{x}" for name in theirs) for x in ("weight", "bias")}
    return [Entry(f"{ours}.{x}", names[x], transposed and x == "weight", optional) for x in names]


class Pretrained(nn.Module):
    """A module that reads and writes published weights; see the head of this file."""

    model_type: ClassVar[str]
    config_class: ClassVar[Any]
    # In either file, numbers of the vocabulary, without which the model does not compute.
    token_fields: ClassVar[tuple[str, ...]] = ()
    # What a model that generates obeys in generation_config.json.
    generates: ClassVar[tuple[str, ...]] = ()
    output_names: ClassVar[tuple[str, ...]] = ()  # in a file, of what "tie_word_embeddings" ties
    _generation: dict[str, Any] = {}  # what that file said

    def __init__(self, config):
        self.config = config

    @classmethod
    def from_pretrained(cls, folder, dtype=None, device="cpu", **changes) -> Self:
        """The model that ``folder`` holds, in evaluation mode.

        dtype: of its parameters; default: float64 if the file has that, otherwise float32, to which
        16-bit weights are widened. changes: fields of the configuration to be set otherwise, such
        as ``dropout=0.0``.

        Raises FileNotFoundError if the folder or a file is not there, ValueError for a model of
        another type, for damaged files, and with a list of all names for weights that are missing,
        unexpected or of another shape; TypeError for a change to a field that does not exist. Warns
        if optional weights are missing: only those are drawn at random.
        """
        folder = _existing_folder(folder)
        values = read_config(folder, cls.model_type)
        generation = read_generation(folder) if cls.generates else None
        file = CONFIG if generation is None else GENERATION_CONFIG
        size = values.get("decoder_vocab_size") or values.get("vocab_size", getattr(cls.config_class, "vocab_size", 0))
        for name, told in ((CONFIG, values), (GENERATION_CONFIG, generation or {})):
            with naming(folder / name):
                check_tokens(told, cls.token_fields, size, name)
        with naming(folder / file):
            cls.check_search(values if generation is None else generation, file)
        values = with_generation(values, generation, cls.generates)
        stored = StoredTensors(folder)
        shapes = {name: stored.shape(name) for name in stored.files}
        with naming(folder / CONFIG):
            config = cls.configure(values, shapes)
        config = cls.adapted(config, changes)
        # What could not be saved again is refused before anybody trains it.
        config.to_hugging_face()
        fresh = _check_fit(cls, config, stored, folder)
        with nn.init.skipped():
            model = cls(config)
        if fresh:
            model = cls(config)
            warnings.warn(f"{folder} has no weights for {listed(fresh)}: they keep their initial values", stacklevel=2)
        model.astype(dtype or stored.dtype)
        _fill(model, stored, folder)
        with naming(folder):
            model.check_stored(stored)
        model._generation = generation or {}
        return model.to(device).eval()

    def save_pretrained(self, folder) -> None:
        """Write ``config.json`` and ``model.safetensors`` to ``folder``, for transformers too.

        A model that generates writes ``generation_config.json`` as well. All are written and
        flushed beside the old ones before these are replaced: whenever the process dies, the files
        are whole.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, save_pretrained needs a folder")
        folder.mkdir(parents=True, exist_ok=True)
        own = _parameters(self, self.entries())
        dtype = next(iter(own.values())).dtype
        values = written(self.config.to_hugging_face()) | {"model_type": self.model_type, "dtype": dtype.name}
        own_search = {name for name in self.generates if name in SEARCH}
        told = {name: value for name, value in values.items() if name not in own_search}
        config = json.dumps(told, indent=2, sort_keys=True) + "\n"
        parts: dict = {}
        for entry in self.entries():
            parts |= _parts(own[entry.ours], entry)
        # Transformers refuses a file that does not say so.
        weights = tensor_file(parts, {"format": "pt"})
        files = {folder / WEIGHTS: weights, folder / CONFIG: [config.encode()]}
        if self.generates:  # the file there may say otherwise, and goes before config.json
            said = {name: values[name] for name in GENERATION if name in values} | self._generation
            said |= {name: values[name] for name in self.generates}
            said = {name: value for name, value in said.items() if value is not None}
            files[folder / GENERATION_CONFIG] = [(json.dumps(said, indent=2, sort_keys=True) + "\n").encode()]
        write_whole(files)

    @classmethod
    def configure(cls, values, shapes):
        """The configuration by config.json; the ``shapes`` of all weights tell of the heads."""
        return cls.config_class.from_hugging_face(values)

    @classmethod
    def check_search(cls, values, file):
        """Raise ValueError for what ``values`` of ``file`` say of a search that there is not.

        Default: a model that generates warns of it.
        """
        if cls.generates:
            tell_search(values, file, f"{cls.__name__}.generate")

    @classmethod
    def adapted(cls, config, changes):
        """``config`` with the ``changes`` that were asked for, and what they entail."""
        return changed(config, changes)

    def entries(self):
        """The table of parameters and their names in the file; every model has its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no entries()")

    def clean(self, name):
        """The name in the table of ``name`` in a file; None if it is to be passed over."""
        return name

    def check_stored(self, stored):
        """Raise ValueError if what is passed over is not what it is taken for; default: nothing."""


def usual_names(values, other):
    """``values`` of config.json by their usual names; ``other`` ones also count, and go first."""
    usual = {name: value for name, value in values.items() if name not in other}
    return usual | {other[name]: value for name, value in values.items() if name in other}


def our_activation(name, field="hidden_act"):
    """Our name of the activation that ``field`` of config.json names.

    Raises ValueError for one that we do not have.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"config.json: {field} is {name!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def their_activation(name):
    """The name for config.json of our activation ``name``."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == name)


# --- reading --------------------------------------------------------------------------------------


def _check_fit(cls, config, stored, folder):
    """Our names of the optional parameters that are not stored.

    Raises ValueError unless all other names and shapes fit.

    The header of the file alone is looked at, and nothing of the size that the configuration asks
    for is made.
    """
    owner = f"{folder}: the weights do not fit {cls.__name__}:\n  "
    for name in (field.name for field in dataclasses.fields(config) if field.name.endswith("layers")):
        if getattr(config, name) > len(stored.files):
            raise ValueError(
                f"{owner}the configuration asks for {getattr(config, name)} layers ({name}), of weights the file has "
                f"{len(stored.files)} in all"
            )
    with naming(folder / CONFIG), nn.init.shapes_only():
        model = cls(config)
    entries = model.entries()
    own, names = _parameters(model, entries), _by_clean_name(model, stored)
    wanted = {name: entry for entry in entries for name in entry.theirs}
    missing = [name for name, entry in wanted.items() if name not in names and not _absent(entry, names)]
    unexpected = [raw for name, raws in names.items() if name not in wanted for raw in raws]
    problems = [f"missing: {listed(missing)}"] if missing else []
    problems += [f"unexpected: {listed(unexpected)}"] if unexpected else []
    for name, entry in wanted.items():
        shape = _their_shape(own[entry.ours], entry)
        wrong = [raw for raw in names.get(name, ()) if stored.shape(raw) != shape]
        problems += [f"{raw} has shape {stored.shape(raw)}, the configuration asks for {shape}" for raw in wrong]
    if problems:
        raise ValueError(owner + "\n  ".join(problems))
    return [entry.ours for entry in entries if _absent(entry, names)]


def _fill(model, stored, folder):
    """Read every parameter of ``model`` that is stored."""
    entries = model.entries()
    own, names = _parameters(model, entries), _by_clean_name(model, stored)
    for entry in entries:
        if not _absent(entry, names):
            pieces = [_read(names[name], stored, folder, model.output_names) for name in entry.theirs]
            pieces = [piece.T for piece in pieces] if entry.transposed else pieces
            own[entry.ours].assign(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))


def _read(raws, stored, folder, output_names):
    """The values of one weight; if the file has it under several names, they must be equal."""
    value = stored.read(raws[0])
    for other in raws[1:]:
        if not np.array_equal(value, stored.read(other), equal_nan=True):
            cure = "leave the one in the file that the model is meant to have"
            if not {raws[0], other}.isdisjoint(output_names):
                cure = f'if they are meant to differ, set "tie_word_embeddings" to false in {CONFIG}'
            raise ValueError(
                f"{folder}: {raws[0]} and {other} are one weight in this model but have different values; {cure}"
            )
    return value


def _by_clean_name(model, stored):
    """``{name in the table: [names in the file]}``; a tied weight may be stored more than once."""
    names: dict[str, list[str]] = {}
    for raw in stored.files:
        name = model.clean(raw)
        if name is not None:
            names.setdefault(name, []).append(raw)
    return names


def _absent(entry, names):
    return entry.optional and not any(name in names for name in entry.theirs)


def _parameters(model, entries):
    """The tensors of ``model`` by name; the table must have each of its parameters."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    forgotten = {name for name, _ in model.named_parameters()} - {entry.ours for entry in entries}
    if forgotten:
        raise RuntimeError(f"{type(model).__name__}.entries() lacks {listed(sorted(forgotten))}")
    return own


def _existing_folder(folder):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder: from_pretrained reads one with {CONFIG} and {WEIGHTS}, downloaded before"
        )
    return folder


# --- writing --------------------------------------------------------------------------------------


def _their_shape(parameter, entry):
    """The shape in the file of each part of ``parameter``."""
    shape = (parameter.shape[0] // len(entry.theirs), *parameter.shape[1:])
    return shape[::-1] if entry.transposed else shape


def _parts(parameter, entry):
    """What ``tensor_file`` takes: each part of ``parameter`` by name, copied in its turn."""
    rows, count = parameter.shape[0] // len(entry.theirs), len(entry.theirs)

    def part(i):
        values = mt.asarray(parameter.data if count == 1 else parameter.data[i * rows : (i + 1) * rows]).to("cpu").data
        return values.T if entry.transposed else values

    shape = _their_shape(parameter, entry)
    return {name: (parameter.dtype, shape, lambda i=i: part(i)) for i, name in enumerate(entry.theirs)}
