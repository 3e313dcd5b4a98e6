"""Settings of programs that train a small recurrent network, or a Transformer, on made pairs."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.settings import option
from toolkit.translation import PairSettings

__all__ = ["MadePairSettings"]


@dataclass(frozen=True, kw_only=True)
class MadePairSettings(PairSettings):
    """Hyper-parameters that suit made pairs, which are free of noise: nothing is regularised. A
    program adds its own sizes and lengths, and how long it trains.
    """

    arch: str = option("gru", "architecture", choices=("rnn", "lstm", "gru", "transformer"))
    layers: int = option(1, "layers of the encoder, and as many of the decoder", least=1, below=1000)
    dropout: float = option(0.0, "dropout", least=0, below=1)
    label_smoothing: float = option(0.0, "label smoothing", least=0, below=1)
    schedule: str = option("cosine", "learning rate after the warm-up", choices=("inverse-sqrt", "cosine", "constant"))
