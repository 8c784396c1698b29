"""Task `explain` from its config to its files."""
