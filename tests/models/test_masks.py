"""Every method of a model that takes a mask of real tokens refuses a wrong one, and one without
any token in a row, in the same words.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.nn.functional import masking

WORDS = 11
SMALL = dict(d_model=8, n_layers=3, n_heads=2, d_ff=8)
STACKS = dict(vocab_size=WORDS, d_model=8, n_heads=2, d_ff=8, n_encoder_layers=3, n_decoder_layers=3)
IDS = np.random.default_rng(0).integers(1, WORDS, (3, 5))
REAL = np.arange(5) < np.array([[5], [2], [4]])

READERS = {
    "GPT": lambda: GPT(GPTConfig(vocab_size=WORDS, max_length=8, **SMALL)),
    "BERT": lambda: BERT(BERTConfig(vocab_size=WORDS, max_length=8, n_classes=3, **SMALL)),
}
WRITERS = {
    "Transformer": lambda: Transformer(TransformerConfig(**STACKS)),
    "T5": lambda: T5(T5Config(d_head=4, **STACKS)),
    "Seq2Seq": lambda: Seq2Seq(Seq2SeqConfig(WORDS, d_model=8, hidden_size=6)),
}
WAYS = [
    *((name, "forward", lambda m, mask: m(IDS, mask)) for name in READERS),
    *((name, "attention_maps", lambda m, mask: m.attention_maps(IDS, mask)) for name in READERS),
    ("GPT", "loss", lambda m, mask: m.loss(IDS, mask=mask)),
    ("GPT", "generate", lambda m, mask: m.generate(mt.tensor(IDS), 2, mask=mask)),
    ("BERT", "loss", lambda m, mask: m.loss(IDS, mask, labels=[0, 1, 2])),
    ("BERT", "pool", lambda m, mask: m.pool(IDS, mask)),
    *((name, "forward", lambda m, mask: m(IDS, IDS, mask)) for name in WRITERS),
    *((name, "encode", lambda m, mask: m.encode(IDS, mask)) for name in WRITERS),
    *((name, "loss", lambda m, mask: m.loss(IDS, IDS, IDS, mask)) for name in WRITERS),
    *((name, "start", lambda m, mask: m.start(IDS, mask)) for name in WRITERS),
    *((name, "generate", lambda m, mask: m.generate(IDS, mask=mask)) for name in WRITERS),
    *((name, "attention_maps", lambda m, mask: m.attention_maps(IDS, IDS, mask)) for name in WRITERS),
]


@pytest.mark.parametrize(("name", "call"), [pytest.param(name, call, id=f"{name}.{way}") for name, way, call in WAYS])
def test_every_method_refuses_a_wrong_mask_in_the_same_words(name, call):
    model = (READERS | WRITERS)[name]()
    call(model, REAL)
    for wrong in (REAL.astype(int), REAL.astype(float), REAL[:2], REAL[:, :4], REAL[0], REAL[:, None, None]):
        shape = str(wrong.shape).replace("(", r"\(").replace(")", r"\)")
        words = rf"the mask, {shape} of {wrong.dtype}, must be boolean and have the shape of the ids \(3, 5\)"
        with pytest.raises(ValueError, match=words):
            call(model, wrong)


@pytest.mark.parametrize(("name", "call"), [pytest.param(name, call, id=f"{name}.{way}") for name, way, call in WAYS])
def test_every_method_refuses_a_row_without_any_token(name, call):
    """Of nothing there is nothing to say."""
    model = (READERS | WRITERS)[name]()
    for lengths, words in (([[5], [0], [4]], "in row 1, it is"), ([[0], [2], [0]], r"in row 0 \(and 1 more\), it is")):
        with pytest.raises(ValueError, match=f"the mask has no real token {words} all False: leave such rows out"):
            call(model, np.arange(5) < np.array(lengths))


@pytest.mark.parametrize(("name", "masks"), [("GPT", 1), ("BERT", 1), ("Transformer", 2), ("T5", 2)])
def test_a_mask_is_looked_at_once_for_each_stack(monkeypatch, name, masks):
    looks = []
    real = masking.blank_padding
    monkeypatch.setattr(masking, "blank_padding", lambda x, mask: looks.append(mask) or real(x, mask))
    model = (READERS | WRITERS)[name]()
    model(IDS, REAL) if name in READERS else model(IDS, IDS, REAL)
    assert len(looks) == masks
