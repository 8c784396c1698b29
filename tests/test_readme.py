"""The README and the pages of docs/ name nothing that is not there."""

import ast
import dataclasses
import functools
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict

import cxr_jax
from cxr_jax import api, cli
from cxr_jax.configs import base

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md"]
MOST_BYTES = 9000
NOT_OURS = ("pip", "gcloud", "source", "export")  # commands that are not checked
RUNS = ("cxr-jax", "python main.py")

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


# 1. Reading Markdown.


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    """The commands of a page's shell blocks, without environment variables."""
    lines = "".join(blocks(path, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    named = [[w for i, w in enumerate(each) if not re.match(r"[A-Z_]+=", w)] for each in words]
    return [each for each in named if each]


def anchors(path: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in kept}


def test_reading_of_a_page(tmp_path):
    text = "# A *b*, c\n```bash\nX=1 make run \\\n  --a=b  # why\n```\n```bash\n# nothing\n```\n"
    path = tmp_path / "page.md"
    path.write_text(text)
    assert commands(path) == [["make", "run", "--a=b"]]
    assert anchors(path) == {"a-b-c"}


# 2. The README.


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MOST_BYTES


def test_the_python_block_uses_what_there_is():
    (block,) = blocks(README, "python")
    has = {
        "cxr_jax": set(cxr_jax.__all__),
        "explainer": set(dir(api.FilmExplainer)),
        "result": set(dir(api.Explanation)),
        "film": {field.name for field in dataclasses.fields(api.FilmExplanation)},
    }
    used = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)]
    named = [(node.value.id, node.attr) for node in used if isinstance(node.value, ast.Name)]
    assert {owner for owner, _ in named} == has.keys()
    for owner, attribute in named:
        assert attribute in has[owner], f"{owner}.{attribute}"


def interval(entry: dict) -> str:
    low, high = entry["ci95"]
    return f"{entry['mean']:.2f} [{low:.2f}, {high:.2f}]"


def test_the_table_says_what_the_results_say():
    found = _results("fidelity")["default"]
    down, up = (
        {name: entry[direction] for name, entry in found["paths"].items()}
        for direction in ("pos_to_neg", "neg_to_pos")
    )
    maps, faithful = found["maps"], _results("faithfulness")["maps"]
    mean = lambda entry: f"{entry['mean']:.2f}"
    of_map = lambda name: interval(faithful[name]["partial"])
    saliency = ("gradient", "grad_cam", "expected_gradients")
    best = max((maps[name]["on_target"] for name in saliency), key=lambda entry: entry["mean"])
    rows = [
        [
            interval(down["necessary"]["flip_rate"]),
            *(f"{value:.2f}" for value in found["each_seed"]["flip_rate"]),
            *(interval(down[name]["flip_rate"]) for name in PLAIN),
        ],
        [interval(up["necessary"]["flip_rate"]), *(mean(up[n]["flip_rate"]) for n in PLAIN)],
        [interval(down[name]["twin_error"]) for name in ("necessary", "linear")]
        + [interval(_results("faithfulness")["twin_error_minus_subspace"])],
        [of_map(name) for name in ("latent", "latent_occlusion", "healthy_subspace_gradients")]
        + [mean(faithful[name]["partial"]) for name in ("expected_gradients", "grad_cam")],
        [interval(maps["latent"]["on_target"]), mean(maps["prior"]["on_target"]), mean(best)]
        + [mean(maps["oracle"]["on_target"])],
    ]
    lines = [line for line in README.read_text().splitlines() if re.match(r"\|.*\d\.\d\d", line)]
    assert len(rows) <= len(lines) <= 6
    for line, wanted in zip(lines, rows, strict=False):
        assert re.findall(r"\d\.\d\d(?: \[.*?\])?", line) == wanted


def _results(study: str) -> dict:
    return json.loads((ROOT / f"docs/results/{study}.json").read_text())["results"]


PLAIN = ("linear", "aligned")


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cxr_jax.__version__
    assert f"\nversion: {cxr_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {cxr_jax.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


# 3. Links and pictures.


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


# 4. Fields of the config.


def field_exists(name: str) -> bool:
    section = base.get_config()
    for part in name.split("."):
        if not isinstance(section, ConfigDict) or part not in section:
            return False
        section = section[part]
    return True


def test_a_field_exists_or_not():
    assert field_exists("gan.weights.pixel") and field_exists("seed")
    assert not field_exists("gan.weights.silence") and not field_exists("gan.weights.pixel.x")


@page
def test_fields_of_the_config_exist(path):
    names = re.findall(r"\bconfig\.(\w+(?:\.\w+)*)", path.read_text())
    for name in sorted({*names} - {"json"}):
        assert field_exists(name), name


# 5. Commands.


@functools.cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_experiment(value: str) -> None:
    """That `--config=VALUE` is a config, and has the variant."""
    found = cli.find_config(f"--config={value}").removeprefix("--config=")
    file, _, variant = found.partition(":")
    spec = importlib.util.spec_from_file_location("named_config", ROOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.get_config(variant)


def check_run(words: list[str]) -> None:
    """A command line of cxr-jax or main.py."""
    if words[0] in cli.COMMANDS:
        known = Path(cli.demo.__file__).read_text() + Path(cli.__file__).read_text()
        for word in words[1:]:
            assert f'"{word.split("=")[0]}"' in known, word
        return
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        assert word.startswith("--"), word
        if name.startswith("config."):
            continue  # fields are tested above
        assert name in flags.FLAGS, word
        if name == "config" and value != "...":
            check_experiment(value)
        if name == "task":
            assert value in ("all", *cli.TASKS), word


def check_script(path: Path, words: list[str]) -> None:
    """A script of this repository, with its own flags; what follows -- goes to main.py."""
    assert path.exists(), path
    text = path.read_text()
    own = words[: words.index("--")] if "--" in words else words
    for word in own:
        if word.startswith("--"):
            assert word.split("=")[0] in text, word


@pytest.mark.parametrize(
    "line", ["--taks=gan", "--task=gans", "--config=phantom:huge", "phantom", "demo --flims=2"]
)
def test_a_wrong_command_is_found(line):
    with pytest.raises((AssertionError, ValueError)):
        check_run(line.split())


@page
def test_commands_exist(path):
    for words in commands(path):
        line = " ".join(words)
        if words[0] in NOT_OURS:
            continue
        if words[0] == "make":
            assert set(words[1:]) <= make_targets(), line
        elif line.startswith(RUNS):
            check_run(words[1:] if words[0] == "cxr-jax" else words[2:])
        elif words[0] == "python":
            assert words[1] == "-m" or (ROOT / words[1]).exists(), line
            if words[1] != "-m":
                check_script(ROOT / words[1], words[2:])
        else:
            check_script(ROOT / words[0], words[1:])


@page
def test_flags_named_in_prose_exist(path):
    """Of our own commands; a flag of a script is one that the script knows."""
    scripts = "".join(file.read_text() for file in (ROOT / "scripts").iterdir())
    scripts += "".join(file.read_text() for file in (ROOT / "experiments").glob("*.py"))
    scripts += "".join(file.read_text() for file in (ROOT / "benchmarks").glob("*.py"))
    scripts += (ROOT / "cxr_jax" / "cli.py").read_text()  # of its further commands
    for span in re.findall(r"`([^`]+)`", prose(path)):
        for name in re.findall(r"(?<!\w)--([a-z][\w-]*)", span):
            assert name in flags.FLAGS or f"--{name}" in scripts or f'"{name}"' in scripts, span
