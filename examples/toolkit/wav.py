"""WAV files: read as numbers from -1 to 1 at the rate that is wanted, and written.

Letters: T samples, C channels.
"""

from __future__ import annotations

import io
import os
import wave

import numpy as np

from toolkit.console import UserError, system_words
from toolkit.files import write_whole

__all__ = ["read_wav", "resample", "write_wav"]

LONGEST = 30.0  # seconds of an utterance


def read_wav(path: str | os.PathLike[str], rate: int) -> np.ndarray:
    """The sound (T,) float32 of a WAV file of 8, 16, 24 or 32 bits, the mean of its channels, at
    ``rate`` samples a second.

    Raises UserError for a file that cannot be read, is no such WAV file, or holds no sound.
    """
    try:
        with open(path, "rb") as file, wave.open(file) as opened:
            channels, width, own_rate, count = opened.getparams()[:4]
            data = opened.readframes(count)
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
    except (wave.Error, EOFError, RuntimeError) as error:
        raise UserError(
            f"{path} is no WAV file of whole numbers that can be read ({error or 'it ends too early'}); convert it,"
            " for instance by: ffmpeg -i FILE -c:a pcm_s16le -ar 16000 FILE.wav"
        ) from None
    if width not in (1, 2, 3, 4) or not own_rate:
        raise UserError(
            f"{path} has {8 * width} bits at {own_rate} samples a second; it must have 8, 16, 24 or 32 bits"
        )
    data = data[: len(data) // (channels * width) * channels * width]  # a file may be cut off within a sample
    sound = _numbers(data, width).reshape(-1, channels).mean(axis=1)
    if not sound.any():
        raise UserError(f"{path} holds {'nothing but silence' if len(sound) else 'no sound'}")
    if len(sound) > LONGEST * own_rate:
        raise UserError(
            f"{path} lasts {len(sound) / own_rate:.0f} seconds; cut it into utterances of at most {LONGEST:.0f} seconds"
        )
    return resample(sound, own_rate, rate).astype(np.float32)


def _numbers(data: bytes, width: int) -> np.ndarray:
    """Samples of ``width`` bytes as numbers of [-1, 1); those of one byte have no sign."""
    if width == 1:
        return (np.frombuffer(data, np.uint8) - 128.0) / 128
    parts = np.frombuffer(data, np.uint8).reshape(-1, width)
    whole = np.zeros((len(parts), 4), np.uint8)  # the lowest bytes first, as of 32 bits
    whole[:, 4 - width :] = parts
    return whole.view("<i4")[:, 0] / 2.0**31


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The sound (T,) at another rate: the waves below half of both rates, and no others."""
    if rate == wanted:
        return sound
    count = max(1, round(len(sound) * wanted / rate))
    spectrum = np.fft.rfft(sound)
    kept = min(len(spectrum), count // 2 + 1)
    return np.fft.irfft(spectrum[:kept], count) * (count / len(sound))


def write_wav(path: str | os.PathLike[str], sound: np.ndarray, rate: int) -> None:
    """Write a sound (T,) as a WAV file of 16 bits, all of it or nothing; what is above 1 makes the
    whole softer.
    """
    loudest = max(1.0, float(np.abs(sound).max(initial=0.0)))
    samples = np.rint(sound / loudest * 32767).astype("<i2")
    written = io.BytesIO()
    with wave.Wave_write(written) as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    write_whole(path, written.getvalue())
