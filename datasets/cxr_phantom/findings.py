"""Findings by name: what a label may be about, and what else a patient may have."""

from collections.abc import Callable

import numpy as np

from cxr_jax.datasets.cxr_phantom.cardiomegaly import draw_cardiomegaly
from cxr_jax.datasets.cxr_phantom.effusion import draw_effusion
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lesions import draw_lesions
from cxr_jax.datasets.cxr_phantom.nodules import draw_nodules
from cxr_jax.datasets.cxr_phantom.pneumothorax import draw_pneumothorax
from cxr_jax.datasets.cxr_phantom.reticular import draw_reticular

# In the order in which they reshape a chest: the heart first, since the lungs lie about it, and
# fluid last, since it fills what air there is.
FINDINGS: dict[str, Callable[..., Finding]] = {
    "cardiomegaly": draw_cardiomegaly,
    "pneumothorax": draw_pneumothorax,
    "effusion": draw_effusion,
    "reticular": draw_reticular,
    "nodule": draw_nodules,
    "opacity": draw_lesions,
}


def any_severity(rng: np.random.Generator) -> float:
    """Uniform in (0, 1]: from what nobody sees to what nobody misses."""
    return 1.0 - rng.random()


def draw_other(rng: np.random.Generator, finding: str, probability: float) -> dict[str, float]:
    """Another finding than the label's, and its severity; empty for none.

    Args:
      probability: that there is one; each of the others is as likely.
    """
    is_there, severity = rng.random() < probability, any_severity(rng)
    kind = str(rng.choice([name for name in FINDINGS if name != finding]))
    return {kind: severity} if is_there else {}
