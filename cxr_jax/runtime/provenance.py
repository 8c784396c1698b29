"""By which code and config something was made."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def config_digest(config: Mapping) -> str:
    """SHA-256 of the canonical JSON of a resolved config, as plain dictionaries."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def commit(checkout: Path = CHECKOUT, *, but: Sequence[str] = ()) -> str:
    """The checkout's commit, with "-dirty" if tracked files differ from it; "" if there is none.

    An installed package that lies within somebody's repository has no commit.

    Args:
      but: folders of the checkout in which files may differ.
    """
    if not (checkout / ".git").exists():
        return ""
    try:
        head = _git(checkout, "rev-parse", "--short", "HEAD")
        if head.returncode:
            return ""
        excluded = (f":(exclude){folder}" for folder in but)
        changed = _git(checkout, "diff", "--quiet", "HEAD", "--", ".", *excluded).returncode
    except OSError:  # no git
        return ""
    return head.stdout.strip() + ("-dirty" if changed else "")


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True)
