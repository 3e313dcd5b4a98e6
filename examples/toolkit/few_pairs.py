"""Learning one more task of text to text from a few of its pairs, by a T5 that knows other tasks
and by a new one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from minitensor.models.t5 import T5
from toolkit.answering import Answerer, Settings, encode, exact_match, make_model
from toolkit.batches import Batches, drop_long
from toolkit.console import UserError, counted
from toolkit.corpus import Corpus, Pair
from toolkit.finetuning import PRETRAINED, Plan, compare, shuffled
from toolkit.pairs import PairTask
from toolkit.text_tasks import task_of
from toolkit.tokenizer import Tokenizer

__all__ = ["FewPairs", "compare_few_pairs", "pairs_of", "without"]

MAX_TOKENS = 512  # positions in a batch, on either side
TESTED = 200  # inputs that are answered at a test, at most


def without(corpus: Corpus, tasks: Sequence[str]) -> Corpus:
    """The corpus but for these tasks. Raises UserError for one that it does not have, and if none
    is left.
    """
    known = list(corpus.tests)
    for name in tasks:
        if name not in known:
            raise UserError(f"--without: there is no task {name!r}; there are {', '.join(map(repr, known))}")
    if set(tasks) == set(known):
        raise UserError("--without leaves out all tasks; at least one is needed to train on")
    train, validation = (
        [pair for pair in part if task_of(pair[0]) not in tasks] for part in (corpus.train, corpus.validation)
    )
    tests = {name: pairs for name, pairs in corpus.tests.items() if name not in tasks}
    return dataclasses.replace(corpus, train=train, validation=validation, tests=tests)


def pairs_of(corpus: Corpus, task: str) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """The pairs of one task to train on, to validate by, and to test by."""
    train, validation = (
        [pair for pair in part if task_of(pair[0]) == task] for part in (corpus.train, corpus.validation)
    )
    return train, validation, corpus.tests[task]


class FewPairs(PairTask):
    """Pairs of one task, as a task for `toolkit.trainer`."""

    def __init__(self, answerer: Answerer, settings: Settings, chosen: Sequence[Pair], test: Sequence[Pair]) -> None:
        """Train the model of ``answerer`` on the pairs ``chosen``, and test it by ``test``."""
        self.model: T5 = answerer.model
        self.answerer, self.settings, self.test = answerer, settings, test
        self.batches, self.validation = self._batches(chosen), self._batches(test)

    def _batches(self, pairs: Sequence[Pair]) -> Batches:
        source_ids, target_ids = (encode(self.answerer.tokenizer, texts) for texts in zip(*pairs, strict=True))
        sources, targets, _ = drop_long(source_ids, target_ids, _longest(self.settings))  # of the test pairs, see below
        return Batches(sources, targets, MAX_TOKENS, self.settings.seed)

    def validate(self) -> dict[str, float]:
        """The loss per token of the test pairs, and the share that is answered exactly right."""
        share, _ = exact_match(self.answerer, self.test, tell=False)
        return {**super().validate(), "accuracy": share}


def _longest(settings: Settings) -> int:
    """Tokens of either side, with STOP."""
    return min(settings.max_length, MAX_TOKENS)


def _readable(pairs: Sequence[Pair], tokenizer: Tokenizer, settings: Settings) -> list[Pair]:
    """The pairs that can be trained on: so many as are asked for are to be so many in training."""
    sides = (encode(tokenizer, [pair[side] for pair in pairs]) for side in (0, 1))
    return [pair for pair, *ids in zip(pairs, *sides, strict=True) if max(map(len, ids)) < _longest(settings)]


def compare_few_pairs(
    plan: Plan, corpus: Corpus, task: str, known: Answerer, settings: Settings, path: str | os.PathLike[str]
) -> None:
    """Fine-tune by the plan on pairs of ``task``, and print and draw the exact matches.

    known: the pre-trained model, with its tokenizer; ``settings`` are those it was made by.
    """
    train, validation, test = pairs_of(corpus, task)
    train = _readable(train, known.tokenizer, settings)
    if max(plan.amounts) > len(train):
        raise UserError(
            f"--examples {max(plan.amounts)}: {task!r} has {counted(len(train), 'pair')} to train on that the model can read;"
            " give at most so many"
        )
    tokenizer, by = known.tokenizer, validation if plan.validate else test
    held_out = known.short_enough(by[:TESTED], task)[0]
    print(f"fine-tuning on {task!r}, which the run has not been trained on:")
    print(
        f"  {counted(len(held_out), 'input')} of the {'validation' if plan.validate else 'test'} part to be answered exactly"
    )

    def make_task(start: str, amount: int, seed: int) -> FewPairs:
        ours = dataclasses.replace(settings, seed=seed, device=known.device)
        model = make_model(ours, tokenizer.vocab_size, known.device)
        if start == PRETRAINED:
            model.load_state_dict(known.model.state_dict())
        answerer = Answerer(model, tokenizer, settings.max_length, known.device)
        return FewPairs(answerer, ours, [train[place] for place in shuffled(len(train), seed)[:amount]], held_out)

    compare(plan, make_task, "examples", path, f"{task}: exactly right of unseen inputs")
