"""BPE-dropout and R-Drop: what they are at their limits, and that runs with them are those of parts
and of resumed runs.
"""

import itertools
import random

import numpy as np
import pytest
import translate
from scripts import caller, refuser, unreported
from toolkit.batches import Batches
from toolkit.bpe_dropout import Resegmented, redrawn, segment
from toolkit.corpus import Corpus
from toolkit.samples import cut
from toolkit.tokenizer import PAD, START, STOP, Tokenizer
from toolkit.translation import Settings, Task

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn

NUMBERS, NOUNS = ("two", "three", "eleven", "twelve"), ("cats", "stars", "cars", "trees", "boats", "été 42!")
TEXTS = [f"{one} {other} see {one} {third}s" for one, other, third in itertools.product(NUMBERS, NOUNS, NUMBERS)]
PAIRS = list(zip(TEXTS, TEXTS[::-1], strict=True))
TINY = dict(d_model=8, layers=1, heads=2, d_ff=16, max_tokens=60, steps=2)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 320)


def resegmented(tokenizer, p, first=None, longest=100):
    return Resegmented(tokenizer, TEXTS, [first] * len(TEXTS), p, seed=1, longest=longest)


def sentences(side, epoch):
    """The ids of each sentence in an epoch."""
    values, lengths = side.draw(epoch)
    return [part.tolist() for part in np.split(values, np.cumsum(lengths)[:-1])]


def test_merges_are_made_in_their_order_and_left_out_by_chance():
    ranks = {("a", "b"): 0, ("b", "c"): 1, ("ab", "c"): 2}
    assert segment("abc", ranks, 0, random.Random(0)) == ["abc"]
    assert segment("bcabc", ranks, 0, random.Random(0)) == ["bc", "abc"]
    drawn = [tuple(segment("abc", ranks, 0.3, random.Random(n))) for n in range(2000)]
    # ab is made first with 0.7, then abc with 0.7; where ab is left out, bc is made with 0.7.
    expected = {("abc",): 0.49, ("ab", "c"): 0.21, ("a", "bc"): 0.21, ("a", "b", "c"): 0.09}
    assert {found: drawn.count(found) / 2000 for found in set(drawn)} == pytest.approx(expected, abs=0.03)


def test_without_dropout_the_sub_words_are_those_of_encode(tokenizer):
    side = resegmented(tokenizer, 0.0)
    assert sentences(side, 5) == [[*ids, STOP] for ids in tokenizer.encode_batch(TEXTS)]


def test_each_epoch_has_other_sub_words_of_the_same_text(tokenizer):
    side = resegmented(tokenizer, 0.2, START)
    first, second = sentences(side, 0), sentences(side, 1)
    assert first == sentences(resegmented(tokenizer, 0.2, START), 0) != second
    for ids, text in zip([*first, *second], [*TEXTS, *TEXTS], strict=True):
        assert ids[0] == START and ids[-1] == STOP and tokenizer.decode(ids[1:-1]) == text
    assert sum(map(len, first)) > sum(map(len, tokenizer.encode_batch(TEXTS))) + 2 * len(TEXTS)


def test_a_sentence_that_gets_too_long_is_cut_as_encode_does(tokenizer):
    plain = tokenizer.encode_batch(TEXTS)
    longest = max(map(len, plain)) + 1
    side = resegmented(tokenizer, 0.5, longest=longest)
    drawn = sentences(side, 0)
    assert max(map(len, drawn)) <= longest
    assert any(one == [*other, STOP] for one, other in zip(drawn, plain, strict=True))


def test_the_batches_of_an_epoch_hold_what_was_drawn_for_it(tokenizer):
    ids = tokenizer.encode_batch(TEXTS)
    made = redrawn(tokenizer, [(text, text, "") for text in TEXTS], 0.2, seed=3, longest=100)
    batches = Batches(ids, ids, 80, seed=3, redrawn=made)
    (values, lengths), _ = made(2)
    drawn = np.split(values, np.cumsum(lengths)[:-1])
    seen = [index for batch in batches.epoch(2) for index in batch.indices]
    assert sorted(seen) == list(range(len(TEXTS))) and len(batches.epoch(0)) == len(batches.epoch(7))
    for batch in batches.epoch(2):
        for index, row in zip(batch.indices, batch.source, strict=True):
            assert row[row != PAD].tolist() == drawn[index].tolist()


def task(tokenizer, **changes):
    return Task(Corpus(PAIRS, PAIRS[:4], {}), tokenizer, Settings(**{**TINY, **changes}))


def test_a_tag_stays_the_first_token():
    tokenizer = Tokenizer.train(TEXTS, 320, tags=["<2xx>", "<2yy>"])
    parts = {"<2xx>": Corpus(PAIRS, PAIRS[:4], {}), "<2yy>": Corpus(PAIRS[::-1], PAIRS[:4], {})}
    made = Task(parts, tokenizer, Settings(**TINY, bpe_dropout=0.3))
    wanted = [tokenizer.special.index(tag) for tag in parts for _ in PAIRS]
    for batch in made.epoch(3):
        assert batch.source[:, 0].tolist() == [wanted[index] for index in batch.indices]


