"""Explains a chest X-ray classifier by walking the latent space of a GAN."""

import importlib

__all__ = ["FilmExplainer", "demo_explainer", "load"]
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    """The Python face, loaded when it is asked for: builders of data sets need no JAX."""
    if name in __all__:
        return getattr(importlib.import_module("cxr_jax.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
