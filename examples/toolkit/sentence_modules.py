"""What the folder of a sentence encoder says about its vectors: read and obeyed, or refused by file
and field.

    modules.json                        a Transformer, Pooling, any of Dense, Dropout, Normalize
    1_Pooling/, 2_Dense/, ...           the stages, see `toolkit.sentence_vectors`
    sentence_bert_config.json           the longest text, and whether it is written small
    config_sentence_transformers.json   what is put before each text

This is how the library sentence-transformers writes its folders (Reimers and Gurevych 2019,
arXiv:1908.10084). If there is no modules.json, folders named like its stages take its place;
without any, the vector is the mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.console import UserError
from toolkit.files import read_json

__all__ = ["Stage", "TextRules", "read_rules", "read_stages", "refuse_others", "settings_of"]

MODULES, POOLING, SETTINGS = "modules.json", "Pooling", "config_sentence_transformers.json"
TRANSFORMERS = ("Transformer", "BERT")  # the latter in the oldest folders
PLAIN = {  # settings of a Transformer that have no effect at these values
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}


@dataclass(frozen=True)
class Stage:
    """A stage that makes vectors: its kind, and its folder."""

    kind: str
    folder: Path


@dataclass(frozen=True)
class TextRules:
    """What is done to a text before it is cut into tokens, and how many of these are read."""

    longest: int
    lower_case: bool
    prompts: dict[str, str]
    default_prompt: str | None

    def prepared(self, text: str, roles: Sequence[str] = ()) -> str:
        """``text`` behind the prompt of the first of ``roles`` that has one, else behind the
        default one.
        """
        role = next((role for role in roles if role in self.prompts), self.default_prompt)
        text = self.prompts[role] + text if role is not None else text
        return text.lower() if self.lower_case else text


# --- reading --------------------------------------------------------------------------------------


def read_stages(folder: Path) -> tuple[Path, list[Stage]]:
    """The folder of the Transformer, and the stages behind it. Raises UserError for stages that are
    not supported.
    """
    source, found = folder / MODULES, []
    if source.is_file():
        entries = read_json(source, "list of modules")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{source} must hold a list of modules")
        for entry in entries:
            kind, path = entry.get("type"), entry.get("path")
            if not isinstance(kind, str) or not isinstance(path, str) or ".." in path or Path(path).is_absolute():
                raise UserError(f"{source}: type is {kind!r} and path {path!r}; a module has both, within the folder")
            found.append(Stage(kind.rpartition(".")[2], folder / path))
    else:
        # Empty folders are ignored.
        folders = [path for path in folder.iterdir() if path.is_dir() and any(path.iterdir())]
        names = [path.name for path in folders if re.fullmatch(r"\d+_[A-Za-z]+", path.name)]
        for name in sorted(names, key=lambda name: int(name.partition("_")[0])):
            found.append(Stage(name.partition("_")[2], folder / name))
        source = folder
        if not found or found[0].kind not in TRANSFORMERS:
            found.insert(0, Stage(TRANSFORMERS[0], folder))
        if len(found) == 1:
            return found[0].folder, []
    kinds = [stage.kind for stage in found]
    if len(kinds) < 2 or kinds[0] not in TRANSFORMERS or kinds[1] != POOLING:
        raise UserError(
            f"{source}: the modules are {', '.join(kinds)}; known are Transformer, Pooling and what follows them"
        )
    odd = [kind for kind in kinds[2:] if kind not in ("Dense", "Dropout", "Normalize")]
    if odd:
        raise UserError(
            f"{source}: there is a module {odd[0]}; those known behind Pooling are Dense, Dropout and Normalize"
        )
    return found[0].folder, found[1:]


def read_rules(folder: Path, transformer: Path, stages: Sequence[Stage], positions: int) -> TextRules:
    """How texts are prepared for the model in the folder ``transformer``, which has so many
    ``positions``.
    """
    files = [transformer / "sentence_bert_config.json", *sorted(transformer.glob("sentence_*_config.json"))]
    path = next((path for path in files if path.is_file()), None)
    values = settings_of(path) if path else {}
    longest, lower_case = values.pop("max_seq_length", None), values.pop("do_lower_case", None)
    if longest is not None and (type(longest) is not int or longest < 1):
        raise UserError(f"{path}: max_seq_length is {longest!r}; it must be a number of tokens, or null")
    if lower_case not in (None, False, True):
        raise UserError(f"{path}: do_lower_case is {lower_case!r}; it must be true or false")
    refuse_others(path, {name: value for name, value in values.items() if value != PLAIN.get(name)})
    if longest is None and (transformer / "tokenizer_config.json").is_file():
        told = settings_of(transformer / "tokenizer_config.json").get("model_max_length")
        longest = told if type(told) is int and told > 0 else None
    prompts, usual = _read_prompts(folder / SETTINGS, stages)
    if (
        any(prompts.values())
        and stages
        and settings_of(stages[0].folder / "config.json").get("include_prompt") is False
    ):
        raise UserError(f"{stages[0].folder / 'config.json'}: include_prompt is false; prompts are always pooled here")
    return TextRules(min(positions, longest or positions), bool(lower_case), prompts, usual)


def _read_prompts(path: Path, stages: Sequence[Stage]) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and which of them is the default."""
    values = settings_of(path) if path.is_file() else {}
    values.pop("__version__", None)
    prompts, usual = values.pop("prompts", None) or {}, values.pop("default_prompt_name", None)
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise UserError(f"{path}: prompts is {prompts!r}; it must be a table of texts")
    if usual is not None and usual not in prompts:
        raise UserError(f"{path}: default_prompt_name is {usual!r}, which is none of the prompts")
    closeness, kind = values.pop("similarity_fn_name", None), values.pop("model_type", None)
    of_unit_length = bool(stages) and stages[-1].kind == "Normalize"  # then a dot product is a cosine
    if closeness not in (None, "cosine") and not (closeness == "dot" and of_unit_length):
        raise UserError(f"{path}: similarity_fn_name is {closeness!r}; vectors are compared by their cosine alone")
    if kind not in (None, "SentenceTransformer"):
        raise UserError(f"{path}: model_type is {kind!r}, not SentenceTransformer: it gives no vectors of sentences")
    refuse_others(path, values)
    return prompts, usual


def settings_of(path: Path) -> dict[str, Any]:
    """The table in a file of JSON. Raises UserError for one that is missing or damaged."""
    values = read_json(path, "configuration")
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a table of settings, it holds a {type(values).__name__}")
    return values


def refuse_others(path: Path | None, values: dict[str, Any]) -> None:
    """Raise UserError for settings that are left over and say something."""
    for name, value in values.items():
        if value not in (None, {}, []):
            raise UserError(f"{path}: {name} is {value!r}, a setting that is not known here")
