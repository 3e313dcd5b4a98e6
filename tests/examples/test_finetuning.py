"""Fine-tuning on few examples: the plan, and the two programs that have no other place for it."""

import dataclasses
import re

import language_model
import numpy as np
import pytest
import text_to_text
from scripts import caller, unreported
from toolkit import console, finetuning, text_tasks
from toolkit.answering import Answerer, Settings, make_model
from toolkit.corpus import Corpus
from toolkit.documents import cut_documents, split_documents
from toolkit.few_pairs import pairs_of, without
from toolkit.finetuning import PRETRAINED, SCRATCH, Plan, compare, draw_curves, shuffled
from toolkit.language import presets
from toolkit.runs import Run
from toolkit.text_tasks import corpus, task_of

TEXTS = {
    "kitchen": ("cook baker child", "boils fries tastes", "soup rice bread"),
    "garden": ("gardener bee robin", "plants waters visits", "rose tree hedge"),
}
GPT = "--d-model 16 --heads 2 --layers 1 --vocab 300 --window 24 --batch 8 --warmup 2 --steps 4 --validate-every 4".split()
T5 = (
    "--d-model 16 --heads 2 --layers 1 --d-ff 32 --vocab 400 --max-length 40 --max-tokens 300 "
    "--warmup 2 --steps 4 --validate-every 4"
).split()


gpt_call, t5_call = caller(language_model.main), caller(text_to_text.main)


# --- the plan -------------------------------------------------------------------------------------


def test_both_starts_get_the_same_examples_and_their_own_rate(monkeypatch, tmp_path, capsys):
    seen, rates = [], []

    def fine_tune(task, plan, lr, seed):
        rates.append((task[0], lr))
        share = {PRETRAINED: 0.5, SCRATCH: 0.25}[task[0]] + (0.1 if seed else 0)
        return [(plan.steps, share)]

    monkeypatch.setattr(finetuning, "fine_tune", fine_tune)
    plan = Plan((4, 16), 2, 7, {PRETRAINED: 1e-3, SCRATCH: 2e-3})
    compare(plan, lambda *task: seen.append(task) or task, "examples", tmp_path / "a.png", "right")
    assert seen == [(start, n, seed) for n in (4, 16) for seed in (0, 1) for start in (PRETRAINED, SCRATCH)]
    assert set(rates) == {(PRETRAINED, 1e-3), (SCRATCH, 2e-3)}
    printed = capsys.readouterr().out
    assert printed.count("  examples: 4\n") == printed.count("  examples: 16\n") == 1
    assert "    pre-trained    55.0% right after 7 updates (50.0%, 60.0%)" in printed
    assert "    from scratch   30.0% right after 7 updates (25.0%, 35.0%)" in printed
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_chosen_by_the_validation_part_is_not_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(finetuning, "fine_tune", lambda *_: [(1, 0.5)])
    plan = Plan((4,), 1, 1, dict.fromkeys((PRETRAINED, SCRATCH), 1e-3), validate=True)
    compare(plan, lambda *task: task, "examples", tmp_path / "a.png", "right")
    assert not (tmp_path / "a.png").exists()


def test_more_examples_include_the_fewer_ones():
    order = shuffled(100, 3)
    assert sorted(order.tolist()) == list(range(100)) and not np.array_equal(order, shuffled(100, 4))
    assert np.array_equal(order, shuffled(100, 3))


def test_an_axis_of_amounts_is_marked_at_them(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(finetuning, "save_figure", lambda figure, path: drawn.append(figure))
    curves = {
        name: [[(2, 0.1), (8, share)], [(2, 0.2), (8, share)]] for name, share in ((PRETRAINED, 0.9), (SCRATCH, 0.3))
    }
    draw_curves(curves, tmp_path / "a.png", "examples", "right", (2, 8))
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "8"]
    means = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(means, [[0.15, 0.9], [0.15, 0.3]])


