"""The speech program from the command line: recordings of one's own, a run, and what it refuses."""

import re

import numpy as np
import pytest
import speech
from scripts import caller, refuser
from toolkit import utterances
from toolkit.console import UserError
from toolkit.listening import Words
from toolkit.recordings import read_spoken, read_utterance
from toolkit.speaking import RATE, Voice, say
from toolkit.wav import read_wav, write_wav

TINY = (
    "--d-model 12 --hidden 12 --warmup 5 --lr 0.02 --dropout 0 --max-frames 3000 --epochs 25 --validate-every 5".split()
)
TEXTS = ("yes", "no", "stop no", "yes stop")

call = caller(speech.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight speakers, who say four things each."""
    folder = tmp_path_factory.mktemp("data")
    voices = [Voice(f"v{n}", 100.0 + 12 * n, 0.95 + 0.03 * n, noise=40.0) for n in range(8)]
    rows = [(text, voice, 10 * i + j) for i, voice in enumerate(voices) for j, text in enumerate(TEXTS)]
    lines = []
    for number, ((text, voice, _), sound) in enumerate(zip(rows, say(rows))):
        write_wav(folder / f"{number}.wav", sound, RATE)
        lines.append(f"{number}.wav\t{text.capitalize()}\t{voice.name}\n")
    (folder / "all.tsv").write_text("".join(lines), encoding="utf-8")
    return folder / "all.tsv"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY) == 0
    return folder


def rates(printed):
    """The word error rate of each method that is printed, in percent."""
    return {
        name.strip(): float(rate) for name, rate in re.findall(r"^  (\S.*?)word error rate +([\d.]+)%", printed, re.M)
    }


def test_it_learns_and_says_how_well(run, data, capsys):
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--beam", 2) == 0
    printed = capsys.readouterr().out
    found = rates(printed)
    assert list(found)[:2] == ["network", "words said alone, warped"] and list(found)[2].startswith("always ")
    assert (
        "speakers named" not in printed
        and "test: 4 utterances of 1 speaker\n" in printed
        and "the worst speakers: v" in printed
    )
    assert found["network"] < 60 < found[list(found)[2]]
    for name in ("attention.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"


def test_writing_down(run, data, tmp_path, capsys):
    capsys.readouterr()
    one = data.parent / "0.wav"
    assert call("transcribe", "--run", run, one) == 0
    line = capsys.readouterr().out
    assert call("transcribe", "--run", run, one, data.parent / "1.wav") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{one}: {line.strip()}"
    assert call("attention", "--run", run, one, "--output", tmp_path / "a.png") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    refused(capsys, "cannot read", "transcribe", "--run", run, tmp_path / "none.wav")


def test_other_recordings_are_all_judged(run, data, tmp_path, capsys):
    rows = [f"{data.parent / name}\t{words}\n" for name, words in (("0.wav", "yes"), ("1.wav", "window"))]
    (tmp_path / "two.tsv").write_text("".join(rows), encoding="utf-8")
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--data", tmp_path / "two.tsv") == 0
    captured = capsys.readouterr()
    assert "all: 2 recordings, no speakers named\n" in captured.out and list(rates(captured.out)) == ["network"]
    assert "'window' was never said in training, and cannot be written" in captured.err


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(data, tmp_path, monkeypatch):
    monkeypatch.setattr(speech.Speech, "report", lambda *_: None)  # the same for both
    arguments = "--data", data, *TINY, "--schedule", "constant", "--cell", "lstm", "--dropout", 0.1
    assert call("train", *arguments, "--out", tmp_path / "parts", "--epochs", 1) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--epochs", 2) == 0
    assert call("train", *arguments, "--out", tmp_path / "whole", "--epochs", 2) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]


def test_made_voices(tmp_path, monkeypatch, capsys):
    """The whole program on few of them, without attention, of which there is no picture then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(utterances, "VOICES", {"train": 4, "validation": 2, "test": 2})
    monkeypatch.setattr(utterances, "EACH", {"train": 6, "validation": 3, "test": 3})
    assert call("train", *TINY, "--epochs", 1, "--attention", "none") == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "runs" / "speech"
    assert (folder / "loss.png").exists() and not (folder / "attention.png").exists()
    assert call("say", "two", "--out", "two.wav") == 0
    refused(
        capsys, "was trained with --attention none: there is nothing to draw", "attention", "--run", folder, "two.wav"
    )
    assert "unseen voices: 6 utterances of 2 speakers" in printed and "unseen pairs: 6 utterances" in printed
    assert len(re.findall(r"by speech over noise: .*dB [\d.]+%", printed)) == 2 and "by voice: " in printed
    said = re.search(r"24 utterances to train on, (\d+) to validate by, \d+ words", printed)
    assert int(said[1]) == 6 or f"left out {6 - int(said[1])} that are too long" in printed


def test_saying(tmp_path, capsys):
    assert call("say", "Forty two!", "--out", tmp_path / "a.wav", "--pitch", 200, "--tract", 1.2) == 0
    assert re.fullmatch(r".*a\.wav: [01]\.\d seconds\n", capsys.readouterr().out)
    sound = read_wav(tmp_path / "a.wav", RATE)
    expected = say([("forty two", Voice("you", 200.0, 1.2), 0)])[0]
    np.testing.assert_allclose(sound, expected / max(1, np.abs(expected).max()), atol=1e-4)
    refused(
        capsys,
        "'hello' (and 1 more) is a word that no voice knows; they know: zero, one",
        "say",
        "hello you",
        "--out",
        "a",
    )
    refused(capsys, "there is nothing to say", "say", " ", "--out", tmp_path / "b.wav")


# --- recordings -----------------------------------------------------------------------------------


def test_a_speaker_is_in_one_part(data):
    spoken = read_spoken(str(data))
    parts = [spoken.train, spoken.validation, spoken.tests["test"]]
    assert [len(part) for part in parts] == [24, 4, 4]
    assert sum(len({u.speaker for u in part}) for part in parts) == 8
    assert {u.words for part in parts for u in part} == set(TEXTS)


def test_recordings_without_speakers_stand_for_themselves(data, tmp_path, capsys):
    rows = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()]
    lines = [f"{data.parent / name}\t{words}\n" for name, words, _ in rows]
    (tmp_path / "all.tsv").write_text("\n".join(lines), encoding="utf-8")
    spoken = read_spoken(str(tmp_path / "all.tsv"))
    assert (len(spoken.train), len(spoken.validation), len(spoken.tests["test"])) == (24, 4, 4)
    assert call("train", "--data", tmp_path / "all.tsv", "--out", tmp_path / "run", *TINY[:4], "--steps", 1) == 0
    captured = capsys.readouterr()
    assert "\ntest: 4 recordings, no speakers named\n" in captured.out
    assert "note: test: the file names no speakers, and each may be heard in training, too" in captured.err
    *_, advice, command = captured.out.splitlines()
    assert advice.endswith("; write it down, by:") and command.endswith(".wav")
    held_out = [utterance.path for utterance in spoken.tests["test"]]
    assert command.split()[-1].strip("'\"") in held_out


