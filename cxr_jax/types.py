"""Axis legend and array aliases; no logic.

Axes:  b batch   h, w image rows and columns   c channels   s, n components of z_structure, z_class
       k steps of a walk (frame 0 is the start)   p latents packed together
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Integer, Key, UInt8

AnyArray = Array | np.ndarray  # JAX's, traced or on a device, or NumPy's on the host

Pixels = UInt8[AnyArray, "b h w 1"]  # as stored
Image = Float[AnyArray, "b h w 1"]  # in [-1, 1]
Mask = Bool[AnyArray, "b h w 1"]
LungLogit = Float[AnyArray, "b h w 1"]  # logit of "this pixel is lung"
Each = Float[AnyArray, "b"]  # one number a film
Margin = Each  # logit of the positive class: above zero the classifier says so
Label = Int[AnyArray, "b"]  # 1 where the film was labelled as of the positive class, else 0
ZStructure = Float[AnyArray, "b s"]
ZClass = Float[AnyArray, "b n"]  # the origin is a negative film
Index = Int[AnyArray, "b"]  # position in the global batch, see parallel.example_keys
FeatureMaps = Mapping[str, Float[AnyArray, "b _ _ _"]]  # of a classifier, by name; of any size
Scalar = Float[ArrayLike, ""]
Count = Integer[ArrayLike, ""]  # of steps, say; or a seed

Keys = Key[Array, "b"]  # one for each example, see parallel.example_keys

Params = Any  # a pytree of arrays
Classify = Callable[[Image], Margin]
Render = Callable[[ZStructure, ZClass], Image]