# --- GPT: topics of documents ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """A folder of two topics."""
    folder = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(0)
    for topic, words in TEXTS.items():
        columns = [draw.choice(column.split(), 600) for column in words]
        lines = [f"The {subject} no. {n} {verb} the {thing}." for n, (subject, verb, thing) in enumerate(zip(*columns))]
        (folder / f"{topic}.txt").write_text(" ".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def gpt(topics, tmp_path_factory):
    """A run of documents with hardly any training."""
    folder = tmp_path_factory.mktemp("gpt") / "run"
    assert unreported(gpt_call)("train", "--documents", "--data", topics, "--out", folder, *GPT) == 0
    return folder


def test_a_gpt_reads_no_document_that_it_is_tested_by(topics):
    text = language_model.LanguageModel().load({"path": str(topics), "documents": True})
    texts = {path.stem: path.read_text(encoding="utf-8") for path in topics.iterdir()}
    train, validation, test = split_documents(cut_documents(texts))
    assert len(test) > 5
    assert all(sentence in text for document in (*train, *validation) for sentence in document.sentences)
    assert not any(sentence in text for document in test for sentence in document.sentences)


def test_topics_are_learned_by_a_gpt(gpt, capsys):
    capsys.readouterr()
    assert gpt_call("finetune", "--run", gpt, "--labels", 2, 4, "--seeds", 1, "--steps", 2) == 0
    printed = capsys.readouterr().out
    assert "2 topics (garden, kitchen)" in printed and "held-out documents" in printed
    assert len(re.findall(r"pre-trained +[\d.]+% right after 2 updates", printed)) == 2
    assert (gpt / "finetune.png").read_bytes()[:4] == b"\x89PNG"
    assert (
        gpt_call("finetune", "--run", gpt, "--seeds", 1, "--steps", 1, "--validate", "--lr", 0.1, "--pooling", "last")
        == 0
    )
    assert "validation documents" in capsys.readouterr().out
    assert gpt_call("finetune", "--run", gpt, "--labels", 2, 9999) == 2
    printed = capsys.readouterr()
    assert re.search(r"--labels 9999: the topic '(garden|kitchen)' has \d+ passages to train on; give", printed.err)
    assert "updates" not in printed.out


def test_documents_are_read_as_sub_words_by_a_gpt_unless_other_is_given():
    chosen = presets({}, embedded=True, documents=True)
    assert (chosen["arch"], chosen["tokens"]) == ("gpt", "bpe")
    recurrent = presets({"arch": "gru", "hidden": 8}, embedded=True, documents=True)
    assert recurrent["tokens"] == "bpe" and "layers" not in recurrent


def test_only_a_gpt_of_these_documents_is_fine_tuned(gpt, topics, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for path in topics.iterdir():
        (other / path.name).write_text("The start. " + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert gpt_call("finetune", "--run", gpt, "--data", other) == 2
    assert "not those that the run was pre-trained on" in capsys.readouterr().err
    plain = tmp_path / "plain"
    capsys.readouterr()
    assert unreported(gpt_call)("train", "--data", topics / "garden.txt", "--arch", "gpt", "--out", plain,
                *"--d-model 8 --heads 2 --layers 1 --window 8 --steps 1 --warmup 1".split()) == 0  # fmt: skip
    assert gpt_call("finetune", "--run", plain) == 2
    assert "make one by train --documents" in capsys.readouterr().err


# --- T5: a task that was left out -----------------------------------------------------------------


@pytest.fixture(scope="module")
def few():
    return corpus(sizes={"plural": 150, "negate": 150, "sort": 60}, held_out=12)


@pytest.fixture(scope="module")
def t5(few, tmp_path_factory):
    """A run that has learned a little of two tasks."""
    folder = tmp_path_factory.mktemp("t5") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tasks, "corpus", lambda: few)
        assert unreported(t5_call)("train", "--without", "negate", "--out", folder, *T5) == 0
    return folder


def test_a_task_that_is_left_out_is_nowhere(few):
    rest = without(few, ["negate", "sort"])
    assert list(rest.tests) == ["plural"]
    assert {task_of(source) for source, _ in (*rest.train, *rest.validation)} == {"plural"}
    assert [len(part) for part in pairs_of(few, "negate")] == [150, 12, 12]
    assert without(few, []) == few
    for tasks, message in ((["add"], "there is no task 'add'"), (list(few.tests), "leaves out all")):
        with pytest.raises(console.UserError, match=message):
            without(few, tasks)


def test_a_task_is_learned_from_few_pairs(t5, few, capsys, monkeypatch):
    monkeypatch.setattr(text_tasks, "corpus", lambda: few)
    capsys.readouterr()
    assert t5_call("finetune", "--run", t5, "--examples", 4, 8, "--seeds", 1, "--steps", 2) == 0
    printed = capsys.readouterr().out
    assert "fine-tuning on 'negate'" in printed and "12 inputs of the test part" in printed
    assert len(re.findall(r"from scratch +[\d.]+% right after 2 updates", printed)) == 2
    assert t5_call("finetune", "--run", t5, "--task", "sort") == 2
    assert "was not made by train --without sort" in capsys.readouterr().err
    assert t5_call("finetune", "--run", t5, "--examples", 4, 99_999) == 2
    assert re.search(r"--examples 99999: 'negate' has \d+ pairs to train on", capsys.readouterr().err)


def test_other_pairs_are_refused(t5, few, capsys, monkeypatch):
    monkeypatch.setattr(text_tasks, "corpus", lambda: Corpus(few.train[1:], few.validation, few.tests))
    assert t5_call("finetune", "--run", t5) == 2
    assert "not those that the run was trained on" in capsys.readouterr().err


def test_fine_tuning_starts_from_the_weights_of_the_run_and_leaves_them(t5, few, monkeypatch, tmp_path):
    from toolkit import few_pairs

    run = Run.open(t5, "text-to-text", Settings, ["without"])
    known = Answerer.of(run)
    before = {name: np.array(value.data) for name, value in known.model.state_dict().items()}
    tasks = {}
    monkeypatch.setattr(
        few_pairs, "compare", lambda plan, make_task, *_: tasks.update({s: make_task(s, 5, 1) for s in plan.rates})
    )
    plan = Plan((5,), 1, 1, dict.fromkeys((PRETRAINED, SCRATCH), 1e-3))
    few_pairs.compare_few_pairs(plan, few, "negate", known, run.settings, tmp_path / "a.png")
    assert len(tasks[PRETRAINED].batches) == len(tasks[SCRATCH].batches) == 5
    short = dataclasses.replace(run.settings, max_length=12)  # of pairs too long for it none counts as an example
    with pytest.raises(
        console.UserError, match=r"--examples 5: 'negate' has [0-4] pairs? to train on that the model can"
    ):
        few_pairs.compare_few_pairs(plan, few, "negate", known, short, tmp_path / "a.png")
    for name, value in tasks[PRETRAINED].model.state_dict().items():
        assert np.array_equal(value.data, before[name])
    fresh = make_model(Settings(**{**vars(run.settings), "seed": 1}), known.tokenizer.vocab_size, "cpu").state_dict()
    for name, value in tasks[SCRATCH].model.state_dict().items():
        assert np.array_equal(value.data, fresh[name].data)
    assert tasks[PRETRAINED].model is not known.model
