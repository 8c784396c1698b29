"""The pages of docs/results, each rendered from its JSON, and their table of contents."""

from pathlib import Path

from benchmarks.registry import BENCHMARKS
from experiments import claims, markdown, results
from experiments.studies import STUDIES

ALL = STUDIES | BENCHMARKS


def render(out: Path) -> dict[str, str]:
    """Every page by its file's name."""
    documents = {name: found for name in sorted(ALL) if (found := results.read(out, name))}
    pages = {f"{name}.md": results.page(found, ALL[name]) for name, found in documents.items()}
    rows = [index_row(name, found) for name, found in documents.items()]
    if (out / claims.FILE).exists():
        pages["claims.md"] = claims.to_markdown(claims.load(out))
        rows.append(["[claims](claims.md)", claims.__doc__.splitlines()[0], "", "", ""])
    pages["index.md"] = index(rows)
    return pages


def index_row(name: str, document: dict) -> list[str]:
    """The line of one result."""
    measured = document["measured"]
    carried = measured.get("carried_over", {}).values()
    current = "yes" if all(map(results.is_current, carried)) else "in part"
    if not results.is_current(measured):
        current = "no, of an older version"
    commit = f"`{measured['commit']}`"
    return [f"[{name}]({name}.md)", ALL[name].title, commit, measured["date"], current]


def index(rows: list[list[str]]) -> str:
    """The table of contents."""
    head = ["result", "question", "commit", "date", "of the present method"]
    lines = [
        "# Results",
        "",
        "Each page is rendered from the JSON beside it by `python -m experiments tables`; the JSON",
        "holds every figure, and under `measured` the commit, the config's digest and the command.",
        "",
        *markdown.table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def run(out: Path) -> None:
    """Renders every page of the results from its JSON, and their table of contents."""
    for name, text in render(out).items():
        (out / name).write_text(text)
        print(out / name)
