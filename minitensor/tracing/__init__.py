"""What happens in a backward pass, rule by rule: ``mt.backward_trace()``. To be read in this order:

1. ``record.py``: what is kept of a pass, as plain data
2. ``tracer.py``: what the engine calls around each op and each step of a pass while a trace is open
3. ``sources.py``: the user's line, and the text of a rule
4. ``trace.py``: the context manager; ``opened.py``: the inside of a fused op
5. ``table.py``: the steps as text
"""
