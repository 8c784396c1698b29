"""Who may import whom, read from the sources: see the layout in README.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = {p.relative_to(ROOT / "cxr_jax").as_posix(): p for p in ROOT.glob("cxr_jax/**/*.py")}
SOURCES = [
    p
    for folder in ("cxr_jax", "configs", "datasets", "benchmarks", "scripts")
    for p in (ROOT / folder).rglob("*.py")
] + [ROOT / "main.py"]

# From the top down; a file imports only from layers below its own.
LAYERS = [
    ["explain.py"],
    ["results.py"],
    ["tables.py"],
    ["tools.py", "explained.py"],
    ["evaluate.py", "maps.py", "audit.py"],
    ["scores.py"],
    ["paths.py"],
    ["films.py"],
    ["train_encoder.py", "train_evaluators.py"],
    ["train_gan.py"],
    ["train_paper_gan.py", "samples.py"],
    ["gan_objective.py", "paper_objective.py", "gan_state.py", "train_classifier.py"],
    ["training.py"],
    ["invert.py", "walk.py", "grading.py", "attribution.py", "augment.py", "metrics.py"]
    + ["attack.py", "film_parameters.py"],
    ["classifiers.py"],
    [
        "averaged.py",
        "precision.py",
        "ranges.py",
        "losses.py",
        "checkpoint.py",
        "data.py",
        "records.py",
        "plots.py",
        "torch_weights.py",
    ],
    ["parallel.py"],
    ["models/classifier.py", "models/encoder.py", "models/gan.py", "models/paper.py"]
    + ["models/segmenter.py", "models/regressor.py"]
    + ["models/densenet.py", "models/resnet.py", "models/vgg.py", "models/external.py"],
    ["models/torch_layers.py", "models/transposed.py", "models/conventions.py"],
    ["models/blocks.py"],
    ["types.py"],
    ["__init__.py", "models/__init__.py"],
]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every imported module, and with `from a import b` also a.b."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def users_of(*roots: str) -> set[str]:
    """Files of the package that import a module of these top-level names."""
    return {
        name
        for name, path in PACKAGE.items()
        if any(module.split(".")[0] in roots for module in imports(path))
    }


def names_in(path: Path) -> set[str]:
    """Dotted names that are read anywhere, such as jax.local_devices."""
    tree = tree_of(path)
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def own_imports(name: str) -> set[str]:
    """Files of the package that a file of the package imports."""
    modules = {module.removeprefix("cxr_jax.") for module in imports(PACKAGE[name])}
    return {f"{module.replace('.', '/')}.py" for module in modules} & set(PACKAGE)


def test_every_file_has_its_layer():
    listed = [name for layer in LAYERS for name in layer]
    assert sorted(listed) == sorted(set(listed))
    missing = set(PACKAGE) - set(listed)
    assert not missing, f"add {sorted(missing)} to LAYERS, as far down as its imports allow"


def test_imports_go_downwards():
    depth = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for name in PACKAGE:
        for other in own_imports(name):
            allowed = depth[other] > depth[name]
            assert allowed, f"{name} may not import {other}"


def test_one_file_for_each_outside_concern():
    assert users_of("orbax") == {"checkpoint.py"}
    assert users_of("grain", "tensorflow_datasets", "tensorflow") == {"data.py"}
    assert users_of("matplotlib") == {"plots.py"}
    assert users_of("safetensors", "pickle") == {"torch_weights.py"}  # restricted, see there
    assert not users_of("absl", "dill", "joblib", "cloudpickle", "tensorboard", "torch")
    assert "absl.flags" in set(imports(ROOT / "main.py"))


def test_only_parallel_names_devices():
    device_names = {
        "jax.devices",
        "jax.local_devices",
        "jax.device_count",
        "jax.local_device_count",
        "jax.pmap",
        "jax.shard_map",
        "jax.sharding",
        "jax.device_put",
        "jax.lax.pmean",
        "jax.lax.psum",
        "jax.lax.axis_index",
    }
    for name, path in PACKAGE.items():
        if name != "parallel.py":
            used = names_in(path) | set(imports(path))
            assert not {n for n in used if n in device_names or n.startswith("jax.sharding")}, name


def test_the_mathematics_touches_no_files():
    pure = ["invert.py", "walk.py", "metrics.py", "attribution.py", "losses.py", "grading.py"]
    pure += ["augment.py", "scores.py", "films.py", "attack.py", "film_parameters.py"]
    pure += [name for name in PACKAGE if name.startswith("models/")]
    for name in pure:
        assert not own_imports(name) & {"records.py", "checkpoint.py", "plots.py"}, name
        modules = {module.split(".")[0] for module in imports(PACKAGE[name])}
        assert not modules & {"pathlib", "os", "io", "json", "shutil", "tempfile", "logging"}, name
        calls = {
            ast.unparse(node.func)
            for node in ast.walk(tree_of(PACKAGE[name]))
            if isinstance(node, ast.Call)
        }
        assert not calls & {"open", "print", "np.save", "np.savez", "np.load"}, name


def test_networks_never_see_the_config():
    for name in PACKAGE:
        modules = set(imports(PACKAGE[name]))
        assert not any(module.split(".")[0] == "configs" for module in modules), name
        if name.startswith("models/"):
            assert "ml_collections" not in {module.split(".")[0] for module in modules}, name


def test_data_sets_stand_alone():
    for path in ROOT.glob("datasets/**/*.py"):
        modules = {module.split(".")[0] for module in imports(path)}
        assert not modules & {"jax", "flax", "cxr_jax", "configs", "tensorflow"}, path.name


def test_configs_are_plain_functions():
    for path in ROOT.glob("configs/*.py"):
        modules = {module.split(".")[0] for module in imports(path)}
        assert modules <= {"collections", "ml_collections", "configs"}, path.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_hidden_defaults(path):
    """A locked config rejects a misspelt field, but config.get("misspelt", 5) says nothing."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            is_config = any(word in receiver for word in ("config", "section", "gan.", "explain."))
            assert not (node.func.attr == "get" and is_config and len(node.args) > 1), receiver


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_house_rules(path):
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    tree = tree_of(path)
    assert ast.get_docstring(tree), "a file begins by saying what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.names[0].name != "*", "absolute, named imports"
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            nested = [n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not nested, f"import at the top, not in {node.name}"
    assert not {m for m in imports(path) if m.startswith("jax._src")}
