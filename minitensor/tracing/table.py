"""The steps of the passes as text that fits a terminal."""

from __future__ import annotations

import shutil
from textwrap import TextWrapper

from minitensor.backend import is_narrow, np
from minitensor.tracing.telling import telling

__all__ = ["IN_FULL", "number_text", "place_of", "plural", "text_of", "value_text"]

IN_FULL = 8  # elements: arrays of no more are shown in full
WIDEST, NARROWEST = 100, 40
LEGEND = (
    "Each step: the node, its module and line; its value and the gradient that came to it, complete; for each input that needs a "
    "gradient the rule, and the contribution to the node behind the arrow. Arrays of more than 8 elements: shape and norm."
)
OUTSIDE = (
    "Lines, modules and some values are not known, as the forward pass ran before the block: write "
    "`with mt.backward_trace() as t:` around it too."
)


def text_of(record, steps=None, width=None):
    """The passes of a Record as text; see ``backward_trace.table``."""
    width = max(min(width or shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST), NARROWEST)
    page = Text(record.graph.nodes, width)
    if record.note:
        page.say(record.note)
        page.lines.append("")
    if not record.passes:
        count = sum(node.kind != "leaf" for node in record.graph.nodes.values())
        page.say(
            f"No backward pass has run in this block, in the thread that opened it; it saw {plural(count, 'op')}."
            if count
            else "Nothing has run in this block: neither an op nor a backward pass. Put the forward pass and "
            "`loss.backward()` into it, in the thread that opened it."
        )
        return "\n".join(page.lines)
    for one in record.passes:
        page.show_pass(one, steps, len(record.passes))
    if any(node.line is None and node.kind in ("op", "fused") for node in record.graph.nodes.values()):
        page.say(OUTSIDE)
    page.say(LEGEND)
    return "\n".join(page.lines)


