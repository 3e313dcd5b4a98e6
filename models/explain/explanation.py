"""What `explain` returns: the numbers, a summary in words, and a page."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from minitensor.files.safetensors import write_whole
from minitensor.models.explain.agreement import Agreement
from minitensor.models.explain.beam import Beam
from minitensor.models.explain.capture import Array, Attention
from minitensor.models.explain.gates import Recurrence
from minitensor.models.explain.page import page
from minitensor.models.explain.residuals import SubLayer
from minitensor.models.explain.stages import Embedding

__all__ = ["Explanation", "Step"]

SHOWN = 4  # of the most probable entries, in a line


@dataclass
class Step:
    """One row of the output: what it follows, what was chosen, and the most probable entries."""

    context: str
    id: int
    choice: str
    log_probability: float
    top: list[tuple[str, float]]

    def __str__(self) -> str:
        return ", ".join(f"{word} {percent(share)}" for word, share in self.top[:SHOWN])


@dataclass
class Explanation:
    """An input on its way through a model; ``print`` says the result, ``save`` writes a page.

    tokens, target: names of the input positions, and of what a decoder was given. logits: (T, V),
    one row for each of ``steps``. sequential: log-probabilities (T, V) of the same answer computed
    step by step, and ``difference`` their largest distance from those of one pass. The other
    fields hold the stages: see `capture.Attention`, `residuals.SubLayer`, `gates.Recurrence`,
    `stages.Embedding`, `beam.Beam`, `agreement.Agreement`.
    """

    model: str
    kind: str
    tokens: list[str]
    target: list[str]
    embeddings: list[Embedding]
    attentions: list[Attention]
    layers: list[SubLayer]
    recurrences: list[Recurrence]
    logits: Array
    steps: list[Step]
    agreement: Agreement | None = None
    sequential: Array | None = None
    difference: float | None = None
    beam: Beam | None = None
    beam_words: list[str] = field(default_factory=list)
    beam_note: str = ""  # whose tree the beam is, if it is not that of the steps
    image: Array | None = None
    grid: int = 0
    columns: str = "tokens"  # what the entries of the logits are, or "classes", "outputs"
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The input and the answer in one line."""
        prompt = self.about.get("prompt", len(self.tokens))
        answer = " ".join([step.choice for step in self.steps] if self.target else self.tokens[prompt:])
        one = self.steps[0].choice if len(self.steps) == 1 else ""
        said = "an image" if self.image is not None else " ".join(self.tokens[: min(60, prompt)])
        if self.about.get("plain"):
            said = (
                f"{len(self.tokens)} position{'s' * (len(self.tokens) != 1)} of numbers" if self.tokens else "numbers"
            )
        return f"{said} → {answer or one}" if answer or one else said

    def __str__(self) -> str:
        lines = [f"{self.model}, {self.kind}: {self.title}"]
        lines += [f"  {step.context} → {step.choice}: {step}" for step in self.steps]
        if "values" in self.about:
            names = self.about.get("value_names") or [""] * len(self.about["values"])
            said = [f"{name} {value:.4g}".strip() for name, value in zip(names, self.about["values"], strict=True)]
            lines.append("  values: " + ", ".join(said))
        heads = sum(one.n_heads for one in self.attentions)
        lines.append(
            f"  {_count(len(self.attentions), 'attention')} with {_count(heads, 'head')}, "
            f"{_count(len(self.recurrences), 'recurrent layer')}, {_count(len(self.layers), 'sub-layer')} with a residual"
        )
        if self.difference is not None:
            lines.append(
                f"  all positions at once and one after the other: log-probabilities differ by at most {self.difference:.1e}"
            )
        if self.beam_note:
            lines.append(f"  beam of {self.beam.size if self.beam else 0}: {self.beam_note}")
        if self.agreement is not None:
            lines.append(f"  {self.agreement.sentence()}")
        return "\n".join(lines)

    def to_html(self) -> bytes:
        """The page: one file, which loads nothing from elsewhere."""
        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and return where it is.

        The file is written whole or not at all. Raises ValueError for an ending other than
        ``.html``, IsADirectoryError for a folder, FileNotFoundError if the folder of the file is
        missing.
        """
        place = Path(path)
        if place.suffix.lower() != ".html":
            raise ValueError(f"Explanation.save: {str(path)!r} must end in .html")
        if place.is_dir():
            raise IsADirectoryError(f"cannot save {place}: it is a folder; name a file in it")
        write_whole({place: [self.to_html()]})
        return place

    def _repr_html_(self) -> str:
        frame = escape(self.to_html().decode("utf-8"), quote=True)
        title = escape(self.title, quote=True)
        return f'<iframe srcdoc="{frame}" title="{title}" style="width:100%;height:46rem;border:0"></iframe>'


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def percent(share: float) -> str:
    """``65 %``, ``0.3 %``, ``< 0.01 %``."""
    if 0 < share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"