def test_a_line_of_names_is_no_recording(data):
    rows = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()]
    named = data.parent / "named.tsv"
    named.write_text(
        "client_id\tup_votes\tsentence\tpath\n" + "".join(f"{who}\t2\t{words}\t{name}\n" for name, words, who in rows),
        encoding="utf-8",
    )
    assert read_spoken(str(named)) == read_spoken(str(data))
    named.write_text("path\ttext\n" + "".join(f"{name}\t{words}\n" for name, words, _ in rows), encoding="utf-8")
    assert not any(utterance.speaker_named for utterance in read_spoken(str(named)).train)


def recorded(folder, lines):
    """A file of lines (sound, words[, speaker]), each of a recording of its own whose samples are
    drawn by the number of its sound.
    """
    for number, (sound, *_) in enumerate(lines):
        write_wav(folder / f"{number}.wav", np.random.default_rng(sound).uniform(-0.5, 0.5, 800), RATE)
    rows = ["\t".join([f"{number}.wav", *rest]) for number, (_, *rest) in enumerate(lines)]
    (folder / "own.tsv").write_text("\n".join(rows), encoding="utf-8")
    return str(folder / "own.tsv")


def test_neither_case_nor_punctuation_is_said(tmp_path):
    lines = [(0, '"Stop,'), (1, "STOP!"), (2, "don\u2019t - stop...")]
    assert [u.words for u in read_spoken(recorded(tmp_path, lines), whole=True).tests["all"]] == [
        "stop", "stop", "don't stop",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"line 2 has no word, only '\?\?'; write what is said"):
        read_spoken(recorded(tmp_path, [(0, "stop"), (1, "??")]))


def test_what_holds_no_word_is_refused(tmp_path, capsys):
    """A sample alone was "nine", and a constant "two"."""
    path, noise = tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 2000)
    for sound, rate, message in (
        (noise[:1], RATE, "a.wav lasts 0.1 milliseconds, too short to hold a word; record it again"),
        (noise[:1500], 2 * RATE, "a.wav lasts 93.8 milliseconds, too short"),
        (np.full(2000, 0.15), RATE, "a.wav holds one number all along, and so no sound"),
        (np.full(2000, 0.15), 11025, "a.wav holds one number all along"),
    ):
        write_wav(path, sound, rate)
        for command in "transcribe", "attention":
            refused(capsys, message, command, "--run", tmp_path, path)
        (tmp_path / "own.tsv").write_text("a.wav\tyes\n", encoding="utf-8")
        with pytest.raises(UserError, match=f"line 1: .*{re.escape(message)}"):
            read_spoken(str(tmp_path / "own.tsv"))
    write_wav(path, noise[:801], RATE)
    assert len(read_utterance(path)) == 801