def test_the_loss_is_that_of_two_passes_and_of_how_far_they_are_apart(tokenizer):
    made = task(tokenizer, dropout=0.3, r_drop=2.0, label_smoothing=0.1)
    (batch, *_), model = made.epoch(0), made.model.train()
    mt.random.seed(5)
    loss = made.loss(batch, batch.tokens)
    mt.random.seed(5)
    twice = [np.repeat(array, 2, axis=0) for array in (batch.source, batch.target_in, batch.source_mask)]
    logits = model(*twice).detach()
    total, apart = 0.0, 0.0
    for half in (0, 1):
        total += F.cross_entropy(logits[half::2], batch.target_out, ignore_index=PAD, label_smoothing=0.1).item() / 2
    for one, other in ((0, 1), (1, 0)):
        p, q = (F.log_softmax(logits[half::2]).numpy() for half in (one, other))
        apart += (np.exp(p) * (p - q)).sum(axis=-1)[batch.target_out != PAD].sum() / 2 / batch.tokens
    assert apart > 1e-3 and loss.item() == pytest.approx(total + 2.0 / 2 * apart, rel=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole(tokenizer):
    made = task(tokenizer, dropout=0.3, r_drop=2.0, bpe_dropout=0.2)
    batch = max(made.epoch(1), key=len)
    assert len(batch) > 3
    made.model.train()
    mt.random.seed(5)
    drawn = mt.random.default.state
    whole = made.loss(batch, batch.tokens)
    whole.backward()
    gradients = [parameter.grad.numpy().copy() for parameter in made.model.parameters()]
    made.model.zero_grad()
    total = 0.0
    for rows in cut(len(batch), 3):
        mt.random.default.state = drawn
        with mt.random.rows(2 * rows.start, 2 * rows.stop, of=2 * len(batch)):
            loss = made.loss(batch.rows(rows), batch.tokens)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(whole.item(), rel=1e-5)
    for parameter, gradient in zip(made.model.parameters(), gradients, strict=True):
        assert np.allclose(parameter.grad.numpy(), gradient, atol=1e-5)


call = caller(translate.main)
learned = unreported(call)
refused = refuser(call)


def test_a_run_of_both_in_parts_resumed(tmp_path):
    """Killed and gone on with it ends bit for bit as one that was not."""
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    learn = ["train", "--data", data, "--source", "en", "--target", "xx", "--vocab", "300", "--max-tokens", "200"]
    learn += "--d-model 8 --layers 2 --decoder-layers 1 --heads 2 --d-ff 16 --r-drop 1 --bpe-dropout 0.1".split()
    # Without the mean of checkpoints: the run that ended at update 5 has one there.
    learn += "--schedule constant --warmup 2 --accumulate 2 --average 1".split()
    assert learned(*learn, "--steps", "12", "--out", tmp_path / "whole") == 0
    assert learned(*learn, "--steps", "5", "--out", tmp_path / "parts") == 0
    assert learned("train", "--resume", "--out", tmp_path / "parts", "--steps", "12") == 0
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts and b"decoder.layers.0" in whole and b"decoder.layers.1" not in whole


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.3, 0.3, 0.3)),
        (dict(dropout=0.5, attention_dropout=0.0), (0.5, 0.0, 0.5)),
        (dict(attention_dropout=0.1, ff_dropout=0.2, dropout=0.0), (0.0, 0.1, 0.2)),
        (dict(attention_dropout=0.0, ff_dropout=0.0, r_drop=1.0), (0.3, 0.0, 0.0)),
        (dict(attention_dropout=0.1, dropout=0.0, r_drop=1.0), (0.0, 0.1, 0.0)),
    ],
)
def test_each_dropout_of_a_transformer_stands_where_it_is_asked_for(tokenizer, given, expected):
    """Of embeddings and sub-layers, of attention weights, and inside the feed-forward layers."""
    model = task(tokenizer, **given).model
    modules = list(model.modules())
    outer = [m.dropout.p for m in modules if m is model or type(m).__name__.endswith("Layer")]
    attentions = [m.dropout for m in modules if isinstance(m, nn.MultiHeadAttention)]
    networks = [m.dropout.p for m in modules if isinstance(m, nn.FeedForward)]
    assert ({*outer}, {*attentions}, {*networks}) == tuple({p} for p in expected)


def test_what_cannot_be_is_refused(tmp_path, capsys):
    out = "--out", tmp_path / "run"
    refused(capsys, "--arch gru has no --ff-dropout", "train", "--arch", "gru", "--ff-dropout", "0", *out)
    refused(capsys, "--attention-dropout", "train", "--attention-dropout", "1", *out)
    refused(capsys, "different dropout", "train", "--r-drop", "5", "--dropout", "0", *out)
    refused(capsys, "--decoder-layers", "train", "--arch", "gru", "--decoder-layers", "2", *out)
