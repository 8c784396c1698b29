"""The command line of the studies: what is shared means the same in all."""

import json

import pytest

from experiments import command, results
from experiments.command import main, parse
from experiments.studies import STUDIES
from experiments.study import Flag, Study

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

SHARED = ("--config=", "--workdir=", "--seeds=", "--out=")


def made_up(**fields) -> Study:
    """A study that yields twice what it was asked, beside what it knew."""

    def run(options):
        """Twice."""
        for words in ("first", "second"):
            new = {"words": words, "films": options.own["films"], "seeds": options.seeds}
            yield {**options.known, options.config_file: new}

    plain = dict(
        name="made_up",
        doc="What is made up?\n\nNobody knows.\n",
        run=run,
        to_markdown=lambda found: f"## {', '.join(found)}\n",
        config="configs/phantom.py:tiny",
        workdir="runs/made_up",
        seeds=2,
        flags=(Flag(name="films", default=8, help="How many."),),
    )
    return Study(**plain | fields)


def test_the_flags_of_a_study():
    overrides = ["--config.gan.num_steps=7", "--config.explain.paths=('linear',)"]
    found = parse(made_up(), ["--films=3", *overrides, "--seeds=4"])
    assert (found.own, found.seeds, found.overrides) == ({"films": 3}, 4, tuple(overrides))
    assert found.config_file == "configs/phantom.py:tiny" and found.config.gan.num_steps == 7
    assert found.config.explain.paths == ("linear",)
    assert [path.name for path in found.seed_dirs] == ["seed0", "seed1", "seed2", "seed3"]


def test_a_config_is_found_by_its_name():
    shadow = parse(made_up(), ["--config=phantom:tiny"])
    assert shadow.config == parse(made_up(), []).config
    assert shadow.config_file == "phantom:tiny"  # as main.py takes it


def test_a_work_directory_that_is_a_run_is_read_itself(tmp_path):
    found = parse(made_up(seeds=0), [f"--workdir={tmp_path}"])
    assert found.seed_dirs == [tmp_path]
    found = parse(made_up(seeds=0), [f"--workdir={tmp_path}", "--seeds=1"])
    assert found.seed_dirs == [tmp_path / "seed0"]


@pytest.mark.parametrize(
    ("fields", "argv", "message"),
    [
        ({}, ["--film=3"], "film"),
        ({}, ["--films=many"], "films"),
        ({}, ["--config.gan.num_step=3"], "num_step"),
        ({}, ["--config.gan.num_steps", "3"], "needs =VALUE"),
        ({}, ["--config=configs/none.py"], "none.py"),
        ({}, ["--config=configs/phantom.py:none"], "unknown variant 'none'"),
        ({}, ["more"], "unexpected argument 'more'"),
        ({}, ["--seeds=0"], "1 or more"),
        (dict(seeds=0), ["--seeds=-1"], "0 or more"),
        (dict(seeds=None), ["--seeds=2"], "of one seed"),
        (dict(workdir=""), ["--workdir=runs/a"], "no --workdir"),
    ],
)
def test_what_cannot_be_ends_in_one_line_and_status_2(fields, argv, message, capsys):
    study = made_up(**fields)
    assert main("experiments", {"made_up": study}, ["made_up", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("experiments: ") and message in line


def test_an_unknown_study_is_answered_with_those_that_there_are(capsys):
    assert main("experiments", STUDIES, ["fidelty"]) == 2
    error = capsys.readouterr().err
    assert "'fidelty' is no study" in error and all(name in error for name in STUDIES)


def test_results_are_written_as_they_come_with_what_they_were_measured_by(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(results, "commit", lambda: "aaaaaaa")
    written, keep = [], results.write

    def write(out, study, found, measured):
        written.append(found)
        return keep(out, study, found, measured)

    monkeypatch.setattr(results, "write", write)
    argv = ["made_up", f"--out={tmp_path}", "--films=5", "--config.gan.num_steps=7"]
    assert main("experiments", {"made_up": made_up()}, argv) == 0
    assert [found["configs/phantom.py:tiny"]["words"] for found in written] == ["first", "second"]
    document = json.loads((tmp_path / "made_up.json").read_text())
    assert document["study"] == "made_up"
    measured = document["measured"]
    config = command.load_config("configs/phantom.py:tiny", ["--config.gan.num_steps=7"])
    assert measured["config_digest"] == results.config_digest(config)
    assert measured["command"] == f"python -m experiments {' '.join(argv)}"
    assert measured["commit"] == "aaaaaaa" and "carried_over" not in measured
    assert document["results"]["configs/phantom.py:tiny"]["films"] == 5
    page = (tmp_path / "made_up.md").read_text()
    assert capsys.readouterr().out == f"{page}\n"
    # Another config stands beside it, and the first keeps its measurement.
    monkeypatch.setattr(results, "commit", lambda: "bbbbbbb")
    argv = ["made_up", f"--out={tmp_path}", "--config=configs/shortcut.py:tiny"]
    assert main("experiments", {"made_up": made_up()}, argv) == 0
    document = json.loads((tmp_path / "made_up.json").read_text())
    assert list(document["results"]) == ["configs/phantom.py:tiny", "configs/shortcut.py:tiny"]
    assert document["measured"]["commit"] == "bbbbbbb"
    assert document["measured"]["carried_over"] == {"configs/phantom.py:tiny": measured}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_explains_itself(name, capsys):
    assert main("experiments", STUDIES, [name, "--help"]) == 0
    text = capsys.readouterr().out
    study = STUDIES[name]
    assert study.name == name and text.startswith(study.title)
    assert all(flag in text for flag in SHARED)
    assert all(f"--{flag.name}=" in text and flag.help for flag in study.flags)


def test_a_list_of_all_studies_and_commands(capsys):
    def tidy(out):
        """Tidies up."""

    assert main("experiments", STUDIES, [], commands={"tidy": tidy}) == 0
    text = capsys.readouterr().out
    assert all(study.title in text for study in STUDIES.values()) and "Tidies up." in text


def test_a_command_takes_the_folder_of_the_results_alone(tmp_path, capsys):
    given = []
    commands = {"tidy": given.append}
    assert main("experiments", {}, ["tidy", f"--out={tmp_path}"], commands=commands) == 0
    assert given == [tmp_path]
    assert main("experiments", {}, ["tidy", "--seeds=3"], commands=commands) == 2
    assert "tidy takes --out alone" in capsys.readouterr().err


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_a_study_s_default_config_exists(study):
    if study.config:
        command.load_config(study.config)


def test_the_configs_of_studies_that_have_their_own():
    audit, paper = STUDIES["audit"], STUDIES["paper_vs_ours"]
    found = audit.configs(parse(audit, ["--config.gan.num_steps=3"]))
    assert list(found) == ["phantom", "shortcut", "shortcut:control"]
    assert {config.gan.num_steps for config in found.values()} == {3}
    assert found["shortcut:control"].data.marker_train == (0.5, 0.5)
    assert {config.data.num_train for config in found.values()} == {2000}
    alone = audit.configs(parse(audit, ["--config=configs/shortcut.py:tiny"]))
    assert list(alone) == ["shortcut:tiny"]
    found = paper.configs(parse(paper, ["--gan_steps=5", "--encoder_steps=2"]))
    assert (found["ours"].gan.num_steps, found["ours"].encoder.num_steps) == (5, 2)
    assert (found["paper"].gan.num_steps, found["paper"].encoder.num_steps) == (7, 0)
