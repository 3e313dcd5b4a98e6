#!/usr/bin/env python3
"""Train one T5 on several tasks at once, each of which says its name before its input, and let it
answer.

    python examples/text_to_text.py              train on the embedded tasks, show what came of it
    python examples/text_to_text.py train --pretrain-steps 1000 --out runs/pretrained
    python examples/text_to_text.py train --data pairs.tsv    (lines of task: input<TAB>output)
    python examples/text_to_text.py answer --run runs/text-to-text "sort: 71 8 30" "negate: I sing."
    python examples/text_to_text.py evaluate --run runs/text-to-text
    python examples/text_to_text.py attention --run runs/text-to-text "add: 478 + 85"
    python examples/text_to_text.py train --without negate sort add --steps 700 --out runs/others
    python examples/text_to_text.py finetune --run runs/others --task negate --examples 16 64 256

The embedded tasks: "translate English to French", "plural", "negate", "sort", "add". `finetune`
learns a task that the run was made `--without` from a few of its pairs, and compares with the same
model trained from scratch on the same pairs. The run folder holds config.json, tokenizer.json,
tasks.json, weights.safetensors, log.jsonl, loss.png, attention.png, finetune.png, and checkpoints/.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import console, text_tasks
from toolkit.answering import Answerer, Settings, Task, exact_match, learn_tokenizer
from toolkit.blank import is_blank
from toolkit.column_names import ASKED
from toolkit.console import UserError, counted
from toolkit.corpus import Corpus, Pair, load_parallel
from toolkit.decoding import add_beam
from toolkit.few_pairs import compare_few_pairs, without
from toolkit.files import read_json, write_text
from toolkit.finetuning import PRETRAINED, SCRATCH, Plan, add_options, plan_of
from toolkit.other_data import load_to_test, tell_seen
from toolkit.plots import attention_heatmap, picture_path
from toolkit.program import Program, digest
from toolkit.reading import as_line, composed
from toolkit.runs import Run, kept_or
from toolkit.text_tasks import task_of
from toolkit.tokenizer import Tokenizer

SHOWN = 2  # answers of each task printed after training
# Pairs of a task, repetitions, updates, learning rates.
FINE_TUNING = Plan((64,), 3, 100, {PRETRAINED: 1e-3, SCRATCH: 2e-3})


class TextToText(Program):
    """Train on pairs of texts; report each task's exact matches, some answers, and what one of them
    looks at.
    """

    name, settings = "text-to-text", Settings
    files = ("tokenizer.json", "tasks.json", "attention.png", "finetune.png")
    data_help = (
        "file of tab-separated pairs, inputs first, which start with the name of a task and a colon (embedded tasks)"
    )

    # --- train ------------------------------------------------------------------------------------

    def add_data_options(self, parser: argparse.ArgumentParser) -> None:
        help = "tasks to leave out, which `finetune` can then learn"
        parser.add_argument("--without", nargs="+", type=composed, metavar="TASK", help=help)

    def describe(self, options: argparse.Namespace) -> dict[str, Any]:
        """The tasks that are left out."""
        return {"without": options.without or []}

    def load(self, data: dict[str, Any]) -> Corpus:
        """The embedded tasks, or the pairs of a file, of which a twentieth each is held out to
        validate and to test by; those that are left out are not among them.
        """
        if data["path"] is None:
            return without(text_tasks.corpus(), data["without"])
        return without(
            _by_task(load_parallel(data["path"], "input", "output", names=ASKED), data["path"]), data["without"]
        )

    def load_whole(self, data: dict[str, Any]) -> Corpus:
        return _by_task(load_parallel(data["path"], "input", "output", whole=True, names=ASKED), data["path"])

    def tested(self, loaded: Corpus) -> list[str]:
        return [source for pairs in loaded.tests.values() for source, _ in pairs]

    def trained(self, loaded: Corpus) -> set[str]:
        return {source for source, _ in (*loaded.train, *loaded.validation)}

    def fingerprint(self, loaded: Corpus) -> str:
        return digest(f"{source}\t{target}\n" for source, target in (*loaded.train, *loaded.validation))

    def notes(self, loaded: Corpus) -> Sequence[str]:
        return loaded.notes

    def make_task(self, loaded: Corpus, settings: Settings, run: Run | None) -> Task:
        """All tasks; a resumed run has its tokenizer already."""
        tokenizer = kept_or(run, "tokenizer.json", Tokenizer.load, lambda: learn_tokenizer(loaded, settings))
        return Task(loaded, tokenizer, settings)

    def save(self, task: Task, run: Run) -> None:
        """The tokenizer, and the names of the tasks."""
        task.tokenizer.save(run.path("tokenizer.json"))
        write_text(run.path("tasks.json"), json.dumps(list(task.tests), ensure_ascii=False) + "\n")

    def sizes(self, task: Task) -> str:
        pairs = f"{counted(len(task.tests), 'task')}, {counted(len(task.batches), 'pair')}"
        words = counted(task.tokenizer.vocab_size, "sub-word")
        dropped = f"; left out {task.dropped:,} of more than {task.longest} tokens" if task.dropped else ""
        return f"{pairs}, {words}, {super().sizes(task)}{dropped}"

    def report(self, run: Run, loaded: Corpus, task: Task) -> None:
        """Exact matches, some answers, and the picture of one."""
        first = _report(task.answerer, loaded)
        attention_heatmap(*task.answerer.attention(first), run.path("attention.png"))
        print(f"see {run.path('loss.png')} and {run.path('attention.png')}; ask by:")
        print(f"  {self.advice('answer', {'--run': run.folder}, first)}")

    # --- the other subcommands --------------------------------------------------------------------

    def commands(self, add: Any) -> None:
        made = add("answer", self.answer, 'answer texts such as "sort: 71 8 30"')
        made.add_argument("texts", nargs="+", type=as_line, metavar="TEXT")
        add_beam(made)

        made = add("evaluate", self.evaluate, "exact matches of each task on inputs that were held out")
        made.add_argument(
            "--data",
            type=console.path,
            metavar="PATH",
            help="other data than the run was trained on, of which all are answered",
        )
        add_beam(made)

        made = add(
            "finetune", self.finetune, "learn a task that was left out from few pairs, pre-trained and from scratch"
        )
        made.add_argument(
            "--task", type=composed, metavar="TASK", help="the task to learn (the first of train --without)"
        )
        made.add_argument("--data", type=console.path, metavar="PATH", help="where the pairs of the run have moved")
        add_options(made, "--examples", "pairs of the task", FINE_TUNING)

        made = add("attention", self.attention, "a picture of what an answer looks at")
        made.add_argument("text", type=as_line, metavar="TEXT")
        made.add_argument(
            "--output", type=console.path, metavar="PNG", help="where to write the picture; into the run if not given"
        )

    def answer(self, options: argparse.Namespace) -> None:
        """Print an answer for each text."""
        _, answerer = self._open(options, options.texts)
        for line in answerer.answer(options.texts, options.beam):
            print(line)

    def evaluate(self, options: argparse.Namespace) -> None:
        """Print each task's exact matches."""
        run, answerer = self._open(options)
        loaded, own = load_to_test(self, run, options.data)
        if not own:
            tell_seen(self, run, loaded)
        _report(answerer, loaded, options.beam, "unseen inputs" if own else f"inputs of {Path(options.data).name}")

    def attention(self, options: argparse.Namespace) -> None:
        """Draw what an answer looks at."""
        run, answerer = self._open(options, [options.text])
        path = picture_path(options.output or run.path("attention.png"))
        print(attention_heatmap(*answerer.attention(options.text), path))

    def finetune(self, options: argparse.Namespace) -> None:
        """Fine-tune the model of a run on a task that was left out."""
        run, answerer = self._open(options)
        data = run.about["data"]
        left_out = data["without"]
        task = options.task or (left_out[0] if left_out else "")
        if task not in left_out:
            how = shlex.quote(task) if task else "TASK"
            raise UserError(
                f"{run.folder} was not made by train --without {how}, which keeps a task to be learned later"
            )
        whole = self.load({**data, "path": options.data or data["path"], "without": []})
        if self.fingerprint(without(whole, left_out)) != data["fingerprint"]:
            raise UserError("the pairs are not those that the run was trained on; give these by --data")
        compare_few_pairs(plan_of(options, FINE_TUNING), whole, task, answerer, run.settings, run.path("finetune.png"))

    def _open(self, options: argparse.Namespace, texts: Sequence[str] = ()) -> tuple[Run, Answerer]:
        """The run given by --run, and its model. Raises UserError for a text that names none of its
        tasks.
        """
        run, device = self.open(options)
        tasks = read_json(run.path("tasks.json"), "list of tasks")
        if not isinstance(tasks, list) or not all(isinstance(name, str) for name in tasks):
            raise UserError(f"{run.path('tasks.json')} is damaged: it holds no list of tasks")
        for number, text in enumerate(texts, start=1):
            if task_of(text) not in tasks or is_blank(text.partition(":")[2]):
                known = ", ".join(f'"{name}: ..."' for name in tasks)
                raise UserError(f"text {number} {text!r} starts with none of the tasks of {run.folder}: {known}")
        return run, Answerer.of(run, options.weights, device)


