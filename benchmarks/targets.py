"""The ratios that are wanted of minitensor, by case: of its plain mode and of its fast one, each
against PyTorch eager (against our own decoding without a cache for ``decode``).
"""

from __future__ import annotations

__all__ = ["MEAN", "WANTED", "misses", "wanted"]

WANTED = {
    "step": (0.90, 0.65), "tiny": (0.85, 0.60), "toy": (0.80, 0.60),
    "layer-no-dropout": (1.10, 0.95), "layer": (0.95, 0.78),
    "layer-256-no-dropout": (1.10, 0.90), "layer-256": (0.90, 0.65),
    "layer-1024-no-dropout": (1.05, 0.90), "layer-1024": (0.75, 0.55),
    "gpt": (0.95, 0.70), "gpt-small": (0.95, 0.60),
    "lstm": (1.35, 1.05), "lstm-large": (1.30, 1.05), "lstm-long": (1.80, 0.95), "gru": (0.95, 0.80), "rnn": (1.00, 0.85),
    "chain": (0.70, 0.70), "causal": (1.30, 0.90), "causal-memory": (1.30, 1.20),
    "adam": (1.00, 0.30), "adam-fused": (3.00, 0.90), "decode": (0.25, 0.20),
}  # fmt: skip
MEAN = (0.95, 0.70)  # of the geometric mean of all


def wanted(name, mode):
    """The ratio that is wanted of a case, or of "mean", in "plain" or "fast"; in "graph", on a GPU,
    PyTorch's own time.
    """
    if mode == "graph":
        return 1.0
    return (MEAN if name == "mean" else WANTED[name])[mode == "fast"]


def misses(name, ratios):
    """Lines for those of the ratios ``{mode: ratio or None}`` that are above the wanted one, as
    they are printed: with two digits.
    """
    found = ((mode, ratio, wanted(name, mode)) for mode, ratio in ratios.items() if ratio is not None)
    return [f"{name} {mode} {ratio:.2f} > {most:.2f}" for mode, ratio, most in found if round(ratio, 2) > most]
