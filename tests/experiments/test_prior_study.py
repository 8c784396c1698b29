"""The study of the prior: which images are compared, and what is said of them."""

import numpy as np

from experiments.studies import prior


def test_the_nearest_film_is_found():
    films = np.zeros((2, 2, 2, 1), np.float32)
    films[1] = 1
    images = films + np.float32([0.1, -0.3])[:, None, None, None]
    np.testing.assert_allclose(prior.nearest(images, films), [0.1, 0.3], rtol=1e-4)


def test_runs_are_averaged_and_each_is_kept():
    run = lambda value: {
        "images": {
            "films": dict.fromkeys(prior.COLUMNS, value) | {"novelty": None},
            "prior": dict.fromkeys(prior.COLUMNS, 2 * value),
        },
        "answers": {"spearman": value, "called_positive": 1.0, "called_negative": 0.5},
    }
    found = prior.summarise([run(1.0), run(3.0)])
    assert found["images"]["prior"]["ratio"] == {"mean": 4.0, "each_seed": [2.0, 6.0]}
    assert found["images"]["films"]["novelty"]["mean"] is None
    assert found["answers"]["spearman"]["mean"] == 2.0
    text = prior.to_markdown(found)
    assert "| `prior` | 4" in text and "spearman" in text
