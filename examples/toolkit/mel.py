"""The log-mel spectrogram: how loud a sound is, moment by moment, in bands as an ear has them.

    frames of 25 ms, every 10 ms -> Hann window -> |FFT|^2 -> mel bands -> log

The mel scale is m = 2595 log10(1 + f / 700) (O'Shaughnessy, "Speech communication", 1987, as in
HTK); the bands are triangles at equal steps of it (Davis and Mermelstein 1980).

Letters: T samples, K frames, M bands, R samples a second.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["BANDS", "STEP", "log_mel", "mel_filters"]

WINDOW, STEP, SIZE = 200, 80, 256  # samples of a frame, from one to the next, and of the FFT
BANDS = 32
LOWEST = 80.0  # hertz
FLOOR = 1e-3  # the quietest power that is told apart, of the mean power


def _mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)


@cache
def mel_filters(rate: int) -> np.ndarray:
    """Weights (M, SIZE / 2 + 1) of the powers of an FFT in each band: triangles that reach from the
    middle of the band below to that of the band above, from `LOWEST` to half the rate.
    """
    mels = np.linspace(_mel(LOWEST), _mel(rate / 2), BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)  # hertz
    at = np.arange(SIZE // 2 + 1) * rate / SIZE
    rising = (at - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - at) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(sound: np.ndarray, rate: int) -> np.ndarray:
    """Features (K, M) float32 of a sound (T,): logarithms of the powers, mean 0 and deviation 1.

    How loud the whole is makes no difference. A sound shorter than a frame is filled up with
    silence.
    """
    sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP]  # (K, WINDOW)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann, SIZE)) ** 2  # (K, SIZE / 2 + 1)
    bands = power @ mel_filters(rate).T
    bands = np.log(bands + FLOOR * bands.mean() + 1e-30)
    return ((bands - bands.mean()) / (bands.std() + 1e-6)).astype(np.float32)
