"""Phantom radiographs with a planted shortcut: a lead marker that agrees with the label.

python main.py --config=configs/shortcut.py --workdir=runs/shortcut
"""

from ml_collections import ConfigDict

from cxr_jax.configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The marker agrees with the label in 95% of training films and in 50% of test films.

    `control`: in 50% of both, so that there is nothing to learn from it. `tiny`: tests.
    """
    config = base.get_config()
    config.data.marker_train = (0.95, 0.05)
    config.data.marker_test = (0.5, 0.5)
    config.evaluators.names = ("segmenter",)  # whose lungs the gate and the audit go by
    return base.apply_variant(config, variant, {"control": control, "tiny": base.shrink})


def control(config: ConfigDict) -> None:
    """The marker says nothing."""
    config.data.marker_train = (0.5, 0.5)
