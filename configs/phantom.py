"""The embedded default: phantom radiographs of 64 x 64 pixels, nothing to download.

python main.py --config=configs/phantom.py --workdir=runs/phantom
"""

from ml_collections import ConfigDict

from cxr_jax.configs import base


def get_config(variant: str = "") -> ConfigDict:
    """`""` takes about 25 minutes on two cores; `tiny`, for tests, about one, and looks it.

    `full` also trains the networks that judge realism and lung structure.
    """
    config = base.get_config()
    # Without support devices of their own f, and the GAN, take a port for a little of a finding.
    config.classifier.update(dict(num_steps=2000, augmentation=dict(support_devices=1.0)))
    config.judge.update(dict(num_steps=1200, augmentation=dict(support_devices=0.7)))
    config.data.num_train = 8000
    config.classifier.patients, config.judge.patients = "one half", "other half"
    config.evaluators.names = ("segmenter",)  # whose lungs the gate and the audit go by
    config.gan.augmentation.support_devices = 2.0
    return base.apply_variant(config, variant, {"full": full, "tiny": base.shrink})


def full(config: ConfigDict) -> None:
    """Every evaluator, path and map, more films, and a GAN trained longer: for a GPU or an hour.

    What else differs was chosen on validation films, to keep the change off look-alikes.
    """
    config.gan.num_steps, config.gan.save_every = 8000, 1000
    # After so many steps most films flip even under twice the tax on a change.
    config.gan.weights.update(dict(locality=2.0, transplant=10.0))
    # z_class may leave the encoder's guess as fast as z_structure does.
    config.explain.inversion.update(dict(num_steps=20, z_class_lr_scale=1.0))
    config.evaluators.names = ("segmenter", "regressor", "robust")
    config.explain.paths = (
        "linear", "aligned", "natural", "ray", "global", "random", "chord",
        "geodesic", "geodesic_pixel", "pixel", "necessary",
    )  # fmt: skip
    config.explain.maps = (
        "latent", "latent_occlusion", "residual", "latent_integrated_gradients",
        "gradient", "integrated_gradients", "smoothgrad", "grad_cam",
        "prior", "lungs", "shuffled", "anogan", "pixel", "oracle",
    )  # fmt: skip
    config.explain.num_images = 160
