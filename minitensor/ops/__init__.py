"""Elementary ops: value and gradient rule of each side by side, grouped by what they do."""
