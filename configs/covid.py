"""Real radiographs: a folder with one sub-folder per class, or a table; see docs/data.md.

CXR_DATA=path/to/folder python main.py --config=configs/covid.py:cpu --workdir=runs/covid
"""

from ml_collections import ConfigDict

from cxr_jax.configs import base


def get_config(variant: str = "") -> ConfigDict:
    """`""`: 128 px, `256`: 256 px, for a GPU. `cpu`: 64 px, about half an hour. `tiny`: tests.

    `cpu128`, `cpu64`: on two cores, from a table. `lungs128`, `left128`, `lungs64`, `left64`: the
    same, but f and h are shown the lungs alone, or the left half of the picture. `even64`: as
    `lungs64`, but taught by films whose detail and exposure vary.

    The method is that of configs/phantom.py, with its weights and class latent. What differs:

    * f and h share their patients: half of a thousand films would teach neither;
    * views: stronger, for the GAN too, and without the support devices, which real films have;
    * the segmenter learns from one class's masks, which are of one convention;
    * steps and batches, by size and machine.
    """
    config = base.get_config()
    config.data.name = "cxr_folder"
    config.data.image_size = 128
    # About a thousand training films: more views of each, and a GAN that learns from views too.
    for section in (config.classifier, config.judge):
        section.augmentation.update(dict(shift=0.1, rotation=8.0, zoom=0.1, contrast=0.25))
    config.gan.augmentation.update(
        dict(shift=0.04, rotation=3.0, zoom=0.04, brightness=0.05, contrast=0.1)
    )
    config.gan.num_steps = 20_000
    base.set_dtype(config, "bfloat16")  # half the memory traffic of a GPU or TPU; see docs/tpu.md
    # The masks of the two classes follow two conventions, which a classifier could read: the lungs
    # of all films are found by one segmenter that has learned one of them.
    config.evaluators.names = ("segmenter",)
    config.evaluators.segmenter.only_label = 0
    # The other class is exposed otherwise: on the palest of its films lungs must be found too.
    config.evaluators.segmenter.augmentation.update(dict(brightness=0.3, contrast=0.7))
    variants = {"256": large, "cpu": small, "cpu128": cpu128, "cpu64": cpu64, "tiny": tiny}
    for size, films in (("128", cpu128), ("64", cpu64)):
        for part in ("lungs", "left"):
            variants[f"{part}{size}"] = base.in_order(films, base.show(part))
    variants["even64"] = base.in_order(variants["lungs64"], even_out)
    return base.apply_variant(config, variant, variants)


def large(config: ConfigDict) -> None:
    """256 px; batches half as large, whose activations still take twice the memory."""
    config.data.image_size = 256
    config.gan.batch_size = 16


def small(config: ConfigDict) -> None:
    """64 px; CPUs have no arithmetic of their own for bfloat16."""
    config.data.image_size = 64
    base.set_dtype(config, "float32")
    config.gan.num_steps = 2000


def cpu128(config: ConfigDict) -> None:
    """128 px on two cores, of the films of a table.

    The table leaves out whom radiologists' marks are of (scripts/real_film_tables.py).
    """
    tabled(config, "covid.csv")
    on_two_cores(config)


def cpu64(config: ConfigDict) -> None:
    """The films of `cpu128` at 64 px, in half an hour."""
    tabled(config, "covid.csv")
    small(config)


def even_out(config: ConfigDict) -> None:
    """f and h are taught by films whose local contrast and exposure vary far more than they do."""
    for section in (config.classifier, config.judge):
        section.augmentation.update(dict(detail=2.0, brightness=0.4, contrast=0.5))


def tabled(config: ConfigDict, table: str) -> None:
    """Reads a table that scripts/real_film_tables.py has written."""
    config.data.name = "cxr_manifest"
    config.data.manifest.update(
        dict(
            tables=(table,),
            path="filename",
            label="label",
            negative=("*",),
            patient="patient",
            split="split",
            source="source",
            mask="lung_mask",
        )
    )


def on_two_cores(config: ConfigDict) -> None:
    """128 px in float32: the GAN's step takes four times as long as at 64 px."""
    config.data.image_size = 128
    base.set_dtype(config, "float32")
    config.classifier.update(dict(num_steps=700, eval_every=100))
    config.judge.update(dict(num_steps=600, eval_every=100))
    config.gan.update(dict(batch_size=16, num_steps=5000, save_every=500))


def tiny(config: ConfigDict) -> None:
    """As small as still runs through."""
    small(config)
    base.shrink(config)
