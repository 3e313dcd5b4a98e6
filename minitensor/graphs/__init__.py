"""``mt.cuda_graph``: a training step as one launch.

On a GPU a small model's step is bound by the host, which launches a thousand kernels one after the
other. A CUDA graph holds them all, with their arguments, and is launched at once. What Python does
in the step is then done once, when the graph is captured; so this folder has to see to it that
nothing it did goes stale without a word:

    calls.py      the decorator: which calls run as they are written, which have a graph, and which
    captured.py   one graph: what its step reads, writes and gives, and whether that is as it was
    arguments.py  arguments and results as trees, taken apart and put together

* The arguments are copied to arrays whose addresses stay. Numbers that change from step to step
  (learning rates, the number of the step, the counters of random generators) lie in slots of the
  graph's own (``backend/capture.py``).
* What is fixed in the graph is looked at before each launch: the tensors that the step read or
  wrote, with their arrays, nodes and hooks, which gradients there were, the settings of modules,
  how optimisers are set up, the modes that are on, the rows that dropout draws for. If something
  has changed, the graph is thrown away, and the step runs as it is written.
* What the step would keep of one call, a tensor that it made or a number that it returns, is
  refused.
"""

from minitensor.graphs.calls import CudaGraph, cuda_graph

__all__ = ["CudaGraph", "cuda_graph"]
