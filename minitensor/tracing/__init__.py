"""What happens in a backward pass, rule by rule: ``mt.backward_trace()``. To be read in this order:

1. ``record.py``: what is kept of a pass, as plain data
2. ``tracer.py``: what the engine calls around each op while a trace is open; ``passes.py``: and at
   each step of a pass
3. ``reading.py``: what a node tells of itself; ``sources.py``: the user's line, the module, and the
   text of a rule; ``copies.py``: private copies of arrays
4. ``trace.py``: the context manager; ``opened.py``: the inside of a fused op
5. ``table.py``: the steps as text
"""
