"""From RNN to Transformer: the claims hold at a small setting, and each conclusion follows its
numbers whichever way they fall.
"""

import copy
import dataclasses
import math
import os

import numpy as np
import pytest
from claiming import CLAIMS, program, run
from claims import (
    bottleneck,
    clipping,
    depth,
    gradients,
    inference,
    mask,
    memory,
    networks,
    positions,
    processes,
    tasks,
    training,
)
from claims.report import Table, print_table
from toolkit.console import UserError

import minitensor as mt

# --- the claims -----------------------------------------------------------------------------------


def test_gradients(tmp_path, capsys):
    numbers, words = run("gradients", tmp_path, capsys)
    assert "vanishes in the RNN (gain 0.5), 0." in words
    assert "explodes in the RNN (gain 3), 1." in words
    survivors = words.split("survives in ")[1].split(". After")[0]
    assert "relu RNN (identity)" in survivors and "Transformer" in survivors
    assert "Only clipping makes it learn" in words or "times as large" in words
    assert {len(case["initial"]) for case in numbers["cases"]} == {numbers["distance"] + 1}


@pytest.mark.slow
def test_memory(tmp_path, capsys):
    _, words = run("memory", tmp_path, capsys)
    assert "lengthen what can be learnt" in words
    assert "is learning, not memory" in words
    assert "attention outlasts a state of fixed size" in words


@pytest.mark.slow
def test_bottleneck(tmp_path, capsys):
    numbers, words = run("bottleneck", tmp_path, capsys)
    assert "So attention removes the bottleneck" in words
    for model in numbers["models"]:
        assert model["right"] >= model["exact"]


def test_positions(tmp_path, capsys):
    numbers, words = run("positions", tmp_path, capsys)
    assert words.startswith("Without positions attention gives the same answer to the cat on the mat and the mat on")
    for one in numbers["runs"]["none"]:
        assert one["apart"] < 1e-3 and one["said"][0] == one["said"][1] and max(one["accuracy"]) < 0.75
    for kind in ("sinusoidal", "learned"):
        assert numbers["runs"][kind][0]["accuracy"][0] > 0.9 and numbers["runs"][kind][0]["apart"] > 0.5


def test_mask(tmp_path, capsys):
    numbers, words = run("mask", tmp_path, capsys)
    held, free = numbers["networks"]
    assert held["final"] > numbers["best"] > 2 * free["final"]  # what nobody can know has been read
    assert free["first"] > 0.9 and held["exact"] > 2 * free["exact"]
    assert words.endswith("what was learnt was to copy the answer.")


def test_depth(tmp_path, capsys):
    numbers, words = run("depth", tmp_path, capsys)
    deepest = {way: depth.passed(norms[-1]) for way, norms in numbers["norms"].items()}
    assert deepest["plain"] < 1e-9 and all(0.1 < deepest[way] < 10 for way in list(depth.WAYS)[2:])
    assert "the gradient vanishes in plain" in words
    for way in depth.WAYS:
        assert [len(norms) for norms in numbers["norms"][way]] == [n + 1 for n in numbers["depths"]]


def test_inference(tmp_path, capsys):
    numbers, words = run("inference", tmp_path, capsys)
    assert all(len(found) == len(numbers["lengths"]) and min(found) > 0 for found in numbers["speeds"].values())
    assert numbers["speeds"]["Transformer, training"][-1] > 2 * numbers["speeds"]["Transformer, writing"][-1]
    assert words.startswith("At T = 64 the Transformer trains on")


def test_claims_by_number(tmp_path):
    assert list(program.NUMBERED.values()) == list(CLAIMS.values())
    shown = []
    show, program.show = program.show, lambda name, *_: shown.append(name)
    try:
        program.main(["--claim", "6", "1", "--only", "depth", "--out", str(tmp_path)])
    finally:
        program.show = show
    assert shown == ["depth", "gradients", "mask"]


# --- conclusions follow the numbers ---------------------------------------------------------------


