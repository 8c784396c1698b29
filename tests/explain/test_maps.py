"""The maps by name: whose they are, what they ask, and what none of them looks at."""

import dataclasses

import builders
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from builders import SIDE, ToyGan

from cxr_jax import plots
from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.explain import attribution, maps
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.films import Films
from cxr_jax.explain.maps import MAPS, Map, MapInputs
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.metrics import Bootstrap
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.external import External
from cxr_jax.models.model import Model
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.pipeline.config_checks import check_explain, check_ranges
from cxr_jax.report import figures, tables
from cxr_jax.types import Image

pytestmark = pytest.mark.usefixtures("optimised")

N, K = 3, 4
NAMES = (
    *("latent", "latent_occlusion", "residual", "latent_integrated_gradients"),
    *("gradient", "integrated_gradients", "smoothgrad", "grad_cam"),
    *("integrated_gradients_mean", "expected_gradients", "layer_cam", "occlusion"),
    *("latent_shift", "healthy_subspace", "healthy_subspace_gradients"),
    *("prior", "lungs", "shuffled", "anogan", "pixel", "oracle"),
)
PUBLISHED = ("gradient", "integrated_gradients", "smoothgrad", "grad_cam", "layer_cam")
# Published methods that know healthy films, or walk.
BESIDE = ("integrated_gradients_mean", "expected_gradients", "occlusion", "latent_shift")
COMPILED = {
    *(*PUBLISHED, *BESIDE[:-1], "healthy_subspace_gradients"),
    *("latent_occlusion", "latent_integrated_gradients", "anogan"),
}


@pytest.fixture(scope="module")
def section() -> ml_collections.ConfigDict:
    section = base.get_config().explain
    section.update(
        dict(
            maps=NAMES,
            integrated_gradients_steps=8,
            smoothgrad_samples=3,
            occlusion_windows=4,
            layer_cam_stage="stage_1",
        )
    )
    # An encoder that has learned nothing is no inverse: what it would correct goes anywhere.
    section.inversion.update(dict(corrections=0, num_steps=12, learning_rate=0.03, beta2=0.999))
    return section


@pytest.fixture(scope="module")
def gan() -> ToyGan:
    return builders.make_gan()


@pytest.fixture(scope="module")
def films(gan) -> Films:
    return builders.make_films(gan, N, positive=True)


def test_every_map_has_its_name_in_this_order():
    assert tuple(MAPS) == NAMES == tuple(map_.name for map_ in MAPS.values())
    assert set(maps.of_kind("published")) == {*PUBLISHED, *BESIDE}
    assert maps.of_kind("ours") == (
        *("latent", "latent_occlusion", "residual"),
        "latent_integrated_gradients",
    )
    kinds = {map_.kind for map_ in MAPS.values()}
    assert kinds == {"ours", "published", "rival", "control"}


def test_only_maps_that_are_asked_for_are_compiled(gan, section):
    assert maps.compile_maps(gan.models, section, 0).keys() == COMPILED
    some = section.copy_and_resolve_references()
    some.maps = ("latent", "grad_cam", "gradient", "oracle")
    assert maps.compile_maps(gan.models, some, 0).keys() == {"gradient", "grad_cam"}


# Published methods.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A small classifier, films, and each method's maps of them."""

    models: TrainedModels
    image: np.ndarray
    methods: dict
    found: dict

    def classify(self, image) -> jax.Array:
        """f."""
        return self.models.classify(image)


@pytest.fixture(scope="module")
def asked(gan, random_params, section) -> Asked:
    network = Classifier(widths=(4, 4))
    image = np.float32(np.random.default_rng(0).uniform(-1, 1, (N, 16, 16, 1)))
    models = gan.models.replace(classifier=Model(network, random_params(network, image[:1])))
    methods = {name: jax.jit(MAPS[name].traced(section, 0)) for name in PUBLISHED}
    found = {name: np.asarray(method(models, image)) for name, method in methods.items()}
    return Asked(models=models, image=image, methods=methods, found=found)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_maps_are_each_films_own(asked, name):
    found = asked.found[name]
    assert found.shape == asked.image.shape
    assert (found.max(axis=(1, 2, 3)) > 0).all()
    # A gradient's size and Grad-CAM's ReLU have no sign; shares of f's answer have one.
    assert (found.min() < 0) == (name in ("integrated_gradients", "smoothgrad"))
    # Other films in its batch change nothing.
    mates = np.array([2, 2, 0])
    again = asked.methods[name](asked.models, asked.image[mates])
    np.testing.assert_allclose(again, found[mates], rtol=1e-3, atol=1e-6)


