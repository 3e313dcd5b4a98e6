"""Layers with state, named as PyTorch's: modules, attention, Transformers, losses."""

# ruff: noqa: I001
from minitensor.nn import functional, init
from minitensor.nn.activations import (
    ELU, GELU, Identity, LeakyReLU, LogSoftmax, ReLU, SiLU, Sigmoid, Softmax, Softplus, Tanh,
)  # fmt: skip
from minitensor.nn.attention import AdditiveAttention, DotAttention, MultiHeadAttention
from minitensor.nn.cache import DecoderCache, EncoderCache, KeyValueCache
from minitensor.nn.containers import ModuleDict, ModuleList, Sequential
from minitensor.nn.layers import Conv2d, Dropout, Embedding, LayerNorm, Linear, RMSNorm
from minitensor.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss
from minitensor.nn.masks import causal_mask, padding_mask
from minitensor.nn.loading import torch_names
from minitensor.nn.module import Module
from minitensor.nn.parameter import Buffer, Parameter
from minitensor.nn.positions import LearnedPositionalEncoding, RelativePositionBias, SinusoidalPositionalEncoding
from minitensor.nn.recurrent import GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell
from minitensor.nn.transformer import (
    FeedForward, Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
)  # fmt: skip

__all__ = [
    "AdditiveAttention", "BCEWithLogitsLoss", "Buffer", "Conv2d", "CrossEntropyLoss", "DecoderCache", "DotAttention", "Dropout",
    "ELU", "Embedding", "EncoderCache", "FeedForward", "GELU", "GRU", "GRUCell", "HuberLoss", "Identity", "KLDivLoss",
    "KeyValueCache", "L1Loss", "LSTM", "LSTMCell", "LayerNorm", "LeakyReLU", "LearnedPositionalEncoding", "Linear",
    "LogSoftmax", "MSELoss", "Module", "ModuleDict", "ModuleList", "MultiHeadAttention", "NLLLoss", "Parameter", "RMSNorm",
    "RNN", "RNNCell", "ReLU", "RelativePositionBias", "Sequential", "SiLU", "Sigmoid", "SinusoidalPositionalEncoding",
    "Softmax", "Softplus", "Tanh", "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer", "causal_mask", "functional", "init", "padding_mask", "torch_names",
]  # fmt: skip
