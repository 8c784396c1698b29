"""Entries of metrics.json as tables for people."""

from collections.abc import Iterable, Mapping, Sequence


def cell(entry: Mapping | None) -> str:
    """A mean and its interval, for a table."""
    if entry is None or entry["mean"] is None:
        return "–"
    interval = entry.get("ci95")
    return f"{entry['mean']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table of cells that are text already."""
    return [_line(head), "|---" * len(head) + "|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    """A row; a bar in a cell is none between cells."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def entry_table(
    rows: Mapping[str, Mapping], columns: Sequence[str], first: str, *, films: int | None = None
) -> str:
    """Rows of entries as a Markdown table; those of other than `films` films say of how many."""

    def counted(entry: Mapping | None) -> str:
        count = (entry or {}).get("images", films)
        return cell(entry) if films in (None, count) else f"{cell(entry)} ({count})"

    cells = (
        [f"`{name}`", *(counted(entries.get(column)) for column in columns)]
        for name, entries in rows.items()
    )
    return "\n".join(table([first, *columns], cells))
