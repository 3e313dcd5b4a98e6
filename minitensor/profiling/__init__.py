"""Where the time of a block goes: ``mt.profile()``. To be read in this order:

1. ``recorder.py``: what is called around each op while a profile is open, and the time of an op
   without that of the ops inside it
2. ``products.py``: the multiply-adds of the ops that are matrix products; ``speed.py``: how fast
   this machine multiplies
3. ``rows.py``: what has been measured, by kind of op; ``block.py``: the context manager
4. ``table.py``, ``page.py`` and ``chart.py``: the rows as text, as a page, and drawn by matplotlib

The engine knows ``current_mode.get().observer``, which is None or an ``engine.observer.Observer``
such as the ``Recorder``, and asks it for nothing else than to run an op, the steps of a backward
pass, or a function marked by ``timed``.
"""
