"""One readable file per architecture, and one way of decoding for all of them (`search.py`)."""

if __name__ == "models":  # in a checkout: a second copy of every class, which no isinstance would know
    raise ImportError("the models are imported as minitensor.models: write `from minitensor.models.gpt import GPT`")
