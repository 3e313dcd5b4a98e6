# %% [markdown]
# # 13. The whole translator
#
# All parts are there. This lesson joins them, and trains a translator in seconds.
#
# The language: small English, and its German. The article depends on the gender of the noun *and*
# on who acts: "der Hund" sees, one sees "den Hund". And "today" draws the verb: "heute sieht ...".

# %%
import random

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim
from minitensor import nn, optim

NOUNS = {"dog": "m Hund", "king": "m König", "cat": "f Katze", "queen": "f Königin", "child": "n Kind"}
THE = {"m": ("der", "den"), "f": ("die", "die"), "n": ("das", "das")}  # the one who acts; the other
VERBS = {"sees": "sieht", "finds": "findet", "draws": "malt", "hears": "hört", "saves": "rettet"}
ADJECTIVES = {"small": "kleine", "old": "alte", "good": "gute"}  # adjectives; behind "den" they end in n
dice = random.Random(0)


def noun_phrase(acts):
    """Such as "the small dog", and "der kleine Hund" or "den kleinen Hund"."""
    noun, adjective = dice.choice(list(NOUNS)), dice.choice([None, *ADJECTIVES])
    gender, german = NOUNS[noun].split()
    article = THE[gender][0 if acts else 1]
    if adjective is None:
        return f"the {noun}", f"{article} {german}"
    return f"the {adjective} {noun}", f"{article} {ADJECTIVES[adjective]}{'n' * (article == 'den')} {german}"


def sentence():
    """A sentence and its translation."""
    (who, wer), verb, (whom, wen) = noun_phrase(True), dice.choice(list(VERBS)), noun_phrase(False)
    if dice.random() < 0.5:
        return f"{who} {verb} {whom}", f"{wer} {VERBS[verb]} {wen}"
    return f"today {who} {verb} {whom}", f"heute {VERBS[verb]} {wer} {wen}"


pairs = list({sentence(): None for _ in range(1600)})  # distinct ones
test, train = pairs[:60], pairs[60:]
print(len(train), "pairs to learn from, such as", train[0])

# %% [markdown]
# ## Numbers for words
# 0 fills up short sentences, 1 starts and 2 ends a translation.

# %%
PAD, START, STOP = 0, 1, 2
words = ["<pad>", "<start>", "<stop>", *sorted({word for pair in pairs for text in pair for word in text.split()})]
number = {word: i for i, word in enumerate(words)}


def ids(sentences, before=(), after=()):
    """A row of ids for each sentence (B, T), padded on the right."""
    rows = [[*before, *(number[word] for word in text.split()), *after] for text in sentences]
    length = max(map(len, rows))
    return np.array([row + [PAD] * (length - len(row)) for row in rows])


# %% [markdown]
# ## The model
#
# The blocks are those of lesson 12. A decoder block has one part more: it looks at the *memory*,
# the encoder's output (lesson 11). Its own words it sees behind a causal mask.


# %%
class Translator(nn.Module):
    """Encoder and decoder; one table of word vectors serves both, and the output layer."""

    def __init__(self, d_model=32, n_heads=4):
        self.table = nn.Parameter(mt.random.normal((len(words), d_model), std=d_model**-0.5))
        self.positions = nn.SinusoidalPositionalEncoding(d_model)
        self.encoder = nn.TransformerEncoder(1, d_model, n_heads, 64, dropout=0.0, norm_first=True)
        self.decoder = nn.TransformerDecoder(1, d_model, n_heads, 64, dropout=0.0, norm_first=True)

    def embed(self, ids):
        """Word vectors of variance 1, and the waves."""
        return self.positions(self.table[ids] * self.table.shape[1] ** 0.5)

    def forward(self, source, target_in):
        """Logits (B, T, V) of the word after each of target_in (B, T)."""
        real = mt.tensor(source != PAD)[:, None, None, :]  # (B, 1, 1, S): who may be looked at
        memory = self.encoder(self.embed(source), real)  # (B, S, D)
        return self.decoder(self.embed(target_in), memory, memory_mask=real) @ self.table.mT


def fit(model, optimizer, steps):
    """Teacher forcing, as in lesson 10; padding has no loss."""
    for _ in range(steps):
        english, german = zip(*dice.sample(train, 40))
        logits = model(ids(english), ids(german, before=[START]))
        loss = F.cross_entropy(logits, ids(german, after=[STOP]), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# %% [markdown]
# ## Writing it down
#
# *Greedy* takes the most probable word each time. A *beam* keeps the k most probable beginnings,
# lets each grow by every word, and keeps the k best again. The log-probability of a sentence is the
# sum over its words. Greedy is a beam of 1. (Lesson 15 says how to save all the repeated work.)


# %%
@mt.no_grad
def translate(model, text, beam=1, limit=12):
    """The best translation that the beam finds, and its log-probability."""
    growing, done = [(0.0, [START])], []
    for _ in range(limit):
        source = np.repeat(ids([text]), len(growing), axis=0)
        log_p = F.log_softmax(model(source, np.array([row for _, row in growing]))[:, -1]).numpy()  # (k, V)
        grown = [(score + p[w], [*row, w]) for (score, row), p in zip(growing, log_p) for w in np.argsort(-p)[:beam]]
        best = sorted(grown, key=lambda pair: -pair[0])[:beam]
        done += [pair for pair in best if pair[1][-1] == STOP]
        growing = [pair for pair in best if pair[1][-1] != STOP]
        if len(done) >= beam:
            break
    score, row = max(done or growing, key=lambda pair: pair[0])
    return " ".join(words[i] for i in row[1:] if i != STOP), score


mt.random.seed(0)
model = Translator()
optimizer = optim.Adam(model.parameters(), lr=0.005)
print("loss after 60 steps:", f"{fit(model, optimizer, 60):.2f} nats a word")
log_p = [np.mean([translate(model, english, beam)[1] for english, _ in test[:20]]) for beam in (1, 4)]
print(f"log-probability of a sentence: greedy {log_p[0]:.2f}, beam of 4 {log_p[1]:.2f}")

# %% [markdown]
# Half trained, the beam finds sentences that the model itself holds more probable. It is a better
# search, not a better model. Train on.

# %%
print("loss after 250 steps:", f"{fit(model, optimizer, 190):.2f}")
right = np.mean([translate(model, english)[0] == german for english, german in test])
for english, _ in test[:3]:
    print(f"{english} -> {translate(model, english)[0]}")

# %%
claim("log-probability that the beam gains over greedy, half trained", float(log_p[1] - log_p[0]), at_least=0.01)
claim("unseen sentences that come out right, with case and word order", float(right), at_least=0.9)
