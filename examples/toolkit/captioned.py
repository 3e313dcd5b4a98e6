"""Images with captions: those of `toolkit.scenes`, or a person's own.

A file of captions has a line for each image, ``image<TAB>caption``; or its first line names the
languages, and a line has a caption in each, of which some may be blank::

    image       English                           French
    a.png       at the top left a red square      en haut à gauche un carré rouge
    b.npy       at the top left two white hearts

The first column may have another of the names `IMAGES`, such as ``file``.
Images are files that matplotlib reads, such as PNG, or NumPy arrays; their paths start at the
folder of the file. The middle square of an image is scaled to S pixels a side.

Letters: N images, S pixels a side.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from toolkit import scenes
from toolkit.blank import is_blank, stripped
from toolkit.column_names import IMAGES, is_no_file
from toolkit.console import UserError, counted, require, system_words
from toolkit.copies import copies_note
from toolkit.reading import lines_of, read_text
from toolkit.scene_words import LANGUAGES

__all__ = [
    "Captioned", "Splits", "drawn", "exactly_right", "most_frequent", "of_nearest", "read_captions", "read_image",
    "upright",
]  # fmt: skip

SIZES = {"train": 16_000, "held_out": 400}  # drawings
HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 1000  # of a person's images to validate by, and as many to test
ORIENTATION = 0x0112  # the tag of EXIF
IMAGE, CAPTION = "image", "caption"  # name of the first column; of the second, if there is no line of names


@dataclass(frozen=True)
class Captioned:
    """N images, the captions of each, and for drawings where things are.

    ``pixels`` are (N, 3, S, S) float32 from 0 to 1. A caption is ``(language, text)``.
    """

    pixels: np.ndarray
    captions: list[list[tuple[str, str]]]
    drawings: list[scenes.Drawing] = field(default_factory=list)

    def __len__(self) -> int:
        """N."""
        return len(self.captions)

    def texts(self, language: str) -> list[list[str]]:
        """What the captions of each image in a language say."""
        return [[text for name, text in captions if name == language] for captions in self.captions]


@dataclass(frozen=True)
class Splits:
    """Images to train on, to validate by, and the test sets by name; no image is in two of them.

    ``notes``: what became of the lines of a file.
    """

    train: Captioned
    validation: Captioned
    tests: dict[str, Captioned]
    languages: tuple[str, ...]
    notes: tuple[str, ...] = ()


def drawn(train: int = SIZES["train"], held_out: int = SIZES["held_out"]) -> Splits:
    """Drawings with their descriptions in English and French, see `toolkit.scenes.splits`."""
    made = scenes.splits(train, held_out)
    tests = {
        "unseen scenes": _captioned(made.unseen_scenes),
        "unseen triples": _captioned(made.unseen_triples),
        "unseen pairs": _captioned(made.unseen_pairs),
    }
    return Splits(_captioned(made.train), _captioned(made.validation), tests, LANGUAGES)


def _captioned(drawings: list[scenes.Drawing]) -> Captioned:
    captions = [[(language, drawing.scene.describe(language)) for language in LANGUAGES] for drawing in drawings]
    return Captioned(np.stack([drawing.pixels for drawing in drawings]), captions, drawings)


# --- a person's own -------------------------------------------------------------------------------


def read_captions(path: str, side: int, languages: Sequence[str] = (), whole: bool = False) -> Splits:
    """The images and captions of a file (see above), a tenth each to validate and to test by.

    Which are held out depends on the pixels alone, and equal images stay together; what says the
    same of one again is left out, and a note tells of both. languages: those that a model knows;
    default: all of the file. whole: all is there to be tested by. Raises UserError for a file or an
    image that cannot be read, a line with another number of columns, an image without a caption, a
    language that is not known, too few images.
    """
    names, rows = _rows(path)
    for name in names:
        if languages and name not in languages:
            what = f"has captions in {name!r}" if name != CAPTION else "does not name the language of its captions"
            raise UserError(
                f"{path} {what}; the model knows: {', '.join(languages)}; name what it has of these in the first line, such"
                f" as: {IMAGE}<TAB>{languages[0]}"
            )
    found: dict[bytes, tuple[np.ndarray, list[tuple[str, str]]]] = {}
    repeated = 0  # lines that say nothing new
    for number, (image, *texts) in rows:
        try:
            pixels = read_image(Path(path).parent / image, side)
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}") from None
        _, captions = found.setdefault(hashlib.sha256(pixels.tobytes()).digest(), (pixels, []))
        new = [pair for pair in zip(names, texts, strict=True) if pair[1] and pair not in captions]
        captions += new
        repeated += not new
    order = sorted(found)
    count = min(HELD_OUT_MOST, int(len(order) * HELD_OUT_SHARE))
    if not whole and not count:
        least = round(1 / HELD_OUT_SHARE)
        raise UserError(
            f"{path} has {counted(len(order), 'different image')}, too few to hold some out; {least} are needed"
        )
    parts = [order, [], []] if whole else [order[:count], order[count : 2 * count], order[2 * count :]]
    test, validation, train = (_take(found, part, side) for part in parts)
    called = f"images of {Path(path).name}" if whole else "unseen images"
    notes = copies_note(path, "image", len(rows), len(found), "captions", repeated, whole)
    return Splits(train, validation, {called: test}, tuple(languages) or names, notes)


def _take(found: dict, keys: list[bytes], side: int) -> Captioned:
    pixels = [found[key][0] for key in keys]
    return Captioned(np.array(pixels, np.float32).reshape(-1, 3, side, side), [found[key][1] for key in keys])


def _rows(path: str) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """The languages of a file, and its lines by number: an image, and a text in each language."""
    rows = [
        (number, [stripped(cell) for cell in line.split("\t")])
        for number, line in enumerate(lines_of(read_text(path)), start=1)
        if not is_blank(line)
    ]
    names: tuple[str, ...] = (CAPTION,)
    first = rows[0][1] if rows else [""]
    if IMAGES.names(first[0]) and not (Path(path).parent / first[0]).exists():
        names, rows = tuple(first[1:]), rows[1:]
        if not names or not all(names) or len(set(names)) != len(names):
            raise UserError(
                f"{path}: the first line must name a language for each column behind {first[0]!r}, each once"
            )
    elif is_no_file(first[0], Path(path).parent):
        raise UserError(
            f"{path} line {rows[0][0]}: there is no file {Path(path).parent / first[0]}; if this line names the columns, the"
            f" first must have one of the names: {', '.join(IMAGES.words)}"
        )
    if not rows:
        raise UserError(f"{path} holds no image")
    for number, row in rows:
        if len(row) != 1 + len(names):
            wanted = "<TAB>".join((IMAGE, *names))
            if names == (CAPTION,) and len(row) > 2:
                wanted += f" (or have a line of names above, such as: {IMAGE}<TAB>English<TAB>French)"
            raise UserError(
                f"{path} line {number} has {counted(len(row), 'column')} separated by tabs; it must be {wanted}"
            )
        if not row[0] or not any(row[1:]):
            raise UserError(f"{path} line {number} has no {'caption' if row[0] else 'image'}; write one, or remove it")
    return names, rows


def read_image(path: str | os.PathLike[str], side: int) -> np.ndarray:
    """The middle square of an image, scaled to ``side`` pixels: (3, S, S) from 0 to 1.

    An array is (H, W) or (H, W, channels), of bytes or of floats from 0 to 1; grey becomes all
    three colours, and what is transparent white. A photograph is turned as its EXIF data say.
    Raises UserError for other files.
    """
    try:
        if Path(path).suffix == ".npy":
            pixels = np.load(path, allow_pickle=False)
        else:
            pixels = upright(np.asarray(require("matplotlib.image", "train").imread(path)), _orientation(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
    except (ValueError, SyntaxError, EOFError) as error:  # the second is what a damaged PNG raises
        raise UserError(f"cannot read {path}: {error}") from None
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"{path} has the shape {pixels.shape}; it must be (height, width), with 3 or 4 colours behind it"
        )
    if pixels.dtype == np.uint8:
        pixels = pixels / np.float32(255)
    _check_values(pixels, path)
    if pixels.shape[2] == 4:
        pixels = pixels[:, :, :3] * pixels[:, :, 3:] + 1 - pixels[:, :, 3:]
    return _scaled(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), side)


def _orientation(path: str | os.PathLike[str]) -> int:
    """How a camera was held, by the EXIF data of an image; 1, upright, if there are none."""
    with require("PIL.Image", "train").open(path) as image:
        return int(image.getexif().get(ORIENTATION, 1))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, ...) that is stored in one of EXIF's eight orientations (Exif 2.32, section
    4.6.4) as it is to be seen; any other number means upright.
    """
    if orientation in (5, 6, 7, 8):  # rows and columns have changed places
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _check_values(pixels: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Raise UserError for what is no bytes and no floats from 0 to 1."""
    wanted = "its values must be bytes (uint8), or floats from 0 to 1"
    if pixels.dtype.kind == "b" or pixels.dtype.kind in "iu" and 0 <= pixels.min() and pixels.max() <= 255:
        how = "float" if pixels.max() <= 1 else "np.uint8"
        raise UserError(f"{path} holds {pixels.dtype}; {wanted}; save it as pixels.astype({how})")
    if pixels.dtype.kind != "f":
        between = f" from {pixels.min()} to {pixels.max()}" if pixels.dtype.kind in "iu" else ""
        raise UserError(f"{path} holds {pixels.dtype}{between}; {wanted}")
    odd = ~np.isfinite(pixels)
    if odd.any():
        place = tuple(int(i) for i in np.argwhere(odd)[0])
        more = f", and at {counted(int(odd.sum()) - 1, 'more place')}" if odd.sum() > 1 else ""
        raise UserError(f"{path} holds {pixels[place]} at {place}{more}; {wanted}")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        divide = "; divide them by 255, if that is white" if low >= 0 and high <= 255 else ""
        raise UserError(f"{path} holds {pixels.dtype} from {low:g} to {high:g}; {wanted}{divide}")


def _scaled(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle square of (H, W, 3) as (3, S, S): each new pixel is the mean of the area that it
    covers.
    """
    height, width, _ = pixels.shape
    old = min(height, width)
    top, left = (height - old) // 2, (width - old) // 2
    square = pixels[top : top + old, left : left + old]
    edges, starts = np.arange(side + 1) * old / side, np.arange(old)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)  # (S, old)
    shares = np.maximum(covered, 0) * side / old
    return np.einsum("sh,hwc,tw->cst", shares, square, shares, optimize=True).clip(0, 1).astype(np.float32)


# --- without learning -----------------------------------------------------------------------------


def most_frequent(train: Captioned, images: Captioned, language: str) -> list[str]:
    """The commonest caption of the training images, for each image."""
    counts = Counter(text for texts in train.texts(language) for text in texts)
    return [counts.most_common(1)[0][0] if counts else ""] * len(images)


def of_nearest(train: Captioned, images: Captioned, language: str) -> list[str]:
    """For each image a caption of the training image whose pixels differ least, by their squares;
    of those that have one in this language.
    """
    texts = train.texts(language)
    having = np.array([i for i, found in enumerate(texts) if found], dtype=int)
    if not having.size:
        return [""] * len(images)
    known, asked = (pixels.reshape(len(pixels), -1) for pixels in (train.pixels[having], images.pixels))
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T  # and a constant of each image
    return [texts[having[i]][0] for i in distances.argmin(axis=1)]


def exactly_right(said: Sequence[str], images: Captioned, language: str) -> float:
    """The share of the images with a caption in a language of which one of these was ``said``; NaN
    if there is none.
    """
    judged = [text in right for text, right in zip(said, images.texts(language), strict=True) if right]
    return float(np.mean(judged)) if judged else math.nan