def case(name, last, accuracy, nearest=1.0):
    norms = [nearest, nearest, math.sqrt(nearest * last), last]
    return {"name": name, "kind": "lstm", "parameters": 1, "initial": norms, "trained": norms, "accuracy": accuracy}


def clipping_numbers(clipped, free, diverged=False):
    """Trainings at two rates that end with these losses."""
    runs = []
    for rate, losses in zip((0.01, 0.1), zip(clipped, free)):
        for loss, is_clipped in zip(losses, (True, False)):
            about = {"learning_rate": rate, "clipped": is_clipped, "largest_norm": 1.0}
            runs.append(about | {"losses": [2.0] * 40 + [loss] * 40, "diverged": diverged and not is_clipped})
    return {"distance": 9, "chance_loss": 2.0, "runs": runs}


def test_conclusion_about_gradients():
    numbers = {"distance": 3, "chance": 0.1, "clipping": clipping_numbers((0, 0), (0, 0))}
    numbers["cases"] = [case("A", 1e-6, 0.2), case("B", 1e6, 0.95), case("C", 0.5, 1.0)]
    words = gradients.conclusion(numbers)
    assert "vanishes in the A, 0.00 a step. It explodes in the B, 1000.00 a step. It survives in the C, 0.71" in words
    assert "recalled by the B and the C; not by the A." in words
    numbers["cases"] = [case("A", 1e6, 1.0), case("B", 1e-6, 0.2, nearest=1e-5)]
    words = gradients.conclusion(numbers)
    assert "the gradient explodes in the A" in words and "survives in the B" in words and "vanishes" not in words
    assert "recalled by the A; not by the B." in words


@pytest.mark.parametrize(
    ("clipped", "free", "diverged", "verdict"),
    [
        ((0.1, 0.1), (0.1, 2.0), False, "Clipping allows rates 10 times as large"),
        ((0.1, 0.1), (0.1, 0.1), False, "Clipping does not allow larger steps here"),
        ((2.0, 0.1), (2.0, 2.0), False, "Only clipping makes it learn"),
        (
            (0.1, 2.0),
            (0.1, 0.1),
            True,
            "2 of 2 trainings diverged or ended no better than guessing. Only clipping makes it learn",
        ),
        (
            (2.0, 2.0),
            (2.0, 0.1),
            False,
            "with clipping at no rate, without at 0.1 (soonest after 41 updates), where 1 of 2",
        ),
    ],
)
def test_conclusion_about_clipping(clipped, free, diverged, verdict):
    assert verdict in clipping.conclusion(clipping_numbers(clipped, free, diverged))


def memory_numbers(recall, curriculum, copied):
    """Accuracies at two distances, by network in the order RNN, LSTM, GRU, Transformer."""
    able = {0: [0.5, 0.1], 5: [0.95, 0.2], 50: [1.0, 0.9]}
    runs = {
        task: {kind: {"accuracy": able[reach]} for kind, reach in zip(networks.KINDS, reaches)}
        for task, reaches in zip(memory.TASKS, (recall, curriculum, copied))
    }
    return {"distances": dict.fromkeys(memory.TASKS, [5, 50]), "chance": 0.1, "n_copied": 3, "runs": runs}


def test_conclusion_about_memory():
    words = memory.conclusion(memory_numbers((5, 50, 5, 50), (50, 50, 50, 50), (0, 0, 5, 50)))
    assert (
        "over 50 steps by the LSTM and the Transformer, over 5 steps by the RNN and the GRU: the gates of the LSTM"
        in words
    )
    assert "lengthen what can be learnt, those of the GRU do not. Where" in words
    assert "what limits the RNN and the GRU is learning, not memory" in words
    assert (
        "over 5 steps by the GRU, not even over 5 by the RNN and the LSTM: after at most as many updates attention outlasts"
        in words
    )
    words = memory.conclusion(memory_numbers((50, 50, 50, 50), (50, 50, 50, 50), (50, 50, 50, 50)))
    assert (
        "gates do not lengthen" in words
        and "no network reaches further" in words
        and "attention does not outlast" in words
    )
    assert ": gates lengthen" in memory.conclusion(memory_numbers((5, 50, 50, 50), (5, 5, 5, 5), (5, 5, 5, 5)))


