"""How often does the change of the healthy subspace flip the classifier, walked as ours is?

The rival that asks no classifier (cxr_jax/explain/healthy_subspace.py) comes nearer to the true
twin than our walks. Here its change is walked straight, from the film to the film without what it
takes for the finding, and further by our own gain; it stops where our walks stop and is judged by
the same figures, of the same positives of one finished run, that pass our gate.

  partial   faithfulness of the change, see `faithfulness`
  felt      share of the change that f feels
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax.data.arrays import load_splits, phantom_spec
from cxr_jax.errors import InputError
from cxr_jax.evaluate import faithfulness, scores
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.healthy_subspace import fit_subspace
from cxr_jax.explain.traversal import StoppedWalk, Walk, stop_walk
from cxr_jax.pipeline.calibrate import load_calibration
from cxr_jax.pipeline.explain import explain_test, healthy_films, load_explainer
from cxr_jax.report import tables
from cxr_jax.runtime import precision
from experiments.markdown import entry_table
from experiments.paired import compare
from experiments.reading import config_of_run
from experiments.studies import validation
from experiments.study import Flag, Options, Study

OURS = ("necessary", "linear")
RIVAL = "healthy subspace"
TOWARDS = -1  # films that f calls positive
COLUMNS = ("flip_rate_f", "flip_rate", "reached", "twin_error", "partial", "felt", "length")


def walk_straight(
    explainer: Explainer, image: np.ndarray, change: np.ndarray, *, num_steps: int, target: float
) -> StoppedWalk:
    """Walks from films [N, h, w, 1] to the films with all of a change; see `stop_walk`."""
    shares = np.linspace(0, 1, num_steps + 1, dtype=np.float32)
    carried = np.stack([np.clip(image + share * change, -1, 1) for share in shares], axis=1)
    ask = lambda of: np.stack([of(carried[:, k]) for k in range(num_steps + 1)], axis=1)
    moved = np.square(carried - carried[:, :1]).mean(axis=(2, 3, 4))
    walk = Walk(
        points=np.zeros((*moved.shape, 0), np.float32),
        drawn=carried,
        carried=carried,
        margin=ask(explainer.classify),
        judge_margin=ask(explainer.judge),
        distance=np.sqrt(moved),
    )
    return stop_walk(walk, target, TOWARDS)


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path, images: int) -> dict[str, dict]:
    """The positives of a finished run, walked by us and by the rival."""
    splits, _ = load_splits(config.data, config.seed)
    own = validation.along(config, images, OURS)
    explainer = load_explainer(own, workdir, prior=False)
    calibration = load_calibration(workdir / "explain")
    explained = explain_test(explainer, splits["test"], calibration, section=own.explain)
    if explained.coverage["pos_to_neg"] == 0:
        raise InputError(f"{workdir}: {tables.NONE_COVERED}")
    group, train = explained.groups["pos_to_neg"], splits["train"]
    healthy = healthy_films(explainer, train, count=len(train["image"]), seed=config.seed)
    change = fit_subspace(healthy).change(group.films.image)
    gain = config.explain.necessary.gain
    walks = {name: group.walks[name] for name in OURS}
    for name, times in ((RIVAL, 1.0), (f"{RIVAL}, {gain:g} times as far", gain)):
        walks[name] = walk_straight(
            explainer,
            group.films.image,
            times * change,
            num_steps=own.explain.walk_steps,
            target=calibration.thresholds.target(TOWARDS),
        )
    each = {}
    for name, stopped in walks.items():
        scored = scores.score_walk(
            stopped,
            calibration.thresholds,
            TOWARDS,
            reach=calibration.reach,
            twin=group.truth["twin"],
        ) | {"felt": explainer.felt_share(group.films.image, stopped.change)}
        each[name] = {metric: scored[metric] for metric in COLUMNS if metric != "partial"}
    spec = phantom_spec(config.data, "test")
    valued = faithfulness.value_films(group.truth["patient_id"], spec, explainer.classify)
    changes = {name: stopped.change for name, stopped in walks.items()}
    rivals = [name for name in walks if name not in OURS]
    faithful = faithfulness.score_maps(changes, valued)
    return compare(each, faithful, ours=OURS[0], rivals=rivals)


def run(options: Options) -> Iterator[dict]:
    """Walks and measures."""
    yield measure(config_of_run(options), options.workdir, options.own["images"])


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a walk, then the differences."""
    return f"## The healthy subspace, walked\n\n{entry_table(results, COLUMNS, 'walk')}\n"


STUDY = Study(
    name="subspace",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/phantom",
    configs=config_of_run,
    flags=(Flag(name="images", default=200, help="Test films, half of them called positive."),),
)
