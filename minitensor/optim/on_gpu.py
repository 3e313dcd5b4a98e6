"""Updates of many parameters at once on a GPU.

A launch takes the GPU a few microseconds, whatever it does, and the host more: what is done
parameter by parameter on the CPU is done here by kernels over all of them, which find a parameter's
numbers in a table (``backend/cu/updates.cu``, ``adafactor.cu``). The table is sent to the GPU when
it has changed.
"""

from __future__ import annotations

import math

from minitensor.backend import np

__all__ = ["adafactor", "move_averages"]

PIECE = 1024  # elements of one block of `averages`
CHUNK, STRIP = 256, 32  # rows and columns of one block, as in adafactor.cu
THREADS = 256
MOST_TABLES = 64  # that are kept: which parameters have a gradient may change from step to step


def _sent(xp, tables, key, rows):
    """``rows``, lists of integers, as an array on the GPU; kept in the dict ``tables`` under
    ``key``.
    """
    held = tables.get(key)
    if held is None or held[0] != rows:
        if len(tables) >= MOST_TABLES:
            tables.clear()
        held = tables[key] = rows, xp.asarray(np.array(rows, dtype=np.int64))
    return held[1]


def move_averages(xp, tables, device, pairs, rest, unless=None):
    """``average += rest * (value - average)`` for pairs of contiguous arrays of one type on
    ``device``, in one launch; nothing if the array ``unless`` holds another number than 0.
    """
    rows, blocks = [], 0
    for average, value in pairs:
        rows.append((average.data.ptr, value.data.ptr, average.size, blocks))
        blocks += -(-average.size // PIECE)
    dtype = pairs[0][0].dtype
    table = _sent(xp, tables, (device, dtype), rows)
    xp.kernels.launch("averages", dtype, (blocks,), THREADS, (table, len(rows), rest, unless))


def _described(entries):
    """The table of ``entries`` that ``adafactor.cu`` describes, and how many numbers of each kind
    there are: of the sums of columns, rows, chunks and strips, strips, matrices.
    """
    table, partial, row, chunk_strip, strip, matrix = [], 0, 0, 0, 0, 0
    for number, entry in enumerate(entries):
        shape, state = entry.parameter.shape, entry.state
        factored = len(shape) > 1
        matrices, rows, columns = (math.prod(shape[:-2]), *shape[-2:]) if factored else (1, 1, entry.parameter.size)
        chunks, strips = -(-rows // CHUNK), -(-columns // STRIP)
        names = ("row_var", "col_var") if factored else ("variance",)
        moments = (*(state[name].data.ptr for name in names), 0)[:2]
        table.append((
            entry.start, matrices, rows, columns, *moments, chunks, partial, number, row, chunk_strip, strip, matrix,
        ))  # fmt: skip
        row += matrices * rows
        if factored:
            partial += matrices * chunks * columns
            chunk_strip += matrices * chunks * strips
            strip += matrices * strips
            matrix += matrices
    return table, (partial, row, chunk_strip, strip, matrix)


def adafactor(buffer, entries, *, newest, size, least_root, least_size, most, keep):
    """One step of Adafactor for ``entries``, neighbours in ``buffer``, in seven launches.

    least_root: eps1 of the class; least_size: eps2; most: d.
    """
    from minitensor.backend.kernels import row_threads

    xp, dtype = buffer.xp, buffer.dtype
    rows, counts = _described(entries)
    table, number = _sent(xp, buffer.tables, (entries[0].start, entries[-1].stop), rows), len(rows)
    partial, row, chunk_strip, strip, matrix = counts
    partials, of_p, of_u, means, sizes = (xp.empty(count, dtype=dtype) for count in (partial, row, row, matrix, number))
    p, g, lowest = buffer.values, buffer.gradients, least_root * least_root
    threads = min(THREADS, row_threads(max(columns for _, _, _, columns, *_ in rows)))

    def launch(name, blocks, *arguments, threads=THREADS):
        xp.kernels.launch(f"adafactor_{name}", dtype, (blocks,), threads, (table, number, *arguments))

    launch("rows", row, p, g, of_p, newest, threads=threads)
    launch("columns", chunk_strip, g, partials)
    launch("column_moments", strip, partials, newest)
    launch("means", matrix, means, least_root)
    launch("directions", row, g, means, of_u, newest, lowest, threads=threads)
    launch("sizes", number, of_p, of_u, sizes, least_size, size, most)
    launch("update", row, p, g, means, sizes, lowest, keep, threads=threads)
