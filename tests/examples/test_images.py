"""Images from files, their splits, and their distortions."""

import gzip

import numpy as np
import pytest
from idx_files import write_folder, write_idx
from toolkit.console import UserError
from toolkit.images import Distorted, Distortion, Images, distort, load_images, read_idx, split

RNG = np.random.default_rng(0)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_idx_arrays_are_read_as_they_were_written(tmp_path, name):
    array = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    write_idx(tmp_path / name, array)
    np.testing.assert_array_equal(read_idx(tmp_path / name), array)


@pytest.mark.parametrize("end", ["-idx{}-ubyte", ".idx{}-ubyte", "-idx{}-ubyte.gz"])
def test_a_folder_of_idx_files(tmp_path, end):
    arrays = write_folder(tmp_path, end)
    splits = load_images(str(tmp_path))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (35, 5, 10)
    np.testing.assert_array_equal(splits.test.labels, arrays["t10k-labels"])
    np.testing.assert_allclose(splits.test.pixels[:, 0] * 255, arrays["t10k-images"], atol=1e-4)
    assert splits.test.pixels.dtype == np.float32 and splits.test.labels.dtype == np.int64


def damage(folder, how):
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    if how == "missing":
        images.unlink()
    elif how == "cut":
        images.write_bytes(images.read_bytes()[:-7])
    elif how == "cut head":
        images.write_bytes(images.read_bytes()[:6])
    elif how == "text":
        images.write_text("<html>not found</html>", encoding="utf-8")
    elif how == "many axes":
        images.write_bytes(bytes([0, 0, 8, 255]) + bytes(4 * 255))
    elif how == "empty":
        images.write_bytes(b"")
    elif how == "floats":
        write_idx(images, np.zeros((40, 6, 6), dtype=">f4"), kind=0x0D)
    elif how == "cut gz":
        images.unlink()
        write_idx(folder / (images.name + ".gz"), np.zeros((40, 6, 6), dtype=np.uint8))
        packed = folder / (images.name + ".gz")
        packed.write_bytes(packed.read_bytes()[:-9])
    elif how == "labels":
        write_idx(labels, np.zeros(39, dtype=np.uint8))
    elif how == "eleven":
        write_idx(labels, np.full(40, 10, dtype=np.uint8))
    elif how == "axes":
        write_idx(labels, np.zeros((40, 1), dtype=np.uint8))
    elif how == "oblong":
        write_idx(images, np.zeros((40, 6, 5), dtype=np.uint8))
    elif how == "other size":
        write_idx(images, np.zeros((40, 4, 4), dtype=np.uint8))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "has no train-images-idx3-ubyte, nor one with .gz"),
        ("cut", "has 1,449 bytes, its header says 1,456"),
        ("cut head", "cut short or damaged"),
        ("text", "is not an IDX file"),
        ("empty", "is not an IDX file"),
        ("many axes", "claims 255 axes, images have 3 and labels 1"),
        ("floats", "values of type 0xd"),
        ("cut gz", "cannot read .*ended before"),
        ("labels", "40 images and 39 labels"),
        ("eleven", "the label 10; labels are 0 to 9"),
        ("axes", "2 axes, not 1"),
        ("oblong", "6 x 5 pixels"),
        ("other size", "train are 4 x 4 pixels, those of t10k 6 x 6"),
    ],
)
def test_bad_files_are_named(tmp_path, how, message):
    write_folder(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(UserError, match=message):
        load_images(str(tmp_path))


@pytest.mark.parametrize("end", ["-idx{}-ubyte", "-idx{}-ubyte.gz"])
def test_the_content_says_whether_a_file_is_packed(tmp_path, end):
    arrays = write_folder(tmp_path, end)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        path.write_bytes(gzip.decompress(content) if path.suffix == ".gz" else gzip.compress(content))
    np.testing.assert_array_equal(load_images(str(tmp_path)).test.labels, arrays["t10k-labels"])


def test_a_file_that_may_not_be_read_is_named_in_the_words_of_the_system(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read \S+: (Is a directory|Permission denied)$"):
        read_idx(tmp_path)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        load_images(str(tmp_path / "nowhere"))


# --- splits and batches ---------------------------------------------------------------------------


def some(n, side=8):
    return Images(RNG.random((n, 1, side, side), dtype=np.float32), RNG.integers(0, 4, n))


def test_a_split_has_the_same_share_of_each_class_and_loses_nothing():
    images = some(203)
    rest, chosen = split(images, every=5)
    assert len(rest) + len(chosen) == 203 and len(chosen) == 41
    for label in range(4):
        assert abs((chosen.labels == label).sum() - (images.labels == label).sum() / 5) <= 1
    both = np.concatenate([rest.pixels, chosen.pixels])
    np.testing.assert_array_equal(np.sort(both, axis=None), np.sort(images.pixels, axis=None))
    again = split(images, every=5)[1]
    np.testing.assert_array_equal(again.pixels, chosen.pixels)
    assert not np.array_equal(split(images, every=5, seed=1)[1].pixels, chosen.pixels)


def test_batches_follow_from_seed_and_epoch_alone():
    images = some(50)
    first, again, other = (Distorted(images, 16, seed, Distortion(1, 10, 0.1)) for seed in (3, 3, 4))
    first.epoch(0)[1]  # what was asked for before does not matter
    for batch, same in zip(first.epoch(2), again.epoch(2), strict=True):
        np.testing.assert_array_equal(batch["images"], same["images"])
        np.testing.assert_array_equal(batch["labels"], same["labels"])
    assert not np.array_equal(first.epoch(2)[0]["images"], first.epoch(3)[0]["images"])
    assert not np.array_equal(first.epoch(2)[0]["images"], other.epoch(2)[0]["images"])
    assert [len(batch) for batch in first.epoch(0)] == [16, 16, 16, 2]


def test_a_share_of_the_images_stays_plain():
    images = some(400)
    (batch,) = Distorted(images, 400, 0, Distortion(1, 10, 0.1, plain=0.3)).epoch(1)
    stayed = (batch["images"][:, None] == images.pixels[None]).all(axis=(2, 3, 4)).any(axis=1)
    assert 0.2 < stayed.mean() < 0.4
    (batch,) = Distorted(images, 400, 0, Distortion(1, 10, 0.1)).epoch(1)
    assert not (batch["images"][:, None] == images.pixels[None]).all(axis=(2, 3, 4)).any()


def test_an_epoch_has_each_image_once_with_its_label():
    images = Images(np.arange(50, dtype=np.float32).reshape(50, 1, 1, 1), np.arange(50))
    batches = list(Distorted(images, 16, 0, Distortion()).epoch(5))
    labels = np.concatenate([batch["labels"] for batch in batches])
    np.testing.assert_array_equal(np.sort(labels), np.arange(50))
    np.testing.assert_array_equal(np.concatenate([batch["images"] for batch in batches])[:, 0, 0, 0], labels)


# --- distortions ----------------------------------------------------------------------------------


def unit(n, **changes):
    """No change but the given parts of the largest."""
    made = np.zeros((n, 5))
    for name, value in changes.items():
        made[:, ("down", "right", "turn", "tall", "wide").index(name)] = value
    return made


def test_no_distortion_is_the_identity():
    pixels = RNG.random((4, 2, 7, 7), dtype=np.float32)
    np.testing.assert_array_equal(distort(pixels, Distortion(), RNG.uniform(-1, 1, (4, 5))), pixels)
    np.testing.assert_array_equal(distort(pixels, Distortion(3, 40, 1), unit(4)), pixels)


def test_a_shift_by_whole_pixels_moves_the_image_and_fills_up_with_zeros():
    pixels = RNG.random((2, 1, 6, 6), dtype=np.float32)
    moved = distort(pixels, Distortion(shift=2), unit(2, down=1, right=-0.5))
    np.testing.assert_allclose(moved[:, :, 2:, :-1], pixels[:, :, :-2, 1:], atol=1e-6)
    assert not moved[:, :, :2].any() and not moved[:, :, :, -1].any()


def test_half_a_pixel_is_the_mean_of_two():
    pixels = RNG.random((1, 1, 5, 5), dtype=np.float32)
    moved = distort(pixels, Distortion(shift=0.5), unit(1, right=1))
    np.testing.assert_allclose(moved[..., 1:], (pixels[..., 1:] + pixels[..., :-1]) / 2, atol=1e-6)


@pytest.mark.parametrize("side", [5, 6])
def test_a_right_angle_is_exact(side):
    pixels = RNG.random((1, 1, side, side), dtype=np.float32)
    turned = distort(pixels, Distortion(turn=90), unit(1, turn=1))
    np.testing.assert_allclose(turned[0, 0], np.rot90(pixels[0, 0], -1), atol=1e-5)  # clockwise


def test_zooming_in_widens():
    pixels = np.zeros((1, 1, 9, 9), dtype=np.float32)
    pixels[..., 3:6] = 1  # a bar of three columns
    wide = distort(pixels, Distortion(zoom=1), unit(1, wide=1))
    assert wide[0, 0, 4].sum() == pytest.approx(6)
    tall = distort(pixels, Distortion(zoom=1), unit(1, tall=1))
    np.testing.assert_allclose(tall[0, 0, 4], pixels[0, 0, 4], atol=1e-6)
