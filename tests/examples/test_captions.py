"""The captioning script: what it claims at a small setting, a person's files, what it refuses."""

import json
import re

import captions
import numpy as np
import pytest
from scripts import caller, refuser
from toolkit import captioned, looking
from toolkit.captioned import drawn, exactly_right, most_frequent, of_nearest, read_captions, read_image
from toolkit.captioning import Describer, Settings, Task, learn_tokenizer, make_model, model_input, presets
from toolkit.console import UserError
from toolkit.looking import looking_head, on_objects

import minitensor as mt

TINY = "--d-model 16 --d-ff 24 --heads 2 --layers 1 --vocab 300 --batch 8 --epochs 20 --lr 0.01 --warmup 5 --dropout 0".split()

call = caller(captions.main)
refused = refuser(call)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright and dark images of three kinds of file, in two languages; two lines have no French."""
    from matplotlib.image import imsave

    folder, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    lines = ["image\tEnglish\tFrench"]
    for i in range(40):
        bright = i % 2
        pixels = (0.7 * bright + 0.3 * draw.random((10, 12, 3))).astype(np.float32)
        name = f"{i}.{'png' if i % 3 else 'npy'}"
        if i % 3:
            imsave(folder / name, pixels)
        else:
            np.save(folder / name, pixels)
        lines.append(f"{name}\t{('dark', 'bright')[bright]}\t{('sombre', 'clair')[bright] if i > 1 else ''}")
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "captions.tsv"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--data", data, "--side", 8, "--out", folder, *TINY) == 0
    return folder


def test_it_learns_and_says_how_well(run, capsys):
    assert call("evaluate", "--run", run) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^4 unseen images +English +French$", printed, re.M)
    rows = dict(re.findall(r"^  (\S.*?) {2,}(\d.*)$", printed, re.M))
    assert rows["exactly right: network"].split() == ["100.0", "%"] * 2
    assert rows["nearest image in pixels"].split() == ["100.0", "%"] * 2
    assert float(rows["most frequent caption"].split()[0]) < 90
    assert "attention" not in printed  # nobody knows where things are
    for name in ("captions.png", "loss.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert json.loads((run / "languages.json").read_text(encoding="utf-8")) == ["English", "French"]


def test_describing(run, data, tmp_path, capsys):
    for name, value in (("dark", 0.1), ("bright", 0.9)):
        np.save(tmp_path / f"{name}.npy", np.full((5, 5), value))
    images = [tmp_path / "bright.npy", tmp_path / "dark.npy"]
    capsys.readouterr()
    for how in ((), ("--beam", 3)):
        assert call("describe", "--run", run, *images, *how) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [
            str(images[0]),
            "  English: bright",
            "  French: clair",
            str(images[1]),
            "  English: dark",
            "  French: sombre",
        ]
    assert call("describe", "--run", run, images[0], "--output", tmp_path / "picture") == 0
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    refused(capsys, "No such file", "describe", "--run", run, tmp_path / "none.png")
    refused(capsys, "there is no folder", "describe", "--run", run, images[0], "--output", tmp_path / "none" / "a.png")
    refused(
        capsys,
        ".jpgg is the ending of no picture",
        "describe",
        "--run",
        run,
        images[0],
        "--output",
        tmp_path / "a.jpgg",
    )
    assert "bright" not in capsys.readouterr().out  # it is refused before the work


@pytest.mark.slow
def test_a_resumed_run_is_the_run_left_alone(data, tmp_path):
    how = [
        *"--d-model 8 --d-ff 8 --heads 1 --layers 1 --vocab 300 --schedule constant --dropout 0.2".split(),
        "--data",
        data,
    ]
    assert call("train", "--out", tmp_path / "parts", "--steps", 2, *how) == 0
    assert call("train", "--resume", "--out", tmp_path / "parts", "--steps", 4) == 0
    assert call("train", "--out", tmp_path / "whole", "--steps", 4, *how) == 0
    parts, whole = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole"))
    assert parts == whole


def test_other_data(run, data, tmp_path, capsys):
    lines = data.read_text(encoding="utf-8").splitlines()
    (data.parent / "others.tsv").write_text("\n".join([lines[0], *lines[5:9]]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert call("evaluate", "--run", run, "--data", data.parent / "others.tsv") == 0
    captured = capsys.readouterr()
    assert "4 images of others.tsv" in captured.out and "nearest image" in captured.out
    assert " to be tested by, " in captured.err
    plain = data.parent / "plain.tsv"
    plain.write_text("1.png\tbright\n", encoding="utf-8")
    refused(
        capsys,
        "plain.tsv does not name the language of its captions; the model knows: English, French; name what it has of these"
        " in the first line, such as: image<TAB>English",
        *("evaluate", "--run", run, "--data", plain),
    )
    german = data.parent / "german.tsv"
    german.write_text(f"image\tGerman\n{lines[5].split()[0]}\thell\n", encoding="utf-8")
    refused(
        capsys,
        "has captions in 'German'; the model knows: English, French",
        "evaluate",
        "--run",
        run,
        "--data",
        data.parent / "german.tsv",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.npy\n", "line 1 has 1 column separated by tabs; it must be image<TAB>caption"),
        (
            "a.npy\tx\ty\n",
            "line 1 has 3 columns separated by tabs; it must be image<TAB>caption (or have a line of names",
        ),
        (
            "foto\tText\na.npy\tx\n",
            "foto; if this line names the columns, the first must have one of the names: image, img",
        ),
        (
            "image\tEnglish\tFrench\na.npy\tx\n",
            "line 2 has 2 columns separated by tabs; it must be image<TAB>English<TAB>French",
        ),
        ("a.npy\tx\n\na.npy\t \n", "line 3 has no caption; write one, or remove it"),
        ("\tx\n", "line 1 has no image"),
        ("none.npy\tx\n", "line 1: cannot read"),
        ("bad.png\tx\n", "line 1: cannot read"),
        ("bad.npy\tx\n", "line 1: cannot read"),
        (
            "large.npy\tx\n",
            "holds float64 from 200 to 200; its values must be bytes (uint8), or floats from 0 to 1; divide",
        ),
        ("hole.npy\tx\n", "hole.npy holds nan at (1, 2, 0), and at 1 more place;"),
        (
            "ints.npy\tx\n",
            "ints.npy holds int64; its values must be bytes (uint8), or floats from 0 to 1; save it as pixels.astype(float)",
        ),
        ("grey.npy\tx\n", "; save it as pixels.astype(np.uint8)"),
        (
            "yes.npy\tx\n",
            "yes.npy holds bool; its values must be bytes (uint8), or floats from 0 to 1; save it as pixels.astype(float)",
        ),
        (
            "deep.npy\tx\n",
            "deep.npy holds int16 from 0 to 999; its values must be bytes (uint8), or floats from 0 to 1",
        ),
        ("flat.npy\tx\n", "has the shape (9,)"),
        ("a.npy\tx\n", "has 1 different image, too few to hold some out; 10 are needed"),
        ("image\n", "the first line must name a language for each column"),
        ("image\tx\tx\n", "each once"),
        ("image\tx\n", "holds no image"),
        ("", "holds no image"),
    ],
)
def test_bad_files(tmp_path, text, message):
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    np.save(tmp_path / "large.npy", np.full((4, 4), 200.0))
    np.save(tmp_path / "ints.npy", np.ones((4, 4), np.int64))
    np.save(tmp_path / "grey.npy", np.full((4, 4), 200))
    np.save(tmp_path / "yes.npy", np.ones((4, 4), bool))
    np.save(tmp_path / "deep.npy", np.array([[0, 999]], np.int16))
    np.save(tmp_path / "hole.npy", np.where(np.arange(16).reshape(4, 4) % 7 == 6, np.nan, 0.5))
    np.save(tmp_path / "flat.npy", np.zeros(9))
    for name in ("bad.png", "bad.npy"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n but cut short")
    (tmp_path / "file.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_captions(tmp_path / "file.tsv", 4)
    assert message in str(caught.value), caught.value


def test_an_encoding_is_refused(tmp_path):
    (tmp_path / "file.tsv").write_bytes("a.npy\t\u00e9toile\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_captions(tmp_path / "file.tsv", 4)


def test_a_file_without_names_and_equal_images(tmp_path):
    """Images with equal pixels stay together, and which are held out depends on pixels alone."""
    for i in range(20):
        np.save(tmp_path / f"{i}.npy", np.full((4, 4), i / 20))
        np.save(tmp_path / f"copy{i}.npy", np.full((4, 4), i / 20))
    lines = [f"{i}.npy\tgrey {i}\n" for i in range(20)]
    (tmp_path / "one.tsv").write_text("".join(lines), encoding="utf-8")
    both = ["File\tcaption\n", *lines[::-1], *(f"copy{i}.npy\tshade {i}\n" for i in range(20)), "0.npy\tgrey 0\n"]
    (tmp_path / "two.tsv").write_text("".join(both), encoding="utf-8")
    one, two = (read_captions(tmp_path / name, 2) for name in ("one.tsv", "two.tsv"))
    told = f"{tmp_path / 'two.tsv'}: of 41 images 21 repeat others; copies stay in one part"
    told += ", and those with the same captions, 1, are left out"
    assert one.notes == () and two.notes == (told,)
    assert one.languages == two.languages == ("caption",) and [
        len(part) for part in (one.train, one.validation, one.tests["unseen images"])
    ] == [16, 2, 2]
    for first, second in zip((one.train, *one.tests.values()), (two.train, *two.tests.values()), strict=True):
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert first.texts("caption") == [texts[:1] for texts in second.texts("caption")]
        assert all(len(texts) == 2 for texts in second.texts("caption"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_seen_upright(tmp_path, orientation):
    """As the library turns it that wrote it; `read_image` takes the middle square."""
    library, operations = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    pixels = np.random.default_rng(orientation).integers(0, 256, (12, 12, 3), np.uint8)
    made = library.fromarray(pixels)
    exif = library.Exif()
    exif[0x0112] = orientation
    made.save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(operations.exif_transpose(library.open(tmp_path / "a.png")))
    np.testing.assert_allclose(read_image(tmp_path / "a.png", 12), upright.transpose(2, 0, 1) / 255, atol=1e-6)
    assert (orientation == 1) == np.array_equal(upright, pixels)


def test_images_are_cropped_and_scaled(tmp_path):
    pixels = np.zeros((4, 8, 4), np.uint8)
    pixels[:, 2:4] = [255, 0, 51, 255]
    pixels[:, 4:6] = [0, 0, 0, 0]  # transparent
    np.save(tmp_path / "a.npy", pixels)
    found = read_image(tmp_path / "a.npy", 2)
    assert found.shape == (3, 2, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([[[1, 1]] * 2, [[0, 1]] * 2, [[0.2, 1]] * 2]), atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "a.npy", 1)[:, 0, 0], [1, 0.5, 0.6], atol=1e-6)
    np.testing.assert_allclose(
        read_image(tmp_path / "a.npy", 8)[:, 3, :4], found[:, 0, :1].repeat(4, axis=1), atol=1e-6
    )
    uneven = np.arange(9, dtype=np.float32).reshape(3, 3) / 9
    np.save(tmp_path / "b.npy", uneven)
    np.testing.assert_allclose(read_image(tmp_path / "b.npy", 2).mean(), uneven.mean(), atol=1e-6)


# --- drawn scenes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes():
    return drawn(40, 6)


def test_the_baselines_on_drawn_scenes(scenes):
    train = scenes.train
    for language in scenes.languages:
        assert exactly_right(of_nearest(train, train, language), train, language) == 1
        texts = [texts[0] for texts in train.texts(language)]
        assert max(map(texts.count, texts)) == texts.count(most_frequent(train, train, language)[0])
        for images in scenes.tests.values():  # no description is trained on
            assert exactly_right(of_nearest(train, images, language), images, language) == 0
            assert exactly_right([texts[0] for texts in images.texts(language)], images, language) == 1
    assert np.isnan(exactly_right(["x"] * 40, train, "German"))


def test_attention_is_measured_where_the_noun_is_written(scenes, monkeypatch):
    """Of a head that is on the right group alone all is on the named, of one on an empty region
    nothing is; and the mean of both is where the sharper one is.
    """
    images = next(iter(scenes.tests.values()))
    settings = Settings(d_model=4, heads=1, d_ff=4, layers=1, vocab=600)
    task = Task(scenes, learn_tokenizer(scenes.train, settings), settings)
    describer = Describer(task.model, task.tokenizer, task.languages)

    def attending(*away):
        def attention(pixels, ids, language):
            found = []
            for drawing in images.drawings:
                words, seen = drawing.scene.describe(language).replace(",", " ,").split(), []
                clause = 0
                for word in words:
                    clause += word == ","
                    on = drawing.masks[clause].reshape(4, 8, 4, 8).any(axis=(1, 3))
                    empty = np.arange(16).reshape(4, 4) == np.flatnonzero(~on)[0]
                    flat = np.where(on, 0.9 / on.sum(), 0.1 / (~on).sum())
                    seen.append([empty if head else flat for head in away])
                found.append((words, np.array(seen)))
            return found

        return attention

    for away, chosen, expected in (((0,), 0, (1, 1, 0.9)), ((1,), 0, (0, 0, 0)), ((1, 0), 1, (0, 1, 0.45))):
        monkeypatch.setattr(describer, "attention", attending(*away))
        assert looking_head(describer, images) == chosen
        for language in scenes.languages:
            *found, regions = on_objects(describer, images, language, chosen).values()
            assert found == pytest.approx(expected) and 0.06 < regions < 0.2
    monkeypatch.undo()
    texts = [drawing.scene.describe("French") for drawing in images.drawings]
    seen = describer.attention(images.pixels, task.tokenizer.encode_batch(texts), "French")
    for text, (words, weights) in zip(texts, seen, strict=True):
        assert words == text.replace(",", " ,").split()
        assert weights.shape == (len(words), 1, 4, 4)
        np.testing.assert_allclose(weights.sum(axis=(2, 3)), 1, rtol=1e-5)
    short = Settings(d_model=4, heads=1, d_ff=4, max_length=2)
    model = Describer(make_model(short, task.tokenizer.vocab_size, 2, 32, "cpu"), task.tokenizer, task.languages)
    assert looking_head(model, images) == 0  # each description is too long
    assert np.isnan(list(on_objects(model, images, "French", 3).values())).all()


def test_the_program_on_drawn_scenes(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(captions.captioned, "drawn", lambda: drawn(16, 2))
    options = "--encoder cnn --decoder gru --attention additive --d-model 8 --hidden 8 --layers 1 --steps 1 --vocab 400".split()
    assert call("train", "--out", tmp_path / "run", *options) == 0
    printed = capsys.readouterr().out
    for line in ("2 unseen scenes", "2 unseen triples", "2 unseen pairs"):
        assert printed.count(f"\n{line} ") == 1
    for line in looking.WHAT:
        assert printed.count(f"\n  {line} ") == 3
    assert "\none head: number 1, " in printed
    assert "reference: " in printed and (tmp_path / "run" / "captions.png").is_file()


def test_a_shape_is_as_bright_in_every_colour():
    red = np.zeros((1, 3, 2, 2), np.float32)
    red[0, 0] = [[0.9, 0.2], [0.0, 0.5]]
    found, other = (model_input(mt.asarray(pixels)).numpy() for pixels in (red, np.roll(red, 1, axis=1)))
    np.testing.assert_array_equal(found[:, :3], 2 * red - 1)
    np.testing.assert_array_equal(found[:, 3], 2 * red[:, 0] - 1)
    np.testing.assert_array_equal(found[:, 3], other[:, 3])


def test_a_gru_has_a_learning_rate_of_its_own():
    assert presets({}) == presets({"encoder": "cnn"}) == {}
    assert presets({"decoder": "gru"})["lr"] > Settings().lr


def test_what_is_refused(tmp_path, capsys):
    refused(capsys, "--side is for images of your own", "train", "--side", 16)
    refused(capsys, "--decoder transformer has no --hidden", "train", "--hidden", 8)
    refused(capsys, "--decoder gru has no --decoder-layers", "train", "--decoder", "gru", "--decoder-layers", 2)
    refused(
        capsys,
        "--encoder cnn with --decoder gru has no --heads",
        "train",
        "--encoder",
        "cnn",
        "--decoder",
        "gru",
        "--heads",
        2,
    )
    refused(capsys, "--heads 3 must divide --d-model 64", "train", "--heads", 3)
    for settings, side, message in (
        (
            Settings(patch=1, encoder="cnn"),
            20,
            "--patch 1 does not suit images of 20 pixels a side and --encoder cnn; take --patch 4 or 20",
        ),
        (Settings(patch=4), 6, "a side and --encoder patches; take --patch 1 or 2 or 3 or 6"),
        (Settings(encoder="cnn"), 6, "--encoder cnn; no other does; take another --side"),
    ):
        with pytest.raises(UserError, match=message):
            make_model(settings, 9, 1, side, "cpu")


def test_captions_that_are_too_long_are_left_out(scenes):
    tokenizer = learn_tokenizer(scenes.train, Settings())
    lengths = sorted(len(tokenizer.encode(text)) for captions in scenes.train.captions for _, text in captions)
    short = Settings(max_length=lengths[0] + 1, d_model=4, heads=1, d_ff=4)
    validation = captioned.Captioned(scenes.train.pixels, scenes.train.captions)
    splits = captioned.Splits(scenes.train, validation, scenes.tests, scenes.languages)
    task = Task(splits, tokenizer, short)
    kept = sum(length == lengths[0] for length in lengths)
    assert task.dropped == 2 * (len(lengths) - kept)
    assert sum(batch.tokens for batch in task.epoch(0)) == kept * (lengths[0] + 1)
    with pytest.raises(UserError, match="train with a larger --max-length"):
        Task(splits, tokenizer, Settings(max_length=2))
