"""Configurations that are published, and what config.json of a published model may say.

Each value is looked at once (`published_values.py`) before a model is made of it. Values that no
model here knows are let through; they are kept and saved again (``extras``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, ClassVar

from minitensor.files.json_text import RepeatedNameError, parse
from minitensor.files.safetensors import CURE, FileFormatError, refuse_pointer
from minitensor.models.configuration import Config
from minitensor.models.published_values import checked

__all__ = [
    "CONFIG", "GENERATION", "GENERATION_CONFIG", "SEARCH", "PublishedConfig", "check_tokens", "check_usual", "extras", "fields_of",
    "naming", "read_config", "read_generation", "read_json", "unusual", "values_of", "with_generation", "with_labels", "written",
]  # fmt: skip


class PublishedConfig(Config):
    """The base of a configuration with published sizes, read from and written as config.json.

    A model's file for checkpoints supplies the three: ``presets``, what differs from the defaults
    by published name; ``reads``, from the values of config.json to those of the fields; ``writes``,
    from a configuration to the values of config.json.
    """

    presets: ClassVar[dict[str, dict[str, Any]]]
    # Static methods: typed as functions they would be taken for methods.
    reads: ClassVar[Any]
    writes: ClassVar[Any]
    is_encoder_decoder: ClassVar[bool] = False

    @classmethod
    def preset(cls, name, **changes):
        """The configuration published as ``name``, with ``changes`` to it, such as ``dropout=0.0``.

        Raises ValueError for a name that is none of ``presets``.
        """
        if name not in cls.presets:
            raise ValueError(f"there is no preset {name!r}; there are: {', '.join(cls.presets)}")
        return cls(**(cls.presets[name] | changes))

    @classmethod
    def from_hugging_face(cls, values):
        """From the values of config.json.

        Raises ValueError for a variant that this model is not.
        """
        check_common(values, f"{cls.__module__}.{cls.__name__.removesuffix('Config')}", cls.is_encoder_decoder)
        return cls(**cls.reads(values))

    def to_hugging_face(self):
        """The values of config.json.

        Raises ValueError for a model that transformers cannot express.
        """
        return type(self).writes(self)


CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"

LEFT_OUT = {"problem_type"}
# In either file.
GENERATION = ("eos_token_id", "decoder_start_token_id", "pad_token_id", "bos_token_id")
# How texts are searched for: transformers refuses to generate if config.json says it.
SEARCH = ("bad_words_ids", "length_penalty", "num_beams", "renormalize_logits")
# Said anew whenever a model is saved.
WRITTEN = {"architectures", "dtype", "torch_dtype", "model_type"}


# What changes the computation of any model, and the only values that are known here.
COMMON = {
    "tie_encoder_decoder": False,
    "pruned_heads": {},
    "per_layer_config": None,
    "quantization_config": None,
}


def unusual(values, usual):
    """The names of ``values`` that are neither null nor the ``usual`` ones."""
    return [name for name, value in usual.items() if values.get(name) not in (None, value)]


def check_usual(values, usual, model, file=CONFIG):
    """Raise ValueError for a value of ``file`` that is neither null nor the ``usual`` one.

    model: what is made for that one alone, for the error.
    """
    for name in unusual(values, usual):
        raise ValueError(f"{file}: {name} is {values[name]!r}; {model} is made for {usual[name]!r} alone")


def check_common(values, model, is_encoder_decoder):
    """Raise ValueError if config.json says what no model here does, or that this is no model of the
    kind of ``model``: with an encoder and a decoder, or with one stack.
    """
    check_usual(values, COMMON | {"is_encoder_decoder": is_encoder_decoder}, model)
    code = values.get("auto_map")
    own = [name for name in code if name.startswith("AutoModel")] if isinstance(code, dict) else []
    if own:
        raise ValueError(f"{CONFIG}: auto_map names code of its own, {code[own[0]]!r}, which {model} is not")


def check_tokens(values, names, size, file=CONFIG):
    """Raise ValueError for a token, under these ``names`` of ``file``, that is none of the ``size``
    tokens of the vocabulary.
    """
    for name in names:
        odd = [token for token in _flat(values.get(name)) if not 0 <= token < size]
        if odd:
            raise ValueError(f"{file}: {name} has {odd[0]}; the tokens are 0 to {size - 1}")


def _flat(value):
    """The numbers of a token, of a list of them, or of a list of lists; none of null."""
    if isinstance(value, list):
        return [number for one in value for number in _flat(one)]
    return [] if value is None else [value]


def fields_of(values, names):
    """Fields from the ``values`` of config.json; ``names``: of each field, the name there."""
    return {ours: values[theirs] for ours, theirs in names.items() if theirs in values}


def values_of(config, names):
    """The other way: what ``config`` says for config.json, and what it has kept of one."""
    return config.extras | {theirs: getattr(config, ours) for ours, theirs in names.items()}


def extras(values, used):
    """What ``values`` say beyond the names ``used``: kept by a configuration, for saving."""
    return {name: value for name, value in values.items() if name not in WRITTEN and name not in used}


def written(values):
    """``values`` for config.json without what transformers leaves out if it is null."""
    return {name: value for name, value in values.items() if value is not None or name not in LEFT_OUT}


def with_labels(values, n_classes, labels=()):
    """``values`` for config.json with names for as many classes: ``labels``, or those it has.

    Default: LABEL_0, LABEL_1, ...
    """
    names = values.get("id2label") or {}
    if labels or len(names) != n_classes:
        names = {str(i): label for i, label in enumerate(labels or [f"LABEL_{i}" for i in range(n_classes)])}
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        if n_classes:
            values |= {"id2label": names, "label2id": {label: int(i) for i, label in names.items()}}
    return values


# --- reading --------------------------------------------------------------------------------------


def read_config(folder, model_type):
    """The values of config.json, of a model of this type."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}: it is not the folder of a pretrained model")
    values = read_json(folder / CONFIG)
    found = values.get("model_type")
    if found not in (None, model_type):  # the oldest configurations do not say it
        problem = (
            f'model_type says that this is a model of type "{found}", not "{model_type}": load it by the class for that'
        )
        raise ValueError(f"{folder / CONFIG}: {problem}")
    return checked(values)


