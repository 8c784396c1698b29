"""Axis legend and array aliases; no logic.

Axes:  b batch   h, w image rows and columns   c channels   s, n components of z_structure, z_class
       k steps of a walk (frame 0 is the start)   p latents packed together
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Bool, Float, Int, Key, UInt8

Pixels = UInt8[Array, "b h w 1"]  # as stored
Image = Float[Array, "b h w 1"]  # in [-1, 1]
Mask = Bool[Array, "b h w 1"]
LungLogit = Float[Array, "b h w 1"]  # logit of "this pixel is lung"
Margin = Float[Array, "b"]  # logit of "COVID-19": positive means the classifier says so
Label = Int[Array, "b"]  # 1 where the film was labelled COVID-19, else 0
ZStructure = Float[Array, "b s"]
ZClass = Float[Array, "b n"]  # the origin is a negative film
Index = Int[Array, "b"]  # position in the global batch, see parallel.example_keys

Keys = Key[Array, "b"]  # one for each example, see parallel.example_keys

Params = Any  # a pytree of arrays
Classify = Callable[[Image], Margin]
Render = Callable[[ZStructure, ZClass], Image]
