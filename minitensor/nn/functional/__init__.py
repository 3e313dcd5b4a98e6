"""Layers as functions, under PyTorch's names."""

from __future__ import annotations

# Kernels for one kind of device, which register themselves.
from minitensor.nn.functional import compiled as _compiled
from minitensor.nn.functional import compiled_attention as _compiled_attention
from minitensor.nn.functional import compiled_recurrent as _compiled_recurrent
from minitensor.nn.functional import cuda as _cuda
from minitensor.nn.functional import cuda_narrow as _cuda_narrow
from minitensor.nn.functional import cuda_recurrent as _cuda_recurrent
from minitensor.nn.functional.activations import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus
from minitensor.nn.functional.affine import embedding, linear, one_hot
from minitensor.nn.functional.attention import attention_weights, packed_attention, scaled_dot_product_attention
from minitensor.nn.functional.convolution import conv2d
from minitensor.nn.functional.divergence import symmetric_kl_div
from minitensor.nn.functional.dropping import dropout
from minitensor.nn.functional.likelihood import cross_entropy, nll_loss
from minitensor.nn.functional.losses import binary_cross_entropy_with_logits, huber_loss, kl_div, l1_loss, mse_loss
from minitensor.nn.functional.norm import layer_norm, rms_norm
from minitensor.nn.functional.probabilities import log_softmax, softmax
from minitensor.nn.functional.recurrent import gru, lstm, rnn
from minitensor.ops.elementwise import tanh

__all__ = [
    "attention_weights", "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "dropout", "elu", "embedding", "gelu",
    "gru", "huber_loss", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "lstm", "mse_loss", "nll_loss",
    "one_hot", "packed_attention", "relu", "rms_norm", "rnn", "scaled_dot_product_attention", "sigmoid", "silu", "softmax",
    "softplus", "symmetric_kl_div", "tanh",
]  # fmt: skip