def bottleneck_numbers(none, additive, transformer):
    able = {0: [0.1, 0.0], 5: [0.9, 0.3], 20: [1.0, 0.95]}
    reaches = dict(zip(bottleneck.CASES, (*none, *additive, transformer)))
    models = [{"cell": cell, "attention": kind, "exact": able[reach]} for (cell, kind), reach in reaches.items()]
    return {"lengths": [5, 20], "n_symbols": 4, "models": models}


def test_conclusion_about_the_bottleneck():
    words = bottleneck.conclusion(bottleneck_numbers((0, 5, 5), (5, 20, 20), 20))
    assert (
        "the RNN 0 and 5; the LSTM 5 and 20; the GRU 5 and 20 symbols; the Transformer 20. So attention removes"
        in words
    )
    words = bottleneck.conclusion(bottleneck_numbers((0, 5, 5), (0, 20, 5), 0))
    assert "the Transformer 0. So attention helps the LSTM alone" in words
    words = bottleneck.conclusion(bottleneck_numbers((20, 20, 20), (20, 0, 20), 20))
    assert "So attention does not help here" in words


def positions_numbers(none, causal, sinusoidal, learned, apart=0.0):
    """Accuracies at two trained lengths and two longer ones, of two trainings each."""
    given = dict(none=none, causal=causal, sinusoidal=sinusoidal, learned=learned)
    runs = {
        kind: [
            {"parameters": 9, "said": ["cat", "mat"], "accuracy": row, "apart": apart} for row in (accuracy, [1.0] * 4)
        ]
        for kind, accuracy in given.items()
    }
    return {"lengths": [7, 16, 32, 64], "trained": 16, "runs": runs}


def test_conclusion_about_positions():
    low, trained, further, all_right = [0.5] * 4, [1.0, 0.95, 0.5, 0.1], [1.0, 1.0, 0.95, 0.3], [1.0] * 4
    numbers = positions_numbers(low, all_right, further, trained)
    words = positions.conclusion(numbers)
    assert "gives the same answer to the cat on the mat and the mat on the cat, and is right in 75%" in words
    assert "at least 90% are right with no positions, causal, sinusoidal and learned." in words
    assert "mask (still at 64 words), sinusoidal positions (up to 32 words), learned positions (no further)" in words
    assert "at 32 words 98% with sinusoidal and 75% with learned positions, at 64 words 65% with" in words
    assert positions.tables(numbers)[0].rows[:2] == [
        ("no positions", "75%", "75%", "75%", "75%"),
        ("  the worst of 2", "50%", "50%", "50%", "50%"),
    ]
    words = positions.conclusion(positions_numbers(low, low, low, low, apart=0.3))
    assert "attention tells apart the cat" in words and "are right with none of them." in words


def test_sentences_differ_by_the_place_of_their_nouns():
    generator = np.random.default_rng(0)
    for length in (7, 12):
        ids, sat = positions.sentences(generator, length, 60)
        for row, noun, other in zip(ids, sat, positions.swapped(ids)):
            words = [positions.WORDS[id] for id in row]
            assert len(words) == length and words[-1] == "who?" and words[0] == "the"
            place = words.index("sat")
            assert words[place - 1] == positions.NOUNS[noun] and words[place + 1 : place + 3] == ["on", "the"]
            assert sum(word in positions.NOUNS for word in words) == 2 and words[-2] in positions.NOUNS
            assert sorted(other) == sorted(row) and words[-2] == positions.WORDS[other[place - 1]]


def mask_numbers(held, free, best=0.6):
    networks = [dict(zip(("final", "first", "exact"), found)) for found in (held, free)]
    return {"best": best, "networks": networks}


