"""A beam search: what it finds, beside what can be found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitensor.testing.invariants.decoding import log_probabilities
from minitensor.testing.invariants.inputs import Inputs
from minitensor.testing.invariants.subjects import subject_of
from minitensor.testing.invariants.words import Held, fail, numbered

__all__ = ["beam_search"]


def beam_search(
    model: Any, inputs: Any, *, max_new_tokens: int = 3, length_penalties: Sequence[float] = (0.0, 0.6, 2.0),
    widths: Sequence[int] = (1, 2, 3, 4),
    start_id: int | None = None, stop_id: int | None = None, over: int | str | None = None,
    generate: Callable[..., Any] | None = None, penalty: Callable[..., Any] | None = None,
    call: Callable[..., Any] | None = None, tolerance: float | None = None, seed: int = 0,
) -> Held:  # fmt: skip
    """A beam that is wide enough finds the best of all sentences, for every length penalty; a
    narrow one finds nothing worse than a plain beam of its width.

    The best is found by looking: every sentence of up to ``max_new_tokens`` tokens is scored by
    ``model`` without a cache, ``log P / penalty(length)``, the stop token counted; an unfinished
    one wins over none of these. That is for tiny vocabularies: 5 tokens make 21 sentences of up to
    3 tokens, 10 make 91.

    What a narrow beam should find is not one thing, so that it is compared by value with plain
    beams that keep every complete sentence, end as soon as there are as many as the beam is wide,
    and prune the others by log P. They are of three kinds: k live hypotheses whatever is completed;
    the best k continuations, of which those that are complete leave; or a beam that gets narrower
    with each of these. All answers of a width must be at least as good as those of one kind.
    Searches in which two hypotheses at the edge of a beam are equally probable are left out.

    inputs: of an encoder-decoder those of ``generate``, such as the source (B, S); of a language
    model the prompts (B, T). start_id: what a target begins with, None for a language model;
    default: of ``model.config``. stop_id: likewise. over: the name (or number) of the input of
    ``model`` that takes the target; default: 1, or of a language model the prompts'. generate:
    ``generate(*inputs, max_new_tokens=3, beam_size=k, length_penalty=a)`` gives a list of ids for
    each row, without stop; default ``model.generate``. penalty: ``penalty(length, a)``; default:
    ``model.penalty`` if it has one, otherwise ``((5 + length) / 6) ** a`` (equation 14 of Wu et al.
    2016, arXiv:1609.08144). widths: the narrow beams; () for one that lets complete sentences
    compete with unfinished ones, or prunes by more than log P. tolerance: sentences whose scores
    are as near as that are equally good. The rest is as in `no_look_ahead`.
    """
    s, name = subject_of(model, call), "beam_search"
    x = Inputs(inputs, s, seed)
    config = getattr(model, "config", None)
    start_id = getattr(config, "start_id", None) if start_id is None else start_id
    stop_id = getattr(config, "stop_id", None) if stop_id is None else stop_id
    if stop_id is None or not np.isscalar(stop_id):
        raise ValueError(f"{name}: give stop_id, the one token that ends a sentence, got {stop_id!r}")
    search = generate or model.generate
    own = getattr(model, "penalty", None)
    penalty = penalty or (own if callable(own) else _wu)
    count, rows = x.rows(name, least=1)
    over = (rows[0] if start_id is None else 1) if over is None else over
    bound = s.tolerance if tolerance is None else float(tolerance)
    greedy_too, beyond = True, []
    with s.kept(), s.no_grad():
        tables = [
            _Sentences(s, x.taken(rows, np.arange(b, b + 1)), rows, over, start_id, stop_id, max_new_tokens)
            for b in range(count)
        ]
        args, kwargs = x.called()

        def answers(width, alpha):
            how = dict(max_new_tokens=max_new_tokens, beam_size=width, length_penalty=alpha)
            return [[int(token) for token in answer] for answer in search(*args, **kwargs, **how)]

        # A stop completes a sentence if it is among as many continuations: all are.
        wide = tables[0].table.shape[-1] ** max_new_tokens
        for alpha in length_penalties:
            for row, (answer, table) in enumerate(zip(answers(wide, alpha), tables, strict=True)):
                best, value = table.best(lambda total, n, a=alpha: total / penalty(n, a))
                mine = table.value(tuple(answer), alpha, penalty)
                greedy_too &= list(best) == table.greedy()
                if list(best) != answer and not (
                    mine is not None and abs(value - mine) <= bound * max(1.0, abs(value))
                ):
                    _not_the_best(s, row, alpha, answer, mine, best, value, table, wide)
        for width in widths:
            found = {
                (row, alpha): tuple(answer)
                for alpha in length_penalties
                for row, answer in enumerate(answers(width, alpha))
            }
            beyond += _narrow(s, width, found, tables, penalty, bound)
    notes = []
    if greedy_too:
        notes.append("every answer is that of greedy search: a trained model, or larger weights, would say more")
    if len(beyond) > 2 and all(beyond):
        notes.append(f"beams of {numbered(widths)} find what only wider ones should: beam_size may have no say")
    return Held(name, count * len(length_penalties) * (1 + len(widths)), notes=tuple(notes))


def _wu(length, alpha):
    return ((5.0 + length) / 6.0) ** alpha


class _Sentences:
    """Every sentence of one input with its log-probability, the stop token's included."""

    def __init__(self, s, x, rows, over, start_id, stop_id, limit):
        prompt = x.values[over] if start_id is None else np.array([[start_id]])
        width = s.run(x.replaced({over: prompt})).shape[-1]
        others = [token for token in range(width) if token != stop_id]
        self.words, self.stop_id, self.limit = others, stop_id, limit
        prefixes = np.array(list(itertools.product(others, repeat=limit - 1)), dtype=np.int64).reshape(-1, limit - 1)
        if len(prefixes) > 20_000:
            raise ValueError(
                f"beam_search: {len(prefixes)} sentences of {limit} out of {width} tokens are too many: take a model of a smaller "
                "vocabulary, or fewer new tokens"
            )
        whole = x.taken([key for key in rows if key != over], np.zeros(len(prefixes), dtype=int))
        ids = np.concatenate([np.repeat(prompt, len(prefixes), axis=0), prefixes], axis=1)
        logits = s.run(whole.replaced({over: ids}))[:, prompt.shape[1] - 1 :]
        self.table = log_probabilities(logits)  # (P, limit, V)
        self.totals, self.unfinished = {}, {}
        for i, prefix in enumerate(prefixes.tolist()):
            total = 0.0
            for n in range(limit):
                self.totals[tuple(prefix[:n])] = total + self.table[i, n, stop_id]
                if n < limit - 1:
                    total += self.table[i, n, prefix[n]]
            for token in others:
                self.unfinished[(*prefix, token)] = total + self.table[i, limit - 1, token]

    def best(self, value):
        """The best complete sentence by ``value(total, length)``, and its value."""
        scored = {words: value(total, len(words) + 1) for words, total in self.totals.items()}
        words = max(scored, key=lambda key: scored[key])
        return words, scored[words]

    def value(self, words, alpha, penalty):
        """The value of a complete sentence, None if it is none."""
        return None if words not in self.totals else self.totals[words] / penalty(len(words) + 1, alpha)

    def worth(self, words, alpha, penalty):
        """What answers are compared by: complete ones before others, then the value or log P; None
        for what is neither complete nor as long as may be.
        """
        if (value := self.value(words, alpha, penalty)) is not None:
            return True, value
        return (False, self.unfinished[words]) if words in self.unfinished else None

    def greedy(self):
        """The most probable token each time."""
        words: list[int] = []
        while len(words) < self.limit:
            token = int(self.next(words).argmax())
            if token == self.stop_id:
                break
            words.append(token)
        return words

    def next(self, words):
        """Log-probabilities of the token after ``words``."""
        place = 0
        for token in words[: self.limit - 1]:
            place = place * len(self.words) + self.words.index(token)
        place *= len(self.words) ** (self.limit - 1 - min(len(words), self.limit - 1))
        return self.table[place, len(words)]


