"""The story script: its world and questions, its files, what it claims at a small setting, and what
it refuses.
"""

import io
import json
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import stories
from scripts import caller, refuser
from toolkit.console import UserError
from toolkit.dialogue import Listener, Settings, Task
from toolkit.english_french import Dice
from toolkit.stories import UNSEEN_PAIRS, Line, corpus, statements, tell
from toolkit.story_batches import Batch, Stream, padded
from toolkit.story_files import read_stories, written
from toolkit.story_guesses import guesses, naive_bayes
from toolkit.story_questions import RELATIONS, Question, answer
from toolkit.story_report import by_group, looked_at, table
from toolkit.story_words import Words, spaced
from toolkit.story_world import HELD_OUT, Event, World
from toolkit.tokenizer import STOP

import minitensor as mt

TINY = "--d-model 16 --d-ff 16 --layers 1 --steps 120 --warmup 5 --lr 0.01 --validate-every 60 --max-lines 60".split()

call = caller(stories.main)
refused = refuser(call)


# --- the world ------------------------------------------------------------------------------------


def told(*events):
    world = World()
    for line, event in enumerate(events):
        world.apply(event, line)
    return world


WALK = told(
    Event("goes", "Anna", "kitchen"),
    Event("takes", "Anna", thing="apple"),
    Event("goes", "Ben", "park"),
    Event("goes", "Anna", "park"),
    Event("takes", "Anna", thing="key"),
    Event("gives", "Anna", thing="apple", other="Ben"),
    Event("leaves", "Anna", thing="key"),
    Event("goes", "Anna", "school"),
)


@pytest.mark.parametrize(
    ("question", "text", "lines"),
    [
        (Question("place of a person", "Anna"), "school", (7,)),
        (Question("place of a person", "Emma"), "unknown", ()),
        (Question("place of a thing", thing="apple"), "park", (5, 2)),
        (Question("place of a thing", thing="key"), "park", (3, 6)),
        (Question("place of a thing", thing="cup"), "unknown", ()),
        (Question("place before", "Anna"), "park", (3, 7)),
        (Question("place before", "Ben"), "unknown", ()),
        (Question("holder", thing="apple"), "Ben", (5,)),
        (Question("holder", thing="key"), "nobody", (6,)),
        (Question("holder", thing="cup"), "unknown", ()),
        (Question("possession", "Ben"), "apple", (5,)),
        (Question("possession", "Anna"), "nothing", ()),
        (Question("number", "Ben"), "one", (5,)),
        (Question("giver", "Ben", "apple"), "Anna", (5,)),
        (Question("giver", "Anna", "apple"), "unknown", ()),
        (Question("yes or no: place", "Ben", place="park"), "yes", (2,)),
        (Question("yes or no: place", "Anna", place="park"), "no", (7,)),
        (Question("yes or no: possession", "Ben", "apple"), "yes", (5,)),
        (Question("yes or no: possession", "Anna", "key"), "no", (6,)),
    ],
)
def test_the_world_knows_the_answers(question, text, lines):
    found = answer(question, WALK)
    assert (found.text, found.lines) == (text, lines)


def test_several_things_come_in_the_order_of_getting_them():
    world = told(Event("goes", "Ben", "park"), Event("takes", "Ben", thing="key"), Event("takes", "Ben", thing="apple"))
    assert answer(Question("possession", "Ben"), world).text == "key and apple"
    assert answer(Question("number", "Ben"), world).text == "two"
    assert not answer(Question("possession", "Ben"), world).pairs.isdisjoint({("Ben", "apple")})


# --- the stories ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return corpus(n_train=200, n_validation=20, n_test=20)


def test_the_corpus_depends_on_its_seed_alone_and_its_parts_share_no_story(made):
    assert made == corpus(n_train=200, n_validation=20, n_test=20)
    assert made.train != corpus(seed=1, n_train=200, n_validation=20, n_test=20).train
    parts = [made.train, made.validation, *made.tests.values()]
    said = [statements(story) for part in parts for story in part]
    assert len(set(said)) == len(said) == 200 + 20 + 2 * 20


