"""What happens in a backward pass, rule by rule: ``mt.backward_trace()``. To be read in this order:

1. ``record.py``: what is kept of a pass, as plain data
2. ``tracer.py``: what the engine calls around each op while a trace is open; ``passes.py``: and at
   each step of a pass; ``older.py``: what the graph tells of what ran before; ``notes.py``: what is
   noted of all this, and what is made of it when somebody asks
3. ``reading.py``: what a node tells of itself; ``sources.py``: the user's line, the module, and the
   text of a rule; ``copies.py``: private copies of arrays
4. ``trace.py``: the context manager; ``opened.py``: the inside of a fused op
5. ``table.py``: the steps as text; ``telling.py``: of a long rule the line that says most
6. ``layout.py``: a layered layout; ``boxes.py``: nodes in boxes, as the modules called each other;
   ``scene.py``: where both stand; ``drawing.py``: that as SVG and as text
7. ``told.py``: a trace as JSON; ``page.py``: the page that is made of it, with ``scene.js`` (the
   graph again, as boxes open there), ``trace.js`` (the walk) and ``panels.js`` (what is beside it)
"""
