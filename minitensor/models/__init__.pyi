"""For editors and type checkers in a checkout; Python itself asks ``minitensor/models.py``."""
