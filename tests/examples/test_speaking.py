"""The synthesiser does what its formulas say, its parts share nothing, and features are those of a
direct computation.
"""

import doctest
import itertools

import numpy as np
import pytest
from toolkit import mel, speaking, utterances, word_errors
from toolkit.mel import BANDS, STEP, log_mel, mel_filters
from toolkit.phonemes import PRONUNCIATIONS, VOWELS, segments_of
from toolkit.speaking import FRAME, RATE, Voice, say
from toolkit.utterances import is_held_out, number_words, synthesised
from toolkit.warping import Templates
from toolkit.word_errors import edit_distance, word_error_rate

VOICE = Voice("test", noise=200.0)


@pytest.fixture(scope="module")
def spoken():
    return synthesised()


def test_the_examples_in_the_docstrings_hold():
    for module in (utterances, word_errors):
        assert doctest.testmod(module).failed == 0


# --- sounds -------------------------------------------------------------------------------------


def response(a, b, c, hertz):
    """The gain of a resonator at a frequency."""
    z = np.exp(-2j * np.pi * hertz / RATE)
    return np.abs(a / (1 - b * z - c * z**2))


def test_a_resonator_lets_its_frequency_through():
    centres = np.array([[[100.0], [500.0], [1500.0], [2500.0], [3000.0]]])
    widths = np.full_like(centres, 80.0)
    coefficients = np.stack(speaking._coefficients(centres, widths))[:, 0, :, 0]  # (3, boxes)
    hertz = np.arange(1, RATE // 2)
    for box, centre in enumerate(centres[0, :, 0]):
        gains = response(*coefficients[:, box], hertz)
        if box:
            assert abs(hertz[gains.argmax()] - centre) < 10
            above = hertz[gains > gains.max() / np.sqrt(2)]
            assert above[-1] - above[0] == pytest.approx(80, abs=4)  # the bandwidth at half the power
        if box < speaking.HISS:
            assert response(*coefficients[:, box], 0) == pytest.approx(1)
    assert response(*coefficients[:, speaking.HISS], 3000) == pytest.approx(1, abs=0.01)


def test_the_boxes_are_filters_one_behind_the_other():
    frames = 6
    rng = np.random.default_rng(0)
    loud = rng.random((frames, 3))
    still = np.ones((frames, 1))
    centres, widths = still * [0, 500, 1500, 2500, 3000], still * [100, 60, 90, 150, 700]
    plan = speaking._Plan(np.full(frames, 123.0), loud, centres, widths)
    found = speaking._synthesise([plan], [7])[0]
    a, b, c = (x[0, :, 0] for x in speaking._coefficients(centres[:, :, None], widths[:, :, None]))

    def filtered(x, box):
        y = np.zeros(len(x) + 2)
        for t, value in enumerate(x):
            y[t + 2] = a[box] * value + b[box] * y[t + 1] + c[box] * y[t]
        return y[2:]

    def later(x, samples):
        return np.concatenate([np.zeros(samples), x])[: len(x)]

    amplitude = np.repeat(loud, FRAME, axis=0)
    noise = speaking._noise(7, 2, frames * FRAME)
    periods = np.floor(np.arange(frames * FRAME + 1) * 123.0 / RATE + 1e-9)
    voice = filtered(np.diff(periods) * amplitude[:, 0], 0)
    # What a box gives goes on one sample later.
    x = later(voice, 1) + noise * amplitude[:, 1]
    for box in (1, 2, 3):
        x = later(filtered(x, box), 1) if box < 3 else filtered(x, box)
    x += filtered(noise * amplitude[:, 2], 4)
    np.testing.assert_allclose(found, np.diff(x, prepend=0), atol=1e-12)


@pytest.mark.parametrize("vowel", ["IY", "AE", "UW", "ER"])
def test_a_vowel_has_its_formants(vowel):
    """The harmonics of a pitch of 50 Hz, tilted back, have their peaks there."""
    frames, formants = 200, VOWELS[vowel]
    still = np.ones((frames, 1))
    plan = speaking._Plan(
        np.full(frames, 50.0), still * [1, 0, 0], still * [0, *formants, 3000], still * [100, 60, 80, 90, 9]
    )
    sound = speaking._synthesise([plan], [0])[0][-RATE // 2 :]
    levels = np.abs(np.fft.rfft(sound))[::25] * (
        1 + np.arange(81.0)[: RATE // 4 // 25 + 1]
    )  # each harmonic, tilted back
    peaks = 50.0 * (1 + np.flatnonzero((levels[1:-1] > levels[:-2]) & (levels[1:-1] > levels[2:])))
    for formant in formants:
        assert np.abs(peaks - formant).min() <= 60


def test_words_have_lengths_and_loudness():
    slow, fast = (say([("yes", Voice("x", speed=speed, noise=200.0), 0)])[0] for speed in (0.7, 1.4))
    assert len(slow) % FRAME == len(fast) % FRAME == 0 and len(slow) > 1.7 * len(fast)
    assert np.sqrt(np.mean(slow**2)) == pytest.approx(speaking.LOUD, rel=1e-3)
    assert all(segment.milliseconds > 0 for word in PRONUNCIATIONS for segment in segments_of(word))


def test_what_is_said_depends_on_nothing_but_itself():
    others = [("nine", Voice("other", 200.0, 1.2), 5), ("turn left forty two", VOICE, 3)]
    alone = say([("seven", VOICE, 1)])[0]
    among = say([*others, ("seven", VOICE, 1)])[2]
    np.testing.assert_allclose(alone, among, atol=1e-7)
    assert alone.dtype == np.float32
    again = say([("seven", VOICE, 2)])[0]
    assert len(again) != len(alone) or not np.allclose(again, alone)


def test_the_noise_is_as_loud_as_is_said():
    noisy, clean = (say([("zero", Voice("x", noise=noise), 1)])[0] for noise in (10.0, 200.0))
    ratio = np.mean(clean**2) / np.mean((noisy - clean) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.3)


def test_longer_tracts_have_lower_formants():
    """Of the mean spectrum of the same word."""
    loud = [np.exp(log_mel(say([("one", Voice("x", tract=t, noise=200.0), 1)])[0], RATE)).mean(0) for t in (0.9, 1.2)]
    centres = [(np.arange(BANDS) * x).sum() / x.sum() for x in loud]
    assert centres[1] > centres[0] + 0.5


# --- the parts ------------------------------------------------------------------------------------


def test_no_part_shares_a_voice_or_what_is_said(spoken):
    parts = [spoken.train, spoken.validation, [u for test in spoken.tests.values() for u in test]]
    for one, other in itertools.combinations(parts, 2):
        assert not {u.speaker for u in one} & {u.speaker for u in other}
        assert not {u.seed for u in one} & {u.seed for u in other}
        assert not {(u.voice.pitch, u.voice.tract) for u in one} & {(u.voice.pitch, u.voice.tract) for u in other}
    heard = {u.words for u in spoken.train}
    assert not any(u.words in heard for part in parts[1:] for u in part)
    regions = [{region(u.voice) for u in part} for part in parts]
    assert not any(one & other for one, other in itertools.combinations(regions, 2))
    assert [len({u.speaker for u in part}) for part in parts] == [360, 20, 40]


def region(voice):
    """The kind of voice, and its steps of pitch and tract."""
    woman = voice.pitch > 150
    pitch = np.log(voice.pitch / (160 if woman else 85)) / np.log(1.6 if woman else 1.7)
    tract = (voice.tract - (1.1 if woman else 0.93)) / (0.12 if woman else 0.13)
    return woman, int(8 * pitch), int(8 * tract)


def test_held_out_pairs_are_never_heard(spoken):
    assert not any(is_held_out(u.words) for u in spoken.train + spoken.validation + spoken.tests["unseen voices"])
    assert all(is_held_out(u.words) for u in spoken.tests["unseen pairs"])
    words = {word for u in spoken.train for word in u.words.split()}
    assert words == set(PRONUNCIATIONS)
    assert {u.words for u in spoken.train} >= words  # each is said alone, too


def test_they_are_the_same_each_time(spoken):
    again = synthesised()
    assert again == spoken and synthesised(1).train[:9] != spoken.train[:9]


def test_each_number_has_a_name_of_its_own():
    names = [number_words(number) for number in range(1000)]
    assert len(set(names)) == 1000 and {word for name in names for word in name.split()} <= set(PRONUNCIATIONS)


# --- features -------------------------------------------------------------------------------------


def test_features_are_those_of_a_direct_computation():
    sound = np.random.default_rng(0).standard_normal(600)
    t, k = np.arange(200), np.arange(129)
    wave = np.exp(-2j * np.pi * np.outer(k, t) / 256)
    edges = [
        700 * (10 ** (m / 2595) - 1)
        for m in np.linspace(*(2595 * np.log10(1 + f / 700) for f in (80, 4000)), BANDS + 2)
    ]
    rows = []
    for start in range(0, 600 - 200 + 1, STEP):
        window = np.sin(np.pi * t / 200) ** 2
        power = np.abs(wave @ (window * sound[start : start + 200])) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:]):
            weights = np.interp(k * RATE / 256, [low, middle, high], [0, 1, 0])
            row.append(weights @ power)
        rows.append(row)
    bands = np.array(rows)
    bands = np.log(bands + 1e-3 * bands.mean())
    np.testing.assert_allclose(log_mel(sound, RATE), (bands - bands.mean()) / bands.std(), atol=1e-5)


def test_a_tone_is_in_its_band():
    for band in (5, 15, 28):
        hertz = mel_filters(RATE)[band].argmax() * RATE / mel.SIZE
        found = log_mel(np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE), RATE)
        assert abs(found.mean(axis=0).argmax() - band) <= 1
    assert log_mel(np.ones(3), RATE).shape == (1, BANDS) and np.isfinite(log_mel(np.zeros(500), RATE)).all()


