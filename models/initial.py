"""Initial values that several models share."""

from __future__ import annotations

import minitensor as mt
from minitensor import nn

__all__ = ["draw_normal"]


def draw_normal(model, std):
    """Weights of ``model`` from N(0, std**2), its biases 0, and rows of padding in embeddings 0."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=std)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    for table in model.modules():
        if isinstance(table, nn.Embedding) and table.padding_idx is not None and not nn.init.is_skipped():
            padding = mt.arange(table.num_embeddings)[:, None] == table.padding_idx
            table.weight.assign(mt.where(padding, 0.0, table.weight.detach()))
