"""Explaining a film: inversion, latent traversal, attribution."""
