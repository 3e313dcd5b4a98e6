"""WAV files of all widths, rates and channels are read as the numbers they hold, others refused."""

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


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100])
def test_rates(tmp_path, rate):
    """A tone that both rates have stays itself, and one that the new rate cannot have is gone."""
    t = np.arange(rate) / rate
    low, high = np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 5000 * t) if rate > 10000 else 0 * t
    found = read_wav(written(tmp_path / "a.wav", 0.4 * (low + high), rate=rate), 8000)
    assert len(found) == 8000 and found.dtype == np.float32
    np.testing.assert_allclose(found, 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000), atol=2e-3)


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


def test_a_file_that_is_cut_off_gives_what_is_there(tmp_path):
    path = written(tmp_path / "a.wav", np.full(100, 0.5))
    path.write_bytes(path.read_bytes()[:-51])
    assert len(read_wav(path, 8000)) == 74


def refused(path, message):
    with pytest.raises(UserError, match=message) as error:
        read_wav(path, 8000)
    assert str(path) in str(error.value)


def test_what_is_refused(tmp_path):
    refused(tmp_path / "nothing.wav", "cannot read .*No such file")
    refused(tmp_path, "cannot read")
    other = tmp_path / "other.wav"
    for content in (b"", b"ID3\x03 an mp3", b"RIFF\x10\0\0\0WAVE", b"RIFF\x24\0\0\0AVI LIST"):
        other.write_bytes(content)
        refused(other, "is no WAV file of whole numbers that can be read .*ffmpeg")
    real = written(tmp_path / "real.wav", np.full(9, 0.5)).read_bytes()
    other.write_bytes(real[:20] + b"\x03\0" + real[22:])  # the format of floats
    refused(other, "unknown format: 3.*pcm_s16le")
    refused(written(tmp_path / "none.wav", []), "holds no sound")
    refused(written(tmp_path / "quiet.wav", np.zeros(10)), "nothing but silence")
    refused(written(tmp_path / "long.wav", np.full(310, 0.5), rate=10), "lasts 31 seconds; cut it into utterances")