def test_published_maps_are_the_methods_of_their_names(asked, section):
    image, found = asked.image, asked.found
    gradient = jax.jit(jax.grad(lambda image: asked.classify(image).sum()))
    np.testing.assert_allclose(found["gradient"], np.abs(gradient(image)), rtol=1e-3, atol=1e-6)
    # From black: the map has the change of f for its sum.
    black, steps = 0 * image - 1, section.integrated_gradients_steps
    shares = attribution.integrated_gradients(asked.classify, image, black, num_steps=steps)
    np.testing.assert_allclose(found["integrated_gradients"], shares, rtol=1e-3, atol=1e-6)
    shape = (section.smoothgrad_samples, 1, *image.shape[1:])
    noise = section.smoothgrad_noise * jax.random.normal(jax.random.key(0), shape)
    mean = np.mean([gradient(image + eps) for eps in noise], axis=0)
    np.testing.assert_allclose(found["smoothgrad"], mean, rtol=1e-3, atol=1e-6)
    last = jax.jit(attribution.grad_cam, static_argnums=2)(
        asked.models.classifier, image, "stage_1"
    )
    np.testing.assert_allclose(found["grad_cam"], last, rtol=1e-3, atol=1e-6)


def test_a_classifier_that_shows_no_feature_maps_has_no_grad_cam(gan, films, section):
    network = External(
        lambda image: image.mean(axis=(1, 2, 3)),
        positive_output=0,
        negative_output=-1,
        threshold=0.5,
    )
    models = gan.models.replace(classifier=Model(network, {}))
    assert maps.reasons(models, NAMES) == dict.fromkeys(("grad_cam", "layer_cam"), maps.NO_FEATURES)
    assert maps.reasons(gan.models, NAMES) == maps.reasons(models, ("latent",)) == {}
    traced = maps.compile_maps(models, section, 0)
    assert traced.keys() == COMPILED - {"grad_cam", "layer_cam"}
    found = maps.make_maps(make_inputs(films), ("gradient", "grad_cam"), traced)
    assert list(found) == ["gradient"]
    np.testing.assert_allclose(found["gradient"], np.full(films.image.shape, 1 / SIDE**2))


# Along the walk.


def test_attribution_along_the_walk_is_of_its_carried_frames_up_to_the_end(gan, films, section):
    carried = builders.fade(films.image, np.float32(0.5) * films.image, 40)
    integrate = jax.jit(MAPS["latent_integrated_gradients"].traced(section, 0))
    stops = np.array([40, 20, 0])
    found = np.asarray(integrate(gan.models, (carried, stops)))
    assert found.shape == films.image.shape and (found < 0).any()
    change = gan.classify(carried[np.arange(N), stops]) - gan.classify(films.image)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), change, rtol=1e-2, atol=1e-6)
    assert (found[2] == 0).all() and (np.abs(change[:2]) > 1e-3).all()


