"""A model of PyTorch seen from outside, as `subject.py` sees one of ours."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from minitensor.testing.invariants.subject import Subject

__all__ = ["TorchSubject"]

# Where PyTorch's functions take the probability of dropout; those of recurrent layers, where their
# only float is.
DROPOUT = dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"), (1, "p"))
DROPOUT |= {f"{name}_": place for name, place in DROPOUT.items()}
DROPOUT |= dict.fromkeys(("dropout1d", "dropout2d", "dropout3d", "native_dropout"), (1, "p"))
DROPOUT |= {"scaled_dot_product_attention": (4, "dropout_p"), "multi_head_attention_forward": (10, "dropout_p")}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class TorchSubject(Subject):
    """An ``nn.Module`` of PyTorch, which is never imported here."""

    library = "PyTorch"
    suffix = ".pt"

    def __init__(self, model, call=None):
        self.torch = sys.modules["torch"]
        super().__init__(model, call)

    def is_tensor(self, value):
        return isinstance(value, self.torch.Tensor)

    def is_floating(self, value):
        return value.is_floating_point()

    def device(self):
        return next((p.device for p in self.model.parameters()), self.torch.device("cpu"))

    def tensor(self, array):
        made = self.torch.tensor(np.array(array), device=self.device())
        return made.to(self.dtype) if made.is_floating_point() and self.dtype is not None else made

    def tokens(self, ids):
        return self.tensor(ids)

    def leaf(self, array):
        return self.tensor(array).requires_grad_(True)

    def zeros_leaf(self, value):
        return self.torch.zeros_like(value).requires_grad_(True)

    def array(self, value):
        value = value.detach().cpu()
        return (value.float() if value.dtype == self.torch.bfloat16 else value).numpy()

    def assign(self, value, array):
        with self.torch.no_grad():
            value.copy_(self.torch.tensor(array))

    def gradients(self, output, seed, leaves):
        if not output.requires_grad or not leaves:
            return [None] * len(leaves)
        found = self.torch.autograd.grad(output, leaves, self.tensor(seed).to(output.dtype), allow_unused=True)
        return [None if g is None else self.array(g) for g in found]

    def is_recorded(self, value):
        return value.requires_grad

    def no_grad(self):
        return self.torch.no_grad()

    def quiet(self):
        # Without recording, PyTorch computes some layers in other ways, and returns less padding.
        return self.torch.enable_grad()

    def enable_grad(self):
        return self.torch.enable_grad()

    def no_dropout(self):
        return _mode(self.torch)()

    def draws(self, function):
        before = self._states()
        given = function()
        return given, not all(self.torch.equal(one, other) for one, other in zip(before, self._states()))

    def _states(self):
        device = self.device()
        on_gpu = [self.torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
        return [self.torch.random.get_rng_state(), *on_gpu]

    def part(self, start, stop, of):
        raise ValueError(
            "dropout=True is for Modules of minitensor: a mask of PyTorch does not depend on the place of a row"
        )

    def same_randomness(self):
        return self.torch.random.fork_rng(devices=[d for d in [self.device()] if d.type == "cuda"])

    def save(self, path, state):
        self.torch.save(state, path)

    def load(self, path):
        return self.torch.load(path, weights_only=True)


@functools.cache
def _mode(torch):
    """The class of PyTorch's mode in which every dropout has the probability 0."""
    base: Any = torch.overrides.TorchFunctionMode

    class NoDropout(base):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            name, kwargs = getattr(function, "__name__", ""), dict(kwargs or {})
            if name in DROPOUT:
                place, word = DROPOUT[name]
                if len(args) > place:
                    args = (*args[:place], 0.0, *args[place + 1 :])
                else:
                    kwargs[word] = 0.0
            elif name in RECURRENT:
                args = tuple(0.0 if isinstance(value, float) else value for value in args)
            return function(*args, **kwargs)

    return NoDropout
