"""Paths as users write them: in flags, in configs and in calls."""

import os
from pathlib import Path

from cxr_jax.errors import InputError


def make_folder(path: Path, given_by: str) -> Path:
    """Makes a folder that somebody asked for, before anything is done for it; returns it.

    Args:
      given_by: the flag or field that names it.

    Raises:
      InputError: if it is a file, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{given_by}: {path} cannot be made a folder ({error.strerror}); name another"
        ) from error
    return path


def user_path(given: str | os.PathLike) -> Path:
    """A path in which `~` is the home folder, wherever it is written.

    A shell replaces it only at the beginning of a word, which `--config.data.dir=~/films` is not.

    Raises:
      InputError: if it begins with the home folder of somebody who has none here, or is in a
        bucket: records are appended to, which objects there cannot be.
    """
    if "://" in str(given):
        raise InputError(
            f"{given} is no file or folder of this machine; mount the bucket and name the folder, "
            "see docs/tpu.md"
        )
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{given}: nobody of this name has a home folder here; write the whole path"
        ) from error
