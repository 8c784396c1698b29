"""The Python face: load a finished run, explain films, look at the result.

import cxr_jax

explainer = cxr_jax.load("runs/phantom")
result = explainer.explain(["film.png"])
print(result[0].reason or result[0].margins)
result.figure().savefig("film_explained.png")
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from PIL import Image

from cxr_jax import plots
from cxr_jax.datasets.cxr_folder.depth import Scale, choose_scales
from cxr_jax.datasets.cxr_folder.dicom import DicomHeader
from cxr_jax.datasets.cxr_folder.dicom_notes import (
    DOUBTS,
    NOTES,
    count_notes,
    find_lateral,
    may_be_deep,
    read_headers,
    refuse_lateral,
    tell_notes,
)
from cxr_jax.datasets.cxr_folder.film_checks import is_mask_like
from cxr_jax.datasets.cxr_folder.folder_listing import is_film_file
from cxr_jax.datasets.cxr_folder.image_files import fit_film, read_grey, read_range
from cxr_jax.datasets.cxr_folder.in_threads import read_each
from cxr_jax.datasets.cxr_folder.layouts import is_junk
from cxr_jax.errors import InputError
from cxr_jax.explain.explainer import Explainer, make_explainer
from cxr_jax.explain.films import Films, Thresholds, reasons_to_reject
from cxr_jax.explain.paths import DIRECTIONS, PATHS
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.pipeline.finished import FinishedRun, load_run
from cxr_jax.pipeline.select import gate_region, looked_at
from cxr_jax.report.animation import save_animation
from cxr_jax.report.arrays import to_pixels
from cxr_jax.report.dicom_objects import write_objects
from cxr_jax.report.page.content import PageFilm, RunFacts
from cxr_jax.report.page.of_walks import NOTHING, Beside, page_films, page_of_films, run_facts
from cxr_jax.report.page.render import save_page
from cxr_jax.runtime import precision
from cxr_jax.runtime.user_path import user_path
from cxr_jax.runtime.workdir import write_json

logger = logging.getLogger(__name__)

PRETRAINED = Path(__file__).parent / "pretrained" / "phantom"
STRIP_FRAMES = 8
ROWS_A_SHEET = 8  # films in one picture
PAGE_FILMS = 24  # in report.html

FilmsLike = np.ndarray | str | Path | Sequence[str | Path]


# 1. What is found of a film.


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmExplanation:
    """One film, walked from the classifier's decision towards the other.

    Attributes:
      name: of its file, or "film 1", ... of an array.
      accepted: whether it passed the gate; if not, the walk explains another image than this.
      reason: why not; "" if it did.
      gate_share: of the film, at which the gate looked: the lungs that it found, 1 for all of it.
      direction: "pos_to_neg" or "neg_to_pos".
      path: along which it was walked.
      frames: the film with the change carried onto it [k, h, w] in [-1, 1], up to the stop.
      margins, judge_margins: f and h on them [k], in logits: positive for the finding.
      change: last frame less first [h, w].
      reached: whether f got to the median margin of films that it decides otherwise.
      flipped: whether f and h both changed their decision on the way.
    """

    name: str
    accepted: bool
    reason: str
    gate_share: float
    direction: str
    path: str
    frames: np.ndarray
    margins: np.ndarray
    judge_margins: np.ndarray
    change: np.ndarray
    reached: bool
    flipped: bool

    def animate(self, path: str | Path) -> Path:
        """Writes the walk as a moving picture, a GIF or an APNG by the ending; returns its path.

        Raises:
          InputError: if the path ends neither in .gif nor in .png.
        """
        path = user_path(path)
        frames = to_pixels(self.frames)
        save_animation(path, frames, margin=self.margins, judge_margin=self.judge_margins)
        return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation(Sequence):
    """Explained films, in the order in which they were given.

    Attributes:
      films: each film's own explanation.
      inverted: the films with their latents and reconstructions, see `explain.films.Films`.
      walks: their walks; whole, also beyond the stop.
      thresholds: of the walks.
      square: how films became squares, `config.data.square`.
      facts: whose explanations these are.
    """

    films: tuple[FilmExplanation, ...]
    inverted: Films
    walks: StoppedWalk
    thresholds: Thresholds
    square: str
    facts: RunFacts

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, item: SupportsIndex) -> FilmExplanation:
        return self.films[item]

    def figure(
        self, first: int = 0, rows: int = ROWS_A_SHEET, *, style: plots.Style = plots.PLAIN
    ) -> plots.Figure:
        """Strips of some films: frames to the stop with f's answer under each, and the change."""
        picked = slice(first, first + rows)
        names = [_label(film) for film in self.films[picked]]
        return plots.traversal(self.walks.rows(picked), names, STRIP_FRAMES, style=style)

    def save(
        self,
        directory: str | Path,
        *,
        beside: Beside = NOTHING,
        style: plots.Style = plots.PLAIN,
        num_page_films: int = PAGE_FILMS,
    ) -> Path:
        """Writes films.json, walks.npz, report.html and traversal_N.png into a folder; returns it.

        films.json: what is said of each film. walks.npz: `frames` [n, k, h, w] as uint8, `margins`
        and `judge_margins` [n, k] of the whole walks, `stop` [n], `change` [n, h, w]. report.html:
        the first films, to be looked at in a browser.

        Args:
          beside: what else is known of the films, shown in report.html.
          style: of the figures, and as what they are saved.
          num_page_films: how many films report.html shows at most.
        """
        directory = user_path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "films.json", {"films": [_facts(film) for film in self.films]})
        walk = self.walks.walk
        np.savez_compressed(
            directory / "walks.npz",
            frames=to_pixels(walk.carried[..., 0]),
            margins=walk.margin,
            judge_margins=walk.judge_margin,
            stop=self.walks.frame,
            change=self.walks.change[..., 0],
        )
        for earlier in directory.glob("traversal_[0-9]*.*"):  # of more films, perhaps
            earlier.unlink()
        for number, first in enumerate(range(0, len(self), ROWS_A_SHEET), start=1):
            figure = self.figure(first, style=style)
            plots.save(figure, directory / f"traversal_{number:02d}.png", style)
        shown = self._page_films(beside, num_page_films)
        page = page_of_films(shown, len(self), self.facts, beside=beside)
        save_page(directory / "report.html", page, style)
        return directory

    def save_dicom(self, directory: str | Path, sources: Sequence[str | Path]) -> Path:
        """Writes for each film two objects of its own study into a folder; returns it.

        NNN_walk.dcm is a Secondary Capture of its strip, NNN_change.dcm a Parametric Map of the
        change in the film's own pixels. Unlike all else that is saved they hold the patient's
        header, so that an archive files them with the film.

        Args:
          sources: the films' DICOM files, in the films' order.

        Raises:
          InputError: if there are other films, or one is no DICOM film.
        """
        paths = [user_path(path) for path in sources]
        names = [film.name for film in self]
        if [path.name for path in paths] != names:
            raise InputError(
                f"{len(paths)} DICOM files are given for {len(names)} films; give the file of each "
                "film, in the order of result.films"
            )
        return write_objects(
            user_path(directory),
            paths,
            changes=self.walks.change[..., 0],
            pictures=[plots.to_rgb(self.figure(row, 1)) for row in range(len(self))],
            square=self.square,
        )

    def _page_films(self, beside: Beside, num_films: int) -> list[PageFilm]:
        return page_films(
            self.walks,
            names=[film.name for film in self],
            reasons=[film.reason for film in self],
            towards=[DIRECTIONS[film.direction] for film in self],
            path=self[0].path,
            target=self.thresholds.target,
            beside=beside,
            num_films=num_films,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnFilms:
    """Films of patients who do not exist.

    Attributes:
      image: [n, h, w] in [-1, 1].
      margin: f on them [n], in logits.
      wanted: what f was to answer; at most 0 for no finding.
    """

    image: np.ndarray
    margin: np.ndarray
    wanted: float


def _label(film: FilmExplanation) -> str:
    return film.name if film.accepted else f"{film.name} (gate: no)"


def _facts(film: FilmExplanation) -> dict:
    return {
        "name": film.name,
        "accepted": film.accepted,
        "reason": film.reason,
        "gate_share": film.gate_share,
        "direction": film.direction,
        "path": film.path,
        "margin": float(film.margins[0]),
        "judge_margin": float(film.judge_margins[0]),
        "margin_at_stop": float(film.margins[-1]),
        "judge_margin_at_stop": float(film.judge_margins[-1]),
        "reached": film.reached,
        "flipped": film.flipped,
    }


# 2. Explaining.


def load(path: str | Path, *, batch_size: int | None = None) -> "FilmExplainer":
    """A finished run, from its work directory or as it was exported; its data are not needed.

    Args:
      batch_size: films in one call of the compiled programs; as in the run's config if not given.
        A smaller one answers sooner for a few films.

    Raises:
      InputError: if there is no finished run, or its files are damaged.
    """
    return bind_run(load_run(user_path(path)), batch_size=batch_size)


def bind_run(run: FinishedRun, *, batch_size: int | None = None) -> "FilmExplainer":
    """See `load`."""
    section = run.config.explain.copy_and_resolve_references()
    if batch_size is not None:
        section.batch_size = batch_size
    functions = make_explainer(run.models, section, run.config.seed, segmenter=run.segmenter)
    return FilmExplainer(run=run, functions=functions)


def demo_explainer(*, batch_size: int | None = None) -> "FilmExplainer":
    """The networks that come with the package, trained on phantoms; see their model card."""
    return load(PRETRAINED, batch_size=batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmExplainer:
    """Explains films by a finished run; compiled when it is first asked, and then kept.

    Attributes:
      run: the finished run.
      functions: of its models, bound and compiled.
    """

    run: FinishedRun
    functions: Explainer

    @property
    def image_size(self) -> int:
        """Pixels a side, to which films are brought."""
        return self.run.config.data.image_size

    @precision.exactly
    def explain(self, films: FilmsLike, path: str = "") -> Explanation:
        """Walks each film from the classifier's decision towards the other.

        Args:
          films: grey films as uint8 [n, h, w], [n, h, w, 1] or [h, w]; or a file, several files,
            or a folder of them (DICOM, PNG, JPEG, TIFF, ...). A film that is not square is cut or
            padded as the run's (`config.data.square`); files of more than 8 bits have one scale
            (`config.data.bits`). DICOM films of other views than frontal are refused, or left out
            of a folder, or used, as the run's were (`config.data.lateral_views`).
          path: one of those that the run walked; "" for the one of its map `latent`.

        Raises:
          InputError: if a film cannot be read, or there is no such path.
        """
        data = self.run.config.data
        # A run of an earlier version, which read no DICOM, does not say.
        lateral_views = data.lateral_views if "lateral_views" in data else "refuse"
        pixels, names = read_films(
            films,
            self.image_size,
            square=data.square,
            bits=data.bits,
            lateral_views=lateral_views,
        )
        path = path or self.run.calibration.path
        if path not in self.functions.walk.walks:
            known = ", ".join(self.functions.walk.walks)
            raise InputError(f"path {path!r} was not walked by this run; choose of {known}")
        inverted = self.functions.invert(pixels)
        if (inverted.margin <= 0).any() and "neg_to_pos" not in PATHS[path].directions:
            negative = names[int(np.argmax(inverted.margin <= 0))]
            both = [name for name in self.functions.walk.walks if len(PATHS[name].directions) == 2]
            raise InputError(
                f"path {path!r} is walked from positive films alone, and {negative} is negative; "
                f"choose of {', '.join(both)}, or leave it out"
            )
        lungs = gate_region(self.functions, inverted.image)
        gated = zip(
            names, self._reasons(inverted, lungs), looked_at(lungs, len(names)), strict=True
        )
        walks = self._walk(inverted, path)
        explained = [
            _one(inverted, walks, row, name=name, reason=reason, gate_share=float(share), path=path)
            for row, (name, reason, share) in enumerate(gated)
        ]
        return Explanation(
            films=tuple(explained),
            inverted=inverted,
            walks=walks,
            thresholds=self.run.calibration.thresholds,
            square=data.square,
            facts=run_facts(self.run.config.to_dict(), self.run.contents),
        )

    @precision.exactly
    def draw(self, count: int, margin: float | None = None, *, first: int = 0) -> DrawnFilms:
        """Films of patients who do not exist, drawn by the generator from the prior.

        Patient k has the same lungs at every margin, so that two calls draw a patient with and
        without a finding.

        Args:
          margin: what f shall answer, in logits; above 0 with a finding. None for films without
            one.
          first: number of the first patient.

        Raises:
          InputError: if the run has no prior.
        """
        if self.functions.draw_latents is None:
            raise InputError(
                "this run has no prior to draw films from: it was exported without one, or is of "
                "the paper's objective"
            )
        wanted = float(self.run.models.scale.negative) if margin is None else margin
        patient = np.arange(first, first + count, dtype=np.int32)
        asked = np.full(count, wanted, np.float32)
        image = self.functions.draw(*self.functions.draw_latents(patient, patient, asked))
        return DrawnFilms(image=image[..., 0], margin=self.functions.classify(image), wanted=wanted)

    def _reasons(self, inverted: Films, lungs: np.ndarray | None) -> list[str]:
        margin = self.run.config.explain.gate_margin
        return reasons_to_reject(inverted, self.run.calibration.thresholds, margin, lungs=lungs)

    def _walk(self, inverted: Films, path: str) -> StoppedWalk:
        """The walk of every film, each towards its own other side, in the films' order."""
        calibration, walker = self.run.calibration, self.functions.walk.only(path)
        thresholds = calibration.thresholds
        parts, order = [], []
        for towards in DIRECTIONS.values():
            member = np.flatnonzero((inverted.margin > 0) == (towards < 0))
            if len(member):
                some = inverted.rows(member)
                walks = walker(some, calibration.guide, thresholds, towards=towards)
                parts.append(walks[path])
                order.append(member)
        return StoppedWalk.concatenate(parts).rows(np.argsort(np.concatenate(order)))


def _one(
    inverted: Films,
    walks: StoppedWalk,
    row: int,
    *,
    name: str,
    reason: str,
    gate_share: float,
    path: str,
) -> FilmExplanation:
    shown, walk = slice(int(walks.frame[row]) + 1), walks.walk
    return FilmExplanation(
        name=name,
        accepted=not reason,
        reason=reason,
        gate_share=gate_share,
        direction="pos_to_neg" if inverted.margin[row] > 0 else "neg_to_pos",
        path=path,
        frames=walk.carried[row, shown, ..., 0],
        margins=walk.margin[row, shown],
        judge_margins=walk.judge_margin[row, shown],
        change=walks.change[row, ..., 0],
        reached=bool(walks.reached[row]),
        flipped=bool(walks.flip[row] >= 0),
    )


# 3. Reading.


def read_films(
    films: FilmsLike,
    size: int,
    *,
    square: str = "crop",
    bits: int = 0,
    lateral_views: str = "refuse",
) -> tuple[np.ndarray, list[str]]:
    """Films as squares [n, size, size, 1] uint8, and what they are called.

    Args:
      square, bits, lateral_views: as `config.data` of the run has them. Films that are named one by
        one are never left out: those of other views are refused.

    Raises:
      InputError: naming the film that cannot be read.
    """
    if isinstance(films, np.ndarray):
        return _fit_array(films, size, square=square)
    listed = _list_files(films)
    paths = {str(path): path for path in listed}
    if len(paths) < len(listed):
        twice = next(path for path in listed if listed.count(path) > 1)
        raise InputError(f"{twice}: is given twice; give each film once")
    is_folder = isinstance(films, (str, Path)) and user_path(films).is_dir()
    headers = read_headers(paths)
    _tell_headers(headers)
    paths = _check_views(paths, headers, lateral_views, may_leave_out=is_folder)
    scales = _choose_scales(paths, headers, bits)

    def read(name: str) -> np.ndarray:
        return np.asarray(fit_film(_read_film(paths[name], scales.get(name)), size, square))

    squares = [_or_raise(square) for _, square in read_each(read, list(paths), "reading")]
    return np.stack(squares)[..., None], [path.name for path in paths.values()]


def _tell_headers(headers: Mapping[str, DicomHeader]) -> None:
    """Says in the log how DICOM films are read."""
    counts = count_notes(headers.values())
    for line in tell_notes(len(headers), counts, NOTES):
        logger.info("%s", line)
    for line in tell_notes(len(headers), counts, DOUBTS):
        logger.warning("%s", line)


def _check_views(
    paths: Mapping[str, Path],
    headers: Mapping[str, DicomHeader],
    lateral_views: str,
    *,
    may_leave_out: bool,
) -> Mapping[str, Path]:
    """The films that are used, by `config.data.lateral_views`."""
    lateral = [] if lateral_views == "use" else find_lateral(headers)
    if not lateral:
        return paths
    if not (may_leave_out and lateral_views == "leave_out"):
        raise refuse_lateral(paths[lateral[0]])
    logger.warning("%d films are left out as no frontal views", len(lateral))
    used = {name: path for name, path in paths.items() if name not in lateral}
    if not used:
        raise InputError(f"{paths[lateral[0]].parent}: holds no frontal film")
    return used


def _read_film(path: Path, scale: Scale | None) -> Image.Image:
    film = read_grey(path, scale)
    if is_mask_like(film):
        raise InputError(f"{path}: has a mask's few grey values; give the film itself")
    return film


def _choose_scales(
    paths: Mapping[str, Path], headers: Mapping[str, DicomHeader], bits: int
) -> dict[str, Scale]:
    """{name: scale} of the films of more than 8 bits."""
    asked = may_be_deep(paths, headers)
    ranges = dict(read_each(lambda name: read_range(paths[name]), asked))
    deep = {name: found for name, found in ranges.items() if _or_raise(found) is not None}
    remedy = "explain the films of each detector by themselves"
    scales = choose_scales(deep, "the films to explain", bits=bits, remedy=remedy)
    if scales and not bits:
        depths = sorted({str(scale.bits or "stretched") for scale in scales.values()})
        logger.warning(
            "%d films of more than 8 bits are read on a scale found among themselves (bits: %s); "
            "the run's own films may have had another, which config.data.bits would have fixed",
            len(scales),
            ", ".join(depths),
        )
    return scales


def _or_raise(found: object) -> object:
    """What was read, unless it is the error that says why it was not."""
    if isinstance(found, InputError):
        raise found
    return found


def _list_files(films: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(films, (str, Path)):
        folder = user_path(films)
        if not folder.is_dir():
            return [folder]
        files = (path for path in folder.iterdir() if path.is_file() and not is_junk(path.name))
        found = sorted(path for path in files if is_film_file(path))
        if not found:
            raise InputError(f"{folder}: holds no image; put films in it, as DICOM, PNG or JPEG")
        return found
    paths = [user_path(path) for path in films]
    if not paths:
        raise InputError("no films were given")
    return paths


def _fit_array(array: np.ndarray, size: int, *, square: str) -> tuple[np.ndarray, list[str]]:
    if array.dtype != np.uint8:
        raise InputError(
            f"films are of type {array.dtype}; give them as uint8, 0 black to 255 white"
        )
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or len(array) == 0:
        raise InputError(f"films have the shape {array.shape}; wanted is [n, h, w] or [h, w]")
    squares = [np.asarray(fit_film(Image.fromarray(film), size, square)) for film in array]
    return np.stack(squares)[..., None], [f"film {number}" for number in range(1, len(array) + 1)]
