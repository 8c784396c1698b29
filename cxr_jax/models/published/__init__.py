"""Published architectures, their parameters named as in PyTorch, and the adapter before them."""
