"""Functions of functions: derivatives, and one function run for many examples at once.

Their names, arguments and shapes are JAX's (Bradbury et al. 2018); arguments and results may be
trees of tensors, see ``engine/trees.py``. What differentiates stands on the graph that the ops
record:

    recording.py    a function run on inputs of its own, whose derivative can then be asked for
    derivatives.py  vjp, jvp, value_and_grad, jacobian, hessian, hvp
    vmap.py         the function; batched.py: a tensor that stands for many; level.py: who runs the
                    ops on such tensors; rules.py, reading.py: how
"""