def _by_task(loaded: Corpus, path: str) -> Corpus:
    """The pairs of a file with its test sets by the names of tasks. Raises UserError for an input
    without one.
    """
    tests: dict[str, list[Pair]] = {}
    for pairs in loaded.tests.values():
        for pair in pairs:
            tests.setdefault(task_of(pair[0]), []).append(pair)
    if not all(task_of(source) for source, _ in (*loaded.train, *loaded.validation)) or "" in tests:
        raise UserError(f'{path} has an input without the name of its task; write such as "sort: 3 1 2"')
    return replace(loaded, tests=tests)


def _report(answerer: Answerer, loaded: Corpus, beam: int = 1, what: str = "unseen inputs") -> str:
    """Print exact matches and some answers of each task; returns the last input shown. ``what``
    they are, in words.
    """
    first = ""
    for name, pairs in loaded.tests.items():
        pairs, remark = answerer.short_enough(pairs, name)
        share, answers = exact_match(answerer, pairs, beam, name)
        print(f"{name}: exact match {share:.1%} of {len(pairs)} {what}{remark}")
        for (first, target), answer in list(zip(pairs, answers, strict=True))[:SHOWN]:
            print(f"  {first}\n    = {answer}" + ("" if answer == target else f"\n    reference: {target}"))
    return first


main = TextToText().main

if __name__ == "__main__":
    sys.exit(console.run(main))
