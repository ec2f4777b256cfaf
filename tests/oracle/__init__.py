"""The slow reference simulator: every sequence is touched at every step, nothing is clever."""
