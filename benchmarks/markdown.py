"""Entries of metrics.json as tables for people."""

from collections.abc import Mapping, Sequence


def cell(entry: Mapping | None) -> str:
    """A mean and its interval, for a table."""
    if entry is None or entry["mean"] is None:
        return "–"
    interval = entry.get("ci95")
    return f"{entry['mean']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def markdown_table(
    rows: Mapping[str, Mapping], columns: Sequence[str], first: str, films: int | None = None
) -> str:
    """Rows of entries as a Markdown table; those of other than `films` films say of how many."""

    def counted(entry: Mapping | None) -> str:
        count = (entry or {}).get("images", films)
        return cell(entry) if films in (None, count) else f"{cell(entry)} ({count})"

    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, entries in rows.items():
        cells = [counted(entries.get(column)) for column in columns]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)
