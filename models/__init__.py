"""One readable file per architecture, and one way of decoding for all of them (`search.py`)."""
