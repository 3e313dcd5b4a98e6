"""Labelled images: scikit-learn's digits, the IDX files of MNIST and similar data sets, and small
random distortions of them.

Letters: N images, B images of a batch, C channels, S pixels a side.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from toolkit.console import UserError, counted, require, system_words
from toolkit.samples import Batch, Epoch, Samples, random_words

__all__ = ["Distorted", "Distortion", "Images", "N_CLASSES", "Splits", "distort", "load_images", "read_idx", "split"]

SPLIT_SEED = 0  # the held-out images are the same in all runs, whatever their seed
N_CLASSES = 10
IDX_BYTES = 8  # the code of unsigned bytes, the one type of value that images and labels are kept in
GZIP = b"\x1f\x8b"  # how a packed file begins
IDX_AXES = 3  # of images; labels have one


@dataclass(frozen=True)
class Images:
    """``pixels`` (N, C, S, S) float32 from 0 to 1, and ``labels`` (N,) int64."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Images:
        """Those at ``indices``."""
        return Images(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class Splits:
    """Images to train on, to validate by, and to report on."""

    train: Images
    validation: Images
    test: Images


def load_images(path: str | None) -> Splits:
    """The digits of scikit-learn, or the IDX files in the folder ``path``; one in eight images to
    train on is for validation.

    Of the 1 797 digits a fifth is held out for the report; IDX files have their own set for that.
    """
    if path is None:
        rest, test = split(_sklearn_digits(), every=5)
    else:
        rest, test = (_idx_images(Path(path), stem) for stem in ("train", "t10k"))
        sides = rest.pixels.shape[-1], test.pixels.shape[-1]
        if sides[0] != sides[1]:
            raise UserError(
                f"{path}: the images of train are {sides[0]} x {sides[0]} pixels, those of t10k {sides[1]} x {sides[1]}"
            )
    train, validation = split(rest, every=8)
    return Splits(train, validation, test)


def split(images: Images, every: int, seed: int = SPLIT_SEED) -> tuple[Images, Images]:
    """All but every ``every``-th image, and every ``every``-th: at random, with the same share of
    each class in both.
    """
    order = np.lexsort((random_words(seed, 0, len(images)), images.labels))  # by class, within one at random
    chosen = np.zeros(len(images), dtype=bool)
    chosen[order[::every]] = True
    return images.take(np.flatnonzero(~chosen)), images.take(np.flatnonzero(chosen))


@cache
def _sklearn_digits() -> Images:
    """1 797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998, archive.ics.uci.edu)."""
    found = require("sklearn.datasets", "vision").load_digits()
    return Images((found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64))


# --- IDX files ------------------------------------------------------------------------------------


def _idx_images(folder: Path, stem: str) -> Images:
    """``stem``-images-idx3-ubyte and ``stem``-labels-idx1-ubyte, plain or as .gz."""
    pixels, labels = _idx_array(folder, f"{stem}-images", 3), _idx_array(folder, f"{stem}-labels", 1)
    if len(pixels) != len(labels) or not len(labels):
        raise UserError(
            f"{folder}: {stem} has {counted(len(pixels), 'image')} and {counted(len(labels), 'label')}; there must be"
            " as many of both"
        )
    if pixels.shape[1] != pixels.shape[2]:
        raise UserError(f"{folder}: the images of {stem} are {pixels.shape[1]} x {pixels.shape[2]} pixels, no squares")
    if labels.max() >= N_CLASSES:
        raise UserError(f"{folder}: {stem} has the label {labels.max()}; labels are 0 to {N_CLASSES - 1}")
    return Images((pixels[:, None] / np.float32(255)).astype(np.float32), labels.astype(np.int64))


def _idx_array(folder: Path, name: str, axes: int) -> np.ndarray:
    """What the file of the folder with this name holds; it ends in -idx3-ubyte or .idx3-ubyte,
    perhaps with .gz, packed or not.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; --data takes one with IDX files such as train-images-idx3-ubyte.gz")
    ends = [f"{dot}idx{axes}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")]
    found = next((folder / (name + end) for end in ends if (folder / (name + end)).is_file()), None)
    if found is None:
        raise UserError(f"{folder} has no {name}{ends[0]}, nor one with .gz")
    array = read_idx(found)
    if array.ndim != axes:
        raise UserError(f"{found} holds an array with {array.ndim} axes, not {axes}")
    return array


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, plain or packed by gzip (LeCun, Cortes and
    Burges, yann.lecun.com/exdb/mnist).

    Two zeros, the code of the values' type, the number of axes; the length of each axis in 4 bytes,
    most significant first; the values. Raises UserError for a file that is cut short, damaged, or
    of another kind.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(GZIP) else content  # whatever its name
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; get it anew") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        raise UserError(f"{path} is not an IDX file: it does not begin with two zeros, a type and a number of axes")
    kind, axes = content[2], content[3]
    if kind != IDX_BYTES:
        raise UserError(
            f"{path} holds values of type {kind:#x}; images and labels must be unsigned bytes ({IDX_BYTES:#x})"
        )
    if axes > IDX_AXES:  # before the lengths are read: in a damaged header these may be anything
        raise UserError(f"{path} claims {axes} axes, images have {IDX_AXES} and labels 1: it is damaged; get it anew")
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) != start + math.prod(shape):
        have = f"{len(content):,} bytes, its header says {start + math.prod(shape):,}"
        raise UserError(f"{path} has {have}: it is cut short or damaged; get it anew")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


# --- distortions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distortion:
    """The largest random change of an image: ``shift`` in pixels, ``turn`` in degrees, ``zoom`` as
    a share of its size.

    A share ``plain`` of the images stays as it is: distorted ones are a little blurred, those to be
    classified are not.
    """

    shift: float = 0.0
    turn: float = 0.0
    zoom: float = 0.0
    plain: float = 0.0


class Distorted(Samples):
    """Images in shuffled batches, each distorted anew in each epoch: by what follows from (seed,
    epoch, index) alone.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, distortion: Distortion) -> None:
        super().__init__({"images": images.pixels, "labels": images.labels}, batch_size, seed)
        self.distortion = distortion

    def epoch(self, number: int) -> Epoch[Batch]:
        """The batches of epoch ``number``."""
        n = len(self)
        words = random_words(self.seed, number, 7 * n)[n:].reshape(n, 6)  # the first n say the order
        unit = (words >> np.uint64(11)) * 2.0**-52 - 1  # from -1 to 1
        plain = unit[:, 5:] < 2 * self.distortion.plain - 1  # (N, 1)
        unit = np.where(plain, 0.0, unit[:, :5])

        def make(rows: np.ndarray) -> Batch:
            batch = self.whole.rows(rows)
            return Batch(batch.arrays | {"images": distort(batch["images"], self.distortion, unit[rows])})

        return Epoch(make, super().epoch(number).groups)