def test_copies_of_a_recording_are_in_one_part(tmp_path):
    """Five names of each of ten recordings; one of the names has other words."""
    path = recorded(tmp_path, [(n % 10, "no" if n < 10 else "yes") for n in range(50)])
    spoken = read_spoken(path)
    parts = [spoken.train, spoken.validation, spoken.tests["test"]]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert sum(len({u.heard for u in part}) for part in parts) == 10
    told = f"{path}: of 50 recordings 40 repeat others; copies stay in one part, and those with the same words, 30, are"
    assert spoken.notes == (f"{told} left out",)
    with pytest.raises(UserError, match="has 1 different recording, too few"):
        read_spoken(recorded(tmp_path, [(0, "yes")] * 20))


def test_speakers_of_one_recording_are_in_one_part(tmp_path):
    """Speakers 0 to 9 share a recording in twos, by which the second one's is left out."""
    lines = [(100 + speaker // 2, "yes", f"{speaker}") for speaker in range(10)]
    lines += [(speaker, "no", f"{speaker}") for speaker in range(20)]
    spoken = read_spoken(recorded(tmp_path, lines))
    parts = [{u.speaker for u in part} for part in (spoken.train, spoken.validation, spoken.tests["test"])]
    assert sum(map(len, parts)) == 20 and all(parts)
    assert all(
        {f"{n}", f"{n + 1}"} <= part or part.isdisjoint({f"{n}", f"{n + 1}"}) for n in range(0, 10, 2) for part in parts
    )
    assert "of 30 recordings 5 repeat others" in spoken.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no line"),
        ("0.wav\n", "line 1 must be the path of a WAV file, a tab and its words"),
        ("0.wav\tyes\n\n1.wav\t \n", "line 3 must be the path"),
        ("0.wav\tyes\ta\n1.wav\tno\n", "line 2 must be the path"),
        ("0.wav\tyes\nabsent.wav\tno\n", "line 2: cannot read .*absent.wav"),
        ("all.tsv\tyes\n", "line 1: .*is no WAV file"),
        (
            "Datei\ttext\n0.wav\tno\n",
            "line 1: there is no file .*Datei; if this line names the columns, known are names of rec",
        ),
        ("file\twords\n0.wav\t\n", "line 2 has an empty cell below one of file, words; fill it in"),
        ("file\twords\n0.wav\tno\tBen\n", "line 2 has 3 columns separated by tabs, the line of names has 2"),
        ("file\twords\n", "holds no recording, only a line of names"),
        ("0.wav\tyes\ta\n1.wav\tno\ta\n", "has 1 different speaker, too few to hold some out; 7 are needed"),
        ("0.wav\tyes\n1.wav\tno\n", "has 2 different recordings, too few to hold some out; 7 are needed"),
    ],
)
def test_bad_lines(data, text, message):
    path = data.parent / "bad.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_spoken(str(path))


def test_words_that_training_lacks(data, tmp_path, capsys):
    lines = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()]
    validated = {u.path for u in read_spoken(str(data)).validation}
    lines = [(str(data.parent / name), "other" if name in validated else words, who) for name, words, who in lines]
    (tmp_path / "odd.tsv").write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    arguments = "train", "--data", tmp_path / "odd.tsv", "--out", tmp_path / "run", *TINY
    refused(capsys, "no utterance to validate by has at most 23 words, all of them said in training", *arguments)
    assert not (tmp_path / "run").exists()


def test_words_are_kept_with_the_run(tmp_path):
    words = Words.of(["b a", "c a"])
    assert words.decode(words.encode("c a b")) == "c a b" and words.unknown("a d b e") == ["d", "e"]
    assert words.decode([1, *words.encode("a"), 0, 2]) == "a"
    words.save(tmp_path / "words.json")
    assert Words.load(tmp_path / "words.json").words == words.words
    assert [words.label(id) for id in (*words.encode("b"), 2)] == ["b", "<stop>"]
    (tmp_path / "words.json").write_text('["a", "b", "c"]\n', encoding="utf-8")  # as runs of an earlier version
    assert Words.load(tmp_path / "words.json").words == words.words
    (tmp_path / "words.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="is damaged or not a vocabulary of words"):
        Words.load(tmp_path / "words.json")
