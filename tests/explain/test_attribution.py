"""Maps against hand values, against the axioms, and against the package `saliency`."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import saliency.core as reference

from cxr_jax import metrics
from cxr_jax.explain import attribution
from cxr_jax.models.blocks import PixelNorm, ResidualBlock, downsample
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.model import Model

B, SIDE, WIDTH, K = 3, 16, 8, 6


@pytest.fixture(scope="module")
def network() -> Classifier:
    return Classifier(widths=(WIDTH, WIDTH, WIDTH))


@pytest.fixture(scope="module")
def params(network, random_params) -> dict:
    return random_params(network, jnp.zeros((B, SIDE, SIDE, 1)))


@pytest.fixture(scope="module")
def classify(network, params):
    return jax.jit(lambda x: network.apply({"params": params}, x)[0])


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (B, SIDE, SIDE, 1), minval=-1)


@pytest.fixture
def weights(key) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(key, 1), (SIDE, SIDE, 1))


@pytest.fixture
def linear(weights):
    return lambda x: (x * weights[None]).sum(axis=(1, 2, 3)) + 3.0


@pytest.fixture
def frames(key, image) -> jax.Array:
    """A crooked walk [K+1, b, h, w, 1]."""
    moves = 0.1 * jax.random.normal(jax.random.fold_in(key, 2), (K, *image.shape))
    return image[None] + jnp.concatenate([0 * moves[:1], jnp.cumsum(moves, axis=0)])


@pytest.fixture(scope="module")
def call_model(classify):
    """The classifier as `saliency` wants to call it."""
    gradient = jax.jit(jax.grad(lambda x: classify(x).sum()))

    def call(batch, call_model_args, expected_keys):
        assert expected_keys == [reference.INPUT_OUTPUT_GRADIENTS]
        return {reference.INPUT_OUTPUT_GRADIENTS: gradient(jnp.asarray(batch, jnp.float32))}

    return call


def assert_close(actual, expected) -> None:
    """To 1e-4 of the largest value."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def scratch_bytes(fn, *arguments) -> int:
    """Memory of the compiled function beside its arguments and its result."""
    return jax.jit(fn).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


# 1. A linear function: every method is exact.


def test_the_gradient_of_a_linear_function_is_its_weights(linear, weights, image):
    expected = np.broadcast_to(np.abs(weights), image.shape)
    np.testing.assert_allclose(attribution.input_gradient(linear, image), expected, rtol=1e-6)


def test_integrated_gradients_of_a_linear_function(linear, weights, image):
    baseline = jnp.full_like(image, -1.0)
    shares = attribution.integrated_gradients(linear, image, baseline, num_steps=3)
    np.testing.assert_allclose(shares, weights[None] * (image + 1), rtol=1e-5, atol=1e-6)