def distort(pixels: np.ndarray, largest: Distortion, unit: np.ndarray) -> np.ndarray:
    """Each image (B, C, S, S) zoomed, turned and shifted about its centre, by that part of the
    largest change that ``unit`` says.

    unit: (B, 5) from -1 to 1, for shift down, shift right, turn (clockwise), zoom in height and in
    width. Between pixels the image is bilinear, outside it is 0.
    """
    side = pixels.shape[-1]
    down, right = (largest.shift * unit[:, 0:2]).T[:, :, None, None]  # (B, 1, 1) each
    angle = np.radians(largest.turn) * unit[:, 2, None, None]
    tall, wide = np.exp(math.log1p(largest.zoom) * unit[:, 3:5]).T[:, :, None, None]
    middle = (side - 1) / 2
    # Where in the old image each new pixel comes from, so the inverse of all: un-shift, un-turn,
    # un-zoom.
    y, x = (np.arange(side) - middle)[:, None] - down, np.arange(side) - middle - right  # (B, S, 1), (B, 1, S)
    rows = (np.cos(angle) * y - np.sin(angle) * x) / tall + middle  # (B, S, S)
    columns = (np.sin(angle) * y + np.cos(angle) * x) / wide + middle
    return _bilinear(pixels, rows, columns)


def _bilinear(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The images (B, C, S, S) at places (B, S, S) between their pixels; 0 from one pixel outside
    on.
    """
    side = pixels.shape[-1]
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = np.clip(rows + 1, 0, side + 1), np.clip(columns + 1, 0, side + 1)
    top, left = np.minimum(rows.astype(int), side), np.minimum(columns.astype(int), side)  # (B, S, S)
    lower, later = (rows - top)[:, None], (columns - left)[:, None]  # (B, 1, S, S): shares of the next row and column
    which = np.arange(len(pixels))[:, None, None]

    def corner(down: int, right: int) -> np.ndarray:
        return padded[which, :, top + down, left + right].transpose(0, 3, 1, 2)  # (B, S, S, C) to (B, C, S, S)

    above = corner(0, 0) * (1 - later) + corner(0, 1) * later
    below = corner(1, 0) * (1 - later) + corner(1, 1) * later
    return (above * (1 - lower) + below * lower).astype(pixels.dtype)
