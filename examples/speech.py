#!/usr/bin/env python3
"""Write down spoken words and numbers: a recurrent network that listens, with attention.

    python examples/speech.py              train on made voices, show what came of it
    python examples/speech.py train --data recordings.tsv --out runs/own    (path.wav<TAB>words)
    python examples/speech.py train --resume --out runs/speech
    python examples/speech.py evaluate --run runs/speech
    python examples/speech.py say "turn left forty two" --out turn.wav
    python examples/speech.py transcribe --run runs/speech turn.wav
    python examples/speech.py attention --run runs/speech turn.wav

The made voices are a formant synthesiser's: 360 to train on, 20 to validate by, and 40 others to
report on, in the noise of a room. A network that has heard them alone does not know the voices of
people: for those, train on recordings. A file of recordings has lines path.wav<TAB>words, or
path.wav<TAB>words<TAB>speaker, or columns that its first line names; the WAV files have whole
numbers of 8, 16, 24 or 32 bits, or floats, any rate and any number of channels. Copies of a
recording stay in one part of the data. Case, and punctuation at the edges of words, is neither
learnt nor scored; in Japanese, Chinese, Thai and the like, which put no blanks between words, each
character is a word. The run folder holds config.json, words.json, weights.safetensors, log.jsonl,
loss.png, attention.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from toolkit import console
from toolkit.console import UserError, and_more, counted, note
from toolkit.listening import VOCABULARY, Settings, Task, Transcriber, Words
from toolkit.mel import STEP, log_mel
from toolkit.numbers import beam_size, natural_number, real
from toolkit.other_data import load_to_test, tell_seen
from toolkit.phonemes import PRONUNCIATIONS
from toolkit.plots import GREY, empty_figure, literal, picture_path, save_figure
from toolkit.program import Data, Program, digest
from toolkit.reading import composed
from toolkit.recordings import read_spoken, read_utterance
from toolkit.runs import Run
from toolkit.speaking import RATE, Voice, say
from toolkit.utterances import Spoken, Utterance, features, synthesised
from toolkit.warping import Templates
from toolkit.wav import write_wav
from toolkit.word_errors import as_written, spoken_words, word_error_rate

PICTURE = "attention.png"
ALONE = 8  # recordings of each word by which the method before networks knows it
SHOWN = 8  # mistakes printed after training
WORST = 3  # voices that are printed
HIGH = 150.0  # hertz; a voice above it is a high one


class Speech(Program):
    """Train on utterances; report the word error rate on voices that were not heard, beside that of
    simpler methods.
    """

    name, settings = "speech", Settings
    files = (VOCABULARY, PICTURE)
    data_help = (
        "file of lines path.wav<TAB>words, or path.wav<TAB>words<TAB>speaker, or of columns that its first line names; of"
        " the words neither case nor punctuation counts (made voices)"
    )
    loss_label = "loss per word (nats)"

    # --- train ------------------------------------------------------------------------------------

    def load(self, data: Data) -> Spoken:
        """The utterances, made ones not yet said."""
        return synthesised() if data["path"] is None else read_spoken(data["path"])

    def load_whole(self, data: Data) -> Spoken:
        return read_spoken(data["path"], whole=True)

    def tested(self, loaded: Spoken) -> list[str]:
        return [utterance.heard for part in loaded.tests.values() for utterance in part]

    def trained(self, loaded: Spoken) -> set[str]:
        return {utterance.heard for utterance in loaded.train + loaded.validation}

    def fingerprint(self, loaded: Spoken) -> str:
        return digest(f"{_key(utterance)}\n" for utterance in loaded.train + loaded.validation)

    def notes(self, loaded: Spoken) -> Sequence[str]:
        return loaded.notes

    def make_task(self, loaded: Spoken, settings: Settings, run: Run | None) -> Task:
        """What is said in each utterance; the words are those of training."""
        return Task(loaded, Words.of([utterance.words for utterance in loaded.train]), settings)

    def save(self, task: Task, run: Run) -> None:
        task.words.save(run.path(VOCABULARY))

    def sizes(self, task: Task) -> str:
        counts = f"{counted(len(task.batches), 'utterance')} to train on, {len(task.validation):,} to validate by"
        dropped = f"; left out {task.dropped} that are too long, or to validate by words not trained on"
        return f"{counts}, {counted(len(task.words.words), 'word')}, {super().sizes(task)}{dropped if task.dropped else ''}"

    def report(self, run: Run, loaded: Spoken, task: Task) -> None:
        """Error rates, mistakes, and a picture."""
        transcriber = Transcriber(task.model, task.words, run.settings)
        _report(transcriber, loaded, loaded.train)
        longest = max(next(iter(loaded.tests.values()))[:20], key=lambda utterance: len(utterance.words))
        sound, pictures = features([longest])[0], [run.path("loss.png")]
        words, weights = transcriber.attention(sound)
        if weights.size:
            pictures.append(_draw(words, weights, sound, run.path(PICTURE)))
        made, sound_file = longest.sound is None, "sound.wav"
        print(f"see {' and '.join(map(str, pictures))}; {'make a sound, and ' if made else ''}write it down, by:")
        if made:
            print(f"  {self.advice('say', {'--out': sound_file}, longest.words)}")
        else:
            sound_file = os.path.join(os.path.dirname(run.about["data"]["path"]), longest.path)
        print(f"  {self.advice('transcribe', {'--run': run.folder}, sound_file)}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Callable[..., argparse.ArgumentParser]) -> None:
        made = add("evaluate", self.evaluate, "word error rates on what was held out, beside those of simpler methods")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other recordings, all of them, or where those of the run are",
        )
        _add_beam(made)
        made = add("transcribe", self.transcribe, "write down what is said in WAV files")
        made.add_argument("recordings", nargs="+", type=console.path, metavar="WAV")
        _add_beam(made)
        made = add("attention", self.attention, "a picture of where each word is heard")
        made.add_argument("recording", type=console.path, metavar="WAV")
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )
        made = add("say", self.say, "say words, as the voices that are trained on do", of_a_run=False)
        made.add_argument("words", type=composed, metavar="WORDS")
        made.add_argument("--out", type=console.path, required=True, metavar="WAV", help="where to write the sound")
        usual = Voice("you")
        for name, least, most, help in (
            ("pitch", 60, 400, "hertz"),
            ("tract", 0.8, 1.3, "formants over those of a man; 1.17 is a woman's"),
            ("speed", 0.5, 2, "how fast"),
            ("noise", -10, 100, "decibels of the speech above the noise of the room"),
        ):
            value = getattr(usual, name)
            made.add_argument(
                f"--{name}", type=real(least, most), default=value, metavar="X", help=f"{help} ({value:g})"
            )
        made.add_argument(
            "--seed", type=natural_number, default=0, metavar="N", help="of lengths, noise and pauses (0)"
        )

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print the error rates of a run."""
        run, transcriber = self._open(options)
        spoken, own = load_to_test(self, run, options.data)
        _report(transcriber, spoken, spoken.train if own else [], options.beam)
        if not own:
            tell_seen(self, run, spoken)

    def transcribe(self, options: argparse.Namespace) -> None:
        """Print the words of each recording."""
        sounds = [log_mel(read_utterance(path), RATE) for path in options.recordings]
        _, transcriber = self._open(options)
        for path, words in zip(options.recordings, transcriber.transcribe(sounds, options.beam), strict=True):
            print((f"{path}: " if len(sounds) > 1 else "") + as_written(words))

    def attention(self, options: argparse.Namespace) -> None:
        """Draw where each word of a recording is heard."""
        sound = log_mel(read_utterance(options.recording), RATE)
        run, transcriber = self._open(options)
        path = picture_path(options.output or run.path(PICTURE))
        words, weights = transcriber.attention(sound)
        if not weights.size:
            raise UserError(f"{run.folder} was trained with --attention none: there is nothing to draw")
        print(_draw(words, weights, sound, path))

    def say(self, options: argparse.Namespace) -> None:
        """Write a sound."""
        words = spoken_words(options.words)
        strange = [word for word in words if word not in PRONUNCIATIONS]
        if strange or not words:
            known = ", ".join(PRONUNCIATIONS)
            what = (
                f"{strange[0]!r}{and_more(strange)} is a word that no voice knows"
                if strange
                else "there is nothing to say"
            )
            raise UserError(f"{what}; they know: {known}")
        voice = Voice("you", options.pitch, options.tract, options.speed, noise=options.noise)
        sound = say([(" ".join(words), voice, options.seed)])[0]
        write_wav(options.out, sound, RATE)
        print(f"{options.out}: {len(sound) / RATE:.1f} seconds")

    def _open(self, options: argparse.Namespace) -> tuple[Run, Transcriber]:
        run, device = self.open(options)
        return run, Transcriber.of(run, options.weights, device)


