"""What no linter says of the sources; layers and the like are in pyproject.toml."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("cxr_jax", "configs", "datasets", "experiments", "benchmarks", "scripts")
# cxr_jax/configs and cxr_jax/datasets are links to those of the top level; `rglob` follows none.
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCES.append(ROOT / "main.py")

# Folders and files of the package in which nothing is read, written or printed.
PURE = (
    *("models/**/*.py", "explain/*.py", "evaluate/*.py", "losses.py", "metrics.py"),
    *("data/augment.py", "data/film_parameters.py", "networks/grading.py"),
    *("runtime/parallel.py", "runtime/precision.py", "runtime/streams.py"),
    *("training/attack.py", "training/ema.py", "training/gan_objective.py"),
    *("training/loss_terms.py", "training/paper_objective.py"),
)


def in_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def calls(path: Path) -> Iterator[str]:
    """What a file calls, as it is written there."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_the_sources_are_those_of_the_checkout():
    names = {in_root(path) for path in SOURCES}
    assert {"main.py", "configs/base.py", "cxr_jax/cli.py", "cxr_jax/models/gan.py"} <= names
    assert {"datasets/cxr_phantom/phantom.py", "benchmarks/tpu_check.py"} <= names
    assert not {name for name in names if name.startswith(("cxr_jax/configs", "cxr_jax/datasets"))}


def test_no_hidden_defaults():
    """A locked config rejects a misspelt field, but config.get("misspelt", 5) says nothing."""
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                receiver = ast.unparse(node.func.value)
                is_config = any(w in receiver for w in ("config", "section", "gan.", "explain."))
                hidden = node.func.attr == "get" and is_config and len(node.args) > 1
                assert not hidden, f"{in_root(path)}: {receiver}"


def test_a_file_has_a_name_of_its_own():
    nobodys = {"utils", "util", "helpers", "misc", "common"}
    assert not [in_root(path) for path in SOURCES if path.stem in nobodys]


@pytest.mark.parametrize("pattern", PURE)
def test_the_mathematics_touches_no_files(pattern):
    paths = sorted((ROOT / "cxr_jax").glob(pattern))
    assert paths
    for path in paths:
        found = {"open", "print", "np.save", "np.savez", "np.savez_compressed", "np.load"}
        found &= set(calls(path))
        assert not found, f"{in_root(path)}: {found}"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=in_root)
def test_configs_are_plain_functions(path):
    for module in imports(path):
        assert module.split(".")[0] in {"collections", "ml_collections"} or module.startswith(
            "cxr_jax.configs"
        )


def test_flags_are_the_command_lines():
    """import-linter says that cli.py alone imports absl, data sets apart; these only log."""
    for path in (ROOT / "datasets").rglob("*.py"):
        from_absl = [
            alias.name
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "absl"
            for alias in node.names
        ]
        assert set(from_absl) <= {"logging"}, in_root(path)
