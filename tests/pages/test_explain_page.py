"""The microscope's page in a browser: quiet, accessible, walked by keys, quick to paint."""

import numpy as np
import pytest
from browser import LOOKS

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.explain import explain
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.recurrent import SequenceClassifier, SequenceClassifierConfig
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig

pytestmark = pytest.mark.browser

SMALL = dict(vocab_size=13, d_model=8, n_heads=2, d_ff=12)
IDS = [5, 6, 7, 8, 9, 2]
WORDS = ["<pad>", "<start>", "<stop>", "a", "cat", "dog", "king", "queen", "sat", "on", "mat", "big", "."]


def transformer():
    model = Transformer(TransformerConfig(**SMALL, n_encoder_layers=2, n_decoder_layers=2))
    return explain(model, IDS, tokens=WORDS, beam=3, max_new_tokens=5)


def gru():
    model = Seq2Seq(Seq2SeqConfig(vocab_size=13, d_model=8, hidden_size=6))
    return explain(model, IDS, tokens=WORDS, beam=2, max_new_tokens=5)


def gpt():
    return explain(GPT(GPTConfig(**SMALL, n_layers=2, max_length=16)), IDS, tokens=WORDS, beam=2, max_new_tokens=4)


def bert():
    return explain(BERT(BERTConfig(**SMALL, n_layers=2, mlm_head=True)), IDS, tokens=WORDS, positions=[2])


def t5():
    model = T5(T5Config(**SMALL, d_head=4, n_encoder_layers=1, n_decoder_layers=1))
    return explain(model, IDS, tokens=WORDS, max_new_tokens=4)


def vit():
    config = ViTConfig(image_size=8, patch_size=2, d_model=8, n_layers=2, n_heads=2, d_ff=12, n_classes=3)
    return explain(ViT(config), np.random.default_rng(0).uniform(size=(3, 8, 8)), classes=["cat", "dog", "king"])


def lstm():
    model = SequenceClassifier(SequenceClassifierConfig(vocab_size=13, n_classes=3, hidden_size=4, bidirectional=True))
    return explain(model, mt.asarray([IDS]), tokens=WORDS)


MODELS = [transformer, gru, gpt, bert, t5, vit, lstm]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("width, scheme", LOOKS)
def test_every_stage_fits_and_is_accessible(show, make, width, scheme):
    mt.random.seed(0)
    shown = show(make().to_html(), width=width, scheme=scheme)
    stages = shown.page.evaluate("DATA.stages.map(stage => stage.type)")
    seen = set()
    for number, kind in enumerate(stages):
        shown.page.evaluate(f"go({number})")
        shown.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true; })")
        shown.check_fits()
        if kind not in seen:  # layers are alike
            shown.check_accessible()
        seen.add(kind)
        assert shown.page.inner_text("#title").startswith(f"{number + 1}. ")


def test_it_is_walked_by_keys(show):
    mt.random.seed(0)
    shown = show(transformer().to_html())
    page = shown.page
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#title") == "3. Encoder, layer 1"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#title").startswith("2. ")
    page.get_by_label("stage", exact=True).select_option(label="6 of 11: Decoder, layer 1")
    card = page.locator(".card").first
    card.get_by_role("button", name="head 2").focus()
    page.keyboard.press("Enter")
    assert page.locator(":focus").inner_text() == "head 2"  # it is drawn anew, and the focus stays
    assert page.locator(":focus").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Home")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== null")
    page.evaluate("go(7)")
    first = page.locator(".card h3").inner_text()
    page.get_by_role("button", name="Next step").click()
    assert page.locator(".card h3").inner_text() != first or page.evaluate("state.step") == 1


def test_the_numbers_shown_are_those_of_the_model(show):
    mt.random.seed(0)
    seen = transformer()
    shown = show(seen.to_html())
    shown.page.evaluate("go(DATA.stages.findIndex(stage => stage.type === 'output'))")
    word, part = seen.steps[0].top[0]
    assert f"{word} {100 * part:.0f} %" in shown.page.locator(".card h3").inner_text()
    coded = shown.page.evaluate(
        "Array.from(unpack(DATA.stages.find(stage => stage.type === 'layer').attentions[0].weights).values)"
    )
    np.testing.assert_allclose(coded, seen.attentions[0].weights.reshape(-1), atol=1 / 400)


def test_a_large_page_is_painted_within_a_second(show):
    mt.random.seed(0)
    config = TransformerConfig(vocab_size=100, d_model=128, n_heads=8, n_encoder_layers=6, n_decoder_layers=6, d_ff=128)
    ids = np.random.default_rng(0).integers(3, 100, size=60)
    shown = show(explain(Transformer(config), ids, target=ids[1:]).to_html())
    script = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    paint = shown.page.wait_for_function(script).json_value()
    assert paint < 1000, paint
    took = shown.page.evaluate("() => { const start = performance.now(); go(9); return performance.now() - start; }")
    assert took < 1000, took
    shown.check_fits()
