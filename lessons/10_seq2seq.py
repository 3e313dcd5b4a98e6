# %% [markdown]
# # 10. Sequence to sequence, and the bottleneck
#
# A translator reads one sentence and writes another, of another length. Two recurrent networks do
# it (Sutskever, Vinyals and Le 2014; Cho et al. 2014):
#
# - the *encoder* reads the source; its last state is all that it hands over, the *context*;
# - the *decoder* starts from that state and writes one word after the other.
#
# The simplest "translation" that needs every word: repeat the source. We look at how well that goes
# with longer sources.

# %%
import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from lessons import claim, picture
from minitensor import nn, optim

START, STOP, SYMBOLS = 0, 1, 8  # ids: start token, stop token, then 2 to 9


class Seq2Seq(nn.Module):
    """Encoder, decoder, and a linear map to the logits of the next symbol."""

    def __init__(self, hidden=32):
        self.embedding = nn.Embedding(2 + SYMBOLS, hidden)
        self.encoder = nn.GRU(hidden, hidden)
        self.decoder = nn.GRU(hidden, hidden)
        self.output = nn.Linear(hidden, 2 + SYMBOLS)

    def forward(self, source, target_in):
        """Logits (B, T, V) of the symbol after each symbol of target_in (B, T)."""
        _, context = self.encoder(self.embedding(source))  # (1, B, H)
        states, _ = self.decoder(self.embedding(target_in), context)  # (B, T, H)
        return self.output(states)


# %% [markdown]
# ## Teacher forcing
#
# In training the decoder does not read its own words, which are wrong at first. It reads the right
# ones, shifted by one place: at each place it knows what came before, and must say what comes next.
#
#     reads     <start>  5   3   7
#     must say     5     3   7  <stop>
#
# If both rows were the same, it would only have to copy its input: a loss of 0, and nothing learnt.


# %%
def teacher_forcing(target):
    """What the decoder reads and what it must say, both (B, T + 1), of targets (B, T)."""
    rows = len(target)
    reads = np.hstack([np.full((rows, 1), START), target])
    says = np.hstack([target, np.full((rows, 1), STOP)])
    return reads, says


print(*teacher_forcing(np.array([[5, 3, 7]])))

# %% [markdown]
# Training: sources of 1 to 10 random symbols, one length to a batch, so that nothing is padded. A
# batch of short ones has a low loss, one of long ones a high loss: the numbers jump.


# %%
def train(model, steps=300, longest=10):
    """Teach the model to repeat its source."""
    dice = np.random.default_rng(0)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.CosineLR(optimizer, steps, warmup_steps=20)
    for step in range(steps):
        source = dice.integers(2, 2 + SYMBOLS, (32, dice.integers(1, longest + 1)))
        reads, says = teacher_forcing(source)
        loss = F.cross_entropy(model(source, reads), says)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:3}  loss {loss.item():.2f} nats a symbol")


mt.random.seed(0)
model = Seq2Seq()
train(model)

# %% [markdown]
# ## Decoding
#
# Now nobody tells the right words. The decoder starts with the start token, takes the most probable
# symbol (*greedy*), reads it, and goes on until it says stop. Here is a plain form, which runs the
# whole prefix again at each step. Lesson 15 says how to save that.


# %%
@mt.no_grad
def generate(model, source, limit=12):
    """One list of symbols for each source (B, S), without start and stop."""
    reads = np.full((len(source), 1), START)
    for _ in range(limit):
        newest = model(source, reads)[:, -1].numpy().argmax(axis=-1)  # (B,)
        reads = np.hstack([reads, newest[:, None]])
    rows = [row[1:].tolist() for row in reads]
    return [row[: row.index(STOP)] if STOP in row else row for row in rows]


def accuracy(model, length, sentences=200):
    """The share of sources of this length that are repeated without an error."""
    source = np.random.default_rng(length).integers(2, 2 + SYMBOLS, (sentences, length))
    return float(np.mean([a == b for a, b in zip(generate(model, source), source.tolist())]))


print("source ", [2, 9, 4], "-> answer", generate(model, np.array([[2, 9, 4]]))[0])

# %% [markdown]
# ## The bottleneck
#
# The context is 32 numbers, whatever the source. The longer the source, the more must go through
# the same 32 numbers.

# %%
right = {length: accuracy(model, length) for length in (1, 2, 4, 6, 8, 10)}
for length, share in right.items():
    print(f"{length:2} symbols: {share:4.0%} repeated without an error")


@picture("Sources repeated without an error, by their length", height=2.6)
def _(axes):
    axes.plot(list(right), list(right.values()), "o-")
    axes.set(xlabel="symbols", ylabel="share right", ylim=(-0.05, 1.05))


# %% [markdown]
# More training and a larger state move the edge. They do not remove it: a sentence of any length
# has to pass through a vector of one length. Lesson 11 opens a second road.

# %%
claim("sources of 2 symbols that come out right through the fixed context", right[2], at_least=0.9)
claim("sources of 8 symbols", right[8], at_most=0.2)
