"""Phantom radiographs whose label is about a finding of another kind than soft opacities.

python main.py --config=configs/findings.py:nodule --workdir=runs/findings/nodule
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from cxr_jax.configs import base, phantom

# As cxr_jax/datasets/cxr_phantom/findings.py names them.
FINDINGS = ("effusion", "nodule", "pneumothorax", "cardiomegaly", "reticular", "opacity")
DISTRACTORS = 0.3  # share of films, of either class, with one of the other findings


def get_config(variant: str = "") -> ConfigDict:
    """`""` is about effusions, each variant about the finding that it is called after.

    `opacity` differs from configs/phantom.py by the other findings, and f and h learn longer.
    `tiny`: tests.
    """
    config = phantom.get_config()
    label(FINDINGS[0])(config)
    variants = {finding: label(finding) for finding in FINDINGS[1:]}
    return base.apply_variant(config, variant, variants | {"tiny": base.shrink})


def label(finding: str) -> Callable[[ConfigDict], None]:
    """Makes the label be about a finding, and the others be on some films of either class."""

    def change(config: ConfigDict) -> None:
        config.data.finding, config.data.distractors = finding, DISTRACTORS
        # Shape and texture are learned later than a brightening; all are taught alike.
        config.classifier.num_steps, config.judge.num_steps = 4000, 3000

    return change
