"""WAV files: read as numbers from -1 to 1 at the rate that is wanted, and written.

    "RIFF" size "WAVE"   then chunks: a name of four letters, a size, so many bytes, even in number
    "fmt "               how the samples are stored
    "data"               the samples, channel by channel of each frame

Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991, and "Multiple
Channel Audio Data and WAVE Files", 2001, for the extensible format, by which 24 bits and more than
two channels are written. (Python's own ``wave`` reads that from Python 3.12 on, and takes what is
left of a file that is cut off for the whole.)

Letters: T samples, C channels.
"""

from __future__ import annotations

import io
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.console import UserError, counted, system_words
from toolkit.files import write_whole

__all__ = ["read_wav", "resample", "write_wav"]

LONGEST = 30.0  # seconds of an utterance
WHOLE, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # formats of samples; the last names one of the others further behind
OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "ADPCM", 85: "MP3"}  # which are not read
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # what follows the number of the other format
STREAM = 0x7FFF0000  # bytes; a program that writes into a pipe, and knows no end, announces about 2 GB or 4 GB
CANCELLED = 1e-3  # of the loudness of the channels, below which that of their mean is what is left of them
ONE_CHANNEL = 'ffmpeg -i FILE -af "pan=mono|c0=c0" -c:a pcm_s16le NEW.wav'
CONVERT = "ffmpeg -i FILE -c:a pcm_s16le -ar 16000 NEW.wav"


@dataclass(frozen=True)
class Format:
    """How samples are stored: whole numbers or floats of ``width`` bytes."""

    kind: int
    channels: int
    rate: int
    width: int

    @property
    def frame(self) -> int:
        """The bytes of one moment, of all channels."""
        return self.channels * self.width


def read_wav(path: str | os.PathLike[str], rate: int) -> np.ndarray:
    """The sound (T,) float32 of a WAV file of whole numbers of 8, 16, 24 or 32 bits, or of floats
    of 32 or 64, the mean of its channels, at ``rate`` samples a second. Floats above 1 make the
    whole softer.

    What a program wrote into a pipe, without knowing how long it would be, is read up to its end.
    Raises UserError for a file that cannot be read, is no such WAV file, is cut off, or holds no
    sound, and for channels that cancel each other.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {system_words(error)}") from None
    form, data = _parts(content, path)
    numbers = _numbers(data, form)
    if not np.isfinite(numbers).all():
        raise UserError(f"{path} holds samples that are no finite numbers; write it again by what made it")
    loudest = max(1.0, np.abs(numbers).max(initial=0.0))
    channels = (numbers / loudest).reshape(-1, form.channels)
    if not channels.any():
        raise UserError(f"{path} holds {'nothing but silence' if len(channels) else 'no sound'}")
    sound = channels.mean(axis=1)
    if np.sqrt(np.mean(sound**2)) < CANCELLED * np.sqrt(np.mean(channels**2)):
        raise UserError(
            f"{path} has {form.channels} channels that cancel each other: their mean is silence; keep one of them, for"
            f" instance by: {ONE_CHANNEL}"
        )
    if len(sound) > LONGEST * form.rate:
        raise UserError(
            f"{path} lasts {len(sound) / form.rate:.0f} seconds; cut it into utterances of at most {LONGEST:.0f} seconds"
        )
    return resample(sound, form.rate, rate).astype(np.float32)


def _parts(content: bytes, path: str | os.PathLike[str]) -> tuple[Format, bytes]:
    """How the samples are stored, and the bytes of whole frames. Raises UserError."""
    if not (b"RIFF" + content[4:8] + b"WAVE").startswith(content[:12]):
        raise UserError(f"{path} is no WAV file; convert it, for instance by: {CONVERT}")
    form: Format | None = None
    place = 12
    while len(content) >= place + 8:
        name, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if name == b"data" and form:
            return form, _samples(content[place:], size, form, path)
        if name == b"fmt " and len(content) >= place + size:
            form = _format(content[place : place + size], path)
        place += size + size % 2
    raise UserError(
        f"{path} ends too early: it has {counted(len(content), 'byte')}, and no samples behind its header; copy or record"
        " it again"
    )


def _format(header: bytes, path: str | os.PathLike[str]) -> Format:
    """What the chunk "fmt " says. Raises UserError for samples that are not read."""
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", header.ljust(16, b"\0"))
    if kind == EXTENSIBLE and header[26:40] == SUBFORMAT:
        # Its "valid bits" may be fewer than the bits of the container, whose highest ones they are.
        (kind,) = struct.unpack_from("<H", header, 24)
    width = (bits + 7) // 8
    known = width in {WHOLE: (1, 2, 3, 4), FLOAT: (4, 8)}.get(kind, ())
    if not known or not channels or not rate or frame != channels * width:
        what = {WHOLE: "whole numbers", FLOAT: "floats", **OTHERS}.get(kind, f"format {kind}")
        shape = f"{counted(channels, 'channel')} in {counted(frame, 'byte')}, {rate} times a second"
        raise UserError(
            f"{path} has {what} of {bits} bits, {shape}; it must have whole numbers of 8, 16, 24 or 32 bits, or floats of"
            f" 32 or 64; convert it, for instance by: {CONVERT}"
        )
    return Format(kind, channels, rate, width)


def _samples(rest: bytes, size: int, form: Format, path: str | os.PathLike[str]) -> bytes:
    """Of the rest of a file the ``size`` bytes of its samples that it announces. Raises UserError
    if there are fewer.

    Those of a stream are all that is there: none or too many to be true are announced.
    """
    streamed = size >= STREAM or (size == 0 and not _is_chunk(rest))
    if not streamed and len(rest) // form.frame < size // form.frame:
        raise UserError(
            f"{path} is cut off: its header announces {size // form.frame:,} frames, and {len(rest) // form.frame:,} are"
            " there; copy or record it again, or, if all that is to be heard is there, write a true header, for instance"
            f" by: {CONVERT}"
        )
    found = rest if streamed else rest[:size]
    return found[: len(found) // form.frame * form.frame]  # a stream may be stopped within a frame


def _is_chunk(rest: bytes) -> bool:
    """Whether this is a chunk, not samples: a name of four letters, and room for its size."""
    named = all(32 <= letter < 127 for letter in rest[:4])
    return len(rest) >= 8 and named and struct.unpack_from("<I", rest, 4)[0] <= len(rest) - 8


def _numbers(data: bytes, form: Format) -> np.ndarray:
    """Samples as numbers: whole ones of [-1, 1), of which those of one byte have no sign, or floats
    as they are.
    """
    width = form.width
    if form.kind == FLOAT:
        return np.frombuffer(data, f"<f{width}").astype(np.float64)
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
