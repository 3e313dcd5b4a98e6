"""A tiny sentence encoder in a folder, for the tests of the program and of the files that describe
it.
"""

import pytest
from toolkit.wordpieces import CLS, SEP, SPECIAL

import minitensor as mt
from minitensor.models.bert import BERT, BERTConfig


def tiny_encoder(folder, texts):
    """A model of random weights, and a tokenizer of the texts' words that pads to 50 tokens, as
    published ones do; the folder.
    """
    tokenizers = pytest.importorskip("tokenizers")
    words = sorted({word for text in texts for word in text.lower().replace(".", " .").split()})
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    library.normalizer = tokenizers.normalizers.BertNormalizer()
    library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    library.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    library.enable_padding(length=50)
    library.save(str(folder / "tokenizer.json"))
    mt.random.seed(0)
    config = BERTConfig(len(vocabulary), d_model=16, n_layers=1, n_heads=2, d_ff=32, max_length=12, init_std=0.3)
    BERT(config).save_pretrained(folder)
    return folder
