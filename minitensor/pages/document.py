"""A page put together from its parts."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["asset", "document"]

# The browser itself refuses whatever would leave the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
ASKING = f"{POLICY}; connect-src 'self'"  # of a page that asks the server it came from


def asset(name: str, package: str = "minitensor.pages") -> str:
    """The text of a file that lies beside the modules of a package: a style, a program."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def document(title: str, body: str, style: str = "", script: str = "", data: Any = None, asks: bool = False) -> bytes:
    """One HTML file, complete.

    title: text. body: HTML. style, script: CSS and JavaScript, which follow those that all pages
    share. data: what the program reads as ``DATA``: anything that JSON can say; NaN and infinity
    are not among it, and raise ValueError. A page without a program and data holds no script.
    asks: its program may ask the server that the page came from; default: the browser lets it ask
    nobody.
    """
    program = ""
    if script or data is not None:
        numbers = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        program = f"""<script type="application/json" id="data">{_inside_script(numbers)}</script>
<script>
"use strict";
{asset("base.js")}{script}</script>
"""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{ASKING if asks else POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{asset("base.css")}{style}</style>
</head>
<body>
{body}
{program}</body>
</html>
""".encode()


def _inside_script(text):
    """JSON that cannot end the element it stands in, whatever its strings say."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
