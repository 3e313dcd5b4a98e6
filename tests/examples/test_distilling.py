"""`train --teachers RUN,RUN`: what is learned of them, what they decide, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import translate
from phrases import PAIRS, same, train, write_parts
from scripts import caller, refuser, unreported, write_parallel
from toolkit.console import UserError
from toolkit.corpus import Corpus
from toolkit.pairs import batch_loss
from toolkit.recipes import check_same_recipe
from toolkit.runs import Run
from toolkit.teachers import Teachers
from toolkit.tokenizer import PAD, Tokenizer
from toolkit.translation import Settings, Task, make_model

import minitensor as mt
import minitensor.nn.functional as F

TINY = dict(d_model=8, layers=1, heads=2, d_ff=16, max_tokens=60, steps=2)
SHAPE = "--layers 1 --d-model 8 --heads 2 --d-ff 16 --vocab 300 --max-length 20 --dropout 0.2".split()
STUDENT = "--layers 1 --d-model 8 --heads 2 --d-ff 16".split()
LEARN = "--lr 0.01 --schedule constant --warmup 2 --max-tokens 100 --steps 4 --validate-every 2".split()

run_it = caller(translate.main)
call = unreported(run_it)
refused = refuser(run_it)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([text for pair in PAIRS for text in pair], 300)


@pytest.fixture
def teachers(tokenizer):
    """A Transformer and a recurrent network, as they are made."""
    shapes = dict(TINY, seed=1), dict(arch="gru", layers=1, d_model=6, hidden=5, seed=2)
    models = [make_model(Settings(**shape), tokenizer.vocab_size, "cpu").eval() for shape in shapes]
    return Teachers(models, weight=0.7)


def task(tokenizer, teachers, **changes):
    return Task(Corpus(PAIRS, PAIRS[:4], {}), tokenizer, Settings(**{**TINY, **changes}), teachers)


def softmax(logits):
    """By its definition, in float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("r_drop", [0.0, 2.0])
def test_the_loss_is_that_of_references_and_of_the_teachers_mean(tokenizer, teachers, r_drop):
    made = task(tokenizer, teachers, dropout=0.3, r_drop=r_drop, label_smoothing=0.1)
    batch, model = max(made.epoch(0), key=len), made.model.train()
    mt.random.seed(5)
    loss = made.loss(batch, batch.tokens).item()
    copies = 2 if r_drop else 1
    one = batch.source, batch.target_in, batch.source_mask
    mt.random.seed(5)
    logits = model(*(np.repeat(array, copies, axis=0) for array in one)).detach().astype("float64")
    wanted = np.mean([softmax(teacher(*one).numpy().astype("float64")) for teacher in teachers.models], axis=0)
    total = 0.0
    for half in range(copies):
        its, real = logits[half::copies], batch.target_out != PAD
        hard = F.cross_entropy(its, batch.target_out, ignore_index=PAD, label_smoothing=0.1).item()
        soft = -(wanted * np.log(softmax(its.numpy()))).sum(axis=-1)[real].mean()
        total += (0.3 * hard + 0.7 * soft) / copies
    if r_drop:
        apart = F.symmetric_kl_div(mt.stack([logits[::2], logits[1::2]], axis=1)).numpy()
        total += r_drop / 2 * apart[batch.target_out != PAD].sum() / batch.tokens
    assert loss == pytest.approx(total, rel=1e-5)


def test_what_one_knows_already_has_no_gradient(tokenizer, teachers):
    """By a weight of 1 the loss of a copy of the only teacher is at its least."""
    model = teachers.models[0]
    made = task(tokenizer, None, dropout=0.0)
    batch = made.epoch(0)[0]
    lengths = []
    for known in ([model], teachers.models):
        made.model.load_state_dict(model.state_dict())
        made.model.zero_grad()
        batch_loss(made.model.train(), batch, batch.tokens, "cpu", 0.0, Teachers(known, 1.0)).backward()
        lengths.append(sum(float((p.grad.numpy() ** 2).sum()) for p in made.model.parameters()) ** 0.5)
    assert lengths[0] < 1e-6 < 1e-3 < lengths[1]


def test_teachers_get_no_gradient_and_draw_nothing(tokenizer, teachers):
    made = task(tokenizer, teachers, dropout=0.3)
    batch = made.epoch(0)[0]
    mt.random.seed(5)
    model = made.model.train()
    made.loss(batch, batch.tokens).backward()
    after = mt.random.default.state
    assert all(parameter.grad is None for one in teachers.models for parameter in one.parameters())
    mt.random.seed(5)
    model(batch.source, batch.target_in, batch.source_mask)
    assert mt.random.default.state == after


