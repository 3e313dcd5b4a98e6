"""The rows of a profile as text, and the words and numbers that the pictures have too."""

from __future__ import annotations

from textwrap import wrap

from minitensor.engine.units import in_units
from minitensor.profiling.speed import SIZE, speed

__all__ = ["FLOOR_SAYS", "LEGEND", "bars", "cells", "heading", "ms", "notes", "shortened", "text_of"]

HEADS = ("op", "time ms", "share", "forward", "calls", "backward", "calls", "made", "floor ms", "x floor")
WIDTHS = (8, 8, 8, 7, 9, 6, 9, 9, 8)  # of the columns behind the name
LONGEST = 100 - sum(WIDTHS)
FLOOR_SAYS = "floor: its matrix products alone, at the speed of this machine's"
LEGEND = (
    "Times are those of an op itself: ops inside it have their own rows. Made: memory of results and gradients. "
    f"{FLOOR_SAYS.capitalize()}."
)
BELOW = 0.9  # times the floor: less is worth a word


def ms(seconds):
    """A time in milliseconds, to about four digits."""
    value = seconds * 1e3
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 100
        else f"{value:.1f}"
        if value < 1e4
        else f"{value:.0f}"
    )


def shortened(name, longest=LONGEST):
    """A name that fits its column."""
    return name if len(name) <= longest else name[: longest - 3] + "..."


def cells(row):
    """The columns of a row behind its name, as text; "" where there is nothing to say."""
    is_op, made = row.kind == "op", row.forward_bytes + row.backward_bytes
    return (
        ms(row.time),
        f"{100 * row.share:.1f} %",
        ms(row.forward) if row.forward_calls else "",
        str(row.forward_calls) if is_op else str(row.calls or ""),
        ms(row.backward) if row.backward_calls else "",
        str(row.backward_calls) if is_op else "",
        in_units(made) if made else "",
        "" if row.floor is None else ms(row.floor),
        "" if row.times_floor is None else f"{row.times_floor:.2f}",
    )


def heading(rows, measured):
    """The time of the block and of its products, in a sentence."""
    wall, floor = sum(row.time for row in rows), sum(row.floor or 0.0 for row in rows)
    took = f"This block {'has taken' if measured.is_open else 'took'} {ms(wall)} ms"
    if not floor:
        return f"{took}; it has no matrix products."
    return f"{took}, its products alone would take {ms(floor)} ms: {wall / floor:.2f} x the floor."


def speeds(measured):
    """How fast this machine multiplies what the block did, in a sentence each."""
    return [
        f"Products of {dtype} on {device}: {2e-9 * speed(device, dtype):.0f} GFLOP/s, measured on {SIZE} x {SIZE} or more."
        for device, dtype in measured.places()
    ]


def notes(rows, measured):
    """What is to be said below the table, a sentence each."""
    said = speeds(measured)
    if any(row.times_floor is not None and row.times_floor < BELOW for row in rows):
        said.append(
            "A row is below its floor: its products are larger, or the machine was busier when that was measured."
        )
    if measured.recomputed:
        said.append(f"Of this {ms(measured.recomputed)} ms went into running again what mt.checkpoint has not kept.")
    return said


def text_of(rows, measured):
    """The table, the sentences below it, and what the columns mean."""
    longest = max([len(HEADS[0]), *(min(len(row.name), LONGEST) for row in rows)])
    lines = [
        shortened(name).ljust(longest) + "".join(text.rjust(width) for text, width in zip(texts, WIDTHS))
        for name, *texts in [HEADS, *((row.name, *cells(row)) for row in rows)]
    ]
    lines.insert(1, "-" * len(lines[0]))
    said = [line for text in (heading(rows, measured), *notes(rows, measured), LEGEND) for line in wrap(text, 100)]
    return "\n".join([*(line.rstrip() for line in lines), "", *said])


MOST, LEAST = 16, 0.005  # bars of a picture, and the share of the smallest of them


def bars(rows):
    """``(name, (forward, backward, other), floor, label)`` of the bars of a picture: the rows with
    the most time, and all others as one.
    """
    rows = sorted(rows, key=lambda row: -row.time)
    count = sum(row.share >= LEAST for row in rows[:MOST])
    count = len(rows) if len(rows) - count < 2 else count
    shown = [(shortened(row.name, 34), _parts(row), row.floor, _label(row)) for row in rows[:count]]
    if left := rows[count:]:
        parts = tuple(map(sum, zip(*map(_parts, left))))
        shown.append((f"{len(left)} others", parts, None, f"{ms(sum(parts))} ms"))
    return shown


def _parts(row):
    return row.forward, row.backward, row.time if row.kind == "other" else 0.0


def _label(row):
    """What stands behind a bar."""
    text = f"{ms(row.time)} ms, {100 * row.share:.0f} %"
    return text if row.times_floor is None else f"{text}, {row.times_floor:.2f} x its floor"
