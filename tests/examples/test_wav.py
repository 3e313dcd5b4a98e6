"""WAV files of all widths, rates and channels are read as the numbers they hold, others refused."""

import struct
import wave

import numpy as np
import pytest
from toolkit.console import UserError
from toolkit.wav import read_wav, resample, write_wav


def written(path, samples, width=2, rate=8000, channels=1):
    """A file of samples of [-1, 1), (T,) or (T, C)."""
    whole = np.rint(np.asarray(samples) * 2.0 ** (8 * width - 1)).astype(np.int64).reshape(-1)
    data = b"".join(
        int(x + 128).to_bytes(1, "little") if width == 1 else int(x).to_bytes(width, "little", signed=True)
        for x in whole
    )
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


@pytest.mark.parametrize(("width", "error"), [(1, 2.0**-8), (2, 2.0**-16), (3, 2.0**-24), (4, 1e-7)])
def test_all_widths(tmp_path, width, error):
    samples = np.array([0, 0.5, -0.5, 0.99, -1.0, 0.123])
    np.testing.assert_allclose(read_wav(written(tmp_path / "a.wav", samples, width), 8000), samples, atol=error)


def test_channels_are_averaged(tmp_path):
    path = written(tmp_path / "a.wav", [[0.5, 0.25], [-0.5, 0.5], [0.25, 0.25]], channels=2)
    np.testing.assert_allclose(read_wav(path, 8000), [0.375, 0, 0.25], atol=1e-4)


def test_channels_that_cancel_are_refused(tmp_path):
    """As after a cable that turns one of them over; rounding leaves a little."""
    left = np.random.default_rng(0).uniform(-0.9, 0.9, 50)
    for right in (-left, -left + 2.0**-15):
        path = written(tmp_path / "a.wav", np.stack([left, right], axis=1), channels=2)
        refused(path, r"has 2 channels that cancel each other: .* keep one of them, .*pan=mono\|c0=c0")
    path = written(tmp_path / "a.wav", np.stack([left, -0.9 * left], axis=1), channels=2)
    np.testing.assert_allclose(read_wav(path, 8000), 0.05 * left, atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100])
def test_rates(tmp_path, rate):
    """A tone that both rates have stays itself, and one that the new rate cannot have is gone."""
    t = np.arange(rate) / rate
    low, high = np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 5000 * t) if rate > 10000 else 0 * t
    found = read_wav(written(tmp_path / "a.wav", 0.4 * (low + high), rate=rate), 8000)
    assert len(found) == 8000 and found.dtype == np.float32
    np.testing.assert_allclose(found, 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000), atol=2e-3)


def chunks(header, samples, announced=None, behind=b""):
    """A file of a chunk "fmt ", another one, and samples, of which so many bytes are announced."""
    data = np.asarray(samples).tobytes()
    parts = [(b"fmt ", header), (b"LIST", b"odd"), (b"data", data)]
    found = [
        name
        + struct.pack("<I", len(x) if name != b"data" or announced is None else announced)
        + x
        + b"\0" * (len(x) % 2)
        for name, x in parts
    ]
    return b"RIFF\0\0\0\0WAVE" + b"".join(found) + behind


@pytest.mark.parametrize(
    ("kind", "bits", "valid", "samples", "wanted"),
    [
        (1, 16, 16, np.array([8192, -16384], "<i2"), [0.25, -0.5]),
        (1, 24, 24, np.frombuffer(b"\0\0\x20\0\0\xc0", np.uint8), [0.25, -0.5]),
        (1, 32, 20, np.array([2**29, -(2**30)], "<i4"), [0.25, -0.5]),  # 20 of the 32 bits are valid, the highest
        (1, 16, 12, np.array([[8192, 0], [0, -16384]], "<i2"), [0.125, -0.25]),  # two channels
        (3, 32, 32, np.array([0.5, -2], "<f4"), [0.25, -1]),
        (3, 64, 64, np.array([0.25, -0.5], "<f8"), [0.25, -0.5]),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_all_formats(tmp_path, kind, bits, valid, samples, wanted, extensible):
    """The extensible format, whatever Python reads it by, and the plain one."""
    channels = samples.ndim if samples.dtype != np.uint8 else 1
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, 8000, 8000 * frame, frame, bits)
    if extensible:
        header += struct.pack("<HHIH", 22, valid, 0, kind) + bytes.fromhex("000000001000800000aa00389b71")
    (tmp_path / "a.wav").write_bytes(chunks(header, samples))
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 8000), wanted)


