"""report.html: the template filled, as one file that asks nothing of a network."""

import base64
import hashlib
from pathlib import Path

import jinja2

from cxr_jax import plots
from cxr_jax.report.page.content import Page
from cxr_jax.report.page.view import for_script, view_films, view_table
from cxr_jax.runtime.workdir import write_text

FOLDER = Path(__file__).parent


def render(page: Page, style: plots.Style) -> str:
    """The whole page as HTML.

    Whatever comes from films, configs and files is escaped: by jinja2 in the text, and as JSON that
    holds no `<` in the script's data. The page's own policy lets a browser run the one script that
    stands here, by its hash, and load nothing but what the page holds.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, sheet = ((FOLDER / name).read_text("utf-8") for name in ("page.js", "page.css"))
    films, scale = view_films(page, style)
    text = environment.get_template("page.html.j2").render(
        page=page,
        films=films,
        scale=scale,
        tables=[view_table(table) for table in page.tables],
        audit_tables=[view_table(table) for table in page.audit_tables],
        data=for_script(films),
        script=script,
        sheet=sheet,
        script_hash=_hash(script),
        sheet_hash=_hash(sheet),
    )
    return text.encode("utf-8", "replace").decode()  # a file's name need not be Unicode


def save_page(path: Path, page: Page, style: plots.Style) -> None:
    """Writes report.html, the whole file or none."""
    write_text(path, render(page, style))


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an element by the text in it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
