"""The engine. To be read in this order:

1. ``autograd.py``: nodes, which are the graph, and the backward pass over them; ``sums.py``:
   gradients added up
2. ``tensor.py``: the Tensor, a light handle on an array and a node
3. ``primitive.py``: what every call does; ``pullback.py``: what it saves, and how a gradient is
   pulled back
4. ``op.py``: elementary ops, a function and a gradient rule per input; ``fused.py``: a definition
   and a kernel
5. ``gradient.py``: asking for gradients

Beside them: ``mode.py`` (whether calls are recorded), ``autocast.py`` (in which types they run),
``observer.py`` (who runs the ops while a profile or a trace is open), ``hooks.py``,
``arraylike.py`` (what may stand for an array),
``settings.py`` (numbers and switches), ``messages.py`` and ``front_door.py`` (words for errors),
``library.py`` (the package as its parts see it).
"""
