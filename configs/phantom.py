"""The embedded default: phantom radiographs of 64 x 64 pixels, nothing to download.

python main.py --config=configs/phantom.py --workdir=runs/phantom
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """`""` takes about 25 minutes on two cores; `tiny`, for tests, about one, and looks it.

    `full` also trains the networks that judge realism and lung structure.
    """
    config = base.get_config()
    return base.apply_variant(config, variant, {"full": full, "tiny": base.shrink})


def full(config: ConfigDict) -> None:
    """Every evaluator, path and map, more films, and a GAN trained longer."""
    config.gan.num_steps = 2000
    config.evaluators.names = ("segmenter", "regressor", "robust")
    config.explain.paths = (
        *("linear", "aligned", "natural", "ray", "global", "random", "chord"),
        *("geodesic", "geodesic_pixel", "pixel"),
    )
    config.explain.maps = (
        *("latent", "latent_occlusion", "residual", "latent_integrated_gradients"),
        *("gradient", "integrated_gradients", "smoothgrad", "grad_cam"),
        *("prior", "lungs", "shuffled", "anogan", "pixel", "oracle"),
    )
    config.explain.images = 160
