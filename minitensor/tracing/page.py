"""The page of a trace: one HTML file to walk through the forward and the backward passes."""

from __future__ import annotations

from typing import Any

from minitensor.pages import asset, document
from minitensor.tracing.table import plural
from minitensor.tracing.told import told

__all__ = ["page"]

BUTTONS = (  # id, sign, what it does
    ("first", "⇤", "To the beginning"),
    ("backBox", "«", "Back to the box before"),
    ("back", "←", "A step back"),
    ("forth", "→", "A step forward"),
    ("forthBox", "»", "On to the next box"),
    ("last", "⇥", "To the end"),
)
BODY = """<header>
<h1>{title}</h1>
<p class="soft">{about}</p>
</header>
<main>
<nav class="bar" aria-label="Steps">
<div id="phases" role="group" aria-label="Passes"></div>
<div class="steps" role="group" aria-label="Steps forward and back">{buttons}</div>
<input id="slider" type="range" min="0" value="0" aria-label="Step">
<span id="place" class="soft"></span>
</nav>
<section id="graph" aria-label="Graph">
<div class="tools">
<nav id="way" aria-label="Where you are" hidden></nav>
<span class="push"></span>
<button type="button" id="follow" aria-pressed="false">Open as I go</button>
<button type="button" id="digits" aria-pressed="false">All digits</button>
<span class="sizes">
<button type="button" id="smaller" aria-label="Smaller">−</button>
<span id="zoom" class="soft"></span>
<button type="button" id="larger" aria-label="Larger">+</button>
<button type="button" id="fit">Fit</button>
</span>
</div>
<div id="picture" tabindex="0" role="region" aria-label="Graph, scrollable"></div>
</section>
<section id="now" aria-label="This step" tabindex="0"></section>
<section id="code" aria-label="Source"></section>
<p id="live" class="hidden" aria-live="polite"></p>
</main>
"""


def page(trace: Any) -> bytes:
    """The file as bytes. trace: a ``backward_trace`` whose block is over."""
    data = told(trace)
    buttons = "".join(
        f'<button type="button" id="{name}" aria-label="{says}" title="{says}">{sign}</button>'
        for name, sign, says in BUTTONS
    )
    body = BODY.format(title="Backward, step by step", about=_about(trace, data["traces"][0]), buttons=buttons)
    package = "minitensor.tracing"
    script = "\n".join(asset(name, package) for name in ("scene.js", "trace.js", "panels.js"))
    return document("Backward, step by step", body, asset("trace.css", package), script, data)


def _about(trace, whole):
    """What is in a trace, counted as its page counts it. whole: as ``told`` gives it."""
    ops = [node for node in trace.nodes.values() if node.kind != "leaf"]
    made, drawn = [one for one in ops if one.made_by is not None], {node["id"] for node in whole["nodes"]}
    unused = sum(one.made_by is None and one.id not in drawn for one in ops)
    if not trace.nodes and not trace.passes:
        return "nothing ran in the block"
    said = [plural(len(ops) - len(made) - unused, "op")]
    steps = [len(one.steps) for one in trace.passes]
    if not steps:
        said.append("no backward pass")
    elif len(steps) <= 4:
        counts = f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}" if len(steps) > 1 else steps[-1]
        said.append(f"{plural(len(steps), 'backward pass')} of {counts} step{'s' * (steps[-1] != 1 or len(steps) > 1)}")
    else:
        said.append(f"{plural(len(steps), 'backward pass')} of {sum(steps)} steps in all")
    if made:
        said.append(f"{plural(len(made), 'op')} that a pass computed")
    if unused:
        said.append(f"not drawn: {plural(unused, 'op')} of whose result no gradient was asked")
    return "; ".join(said)