def test_held_out_pairs_are_in_their_own_test_set_alone(made):
    for story in [*made.train, *made.validation, *made.tests["unseen stories"]]:
        assert not any(line.new for line in story)
    assert all(any(line.new for line in story) for story in made.tests[UNSEEN_PAIRS])
    # Nobody is said by name to go to a place, or asked after there, that is held out.
    for one, other in HELD_OUT:
        pattern = re.compile(rf"{one} \w+ to the {other}\.|Is {one} in the {other}\?|Does {one} have the {other}\?")
        assert not any(pattern.search(line.text) for story in made.train for line in story)


def test_all_relations_and_forms_are_asked(made):
    asked = [line for story in made.train for line in story if line.answer]
    assert {line.relation for line in asked} == {*RELATIONS, "not told"}
    assert {line.form for line in asked} == {"whole", "pronoun", "ellipsis"}
    for story in made.train:
        told = [not line.answer for line in story]
        assert told == sorted(told, reverse=True)  # statements first
    for line in asked:
        assert (line.form == "ellipsis") == line.text.startswith("And ")
        assert (line.form == "pronoun") == bool(re.search(r"\b(she|he|her|him|it)\b", line.text))
        assert (line.answer == "unknown") == (line.relation == "not told")


def test_a_pronoun_has_one_meaning():
    """Told with no pronoun at all, the same story has the same answers, and where there was one the
    line before names a single person or thing that it can mean.
    """
    gender = {"she": "Anna Carla Emma", "her": "Anna Carla Emma", "he": "Ben David Felix", "him": "Ben David Felix"}
    dice, seen = Dice(7), 0
    for _ in range(200):
        before: set[str] = set()
        for line in tell(dice):
            words = set(spaced(f"{line.text} {line.answer}").split())
            for pronoun, names in gender.items():
                if {pronoun, pronoun.capitalize()} & set(spaced(line.text).split()):
                    seen += 1
                    meant = before & set(names.split())
                    # By name at most one; if none, the line before had the pronoun itself.
                    assert len(meant) <= 1
                    assert meant or before & {"she", "her", "She", "he", "him", "He"}
            before = words
    assert seen > 100


# --- files ----------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(made, tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(written(made.train), encoding="utf-8")
    found = read_stories(str(path))
    assert len(found.validation) == len(found.tests["unseen stories"]) == 20
    read = [*found.train, *found.validation, *found.tests["unseen stories"]]
    plain = {tuple((line.text, line.answer, line.relation) for line in story) for story in made.train}
    assert {tuple((line.text, line.answer, line.relation) for line in story) for story in read} == plain
    (test,) = read_stories(str(path), whole=True).tests.values()
    assert len(test) == 200


