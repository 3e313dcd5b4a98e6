"""A profile as a page: the bars as inline SVG, and the table."""

from __future__ import annotations

from html import escape

from minitensor.pages import document
from minitensor.profiling.table import FLOOR_SAYS, HEADS, LEGEND, bars, cells, heading, notes

__all__ = ["COLOURS", "FLOOR", "page"]

COLOURS = {"#1f4e8c": "forward", "#9db8d9": "backward", "#b8b8b8": "not an op"}  # of the parts of a bar
FLOOR = "#d1662b"
NAMES, BAR, NUMBERS, STEP = 250, 430, 250, 26  # widths of the parts of the drawing, height of a row
WIDTH = NAMES + BAR + NUMBERS
STYLE = """
body { max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem }
svg { width: 100%; min-width: 40rem; height: auto; font: 13px system-ui, sans-serif; fill: var(--ink) }
svg .soft { fill: var(--soft) }
table { font-size: .85rem; width: 100% }
th, td { white-space: nowrap }
p { font-size: .85rem }
"""


def page(rows, measured):
    """The file as bytes."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADS)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in (row.name, *cells(row)))}</tr>" for row in rows
    )
    below = "<br>".join(escape(line) for line in (*notes(rows, measured), LEGEND))
    title = heading(rows, measured)
    content = f"""<main>
<h1>{escape(title)}</h1>
<div class="scroll" tabindex="0" role="region" aria-label="Time by kind of op, as bars">{_drawing(bars(rows))}</div>
<p class="soft">{below}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Time by kind of op, as a table"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
</main>"""
    return document(f"Profile: {title}", content, STYLE)


def _drawing(shown):
    """The bars as SVG."""
    longest = max((max(sum(parts), floor or 0.0) for _, parts, floor, _ in shown), default=0.0) or 1.0
    svg = [f'<svg viewBox="0 0 {WIDTH} {STEP * (len(shown) + 1) + 8}" role="img" aria-label="time by kind of op">']
    x = 40
    for colour, text in COLOURS.items():
        svg.append(f'<rect x="{x}" y="5" width="11" height="11" fill="{colour}"/>')
        svg.append(f'<text x="{x + 16}" y="15" class="soft">{text}</text>')
        x += 95
    svg.append(f'<rect x="{x}" y="2" width="3" height="17" fill="{FLOOR}"/>')
    svg.append(f'<text x="{x + 9}" y="15" class="soft">{escape(FLOOR_SAYS)}</text>')
    for i, (name, parts, floor, label) in enumerate(shown, start=1):
        top, left = i * STEP + 4, float(NAMES)
        svg.append(f'<text x="{NAMES - 10}" y="{top + 14}" text-anchor="end">{escape(name)}</text>')
        for colour, seconds in zip(COLOURS, parts):
            width = BAR * seconds / longest
            if width:
                svg.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="18" fill="{colour}"/>')
            left += width
        if floor:
            at = NAMES + BAR * floor / longest
            svg.append(f'<rect x="{at - 1.5:.1f}" y="{top - 3}" width="3" height="24" fill="{FLOOR}"/>')
            left = max(left, at + 1.5)
        svg.append(f'<text x="{left + 8:.1f}" y="{top + 14}" class="soft">{escape(label)}</text>')
    return "\n".join([*svg, "</svg>"])