def _not_the_best(s, row, alpha, answer, mine, best, value, table, width):
    words = tuple(answer)
    score = "which is no complete sentence" if mine is None else f"of value {mine:.6g}"
    evidence = f"the best of all {len(table.totals)} sentences is {list(best)}, of value {value:.6g}"
    fail(
        "beam_search", s.name, f"for row {row} a beam of {width} with length penalty {alpha} finds {answer}, {score}",
        evidence, cause=_why(words, alpha, best, table),
        cure="divide log P by the penalty of the length with the stop token; keep complete sentences aside with their values, and "
        "go on until no live one can exceed them",
    )  # fmt: skip


def _why(words, alpha, best, table):
    """Every mistake that gives exactly this sentence."""
    if any(token == table.stop_id for token in words):
        return "a complete sentence goes on behind its stop token, or the stop token is not taken off"
    guesses = {
        "the length penalty is not applied": lambda total, n: total,
        "the length is counted without the stop token": lambda total, n: total / _wu(n - 1, alpha),
        "the penalty is length ** alpha": lambda total, n: total / n**alpha,
        "log P is multiplied by the penalty in the place of divided": lambda total, n: total * _wu(n, alpha),
    }
    causes = [cause for cause, value in guesses.items() if alpha and words == table.best(value)[0]]
    if list(words) == table.greedy():
        causes.append("the search is greedy: only one hypothesis lives")
    if words not in table.totals:
        causes.append("an unfinished sentence wins over complete ones")
    elif len(words) < len(best):
        causes.append("the search ends too early: with the first complete sentence, before longer ones can be better")
    else:
        causes.append(
            "complete sentences are forgotten when the search goes on, or steps use the state of another hypothesis"
        )
    return "; or ".join(causes)


