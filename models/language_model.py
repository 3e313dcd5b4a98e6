"""What all language models share: continuing prompts, lists of ids of different lengths.

Letters: B prompts, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn
from minitensor.models.checks import check_mask, evaluating
from minitensor.models.sampling import check_choices, check_generators
from minitensor.models.search import beam_search, greedy, sample

__all__ = ["LanguageModel", "as_prompts", "left_padded"]


class LanguageModel(nn.Module):
    """The base of a model that continues texts.

    It has ``config`` (with max_length, and stop_id, what it stops at by default) and the two
    methods below.
    """

    config: Any

    def start(self, prompts):
        """The state after all but the last token of each prompt, an array; `step` takes that."""
        raise NotImplementedError

    def step(self, ids, state):
        """Log-probabilities (rows, V) of the next token, given each row's newest, ``ids``."""
        raise NotImplementedError

    def generate(
        self, ids, max_new_tokens, temperature=0.0, top_k=None, top_p=None, beam_size=1, length_penalty=None,
        stop_ids=None, mask=None, generator=None, stream=None, length_reward=0.0, patience=None,
        penalty=None,
    ):  # fmt: skip
        """Continue each prompt by up to ``max_new_tokens``; returns the new ids, a list per prompt.

        ids: (B, T) with an optional ``mask``, or lists of ids of different lengths. Each prompt
        gets what it would get alone.

        temperature: 0 takes the most probable token each time; a greater one samples, with
        ``top_k``, ``top_p`` and ``generator``, or a list of one for each prompt, as in
        `search.sample`. beam_size: above 1 searches, with ``length_penalty``, ``length_reward``,
        ``patience`` and ``penalty`` as in `search.beam_search`; length_penalty: default: 0, and a
        ``penalty`` needs one.

        stop_ids: a token that ends a text, or several, or ``()``; default: the configuration's. The
        stop token is not returned. stream: ``stream(rows, ids)`` is called after every step with
        the numbers of the prompts that got a token and these tokens.

        Raises ValueError for an empty prompt, and for one that leaves no room for the new tokens.
        """
        check_choices(
            temperature, top_k, top_p, beam_size, generator, stream, length_reward, patience, penalty, length_penalty
        )
        prompts = as_prompts(ids, mask)
        check_generators(generator, len(prompts))
        if not prompts:
            return []
        check_room(prompts, max_new_tokens, self.config.max_length)
        if stop_ids is None:
            stop_ids = () if self.config.stop_id is None else self.config.stop_id
        with evaluating(self):
            last = [prompt[-1] for prompt in prompts]
            decoding = (self.step, self.start(prompts), last, stop_ids, max_new_tokens)
            if beam_size > 1:
                how = dict(length_reward=length_reward, patience=patience)
                how |= {} if penalty is None else dict(penalty=penalty)
                return beam_search(*decoding, beam_size, 0.0 if length_penalty is None else length_penalty, **how)
            if temperature > 0:
                return sample(*decoding, temperature, top_k, top_p, generator, stream)
            return greedy(*decoding, stream)


def as_prompts(ids, mask):
    """Each prompt as an array of its ids: of lists of ids, or of ids (B, T) the real ones."""
    if isinstance(ids, (list, tuple)) and all(isinstance(row, (list, tuple, np.ndarray)) for row in ids):
        if mask is not None:
            raise ValueError("lists of ids have no padding: give the mask with ids (B, T), or leave it out")
        return [_integers(np.asarray(row)) for row in ids]
    ids = mt.asarray(ids)
    if ids.ndim != 2:
        raise ValueError(
            f"ids must be (prompts, positions) or a list of lists, got shape {ids.shape}: [ids] is one prompt"
        )
    rows = _integers(ids.to("cpu").data)
    if mask is None:
        return list(rows)
    return [row[real] for row, real in zip(rows, check_mask(mask, ids).to("cpu").data)]


def left_padded(prompts):
    """All prompts as ids (B, T) with zeros on the left, and how many of these each has, (B,)."""
    lengths = np.array([len(prompt) for prompt in prompts])
    padding = lengths.max() - lengths
    return np.stack([np.pad(prompt, (n, 0)) for prompt, n in zip(prompts, padding)]), padding


def check_room(prompts, max_new_tokens, room):
    """Raise for an empty prompt, and if one and its new tokens need over ``room`` positions.

    The last new token is not fed again.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    if not lengths.all():
        raise ValueError(
            f"prompt {lengths.argmin()} is empty: begin it with some token, such as the one that separates texts"
        )
    needed = lengths + max_new_tokens - 1
    i = needed.argmax()
    if needed[i] > room:
        new = needed[i] - lengths[i] + 1
        cure = "ask for fewer new tokens"
        if new <= room:
            cure += f", or keep the last {room + 1 - new} tokens of the prompt"
        raise ValueError(
            f"prompt {i} of {lengths[i]} tokens and {new} new ones need {needed[i]} positions, the model has {room}: {cure}"
        )


def _integers(ids):
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, got {ids.dtype}")
    return ids.astype(np.int64)
