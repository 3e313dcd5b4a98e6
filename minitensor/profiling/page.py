"""A profile as a page: one HTML file with the bars as inline SVG and the table, which loads nothing
from elsewhere.
"""

from __future__ import annotations

from html import escape

from minitensor.profiling.table import FLOOR_SAYS, HEADS, LEGEND, bars, cells, heading, notes

__all__ = ["COLOURS", "FLOOR", "page"]

COLOURS = {"#1f4e8c": "forward", "#9db8d9": "backward", "#b8b8b8": "not an op"}  # of the parts of a bar
FLOOR = "#d1662b"
NAMES, BAR, NUMBERS, STEP = 250, 430, 250, 26  # widths of the parts of the drawing, height of a row
WIDTH = NAMES + BAR + NUMBERS
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.15rem; font-weight: 600 }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid #e6e6e6; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
p { color: #555; font-size: 13px }
"""


def page(rows, measured):
    """The file as bytes."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADS)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in (row.name, *cells(row)))}</tr>" for row in rows
    )
    below = "<br>".join(escape(line) for line in (*notes(rows, measured), LEGEND))
    title = escape(heading(rows, measured))
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Profile: {title}</title><style>{STYLE}</style></head>
<body>
<h1>{title}</h1>
{_drawing(bars(rows))}
<p>{below}</p>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
</body>
</html>
""".encode()


def _drawing(shown):
    """The bars as SVG."""
    longest = max((max(sum(parts), floor or 0.0) for _, parts, floor, _ in shown), default=0.0) or 1.0
    svg = [f'<svg viewBox="0 0 {WIDTH} {STEP * (len(shown) + 1) + 8}" role="img" aria-label="time by kind of op">']
    x = 40
    for colour, text in COLOURS.items():
        svg.append(f'<rect x="{x}" y="5" width="11" height="11" fill="{colour}"/>')
        svg.append(f'<text x="{x + 16}" y="15" fill="#555">{text}</text>')
        x += 95
    svg.append(f'<rect x="{x}" y="2" width="3" height="17" fill="{FLOOR}"/>')
    svg.append(f'<text x="{x + 9}" y="15" fill="#555">{escape(FLOOR_SAYS)}</text>')
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
        svg.append(f'<text x="{left + 8:.1f}" y="{top + 14}" fill="#555">{escape(label)}</text>')
    return "\n".join([*svg, "</svg>"])
