"""The system of Dravid & Katsaggelos, "Visual Explanations for CNNs via Latent Traversal of GANs".

    python main.py --config=configs/paper.py:64 --workdir=runs/paper

Its networks, objective, inversion and figure (`figures/interpolation.png`), on the phantom; on
films of your own with `--config.data.name=cxr_folder --config.data.dir=FOLDER`. The larger latents
of their later work: `--config.gan.paper.num_z_structure=1000 --config.gan.paper.num_z_class=100
--config.gan.entropy_weight=2`.

Where this departs from the paper and its released code, and why:

- The cross-entropy is of the classifier's logit. The code gives a softmax's output to a loss that
  takes the softmax again, which bounds the loss from below and its gradient from above.
- Generator and discriminator move from the same drawn images in each step, of which exactly half
  are positives; the code draws each image's class.
- One channel; dense layers begin at N(0, 0.02) too, and BatchNorm's gains at 1.
- The generator also seeks modes (Mao et al., 2019; `gan.mode_seeking_weight`). Without that, on the
  phantom, every z_structure draws the same lungs from step 700 on; with it, after 1,600 steps, a
  pixel varies over the images drawn as much as over films. Two positives that are compared have
  class latents of their own.
- Adam's rate is warmed up over the first fiftieth of the run and falls to a tenth over the last
  fifth; in the inversion it falls to zero. Constant, both end where the last batch threw them.
- z_class is fitted in the inversion of films that the classifier calls positive, from zero (the
  code begins at a random one), and is zero for the others, as in training.
- The classifier is this project's own unless config.classifier.architecture is "vgg16".
"""

from ml_collections import ConfigDict

from cxr_jax.configs import base


def get_config(variant: str = "") -> ConfigDict:
    """`""`: 128 px, for a GPU. `64`: one layer fewer, for CPUs. `tiny`: tests."""
    config = base.get_config()
    config.data.image_size = 128
    config.gan.update(
        dict(
            networks="paper",
            objective="paper",
            mode_seeking_weight=0.2,
            conditioning="binary",
            num_grades=1,  # the discriminator is told nothing
            batch_size=32,
            num_steps=20_000,
            generator_learning_rate=2e-4,
            discriminator_learning_rate=2e-4,
            beta1=0.5,
            beta2=0.999,
            ema_half_life=1e-3,  # steps: none
            r1_weight=0.0,
        )
    )
    config.encoder.num_steps = 0
    config.explain.inversion.update(
        dict(start="origin", corrections=0, num_steps=5000)
        | dict(alternate_lesion_free_steps=False, z_class_lr_scale=1.0)
        | dict(learning_rate=0.01, beta1=0.5, beta2=0.999)
    )
    config.explain.inversion.weights.update(
        dict(pixel=4.0, feature=0.0, margin=0.0, cross_entropy=1.0, prior=0.0)
    )
    base.set_dtype(config, "bfloat16")  # half the memory traffic of a GPU or TPU; see docs/tpu.md
    return base.apply_variant(config, variant, {"64": small, "tiny": tiny})


def small(config: ConfigDict) -> None:
    """64 px in float32, and a tenth of the inversion's steps at four times the rate."""
    base.set_dtype(config, "float32")
    config.data.image_size = 64
    config.gan.paper.generator_widths = (768, 256, 192, 64)
    config.gan.num_steps = 1400
    config.explain.inversion.update(dict(num_steps=500, learning_rate=0.04))


def tiny(config: ConfigDict) -> None:
    """As small as still runs through."""
    small(config)
    config.gan.paper.update(
        dict(generator_widths=(32, 16, 16, 8), discriminator_widths=(8, 8, 8, 8, 8, 8))
    )
    base.shrink(config)