def test_smooth_grad_of_a_linear_function(linear, weights, image, key):
    noise = jax.random.normal(key, (4, *image.shape))
    expected = np.broadcast_to(weights, image.shape)  # with its sign
    mean = attribution.smooth_grad(linear, image, noise)
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_latent_integrated_gradients_of_a_linear_function(linear, weights, frames):
    end = np.array([K, 2, 0])
    shares = attribution.latent_integrated_gradients(linear, frames, jnp.asarray(end))
    moved = frames[end, np.arange(B)] - frames[0]
    np.testing.assert_allclose(shares, weights[None] * moved, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(shares[2], np.zeros((SIDE, SIDE, 1)))


# 2. Axioms, on the classifier.


def test_integrated_gradients_are_complete(classify, image):
    baseline = jnp.full_like(image, -1.0)
    change = np.asarray(classify(image) - classify(baseline))
    errors = []
    for num_steps in (32, 128):
        shares = attribution.integrated_gradients(classify, image, baseline, num_steps=num_steps)
        errors.append(
            [
                metrics.completeness(*pair)
                for pair in zip(np.asarray(shares), np.asarray(change), strict=True)
            ]
        )
    assert max(errors[1]) < 2e-3
    assert max(errors[1]) < max(errors[0]) / 10  # O(1 / num_steps^2); with the ends' rule O(1 / n)


def test_latent_integrated_gradients_are_complete(classify, frames):
    # The same crooked path in finer pieces: 32 to each of its segments.
    t = jnp.linspace(0.0, 1.0, 33)[:-1].reshape(1, -1, 1, 1, 1, 1)
    pieces = frames[:-1, None] * (1 - t) + frames[1:, None] * t
    fine = jnp.concatenate([pieces.reshape(-1, *frames.shape[1:]), frames[-1:]])
    end = np.array([32 * K, 32 * 2, 32 * 3 + 5])
    shares = attribution.latent_integrated_gradients(classify, fine, jnp.asarray(end))
    change = classify(fine[end, np.arange(B)]) - classify(fine[0])
    errors = [
        metrics.completeness(*pair)
        for pair in zip(np.asarray(shares), np.asarray(change), strict=True)
    ]
    assert max(errors) < 1e-3


def test_a_straight_walk_is_integrated_gradients(classify, image):
    baseline = -0.5 * image
    t = jnp.linspace(0.0, 1.0, K + 1).reshape(-1, 1, 1, 1, 1)
    walked = attribution.latent_integrated_gradients(
        classify, baseline[None] * (1 - t) + image[None] * t, jnp.full(B, K)
    )
    straight = attribution.integrated_gradients(classify, image, baseline, num_steps=K)
    assert_close(walked, np.asarray(straight))


# 3. The package `saliency`, one image at a time.


def test_input_gradient_agrees_with_saliency(classify, image, call_model):
    expected = [reference.GradientSaliency().GetMask(np.asarray(x), call_model) for x in image]
    assert_close(attribution.input_gradient(classify, image), np.abs(expected))


def test_integrated_gradients_agree_with_saliency(classify, image, call_model):
    # Its n points include both ends and each counts 1/n: they are the midpoints of a segment that
    # is longer by half a step at either end.
    num_steps, baseline = 25, np.full(image.shape, -1.0, np.float32)
    expected = [
        reference.IntegratedGradients().GetMask(
            x, call_model, x_baseline=origin, x_steps=num_steps, batch_size=num_steps
        )
        for x, origin in zip(np.asarray(image), baseline, strict=True)
    ]
    half = 0.5 * (image - baseline) / (num_steps - 1)
    shares = attribution.integrated_gradients(
        classify, image + half, baseline - half, num_steps=num_steps
    )
    assert_close(shares * (num_steps - 1) / num_steps, np.stack(expected))


def test_smooth_grad_agrees_with_saliency(classify, image, call_model, monkeypatch):
    noise = np.random.default_rng(0).normal(0, 0.3, (5, *image.shape))
    expected = []
    for i, x in enumerate(np.asarray(image)):
        drawn = iter(noise[:, i])
        monkeypatch.setattr(np.random, "normal", lambda *_, drawn=drawn: next(drawn))
        expected.append(
            reference.GradientSaliency().GetSmoothedMask(
                x, call_model, nsamples=len(noise), magnitude=False
            )
        )
    noise = jnp.asarray(noise, jnp.float32)
    assert_close(attribution.smooth_grad(classify, image, noise), np.stack(expected))


def rest_of(params, stage) -> Callable:
    """From the feature maps of a stage to the margin, written out layer by layer."""

    def margin(x):
        if stage == "stage_1":
            x = ResidualBlock(WIDTH).apply({"params": params["ResidualBlock_1"]}, downsample(x))
        x = nn.silu(PixelNorm().apply({"params": params["PixelNorm_0"]}, x)).mean(axis=(1, 2))
        return nn.Dense(1).apply({"params": params["Dense_0"]}, x)[:, 0]

    return margin


@pytest.mark.parametrize("stage", ["stage_1", "stage_2"])
def test_grad_cam_agrees_with_saliency(network, params, image, stage):
    features = network.apply({"params": params}, image)[1][stage]
    gradient = jax.jit(jax.grad(lambda x: rest_of(params, stage)(x).sum()))(features)
    ours = np.asarray(
        jax.jit(attribution.grad_cam, static_argnums=2)(Model(network, params), image, stage)
    )
    assert (ours.max(axis=(1, 2, 3)) > 0).any()
    for i, x in enumerate(np.asarray(image)):

        def call(batch, call_model_args, expected_keys, i=i):
            return {
                reference.CONVOLUTION_LAYER_VALUES: features[i : i + 1],
                reference.CONVOLUTION_OUTPUT_GRADIENTS: gradient[i : i + 1],
            }

        get = functools.partial(reference.GradCam().GetMask, x, call, three_dims=False)
        # At the border it mirrors where we repeat, for half a pixel of the map; and it scales.
        inside = slice(SIDE // len(features[i]) // 2, -(SIDE // len(features[i])) // 2)
        expected = get(should_resize=True) * (get(should_resize=False).max() or 1.0)
        assert_close(ours[i, inside, inside, 0], expected[inside, inside])


# 4. Grad-CAM by hand.


class Toy(nn.Module):
    """Two 2 x 2 maps, scaled by the mean of the image, and the weighted sum of their pixels."""

    perturbed: bool = True

    @nn.compact
    def __call__(self, image):
        basis = jnp.array([[[1.0, 1.0], [2.0, 1.0]], [[0.0, 1.0], [-1.0, -4.0]]])  # [h, w, c]
        slope = jnp.array([[[1.0, -1.0], [3.0, -3.0]], [[2.0, 1.0], [2.0, -1.0]]])  # means 2, -1
        maps = image.mean(axis=(1, 2, 3), keepdims=True) * basis[None]
        if self.perturbed:
            maps = self.perturb("maps", maps)
        return (slope[None] * maps).sum(axis=(1, 2, 3)), {"maps": maps}


def test_grad_cam_by_hand():
    image = jnp.stack([jnp.full((4, 4, 1), scale) for scale in (1.0, -2.0)])
    cam = attribution.grad_cam(Model(Toy(), {}), image, "maps")
    # 2 A_0 - A_1 is [[1, 3], [-1, 2]] of the first film and -2 times that of the other.
    between = np.array([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    for drawn, coarse in zip(
        cam, ([[1.0, 3.0], [0.0, 2.0]], [[0.0, 0.0], [2.0, 0.0]]), strict=True
    ):
        expected = between @ np.array(coarse) @ between.T
        np.testing.assert_allclose(drawn[..., 0], expected, rtol=1e-5, atol=1e-6)


def test_grad_cam_wants_a_map_that_exists_and_is_perturbed(network, params, image):
    with pytest.raises(KeyError, match="stage_3"):
        attribution.grad_cam(Model(network, params), image, "stage_3")
    with pytest.raises(KeyError, match="perturbations"):  # rather than a gradient of zero
        attribution.grad_cam(Model(Toy(perturbed=False), {}), image, "maps")


def test_perturbing_the_classifier_leaves_its_parameters_alone(network, params, image):
    assert set(jax.eval_shape(network.init, jax.random.key(0), image)) == {"params"}
    (margin, features), zeros = network.apply({"params": params}, image, mutable=["perturbations"])
    assert set(zeros["perturbations"]) == set(features)
    plain, _ = network.apply({"params": params}, image)
    np.testing.assert_array_equal(margin, plain)


def test_grad_cam_in_half_precision(network, params, image):
    draw = jax.jit(attribution.grad_cam, static_argnums=2)
    full = draw(Model(network, params), image, "stage_2")
    half = draw(Model(network.clone(dtype="bfloat16"), params), image, "stage_2")
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.1 * float(full.max()))


# 5. Undoing a change.


def window_sums(classify, image, other, count) -> tuple[np.ndarray, np.ndarray]:
    """Rises of f and changes held, over all windows of each pixel, by loops."""
    image, other = np.asarray(image), np.asarray(other)
    side, half = image.shape[1] // count, image.shape[1] // count // 2
    rise, held = np.zeros_like(image), np.zeros_like(image)
    for top in range(-half, image.shape[1], half):
        for left in range(-half, image.shape[2], half):
            here = (
                slice(None),
                slice(max(top, 0), top + side),
                slice(max(left, 0), left + side),
            )
            undone = other.copy()
            undone[here] = image[here]
            gain = np.asarray(classify(undone)) - np.asarray(classify(other))
            rise[here] += np.maximum(gain, 0)[:, None, None, None]
            held[here] += np.abs(other - image)[here].sum(axis=(1, 2, 3), keepdims=True)
    return rise, held


@pytest.mark.parametrize("count", [2, 4])
def test_occlusion_is_the_change_by_the_root_of_its_rate(classify, image, key, count):
    other = image + 0.5 * jax.random.normal(jax.random.fold_in(key, 3), image.shape)
    found = attribution.occluded_change(classify, image, other, num_windows=count)
    rise, held = window_sums(classify, image, other, count)
    assert (rise == 0).any() and (rise > 0).any()  # some windows are worth nothing
    assert_close(found, np.abs(other - image) * np.sqrt(rise / (held + attribution.LEAST_CHANGE)))


def test_occlusion_of_what_f_adds_up_is_the_change(image):
    # f owes the same to every unit of a fall, 0.5: the map is the change, by the root of that.
    classify = lambda x: 0.5 * x.sum(axis=(1, 2, 3))
    found = attribution.occluded_change(classify, image, image - jnp.abs(image), num_windows=4)
    np.testing.assert_allclose(found, np.sqrt(0.5) * np.abs(image), rtol=1e-3, atol=1e-6)
    risen = attribution.occluded_change(classify, image, image + jnp.abs(image), num_windows=4)
    np.testing.assert_array_equal(risen, 0)  # it speaks for the other side


def test_occlusion_sees_nothing_where_f_does_not_look_or_nothing_changed(image):
    classify = lambda x: x[:, :, : SIDE // 2].sum(axis=(1, 2, 3))
    other = image.at[:, : SIDE // 2].add(-0.3)
    found = np.asarray(attribution.occluded_change(classify, image, other, num_windows=4))
    assert (found[:, : SIDE // 2, : SIDE // 2] > 0).all()
    assert (found[:, SIDE // 2 :] == 0).all()  # nothing changed there
    assert (found[:, :, SIDE // 2 + 2 :] < 1e-3).all()  # a window reaches half of itself beyond


def test_every_pixel_lies_in_four_windows():
    windows = np.asarray(attribution._windows(12, 24, 3))
    assert windows.shape == (49, 1, 12, 24, 1)
    assert set(windows.sum(axis=0).ravel()) == {4}
    inner = windows[3 * 7 + 3, 0, ..., 0]  # rows 4-7, columns 8-15
    np.testing.assert_array_equal(np.argwhere(inner)[[0, -1]], [[4, 8], [7, 15]])
    assert inner.sum() == 32


# 6. Compiled.


def test_memory_does_not_grow_with_the_steps(classify, image):
    def integrated(num_steps):
        fn = lambda x, o: attribution.integrated_gradients(classify, x, o, num_steps=num_steps)
        return scratch_bytes(fn, image, -image)

    def smoothed(count):
        fn = lambda x, eps: attribution.smooth_grad(classify, x, eps)
        return scratch_bytes(fn, image, jnp.zeros((count, *image.shape)))

    def walked(count):
        fn = lambda f, end: attribution.latent_integrated_gradients(classify, f, end)
        return scratch_bytes(fn, jnp.zeros((count, *image.shape)), jnp.full(B, 2))

    for scratch in (integrated, smoothed, walked):
        few, many = scratch(8), scratch(264)
        assert many - few < 256 * image.nbytes / 8, scratch.__name__


def test_expected_gradients_of_a_linear_f_are_exact(linear, image, weights, key):
    references = jax.random.uniform(key, (B, 5, SIDE, SIDE, 1), minval=-1)
    shares = jax.random.uniform(jax.random.fold_in(key, 3), (B, 5))
    found = attribution.expected_gradients(linear, image, references, shares=shares)
    mean = references.mean(axis=1)
    np.testing.assert_allclose(found, weights[None] * (image - mean), rtol=1e-4, atol=1e-5)


def test_occlusion_is_what_f_falls_by_without_a_window(image, weights):
    # f counts one pixel alone; a healthy film is darker there, in the windows that hold it.
    classify = lambda x: 3.0 * x[:, 5, 6, 0]
    healthy = image - 0.5
    found = np.asarray(attribution.occlusion(classify, image, healthy, num_windows=4))
    assert found[:, 5, 6, 0] == pytest.approx(1.5, rel=1e-4)
    assert (found >= 0).all() and not found[:, 12:].any()
    # Where a film is darker than the healthy one nothing speaks for a positive.
    assert not np.asarray(attribution.occlusion(classify, image, image + 0.5, num_windows=4)).any()


def test_layer_cam_weighs_each_place_by_its_own_gradient(network, params, image):
    model = Model(network, params)
    _, features = model(image)
    maps = features["stage_1"]

    def margin(perturbation):
        zeros = model(image, mutable=["perturbations"])[1]["perturbations"]
        moved = {"perturbations": zeros | {"stage_1": perturbation}}
        return network.apply({"params": params, **moved}, image)[0].sum()

    gradient = jax.grad(margin)(jnp.zeros_like(maps))
    coarse = jax.nn.relu((jax.nn.relu(gradient) * maps).sum(axis=-1, keepdims=True))
    expected = jax.image.resize(coarse, image.shape, "bilinear")
    np.testing.assert_allclose(
        attribution.layer_cam(model, image, "stage_1"), expected, rtol=1e-4, atol=1e-6
    )
