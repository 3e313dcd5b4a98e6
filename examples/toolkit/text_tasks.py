"""Tasks of text to text that need no download: each input starts with the name of its task and has
one right output.

    translate English to French: The cat sleeps.  ->  Le chat dort.
    plural: The cat sees a mouse.                 ->  The cats see some mice.
    negate: He went to the market.                ->  He did not go to the market.
    sort: 71 8 30                                 ->  8 30 71
    add: 478 + 85                                 ->  563

Sentences are clauses of `toolkit.english_french_grammar`, changed as clauses and then spelled out
again, so that verbs, articles and do-support follow; numbers are drawn. An input that is held out
differs from all that are trained on by more than the order of its words: neither ``85 + 478`` nor
the same numbers to be sorted are among them.

>>> made = corpus(sizes={"add": 20, "sort": 20}, held_out=5)
>>> len(made.train), {name: len(pairs) for name, pairs in made.tests.items()}
(40, {'add': 5, 'sort': 5})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from toolkit.blank import stripped
from toolkit.corpus import Corpus, Pair
from toolkit.english_french import LENGTHS, Dice, draw
from toolkit.english_french_grammar import Clause, NounPhrase
from toolkit.english_french_words import ADJECTIVES, NOUNS, PRONOUNS, Subject

__all__ = ["SIZES", "TASKS", "corpus", "negative", "plural", "task_of"]

SIZES = {"translate English to French": 16_000, "plural": 8_000, "negate": 8_000, "sort": 25_000, "add": 32_000}
HELD_OUT = 500  # inputs of each task to test by, and as many to validate by
LONGEST_LIST, MOST = 5, 100  # numbers to be sorted, each below MOST
SUM = 1000  # operands are below it
TRIES = 1000  # draws in vain, one after the other, from which on a task has no more inputs


# --- sentences ------------------------------------------------------------------------------------


def negative(clause: Clause) -> Clause | None:
    """The clause with "not"; None for one that is negative already, and for a question."""
    return None if clause.negation or clause.question else replace(clause, negation="not")


def plural(clause: Clause) -> Clause:
    """The clause with all nouns and pronouns in the plural; names stay."""
    place = clause.place and (*clause.place[:2], replace(clause.place[2], plural=True))
    thing = clause.object and replace(clause.object, plural=True)
    that = clause.that and plural(clause.that)
    return replace(clause, subject=_plural_subject(clause.subject), object=thing, place=place, that=that)


def _plural_subject(subject: Subject) -> Subject:
    if subject.noun is None:
        word = {"I": "we", "he": "they", "she": "they"}.get(subject.english)
        return PRONOUNS[word] if word else subject
    noun, *adjectives = subject.lemmas
    first = subject.english.split()[0]
    determiner = {"an": "a", "some": "a", "these": "this"}.get(first, first)
    words = tuple(ADJECTIVES[lemma] for lemma in adjectives)
    return NounPhrase(determiner, NOUNS[noun], plural=True, adjectives=words).subject()


def _sentence(dice: Dice) -> Clause:
    """A clause of the length that sentences of the embedded corpus have."""
    while len((clause := draw(dice)).english().split()) not in LENGTHS:
        pass
    return clause


def _translate(dice: Dice) -> Pair | None:
    clause = _sentence(dice)
    return clause.english(), clause.french()


def _plural(dice: Dice) -> Pair | None:
    clause = _sentence(dice)
    before, after = clause.english(), plural(clause).english()
    return None if before == after else (before, after)


def _negate(dice: Dice) -> Pair | None:
    clause = _sentence(dice)
    opposite = negative(clause)
    return (clause.english(), opposite.english()) if opposite else None


# --- numbers --------------------------------------------------------------------------------------


def _sort(dice: Dice) -> Pair | None:
    numbers = [dice.pick(range(MOST)) for _ in range(dice.pick(range(2, LONGEST_LIST + 1)))]
    return " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers)))


def _add(dice: Dice) -> Pair | None:
    one, other = dice.pick(range(SUM)), dice.pick(range(SUM))
    return f"{one} + {other}", str(one + other)


# --- all together ---------------------------------------------------------------------------------

TASKS: dict[str, Callable[[Dice], Pair | None]] = {  # an input and its output; None if the drawn clause has none
    "translate English to French": _translate,
    "plural": _plural,
    "negate": _negate,
    "sort": _sort,
    "add": _add,
}


def task_of(text: str) -> str:
    """The name before the first colon; "" if there is no colon."""
    return stripped(text.partition(":")[0]) if ":" in text else ""


def corpus(seed: int = 0, sizes: Mapping[str, int] = SIZES, held_out: int = HELD_OUT) -> Corpus:
    """Pairs of the tasks named in ``sizes``, that many of each to train on; the test sets have the
    names of the tasks.

    A task's pairs depend on the seed, the task and the numbers asked for, not on the other tasks.
    Raises ValueError for more pairs than a task has, KeyError for an unknown task.
    """
    train: list[Pair] = []
    validation: list[Pair] = []
    tests: dict[str, list[Pair]] = {}
    for number, (name, draw_pair) in enumerate(TASKS.items()):
        if name in sizes:
            pairs = _distinct(name, draw_pair, Dice(len(TASKS) * seed + number), sizes[name] + 2 * held_out)
            tests[name] = pairs[:held_out]
            validation += pairs[held_out : 2 * held_out]
            train += pairs[2 * held_out :]
    return Corpus(train, validation, {name: tests[name] for name in sizes})


def _distinct(name: str, draw_pair: Callable[[Dice], Pair | None], dice: Dice, count: int) -> list[Pair]:
    """``count`` pairs with the task's name before each input, no two of which have the same words
    in another order.
    """
    seen = set()
    pairs: list[Pair] = []
    in_vain = 0
    while len(pairs) < count:
        pair = draw_pair(dice)
        words = tuple(sorted(pair[0].split())) if pair else ()
        if pair is None or words in seen:
            in_vain += 1
            if in_vain == TRIES:
                raise ValueError(f"the task {name!r} has no {count} different inputs; ask for fewer")
            continue
        seen.add(words)
        pairs.append((f"{name}: {pair[0]}", pair[1]))
        in_vain = 0
    return pairs
