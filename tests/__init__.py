"""The tests, a package of that name whatever else is installed."""
