"""What generation_config.json says, obeyed as transformers obeys it: the tokens that come out are
the same.
"""

import json

import numpy as np
import pytest

from minitensor.models.gpt import GPT
from minitensor.models.marian import Marian
from minitensor.models.t5 import T5

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.torch
PROMPT = [5, 6, 7]


def gpt():
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=40, n_embd=32, n_layer=1, n_head=4, bos_token_id=None, eos_token_id=None
    )
    return GPT, transformers.GPT2LMHeadModel(config)


def t5():
    config = transformers.T5Config(
        vocab_size=50,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=1,
        num_heads=4,
        decoder_start_token_id=7,
        eos_token_id=None,
    )
    return T5, transformers.T5ForConditionalGeneration(config)


def marian():
    sizes = dict(vocab_size=50, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64)
    heads = dict(encoder_attention_heads=4, decoder_attention_heads=4, init_std=0.5)
    tokens = dict(pad_token_id=49, decoder_start_token_id=7, eos_token_id=None, forced_eos_token_id=None)
    return Marian, transformers.MarianMTModel(transformers.MarianConfig(**sizes, **heads, **tokens))


def theirs(folder, made):
    """The new tokens of transformers, cut at the first stop token."""
    model = type(made).from_pretrained(folder).eval()
    found = model.generate(torch.tensor([PROMPT]), max_new_tokens=6, do_sample=False)[0].tolist()
    found = found[1 if model.config.is_encoder_decoder else len(PROMPT) :]
    stops = model.generation_config.eos_token_id
    stops = set(np.atleast_1d(stops)) if stops is not None else set()
    return found[: next((i for i, token in enumerate(found) if token in stops), len(found))]


@pytest.mark.parametrize("make", [gpt, t5, marian])
@pytest.mark.parametrize("config", [{}, {"eos_token_id": "first"}, {"bos_token_id": 3}])
@pytest.mark.parametrize(
    "generation",
    [None, {}, {"eos_token_id": None}, {"eos_token_id": "first"}, {"eos_token_id": [9, "last"], "pad_token_id": 0},
     {"decoder_start_token_id": 9}, {"bos_token_id": 4}],
)  # fmt: skip
def test_the_tokens_are_those_of_transformers(tmp_path, make, config, generation):
    torch.manual_seed(3)
    ours, made = make()
    made.save_pretrained(tmp_path)
    tokens = ours.from_pretrained(tmp_path).generate([PROMPT], 6)[0]
    named = {"first": int(tokens[0]), "last": int(tokens[-1])}

    def filled(values):
        lists = {name: [named.get(x, x) for x in value] for name, value in values.items() if isinstance(value, list)}
        return {name: named.get(value, value) for name, value in values.items() if name not in lists} | lists

    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | filled(config)), encoding="utf-8")
    (tmp_path / "generation_config.json").unlink()
    if generation is not None:
        # An encoder-decoder of transformers does not start without one of these.
        start = {"decoder_start_token_id": 7} if make is not gpt and "bos_token_id" not in generation else {}
        (tmp_path / "generation_config.json").write_text(json.dumps(start | filled(generation)), encoding="utf-8")
    loaded = ours.from_pretrained(tmp_path)
    expected = theirs(tmp_path, made)
    assert loaded.generate([PROMPT], 6)[0] == expected
    loaded.save_pretrained(tmp_path / "again")
    assert theirs(tmp_path / "again", made) == expected
    assert ours.from_pretrained(tmp_path / "again").generate([PROMPT], 6)[0] == expected
