"""Why a value is NaN or infinite: ``mt.why_nan`` and the words of ``mt.detect_anomaly``. To be read
in this order:

1. ``finding.py``: what is told, as an object that prints itself; ``cures.py``: the causes that
   there are, and what to do about each
2. ``places.py``: the user's line and the module of an op, cheap enough for each of them
3. ``records.py``: which op made which array, while ``detect_anomaly`` is on; ``reading.py``: what
   reads an infinity that was made within ``no_grad``
4. ``arrays.py``: the first bad element; ``forward.py``, ``backward.py``: the cause, from the op and
   what it was given
5. ``updates.py``: parameters, and the optimiser that wrote them; ``scales.py``: the loss scale for
   16 bits
6. ``results.py``, ``gradients.py``: the finding, and whose fault it is; ``walk.py``: a graph that
   was recorded without ``detect_anomaly``; ``doctor.py``: what the engine calls
7. ``why.py``: ``mt.why_nan``
"""
