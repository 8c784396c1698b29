"""The picture of all findings: rows of one patient each, and a file small enough to keep."""

import numpy as np

from cxr_jax.datasets.cxr_phantom.findings import FINDINGS
from experiments import finding_pictures


def test_a_row_is_one_patient_from_faint_to_strong():
    twin, *panels = finding_pictures.draw_row("effusion")
    films, differences = panels[::2], panels[1::2]
    assert len(films) == len(differences) == len(finding_pictures.SEVERITIES)
    for film, difference in zip(films, differences, strict=True):
        np.testing.assert_allclose(film - difference, twin, atol=1e-6)
    assert (np.diff([np.abs(each).mean() for each in differences]) > 0).all()


def test_the_picture_has_every_finding_and_is_small(tmp_path, capsys):
    assert set(finding_pictures.PATIENTS) == set(FINDINGS)
    finding_pictures.run(tmp_path)
    assert 50_000 < (tmp_path / finding_pictures.FILE).stat().st_size < 300_000
    assert finding_pictures.FILE in capsys.readouterr().out
