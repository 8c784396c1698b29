"""Sample sheets: a patient a row, and the same answers wanted down every column."""

import matplotlib.figure
import numpy as np
from builders import make_gan

from cxr_jax.training import samples


def test_a_row_is_one_patient_and_a_column_one_wanted_answer(monkeypatch, tmp_path):
    sheets, asked, models = [], [], make_gan().models

    def draw(models, films):
        """Every chest as bright as its patient's number, answered as its finding's."""
        patient, finding, wanted = films
        asked.append(wanted.reshape(samples.NUM_CHESTS, -1))
        return np.tile(patient[:, None, None, None], (1, 4, 4, 1)), finding

    def record(sheet, titles, margin):
        sheets.append((sheet, titles, margin))
        return matplotlib.figure.Figure()

    monkeypatch.setattr(samples.parallel, "in_batches", lambda function, batch_size: draw)
    monkeypatch.setattr(samples.plots, "image_grid", record)
    samples.draw_chests(tmp_path / "samples.png", models)
    ((sheet, titles, finding),) = sheets
    for patient, row in enumerate(sheet):
        assert (row == patient).all()
    np.testing.assert_array_equal(finding, np.tile(np.arange(len(titles)), (len(sheet), 1)))
    scale = models.scale
    wanted = [scale.negative, *(share * scale.strong for share in samples.SEVERITIES)]
    np.testing.assert_allclose(asked[0], np.tile(wanted, (len(sheet), 1)))
