"""Lessons: from one number with a derivative to a Transformer that translates.

    python -m lessons               what there is
    python -m lessons run 1         run a lesson
    python -m lessons blank 1       write its exercises, to be filled in
    python -m lessons check 1       grade them

They are run from a checkout and are no part of the installed library.
"""

from lessons.literate import load
from lessons.say import claim, picture

__all__ = ["claim", "load", "picture"]
