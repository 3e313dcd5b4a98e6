#!/usr/bin/env python3
"""Train a Vision Transformer on handwritten digits, and see the evidence for its decisions.

    python examples/digits.py             train on the digits of scikit-learn, show what came of it
    python examples/digits.py train --data FOLDER   with train-images-idx3-ubyte.gz, ...
    python examples/digits.py train --resume --out runs/digits
    python examples/digits.py evaluate --run runs/digits
    python examples/digits.py explain --run runs/digits --index 7

The run folder holds config.json, weights.safetensors, log.jsonl, loss.png, evidence.png,
mistakes.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from toolkit import console
from toolkit.console import UserError, counted
from toolkit.evidence import draw_evidence, draw_images, occlusion
from toolkit.images import Images, Splits, load_images
from toolkit.plots import picture_path
from toolkit.program import Data, Program, digest, load_weights
from toolkit.runs import Run
from toolkit.vision import DIGITS, IDX, Settings, Task, accuracy, make_model, probabilities

from minitensor.models.vit import ViT

SHOWN = 24  # mistakes drawn


class Digits(Program):
    """Classification of images; default: the digits of scikit-learn."""

    name, settings = "digits", Settings
    files = ("evidence.png", "mistakes.png")
    data_help = "folder of IDX files, as MNIST and Fashion-MNIST have them (the digits of scikit-learn)"
    defaults_note = "; defaults for the digits of scikit-learn (IDX files have their own)"
    loss_label = "loss per image (nats)"

    def load(self, data: Data) -> Splits:
        return load_images(data["path"])

    def fingerprint(self, loaded: Splits) -> str:
        """A hash of the images to train on and to validate by."""
        arrays = (array for part in (loaded.train, loaded.validation) for array in (part.pixels, part.labels))
        return digest(array.tobytes() for array in arrays)

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        """IDX files hold many more images, and larger ones."""
        return DIGITS if data["path"] is None else IDX

    def make_task(self, loaded: Splits, settings: Settings, run: Run | None) -> Task:
        return Task(loaded, settings)

    def sizes(self, task: Task) -> str:
        return f"{counted(len(task.samples), 'image')} to train on, {len(task.validation):,} to validate by, {super().sizes(task)}"

    def report(self, run: Run, loaded: Splits, task: Task) -> None:
        """Accuracy on the held-out images, the mistakes, and the evidence for one image."""
        mistakes = _report(task.model, loaded.test, run.path("mistakes.png"))
        shown = int(mistakes[0]) if len(mistakes) else 0
        _explain(task.model, loaded.test, shown, run.path("evidence.png"))
        print(f"see {run.path('loss.png')}; explain another image by:")
        other = (shown + 1) % len(loaded.test)
        print(f"  {self.advice('explain', {'--run': run.folder, '--index': other})}")

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "accuracy on the held-out images, and the mistakes")
        made.add_argument(
            "--data", type=console.path, metavar="PATH", help="where the images are now, if elsewhere than in training"
        )
        made = add("explain", self.explain, "draw what the model looks at in a held-out image, and what decided")
        made.add_argument(
            "--data", type=console.path, metavar="PATH", help="where the images are now, if elsewhere than in training"
        )
        made.add_argument(
            "--index", type=int, required=True, metavar="N", help="which of the held-out images, from 0 on"
        )
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the accuracy of a run on the held-out images."""
        run, splits, model = self._trained(options)
        _report(model, splits.test, run.path("mistakes.png"))

    def explain(self, options: argparse.Namespace) -> None:
        """Draw the evidence for one of the held-out images."""
        run, splits, model = self._trained(options)
        if not 0 <= options.index < len(splits.test):
            raise UserError(
                f"--index {options.index}: the held-out images have the numbers 0 to {len(splits.test) - 1}"
            )
        path = picture_path(options.output or run.path("evidence.png"))
        _explain(model, splits.test, options.index, path)

    def _trained(self, options: argparse.Namespace) -> tuple[Run, Splits, ViT]:
        run, device = self.open(options)
        splits = self.load_again(run, options.data)
        model = make_model(run.settings, splits.test, device)
        load_weights(model, run, options.weights)
        return run, splits, model


def _report(model: ViT, images: Images, path: Path) -> np.ndarray:
    """Print how well the images are classified, draw the mistakes, and return their numbers."""
    found = probabilities(model, images.pixels)
    guesses = found.argmax(axis=1)
    mistakes = np.flatnonzero(guesses != images.labels)
    right = len(images) - len(mistakes)
    print(f"held-out images: {right} of {len(images)} right, {100 * accuracy(found, images.labels):.2f} %")
    for i in mistakes[:SHOWN]:
        print(f"  image {i}: a {images.labels[i]}, taken for a {guesses[i]} ({100 * found[i, guesses[i]]:.0f} %)")
    if len(mistakes):
        titles = [f"{i}: {images.labels[i]} as {guesses[i]}" for i in mistakes[:SHOWN]]
        draw_images(images.pixels[mistakes[:SHOWN]], titles, path)
        print(f"see {path}")
    return mistakes


def _explain(model: ViT, images: Images, index: int, path: Path) -> None:
    """Print what class is found for an image and which patches decided; draw it."""
    image, label = images.pixels[index], images.labels[index]
    found = probabilities(model, image[None])[0]
    first, second = np.argsort(-found)[:2]
    title = f"image {index}: a {label}, found {first} ({100 * found[first]:.1f} %) before {second} ({100 * found[second]:.1f} %)"
    print(title)
    lost = occlusion(model, image, first)
    strongest = [divmod(int(i), len(lost)) for i in np.argsort(-lost, axis=None)[:3]]
    said = ", ".join(f"({row + 1}, {column + 1}) {lost[row, column]:+.2f}" for row, column in strongest)
    print(f"  patches (row, column) that spoke most for {first}, by the logit lost without them: {said}")
    print(f"see {draw_evidence(model, image, int(first), title, path)}")


main = Digits().main

if __name__ == "__main__":
    sys.exit(console.run(main))
