"""The page of a trace: one HTML file to walk through the forward and the backward passes."""

from __future__ import annotations

from typing import Any

from minitensor.pages import asset, document
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
<button type="button" id="smaller" aria-label="Smaller">−</button>
<span id="zoom" class="soft"></span>
<button type="button" id="larger" aria-label="Larger">+</button>
<button type="button" id="fit">Fit</button>
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
    steps = sum(len(one.steps) for one in trace.passes)
    passes = f"{len(trace.passes)} backward pass{'es' if len(trace.passes) != 1 else ''}"
    ops = sum(node.kind != "leaf" for node in trace.nodes.values())
    buttons = "".join(
        f'<button type="button" id="{name}" aria-label="{says}" title="{says}">{sign}</button>'
        for name, sign, says in BUTTONS
    )
    body = BODY.format(title="Backward, step by step", about=f"{ops} ops, {passes} of {steps} steps", buttons=buttons)
    package = "minitensor.tracing"
    script = "\n".join(asset(name, package) for name in ("scene.js", "trace.js", "panels.js"))
    return document("Backward, step by step", body, asset("trace.css", package), script, told(trace))