def test_conclusion_about_the_mask():
    cheated = "copy the answer."
    assert mask.conclusion(mask_numbers((0.6, 0.1, 1.0), (0.01, 1.0, 0.1))).endswith(cheated)
    words = mask.conclusion(mask_numbers((0.6, 0.1, 1.0), (0.01, 1.0, 1.0)))
    assert "reads them one place ahead" in words
    assert words.endswith("So here a network that cheats writes as well all the same.")
    words = mask.conclusion(mask_numbers((0.6, 0.1, 1.0), (0.7, 0.1, 1.0)))
    assert "did not learn to read ahead" in words and words.endswith("So here the mask makes no difference.")
    words = mask.conclusion(mask_numbers((0.9, 0.1, 0.2), (0.7, 0.1, 0.1)))
    assert "did not learn to read ahead" in words and words.endswith("learnt too little to tell.")


def test_sequences_said_twice():
    ids, targets = mask.twice(np.random.default_rng(0), batch=50, n_symbols=4, n_copied=3)
    assert ids.shape == targets.shape == (50, 7)
    assert np.array_equal(ids[:, 1:], targets[:, :-1]) and np.array_equal(targets[:, :3], targets[:, 3:6])
    assert set(ids[:, 0]) == set(targets[:, -1]) == {4} and set(ids[:, 1:].ravel()) == {0, 1, 2, 3}


def test_conclusion_about_depth():
    def numbers(last, shallow, deep):
        norms = {way: [[value, 1.0]] for way, value in zip(depth.WAYS, last)}
        runs = {way: [{"accuracy": a}, {"accuracy": b}] for way, a, b in zip(depth.WAYS, shallow, deep)}
        return {"depths": [9], "trained": [2, 9], "norms": norms, "runs": runs}

    words = depth.conclusion(numbers((1e-6, 0.5, 1e3, 1.0, 1.0), (1, 1, 1, 1, 1), (0.1, 0.1, 0.1, 1, 1)))
    assert "vanishes in plain (1e-06); it explodes in residual alone (1e+03); it comes through in norm alone" in words
    assert words.endswith(
        "So depth is lost on plain, norm alone and residual alone, and not on post-norm and pre-norm."
    )
    assert depth.conclusion(numbers((1,) * 5, (1,) * 5, (1,) * 5)).endswith("So at this depth none is lost.")
    assert depth.conclusion(numbers((1,) * 5, (0,) * 5, (0,) * 5)).endswith("learnt to tell what depth costs.")
    with pytest.raises(ValueError, match="unknown way 'none'; write one of: plain, norm alone"):
        depth.Stack("none", 1, 8)


def test_conclusion_about_inference():
    def numbers(*speeds):
        return {"lengths": [10, 100], "speeds": dict(zip(inference.WAYS, speeds))}

    words = inference.conclusion(numbers([50, 500], [90, 900], [10, 5], [9, 1], [20, 40], [20, 20]))
    assert "trains on 500 tokens a second and writes 5: training is 100.0 times as fast" in words
    assert (
        "with it writing is 1.1 times as fast at T = 10 and 5.0 times at 100. With it a token costs 2.0 times" in words
    )
    assert words.endswith("trains 2.0 times as fast as it writes.")
    words = inference.conclusion(numbers([50, 500], [90, 900], [10, 5], [5, 5], [20, 40], [20, 20]))
    assert "The cache gives no more at T = 100 (1.0) than at 10 (2.0)." in words
    words = inference.conclusion(numbers([50, 500], [90, 900], [5, 5], [10, 4], [20, 40], [20, 20]))
    assert "0.5 times as fast at T = 10 and 1.2 times at 100 (below 1 it costs time). With" in words
    words = inference.conclusion(numbers([50, 500], [90, 900], [5, 5], [10, 8], [20, 40], [20, 20]))
    assert "0.5 times as fast at T = 10 and 0.6 times at 100, so that it costs time there. With" in words


# --- networks, tasks, training --------------------------------------------------------------------


