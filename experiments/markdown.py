"""Entries of metrics.json as tables for people."""

from collections.abc import Iterable, Mapping, Sequence


def cell(entry: Mapping | None) -> str:
    """A mean and its interval, for a table."""
    if entry is None or entry["mean"] is None:
        return "–"
    interval = entry.get("ci95")
    return f"{entry['mean']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def counted(entry: Mapping) -> str:
    """The same, and of how many films."""
    return f"{cell(entry)} ({entry['images']})" if "images" in entry else cell(entry)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table of cells that are text already."""
    return [_line(head), "|---" * len(head) + "|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    """A row; a bar in a cell is none between cells."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def side_by_side(columns: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Lines of a Markdown table of cells by column, then by row; not every column has all rows."""
    names = dict.fromkeys(name for cells in columns.values() for name in cells)
    rows = [[name, *(cells.get(name, "–") for cells in columns.values())] for name in names]
    return table(["", *(f"`{column}`" for column in columns)], rows)


def entry_table(
    rows: Mapping[str, Mapping], columns: Sequence[str], first: str, *, films: int | None = None
) -> str:
    """Rows of entries as a Markdown table; those of other than `films` films say of how many."""

    def told(entry: Mapping | None) -> str:
        other = entry and films not in (None, entry.get("images", films))
        return counted(entry) if other else cell(entry)

    cells = (
        [f"`{name}`", *(told(entries.get(column)) for column in columns)]
        for name, entries in rows.items()
    )
    return "\n".join(table([first, *columns], cells))
