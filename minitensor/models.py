"""The models, one readable file per architecture: ``from minitensor.models.gpt import GPT``.

In a checkout they stand beside this package, in ``models/``, and this file says so to Python. An
installed wheel has the folder itself next to this file, and of the two Python takes the folder.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "models")]
