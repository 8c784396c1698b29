"""Result files say by what they were measured, and what of them is older."""

import json
import subprocess

import pytest
from ml_collections import ConfigDict

from experiments import results
from experiments.study import Study

NOW = {"commit": "aaaaaaa", "config_digest": None, "command": "now", "date": "2026-01-02"}
BEFORE = {"commit": "bbbbbbb", "config_digest": "12", "command": "before", "date": "2026-01-01"}


@pytest.fixture
def study() -> Study:
    return Study(
        name="made_up",
        doc="What is made up?\n\nNobody knows.\n",
        run=lambda options: iter(()),
        to_markdown=lambda found: f"## {', '.join(found)}\n",
    )


def test_a_digest_is_of_the_values_and_not_of_their_order_or_type():
    config = ConfigDict(dict(b=dict(d=(1, 2), c=0.5), a="x"))
    listed = {"a": "x", "b": {"c": 0.5, "d": [1, 2]}}
    assert results.config_digest(config) == results.config_digest(listed)
    # Of {"a":"x","b":{"c":0.5,"d":[1,2]}}.
    assert results.config_digest(config).startswith("a2f253b5a747")
    config.b.c = 0.25
    assert results.config_digest(config) != results.config_digest(listed)
    assert results.config_digest({"one": config}) == results.config_digest(
        {"one": config.to_dict()}
    )
    assert results.config_digest(None) is None


def test_the_commit_is_that_of_the_checkout_and_says_if_code_was_changed(tmp_path, monkeypatch):
    git = lambda *words: subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / results.RESULTS).mkdir(parents=True)
    (tmp_path / "code.py").write_text("one")
    (tmp_path / results.RESULTS / "old.json").write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    head = git("rev-parse", "--short", "HEAD")
    assert results.commit() == head
    (tmp_path / results.RESULTS / "old.json").write_text("two")
    assert results.commit() == head  # studies write there one after the other
    (tmp_path / "code.py").write_text("two")
    assert results.commit() == f"{head}-dirty"


def test_where_there_is_no_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results.commit() is None


def test_a_file_holds_study_measurement_and_results(tmp_path, study):
    shown = results.write(tmp_path, study, {"a": (1, 2)}, NOW)
    expected = {"study": "made_up", "measured": NOW, "results": {"a": [1, 2]}}
    assert json.loads((tmp_path / "made_up.json").read_text()) == expected
    assert results.read(tmp_path, "made_up") == expected
    assert (tmp_path / "made_up.md").read_text() == shown
    assert shown.endswith("Measured 2026-01-02 at commit `aaaaaaa`: `now`.\n\n## a\n")


def test_numbers_are_short_and_lists_of_them_on_one_line(tmp_path, study):
    found = {"a": [1 / 3, -2e-9 / 3, 123456789], "b": ["x", 0.5], "c": [], "d": 1 / 7}
    results.write(tmp_path, study, found, NOW)
    text = (tmp_path / "made_up.json").read_text()
    assert '\n"a": [0.33333, -6.6667e-10, 123456789],\n"b": [\n"x",\n' in text
    assert results.read(tmp_path, "made_up")["results"] == {
        "a": [0.33333, -6.6667e-10, 123456789],
        "b": ["x", 0.5],
        "c": [],
        "d": 0.14286,
    }


def test_an_entry_stands_on_one_line_and_its_words_are_kept(tmp_path, study):
    entry = {"mean": 1 / 3, "ci95": [0.25, 0.5], "images": 3, "reason": "a [ b ]  c"}
    results.write(tmp_path, study, {"a": {"b": entry, "c": {"mean": None}}}, NOW)
    text = (tmp_path / "made_up.json").read_text()
    line = '"b": {"mean": 0.33333, "ci95": [0.25, 0.5], "images": 3, "reason": "a [ b ]  c"},'
    assert line in text and '"c": {"mean": null}' in text
    kept = results.read(tmp_path, "made_up")["results"]["a"]["b"]
    assert kept == entry | {"mean": 0.33333}


def test_without_a_folder_nothing_is_written(tmp_path, study, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert results.write(None, study, {"a": 1}, NOW).endswith("## a\n")
    assert list(tmp_path.iterdir()) == [] and results.read(None, "made_up") == {}


def test_nothing_undefined_is_written(tmp_path, study):
    with pytest.raises(ValueError, match="JSON"):
        results.write(tmp_path, study, {"a": float("nan")}, NOW)
    assert not (tmp_path / "made_up.json").exists()


def test_an_older_version_of_the_method_is_told_in_the_first_line(study):
    measured = BEFORE | {"of_present_method": False, "note": "Why."}
    shown = results.page({"study": "made_up", "measured": measured, "results": {"a": 1}}, study)
    first, _, second, *_ = shown.splitlines()
    assert first == results.OLDER
    assert second == "Measured 2026-01-01 at commit `bbbbbbb`, config `12`: `before`. Why."


def test_entries_that_are_kept_keep_their_measurement(study):
    known = {"old": {"x": 1}, "again": {"x": 2}}
    earlier = {"study": "made_up", "measured": BEFORE, "results": known}
    found = {**known, "again": {"x": 2}, "new": {"x": 3}}
    measured = results.carry_over(found, earlier, NOW)
    assert measured == NOW | {"carried_over": {"old": BEFORE}}
    shown = results.page({"study": "made_up", "measured": measured, "results": found}, study)
    assert "`old`: Measured 2026-01-01 at commit `bbbbbbb`" in shown
    # And keep it when they are kept once more.
    later = {"measured": measured, "results": found}
    once_more = results.carry_over({**found, "new": {"x": 3}}, later, {"commit": "ccccccc"})
    assert once_more["carried_over"] == {"old": BEFORE, "again": NOW}


def test_an_entry_with_the_figures_of_another_is_as_old_as_that_one():
    known = {"old": {"x": 1}, "all": {"x": 1, "variant": "old"}}
    earlier = {"measured": BEFORE, "results": known}
    found = {"old": known["old"], "new": {"x": 0}, "all": {"x": 1, "variant": "old"}}
    assert results.carry_over(found, earlier, NOW)["carried_over"] == {"old": BEFORE, "all": BEFORE}
    found["all"] = {"x": 0, "variant": "new"}
    assert results.carry_over(found, earlier, NOW)["carried_over"] == {"old": BEFORE}


def test_results_without_an_earlier_file_carry_nothing():
    assert results.carry_over({"a": {}}, {}, NOW) == NOW
    assert results.carry_over([1], {"measured": BEFORE, "results": [1]}, NOW) == NOW
