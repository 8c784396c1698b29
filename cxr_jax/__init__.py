"""Explains a chest X-ray classifier by walking the latent space of a GAN."""
