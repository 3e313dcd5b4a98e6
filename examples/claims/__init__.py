"""The claims of the road from RNN to Transformer, one module each; see examples/from_rnn_to_transformer.py.

A claim has ``TITLE``, ``Settings`` with a ``quick()`` variant, and four functions:

    measure(settings, seed, workers) -> numbers       what was found, as plain values that go into a JSON file
    tables(numbers) -> list of Table                  the same for a reader
    conclusion(numbers) -> str                        one paragraph that says what the numbers say, whichever way they fall
    draw(numbers, path)                               the picture
"""

import toolkit  # first, so that minitensor is found
