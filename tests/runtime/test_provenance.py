"""By which code and config something was made."""

import hashlib
import subprocess

import pytest

from cxr_jax.runtime.provenance import commit, config_digest


def test_the_digest_is_of_the_values_not_of_their_order():
    expected = hashlib.sha256(b'{"a":[1,2],"b":{"c":0.5}}').hexdigest()
    assert config_digest({"b": {"c": 0.5}, "a": (1, 2)}) == expected
    assert config_digest({"b": {"c": 0.25}, "a": (1, 2)}) != expected


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments: str) -> str:
        named = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        asked = ["git", *named, *arguments]
        return subprocess.run(
            asked, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path, git("rev-parse", "--short", "HEAD").strip()


def test_a_checkouts_commit_says_whether_files_differ_from_it(checkout):
    folder, head = checkout
    assert commit(folder) == head
    (folder / "code.py").write_text("2")
    assert commit(folder) == f"{head}-dirty"


def test_a_package_within_anothers_repository_has_no_commit(checkout):
    folder, _ = checkout
    package = folder / "site-packages"
    package.mkdir()
    assert commit(package) == ""
