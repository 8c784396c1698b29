"""What the log tells of how a manifest was read."""

from collections.abc import Sequence

from cxr_jax.datasets.cxr_manifest.column_map import ColumnMap
from cxr_jax.datasets.cxr_manifest.manifest_films import ManifestFilms
from cxr_jax.datasets.cxr_manifest.presets import PRESETS


def describe_manifest(found: ManifestFilms, columns: ColumnMap, preset: str) -> dict:
    """What a manifest adds to `folder_report.make_report` (JSON types only).

    Returns:
      preset: its name; "" where there is none.
      rows: of the tables.
      named_films: how many films the rows name.
      left_out: [{"reason", "films", "such_as"}] of those that are not used.
      unused_files: how many films of the root no used row names.
      split_by: what gives the split.
    """
    left_out = [
        {"reason": reason, "films": len(films), "such_as": films[0]}
        for reason, films in found.left_out.items()
    ]
    return {
        "preset": preset,
        "rows": found.num_rows,
        "named_films": len(found.table.films) + sum(each["films"] for each in left_out),
        "left_out": left_out,
        "unused_files": found.unused_files,
        "split_by": _split_by(columns),
    }


def tell_manifest(report: dict) -> list[str]:
    """Lines that say what was taken for what, and whose data these are."""
    lines = []
    if report["preset"]:
        preset = PRESETS[report["preset"]]
        lines.append(f"read as {preset.title} ({preset.url}); licence: {preset.licence}")
        lines.append(f"if used, cite {preset.citation}")
    classes = [
        f"{each['label']} are {each['films']} films ({name})"
        for name, each in sorted(report["classes"].items(), key=lambda item: item[1]["label"])
    ]
    lines.append(", ".join(reversed(classes)))
    lines.append(
        f"{report['rows']} rows name {report['named_films']} films; {report['unused_files']} other "
        "films of the folder are not used"
    )
    lines.append(f"films are split by {report['split_by']}")
    return lines


def tell_left_out(left_out: Sequence[dict]) -> list[str]:
    """Lines that say how many films are not used, and why."""
    return [
        f"{each['films']} films left out: {each['reason']} (such as {each['such_as']})"
        for each in left_out
    ]


def _split_by(columns: ColumnMap) -> str:
    if columns.table_splits:
        return "the table they stand in"
    if columns.split_lists:
        return f"lists ({', '.join(columns.split_lists.values())})"
    return f"column {columns.split!r}" if columns.split else "patient"
