"""The healthy subspace's change, walked and judged as a path of ours."""

import types

import numpy as np
import pytest

from cxr_jax.errors import InputError
from experiments.command import parse
from experiments.studies import subspace


def test_a_change_is_walked_to_its_end_and_judged_on_the_way():
    image = np.full((2, 8, 8, 1), 0.5, np.float32)
    change = np.zeros_like(image)
    change[0, :4], change[1, :2] = -1.0, -2.0  # the second film is clipped: at most -1.5 of it
    total = lambda x: x.sum(axis=(1, 2, 3))
    explainer = types.SimpleNamespace(
        classify=lambda x: total(x) - 20, judge=lambda x: total(x) - 31
    )
    walked = subspace.walk_straight(explainer, image, change, num_steps=4, target=-5.0)
    # 32 less 8 a step; 32 less 8 a step until the rows are black at -1.
    np.testing.assert_allclose(walked.walk.margin[0], [12, 4, -4, -12, -20])
    np.testing.assert_allclose(walked.walk.margin[1], [12, 4, -4, -12, -12])
    np.testing.assert_array_equal(walked.frame, [3, 3])
    np.testing.assert_array_equal(walked.flip_f, [2, 2])
    np.testing.assert_array_equal(walked.flip, [2, 2])
    np.testing.assert_allclose(walked.change[0], 0.75 * change[0])
    assert walked.walk.distance[0, 4] == pytest.approx(0.5**0.5)


def test_a_config_is_not_asked_for(tmp_path):
    options = parse(subspace.STUDY, [f"--workdir={tmp_path}", "--out="])
    with pytest.raises(InputError, match="is not complete"):
        next(subspace.run(options))