class Text:
    """Lines of text as they grow. nodes: by id."""

    def __init__(self, nodes, width):
        self.nodes, self.width, self.lines = nodes, width, []

    def say(self, text, indent="", rest=None):
        """Add a paragraph; lines behind the first begin with ``rest``."""
        wrapper = TextWrapper(
            self.width,
            initial_indent=indent,
            subsequent_indent=indent if rest is None else rest,
            break_on_hyphens=False,
        )
        self.lines.extend(line.rstrip() for line in wrapper.wrap(text))

    def show_pass(self, one, most, count):
        """A pass, with at most ``most`` of its steps."""
        roots = ", ".join(self.name(root) for root, _ in one.roots)
        kind = "mt.grad" if one.asked is not None else "backward"
        notes = [plural(len(one.steps), "step")]
        notes += ["recorded"] if one.recorded else []
        notes += [] if one.finished else ["ended by an error"]
        title = f"Pass {one.number + 1}: " if count > 1 else ""
        self.say(f"{title}{kind} from {roots} ({', '.join(notes)})")
        self.lines.append("-" * min(self.width, max(len(self.lines[-1]), 60)))
        number = len(str(len(one.steps)))
        left = 0 if most is None or len(one.steps) < most + 3 else len(one.steps) - most
        first = len(one.steps) if not left else max((most or 0) * 2 // 3, 1)
        for i, step in enumerate(one.steps):
            if i == first and left:
                self.say(f"... {left} steps between; t.table() has all ...", " " * (number + 2))
            if not left or i < first or i >= first + left:
                self.show_step(i + 1, step, number, failed=not one.finished and step is one.steps[-1])
        self.lines.append("")

    def show_step(self, i, step, number, failed=False):
        """A step: a line that says where, then value and gradient, then what it contributes.
        failed: an error ended the pass here.
        """
        node = self.nodes.get(step.node)
        inner, deeper = " " * (number + 2), " " * (number + 4)
        title = f"{i:>{number}}  {self.name(step.node)}"
        if node is not None:
            title += f"  {node.module}" if node.module else ""
            if node.keywords:
                title += f"  {', '.join(f'{name}={text}' for name, text in node.keywords.items())}"
            if node.made_by is not None and node.made_by[2]:
                title += f"  made by step {node.made_by[1] + 1} of pass {node.made_by[0] + 1}"
            elif node.line is not None:
                title += f"  {node.line.file}:{node.line.number}  {node.line.text}"
        self.lines.append(shortened(title.rstrip(), self.width))  # in python -c a line has no text
        value = step.value if step.value is not None or node is None else node.value
        facts = [] if value is None else [f"value {value_text(value)}"]
        facts += [f"gradient {value_text(step.gradient)}"]
        if step.hooked:
            before = step.before_hooks
            seen = "given to a hook" if failed else "after a hook"
            facts += [seen if before is None else f"after a hook was given {value_text(before)}"]
        if step.deposited is not None:
            same = step.grad is step.deposited
            text = ".grad is this" if same else f".grad is now {value_text(step.grad)}"
            facts += [text + (f", rounded to {node.dtype}" if node is not None and is_narrow(node.dtype) else "")]
        if step.freed:
            facts += [f"freed: {', '.join(step.freed)}"]
        if step.inside is not None and step.inside.graph.nodes is not self.nodes:
            facts += [f"ran {len(step.inside.graph.nodes)} nodes again: t.open({step.node})"]
        self.say("; ".join(facts), inner, deeper)
        for arrival in step.arrivals:
            self.show_arrival(arrival, inner, deeper)

    def show_arrival(self, arrival, inner, deeper):
        """A contribution: of which input, by which rule, where to."""
        rule, place = arrival.rule, ""
        said = "no source" if rule is None else " ".join(rule.text.split())
        if rule is not None and rule.text.startswith(("def ", "async def ")):
            line, said = telling(rule.text, *place_of(arrival, self.nodes))
            place = f"  {rule.file}:{rule.number + line}"
        room = self.width - len(inner) - len(arrival.input) - 2
        if len(place) > room // 2:
            place = ""
        self.lines.append(shortened(f"{inner}{arrival.input}: {shortened(said, room - len(place))}{place}", self.width))
        notes = [f"-> {self.name(arrival.parent)}  {value_text(arrival.value)}"]
        if arrival.summed_axes:
            axes = ", ".join(map(str, arrival.summed_axes))
            notes += [
                f"summed over {'axis' if len(arrival.summed_axes) == 1 else 'axes'} {axes} of {arrival.raw_shape}"
            ]
        if arrival.scattered:
            notes += [f"{arrival.raw_shape} added at its index"]
        if arrival.nth > 1:
            notes += [f"arrival {arrival.nth}, the sum is {value_text(arrival.total)}"]
        self.say("; ".join(notes), deeper, deeper + "   ")

    def name(self, number):
        """A node in a word or two."""
        node = self.nodes.get(number)
        if node is None:
            return f"#{number}"
        return f"{node.name or node.kind} #{number}"


def place_of(arrival, nodes):
    """``(place, count)``: which of how many inputs of its node an arrival is the gradient of."""
    node = nodes.get(arrival.child)
    names = [] if node is None else [one.name for one in node.inputs]
    return (names.index(arrival.input), len(names)) if arrival.input in names else (0, 0)


def shortened(text, width):
    """The first ``width`` columns of a line."""
    return text if len(text) <= width else text[: width - 3] + "..."


def value_text(value):
    """A Value in a few words: its elements, or shape and norm."""
    if value.size > IN_FULL or not value.size:
        return f"{value.shape} {'empty' if not value.size else f'norm {number_text(value.norm)}'}"
    array = value.array
    if array.dtype.kind == "V":  # bfloat16, which NumPy does not know how to print
        array = array.astype(np.float32)
    return " ".join(np.array2string(array, separator=", ").split())


def plural(count, word):
    """A number of things in words."""
    return f"{count} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"


def number_text(number):
    """A number to four digits."""
    return f"{number:.4g}"
