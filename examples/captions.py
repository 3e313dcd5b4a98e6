#!/usr/bin/env python3
"""Describe images in words: a network that looks at a part of the image while it writes each word.

    python examples/captions.py              train on drawn scenes, show what came of it
    python examples/captions.py train --encoder patches --decoder transformer
    python examples/captions.py train --data captions.tsv --side 64 --out runs/mine
    python examples/captions.py train --resume --out runs/mine
    python examples/captions.py evaluate --run runs/captions
    python examples/captions.py describe --run runs/captions scene.png other.npy

A file of captions has lines image<TAB>caption, or a first line such as
image<TAB>English<TAB>French and a caption in each language. The drawn scenes have one right
description in English and one in French, and the network writes both: one image to many texts. Held
out are other scenes; scenes with a number, colour and shape that were never together in training;
and scenes with a colour and a shape that never were. The run folder holds config.json,
tokenizer.json, languages.json, weights.safetensors, log.jsonl, loss.png, captions.png, and
checkpoints/.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toolkit import captioned, console
from toolkit.captioned import (
    Captioned,
    Splits,
    exactly_right,
    most_frequent,
    of_nearest,
    read_captions,
    read_image,
)  # fmt: skip
from toolkit.captioning import Describer, Settings, Task, learn_tokenizer, presets
from toolkit.console import UserError, counted
from toolkit.files import read_json, write_text
from toolkit.looking import looking_head, on_objects
from toolkit.numbers import beam_size, positive_integer
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import GREY, empty_figure, literal, picture_path, save_figure
from toolkit.program import Data, Program, digest
from toolkit.runs import Run, kept_or
from toolkit.scene_words import noun
from toolkit.scenes import SIDE, Drawing
from toolkit.tokenizer import Tokenizer

TOKENIZER, LANGUAGES, PICTURE = "tokenizer.json", "languages.json", "captions.png"
SHOWN = 2  # images of each test set that are printed and drawn
WORDS = 3  # words of a caption whose attention is drawn

# An image, the tokens of its caption in each language, and what is drawn in it, if that is known.
Shown = tuple[np.ndarray, dict[str, Sequence[int]], Drawing | None]


class Captions(Program):
    """Train on images and their captions; report how many captions of held-out images are exactly
    right.
    """

    name, settings = "captions", Settings
    files = (TOKENIZER, LANGUAGES, PICTURE)
    data_help = "file of lines image<TAB>caption, or of several languages that its first line names (drawn scenes)"

    # --- train ------------------------------------------------------------------------------------

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        help = f"the middle square of each image of --data is scaled to so many pixels a side ({SIDE})"
        parser.add_argument("--side", type=positive_integer, metavar="S", help=help)

    def describe(self, options: argparse.Namespace) -> Data:
        """The side of the images; that of drawn scenes is given."""
        if options.side and options.data is None:
            raise UserError("--side is for images of your own; give them by --data")
        return {"side": options.side}

    def identify(self, loaded: Splits) -> Data:
        return {"side": loaded.train.pixels.shape[-1]}

    def load(self, data: Data) -> Splits:
        """The drawn scenes, or a person's images."""
        return captioned.drawn() if data["path"] is None else self._read(data)

    def load_whole(self, data: Data) -> Splits:
        return self._read(data, whole=True)

    def _read(self, data: Data, **how: Any) -> Splits:
        return read_captions(data["path"], data["side"] or SIDE, data.get("languages", ()), **how)

    def tested(self, loaded: Splits) -> list[str]:
        return [name for images in loaded.tests.values() for name in _names(images)]

    def trained(self, loaded: Splits) -> set[str]:
        return {*_names(loaded.train), *_names(loaded.validation)}

    def fingerprint(self, loaded: Splits) -> str:
        """A hash of the images to train on and to validate by, and of their captions."""
        parts = loaded.train, loaded.validation
        said = (json.dumps(part.captions, ensure_ascii=False) for part in parts)
        return digest([*said, *(part.pixels.tobytes() for part in parts)])

    def notes(self, loaded: Splits) -> Sequence[str]:
        return loaded.notes

    def presets(self, data: Data, given: dict[str, Any]) -> dict[str, Any]:
        return presets(given)

    def make_task(self, loaded: Splits, settings: Settings, run: Run | None) -> Task:
        """All captions; a resumed run has its tokenizer already."""
        tokenizer = kept_or(run, TOKENIZER, Tokenizer.load, lambda: learn_tokenizer(loaded.train, settings))
        return Task(loaded, tokenizer, settings)

    def save(self, task: Task, run: Run) -> None:
        """The tokenizer, and the names of the languages."""
        task.tokenizer.save(run.path(TOKENIZER))
        write_text(run.path(LANGUAGES), json.dumps(task.languages, ensure_ascii=False) + "\n")

    def sizes(self, task: Task) -> str:
        counts = f"{counted(len(task.samples), 'image')} to train on, {len(task.validation):,} to validate by"
        dropped = f"; left out {counted(task.dropped, 'caption')} of more than {task.settings.max_length - 1} tokens"
        return f"{counts}, {super().sizes(task)}{dropped if task.dropped else ''}"

    def report(self, run: Run, loaded: Splits, task: Task) -> None:
        """Exact matches, attention, some captions, and a picture."""
        describer = Describer(task.model, task.tokenizer, task.languages)
        _report(describer, loaded, loaded.train, run.path(PICTURE))
        print(f"see {run.path('loss.png')}; describe other images by:")
        print(f"  {self.advice('describe', {'--run': run.folder}, 'image.png')}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "exact matches on the held-out images, beside those of simpler methods")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other images, all of them, or where those of the run are now",
        )
        _add_beam(made)
        made = add("describe", self.describe_images, "describe images in all languages of the run")
        made.add_argument(
            "images", nargs="+", type=console.path, metavar="IMAGE", help="a PNG or .npy file, or the like"
        )
        _add_beam(made)
        made.add_argument("--output", type=console.path, metavar="PNG", help="also draw what each is described by")

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the exact matches of a run."""
        run, describer, _ = self._trained(options)
        loaded, own = load_to_test(self, run, options.data, languages=describer.languages)
        trained = loaded if own else tell_seen(self, run, loaded)
        shown = run if own else run.tested_on(options.data)
        _report(describer, loaded, trained and trained.train, shown.picture(PICTURE), options.beam)

    def describe_images(self, options: argparse.Namespace) -> None:
        """Print a caption in each language for each image."""
        _, describer, side = self._trained(options)
        path = picture_path(options.output) if options.output else None
        pixels = np.stack([read_image(image, side) for image in options.images])
        found = describer.write(pixels, options.beam)
        for number, image in enumerate(options.images):
            print(image)
            for language, ids in found.items():
                print(f"  {language}: {describer.texts(ids)[number]}")
        if path:
            said = ({language: ids[number] for language, ids in found.items()} for number in range(len(pixels)))
            print(f"see {_draw(describer, [(*both, None) for both in zip(pixels, said, strict=True)], path)}")

    def _trained(self, options: argparse.Namespace) -> tuple[Run, Describer, int]:
        """The run, its model, and the side of its images."""
        run, device = self.open(options)
        languages = read_json(run.path(LANGUAGES), "list of languages")
        if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
            raise UserError(f"{run.path(LANGUAGES)} is damaged: it holds no list of languages")
        side = run.about["data"]["side"]
        return run, Describer.of(run, languages, side, options.weights, device), side


def _add_beam(parser: argparse.ArgumentParser) -> None:
    help = "hypotheses of the beam search; 1: greedy (1)"
    parser.add_argument("--beam", type=beam_size, default=1, metavar="K", help=help)


def _names(images: Captioned) -> Iterable[str]:
    """A name for each image, equal for equal pixels."""
    return (digest([pixels.tobytes()]) for pixels in images.pixels)


# --- the report -----------------------------------------------------------------------------------


def _report(describer: Describer, loaded: Splits, train: Captioned | None, path: Path, beam: int = 1) -> None:
    """Print exact matches, attention and some captions of each test set, and draw these."""
    languages, shown, head = describer.languages, [], 0
    if loaded.validation.drawings:
        head = looking_head(describer, loaded.validation)
        print(f"one head: number {head + 1}, which looks most at what is named in the images to validate by")
    for name, images in loaded.tests.items():
        written = describer.write(images.pixels, beam)
        found = {language: describer.texts(ids) for language, ids in written.items()}
        ways = {"exactly right: network": found}
        if train is not None:
            ways["nearest image in pixels"] = {language: of_nearest(train, images, language) for language in languages}
            ways["most frequent caption"] = {language: most_frequent(train, images, language) for language in languages}
        print(f"{f'{len(images):,} {name}':40}" + "".join(f"{language:>12}" for language in languages))
        for way, said in ways.items():
            _line(way, (exactly_right(said[language], images, language) for language in languages))
        if images.drawings:
            seen = [on_objects(describer, images, language, head) for language in languages]
            for what in seen[0]:
                _line(what, (shares[what] for shares in seen))
        for i in _choose(images):
            for language in languages:
                text, right = found[language][i], images.texts(language)[i]
                print(f"    {text}" + (f"\n      reference: {right[0]}" if right and text not in right else ""))
            drawing = images.drawings[i] if images.drawings else None
            shown.append((images.pixels[i], {language: written[language][i] for language in languages}, drawing))
    print(f"see {_draw(describer, shown, path)}")


def _line(what: str, shares: Iterable[float]) -> None:
    """A line of the table."""
    print(f"  {what:38}" + "".join(f"{100 * share:10.1f} %" if share == share else f"{'-':>12}" for share in shares))


def _choose(images: Captioned) -> list[int]:
    """Images to be shown: of drawings those with most to say."""
    groups = [len(drawing.scene.groups) for drawing in images.drawings] or [0] * len(images)
    return sorted(range(len(images)), key=lambda i: -groups[i])[:SHOWN]


def _draw(describer: Describer, shown: Sequence[Shown], path: Path) -> Path:
    """Draw images, and beside each what the model looks at while it writes some words of each of
    its captions; returns the path of the picture.
    """
    languages = describer.languages
    figure = empty_figure(1.1 * (1 + WORDS * len(languages)), (1.35 + 0.15 * len(languages)) * len(shown))
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for (pixels, ids, drawing), part in zip(shown, parts, strict=True):
        part.suptitle(literal("\n".join(describer.texts(list(ids.values())))), fontsize=8)
        first, *others = part.subplots(1, 1 + WORDS * len(languages))
        first.imshow(pixels.transpose(1, 2, 0))
        for number, language in enumerate(languages):
            ((words, by_head),) = describer.attention(pixels[None], [ids[language]], language)
            weights = by_head.mean(axis=1)  # (words, n, n)
            for place, axes in zip(_named(words, weights, drawing, language), others[WORDS * number :], strict=False):
                axes.imshow(pixels.mean(axis=0), cmap="Greys_r", vmin=0, vmax=1)
                extent = (-0.5, pixels.shape[-1] - 0.5, pixels.shape[-1] - 0.5, -0.5)
                axes.imshow(weights[place], cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=extent)
                axes.set_title(literal(words[place]), fontsize=8, color=GREY)
        for axes in (first, *others):
            axes.set_axis_off()
    return save_figure(figure, path)


def _named(words: Sequence[str], weights: np.ndarray, drawing: Drawing | None, language: str) -> list[int]:
    """The places of `WORDS` words to be drawn: the nouns of a drawing, or else the words whose
    attention is on the fewest regions.
    """
    if drawing is not None:
        nouns = {noun(language, group.count, group.shape) for group in drawing.scene.groups}
        return [place for place, word in enumerate(words) if word in nouns][:WORDS]
    return sorted(np.argsort(-weights.max(axis=(1, 2)), kind="stable")[:WORDS].tolist())


main = Captions().main

if __name__ == "__main__":
    sys.exit(console.run(main))
