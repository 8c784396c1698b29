"""The notebook of examples/ runs from top to bottom, and shows what it says."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[notebook]'")
nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[notebook]'")

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's libraries
def test_the_quickstart_runs_and_its_figures_are_seen(tmp_path):
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()
    told = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    figures = [each for each in told if "image/png" in each.get("data", {})]
    lines = "".join(each["text"] for each in told if each.output_type == "stream")
    assert len(figures) == 3
    assert lines.count("flipped True") >= 4
