"""The encoder: moments of both latents, within bounds."""

import jax


def test_the_encoder_matches_the_generator(networks, image, latents, random_params):
    params = random_params(networks.encoder, image)
    encode = jax.jit(lambda x: networks.encoder.apply({"params": params}, x))
    moments = encode(100 * image)
    for (mean, log_std), latent in zip(moments, latents, strict=True):
        assert mean.shape == log_std.shape == latent.shape
        assert float(log_std.min()) >= -10 and float(log_std.max()) <= 2


def test_half_precision_stays_inside(networks, image, key):
    half = networks.encoder.clone(dtype="bfloat16")
    outputs, params = jax.eval_shape(half.init_with_output, key, image)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