# --- narrow beams ---------------------------------------------------------------------------------


KINDS = ("as many live hypotheses", "those that are complete leave", "narrower with each that is complete")


def _narrow(s, width, found, tables, penalty, bound):
    """Fail if for every kind of plain beam an answer is worse.

    Returns, for each search in which all of these miss the best sentence, whether the answer is it.
    """
    plain, worse = {}, {kind: list[Any]() for kind in KINDS}
    for (row, alpha), answer in found.items():
        worth = tables[row].worth(answer, alpha, penalty)
        for kind in KINDS:
            other = _plain(tables[row], width, alpha, penalty, kind, bound)
            plain[row, alpha, kind] = other
            if other is None:
                continue
            expected = tables[row].worth(other, alpha, penalty)
            near = bound * max(1.0, abs(expected[1]))
            if worth is None or worth < (expected[0], expected[1] - near):
                worse[kind].append((row, alpha, answer, worth, other, expected))
    if all(worse.values()):
        row, alpha, answer, worth, other, expected = min(worse.values(), key=len)[0]
        score = "no sentence of the length asked for" if worth is None else _scored(worth)
        fail(
            "beam_search", s.name,
            f"for row {row} a beam of {width} with length penalty {alpha} finds {list(answer)}, {score}",
            f"a plain beam of {width} finds {list(other)}, {_scored(expected)}; no kind of plain beam explains all answers",
            cause="complete sentences compete with unfinished ones and are lost, hypotheses are kept for something else than the "
            "sum of their log-probabilities, steps use the state of another hypothesis, or the beam is narrower than asked",
            cure="prune by the log P of all tokens so far, keep complete sentences aside with their values; widths=() for a beam "
            "that makes another choice",
        )  # fmt: skip
    beyond = []
    for (row, alpha), answer in found.items():
        best = tables[row].best(lambda total, n, a=alpha: total / penalty(n, a))[0]
        if all(plain[row, alpha, kind] not in (None, best) for kind in KINDS):
            beyond.append(answer == best)
    return beyond


def _scored(worth):
    complete, value = worth
    return f"of value {value:.6g}" if complete else f"which is not complete, of log P {value:.6g}"


def _plain(table, width, alpha, penalty, kind, bound):
    """The answer of a plain beam; None if it hangs on two that are equally probable."""
    live: list[tuple[float, tuple]] = [(0.0, ())]
    complete, room = [], width
    for length in range(1, table.limit + 1):
        grown = [
            (total + more, (*words, token)) for total, words in live for token, more in enumerate(table.next(words))
        ]
        grown.sort(key=lambda one: -one[0])
        stops = [words[-1] == table.stop_id for _, words in grown]
        ends = [room]
        if kind == KINDS[0]:  # the place behind the last one that lives on, too
            ends.append(int(np.flatnonzero(np.cumsum(~np.array(stops)) <= width)[-1]) + 1)
        for end in ends:
            if end < len(grown) and grown[end - 1][0] - grown[end][0] <= bound * max(1.0, abs(grown[end][0])):
                return None
        new = [
            (total / penalty(length, alpha), words[:-1]) for (total, words), stop in zip(grown[:room], stops) if stop
        ]
        complete += new
        live = [one for one, stop in zip(grown[: ends[-1]], stops) if not stop]
        if kind == KINDS[2]:
            room -= len(new)
        if not live or len(complete) >= width:
            break
    return max(complete)[1] if complete else live[0][1]
