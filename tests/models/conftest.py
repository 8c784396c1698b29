"""The networks of the tiny config, on images large enough for every map of the latents."""

import jax
import pytest

from cxr_jax.networks.build import GanNetworks, make_gan_networks

SIZE, BATCH = 32, 3


@pytest.fixture
def networks(tiny_config) -> GanNetworks:
    tiny_config.data.image_size = SIZE
    return make_gan_networks(tiny_config)


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (BATCH, SIZE, SIZE, 1), minval=-1)


@pytest.fixture
def latents(networks, key) -> tuple[jax.Array, jax.Array]:
    sizes = networks.generator.latent_sizes
    keys = jax.random.split(key, len(sizes))
    return tuple(jax.random.normal(k, (BATCH, n)) for k, n in zip(keys, sizes, strict=True))
