"""Dropout stands where transformers has it, with the probabilities that config.json gives for each
place, and comes back saved.
"""

from collections import Counter

import numpy as np
import pytest

import minitensor.nn.functional as F
from minitensor.models.bert import BERT
from minitensor.models.gpt import GPT
from minitensor.models.marian import Marian
from minitensor.models.t5 import T5
from minitensor.models.vit import ViT

torch = pytest.importorskip("torch")
tr = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

IDS, IMAGES = np.array([[2, 5, 3, 7], [2, 7, 3, 8]]), np.zeros((2, 3, 16, 16), np.float32)
SIZES = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, attn_implementation="eager"
)
GPT_SIZES = dict(n_positions=9, n_embd=16, n_layer=2, n_head=2, attn_implementation="eager")
T5_SIZES = dict(d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, attn_implementation="eager")
PLACES = dict(hidden_dropout_prob=0.125, attention_probs_dropout_prob=0.25)


def bert(**changes):
    config = tr.BertConfig(vocab_size=20, num_labels=3, **SIZES, **PLACES, **changes)
    return BERT, tr.BertForSequenceClassification(config), IDS, lambda model: model.class_logits(model(IDS))


def vit():
    config = tr.ViTConfig(image_size=16, patch_size=8, **SIZES, **PLACES)
    return ViT, tr.ViTForImageClassification(config), IMAGES, lambda model: model(IMAGES)


def gpt():
    places = dict(resid_pdrop=0.125, attn_pdrop=0.25, embd_pdrop=0.5, bos_token_id=None, eos_token_id=None)
    return GPT, tr.GPT2LMHeadModel(tr.GPT2Config(vocab_size=20, **GPT_SIZES, **places)), IDS, lambda model: model(IDS)


def t5():
    config = tr.T5Config(vocab_size=20, dropout_rate=0.25, **T5_SIZES)
    return T5, tr.T5ForConditionalGeneration(config), IDS, lambda model: model(IDS, IDS)


def marian():
    sizes = dict(d_model=16, encoder_layers=2, decoder_layers=1, encoder_ffn_dim=24, decoder_ffn_dim=20)
    sizes |= dict(encoder_attention_heads=2, decoder_attention_heads=4, pad_token_id=0, decoder_start_token_id=0)
    places = dict(dropout=0.125, attention_dropout=0.25, activation_dropout=0.5, attn_implementation="eager")
    return (
        Marian,
        tr.MarianMTModel(tr.MarianConfig(vocab_size=20, **sizes, **places)),
        IDS,
        lambda model: model(IDS, IDS),
    )


def spy(monkeypatch, owner, name, describe):
    """Count what ``owner.name`` is called with, as ``describe`` tells of its arguments: the
    probability and the shape dropped.
    """
    seen, real = Counter(), getattr(owner, name)

    def counting(*arguments, **named):
        probability, shape = describe(*arguments, **named)
        seen.update([(float(probability), tuple(shape))] if probability else [])
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, counting)
    return seen


@pytest.mark.parametrize(
    "make", [bert, lambda: bert(classifier_dropout=0.5), lambda: bert(classifier_dropout=0.0), vit, gpt, t5, marian],
    ids=["bert", "bert with its own", "bert without", "vit", "gpt", "t5", "marian"],
)  # fmt: skip
def test_dropout_stands_where_transformers_has_it(tmp_path, monkeypatch, make):
    kind, theirs, inputs, answer = make()
    theirs.save_pretrained(tmp_path)
    kind.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    wanted = spy(
        monkeypatch,
        torch.nn.functional,
        "dropout",
        lambda x, p=0.5, training=True, inplace=False: (p * training, x.shape),
    )
    both = kind in (T5, Marian)
    arguments = [torch.tensor(inputs)] if not both else []
    named = dict(input_ids=torch.tensor(inputs), decoder_input_ids=torch.tensor(inputs)) if both else {}
    theirs.train()(*arguments, **named)

    layers = spy(monkeypatch, F, "dropout", lambda x, p=0.5, training=True: (p * training, x.shape))
    packed = spy(monkeypatch, F, "packed_attention", lambda qkv, h, mask=None, causal=False, p=0.0, *_, **__: (p, ()))
    others = spy(monkeypatch, F, "scaled_dot_product_attention", lambda *_, dropout=0.0, **__: (dropout, ()))
    answer(kind.from_pretrained(tmp_path / "again").train())
    expected = Counter()
    for (p, shape), n in wanted.items():
        expected[p, () if len(shape) == 4 else shape] += n  # ours tell nothing of the shape of the scores
    assert layers + packed + others == expected
