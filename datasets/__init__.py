"""TFDS builders: raw files (or a random seed) to examples. No JAX here."""
