"""The picture of all findings: rows of one patient each, and a file small enough to keep."""

import numpy as np

from cxr_jax.datasets.cxr_phantom.findings import FINDINGS
from experiments import findings


def test_a_row_is_one_patient_from_faint_to_strong():
    twin, *panels = findings.draw_row("effusion")
    films, differences = panels[::2], panels[1::2]
    assert len(films) == len(differences) == len(findings.SEVERITIES)
    for film, difference in zip(films, differences, strict=True):
        np.testing.assert_allclose(film - difference, twin, atol=1e-6)
    assert (np.diff([np.abs(each).mean() for each in differences]) > 0).all()


def test_the_picture_has_every_finding_and_is_small(tmp_path, capsys):
    assert set(findings.PATIENTS) == set(FINDINGS)
    findings.run(tmp_path)
    assert 50_000 < (tmp_path / findings.FILE).stat().st_size < 300_000
    assert findings.FILE in capsys.readouterr().out
