"""Elementary ops by kind, each value beside its gradient rule; new tensors; the methods and
operators of Tensor.
"""
