"""The Python face: runs that are loaded and exported, and films that are explained by them."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pydicom
import pytest
import safetensors.numpy
from builders import make_tiny_config, refused
from dicom_films import write_dicom
from matplotlib.figure import Figure
from PIL import Image

import cxr_jax
from cxr_jax import api, plots
from cxr_jax.errors import InputError
from cxr_jax.explain.explained import Calibration
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import Guide
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    fresh_params,
    init_gan_params,
    init_params,
    make_classifier,
    make_gan_networks,
    make_robust,
    make_segmenter,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.prior import LatentPrior, make_prior
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.pipeline.finished import FinishedRun, export_run, load_run
from cxr_jax.report.page.of_walks import Beside

SIZE = 16


@pytest.fixture(scope="module")
def run(random_like) -> FinishedRun:
    """Of untrained networks, with a gate that lets everything pass."""
    config = make_tiny_config()
    config.explain.paths, config.explain.walk_steps = ("linear", "aligned", "random"), 3
    config.explain.batch_size, config.explain.inversion.num_steps = 4, 1
    networks = make_gan_networks(config)
    gan = random_like(lambda: init_gan_params(networks, 0)[0])

    def model(network):
        return Model(network, random_like(lambda: init_params(network, SIZE, 0)))

    num_structure, num_class = networks.generator.latent_sizes
    rng = np.random.default_rng(0)
    return FinishedRun(
        config=config,
        models=TrainedModels(
            classifier=model(make_classifier(config.classifier)),
            judge=model(make_classifier(config.judge)),
            generator=Model(networks.generator, gan["generator"]),
            encoder=Model(networks.encoder, gan["encoder"]),
            scale=Scale(negative=np.float32(-1.1), strong=np.float32(0.7), graded=np.float32(1)),
            prior=some_prior(config, random_like),
        ),
        segmenter=model(make_segmenter(config.evaluators.segmenter)),
        calibration=Calibration(
            thresholds=Thresholds(
                gap=1e6, judge_gap=1e6, positive=0.5, negative=-0.5, lung_error=9.0, film_error=9.0
            ),
            guide=Guide(
                step_length=0.03,
                ends=np.float32(rng.normal(size=(2, num_class))),
                end_structures=np.float32(rng.normal(size=(2, num_structure))),
                direction=np.float32(rng.normal(size=num_class)),
            ),
            reach=0.1,
            path="aligned",
        ),
        contents="made up",
    )


def some_prior(config, random_like) -> LatentPrior:
    """Whose axes are short: patients differ a little."""
    prior = make_prior(config, seed=0)
    arrays = random_like(lambda: prior.arrays)
    for part in ("structure", "direction"):
        arrays[part]["axes"] = 0.1 * arrays[part]["axes"]
    return prior.with_arrays(arrays)


@pytest.fixture(scope="module")
def explainer(run) -> api.FilmExplainer:
    return api.bind_run(run)


@pytest.fixture
def films() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, size=(5, SIZE, SIZE), dtype=np.uint8)


def assert_same_arrays(one, other) -> None:
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_exported_run_is_the_same_run(run, tmp_path):
    export_run(run, tmp_path)
    loaded = load_run(tmp_path)
    assert loaded.contents == run.contents
    as_json = lambda config: json.loads(config.to_json())
    assert as_json(loaded.config) == as_json(run.config)
    assert loaded.calibration.thresholds == run.calibration.thresholds
    assert (loaded.calibration.path, loaded.calibration.reach) == ("aligned", 0.1)
    assert_same_arrays(
        (run.models, run.segmenter, run.calibration.guide),
        (loaded.models, loaded.segmenter, loaded.calibration.guide),
    )


def test_what_a_path_needs_of_the_evaluators_is_exported_too(run, tmp_path):
    config = run.config.copy_and_resolve_references()
    config.evaluators.robust.widths = (8, 8, 8, 8)
    network = make_robust(config.evaluators.robust)
    robust = Model(network, fresh_params(network, SIZE, 1))
    models = dataclasses.replace(run.models, robust=robust)
    export_run(dataclasses.replace(run, config=config, models=models), tmp_path)
    assert_same_arrays(load_run(tmp_path).models.robust, robust)


def test_a_run_that_an_earlier_version_exported_is_refused(run, tmp_path):
    export_run(run, tmp_path)
    path = tmp_path / "networks.safetensors"
    arrays = safetensors.numpy.load_file(path)
    del arrays["calibration/end_structures"]
    safetensors.numpy.save_file(arrays, path)
    assert "earlier version; export the run again" in refused(load_run, tmp_path)


def test_a_run_is_exported_without_its_prior(run, tmp_path):
    """It has all that films are explained by, in a smaller file."""
    for folder, prior in (("with", True), ("without", False)):
        export_run(run, tmp_path / folder, prior=prior)
    size = lambda folder: (tmp_path / folder / "networks.safetensors").stat().st_size
    assert size("without") < size("with")
    loaded = api.load(tmp_path / "without")
    kept = dataclasses.replace(run.models, prior=None)
    assert_same_arrays(loaded.run.models, kept)
    assert "exported without one" in refused(loaded.draw, 1)


def test_a_drawn_patient_keeps_the_number(explainer):
    """The same patient in any call, with a finding and without; f is asked about what is drawn."""
    negative, positive = explainer.draw(3), explainer.draw(3, margin=0.7)
    assert negative.image.shape == (3, SIZE, SIZE) and negative.wanted == pytest.approx(-1.1)
    assert not np.allclose(negative.image, positive.image)
    assert not np.allclose(negative.image[0], negative.image[1])
    (other,) = explainer.draw(1, margin=0.7, first=2).image
    np.testing.assert_allclose(other, positive.image[2], atol=1e-5)
    asked = explainer.functions.classify(positive.image[..., None])
    np.testing.assert_allclose(positive.margin, asked, atol=1e-5)


def test_without_a_prior_nothing_is_drawn(explainer):
    functions = dataclasses.replace(explainer.functions, draw_latents=None)
    without = dataclasses.replace(explainer, functions=functions)
    assert "no prior to draw films from" in refused(without.draw, 1)


def test_negatives_walk_to_the_training_positive_most_like_them(run, explainer, films):
    """Each film to its own, in a batch that walks to both."""
    alone = explainer.functions.invert(films[..., None])
    negative = np.flatnonzero(alone.margin <= 0)[:2]
    assert len(negative) == 2
    guide = run.calibration.guide.replace(end_structures=alone.z_structure[negative[::-1]])
    calibration = dataclasses.replace(run.calibration, guide=guide)
    other = dataclasses.replace(explainer, run=dataclasses.replace(run, calibration=calibration))
    walks = other.explain(films, path="linear").walks
    np.testing.assert_allclose(walks.walk.points[negative, -1], guide.ends[[1, 0]], atol=1e-5)


def test_films_are_walked_towards_the_other_decision_in_their_order(explainer, films):
    result = explainer.explain(films)
    assert [film.name for film in result] == [f"film {i}" for i in range(1, 6)]
    for row, film in enumerate(result):
        assert film.direction == ("pos_to_neg" if film.margins[0] > 0 else "neg_to_pos")
        # Frame 0 is the film itself.
        np.testing.assert_allclose(film.frames[0], films[row] / 127.5 - 1, atol=1e-6)
        np.testing.assert_allclose(film.frames[-1] - film.frames[0], film.change, atol=1e-6)
        assert len(film.frames) == len(film.margins) == len(film.judge_margins)
        assert film.path == "aligned" and film.accepted and film.reason == ""
        assert 0.0 < film.gate_share <= 1.0
    alone = explainer.explain(films[3])
    np.testing.assert_allclose(alone[0].frames, result[3].frames, atol=1e-5)
    with pytest.raises(IndexError):
        result[5]


def test_what_fails_the_gate_says_why(run, explainer, films):
    thresholds = dataclasses.replace(run.calibration.thresholds, lung_error=0.0, film_error=9.0)
    calibration = dataclasses.replace(run.calibration, thresholds=thresholds)
    strict = dataclasses.replace(run, calibration=calibration)
    # The programs are those of `explainer`, which know no thresholds.
    result = dataclasses.replace(explainer, run=strict).explain(films)
    assert not any(film.accepted for film in result)
    assert all("lung reconstruction error is" in film.reason for film in result)
    # Without a segmenter nobody knows the lungs, and the bound for whole films holds.
    assert api.bind_run(dataclasses.replace(strict, segmenter=None)).functions.find_lungs is None
    unseeing = dataclasses.replace(explainer.functions, find_lungs=None)
    blind = dataclasses.replace(explainer, run=strict, functions=unseeing)
    assert all(film.accepted for film in blind.explain(films))


def test_films_are_made_square_as_the_runs(films, tmp_path):
    wide = np.concatenate([films[0], films[1]], axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    for given in (tmp_path / "wide.png", wide):
        cropped, _ = api.read_films(given, SIZE)
        np.testing.assert_array_equal(cropped[0, ..., 0], wide[:, SIZE // 2 : 3 * SIZE // 2])
        padded, _ = api.read_films(given, 2 * SIZE, square="pad")
        np.testing.assert_array_equal(padded[0, SIZE // 2 : 3 * SIZE // 2, :, 0], wide)
        assert (padded[0, : SIZE // 2] == 0).all()


def test_the_run_says_how_films_are_read(explainer, films, tmp_path, monkeypatch):
    asked = {}

    def read(given, size, **fields):
        asked.update(fields)
        raise InputError("far enough")

    monkeypatch.setattr(api, "read_films", read)
    config = explainer.run.config.copy_and_resolve_references()
    config.data.update(dict(square="pad", bits=12, lateral_views="use"))
    run = dataclasses.replace(explainer.run, config=config)
    with pytest.raises(InputError, match="far enough"):
        dataclasses.replace(explainer, run=run).explain(films)
    assert asked == {"square": "pad", "bits": 12, "lateral_views": "use"}


def test_deep_films_have_one_scale(films, tmp_path):
    deep = films.astype(np.uint16) << 4
    deep[0] = deep[0] // 4  # a dark one
    paths = []
    for i, film in enumerate(deep):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(film).save(paths[-1])
    pixels, _ = api.read_films(paths, SIZE)
    np.testing.assert_array_equal(pixels[..., 0], deep >> 4)
    pixels, _ = api.read_films(paths, SIZE, bits=16)
    np.testing.assert_array_equal(pixels[..., 0], deep >> 8)


def test_dicom_is_explained_and_nothing_of_its_header_is_saved(explainer, films, tmp_path, caplog):
    for i, film in enumerate(films[:2]):
        path = tmp_path / "films" / f"film{i}"
        write_dicom(path, film.astype(np.int64), bits=8, PatientID="ZQXJ", StudyDescription="ZQXJ")
    Image.fromarray(films[2]).save(tmp_path / "films" / "film2.png")
    caplog.set_level("DEBUG")
    result = explainer.explain(tmp_path / "films")
    assert [film.name for film in result] == ["film0", "film1", "film2.png"]
    for film, pixels in zip(result, films, strict=False):
        np.testing.assert_allclose(film.frames[0], pixels / 127.5 - 1, atol=1e-6)
    result.save(tmp_path / "out")
    saved = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert len(saved) == 4 and not [each for each in saved if b"ZQXJ" in each]
    assert "ZQXJ" not in caplog.text + repr(result.films)


def test_explanations_go_back_into_the_film_s_study(explainer, films, tmp_path):
    paths = [
        write_dicom(
            tmp_path / f"film{i}.dcm",
            film.astype(np.int64),
            bits=8,
            StudyInstanceUID=f"1.2.{i + 1}",
            SeriesInstanceUID=f"1.2.{i + 1}.1",
        )
        for i, film in enumerate(films[:2])
    ]
    result = explainer.explain(paths)
    with pytest.raises(InputError, match="1 DICOM files are given for 2 films"):
        result.save_dicom(tmp_path / "out", paths[:1])
    out = result.save_dicom(tmp_path / "out", paths)
    for i, film in enumerate(result):
        made = pydicom.dcmread(out / f"{i + 1:03d}_change.dcm")
        pixels = np.frombuffer(made.FloatPixelData, "<f4").reshape(film.change.shape)
        np.testing.assert_allclose(pixels, film.change / 2, atol=1e-6)
        assert pydicom.dcmread(out / f"{i + 1:03d}_walk.dcm").StudyInstanceUID == f"1.2.{i + 1}"
    with pytest.raises(InputError, match="out holds DICOM objects of other films"):
        explainer.explain(paths[1:]).save_dicom(out, paths[1:])
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize(("value", "named"), [(255, "mask's few"), (0, "one grey value 0")])
def test_what_is_no_film_is_not_explained(explainer, tmp_path, value, named):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:12, 4:8] = value
    Image.fromarray(mask).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=rf"m\.png.*{named}"):
        explainer.explain(tmp_path / "m.png")


def test_films_are_read_as_files_folders_and_arrays(explainer, films, tmp_path):
    for name, film in zip("cab", films, strict=False):
        Image.fromarray(film).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no film")
    (tmp_path / "._a.png").write_text("what an archiver leaves behind")
    by_folder = explainer.explain(tmp_path)
    by_files = explainer.explain([tmp_path / "a.png", str(tmp_path / "b.png")])
    assert [film.name for film in by_folder] == ["a.png", "b.png", "c.png"]
    np.testing.assert_allclose(by_files[0].frames, by_folder[0].frames, atol=1e-5)
    of_array = explainer.explain(films[[1, 2, 0], ..., None])
    for one, other in zip(by_folder, of_array, strict=True):
        np.testing.assert_allclose(one.frames, other.frames, atol=1e-5)
    # A larger film that is not square: its centre, at the run's size.
    wide = np.kron(films[0], np.ones((2, 2), np.uint8))
    wide = np.pad(wide, ((0, 0), (8, 8)))
    assert explainer.explain(wide)[0].frames.shape[1:] == (SIZE, SIZE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((2, SIZE, SIZE), np.float32), "float32.*uint8"),
        (np.zeros((2, SIZE, SIZE, 3), np.uint8), "shape"),
        (np.zeros((0, SIZE, SIZE), np.uint8), "shape"),
        ([], "no films"),
        ("nowhere.png", "nowhere.png"),
        (["a.png", "b.png", "a.png"], "a.png: is given twice"),
    ],
)
def test_what_is_no_film_is_named(explainer, given, words):
    with pytest.raises(InputError, match=words):
        explainer.explain(given)


def test_paths_are_checked(explainer, films):
    with pytest.raises(InputError, match="'chord' was not walked.*linear, aligned, random"):
        explainer.explain(films, path="chord")
    margin = explainer.functions.margins(films[..., None])[0]
    assert (margin <= 0).any()
    with pytest.raises(
        InputError, match="'random' is walked from positive films alone, and film 1 is .*linear"
    ):
        explainer.explain(films[margin <= 0], path="random")
    assert explainer.explain(films, path="linear")[0].path == "linear"


def test_the_programs_are_compiled_once(explainer, films, caplog):
    explainer.explain(films)
    with jax.log_compiles():
        explainer.explain(films[:2])
    assert "Compiling" not in caplog.text


def test_a_result_is_shown_and_saved(explainer, films, tmp_path):
    result = explainer.explain(films)
    assert isinstance(result.figure(), Figure)
    out = result.save(tmp_path / "out")
    facts = json.loads((out / "films.json").read_text())["films"]
    assert [film["name"] for film in facts] == [film.name for film in result]
    assert facts[2]["margin"] == pytest.approx(float(result[2].margins[0]))
    with np.load(out / "walks.npz") as arrays:
        assert arrays["frames"].dtype == np.uint8 and arrays["frames"].shape == (5, 4, SIZE, SIZE)
        np.testing.assert_array_equal(arrays["frames"][:, 0], films)
        np.testing.assert_array_equal(arrays["change"][1], result[1].change)
    assert (out / "traversal_01.png").stat().st_size > 1000
    page = (out / "report.html").read_text()
    assert page.count("<article") == 5 and "film 5" in page


def test_no_picture_of_films_that_were_saved_before_is_left(
    explainer, films, tmp_path, monkeypatch
):
    monkeypatch.setattr(api, "ROWS_A_SHEET", 2)
    pictures = lambda: sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    explainer.explain(films).save(tmp_path / "out")
    assert pictures() == [f"traversal_0{number}.png" for number in (1, 2, 3)]
    explainer.explain(films[:2]).save(tmp_path / "out")
    assert pictures() == ["traversal_01.png"]


def test_a_page_shows_what_else_is_known_of_films(explainer, films, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(api, "save_page", lambda path, page, style: shown.append(page))
    masks = np.zeros((5, SIZE, SIZE, 1), np.uint8)
    masks[3, 2, 2] = 255
    maps = np.arange(5.0).reshape(5, 1, 1, 1) * np.ones((5, SIZE, SIZE, 1))
    known = Beside(masks={"lesion_mask": masks}, maps={"gradient": maps})
    result = explainer.explain(films)
    style = plots.Style(formats=("pdf",))
    out = result.save(tmp_path / "out", beside=known, style=style)
    (page,) = shown
    assert (out / "traversal_01.pdf").exists() and not (out / "traversal_01.png").exists()
    assert [len(film.masks) for film in page.films] == [0, 0, 0, 1, 0]
    for film, found, value in zip(page.films, result, range(5), strict=True):
        assert film.name == found.name and film.reason == found.reason
        assert (film.towards < 0) == (found.direction == "pos_to_neg")
        assert film.paths[0].stop == len(found.frames) - 1
        assert film.paths[0].target == (0.5 if film.towards > 0 else -0.5)
        np.testing.assert_array_equal(film.maps["gradient"], value)
    assert page.num_explained == 5 and not page.tables


def test_a_films_walk_moves(explainer, films, tmp_path):
    film = explainer.explain(films[:1])[0]
    for name in ("walk.gif", "walk.png"):
        with Image.open(film.animate(tmp_path / name)) as picture:
            assert picture.n_frames == len(film.frames)
    with pytest.raises(InputError, match="by the ending"):
        film.animate(tmp_path / "walk.webm")


def test_the_face_is_loaded_when_it_is_asked_for():
    assert cxr_jax.load is api.load and cxr_jax.demo_explainer is api.demo_explainer
    with pytest.raises(AttributeError, match="nothing"):
        _ = cxr_jax.nothing


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no run"),
        ({"config.json": "{}"}, "explain is not complete"),
    ],
)
def test_what_is_no_finished_run_says_so(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        cxr_jax.load(tmp_path)


def test_damaged_weights_are_named(run, tmp_path):
    export_run(run, tmp_path)
    path = tmp_path / "networks.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="networks.safetensors cannot be read"):
        cxr_jax.load(tmp_path)


def test_the_lines_of_the_readme_run(run, films, tmp_path, monkeypatch, capsys):
    """As they stand there, with other networks in the package's place."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    export_run(run, tmp_path / "networks")
    monkeypatch.setattr(api, "PRETRAINED", tmp_path / "networks")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(films[0]).save("film.png")
    exec(compile(lines, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("True")
    assert Path("film_explained.png").stat().st_size > 1000
    assert (Path("out") / "films.json").exists()
