"""Numbers of bytes in words."""

__all__ = ["in_units"]

UNITS = "B", "KiB", "MiB", "GiB", "TiB"


def in_units(count):
    """A number of bytes as text of at most eight characters, in the unit that suits it: of 1024 of
    the one below (IEC 80000-13).
    """
    size = float(count)
    for unit in UNITS:
        if size < 999.5 or unit == UNITS[-1]:
            return f"{size:.{0 if unit == 'B' or size >= 99.95 else 1}f} {unit}"
        size /= 1024
