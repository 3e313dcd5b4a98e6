"""The microscope: what a model computes on its way from its input to its answer, as one page.

>>> from minitensor.models.gpt import GPT, GPTConfig
>>> model = GPT(GPTConfig(vocab_size=11, max_length=16, d_model=8, n_layers=1, n_heads=2))
>>> seen = explain(model, [3, 1, 4, 1, 5], max_new_tokens=0)
>>> [attention.path for attention in seen.attentions], seen.attentions[0].weights.shape
(['transformer.layers.0.attention'], (2, 5, 5))

``seen.save("seen.html")`` writes the page, a file that loads nothing from elsewhere.
"""

from minitensor.models.explain.explanation import Explanation
from minitensor.models.explain.look import explain

__all__ = ["Explanation", "explain"]
