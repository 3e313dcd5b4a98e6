# %% [markdown]
# # 14. GPT, BERT, T5 and ViT: one block, four jobs
#
# Four famous models, and the block of lesson 12 in all. They differ in the **mask** (who sees
# whom), the **objective** (what is asked), the **positions**, and what a **token** is.
#
# One tiny world for all: series that count in steps of 1, 2 or 3, modulo 10: `3 5 7 9 1 3 ...`.

# %%
import numpy as np

import minitensor as mt
from lessons import claim
from minitensor import optim
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.vit import ViT, ViTConfig

PAD, STOP, MASK, FIRST = 0, 1, 2, 3  # the id of digit d is FIRST + d
IGNORED, T, WORDS, B = -100, 8, 13, 64  # a target that has no loss; tokens, words, series in a batch
dice = np.random.default_rng(0)


def series(n):
    """The ids of ``n`` series (n, T)."""
    return FIRST + (dice.integers(0, 10, (n, 1)) + dice.integers(1, 4, (n, 1)) * np.arange(T)) % 10


def fit(model, steps, loss_of, lr=0.003):
    """Train; returns the last loss."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (loss := loss_of()).backward()
        optimizer.step()
    return loss.item()


def sees(function, place=4):
    """An x where the output changes if the token at ``place`` does."""
    ids = FIRST + np.arange(T)[None]
    other = np.where(np.arange(T) == place, FIRST + 9, ids)
    difference = abs(function(ids) - function(other)).numpy()[0].max(axis=-1)
    return "".join("x" if d > 1e-6 else "." for d in difference)


small = dict(d_model=32, n_layers=1, n_heads=4, d_ff=64, dropout=0.0, attention_dropout=0.0)
mt.random.seed(0)

# %% [markdown]
# ## GPT: what comes next?
#
# The mask is causal. Each place is asked for the next token, and a model that answers can write
# (Radford et al. 2018, 2019). At the first place nobody knows the step yet: the loss stays above 0.

# %%
gpt = GPT(GPTConfig(vocab_size=WORDS, max_length=T, embedding_dropout=0.0, **small))
loss = fit(gpt, 200, lambda: gpt.loss(series(B)), lr=0.01)  # the targets are the ids, one further
gpt_sees = sees(gpt)
x = series(200)
wrote = np.mean([a == b for a, b in zip(gpt.generate(x[:, :3], max_new_tokens=5), x[:, 3:].tolist())])
print(f"loss {loss:.2f}; place 4 is seen at {gpt_sees}; goes on rightly after 3 digits: {wrote:.0%}")

# %% [markdown]
# ## BERT: what was here?
#
# No mask: each place sees both sides. Asked "what comes next", it would just look. So some tokens
# are hidden behind a mask token, and only these have a loss (Devlin et al. 2019). To fill a hole at
# the *start* it has to use what comes later, which GPT cannot.


# %%
def holes(ids, share=0.3):
    """The ids with some hidden, and the targets: the hidden ones."""
    hidden = dice.random(ids.shape) < share
    return np.where(hidden, MASK, ids), np.where(hidden, ids, IGNORED)


def bert_loss():
    """The loss of a new batch."""
    ids, words = holes(series(B))
    return bert.loss(ids, words=words)


bert = BERT(BERTConfig(vocab_size=WORDS, max_length=T, mlm_head=True, init_std=0.1, **small))
loss = fit(bert, 250, bert_loss, lr=0.004)
bert_sees = sees(bert)
question = np.where(np.arange(T) < 2, MASK, x)  # ? ? 7 9 1 3 5 7
filled = (bert.word_logits(bert(question)).numpy().argmax(axis=-1) == x)[:, :2].all(axis=1).mean()
print(f"loss {loss:.2f}; place 4 is seen at {bert_sees}; both first digits filled in rightly: {filled:.0%}")

# %% [markdown]
# ## T5: text in, text out
#
# An encoder that sees both sides, and a causal decoder (lesson 13). A *span* is cut out of the
# source, a sentinel left in its place; the decoder writes the span (Raffel et al. 2020). Positions
# are not added to words: each head adds a number to its scores, one for each distance.


# %%
def spans(ids):
    """Sources with two digits cut out, and these two, with a stop token."""
    n, start = len(ids), dice.integers(0, T - 1, (len(ids), 1))
    inside = (np.arange(T) - start) // 2 == 0
    sources = np.where(inside, MASK, ids)[np.arange(T) != start + 1].reshape(n, T - 1)
    return sources, np.hstack([ids[inside].reshape(n, 2), np.full((n, 1), STOP)])


def t5_loss():
    """The loss of a new batch; the decoder starts from padding."""
    sources, targets = spans(series(B))
    return t5.loss(sources, np.hstack([np.full((B, 1), PAD), targets[:, :-1]]), targets)


layers = dict(n_encoder_layers=1, n_decoder_layers=1, n_heads=4, d_head=8, n_buckets=16, max_distance=32)
t5 = T5(T5Config(vocab_size=WORDS, d_model=32, d_ff=64, dropout=0.0, tie_output=False, **layers))
loss = fit(t5, 300, t5_loss, lr=0.005)
sources, targets = spans(x)
restored = np.mean([a == b for a, b in zip(t5.generate(sources), targets[:, :2].tolist())])
bias = t5.encoder.positions(6).numpy()[0, 0]  # (T, S) of the first head
one_each = bool((bias[1:, 1:] == bias[:-1, :-1]).all())
print(f"loss {loss:.2f}; spans restored: {restored:.0%}; one bias for each distance: {one_each}")

# %% [markdown]
# ## ViT: an image is a sentence of patches
#
# Cut the image into squares, flatten each, map it to a vector: that is a token (Dosovitskiy et al.
# 2021). The rest is BERT, with a class token in front. Here: is the bright bar upright or level?


# %%
def bars(n):
    """Noisy images (n, 1, 8, 8) with a bar, and labels: 1 if it is upright."""
    images, labels = 0.3 * dice.random((n, 8, 8)), dice.integers(0, 2, n)
    for image, upright in zip(images, labels):
        (image.T if upright else image)[dice.integers(0, 8)] += 0.7
    return images[:, None].astype(np.float32), labels


vit = ViT(ViTConfig(image_size=8, patch_size=4, n_channels=1, n_classes=2, **small))
loss = fit(vit, 100, lambda: vit.loss(*bars(B)))
images, labels = bars(200)
seen = (vit.predict(images).numpy().argmax(axis=-1) == labels).mean()
print(f"loss {loss:.2f}; {vit.patches(mt.tensor(images)).shape[1]} patches an image; new ones right: {seen:.0%}")

# %%
claim("a change of word 4 changes the answers of GPT at", gpt_sees, equals="....xxxx")
claim("a change of word 4 changes the answers of BERT at", bert_sees, equals="xxxxxxxx")
claim("the lowest share right of the four jobs", float(min(wrote, filled, restored, seen)), at_least=0.6)
