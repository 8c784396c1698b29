"""Speed: how fast the steps are, and what the TPU's compiler says of them."""
