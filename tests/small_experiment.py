"""A config of one's own, as a user's file would be: the phantom experiment, quick to compile.

Films as small as phantoms come, networks as narrow and as shallow as their fields allow, and a gate
that lets pass what such networks draw. The penalty of the discriminator, a program of its own, is
left out, as are views of films, which take long to compile.
"""

from ml_collections import ConfigDict

from cxr_jax.configs import phantom


def get_config() -> ConfigDict:
    """A minute on two cores."""
    config = phantom.get_config("tiny")
    config.data.image_size = 32
    config.classifier.widths = (4, 4)
    config.judge.widths = (4, 6)
    config.gan.update(
        dict(
            z_structure_channels=(2, 2, 2),
            z_class_channels=(2,),
            generator_widths=(8, 8, 8, 8),
            encoder_widths=(8, 8, 8, 8),
            discriminator_widths=(8, 8),
            critic_widths=(8, 8),
            r1_weight=0.0,
        )
    )
    for section in (config.classifier, config.judge, config.evaluators.segmenter):
        section.augmentation.update(dict.fromkeys(section.augmentation, 0.0))
    config.explain.update(dict(gate_margin=1e3, gate_percentile=100.0))
    return config
