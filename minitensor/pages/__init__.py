"""Pages that stand alone: one HTML file with its style, its program and its numbers inside, which
loads nothing from elsewhere.

``document`` puts a page together, ``packed`` makes numbers small enough to go into one;
``base.css`` and ``base.js`` are what all pages share.
"""

from minitensor.pages.document import asset, document
from minitensor.pages.packing import packed, thumbnail

__all__ = ["asset", "document", "packed", "thumbnail"]