PLAIN = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)


@pytest.mark.parametrize("announced", [0, 2**32 - 1, 2**31 - 1, 0x7FFFF000 + 36])
def test_a_stream_is_read_to_its_end(tmp_path, announced):
    """Who writes into a pipe cannot know how much it will be; a byte of a frame may be the last."""
    (tmp_path / "a.wav").write_bytes(chunks(PLAIN, np.array([0, 8192, 16384], "<i2"), announced, b"\7"))
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 8000), [0, 0.25, 0.5])


def test_what_follows_the_samples_is_not_heard(tmp_path):
    (tmp_path / "a.wav").write_bytes(chunks(PLAIN, np.array([8192], "<i2"), behind=b"LIST\4\0\0\0INFO"))
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 8000), [0.25])
    (tmp_path / "a.wav").write_bytes(chunks(PLAIN, [], behind=b"LIST\4\0\0\0INFO"))
    refused(tmp_path / "a.wav", "holds no sound")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = written(tmp_path / "a.wav", np.full(100, 0.5))
    path.write_bytes(path.read_bytes()[:-51])
    refused(
        path, "is cut off: its header announces 100 frames, and 74 are there; copy or record it again, or, .*ffmpeg"
    )


def test_lengths_after_resampling():
    for length in (1, 2, 3, 1001):
        assert len(resample(np.ones(length), 16000, 8000)) == max(1, round(length / 2))
        np.testing.assert_allclose(resample(np.ones(length), 8000, 12000), 1, atol=1e-9)


def test_what_is_written_is_read(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, 500)
    write_wav(tmp_path / "a.wav", sound, 8000)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav", 8000), sound, atol=1e-4)
    write_wav(tmp_path / "loud.wav", 4 * sound, 8000)
    np.testing.assert_allclose(read_wav(tmp_path / "loud.wav", 8000), sound / np.abs(sound).max(), atol=1e-4)


def refused(path, message):
    with pytest.raises(UserError, match=message) as error:
        read_wav(path, 8000)
    assert str(path) in str(error.value)


def test_what_is_refused(tmp_path):
    refused(tmp_path / "nothing.wav", "cannot read .*No such file")
    refused(tmp_path, "cannot read")
    other = tmp_path / "other.wav"
    for content in (b"ID3\x03 an mp3", b"RIFF\x24\0\0\0AVI LIST", b"RIFX\0\0\0\x24WAVE"):
        other.write_bytes(content)
        refused(other, "is no WAV file; convert it, .*ffmpeg")
    real = written(tmp_path / "real.wav", np.full(9, 0.5)).read_bytes()
    for there in (0, 3, 12, 20, 40):
        other.write_bytes(real[:there])
        refused(other, f"ends too early: it has {there} bytes, and no samples behind its header; copy")
    for bytes_, message in (
        (b"\x03\0", "has floats of 16 bits, 1 channel in 2 bytes, 8000 times a second; it must have whole"),
        (b"\x07\0", "has mu-law of 16 bits.*pcm_s16le"),
        (b"\xfe\xff", "has format 65534 of 16 bits"),  # without the format behind it
        (b"\x01\0\2\0", "has whole numbers of 16 bits, 2 channels in 2 bytes"),  # which contradict each other
    ):
        other.write_bytes(real[:20] + bytes_ + real[20 + len(bytes_) :])
        refused(other, message)
    other.write_bytes(chunks(struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32), np.array([0.5, np.nan], "<f4")))
    refused(other, "no finite numbers")
    refused(written(tmp_path / "none.wav", []), "holds no sound")
    refused(written(tmp_path / "quiet.wav", np.zeros(10)), "nothing but silence")
    refused(written(tmp_path / "quiet.wav", np.zeros((10, 2)), channels=2), "nothing but silence")
    refused(written(tmp_path / "long.wav", np.full(310, 0.5), rate=10), "lasts 31 seconds; cut it into utterances")