def test_undoing_asks_this_classifier_about_this_film(gan, films, section):
    other = films.image * np.float32(0.5)
    undo = jax.jit(MAPS["latent_occlusion"].traced(section, 0))
    found = np.asarray(undo(gan.models, (films.image, other)))
    expected = attribution.occluded_change(gan.models.classify, films.image, other, num_windows=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (found > 0).any() and (found >= 0).all()


# Anomaly.


def invert_without_asking(section, **changes):
    """Map `anogan`, compiled; `changes` are to the inversion."""
    longer = section.copy_and_resolve_references()
    longer.inversion.update(changes)
    return jax.jit(MAPS["anogan"].traced(longer, 0))


@pytest.fixture(scope="module")
def anomaly(section):
    return invert_without_asking(section)


def test_anogan_asks_no_classifier(gan, films, anomaly):
    found = anomaly(gan.models, films)
    assert found.shape == films.image.shape
    other = builders.make_gan(seed=1).models
    strangers = gan.models.replace(
        classifier=other.classifier, judge=other.judge, robust=other.robust
    )
    np.testing.assert_array_equal(anomaly(strangers, films), found)
    # Nor does it look at what was asked before, or at latents that f's answer has shaped.
    answers = ("margin", "judge_margin", "z_class", "z_structure", "drawn", "drawn_margin")
    forgotten = films.replace(
        **{name: 5 + 0 * getattr(films, name) for name in (*answers, "origin")}
    )
    np.testing.assert_array_equal(anomaly(gan.models, forgotten), found)
    for part in ("generator", "encoder"):
        changed = gan.models.replace(**{part: getattr(other, part)})
        assert np.abs(anomaly(changed, films) - found).max() > 1e-3, part


def test_anogan_shows_what_films_without_finding_cannot_explain(gan, section):
    """The distance to the nearest image on G(., 0), which more steps come nearer."""
    negative = builders.make_films(gan, N, positive=False)
    drawn = negative.replace(image=negative.drawn)  # of the kind that it can draw
    left = {}
    for steps in (0, 300):
        invert = invert_without_asking(section, num_steps=steps, weights=dict(pixel=5000.0))
        left[steps] = np.asarray(invert(gan.models, drawn))
    assert np.abs(left[300]).mean() < 0.15 * np.abs(left[0]).mean()
    # Unfitted it is the film less what the encoder's structure draws without a class latent.
    guess, _ = gan.models.encoder(drawn.image)
    without = gan.draw(guess[0], jnp.zeros_like(drawn.z_class))
    np.testing.assert_allclose(left[0], drawn.image - without, atol=1e-5)


def test_anogan_leaves_a_finding_over(gan, section):
    patched = builders.make_films(gan, N, positive=False)
    image = patched.drawn.copy()
    image[:, 2:4, 2:4] = -np.sign(image[:, 2:4, 2:4])  # nothing that it draws looks like that
    invert = invert_without_asking(section, num_steps=300)
    found = np.abs(invert(gan.models, patched.replace(image=image)))
    rest = found.sum(axis=(1, 2, 3)) - found[:, 2:4, 2:4].sum(axis=(1, 2, 3))
    assert (found[:, 2:4, 2:4].mean(axis=(1, 2, 3)) > 2 * rest / (SIDE**2 - 4)).all()


# Of walks, and of the truth.


def make_stops(films: Films, seed: int) -> StoppedWalk:
    """Walks whose frames are numbers, and stops that differ."""
    rng = np.random.default_rng(seed)
    shape = (N, K + 1, SIDE, SIDE, 1)
    walk = builders.make_walk(
        rng.uniform(-1, 1, shape), np.arange(K + 1.0) ** 2, drawn=rng.uniform(-1, 1, shape)
    )
    return builders.stop_at(walk, np.array([1, 3, K]))


def make_truth(films: Films) -> dict[str, np.ndarray]:
    lungs = np.zeros(films.image.shape, np.uint8)
    lungs[:, :, 1::2] = 255
    lesions = np.zeros_like(lungs)
    lesions[:, 2:4, 2:4] = 255
    twin = films.image - np.float32(0.25) * (lungs > 0)
    truth = {"twin": twin, "lung_mask": lungs, "lesion_mask": lesions, "lookalike_mask": 0 * lungs}
    return truth | {"row": np.arange(N), "patient_id": np.array([b"a", b"b", b"c"])}


def make_inputs(films: Films) -> MapInputs:
    """Two walks of every film, of which `latent` reads the first, and four training films."""
    lesions = np.zeros((4, SIDE, SIDE, 1), np.uint8)
    lesions[:3, 2, 2] = 255
    lesions[0, 5, 5] = 255
    walks = {"linear": make_stops(films, seed=3), "pixel": make_stops(films, seed=4)}
    walks["ray"] = make_stops(films, seed=5)
    return MapInputs(
        films=films,
        truth=make_truth(films),
        walks=walks,
        stopped=walks["linear"],
        train_lesions=lesions,
        healthy=np.random.default_rng(0).uniform(-1, 1, (5, SIDE, SIDE, 1)).astype(np.float32),
        seed=0,
    )


TRACED = {
    "gradient": lambda image: 0 * image + 1,
    "grad_cam": lambda image: 0 * image + 2,
    "layer_cam": lambda image: 0 * image + 6,
    "integrated_gradients_mean": lambda batch: batch[1],
    "expected_gradients": lambda batch: batch[1].mean(axis=1),
    "occlusion": lambda batch: batch[1] + 0 * batch[0],
    "healthy_subspace_gradients": lambda batch: batch[1],
    "anogan": lambda films: films.image - 3,
    "latent_occlusion": lambda batch: 4 + 3 * batch[0] + batch[1],
    "latent_integrated_gradients": lambda batch: batch[0][np.arange(N), batch[1]] - 5,
}


def test_maps_come_in_their_order_and_only_those_asked_for(films):
    inputs = make_inputs(films)
    found = maps.make_maps(inputs, NAMES, TRACED)
    # Two of the compiled ones are not there.
    have = [name for name in NAMES if name not in ("integrated_gradients", "smoothgrad")]
    assert list(found) == have
    assert all(saliency.shape == films.image.shape for saliency in found.values())
    assert list(maps.make_maps(inputs, ("oracle", "latent"), TRACED)) == ["latent", "oracle"]


def test_films_have_their_references_however_many_are_held_at_once(films, monkeypatch):
    inputs = make_inputs(films)
    whole = maps.make_maps(inputs, ("expected_gradients",), TRACED)["expected_gradients"]
    monkeypatch.setattr(maps, "FILMS_AT_ONCE", 2)
    parts = maps.make_maps(inputs, ("expected_gradients",), TRACED)["expected_gradients"]
    np.testing.assert_array_equal(parts, whole)


def test_no_classifier_is_asked_for_a_map_that_is_not_wanted(films):
    def refuse(batch):
        raise AssertionError("not asked for")

    refusing = dict.fromkeys(COMPILED, refuse)
    assert list(maps.make_maps(make_inputs(films), ("latent",), refusing)) == ["latent"]


def test_each_map_is_what_its_name_says(films):
    inputs = make_inputs(films)
    found = maps.make_maps(inputs, NAMES, TRACED)
    image, stopped = films.image, inputs.stopped
    rows, end = np.arange(N), np.array([1, 3, K])
    change = stopped.walk.carried[rows, end] - stopped.walk.carried[:, 0]
    attacked = inputs.walks["pixel"].walk.carried
    expected = {
        "latent": change,
        "latent_occlusion": 4 + 3 * image + image + change,
        "residual": image - stopped.walk.drawn[rows, end],
        "latent_integrated_gradients": stopped.walk.carried[rows, end] - 5,
        "gradient": np.ones_like(image),
        "grad_cam": np.full_like(image, 2),
        "anogan": image - 3,
        "pixel": attacked[rows, end] - attacked[:, 0],
        "lungs": np.tile([0.0, 1.0], SIDE // 2)[None, None, :, None] + 0 * image,
        "oracle": np.tile([0.0, 0.25], SIDE // 2)[None, None, :, None] + 0 * image,
    }
    for name, saliency in expected.items():
        np.testing.assert_allclose(found[name], saliency, atol=1e-6, err_msg=name)
    assert np.abs(found["pixel"] - found["latent"]).max() > 0.1
    # Of four training films three have a lesion here and one there: one map for all.
    prior = np.zeros((SIDE, SIDE, 1))
    prior[2, 2], prior[5, 5] = 0.75, 0.25
    for one in found["prior"]:
        np.testing.assert_allclose(one, prior)


@pytest.mark.parametrize("count", [2, 3])
def test_shuffled_gives_every_film_the_map_of_another(films, count):
    inputs, picked = make_inputs(films), slice(count)
    some = dataclasses.replace(
        inputs, films=films.rows(picked), stopped=inputs.stopped.rows(picked)
    )
    found = maps.make_maps(some, ("latent", "shuffled"), {})
    owner = [
        int(np.flatnonzero([(shuffled == one).all() for one in found["latent"]]).item())
        for shuffled in found["shuffled"]
    ]
    assert sorted(owner) == list(range(count))  # each map is used once
    assert all(theirs != mine for mine, theirs in enumerate(owner))


def test_a_film_alone_has_no_other_films_map(films):
    inputs = make_inputs(films)
    alone = dataclasses.replace(
        inputs, films=films.rows(slice(1)), stopped=inputs.stopped.rows(slice(1))
    )
    assert list(maps.make_maps(alone, ("latent", "shuffled"), {})) == ["latent"]


def test_without_truth_there_are_no_maps_of_it(films):
    names = ("latent", "prior", "oracle", "lungs", "shuffled")
    unknown = dataclasses.replace(make_inputs(films), train_lesions=None)
    assert list(maps.make_maps(unknown, names, {})) == ["latent", "shuffled"]
    truth = {name: values for name, values in make_truth(films).items() if name != "twin"}
    untwinned = dataclasses.replace(make_inputs(films), truth=truth)
    assert list(maps.make_maps(untwinned, names, {})) == ["latent", "prior", "lungs", "shuffled"]


# A map of one's own.


def _brightness(section: ml_collections.ConfigDict, seed: int) -> maps.Traced:
    del section, seed

    def weigh(models: TrainedModels, image: Image) -> Image:
        return image * models.classify(image)[:, None, None, None]

    return weigh


@pytest.fixture
def brightness_map(monkeypatch) -> Map:
    """Registered as a new file of the package would do it."""
    map_ = Map(
        name="brightness",
        title="Brightness",
        of=lambda inputs: inputs.traced(inputs.films.image),
        traced=_brightness,
        paths=("aligned",),
        truths=("twin",),
        kind="published",
    )
    monkeypatch.setitem(MAPS, map_.name, map_)
    return map_


def test_a_new_map_is_accepted_by_the_checks_of_a_config(brightness_map):
    config = base.get_config()
    config.explain.update(dict(paths=("linear",), maps=("latent", "brightness")))
    with pytest.raises(InputError, match="lacks 'aligned', which map 'brightness' needs"):
        check_explain(config)
    config.explain.paths = ("linear", "aligned")
    check_explain(config)
    config.explain.maps = ("latent", "darkness")
    with pytest.raises(InputError, match="has 'darkness'; each must be one of .*'brightness'"):
        check_ranges(config)


def test_a_new_map_is_made_scored_and_shown(
    brightness_map, gan, films, section, monkeypatch, tmp_path
):
    section = section.copy_and_resolve_references()
    section.maps = ("brightness", "latent")
    traced = maps.compile_maps(gan.models, section, 0)
    inputs = make_inputs(films)
    made = maps.make_maps(inputs, section.maps, traced)
    assert list(made) == ["latent", "brightness"]
    expected = films.image * films.margin[:, None, None, None]
    np.testing.assert_allclose(made["brightness"], expected, rtol=1e-4, atol=1e-6)
    group = Group(
        towards=-1,
        films=films,
        truth=inputs.truth,
        walks={"linear": inputs.stopped},
    )
    calibration = Calibration(
        thresholds=builders.make_thresholds(),
        guide=builders.make_guide(),
        reach=1.0,
        path="linear",
    )
    _, table = tables.score_maps(
        made,
        group,
        calibration,
        coverage=1.0,
        bootstrap=Bootstrap(resamples=20, seed=0),
    )
    size = np.abs(expected)
    shares = size[:, 2:4, 2:4].sum(axis=(1, 2, 3)) / size.sum(axis=(1, 2, 3))
    assert table["brightness"]["on_target"]["mean"] == pytest.approx(shares.mean(), rel=1e-4)
    assert "latent_minus_this_on_target" in table["brightness"]
    shown, draw = [], plots.changes

    def changes(*arguments, others, **more):
        shown.append(list(others))
        return draw(*arguments, others=others, **more)

    monkeypatch.setattr(plots, "changes", changes)
    figures.save_figures(
        tmp_path,
        {"pos_to_neg": group},
        calibration,
        maps=made,
        num_rows=2,
        style=plots.PLAIN,
    )
    assert shown == [["Brightness"]] and (tmp_path / "changes.png").exists()
