"""Where the files lie that a table names: found by the end of their path.

A table's `images/x.png` is the root's `images/x.png`, or any file whose path ends so, or whose path
is the end of it: public sets come in numbered folders, and tables name folders above the root. The
ending may be another, or missing, since films are often converted. Of several such files the one
that shares most folders with the table's path is meant, or else the one of the same ending; two of
equal right are refused.
"""

import collections
import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxr_jax.datasets.cxr_folder.dicom_files import DICOM_SUFFIXES
from cxr_jax.datasets.cxr_folder.folder_listing import FILM_SUFFIXES
from cxr_jax.datasets.cxr_folder.layouts import is_junk, walk_files
from cxr_jax.errors import InputError

SUFFIXES = (*FILM_SUFFIXES, *DICOM_SUFFIXES)
DEPTH = 2  # folders by which files of the same name are told apart at first

Folders = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FileIndex:
    """The files below a root, by their names' last parts.

    Attributes:
      root: the user's folder.
      files: their paths relative to it, with forward slashes.
      by_stem: {last part without a film's ending: {the last two folders: the files}}; in some sets
        nearly all films have the same name.
    """

    root: Path
    files: tuple[str, ...]
    by_stem: Mapping[str, Mapping[Folders, tuple[str, ...]]]

    def find(self, path: str) -> str | None:
        """The one file that a path means, relative to the root; None if there is none.

        Raises:
          InputError: if several may be meant.
        """
        shared = {file: _shared(file, path) for file in self._candidates(path)}
        most = max(shared.values(), default=-1)
        nearest = [file for file in shared if shared[file] == most >= 0]
        for narrower in (
            [file for file in nearest if file == path],
            [file for file in nearest if posixpath.basename(file) == posixpath.basename(path)],
            nearest,
        ):
            if len(narrower) > 1:
                raise InputError(
                    f"{self.root}: {path} may be {narrower[0]} or {narrower[1]}; write more of the "
                    "path (data.manifest.path, .mask or .tables), or remove one of them"
                )
            if narrower:
                return narrower[0]
        return None

    def _candidates(self, path: str) -> Iterator[str]:
        """The files of the same name whose last two folders, or fewer, are the path's."""
        folders, named = self.by_stem.get(stem_of(path), {}), last_folders(path.strip("/"))
        if len(named) < DEPTH:  # any files may lie deeper
            for last, files in folders.items():
                shared = min(len(last), len(named))
                if last[len(last) - shared :] == named[len(named) - shared :]:
                    yield from files
            return
        for depth in range(DEPTH + 1):
            yield from folders.get(named[DEPTH - depth :], ())

    def find_table(self, name: str, field: str) -> tuple[str, Path]:
        """A table's or list's name and file; it may lie elsewhere if its path is absolute.

        Raises:
          InputError: if it is not there.
        """
        path = self.root / Path(name).expanduser()
        if path.is_file():
            return name, path
        found = self.find(name)
        if found is None or posixpath.basename(found) != posixpath.basename(name):
            raise InputError(
                f"{self.root}: holds no file {name}; correct data.dir or data.manifest.{field}, "
                "or set that to '-' to do without it"
            )
        return found, self.root / found


def index_files(root: Path) -> FileIndex:
    """Lists the files below a folder.

    Raises:
      InputError: if it is none, or cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; check the path (an archive must be unpacked)")
    files = []
    by_stem = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in walk_files(root):
        inside = path.relative_to(root)
        if not any(map(is_junk, inside.parts)):
            files.append(inside.as_posix())
            by_stem[stem_of(files[-1])][last_folders(files[-1])].append(files[-1])
    frozen = {
        stem: {last: tuple(found) for last, found in folders.items()}
        for stem, folders in by_stem.items()
    }
    return FileIndex(root, tuple(files), frozen)


def last_folders(path: str) -> Folders:
    """The last two folders of a path, or as many as there are."""
    return tuple(path.split("/")[:-1][-DEPTH:])


def is_film_name(path: str) -> bool:
    """Whether a file has the ending of a film."""
    return posixpath.splitext(path)[1].lower() in SUFFIXES


def stem_of(path: str) -> str:
    """The last part of a path, without the ending of a film; others belong to the name."""
    name = posixpath.basename(path)
    return posixpath.splitext(name)[0] if is_film_name(name) else name


def _shared(file: str, named: str) -> int:
    """How many folders two paths share, if the one's are the other's last; -1 if they are not."""
    ours, theirs = file.split("/")[:-1], named.strip("/").split("/")[:-1]
    shared = min(len(ours), len(theirs))
    return shared if not shared or ours[-shared:] == theirs[-shared:] else -1