def _key(utterance: Utterance) -> str:
    """What makes an utterance itself: the words, and who said them when, or the recording."""
    moment = utterance.content or f"{utterance.speaker} {utterance.seed}"
    return f"{utterance.words}\t{moment}"


# --- what is reported -----------------------------------------------------------------------------


def _report(transcriber: Transcriber, spoken: Spoken, train: Sequence[Utterance], beam: int = 1) -> None:
    """Print the error rates on each set to test by, of the network and of simpler methods, and some
    mistakes.
    """
    templates = _templates(train)
    most = Counter(utterance.words for utterance in train).most_common(1)
    for name, utterances in spoken.tests.items():
        sounds, wanted = features(utterances), [utterance.words for utterance in utterances]
        found = {"network": transcriber.transcribe(sounds, beam, f"{name}, utterance")}
        if templates:
            found["words said alone, warped"] = [templates.transcribe(sound) for sound in sounds]
        if most:
            found[f"always {as_written(most[0][0])!r}"] = [most[0][0]] * len(wanted)
        named = all(utterance.speaker_named for utterance in utterances)
        speakers = counted(len({utterance.speaker for utterance in utterances}), "speaker")
        print(
            f"{name}: {counted(len(utterances), 'utterance')} of {speakers}"
            if named
            else f"{name}: {counted(len(utterances), 'recording')}, no speakers named"
        )
        for method, texts in found.items():
            exact = sum(a == b for a, b in zip(texts, wanted, strict=True)) / len(wanted)
            print(f"  {method:26}word error rate {word_error_rate(texts, wanted):7.2%}   exact {exact:6.1%}")
        _by(utterances, found["network"])
        wrong = [(a, b) for a, b in zip(found["network"], wanted, strict=True) if a != b]
        for text, right in wrong[:SHOWN]:
            print(f"    {as_written(right)} -> {as_written(text) or '(nothing)'}")
        strange = {word for text in wanted for word in transcriber.words.unknown(text)}
        if train and not named:
            note(
                f"{name}: the file names no speakers, and each may be heard in training, too; new voices are harder."
                " Named in a third column, each stays in one part"
            )
        if strange:
            note(f"{name}: {sorted(strange)[0]!r}{and_more(strange)} was never said in training, and cannot be written")


