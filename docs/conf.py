"""Sphinx: the pages of this folder and the docstrings of the package, without a network."""

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import cxr_jax

ROOT = Path(__file__).resolve().parents[1]

project = "cxr_jax"
author = copyright = "The cxr_jax authors"
release = version = cxr_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["api/modules.rst"]

# Pages.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"cxr_jax {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = html_show_sphinx = False
html_theme_options = {"light_css_variables": {"font-stack": "system-ui, sans-serif"}}

# The package: one page a module, written anew by every build.
apidoc_modules = [
    {
        "path": ROOT / "cxr_jax",
        "destination": "api",
        "separate_modules": True,
        "module_first": True,
        "follow_links": True,  # configs and datasets
        "automodule_options": {"members", "show-inheritance"},
    }
]
add_module_names = False
default_role = "literal"  # `x` in a docstring is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


# What is rewritten on the way.

ROOT_PAGES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
ALL_RESULTS = """

```{toctree}
:hidden:
:glob:

*
```
"""


def adapt_page(app: Sphinx, docname: str, content: list[str]) -> None:
    """Pages of the root stand among those of this folder; results have a title and are listed."""
    text = content[0]
    if docname in ROOT_PAGES:
        text = (ROOT / ROOT_PAGES[docname]).read_text()
        text = re.sub(r"\]\((?!https?:|#)", "](../", text).replace("](../docs/", "](")
    for page, file in ROOT_PAGES.items():
        text = text.replace(f"](../{file}", f"]({page}.md")
    if docname.startswith("results/"):
        title = docname.removeprefix("results/").replace("_", " ").capitalize()
        text = text if text.startswith("# ") else f"# {title}\n\n{text}"
        text += ALL_RESULTS if docname == "results/index" else ""
    content[0] = text


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: dict, lines: list) -> None:
    """|x| in a docstring is a size, no substitution of reStructuredText."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def shorten(app: Sphinx, what: str, name: str, obj: object, options: dict, *text: str) -> tuple:
    """An array's type as one writes it."""
    return tuple(part and part.replace("jaxlib._jax.Array", "Array") for part in text)


def _show_inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _show_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas become MathML, which browsers draw by themselves: MathJax would be fetched."""
    app.connect("source-read", adapt_page)
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("autodoc-process-signature", shorten)
    app.add_html_math_renderer("mathml", (_show_inline, None), (_show_block, None))
