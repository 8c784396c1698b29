"""The PyTorch peers do our steps' work: the same networks and answers, and losses that fall."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.configs import base, paper
from cxr_jax.networks.build import make_classifier, make_gan_networks
from cxr_jax.runtime.parallel import AXIS

torch = pytest.importorskip("torch", reason='needs PyTorch: python -m pip install -e ".[torch]"')
# isort: split
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.peers import (  # noqa: E402
    augment,
    batches,
    classifiers,
    inversion,
    latent_shift,
    own_networks,
    paper_gan,
    paper_networks,
    worker,
)
from cxr_jax.data import augment as our_augment  # noqa: E402
from cxr_jax.training import paper_objective  # noqa: E402

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ROWS = 4


def latents(shapes) -> list[torch.Tensor]:
    return [torch.randn(ROWS, *shape) for shape in shapes]


def our_paper(size: int):
    return make_gan_networks(paper.get_config("64" if size == 64 else ""))


def our_classifier(architecture: str):
    section = base.get_classifier()
    section.architecture = architecture
    return make_classifier(section)


def images(size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((ROWS, size, size, 1), jnp.float32)


def vectors(sizes) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct((ROWS, n), jnp.float32) for n in sizes]


def pair(name: str, size: int) -> tuple:
    """Our network, what it is called with, the peer's, and what that is called with."""
    image = functools.partial(torch.randn, ROWS, 1, size, size)
    grade = jax.ShapeDtypeStruct((ROWS,), jnp.int32)
    if name in classifiers.CLASSIFIERS:
        return our_classifier(name), [images(size)], classifiers.CLASSIFIERS[name](), [image()]
    if name == "paper generator":
        theirs = paper_networks.Generator(paper_networks.GENERATOR_WIDTHS[size]).eval()
        z = latents((n,) for n in paper_networks.LATENT_SIZES)
        return our_paper(size).generator, vectors(paper_networks.LATENT_SIZES), theirs, z
    if name == "paper discriminator":
        theirs = paper_networks.Discriminator(size).eval()
        return our_paper(size).discriminator, [images(size), grade], theirs, [image()]
    own = make_gan_networks(base.get_config())
    if name == "encoder":
        return own.encoder, [images(size)], own_networks.Encoder(), [image()]
    maps = [latents(shapes) for shapes in own_networks.latent_shapes(size)]
    return own.generator, vectors(own.generator.latent_sizes), own_networks.Generator(size), maps


NETWORKS = [
    *(("compact", 64), ("vgg16", 64), ("generator", 64), ("encoder", 64)),
    *(("paper generator", 64), ("paper discriminator", 64)),
    *(("paper generator", 128), ("paper discriminator", 128)),
]


def params_of(network, inputs) -> dict:
    return jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x)["params"], *inputs)