def test_loudness_makes_no_difference():
    sound = say([("two", VOICE, 0)])[0]
    np.testing.assert_allclose(log_mel(0.01 * sound, RATE), log_mel(sound, RATE), atol=1e-3)


# --- word errors, and what they are measured against ----------------------------------------------


@pytest.mark.parametrize(
    ("found", "wanted", "edits"),
    [("", "", 0), ("a b c", "a b c", 0), ("", "a b", 2), ("a b", "", 2), ("a x c", "a b c", 1), ("b c d", "a b c", 2),
     ("a b b c", "a b c", 1), ("c b a", "a b c", 2)],
)  # fmt: skip
def test_edit_distances(found, wanted, edits):
    assert edit_distance(found.split(), wanted.split()) == edit_distance(wanted.split(), found.split()) == edits


def test_the_word_error_rate_counts_words_not_utterances():
    assert word_error_rate(["a", "a b c d"], ["a", "a b c x"]) == pytest.approx(1 / 5)
    assert word_error_rate(["x y z"], ["a"]) == 3
    with pytest.raises(ValueError, match="at least one word"):
        word_error_rate([""], [""])
    with pytest.raises(ValueError, match="zip"):
        word_error_rate(["a"], ["a", "b"])


def test_templates_find_the_words_that_were_said():
    words = ["yes", "stop", "nine", "window"]
    known = say([(word, Voice("a", 110.0), seed) for seed in (0, 1) for word in words])
    templates = Templates(words * 2, [log_mel(sound, RATE) for sound in known])
    texts = ["window", "stop nine", "nine yes window", "yes yes"]
    heard = say([(text, Voice("b", 115.0), 9) for text in texts])
    found = [templates.transcribe(log_mel(sound, RATE)) for sound in heard]
    assert word_error_rate(found, texts) < 0.3
    assert found[0] == "window"
