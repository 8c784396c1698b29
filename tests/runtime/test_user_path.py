"""`~` is the home folder, wherever a user writes it."""

from pathlib import Path

import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime.user_path import user_path


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("~", "/home/reader"),
        ("~/films", "/home/reader/films"),
        (Path("~/films"), "/home/reader/films"),
        ("films", "films"),
        ("/films/~", "/films/~"),
        ("films~", "films~"),
    ],
)
def test_the_home_folder(given, wanted, monkeypatch):
    monkeypatch.setenv("HOME", "/home/reader")
    assert user_path(given) == Path(wanted)


@pytest.mark.parametrize("given", ["~nobody_of_this_name/films", "gs://bucket/films"])
def test_what_is_no_path_here(given):
    with pytest.raises(InputError, match=given):
        user_path(given)