def size_of(network: torch.nn.Module) -> int:
    state = network.state_dict().items()
    return sum(x.numel() for name, x in state if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_a_network_has_as_many_parameters_as_ours(name, size):
    """BatchNorm's running statistics count as parameters with us."""
    with torch.device("meta"):
        ours, inputs, theirs, _ = pair(name, size)
    shapes = jax.tree.leaves(params_of(ours, inputs))
    assert size_of(theirs) == sum(math.prod(leaf.shape) for leaf in shapes)


# Our products for each of PyTorch's in a forward pass. Ours are more, on purpose, where a stride is
# left to a later thinning (the discriminator's odd convolutions), and where each phase of a
# transposed kernel is filled up to an odd number of taps and drawn beyond the map's edge, to be cut
# off; see cxr_jax/models/transposed.py. PyTorch's are what the layers are defined to take.
PRODUCTS = {
    ("compact", 64): 1.0,
    ("vgg16", 64): 1.0,
    ("generator", 64): 1.0,
    ("encoder", 64): 1.0,
    ("paper generator", 64): 2.18,
    ("paper generator", 128): 1.87,
    ("paper discriminator", 64): 2.25,
    ("paper discriminator", 128): 1.86,
}


def multiply_adds(jaxpr) -> int:
    """Of its convolutions and products, as PyTorch counts: those with padding too, unlike XLA's."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            features = equation.params["dimension_numbers"].rhs_spec[0]
            kernel = equation.invars[1].aval.shape
            taps = math.prod(kernel) // kernel[features]
            total += equation.outvars[0].aval.size * taps
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            length = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += equation.outvars[0].aval.size * length
        inner = jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)
        total += sum(multiply_adds(part) for part in inner if is_program(part))
    return total


def is_program(value) -> bool:
    return hasattr(value, "eqns")


def our_flops(network, inputs) -> float:
    params = params_of(network, inputs)
    ask = lambda params, *x: network.apply({"params": params}, *x)
    return 2 * multiply_adds(jax.make_jaxpr(ask)(params, *inputs))


def their_flops(call: Callable) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "size"), list(PRODUCTS))
def test_a_forward_pass_takes_our_products(name, size):
    with torch.device("meta"):
        ours, inputs, theirs, x = pair(name, size)
        flops = their_flops(lambda: theirs(*x))
    assert our_flops(ours, inputs) / flops == pytest.approx(PRODUCTS[name, size], rel=0.01)


# 2. Our parameters in the peer's place.


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def conv_weight(kernel) -> torch.Tensor:
    """[k, k, c, f] to [f, c, k, k]; a matrix [c, f] to [f, c]."""
    axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
    return tensor(np.transpose(kernel, axes))


def fill(module: torch.nn.Module, params: dict) -> None:
    """Sets a layer's tensors to ours of the same meaning."""
    kernel = params["weight" if "weight" in params else "kernel"]
    weight = conv_weight(kernel) if kernel.ndim > 1 else tensor(kernel)
    rest = {name: tensor(params[name]) for name in params if name not in ("weight", "kernel")}
    state = {"weight": weight.reshape(module.weight.shape), **rest}
    module.load_state_dict(state, strict=False)
    assert set(state) >= {name for name in module.state_dict() if name != "num_batches_tracked"}


def by_depth(weight) -> np.ndarray:
    """A kernel for our space-to-depth, whose channels come last, in PyTorch's order."""
    *spatial, channels, features = weight.shape
    return weight.reshape(*spatial, 4, channels // 4, features).swapaxes(2, 3).reshape(weight.shape)


def fill_generator(network: paper_networks.Generator, params: dict) -> None:
    fill(network.dense, params["dense"])
    first = params["grow_1"]["weight"]  # [5, 5, c, f]
    network.first.load_state_dict(
        {"weight": tensor(first.transpose(0, 1, 3, 2).reshape(-1, first.shape[2]))}
    )
    for i, norm in enumerate(network.norms, start=1):
        fill(norm, params[f"norm_{i}"])
    names = [*(f"grow_{i}" for i in range(2, len(network.norms) + 1)), "image"]
    for name, layer in zip(names, [*network.grow, network.image], strict=True):
        layer.load_state_dict({"weight": tensor(params[name]["weight"].transpose(2, 3, 0, 1))})


def fill_discriminator(network: paper_networks.Discriminator, params: dict) -> None:
    for i, conv in enumerate(network.convs):
        fill(conv, params[f"Conv_{i}"])
    for i, norm in enumerate(network.norms):
        fill(norm, params[f"BatchNorm_{i}"])
    weight, channels = params["Linear_0"]["weight"], network.convs[-1].out_channels
    weight = weight.reshape(-1, channels, 1).swapaxes(0, 1).reshape(-1, 1)
    fill(network.logit, {"weight": weight, "bias": params["Linear_0"]["bias"]})


def fill_block(block, params: dict) -> None:
    for i in range(2):
        fill(block.convs[i], params[f"Conv3_{i}"])
        block.norms[i].load_state_dict({"gain": tensor(params[f"PixelNorm_{i}"]["gain"])})
    if "Dense_0" in params:
        fill(block.skip, params["Dense_0"])


def fill_compact(network: classifiers.CompactClassifier, params: dict) -> None:
    for i, conv in enumerate(network.stem.convs):
        ours = params["Stem_0"][f"Conv3_{i}"]
        fill(conv, {**ours, "kernel": by_depth(ours["kernel"])})
    for i, block in enumerate(network.blocks):
        fill_block(block, params[f"ResidualBlock_{i}"])
    network.norm.load_state_dict({"gain": tensor(params["PixelNorm_0"]["gain"])})
    fill(network.logit, params["Dense_0"])


FILLS = {
    "paper generator": fill_generator,
    "paper discriminator": fill_discriminator,
    "compact": fill_compact,
}


def film(x: torch.Tensor) -> jnp.ndarray:
    """[b, 1, h, w] as ours [b, h, w, 1]; anything else as it is."""
    array = x.numpy()
    return jnp.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


def evaluated(random_params: Callable, name: str, size: int) -> tuple:
    """Our network, its random parameters as NumPy's, the peer with the same, and inputs of both."""
    ours, inputs, theirs, x = pair(name, size)
    params = jax.tree.map(
        np.asarray, random_params(ours, *(jnp.zeros(x.shape, x.dtype) for x in inputs))
    )
    for layer in params.values():
        if "running_var" in layer:
            layer["running_var"] = np.abs(layer["running_var"]) + 1
    FILLS[name](theirs, params)
    more = [jnp.zeros(ROWS, jnp.int32)] if name == "paper discriminator" else []
    return ours, params, theirs, x, [*map(film, x), *more]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", list(FILLS))
def test_a_network_answers_as_ours_does(name, size, random_params):
    ours, params, theirs, x, inputs = evaluated(random_params, name, size)
    answer = ours.apply({"params": params}, *inputs)
    answer = answer[0] if isinstance(answer, tuple) else answer
    with torch.no_grad():
        np.testing.assert_allclose(film(theirs(*x)), answer, rtol=1e-3, atol=1e-3)


def test_batchnorm_in_training_is_ours(random_params):
    """The generator's images of a batch, by that batch's statistics."""
    ours, params, theirs, x, inputs = evaluated(random_params, "paper generator", 64)
    keys = jax.random.split(jax.random.key(0), ROWS)
    apply = lambda *z: ours.apply({"params": params}, *z, keys)
    answer = jax.vmap(apply, axis_name=AXIS)(*(z[None] for z in inputs))[0]
    with torch.no_grad():
        np.testing.assert_allclose(film(theirs.train()(*x)), answer, rtol=1e-3, atol=1e-4)


# 3. Steps.

TINY = {"classifier_step": dict(batch=8, size=32), "inversion": dict(batch=2, updates=3)}


def first_and_last(lower: Callable[[], torch.Tensor], steps: int) -> tuple[float, float]:
    """Means over the first and the last third of so many losses."""
    history = [float(lower()) for _ in range(steps)]
    assert np.isfinite(history).all()
    return np.mean(history[: steps // 3]), np.mean(history[-(steps // 3) :])


@pytest.mark.parametrize("mode", ["eager", "bf16"])
@pytest.mark.parametrize("name", list(TINY))
def test_a_step_lowers_its_loss_on_a_fixed_batch(name, mode):
    torch.manual_seed(0)
    peer = worker.load(name, {**TINY[name], "mode": mode})
    first, last = first_and_last(peer.step, 30 if name == "classifier_step" else 6)
    assert last < first


def tensors_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().flatten() for x in network.parameters()])


@pytest.mark.parametrize("mode", ["eager", "bf16"])
def test_a_step_of_the_paper_moves_both_players_and_not_the_classifier(mode, monkeypatch):
    torch.manual_seed(0)
    players = paper_gan.make_players(64, "compact")
    monkeypatch.setattr(paper_gan, "make_players", lambda size, classifier: players)
    networks = players.generator, players.discriminator, players.classifier
    peer = paper_gan.paper_gan_step(batch=4, mode=mode)
    before = [tensors_of(network) for network in networks]
    assert peer.step().isfinite().all() and peer.images == 4
    moved = [tensors_of(network) - old for network, old in zip(networks, before, strict=True)]
    assert [bool(difference.any()) for difference in moved] == [True, True, False]
    # Adam's first step is as long as its rate, whatever the gradient.
    assert moved[0].abs().max() == pytest.approx(paper_gan.LEARNING_RATE, rel=0.01)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_each_player_lowers_its_loss_while_the_other_rests(player):
    torch.manual_seed(0)
    players = paper_gan.make_players(64, "compact")
    players.discriminator.rate = 0.0
    pixels, _ = batches.random_batch(4, 64)
    noise = paper_gan.draw_latents(4)
    fake = paper_gan.generator_loss(players, *noise)[1]
    losses = {
        "generator": lambda: paper_gan.generator_loss(players, *noise)[0],
        "discriminator": lambda: paper_gan.discriminator_loss(players.discriminator, pixels, fake),
    }
    optimizer = torch.optim.Adam(getattr(players, player).parameters(), paper_gan.LEARNING_RATE)

    def lower() -> torch.Tensor:
        optimizer.zero_grad()
        loss = losses[player]()
        loss.backward()
        optimizer.step()
        return loss.detach()

    first, last = first_and_last(lower, 6)
    assert last < first


def test_the_paper_s_objective_is_that_of_our_config():
    gan = paper.get_config("64").gan
    weights = paper_gan.ENTROPY_WEIGHT, paper_gan.MODE_SEEKING_WEIGHT
    assert weights == (gan.entropy_weight, gan.mode_seeking_weight)
    assert paper_gan.LEARNING_RATE == gan.generator_learning_rate == gan.discriminator_learning_rate
    assert (gan.beta1, gan.beta2) == paper_gan.BETAS
    assert paper_gan.EPSILON == paper_objective.EPSILON
    rng = np.random.default_rng(0)
    image, z = rng.normal(size=(8, 4, 4, 1)), rng.normal(size=(8, 100))
    ours = paper_objective.mode_seeking(jnp.float32(image), jnp.float32(z))
    theirs = paper_gan.mode_seeking(tensor(image.transpose(0, 3, 1, 2)), tensor(z))
    assert float(theirs) == pytest.approx(float(ours), rel=1e-5)


@pytest.mark.parametrize("mode", ["eager", "bf16"])
@pytest.mark.parametrize("batch", [1, 2])
def test_f_rises_along_latent_shift(batch, mode):
    torch.manual_seed(0)
    margins = latent_shift.latent_shift(size=32, batch=batch, mode=mode).step().float()
    assert margins.shape == (latent_shift.FRAMES, batch) and margins.isfinite().all()
    # Of untrained networks by too little for bfloat16 to tell.
    assert mode == "bf16" or (margins[-1] > margins[0]).all()


def test_an_inversion_is_all_updates_of_its_config():
    for size, variant in ((64, "64"), (128, "")):
        section = paper.get_config(variant).explain.inversion
        assert inversion.SETTINGS[size] == (section.num_steps, section.learning_rate)
        assert (section.beta1, section.beta2) == inversion.BETAS
        assert section.weights.pixel == inversion.PIXEL
        assert section.weights.cross_entropy == inversion.CROSS_ENTROPY
    assert worker.load("inversion", dict(batch=1, updates=4)).repeats == 125


def test_a_view_is_drawn_as_ours_is(monkeypatch):
    """The same pose of the same film, the other changes apart."""
    pose = dict(brightness=0.0, contrast=0.0, noise=0.0, support_devices=0.0)
    strength = dict(shift=0.1, rotation=20.0, zoom=0.1)
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    drawn = jnp.array([0.5, -0.7, 0.8, 0.6])  # shift down and across, angle, zoom
    monkeypatch.setattr(
        our_augment.jax.random, "uniform", lambda key, shape, **_: drawn[: shape[0]]
    )
    monkeypatch.setattr(
        augment, "uniform", lambda rows, n, *ones: tensor(drawn)[:n].reshape(1, n, *ones)
    )
    ours = our_augment.Augmentation(**strength, **pose, detail=0.0)
    keys = jax.random.split(jax.random.key(0), 1)
    expected = our_augment.augment(film(image), keys, ours)
    found = augment.augment(image, augment.Augmentation(**strength, **pose))
    np.testing.assert_allclose(film(found), expected, atol=1e-5)


def test_support_devices_are_as_bright_as_ours():
    """Means over many films: the leads are random."""
    keys = jax.random.split(jax.random.key(0), 400)
    ours = jax.vmap(lambda key: our_augment.draw_support_devices(key, 32))(keys)
    torch.manual_seed(0)
    theirs = augment.draw_support_devices(400, 32).numpy()
    assert theirs.min() >= 0 and theirs.max() <= 1
    assert theirs.mean() == pytest.approx(float(ours.mean()), rel=0.15)
    assert (theirs > 0.3).mean() == pytest.approx(float((ours > 0.3).mean()), rel=0.25)
