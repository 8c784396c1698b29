"""Linen modules: explicit fields, never the config."""
