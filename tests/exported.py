"""Small translators with random weights, and running what is exported of them."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from toolkit import browser
from toolkit.english_french import corpus
from toolkit.tokenizer import Tokenizer
from toolkit.translation import Settings, make_model

NODE = shutil.which("node")
LONGEST = 40
SMALL = {
    "post-norm": dict(arch="transformer", d_model=16, heads=4, d_ff=24, layers=2, decoder_layers=1),
    "pre-norm, learned": dict(arch="transformer", d_model=12, heads=2, d_ff=8, layers=1, pre_norm=True, positions="learned"),
    "gru": dict(arch="gru", d_model=12, hidden=16, layers=2),
    "lstm, fed": dict(arch="lstm", d_model=12, hidden=8, layers=2, attention="dot", input_feeding=True),
    "rnn, fixed": dict(arch="rnn", d_model=8, hidden=8, layers=3, attention="none"),
}  # fmt: skip


def sentences(seed=1, count=300):
    """Pairs of the embedded language."""
    return corpus(seed=seed, n_train=count, n_validation=0, n_test=0).train


class Small:
    """A translator of some settings, with the sub-words of `sentences` and random weights, large
    enough that what it says depends on all of them.
    """

    device = "cpu"

    def __init__(self, name):
        self.settings = Settings(**SMALL[name], max_length=LONGEST)
        self.tokenizer = Tokenizer.train([text for pair in sentences() for text in pair], 400)
        self.model = make_model(self.settings, self.tokenizer.vocab_size, "cpu").eval()
        numbers = np.random.default_rng(0)
        for _, parameter in self.model.named_parameters():
            parameter.assign(parameter.numpy() + 0.3 * numbers.normal(size=parameter.shape).astype(np.float32))


def run_node(code, **given):
    """What JavaScript prints as JSON; ``GIVEN`` is what is given, and the engine is there. Skipped
    where there is no Node.
    """
    if not NODE:
        pytest.skip("no Node here; the browser tests run the same code")
    head = "const GIVEN = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n"
    whole = f"{head}{browser.script(*browser.ENGINE)}\n(async () => {{ {code} }})()"
    done = subprocess.run(
        [NODE, "-e", whole], input=json.dumps(given), capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def data_of(page):
    """What the program of a page reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.decode("utf-8"), re.DOTALL)[1])