@pytest.mark.parametrize("budget", [2_000, 20_000])
def test_parameter_counts_are_equal(budget):
    shapes = networks.equal_shapes(budget, vocab_size=17, n_classes=8)
    counts = [shape.build().num_parameters() for shape in shapes.values()]
    assert list(shapes) == list(networks.KINDS)
    assert max(abs(count - budget) for count in counts) <= 0.06 * budget


@pytest.mark.parametrize("cell", networks.KINDS)
def test_parameter_counts_of_encoder_decoders_are_equal(cell):
    settings = bottleneck.Settings.quick()
    attention = "itself" if cell == "transformer" else "additive"
    model = bottleneck.build(bottleneck.configure(cell, attention, settings))
    assert abs(model.num_parameters() - settings.budget) <= 0.06 * settings.budget


@pytest.mark.parametrize("kind", networks.KINDS)
def test_networks_look_back_only(kind):
    mt.random.seed(0)
    network = networks.equal_shapes(2_000, 9, 5)[kind].build()
    ids = np.random.default_rng(0).integers(0, 9, (2, 6))
    changed = ids.copy()
    changed[:, 3] = (ids[:, 3] + 1) % 9
    one, other = network(ids).numpy(), network(changed).numpy()
    np.testing.assert_allclose(one[:, :3], other[:, :3], atol=1e-6)
    assert not np.allclose(one[:, 3:], other[:, 3:], atol=1e-3)
    np.testing.assert_allclose(network(ids, last=2).numpy(), one[:, -2:], atol=1e-6)


def test_the_gradient_of_a_linear_recurrence_falls_by_its_gain():
    # Far below 1 relu is the identity if it is not 0; with positive states and inputs d h_t / d
    # h_(t-1) is gain * I.
    shape = networks.Shape("rnn", tasks.recall_vocab(gradients.N_SYMBOLS), gradients.N_SYMBOLS, d_model=6)
    network = networks.Case("rnn", "relu", "identity", gain=0.8).build(shape)
    network.body.weight_ih_l0.assign(np.eye(6))
    network.embedding.weight.assign(0.1 + mt.random.uniform(network.embedding.weight.shape))
    norms = gradients.gradient_norms(network, gradients.Settings(distance=12, sequences=3), seed=0)
    np.testing.assert_allclose(np.array(norms[1:]) / norms[:-1], 0.8, rtol=1e-5)
    assert gradients.factor(norms) == pytest.approx(0.8, rel=1e-5)
    assert network.output.weight.dtype == mt.float32


def test_tasks_ask_for_what_was_seen():
    generator = np.random.default_rng(0)
    ids, targets = tasks.recall_batch(generator, distance=7, batch=50, n_symbols=4)
    assert ids.shape == (50, 8) and np.array_equal(ids[:, 0], targets[:, 0])
    assert set(ids[:, 1:-1].ravel()) == {4, 5, 6, 7} and set(ids[:, -1]) == {tasks.recall_vocab(4) - 1}
    ids, targets = tasks.copy_batch(generator, distance=9, batch=50, n_symbols=4, n_copied=3)
    for place in range(3):
        asking = ids[:, -3 + place]
        assert set(asking) == {5 + place} and np.array_equal(ids[:, 12 - 3 + place - 9], targets[:, place])
    assert set(ids[:, 3:9].ravel()) == {4} and ids.max() == tasks.copy_vocab(4, 3) - 1


def test_a_training_that_explodes_ends():
    weight = mt.nn.Parameter(mt.tensor([1.0]))
    model = mt.nn.Module()
    model.weight = weight
    steps = []

    def loss_of(step):
        steps.append(step)
        return mt.exp(200.0 * weight * step).sum()

    history = training.train(model, loss_of, 10, mt.optim.SGD([weight], lr=0.1), max_norm=math.inf)
    assert history.diverged and history.final == math.inf
    assert steps == [0, 1] and history.losses == [1.0]