def read_generation(folder):
    """The values of generation_config.json, or None if there is no such file."""
    path = folder / GENERATION_CONFIG
    return checked(read_json(path), GENERATION_CONFIG) if path.is_file() else None


def with_generation(values, generation, fields):
    """``values`` of config.json with what generation_config.json says of ``fields`` instead.

    As in transformers: that file alone says what texts stop at and how they are searched for, and
    if it does not they do not stop, and the search is the usual one; they start with its
    "decoder_start_token_id", or else its "bos_token_id".
    """
    if generation is None:
        return values
    start = generation.get("decoder_start_token_id")
    found = {
        "decoder_start_token_id": generation.get("bos_token_id") if start is None else start,
        "pad_token_id": generation.get("pad_token_id"),
    }
    found = {name: value for name, value in found.items() if value is not None and name in fields}
    alone = [name for name in fields if name in SEARCH]
    return values | found | {name: generation.get(name) for name in ("eos_token_id", *alone)}


@contextmanager
def naming(path):
    """Put the file at ``path`` before an error about what it asks for."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from None


def read_json(path):
    """The JSON object in the file at ``path``. Raises FileFormatError for anything else."""
    refuse_pointer(path)
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except RepeatedNameError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except ValueError as error:
        raise FileFormatError(f"{path}: not JSON, or cut short or damaged ({error}); {CURE}") from None
    if not isinstance(values, dict):
        raise FileFormatError(f"{path}: it must hold a JSON object {{...}}, it holds a {type(values).__name__}; {CURE}")
    return values
