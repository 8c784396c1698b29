"""Real radiographs of one hospital: Pneumonia against No Finding, from a table; see docs/data.md.

CXR_DATA=path/to/folder python main.py --config=configs/nih.py:cpu --workdir=runs/nih
"""

from ml_collections import ConfigDict

from cxr_jax.configs import base, covid


def get_config(variant: str = "") -> ConfigDict:
    """`""`: 128 px on two cores, as configs/covid.py:cpu128. `cpu`: 64 px. `tiny`: tests.

    No film has a lung mask: without a segmenter the gate looks at whole films, and there is no
    audit. One that was trained elsewhere at the same size is used if its folder `evaluators` is
    copied into the work directory first; `lungs` and `lungs64`, where f and h see nothing else,
    need it.
    """
    config = covid.get_config("cpu128")
    covid.tabled(config, "nih.csv")
    config.data.positive_class = "pneumonia"
    config.data.manifest.mask = ""
    lungs = base.show("lungs")
    variants = {"cpu": small, "lungs": lungs, "lungs64": base.in_order(small, lungs), "tiny": tiny}
    return base.apply_variant(config, variant, variants)


def small(config: ConfigDict) -> None:
    """64 px, and batches of the GAN as large as there."""
    covid.small(config)
    config.gan.batch_size = base.get_gan().batch_size


def tiny(config: ConfigDict) -> None:
    """As small as still runs through."""
    small(config)
    base.shrink(config)
