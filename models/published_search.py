"""How a published model wants texts to be searched for, beyond what our searches do.

A `Marian` obeys the beam that its file names, and refuses all that it cannot obey. GPT and T5
search as the arguments of ``generate`` say: a warning names what their file asks for besides.
"""

from __future__ import annotations

import warnings

from minitensor.models.published_config import check_usual, unusual

__all__ = ["refuse_search", "tell_search"]

USUAL = {  # what a file may ask for, and the only values that it may have
    "do_sample": False,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": 0,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "penalty_alpha": None,
    "diversity_penalty": 0.0,
    "guidance_scale": 1.0,
    "forced_bos_token_id": None,
    "forced_decoder_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
    "dola_layers": None,
    "watermarking_config": None,
}
BEAMS = {"num_beams": 1, "bad_words_ids": None}  # which a Marian obeys


def refuse_search(values, file, method):
    """Raise ValueError for a value of ``file`` that asks for another search than ``method`` has."""
    check_usual(values, USUAL, method, file)


def tell_search(values, file, method):
    """Warn, in one warning, of the values of ``file`` that ``method`` does not obey."""
    odd = [f"{name} is {values[name]!r}" for name in unusual(values, USUAL | BEAMS)]
    if odd:
        problem = f"{file}: {', '.join(odd)}; {method} does not obey this, it searches as its arguments say"
        warnings.warn(problem, stacklevel=4)  # where from_pretrained is called
