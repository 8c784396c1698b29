"""The tables of real films: whom they leave out, who is tested, and that the configs read them."""

import csv
import shutil

import pytest
from film_folders import picture, save
from truth_films import write_table

from cxr_jax.configs import covid, nih, phantom
from cxr_jax.data.arrays import load_splits
from scripts import real_film_tables as tables

BOX = "[[1, 2, 3, 4]]"
PATIENTS = [f"{number:08d}" for number in range(1, 101)]


def film_row(filename: str, **cells: str) -> dict[str, str]:
    said = {"filename": filename, "label": filename.split("/")[0], "source": "A", "split": "train"}
    return {**said, "patient_id": "", "group_id": filename, "has_lung_mask": "0", **cells}


def annotation(patient: str, film: int, **cells: str) -> dict[str, str]:
    """A pneumonia without a box, of a patient whose boxes are given."""
    said = {"filename": f"pneumonia/{patient}_{film:03d}.png", "patient_id": patient}
    said |= {"truth": "given", "rsna_boxes": "[]", "nih_boxes": "", "shared_film": ""}
    return {**said, **cells}


def negative(patient: str, film: int = 9) -> dict[str, str]:
    shared = f"normal/nih_{patient}_{film:03d}.png"
    return annotation(patient, film, filename="", shared_film=shared)


def splits_of(rows) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["patient"], set()).add(row["split"])
    return found


def test_films_of_marked_patients_are_left_out_and_groups_are_patients():
    data = [
        film_row("covid/a.png", group_id="g1", patient_id="p1", has_lung_mask="1"),
        film_row("covid/b.png"),
        film_row("normal/c.png", group_id="", patient_id="p2", split="val"),
    ]
    rows = tables.covid_rows(data, {"covid/b.png"})
    assert [row["filename"] for row in rows] == ["data/covid/a.png", "data/normal/c.png"]
    assert [row["patient"] for row in rows] == ["g1", "p2"]
    assert [row["lung_mask"] for row in rows] == ["data/lung_masks/covid/a.png", ""]
    assert [row["split"] for row in rows] == ["train", "val"]


def test_patients_with_boxes_are_tested_with_all_their_films():
    rows = [annotation(p, 0, rsna_boxes=BOX) for p in PATIENTS[:20]]
    rows += [annotation(p, 1, nih_boxes=BOX) for p in PATIENTS[20:40]]
    rows += [annotation(p, 2) for p in PATIENTS[:40]] + [negative(p) for p in PATIENTS[:40]]
    assert all(found == {"test"} for found in splits_of(tables.nih_rows(rows)).values())


@pytest.mark.parametrize(
    ("make", "tested"),
    [
        (lambda p: [annotation(p, 0, truth="withheld"), negative(p)], (0.35, 0.65)),
        (lambda p: [annotation(p, 0), annotation(p, 1)], (0.0, 0.0)),
        (lambda p: [negative(p), negative(p, 8)], (0.1, 0.3)),
    ],
    ids=["withheld", "given without a box", "negative"],
)
def test_others_are_split_by_patient(make, tested):
    rows = tables.nih_rows([row for patient in PATIENTS for row in make(patient)])
    assert len(rows) == 2 * len(PATIENTS)
    found = splits_of(rows)
    assert all(len(splits) == 1 for splits in found.values())
    share = lambda split: sum(splits == {split} for splits in found.values()) / len(found)
    assert tested[0] <= share("test") <= tested[1] and 0.03 < share("val") < 0.25


def test_films_that_are_not_at_hand_are_in_no_table():
    rows = tables.nih_rows([annotation("00000001", 0, filename="", shared_film="")])
    assert rows == []


@pytest.fixture
def root(tmp_path):
    """Twenty films of each label and set, one of them of a marked patient, and both tables."""
    data, rows = tmp_path / "films" / "data", []
    for number, patient in enumerate(PATIENTS[:20]):
        split = ("train", "val", "test")[min(number // 8, 2)]
        for name in (f"covid/{number}.png", f"normal/nih_{patient}_009.png"):
            save(data / name, picture(number + 50 * (name[0] == "n"), 64, 64))
            rows.append(film_row(name, split=split))
    mask = picture(0, 64, 64) > 100
    save(data / "lung_masks" / "covid" / "0.png", mask.astype("uint8") * 255)
    rows[0]["has_lung_mask"] = "1"
    write_table(data / "metadata.csv", rows)
    truth = tmp_path / "films" / "truth"
    boxed = [annotation(p, 0, rsna_boxes=BOX if p < PATIENTS[6] else "[]") for p in PATIENTS[:20]]
    for number, row in enumerate(boxed):
        save(truth / "nih" / row["filename"], picture(200 + number, 64, 64))
    both = boxed + [negative(patient) for patient in PATIENTS[:20]]
    write_table(truth / "nih" / "annotations.csv", both)
    (truth / "exclude_from_training.txt").write_text("covid/1.png\n")
    return tmp_path


def test_the_configs_read_the_films_in_place(root):
    out = root / "tables"
    tables.main([f"--root={root / 'films'}", f"--out={out}"])
    for config, table, expected in (
        (covid.get_config("cpu128"), "covid.csv", {"train": 15, "validation": 16, "test": 8}),
        (nih.get_config(), "nih.csv", None),
    ):
        config.data.update(dict(dir=str(root / "films"), cache_dir=str(root / "cache")))
        config.data.image_size = 32
        config.data.manifest.tables = (str(out / table),)
        splits, _ = load_splits(config.data, config.seed)
        found = {split: len(arrays["label"]) for split, arrays in splits.items()}
        with (out / table).open() as file:
            assert sum(found.values()) == len(list(csv.DictReader(file)))
        if expected:
            assert found == expected
            assert sum(arrays["label"].sum() for arrays in splits.values()) == 19
        else:
            assert sum(arrays["label"].sum() for arrays in splits.values()) == 20
            patients = {name.decode() for name in splits["test"]["patient_id"]}
            assert set(PATIENTS[:6]) <= patients
            assert not patients & {name.decode() for name in splits["train"]["patient_id"]}


def test_one_set_is_enough_and_what_is_missing_is_named(root, capsys):
    films, out = root / "films", root / "tables"

    def make() -> None:
        tables.main([f"--root={films}", f"--out={out}"])

    def refusal() -> str:
        with pytest.raises(SystemExit) as raised:
            make()
        assert raised.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    annotations = films / "truth" / "nih" / "annotations.csv"
    annotations.write_text(annotations.read_text().replace("shared_film", "another", 1))
    assert "annotations.csv has no column 'shared_film'" in refusal()
    shutil.rmtree(annotations.parent)
    make()
    assert [path.name for path in out.iterdir()] == ["covid.csv"]
    (films / "data" / "metadata.csv").unlink()
    assert "metadata.csv is missing" in refusal()


@pytest.mark.parametrize("module", [covid, nih])
@pytest.mark.parametrize("variant", ["", "cpu"])
def test_real_films_are_explained_by_the_method_that_was_validated_on_phantoms(module, variant):
    real, validated = module.get_config(variant), phantom.get_config()
    assert real.gan.weights == validated.gan.weights
    assert real.gan.z_class_channels == validated.gan.z_class_channels
    assert real.explain.inversion == validated.explain.inversion
    assert real.explain.necessary == validated.explain.necessary