def test_answers_at_too_great_length_are_cut_to_the_room():
    listener = Listener(None, None, Settings(max_length=40))
    stream = Stream([(3,) * 9], [(4,), (4,), (4,)], [(5,), (5,), (5,)])
    long = [(6,) * 400, (7,) * 3]
    heard = listener._heard(stream, long, 2)
    assert len(heard) == listener.longest and heard.answers[1] == (7,) * 3 and heard.answers[2] == ()
    assert listener._heard(stream, [(6,), (7,)], 2).answers == [(6,), (7,), ()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no story"),
        ("\n\n", "holds no story"),
        ("Anna ran.\nWhere is Anna?\n", "line 2 is a question without an answer; write a tab"),
        ("Anna ran.\nWhere is Anna?\t \n", "line 2 is a question without an answer; write it behind"),
        ("Anna ran.\nWhere is Anna?\t" + "so " * 16 + "\n", "line 2 has an answer of 16 words; one has at most 15"),
        ("Anna ran.\nWhere is Anna\tpark\n", 'line 2 has a tab, but what is before it is no question; end it in "?"'),
        ("Anna ran.\nWhere is Anna\uff1f\n", 'line 2 ends like a question; write "?" as its very last character'),
        ('Anna ran.\n"Where is Anna?"\n', "line 2 ends like a question"),
        ("Anna ran.\nWhere is Anna\u061f\tpark\n", "line 2 ends like a question"),
        ("Anna ran.\nWhere?\ta\tb\tc\n", "line 2 has 4 columns"),
        ("Where is Anna?\tpark\n", "line 1 asks before anything is told"),
        ("Anna ran.\nWho ran?\tAnna\nBen ran.\n", "line 3 is a statement behind a question"),
        ("Anna ran.\n\nBen ran.\nWho ran?\tBen\n", "line 1 ends a story without a question"),
        ("Anna ran.\nWho ran?\tAnna\n", "has 1 different story, too few to hold some out; 10 are needed"),
    ],
)
def test_files_that_are_refused(text, message, tmp_path, capsys):
    path = tmp_path / "bad.txt"
    path.write_text(text, encoding="utf-8")
    refused(capsys, message, "train", "--data", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("Ren\u00e9 ran.\nWho ran?\tRen\u00e9\n".encode("latin1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_stories(str(path))


def test_words():
    words = Words.of(["Where is Anna?", "garden"])
    assert words.decode(words.encode("where IS anna ?")) == "Where is Anna ?"
    with pytest.raises(
        UserError, match=r"never read 'Zoe'; it knows: Anna, Where, garden, is, \?; write it by these, or"
    ):
        words.encode("Where is Zoe?")
    assert words.unknown("where IS zoe, Anna?") == ["zoe", ","]


# --- the model's data -----------------------------------------------------------------------------

STORY = (Line("Anna ran."), Line("Ben ran."), Line("Who ran?", "Anna"), Line("Who ran last?", "Ben and Anna"))


def test_a_stream_has_the_lines_and_a_batch_teaches_the_answers_alone():
    words = Words.of(text for line in STORY for text in (line.text, line.answer))
    stream = Stream.of(words, STORY)
    assert [words.decode(line) for line in stream.story] == ["Anna ran .", "Ben ran ."]
    assert [words.decode(line) for line in stream.questions] == ["Who ran ?", "Who ran last ?"]
    assert [words.decode(line) for line in stream.answers] == ["Anna", "Ben and Anna"]
    assert len(stream) == 1 + 3 + 1 + 1 + 4 + 3 + 1
    batch = padded([stream, Stream(stream.story[:1], stream.questions[:1], [()])])
    read = [[words.decode(batch["lines"][n].tolist()) for n in row] for row in batch["questions"]]
    assert read == [["Who ran ?", "Who ran last ?"], ["Who ran ?", ""]]
    assert [words.decode(batch["lines"][n].tolist()) for n in batch["replies"][0]] == ["", "Anna"]
    assert len(batch["lines"]) == 1 + 2 + 2 + 1  # each line once
    (anna, *_), both = words.encode("Anna"), words.encode("Ben and Anna")
    assert batch["targets"].tolist() == [[[anna, STOP, 0, 0], [*both, STOP]], [[0] * 4] * 2]
    assert batch["written"].tolist() == [[[1, anna, 0, 0], [1, *both]], [[0] * 4] * 2]
    assert batch.tokens == 6
    guesses = batch["targets"].copy()
    guesses[0, 0, 2] = 8  # behind the end
    assert batch.right(guesses) == [True, True, True]
    guesses[0, 1, 2] = 8
    assert batch.right(guesses) == [True, False, True]


def test_batches_hold_every_story_once_and_cut_into_parts(made):
    settings = Settings(d_model=8, d_ff=8, heads=2, max_lines=150)
    task = Task(made, Words.of(t for s in made.train for line in s for t in (line.text, line.answer)), settings)
    assert task.dropped == 0
    batches = list(task.epoch(1))
    assert max(max(batch["questions"].size, batch["story"].size) for batch in batches) <= 150
    assert sum(len(batch) for batch in batches) == 200
    rows = sorted(tuple(_ids(batch, n) for n in row if n) for batch in batches for row in batch["questions"])
    assert rows == sorted(tuple(stream.questions) for stream in task.train)
    batch = max(batches, key=len)
    parts = batch.split(3)
    assert all(isinstance(part, Batch) for part in parts) and sum(part.tokens for part in parts) == batch.tokens
    whole = task.loss(batch, batch.tokens).item()
    assert sum(task.loss(part, batch.tokens).item() for part in parts) == pytest.approx(whole, rel=1e-5)


def _ids(batch, number):
    """The ids of a line, without padding."""
    return tuple(id for id in batch["lines"][number].tolist() if id)


# --- measures -------------------------------------------------------------------------------------


def test_simple_guesses():
    train = [(Line("Anna ran to the park."), Line("Where is Anna?", "park", "place"))] * 2
    train += [(Line("Ben ran to the hall."), Line("Where is Ben?", "hall", "place"))]
    story = (
        Line("Ben ran to the hall."),
        Line("Anna ran home."),
        Line("Where is Ben?", "hall", "place"),
        Line("Who ran?", "Ben", "who"),
        Line("Where is Eve?", "nobody knows", "not told"),
    )
    train += [(Line("Ben ran to the hall."), Line("Where is Eve?", "nobody knows", "not told"))]
    found = guesses(train, [story])
    assert found["commonest"] == ["park", "", ""] and found["named last"] == ["hall", "", ""]
    assert naive_bayes(train, [story])[0] == "hall"


def test_tables():
    rows = by_group(["b", "a", "b"], {"network": [True, False, False]})
    assert rows == {"a": {"questions": 1, "network": 0.0}, "b": {"questions": 2, "network": 0.5}}
    assert re.findall(r"(\w)\s+(\d)\s+(\S+) %", table("kind", rows)) == [("a", "1", "0.0"), ("b", "2", "50.0")]


def test_which_line_an_answer_looks_at():
    """A stand-in that always looks at the first word of the second line."""
    story = (
        Line("Anna ran."),
        Line("Ben ran."),
        Line("Who ran?", "Anna", lines=(0,)),
        Line("And Ben?", "no"),
        Line("Who ran last?", "Ben", lines=(1,)),
        Line("And who ran?", "Anna", lines=(0,)),
    )
    words = Words.of(text for line in story for text in (line.text, line.answer))

    def attention(streams):
        (stream,) = streams
        maps = np.zeros((1, len(stream.questions), len(stream.story) + 1))
        maps[..., 1:] = 1, 2  # most at what is no line of this story
        return maps

    share, last, count = looked_at(SimpleNamespace(words=words, attention=attention), [story])
    assert (share, last, count) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 3)


def test_answers_go_on_from_the_models_own():
    """A stand-in that answers all with "Ben": the second question comes behind that, not behind the
    truth.
    """
    words = Words.of(text for line in STORY for text in (line.text, line.answer))
    heard = []

    def read(lines, story, questions, replies):
        said = [[words.decode(lines[n].numpy().tolist()) for n in side.numpy()[0]] for side in (questions, replies)]
        heard.append(list(zip(*said, strict=True)))
        return mt.zeros((*questions.shape, 1))

    def write(found, written):
        logits = np.zeros((*written.shape, words.vocab_size))
        logits[..., words.encode("Ben")[0] if written.shape[-1] == 1 else STOP] = 1
        return mt.asarray(logits)

    listener = Listener(SimpleNamespace(read=read, write=write), words, Settings(max_length=100))
    assert listener.answers([STORY]) == [["Ben", "Ben"]]
    assert heard == [[("Who ran ?", "")], [("Who ran ?", ""), ("Who ran last ?", "Ben")]]


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Stories of one sentence, and where its person is."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "own.txt"
    lines = [
        f"{' '.join(draw.choices('very quite so too'.split(), k=4))}, {who} ran to the {place}.\nWhere is {who}?\t{place}\n"
        for who in ("Anna", "Ben")
        for place in ("park", "hall", "inn")
        for _ in range(40)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--out", folder, *TINY) == 0
    return folder


def test_it_learns_and_says_how_well(run, data, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    count = len(read_stories(str(data)).tests["unseen stories"])
    (row,) = re.findall(r"^  all +(\d+) +(\S+) % +(\S+) % +(\S+) % +(\S+) %$", printed, re.M)
    assert int(row[0]) == count and float(row[1]) == 100 and float(row[2]) == 100 > float(row[3])
    for name in ("relations.png", "attention.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert call("evaluate", "--run", run, "--data", data) == 0
    assert not list(run.glob("*-of-*"))  # they are its own


def rare(name, count):
    """Stories, each with a word of its own."""
    return [f"so so very quite, Ben ran to the {name}{n}.\nWhere is Ben?\t{name}{n}\n" for n in range(count)]


def test_words_that_no_story_of_the_training_has(run, data, tmp_path, capsys):
    """They are not in its vocabulary, as if they were asked about, and stories with them are left
    out.
    """
    path, program = tmp_path / "some.txt", stories.StoryQuestions()
    path.write_text("\n".join([data.read_text(encoding="utf-8"), *rare("shop", 60)]), encoding="utf-8")
    loaded = read_stories(str(path))
    task = program.make_task(loaded, Settings(), None)
    (name, tests), words = *loaded.tests.items(), task.words
    assert words.words == Words.of(t for s in loaded.train for line in s for t in (line.text, line.answer)).words
    told = capsys.readouterr().err.splitlines()
    for part, what in ((tests, name), (loaded.validation, "stories to validate by")):
        strange = [story[0] for story in part if words.unknown(story[0].text)]
        assert 0 < len(strange) < len(part)
        (word,) = words.unknown(strange[0].text)
        line = f"note: {what}: left out {len(strange)} stories of {len(part)}, with words that no"
        line += f" story of the training has, such as '{word}' (line {strange[0].number}) (and {len(strange) - 1} more)"
        assert line in told
        assert word in path.read_text(encoding="utf-8").splitlines()[strange[0].number - 1]
    assert len(task.validation) == len(loaded.validation) - len(strange)
    opened = SimpleNamespace(path=run.joinpath)  # a run that is resumed keeps its vocabulary
    assert (
        program.make_task(read_stories(str(data)), Settings(), opened).words.words
        == Words.load(run / "vocabulary.json").words
    )
    path.write_text("\n".join(rare("shop", 20)), encoding="utf-8")
    message = "unseen stories: each of 2 stories has words that no story of the training has, such as 'shop"
    refused(capsys, message, "train", "--data", path, "--out", tmp_path / "run")
    refused(
        capsys,
        "; give more stories, so that each word is in several",
        "train",
        "--data",
        path,
        "--out",
        tmp_path / "run",
    )
    message = "'shop0' (line 1); write them by words that it has (Anna, Ben, Where, hall, "
    refused(capsys, message, "evaluate", "--run", run, "--data", path)
    path.write_text(
        "\n\n".join([*data.read_text(encoding="utf-8").split("\n\n")[:3], *rare("shop", 1)]), encoding="utf-8"
    )
    assert call("evaluate", "--run", run, "--data", path) == 0
    captured = capsys.readouterr()
    assert (
        "left out 1 story of 4, with words" in captured.err
        and "stories of some.txt: 3 stories, 3 questions" in captured.out
    )


def test_asking(run, capsys, monkeypatch):
    capsys.readouterr()
    story = ["so so very quite, Ben ran to the inn.", "where is ben?"]
    story[0] = "\ufeff" + story[0]  # a byte-order mark is no part of a line
    assert call("ask", "--run", run, *story) == 0
    assert capsys.readouterr().out == "where is ben? inn\n"
    lines = io.TextIOWrapper(io.BytesIO("\n".join(story).encode()), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", lines)
    assert call("ask", "--run", run) == 0
    assert capsys.readouterr().out == "where is ben? inn\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"so\xff\n"), encoding="utf-8"))
    refused(capsys, "standard input line 1 is not UTF-8", "ask", "--run", run)
    refused(capsys, "the model has never read 'Zoe'", "ask", "--run", run, "Zoe ran to the inn.")
    refused(capsys, "ends like a question", "ask", "--run", run, "Ben ran to the inn.", "Where is Ben\uff1f")
    refused(capsys, "asks before anything is told", "ask", "--run", run, "Where is Ben?")
    refused(
        capsys,
        "words, the model reads 240; begin a new one",
        "ask",
        "--run",
        run,
        *["Ben ran to the inn."] * 50,
        "Where is Ben?",
    )


def test_writing(tmp_path, capsys):
    path = tmp_path / "some.txt"
    assert call("write", "--output", path, "--count", 20) == 0
    assert len(read_stories(str(path), whole=True).tests["stories of some.txt"]) == 20
    refused(capsys, "cannot write", "write", "--output", tmp_path / "no" / "some.txt", "--count", 20)


def test_settings_that_are_refused(capsys, data, tmp_path):
    for message, *given in (
        ("stories to train on, each of more than 5 words", "--max-length", 5),
        ("--layers 0: it must be at least 1", "--layers", 0),
        ("--heads 5 do not divide --d-model 96", "--heads", 5),
    ):
        refused(capsys, message, "train", "--data", data, "--out", tmp_path / "run", *given)


def test_a_changed_vocabulary_is_refused(run, capsys):
    path = run / "vocabulary.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(json.dumps({"characters": "abc"}), encoding="utf-8")
    refused(capsys, "is damaged or not a vocabulary of words", "ask", "--run", run, "Anna ran.")
    path.write_text(whole, encoding="utf-8")
