"""Notebooks and pages, built from the lessons with what these print and draw when they are run."""

from __future__ import annotations

import ast
import base64
import json
import os
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lessons import grading
from lessons.literate import HERE, Lesson, Output, run
from lessons.say import Record

__all__ = ["exercise_text", "notebook", "page", "write"]


def write(chosen: Iterable[Lesson], folder: Path) -> int:
    """Run the lessons; write a notebook and a page of each, and the pictures of the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for lesson in chosen:
        outputs = run(lesson, Record(draw=True, keep=True))
        text, pictures = page(lesson, outputs)
        (folder / f"{lesson.number:02d}.md").write_text(text, encoding="utf-8")
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
        file = folder / f"{lesson.path.stem}.ipynb"
        file.write_text(json.dumps(notebook(lesson, outputs, folder), indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"{file}, {lesson.number:02d}.md, {len(pictures)} pictures", flush=True)
    return 0


def page(lesson: Lesson, outputs: list[Output]) -> tuple[str, dict[str, bytes]]:
    """The page of a lesson as Markdown, and its pictures by the names that it gives them."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    results = iter(outputs)
    for cell in lesson.cells():
        if cell.kind == "markdown":
            parts.append(cell.text)
            continue
        output = next(results)
        parts.append(f"```python\n{cell.text.strip()}\n```")
        text = "\n".join(line for line in output.text.splitlines() if not line.startswith("[picture")).strip("\n")
        if text:
            parts.append(f"``` {{ .text .output }}\n{text}\n```")
        for picture in output.pictures:
            name = f"{lesson.number:02d}-{len(pictures) + 1}.png"
            pictures[name] = picture.png
            parts.append(f"![{picture.caption}]({name})\n\n*{picture.caption}*")
    tasks = exercise_text(lesson)
    if tasks:
        parts.append(tasks)
    return "\n\n".join(parts) + "\n", pictures


def exercise_text(lesson: Lesson) -> str:
    """The exercises of a lesson as the last section of its page."""
    items = grading.exercises(lesson)
    if not items:
        return ""
    source = lesson.part("exercises").read_text(encoding="utf-8")
    functions = {
        node.name: node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    parts = [
        "## Exercises",
        f"`python -m lessons blank {lesson.number}` writes them into a file, "
        f"`python -m lessons check {lesson.number}` grades it.",
    ]
    for item in items:
        node = functions[item.name]
        head = f"class {node.name}" if isinstance(node, ast.ClassDef) else f"{node.name}({ast.unparse(node.args)})"
        parts.append(f"### {item.id} {item.title}")
        parts.append(f"```python\n{head}\n```")
        parts.append(textwrap.dedent(ast.get_docstring(node) or ""))
    return "\n\n".join(parts)


def notebook(lesson: Lesson, outputs: list[Output], folder: Path) -> dict[str, Any]:
    """A lesson as a notebook, format 4.5, for ``folder``."""
    try:
        root = Path(os.path.relpath(HERE.parent, folder)).as_posix()
    except ValueError:  # another drive of Windows
        root = HERE.parent.as_posix()
    setup = f"import sys\n\nsys.path.insert(0, {root!r})  # the checkout, where the lessons are"
    cells = [_cell("code", setup, 0, [])]
    results = iter(outputs)
    for cell in lesson.cells():
        shown = _shown(next(results)) if cell.kind == "code" else []
        cells.append(_cell(cell.kind, cell.text.strip("\n"), len(cells), shown))
    tasks = exercise_text(lesson)
    if tasks:
        cells.append(_cell("markdown", tasks, len(cells), []))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, text: str, place: int, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """A cell of a notebook."""
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{place}", "metadata": {}, "source": _lines(text)}
    return cell | ({"execution_count": None, "outputs": outputs} if kind == "code" else {})


def _shown(output: Output) -> list[dict[str, Any]]:
    """The outputs of a cell: what was printed, then what was drawn."""
    shown: list[dict[str, Any]] = []
    if output.text:
        shown.append({"output_type": "stream", "name": "stdout", "text": _lines(output.text)})
    for picture in output.pictures:
        data = {"image/png": base64.b64encode(picture.png).decode(), "text/plain": [picture.caption]}
        shown.append({"output_type": "display_data", "data": data, "metadata": {}})
    return shown


def _lines(text: str) -> list[str]:
    """A text as notebooks have it: lines with their ends."""
    return text.splitlines(keepends=True)
