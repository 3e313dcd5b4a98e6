# %% [markdown]
# # 11. Attention: look it up instead of remembering
#
# Lesson 10 pressed the source into one vector. But the encoder had a state for *each* word, and we
# threw all but the last away. Keep them. At each step let the decoder look at all of them and take
# what it needs now (Bahdanau, Cho and Bengio 2015).
#
# It works like a dictionary that is asked softly. The *query* is the decoder's state. Each source
# place has a *key*, what it answers to, and a *value*, what it gives:
#
#     score of a place    query . key / sqrt(K)
#     weights             softmax of the scores over all places: positive, and they add up to 1
#     answer              the sum of the values, each times its weight

# %%
import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, picture
from minitensor import nn, optim

# %% [markdown]
# Letters: B sentences, T queries, S keys, K features. All queries together are two products.


# %%
def attention(query, key, value):
    """The answers (B, T, V) and the weights (B, T, S)."""
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (B, T, S)
    weights = F.softmax(scores, axis=-1)  # over the keys, not over the queries
    return weights @ value, weights


key = mt.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])  # three places
value = mt.tensor([[[10.0], [20.0], [30.0]]])
answer, weights = attention(8 * key[:, 1:2], key, value)  # a query that points where key 1 points
print("weights", weights.numpy().round(3), "answer", answer.numpy().round(1))

# %% [markdown]
# ## Why the square root
#
# The product of two random vectors of K features, each of mean 0 and variance 1, has variance K.
# Large scores make weights of nearly 0 or 1, where a softmax has no gradient. Divided by sqrt(K),
# scores keep variance 1.

# %%
dice = np.random.default_rng(0)
print("  K   spread of q.k   of q.k / sqrt(K)   largest weight without and with the root")
for K in (4, 64, 1024):
    q, k = (dice.standard_normal((1000, 10, K)) for _ in range(2))
    raw = np.einsum("bk,bsk->bs", q[:, 0], k)
    tops = [F.softmax(mt.tensor(x), axis=-1).numpy().max(axis=-1).mean() for x in (raw, raw / K**0.5)]
    print(f"{K:4}   {raw.std():8.1f}   {(raw / K**0.5).std():12.1f}   {tops[0]:20.2f} {tops[1]:.2f}")

# %% [markdown]
# ## The model of lesson 10, with a few new lines
#
# The encoder's states are keys and values at once. A trained matrix turns the decoder's state into
# the query (the "general" form of Luong, Pham and Manning 2015).

# %%
STOP, SYMBOLS = 1, 8  # the start token is 0


class Seq2Seq(nn.Module):
    """Lesson 10's; with attention the output layer sees what the decoder looked up, too."""

    def __init__(self, attends, hidden=32):
        self.embedding = nn.Embedding(2 + SYMBOLS, hidden)
        self.encoder = nn.GRU(hidden, hidden)
        self.decoder = nn.GRU(hidden, hidden)
        self.attends = attends
        self.query = nn.Linear(hidden, hidden)
        self.output = nn.Linear((1 + attends) * hidden, 2 + SYMBOLS)

    def forward(self, source, target_in, need_weights=False):
        """Logits (B, T, V), and if asked for the weights (B, T, S)."""
        memory, context = self.encoder(self.embedding(source))  # (B, S, H): every state is kept
        states, _ = self.decoder(self.embedding(target_in), context)  # (B, T, H)
        weights = None
        if self.attends:
            found, weights = attention(self.query(states), memory, memory)  # (B, T, H)
            states = mt.concat([states, found], axis=-1)  # (B, T, 2 H)
        logits = self.output(states)
        return (logits, weights) if need_weights else logits


def pairs(source):
    """What the decoder reads and what it must say."""
    return np.pad(source, ((0, 0), (1, 0))), np.pad(source, ((0, 0), (0, 1)), constant_values=STOP)


def train(model, steps=300):
    """Teach the model to repeat 1 to 10 symbols, as in lesson 10."""
    dice = np.random.default_rng(0)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.CosineLR(optimizer, steps, warmup_steps=20)
    for _ in range(steps):
        source = dice.integers(2, 2 + SYMBOLS, (32, dice.integers(1, 11)))
        reads, says = pairs(source)
        loss = F.cross_entropy(model(source, reads), says)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def accuracy(model, length):
    """The share of 200 sources whose every symbol and stop is predicted from those before it."""
    source = np.random.default_rng(length).integers(2, 2 + SYMBOLS, (200, length))
    reads, says = pairs(source)
    return float((model(source, reads).numpy().argmax(axis=-1) == says).all(axis=1).mean())


mt.random.seed(0)
models = [train(Seq2Seq(attends)) for attends in (False, True)]
right = {length: [accuracy(model, length) for model in models] for length in (2, 4, 6, 8, 10)}
for length, (fixed, looking) in right.items():
    print(f"{length:2} symbols: fixed context {fixed:4.0%}, attention {looking:4.0%}")

# %% [markdown]
# ## Where does it look?
#
# Nobody told it that word 3 of the answer comes from word 3 of the source. It found out.

# %%
source = np.random.default_rng(1).integers(2, 2 + SYMBOLS, (200, 7))
_, weights = models[1](source, pairs(source)[0], need_weights=True)  # (B, T, S)


@picture("Where the decoder looks: a row for each symbol that is written, the last one is stop", width=3.6)
def _(axes):
    axes.imshow(weights.numpy()[0], cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(7), source[0].tolist())
    axes.set_yticks(range(8), [*source[0].tolist(), "stop"])
    axes.set(xlabel="source", ylabel="written")


for written, row in zip(source[0], weights.numpy()[0]):
    print(f"{written!s:>4}", "".join(" .:-=+*#%@"[min(int(10 * w), 9)] * 3 for w in row))
found = (weights.numpy()[:, :7].argmax(axis=-1) == np.arange(7)).mean()
print(f"it looks most at the place that it writes in {found:.0%} of the cases; by chance: {1 / 7:.0%}")

# %%
claim("8 symbols come out right through the fixed context", right[8][0], at_most=0.1)
claim("8 symbols come out right with attention", right[8][1], at_least=0.3)
claim("it looks most at the place that it writes", float(found), at_least=0.7)