def _templates(train: Sequence[Utterance]) -> Templates | None:
    """Some of the words that were said alone in training, each by several speakers; None without
    any.
    """
    alone: dict[str, list[Utterance]] = {}
    for utterance in train:
        if " " not in utterance.words:
            alone.setdefault(utterance.words, []).append(utterance)
    some = [utterance for those in alone.values() for utterance in those[:ALONE]]
    return Templates([utterance.words for utterance in some], features(some)) if some else None


def _by(utterances: Sequence[Utterance], found: Sequence[str]) -> None:
    """Print the network's word error rates by noise, by pitch, and of the worst speakers."""

    def rates(kind: Callable[[Utterance], str]) -> dict[str, float]:
        groups: dict[str, list[int]] = {}
        for row, utterance in enumerate(utterances):
            groups.setdefault(kind(utterance), []).append(row)
        return {
            name: word_error_rate([found[row] for row in rows], [utterances[row].words for row in rows])
            for name, rows in groups.items()
        }

    by: dict[str, dict[str, float]] = {}
    if all(utterance.voice for utterance in utterances):
        noises = rates(lambda u: f"{u.voice.noise:2.0f} dB" if u.voice else "")
        by["by speech over noise"] = {name: noises[name] for name in sorted(noises, reverse=True)}
        by["by voice"] = rates(lambda u: "high" if u.voice and u.voice.pitch > HIGH else "low")
    speakers = rates(lambda u: u.speaker)
    if len(speakers) < len(utterances):
        worst = sorted(speakers, key=lambda name: -speakers[name])[:WORST]
        by["the worst speakers"] = {name: speakers[name] for name in worst}
    for title, groups in by.items():
        print(f"    {title}: " + ", ".join(f"{name} {rate:.2%}" for name, rate in groups.items()))


def _draw(words: Sequence[str], weights: np.ndarray, sound: np.ndarray, path: str | os.PathLike[str]) -> Path:
    """Draw the spectrogram of a sound, features (S, F), and below it where each word is heard,
    (T, S).
    """
    rows, seconds = len(weights), len(sound) * STEP / RATE
    figure = empty_figure(max(5.0, 1.2 + 2.6 * seconds), 2.6 + 0.22 * rows)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.0, 0.22 * rows))
    above.imshow(sound.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, sound.shape[1]))
    above.set_ylabel("mel band", fontsize=9)
    below.imshow(weights, aspect="auto", cmap="Blues", vmin=0, vmax=1, extent=(0, seconds, rows - 0.5, -0.5))
    below.set_yticks(range(rows), [literal(word) for word in words], fontsize=9)
    below.set_xlabel("seconds", fontsize=9, color=GREY)
    for axes in (above, below):
        axes.tick_params(length=0)
        axes.spines[:].set_color("#cccccc")
    return save_figure(figure, path)


def _add_beam(parser: argparse.ArgumentParser) -> None:
    help = "hypotheses of the beam search; 1: greedy (1)"
    parser.add_argument("--beam", type=beam_size, default=1, metavar="K", help=help)


main = Speech().main

if __name__ == "__main__":
    sys.exit(console.run(main))
