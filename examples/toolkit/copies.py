"""The words that tell of copies in a person's data, the same in all programs."""

from __future__ import annotations

from toolkit.console import counted

__all__ = ["copies_note"]


def copies_note(
    path: str, noun: str, total: int, different: int, same: str = "", left_out: int = 0, whole: bool = False
) -> tuple[str, ...]:
    """A note on ``total`` things of which only so many are ``different``; none if all are.

    same: what those that are ``left_out`` share besides, if not all are; default: all are kept.
    whole: there are no parts to be in.

    >>> print(*copies_note("a.tsv", "image", 9, 5, "caption", 3, whole=True))
    a.tsv: of 9 images 4 repeat others; those with the same caption, 3, are left out
    >>> print(*copies_note("a.tsv", "text", 9, 8))
    a.tsv: of 9 texts 1 repeats another; copies stay in one part, and all are kept
    >>> copies_note("a.tsv", "text", 9, 9)
    ()
    """
    repeated = total - different
    if not repeated:
        return ()
    parts = [] if whole else ["copies stay in one part"]
    kept = f"those with the same {same}, {left_out:,}, are left out" if same else "copies are left out"
    parts += [kept if left_out else "all are kept"]
    head = f"{path}: of {counted(total, noun)} {repeated:,} {'repeats another' if repeated == 1 else 'repeat others'}"
    return (f"{head}; {', and '.join(parts)}",)
