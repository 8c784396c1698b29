"""Of which findings does the walk show what f uses, and is it enough to change f's mind?

Reads finished runs of configs/findings.py, a folder for each finding. One is shown faithfully if
the walk of map `latent` flips f, and f and h, on at least 0.9 of the positives, and if within
films the map's mass on f's components has a partial correlation of at least 0.6 with their Shapley
values, given visibility. All others are told with what they miss.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import read_json
from experiments.markdown import entry_table
from experiments.reading import (
    average,
    commits_of,
    configs_below,
    entry_of,
    read_report,
    runs_below,
)
from experiments.study import Options, Study

FLIPS = ("flip_rate_f", "flip_rate")
LEAST = {"flip_rate_f": 0.9, "flip_rate": 0.9, "faithfulness": 0.6}
WALKED = (*FLIPS, "twin_error")
MAPS = ("latent", "expected_gradients", "prior", "oracle")  # the last two never ask f


def one_or_average(reports: Sequence[Mapping], *keys: str) -> dict:
    """An entry of one run with its interval, or the mean over several."""
    if len(reports) > 1:
        return average(reports, *keys)
    return entry_of(reports[0], keys)


def measure(workdirs: Sequence[Path]) -> dict:
    """One finding, over its runs.

    Raises:
      InputError: if films cannot be rendered again, as those of a phantom.
    """
    reports = [read_report(workdir) for workdir in workdirs]
    for workdir, report in zip(workdirs, reports, strict=True):
        if not report["faithfulness"]["maps"]:
            raise InputError(f"{workdir}: {report['faithfulness']['reason']}")
    walked = [report["paths"][report["latent_path"]] for report in reports]
    found = {
        "finding": read_json(workdirs[0] / "config.json")["data"]["finding"],
        "latent_path": ", ".join(dict.fromkeys(report["latent_path"] for report in reports)),
        "auroc": [
            [report[name]["auroc"] for name in ("classifier", "judge")] for report in reports
        ],
        "coverage": [report["coverage"] for report in reports],
        "pos_to_neg": {name: one_or_average(walked, "pos_to_neg", name) for name in WALKED},
        "neg_to_pos": {name: one_or_average(walked, "neg_to_pos", name) for name in FLIPS},
        "faithfulness": {
            name: one_or_average(reports, "faithfulness", "maps", name, "partial") for name in MAPS
        },
        "commits": commits_of(reports),
    }
    return found | {"missed": misses(found)}


def misses(found: Mapping) -> list[str]:
    """What a finding lacks to be shown faithfully."""
    values = {name: found["pos_to_neg"][name]["mean"] for name in FLIPS}
    values["faithfulness"] = found["faithfulness"]["latent"]["mean"]
    return [name for name, least in LEAST.items() if values[name] is None or values[name] < least]


def run(options: Options) -> Iterator[dict]:
    """Reads every finding's runs, beside those that an earlier call read."""
    found = {name: one for name, one in options.known.items() if name != "all"}
    found |= {name: measure(runs) for name, runs in runs_below(options).items()}
    faithful = [name for name, one in found.items() if not one["missed"]]
    yield found | {"all": {"faithful": len(faithful), "measured": len(found)}}


def counts(found: Mapping) -> str:
    """Of how many films each figure is: those without the finding have no twin error."""
    entries = {
        "flips": found["pos_to_neg"]["flip_rate"],
        "twin error": found["pos_to_neg"]["twin_error"],
        "faithfulness": found["faithfulness"]["latent"],
    }
    return ", ".join(f"{entry.get('images', 0)} of {name}" for name, entry in entries.items())


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a finding."""
    found = {name: one for name, one in results.items() if name != "all"}
    rows = {
        name: {
            **one["pos_to_neg"],
            **{f"{name}, from negative": entry for name, entry in one["neg_to_pos"].items()},
            **{f"faithfulness, {name}": entry for name, entry in one["faithfulness"].items()},
        }
        for name, one in found.items()
    }
    columns = list(dict.fromkeys(column for entries in rows.values() for column in entries))
    lines = ["## Findings of every kind", "", entry_table(rows, columns, "finding"), ""]
    for name, one in found.items():
        pairs = "; ".join(f"{f:.3f}, {h:.3f}" for f, h in one["auroc"])
        coverage = ", ".join(f"{share:.2f}" for share in one["coverage"])
        lines.append(
            f"- `{name}`, {one['finding']}: AUROC of f and h {pairs}; coverage {coverage}; path "
            f"`{one['latent_path']}`; films: {counts(one)}; "
            + (f"misses {', '.join(one['missed'])}." if one["missed"] else "shown faithfully.")
        )
    count = results["all"]
    return (
        "\n".join([*lines, "", f"{count['faithful']} of {count['measured']} are shown faithfully."])
        + "\n"
    )


STUDY = Study(
    name="findings",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/findings",
    seeds=0,
    configs=configs_below,
)
