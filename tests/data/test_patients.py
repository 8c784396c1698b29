"""Halves of the patients: the two classifiers are taught by different people."""

import numpy as np
import pytest

from cxr_jax.data.arrays import PATIENTS, patient_half, pick_patients, train_batches
from cxr_jax.errors import InputError


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Two films of each of 200 patients."""
    names = np.array([f"p{number}".encode() for number in np.repeat(np.arange(200), 2)])
    return {"image": np.arange(400), "patient_id": names}


def test_no_patient_teaches_both_and_everyone_teaches_one(arrays):
    whole, one, other = (pick_patients(arrays, patients) for patients in PATIENTS)
    assert whole is arrays
    assert not set(one["patient_id"]) & set(other["patient_id"])
    assert len(one["image"]) + len(other["image"]) == 400
    assert 140 < len(one["image"]) < 260
    np.testing.assert_array_equal(arrays["patient_id"][one["image"]], one["patient_id"])


def test_a_patient_is_in_the_same_half_whoever_else_is_there(arrays):
    half = patient_half(arrays["patient_id"])
    np.testing.assert_array_equal(patient_half(arrays["patient_id"][::-1]), half[::-1])


def test_halves_need_patients_in_them(arrays):
    with pytest.raises(InputError, match="does not tell patients apart"):
        pick_patients({"image": arrays["image"]}, "one half")
    single = {name: array[:2] for name, array in arrays.items()}
    missing = "other half" if patient_half(single["patient_id"])[0] == 0 else "one half"
    with pytest.raises(InputError, match=f"no patient .* {missing}"):
        pick_patients(single, missing)


def test_names_are_not_sent_to_devices(arrays):
    batch = next(train_batches(arrays, 4, 0, start_step=0))
    assert batch.keys() == {"index", "image"}