@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_parts_of_a_batch_add_up_to_the_whole(tokenizer, teachers, r_drop):
    made = task(tokenizer, teachers, dropout=0.0, attention_dropout=1e-9, r_drop=r_drop)
    batch = max(made.epoch(0), key=len)
    assert len(batch) > 3
    made.model.train()
    whole = made.loss(batch, batch.tokens).item()
    assert sum(made.loss(part, batch.tokens).item() for part in batch.split(3)) == pytest.approx(whole, rel=1e-5)


def test_validation_is_by_the_references_alone(tokenizer, teachers):
    made = task(tokenizer, teachers, label_smoothing=0.1)
    made.model.eval()
    losses = made.validate()
    made.teachers = None
    assert made.validate() == losses


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("data"), PAIRS)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Two trained runs, of unlike architectures and the same sub-words."""
    folder = tmp_path_factory.mktemp("runs")
    assert call(*train(data, folder / "one", *SHAPE, *LEARN)) == 0
    shape = "--arch gru --d-model 6 --hidden 5 --vocab 300 --max-length 20".split()
    assert call(*train(data, folder / "two", *shape, *LEARN)) == 0
    return [folder / "one", folder / "two"]


def named(runs):
    return ",".join(map(str, runs))


def config(run):
    return json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]


def test_the_sub_words_are_those_of_the_teachers(data, runs, tmp_path):
    splits = {"train": [(source.upper(), target.upper()) for source, target in PAIRS], "val": PAIRS[:2]}
    (tmp_path / "others").mkdir()
    others = write_parallel(tmp_path / "others", ("en", "fr"), splits)
    assert call(*train(others, tmp_path / "run", "--teachers", named(runs), *STUDENT, *LEARN)) == 0
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (runs[0] / "tokenizer.json").read_bytes()
    made = config(tmp_path / "run")
    assert (made["vocab"], made["teachers"], made["teacher_weight"]) == (300, named(runs), 0.5)
    assert made["max_length"] == 20  # the teachers read no more


def test_all_teachers_are_there_as_they_were_trained(runs, tmp_path, capsys):
    settings = Settings(**TINY, teachers=named(runs), teacher_weight=0.9, max_length=20)
    opened = translate.Translate().open_teachers(settings)
    assert [type(one).__name__ for one in opened.models] == ["Transformer", "Seq2Seq"] and opened.weight == 0.9
    for one, run in zip(opened.models, runs, strict=True):
        assert not one.training and same(one.state_dict(), mt.load(run / "weights.safetensors"))
    shutil.copytree(runs[0], tmp_path / "one")
    (tmp_path / "one" / "weights.safetensors").unlink()
    capsys.readouterr()
    stopped = translate.Translate().open_teachers(dataclasses.replace(settings, teachers=str(tmp_path / "one")))
    assert "these are its best weights so far" in capsys.readouterr().err
    assert same(stopped.models[0].state_dict(), mt.load(runs[0] / "checkpoints" / "best.safetensors"))


def test_a_mean_is_of_the_pupils_of_the_same_teachers(data, runs, tmp_path, capsys):
    for one in runs:
        shutil.copytree(one, tmp_path / one.name)
    teachers, (first, second, third) = [tmp_path / one.name for one in runs], (tmp_path / name for name in "abc")
    usual = [*STUDENT, *LEARN, "--teachers"]
    assert call(*train(data, first, *usual, named(teachers))) == 0
    assert call(*train(data, second, "--seed", 1, *usual, named(teachers[::-1]))) == 0
    shutil.copy(second / "weights.safetensors", teachers[0] / "weights.safetensors")
    assert call(*train(data, third, "--seed", 2, *usual, named(teachers))) == 0
    opened = [Run.open(one, "translate", Settings) for one in (first, second, third)]
    capsys.readouterr()
    check_same_recipe(opened[0], [opened[1]])
    assert "learned from the same teachers" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"c has learned from other teachers than .*a, or from other weights"):
        check_same_recipe(opened[0], [opened[2]])


def test_a_run_is_resumed_by_the_same_teachers_alone(data, runs, tmp_path, monkeypatch, capsys):
    for one in runs:
        shutil.copytree(one, tmp_path / one.name)
    run = tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    usual = train(data, run, "--teachers", "one,two", "--start-from", "one", "--teacher-weight", 1, *LEARN)
    assert call(*usual) == 0
    done = (run / "weights.safetensors").read_bytes()
    assert call(*train(data, tmp_path / "alone", "--start-from", "one", *LEARN)) == 0
    assert (tmp_path / "alone" / "weights.safetensors").read_bytes() != done
    short = [*usual[:-3], 2, "--validate-every", 2]
    assert call(*short, "--force") == 0 and (run / "weights.safetensors").read_bytes() != done
    monkeypatch.chdir(run)
    assert call("train", "--resume", "--out", run, "--steps", 4) == 0
    assert (run / "weights.safetensors").read_bytes() == done
    shutil.copy(tmp_path / "alone" / "weights.safetensors", tmp_path / "one")
    refused(capsys, "one have changed since", "train", "--resume", "--out", run, "--steps", 6)
    shutil.rmtree(tmp_path / "two")
    refused(capsys, f"there is no {tmp_path / 'two'}", "train", "--resume", "--out", run, "--steps", 6)


def test_what_teachers_have_seen_of_the_tests_is_told(data, runs, tmp_path, capsys):
    splits = {"train": PAIRS[10:], "val": PAIRS[18:], "test": PAIRS[:4]}
    (tmp_path / "seen").mkdir()
    seen = write_parallel(tmp_path / "seen", ("en", "fr"), splits)
    said = [f"of 4 inputs to be tested by, {one} was trained on 4" for one in runs]
    assert run_it(*train(seen, tmp_path / "run", "--teachers", named(runs), *STUDENT, *LEARN)) == 0
    told = capsys.readouterr().err
    assert [told.count(line) for line in said] == [1, 1]
    assert run_it("evaluate", "--run", tmp_path / "run") == 0
    told = capsys.readouterr().err
    assert [told.count(line) for line in said] == [1, 1]
    assert call(*train(seen, tmp_path / "plain", "--vocab", 300, *STUDENT, *LEARN)) == 0
    for one, other in (("plain", "run"), ("run", "run")):
        capsys.readouterr()
        assert run_it("evaluate", "--run", tmp_path / one, "--against", tmp_path / other) == 0
        told = capsys.readouterr().err
        assert [told.count(line) for line in said] == [1, 1]  # each once, whichever has learned from it


def test_check_counts_the_teachers_too(data, runs, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Teachers, "probabilities", lambda *given, its=Teachers.probabilities: asked.append(1) or its(*given)
    )
    given = ["--data", data, "--source", "en", "--target", "fr", *STUDENT]
    assert run_it("check", *given, "--teachers", named(runs)) == 0 and len(asked) >= 5
    asked.clear()
    assert run_it("check", *given) == 0 and not asked


def test_what_cannot_teach_is_refused_before_a_folder_is_made(data, runs, tmp_path, capsys, monkeypatch):
    run, both = tmp_path / "run", named(runs)
    usual = train(data, run, "--teachers")
    refused(capsys, "with --vocab 300; leave out --vocab", *usual, both, "--vocab", 310)
    refused(capsys, "with --no-moses; leave out --moses", *usual, both, "--moses")
    refused(capsys, "has an empty name", *usual, "")
    refused(capsys, "has an empty name", *usual, f"{both},")
    refused(capsys, "names " + str(runs[0] / ".") + " twice", *usual, f"{runs[0]}/.,{runs[0]}")
    refused(capsys, f"there is no {tmp_path / 'none'}; a comma is between two runs", *usual, f"{tmp_path / 'none'},x")
    refused(capsys, "is not a run: it has no config.json", *usual, tmp_path)
    refused(capsys, "is one of --teachers too", *train(data, runs[0], "--teachers", both, "--force"))
    refused(capsys, "reads up to 20 tokens, and what is trained 30", *usual, both, "--max-length", 30)
    refused(capsys, "must be above 0, and at most 1", *usual, both, "--teacher-weight", 0)
    refused(capsys, "must be above 0, and at most 1", *usual, both, "--teacher-weight", 1.5)
    refused(capsys, "is that of --teachers", *train(data, run, "--teacher-weight", 0.5))
    turned = train(data, run, "--teachers", both, languages=("fr", "en"))
    refused(capsys, "its weights are not for --source fr --target en", *turned)
    (tmp_path / "others").mkdir()
    upper = {"train": [(source.upper(), target.upper()) for source, target in PAIRS], "val": PAIRS[:2]}
    others = write_parallel(tmp_path / "others", ("en", "fr"), upper)
    assert call(*train(others, tmp_path / "other", *SHAPE, *LEARN)) == 0
    refused(capsys, "have unlike sub-words", *usual, f"{both},{tmp_path / 'other'}")
    refused(capsys, "have unlike sub-words", *usual, both, "--start-from", tmp_path / "other")
    shutil.copytree(runs[0], tmp_path / "moses")
    changed = (runs[0] / "config.json").read_text(encoding="utf-8").replace('"moses": false', '"moses": true')
    (tmp_path / "moses" / "config.json").write_text(changed, encoding="utf-8")
    refused(capsys, "moses was trained with --moses", *usual, f"{both},{tmp_path / 'moses'}")
    refused(capsys, "with --no-moses", *usual, both, "--start-from", tmp_path / "moses")
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(runs[0] / name, untrained / name)
    refused(capsys, "has no trained weights yet", *usual, untrained)
    odd = tmp_path / "a,b"
    odd.mkdir()
    monkeypatch.chdir(odd)
    refused(capsys, "has a comma", *usual, "one")
    assert not run.exists()
