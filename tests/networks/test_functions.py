"""A function may hold arrays that lie on a mesh of devices, as those of a checkpoint may."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import steps
from cxr_jax.networks.functions import load_function
from cxr_jax.runtime import parallel

SIZE = 4
CODE = """
import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

LABELS = {0: "normal", "one": 1}  # keys that cannot be sorted


def restore(spec=PartitionSpec()):
    mesh = Mesh(np.array(jax.devices()), ("hosts",))
    return jax.device_put(jnp.arange(1.0, 5.0), NamedSharding(mesh, spec))


def ask(weights, image):
    return LABELS["one"] * weights[2] * image.sum(axis=(1, 2, 3))


params = {"dense": [restore()]}
split = restore(PartitionSpec("hosts"))
pair = collections.namedtuple("Pair", "first second")(restore(), 0.0)


def by_dictionary(image):
    return ask(params["dense"][0], image)


def by_split(image):
    return ask(split, image)


def by_tuple(image):
    return ask(pair.first, image)


def within(image):
    return jax.vmap(lambda film: split[2] * film.sum())(image)


def helper(image):
    return by_dictionary(image)


def make():
    weights = restore()
    return jax.jit(lambda image: ask(weights, image))


closure = make()
partial = functools.partial(ask, restore())
jitted = jax.jit(functools.partial(ask, restore()))


class Network:
    def __init__(self):
        self.weights = restore()

    def __call__(self, image):
        return ask(self.weights, image)


network = Network()
method = Network().__call__


class Asker:
    def __call__(self, image):
        return ask(split, image)


asker = Asker()


def by_object(image):
    return network(image)
"""
HOLDERS = (
    *("by_dictionary", "by_split", "by_tuple", "within", "helper", "closure", "partial"),
    *("jitted", "network", "method", "asker", "by_object"),
)


@pytest.fixture
def restored(tmp_path, monkeypatch):
    """Makes `restored.py` something to import, anew, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("restored", None)
    (tmp_path / "restored.py").write_text(CODE)
    yield importlib.import_module("restored")
    sys.modules.pop("restored", None)


def gradient(function) -> np.ndarray:
    """By a call that is mapped over the devices."""
    grad = jax.grad(lambda image: function(image).sum())
    image = np.ones((9, SIZE, SIZE, 1), np.float32)
    return parallel.in_batches(lambda frozen, image: grad(image), 8)({}, image)


@pytest.mark.parametrize("name", HOLDERS)
def test_arrays_of_a_mesh_can_be_closed_over(name, restored):
    function = load_function(f"restored:{name}")
    np.testing.assert_array_equal(gradient(function), np.full((9, SIZE, SIZE, 1), 3.0))


@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="JAX 0.12 takes such arrays itself")
def test_without_that_they_could_not(restored):
    """Once no JAX of requirements.txt fails here, `load_function` can leave arrays alone."""
    with pytest.raises(ValueError, match="mesh"):
        gradient(restored.by_dictionary)


def test_a_library_is_not_entered(restored):
    before = dict(vars(jnp))
    load_function("restored:within")
    assert all(vars(jnp)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    "step", [pytest.param(steps.gan_step, marks=pytest.mark.slow), steps.penalty_step]
)
def test_the_gans_steps_take_such_a_function(step, restored, tiny_config):
    tiny_config.classifier.module = "restored:closure"
    devices = jax.local_devices()
    assert f"num_partitions = {len(devices)}" in step(tiny_config, devices).lower(4).as_text()
