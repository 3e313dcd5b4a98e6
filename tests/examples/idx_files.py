"""IDX files, as MNIST has them, for tests."""

import gzip

import numpy as np

RNG = np.random.default_rng(0)


def write_idx(path, array, kind=8):
    """The array as an IDX file, compressed if the name says so."""
    content = bytes([0, 0, kind, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_folder(folder, end="-idx{}-ubyte", train=(40, 6, 6), test=(10, 6, 6)):
    """A folder like MNIST's, of random images; returns the arrays."""
    arrays = {}
    for stem, shape in (("train", train), ("t10k", test)):
        for name, array in (
            (f"{stem}-images" + end.format(3), RNG.integers(0, 256, shape, dtype=np.uint8)),
            (f"{stem}-labels" + end.format(1), RNG.integers(0, 3, shape[0], dtype=np.uint8)),
        ):
            write_idx(folder / name, array)
            arrays[name.partition("-idx")[0].partition(".idx")[0]] = array
    return arrays
