"""What the folder of a sentence encoder says about its vectors is obeyed, or refused by file and
field.
"""

import json
import shutil

import numpy as np
import pytest
from encoders import tiny_encoder
from sentence_similarity import SentenceEncoder, rank
from toolkit.console import UserError
from toolkit.sentence_vectors import POOLINGS

import minitensor as mt
from minitensor.models.bert import BERT

TEXTS = ("a b c d e f g h", "c a", "b d f a c")
POOL, BERT_FILE, SETTINGS = "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"
DENSE = dict(in_features=16, out_features=5, bias=True, activation_function="torch.nn.modules.activation.Tanh")
WEIGHT, BIAS = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((5, 16), 5))
FORMULAS = {  # of the hidden states (T, D) of one text
    "cls": lambda h: h[0],
    "max": lambda h: h.max(axis=0),
    "mean": lambda h: h.mean(axis=0),
    "mean_sqrt_len_tokens": lambda h: h.sum(axis=0) / np.sqrt(len(h)),
    "weightedmean": lambda h: np.average(h, axis=0, weights=np.arange(1, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The folder of a model and its tokenizer alone."""
    return tiny_encoder(tmp_path_factory.mktemp("bare"), TEXTS)


@pytest.fixture
def folder(bare, tmp_path):
    """A copy of it that files are put into."""
    return shutil.copytree(bare, tmp_path / "encoder")


def put(folder, files):
    for name, values in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def put_dense(folder, **changes):
    put(folder, {"2_Dense/config.json": DENSE | changes})
    mt.save(
        folder / "2_Dense/model.safetensors", {"linear.weight": mt.asarray(WEIGHT), "linear.bias": mt.asarray(BIAS)}
    )


def modules(*kinds):
    """modules.json of these stages, each in the folder that its number and its kind make; the first
    in the folder itself.
    """
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds[1:], start=1))]
    return {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": p} for kind, p in zip(kinds, paths)]
    }


def hidden_of(folder, encoder, text):
    """The hidden states (T, D) of one text by itself."""
    encoder.tokenizer.no_truncation()
    return BERT.from_pretrained(folder)(np.array([encoder.tokenizer.encode(text).ids])).numpy()[0]


def check(folder, formula, texts=TEXTS, given=TEXTS):
    """The vectors of the texts ``given`` are the formula's of ``texts``, of length 1."""
    encoder = SentenceEncoder(folder)
    vectors = encoder(given)
    for vector, text in zip(vectors, texts, strict=True):
        expected = formula(hidden_of(folder, encoder, text))
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("kind", ["flags", "text"])
def test_pooling(folder, name, listed, kind):
    flags = {field: other == name for other, (field, _) in POOLINGS.items()}
    values = (
        dict(word_embedding_dimension=16, **flags)
        if kind == "flags"
        else dict(embedding_dimension=16, pooling_mode=name)
    )
    put(folder, {POOL: values} | (modules("Transformer", "Pooling") if listed else {}))
    check(folder, FORMULAS[name])


def test_several_poolings_stand_behind_each_other(folder):
    # the mean is the default
    put(folder, {POOL: dict(pooling_mode_cls_token=True, pooling_mode_lasttoken=True)})
    check(folder, lambda h: np.concatenate([h[0], h.mean(axis=0), h[-1]]))


def test_the_mean_where_nothing_is_said(bare, folder):
    check(bare, FORMULAS["mean"])
    (folder / "1_Pooling").mkdir()
    check(folder, FORMULAS["mean"])


@pytest.mark.parametrize("listed", [False, True])
def test_a_dense_stage(folder, listed):
    put(
        folder,
        {POOL: dict(pooling_mode="cls")} | (modules("Transformer", "Pooling", "Dense", "Normalize") if listed else {}),
    )
    put_dense(folder)
    check(folder, lambda h: np.tanh(WEIGHT @ h[0] + BIAS))
    put(folder, {"3_Normalize/config.json": {}})
    put_dense(folder, activation_function="torch.nn.modules.linear.Identity", module_input_name="sentence_embedding")
    check(folder, lambda h: WEIGHT @ h[0] + BIAS)


def test_lengths_are_taken_where_a_stage_says_so(folder):
    put(folder, modules("Transformer", "Pooling", "Normalize", "Dropout", "Dense") | {POOL: dict(pooling_mode="mean")})
    put_dense(folder)
    shutil.move(folder / "2_Dense", folder / "4_Dense")
    check(folder, lambda h: np.tanh(WEIGHT @ (h.mean(axis=0) / np.linalg.norm(h.mean(axis=0))) + BIAS))


def test_the_transformer_may_have_a_folder_of_its_own(folder, tmp_path):
    outer = tmp_path / "outer"
    shutil.copytree(folder, outer / "0_BERT")
    put(outer, {POOL: dict(pooling_mode="max")})
    vectors = SentenceEncoder(outer)(TEXTS)
    put(folder, {POOL: dict(pooling_mode="max")})
    np.testing.assert_array_equal(SentenceEncoder(folder)(TEXTS), vectors)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({BERT_FILE: dict(max_seq_length=4)}, 2),
        ({BERT_FILE: dict(max_seq_length=2)}, 0),
        ({BERT_FILE: dict(max_seq_length=None)}, 8),
        ({BERT_FILE: dict(max_seq_length=512)}, 8),  # the model has 12 positions
        ({BERT_FILE: {}, "tokenizer_config.json": dict(model_max_length=5)}, 3),
        ({"tokenizer_config.json": dict(model_max_length=10**30)}, 8),
        ({BERT_FILE: dict(max_seq_length=4), "tokenizer_config.json": dict(model_max_length=5)}, 2),
        (
            {
                "sentence_roberta_config.json": dict(
                    max_seq_length=4, transformer_task="feature-extraction", model_args={}
                )
            },
            2,
        ),
    ],
)
def test_the_longest_text(folder, files, words):
    check(put(folder, files), FORMULAS["mean"], texts=[" ".join(TEXTS[0].split()[:words])], given=TEXTS[:1])


def test_all_positions_are_used(folder):
    put(folder, {BERT_FILE: dict(max_seq_length=512)})
    check(folder, FORMULAS["mean"], texts=["a b c d e f g h a b"], given=["a b c d e f g h a b c d e f"])


def test_texts_are_written_small(folder):
    text = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    text["normalizer"]["lowercase"] = False
    put(folder, {"tokenizer.json": text, BERT_FILE: dict(do_lower_case=True)})
    check(folder, FORMULAS["mean"], texts=["a b c"], given=["A b C"])
    put(folder, {BERT_FILE: dict(do_lower_case=False)})
    check(folder, FORMULAS["mean"], texts=["x b x"], given=["A b C"])


def test_prompts_stand_before_the_text(folder):
    prompts = dict(query="a b", passage="c ", mine="d d ")
    put(
        folder,
        {SETTINGS: dict(__version__={}, prompts=prompts, default_prompt_name="mine", similarity_fn_name="cosine")},
    )
    check(folder, FORMULAS["mean"], texts=["d d a"], given=["a"])
    encoder = SentenceEncoder(folder)
    expected = encoder(["a b c"], ("plain", "passage")) @ encoder([" e"], ("query",))[0]
    assert rank(encoder, " e", ["a b c"])[0][0] == pytest.approx(float(expected[0]))
    mine = [FORMULAS["mean"](hidden_of(folder, encoder, text)) for text in ("c a b c", "a b e")]
    assert expected[0] == pytest.approx(mine[0] @ mine[1] / np.linalg.norm(mine[0]) / np.linalg.norm(mine[1]), rel=1e-5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {POOL: dict(pooling_mode="attention")},
            r"1_Pooling.config.json: pooling_mode is 'attention'; known are cls, max, mean",
        ),
        ({POOL: dict(pooling_mode=[])}, "pooling_mode is .*one at least"),
        ({POOL: dict(pooling_mode_mean_tokens=False)}, "pooling_mode is None.*one at least"),
        ({POOL: dict(pooling_mode_cls_token="yes")}, "pooling_mode_cls_token is 'yes'"),
        ({POOL: dict(pooling_mode_sum_tokens=True)}, "1_Pooling.config.json: pooling_mode_sum_tokens is True"),
        ({POOL: dict(word_embedding_dimension=32)}, "word_embedding_dimension does not fit the model.* 16"),
        ({POOL: [1]}, "must hold a table"),
        (modules("Transformer", "Pooling"), "there is no configuration .*1_Pooling"),
        ({"modules.json": {}}, "modules.json must hold a list"),
        ({"modules.json": [{"type": "x.Transformer", "path": "../other"}]}, "path '../other'"),
        ({"modules.json": [{"path": ""}]}, "type is None"),
        (modules("Transformer"), "the modules are Transformer; known are"),
        (modules("CLIPModel", "Pooling"), "modules.json: the modules are CLIPModel, Pooling"),
        (
            modules("Transformer", "WeightedLayerPooling", "Pooling"),
            "the modules are Transformer, WeightedLayerPooling",
        ),
        (modules("Transformer", "Pooling", "LSTM"), "modules.json: there is a module LSTM"),
        ({POOL: {}, "2_LayerNorm/config.json": {}}, "there is a module LayerNorm"),
        ({POOL: {}, "2_Dense/config.json": DENSE}, "there is no .*2_Dense.model.safetensors"),
        ({BERT_FILE: dict(max_seq_length="128")}, f"{BERT_FILE}: max_seq_length is '128'"),
        ({BERT_FILE: dict(max_seq_length=0)}, "max_seq_length is 0"),
        ({BERT_FILE: dict(max_seq_length=1)}, "texts are cut to 1 tokens; the special ones alone are 2"),
        ({BERT_FILE: dict(max_seq_length=True)}, "max_seq_length is True"),
        ({BERT_FILE: dict(do_lower_case="no")}, "do_lower_case is 'no'"),
        ({BERT_FILE: dict(model_args={"torch_dtype": "float16"})}, f"{BERT_FILE}: model_args is"),
        ({BERT_FILE: dict(transformer_task="fill-mask")}, "transformer_task is 'fill-mask'"),
        ({SETTINGS: dict(prompts=["a"])}, "prompts is"),
        ({SETTINGS: dict(prompts={}, default_prompt_name="query")}, "default_prompt_name is 'query', which is none"),
        ({SETTINGS: dict(similarity_fn_name="dot")}, f"{SETTINGS}: similarity_fn_name is 'dot'"),
        ({SETTINGS: dict(model_type="SparseEncoder")}, "model_type is 'SparseEncoder'"),
        ({SETTINGS: dict(truncate_dim=8)}, "truncate_dim is 8"),
        (
            {SETTINGS: dict(prompts={"query": "a"}), POOL: dict(include_prompt=False)},
            "1_Pooling.config.json: include_prompt is false",
        ),
    ],
)
def test_what_is_not_known_is_refused(folder, files, message):
    with pytest.raises(UserError, match=message):
        SentenceEncoder(put(folder, files))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(activation_function="torch.nn.Mish"), "activation_function is 'Mish'; known are Identity, Tanh"),
        (dict(in_features=8), "model.safetensors has .* ask for"),
        (dict(bias=False), "model.safetensors has .* ask for"),
        (dict(module_input_name="token_embeddings"), "module_input_name is not sentence_embedding"),
        (dict(scale=2), "2_Dense.config.json: scale is 2"),
    ],
)
def test_a_dense_stage_that_is_not_known(folder, changes, message):
    put(folder, {POOL: dict(pooling_mode="cls")})
    put_dense(folder, **changes)
    with pytest.raises(UserError, match=message):
        SentenceEncoder(folder)


def test_vectors_of_length_one_have_one_closeness(folder):
    put(folder, modules("Transformer", "Pooling", "Normalize") | {POOL: {}, SETTINGS: dict(similarity_fn_name="dot")})
    check(folder, FORMULAS["mean"])


def test_a_tokenizer_that_git_lfs_has_not_brought(folder):
    (folder / "tokenizer.json").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 466247\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match="tokenizer.json: a pointer of git-lfs"):
        SentenceEncoder(folder)
