"""The claims of the road from RNN to Transformer, one module each; see
examples/from_rnn_to_transformer.py.

A claim has ``TITLE``, ``Settings`` with a ``quick()`` variant, and four functions:

    measure(settings, seed, workers) -> numbers       what was found, as plain values for JSON
    tables(numbers) -> list of Table                  the same for a reader
    conclusion(numbers) -> str                        one paragraph, computed from the numbers
    draw(numbers, path)                               the picture
"""

import toolkit  # first, so that minitensor is found
