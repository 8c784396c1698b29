"""The regressor's training: its parameters on one scale."""

import numpy as np

from cxr_jax.training.regressor import fit_standardisation


def test_a_parameter_that_never_varies_keeps_its_unit():
    standard = fit_standardisation(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    np.testing.assert_array_equal(standard.mean, [2.0, 5.0])
    np.testing.assert_array_equal(standard.std, [1.0, 1.0])
    standard = fit_standardisation(np.array([[1.0], [5.0]], np.float32))
    np.testing.assert_array_equal(standard.std, [2.0])