def test_a_model_whose_training_explodes_repeats_nothing():
    settings = dataclasses.replace(bottleneck.Settings.quick(), steps=10)
    run = bottleneck._train_once("gru", "additive", 1e30, settings, 0)
    assert run["loss"] == math.inf
    assert run["exact"] == run["right"] == [0.0] * len(settings.lengths)


def trained_on(losses, **how):
    """The record of a training of at most 20 steps whose losses are given: two are a tenth."""
    model = mt.nn.Linear(1, 1)
    optimizer = mt.optim.SGD(model.parameters(), lr=0.1)
    return training.train(model, lambda step: 0 * model.weight.sum() + losses[step], 20, optimizer, **how)


def test_a_training_that_is_solved_ends():
    history = trained_on([1.0, 0.0, 0.5, 0.25, 0.125] + 15 * [0.0], solved=0.2)
    assert history.losses == [1.0, 0.0, 0.5, 0.25, 0.125] and abs(history.final - 0.1875) < 1e-6
    assert len(trained_on(20 * [0.0]).losses) == 20  # nobody asked for an end
    assert training.History(20, losses=[0.0]).final == math.inf


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        (20 * [2.0], 15),
        (13 * [0.5] + 7 * [1.99], 15),
        (14 * [2.0] + 6 * [1.5], 20),
        (15 * [1.9] + 5 * [2.5], 20),
    ],
)
def test_a_training_that_learns_nothing_ends(losses, steps):
    assert len(trained_on(losses, guessing=2.0).losses) == steps


def test_rates_are_tried_until_one_solves():
    def tried(*losses):
        seen = []

        def train_at(rate):
            seen.append(rate)
            return {"rate": rate, "loss": losses[len(seen) - 1]}

        return training.first_solved(train_at, [3, 1, 2])["rate"], seen

    assert tried(0.5, 0.009, 0.001) == (1, [3, 1])
    assert tried(0.5, math.inf, 0.02) == (2, [3, 1, 2])
    assert tried(0.5, math.inf, 0.7) == (3, [3, 1, 2])


def test_work_is_the_same_in_other_processes():
    calls = [(3, number) for number in range(3)]
    assert processes.spread("powers", pow, calls, workers=2) == processes.spread("powers", pow, calls, 1) == [1, 3, 9]


def test_a_process_that_ends_is_said_not_waited_for(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.05)
    with pytest.raises(UserError, match=r"ended before its work was done \(exit code 3\)"):
        processes.spread("ends", os._exit, [(3,)], workers=2)
    with pytest.raises(ZeroDivisionError):
        processes.spread("errors", divmod, [(1, 0)], workers=2)  # by new ones
    assert not processes._of_all_claims.cache_info().currsize


def test_one_seed_gives_the_same_numbers():
    shape = networks.equal_shapes(1_000, tasks.recall_vocab(8), 8)["gru"]
    settings = gradients.Settings(distance=10, sequences=4, steps=5, batch=4)
    one, again, other = (gradients._measure_case(networks.Case("gru"), shape, settings, seed) for seed in (0, 0, 1))
    assert one == again and one != other


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "gradient"], "invalid choice: 'gradient'"),
        (["--workers", "0"], "must be at least 1"),
        (["--seed", "-1"], "must be from 0 to"),
    ],
)
def test_bad_options(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot make the folder .*taken.*give another by --out"):
        program.main(["--out", str(tmp_path / "taken")])


def test_tables_without_a_terminal_keep_their_cells_whole(capsys):
    print_table(Table("a title [bold]", ["network", "k = [1]"], [["relu RNN (identity)", "100%"], ["GRU", "7%"]]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "a title [bold]"
    assert [line.split()[-1] for line in lines[-3:-1]] == ["100%", "7%"]


def test_numbers_are_left_alone():
    numbers = memory_numbers((5, 50, 5, 50), (50, 50, 50, 50), (0, 0, 5, 50)) | {
        "parameters": dict.fromkeys(networks.KINDS, 7)
    }
    before = copy.deepcopy(numbers)
    memory.conclusion(numbers), memory.tables(numbers)
    assert numbers == before
