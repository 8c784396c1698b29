"""Small made folders of the structure of public sets, traps included; no film is real.

Films are PNG wherever the set has DICOM: the tables are what is tested here.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from dicom_films import write_dicom
from film_folders import picture, save


def write_table(
    path: Path,
    header: str | Sequence[str],
    rows: Iterable[Sequence],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> Path:
    """A table whose header is written as it is, if it is text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        if isinstance(header, str):
            file.write(header + "\r\n")
        else:
            writer.writerow(header)
        writer.writerows(rows)
    return path


def save_films(root: Path, names: Iterable[str], side: int = 32) -> None:
    for seed, name in enumerate(names):
        save(root / name, picture(seed, side, side))


def lung_mask(side: int) -> np.ndarray:
    """Two lungs, together a quarter of the picture."""
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side * 3 // 4, side // 8 : side * 3 // 8] = 255
    mask[side // 4 : side * 3 // 4, side * 5 // 8 : side * 7 // 8] = 255
    return mask


def make_nih(root: Path) -> Path:
    """Numbered folders, a header broken at its commas, lists of films for the splits."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    found = [  # film, labels, view; the patient is the first half of the name
        ("00000001_000", "Pneumonia", "PA"),
        ("00000001_001", "Effusion|Pneumonia", "AP"),
        ("00000002_000", "No Finding", "PA"),
        ("00000003_000", "Infiltration|Pneumonia|Mass", "PA"),
        ("00000004_000", "No Finding", "AP"),
        ("00000005_000", "Pneumonia", "PA"),  # test
        ("00000006_000", "No Finding", "PA"),  # test
        ("00000007_000", "Pneumothorax", "PA"),  # neither
        ("00000008_000", "No Finding", "PA"),  # in no list
        ("00000009_000", "Pneumonia", "LL"),  # no frontal view
    ]
    rows = [
        (f"{name}.png", labels, 0, int(name[:8]), "058Y", "M", view, 2682, 2749, 0.143, 0.143, "")
        for name, labels, view in found
    ]
    write_table(root / "Data_Entry_2017.csv", header, rows)
    for i, row in enumerate(rows):
        save(root / f"images_{i // 5 + 1:03d}" / "images" / row[0], picture(i))
    train = [row[0] for i, row in enumerate(rows) if i not in (5, 6, 8)]
    (root / "train_val_list.txt").write_text("\n".join(train) + "\n")
    (root / "test_list.txt").write_text("00000005_000.png\r\n00000006_000.png\r\n")
    return root


CHEXPERT_FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)


def make_chexpert(root: Path) -> Path:
    """All films are called view1_frontal.jpg; labels are 1.0, 0.0, -1.0 or blank."""
    header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS)

    def row(path: str, effusion: str, healthy: str = "") -> list[str]:
        frontal = "frontal" in path
        values = {"Pleural Effusion": effusion, "No Finding": healthy}
        cells = [values.get(name, "") for name in CHEXPERT_FINDINGS]
        view = ["Frontal", "AP"] if frontal else ["Lateral", ""]
        return [f"CheXpert-v1.0-small/{path}", "Female", "68", *view, *cells]

    train = [
        row("train/patient00001/study1/view1_frontal.jpg", "1.0"),
        row("train/patient00001/study2/view1_frontal.jpg", "0.0"),
        row("train/patient00002/study1/view1_frontal.jpg", "1.0"),
        row("train/patient00002/study1/view2_lateral.jpg", "1.0"),
        row("train/patient00003/study1/view1_frontal.jpg", "0.0"),
        row("train/patient00004/study1/view1_frontal.jpg", "0.0"),
        row("train/patient00005/study1/view1_frontal.jpg", "-1.0"),
        row("train/patient00006/study1/view1_frontal.jpg", "", "1.0"),
        row("train/patient00007/study1/view1_frontal.jpg", ""),
    ]
    valid = [
        row("valid/patient64541/study1/view1_frontal.jpg", "1.0"),
        row("valid/patient64542/study1/view1_frontal.jpg", "0.0"),
    ]
    folder = root / "CheXpert-v1.0-small"
    write_table(folder / "train.csv", header, train)
    write_table(folder / "valid.csv", header, valid)
    save_films(root, [cells[0] for cells in train + valid])
    return folder


def make_rsna(root: Path) -> Path:
    """One row for each box; DICOM films, whose names are in the table without an ending."""
    header = ("patientId", "x", "y", "width", "height", "Target")
    rows = []
    for i in range(3):
        rows.append((f"0004cfab-{i}", "", "", "", "", 0))
        rows += [(f"00436515-{i}", 264, 152, 213, 379, 1), (f"00436515-{i}", 562, 152, 256, 453, 1)]
    write_table(root / "stage_2_train_labels.csv", header, rows)
    classes = {0: "No Lung Opacity / Not Normal", 1: "Lung Opacity"}
    classes = [(row[0], "Normal" if row[0] == "0004cfab-0" else classes[row[5]]) for row in rows]
    write_table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"), classes)
    folder = root / "stage_2_train_images"
    for number, name in enumerate(sorted({row[0] for row in rows})):
        write_dicom(folder / f"{name}.dcm", picture(number), bits=8, ViewPosition="PA")
    write_dicom(root / "stage_2_test_images" / "0000a175-0.dcm", picture(99), bits=8)
    return root


def make_covid19_radiography(root: Path) -> Path:
    """Films of 299 and masks of 256 pixels in folders of each class, and sheets that are no CSV."""
    for c, name in enumerate(("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")):
        for i in range(1, 4):
            film = f"{name}-{i}.png"
            save(root / name / "images" / film, picture(10 * c + i, 299, 299))
            save(root / name / "masks" / film, lung_mask(256))
        (root / f"{name}.metadata.xlsx").write_bytes(b"PK\3\4")
    (root / "README.md.txt").write_text("made")
    return root


def make_covidx(root: Path, *, has_source: bool = True) -> Path:
    """Lines without a header, patients with spaces; three or four columns."""
    lines = {
        "train.txt": [
            "3 SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg pneumonia cohen",
            "COVID 1 COVID(1).png COVID-19 sirm",
            "COVID 12 COVID(12).png COVID-19 sirm",
            "ANON196 CR.1.2.840.113564.20200318082923328940.1003.png COVID-19 actmed",
            "ANON196 CR.1.2.840.113564.20200320011259312440.1003.JPG COVID-19 actmed",
            "003d8fa0-6bf1 003d8fa0-6bf1.png normal rsna",
            "009eb222-eabc 009eb222-eabc.png normal rsna",
            "01027bc3-dc40 01027bc3-dc40.png normal rsna",
        ],
        "test.txt": [
            "COVID 2 COVID(2).png COVID-19 sirm",
            "47c78742-4998 47c78742-4998.png normal rsna",
        ],
    }
    for name, of_split in lines.items():
        if not has_source:
            of_split = [line.rpartition(" ")[0] for line in of_split]
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(of_split) + "\n")
        files = [next(word for word in line.split() if "." in word) for line in of_split]
        save_films(root / name.removesuffix(".txt"), files)
    return root


def make_covid_chestxray(root: Path) -> Path:
    """A hierarchy of findings, CT rows, several views, masks of some films."""
    header = (
        "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,intubation_present,"
        "went_icu,in_icu,needed_supplemental_O2,extubated,temperature,pO2_saturation,"
        "leukocyte_count,neutrophil_count,lymphocyte_count,view,modality,date,location,folder,"
        "filename,doi,url,license,clinical_notes,other_notes,"
    ).split(",")
    covid = "Pneumonia/Viral/COVID-19"
    found = [  # patient, finding, view, modality, folder, filename
        ("2", covid, "PA", "X-ray", "images", "auntminnie-a.jpeg"),
        ("2", covid, "L", "X-ray", "images", "auntminnie-b.jpeg"),  # lateral
        ("4", covid, "AP Supine", "X-ray", "images", "nejmc2001573_f1a.jpeg"),
        ("5", covid, "AP", "X-ray", "images", "lancet-case2a.jpg"),
        ("7", "Pneumonia/Viral/SARS", "PA", "X-ray", "images", "SARS-1.jpeg"),  # neither
        ("8", covid, "Axial", "CT", "volumes", "coronacases.nii.gz"),  # no film, nor there
        ("9", "No Finding", "PA", "X-ray", "images", "normal-1.png"),
        ("10", "No Finding", "AP", "X-ray", "images", "normal-2.png"),
        ("11", "No Finding", "PA", "X-ray", "images", "normal-3.png"),
        ("12", "todo", "PA", "X-ray", "images", "todo.png"),  # neither
    ]
    names = ("patientid", "finding", "view", "modality", "folder", "filename")
    rows = [
        [dict(zip(names, each, strict=True)).get(name, "") for name in header] for each in found
    ]
    for cells in rows:
        cells[header.index("location")] = "Hospital, City, “quoted”"
    write_table(root / "metadata.csv", header, rows)
    save_films(root / "images", [each[5] for each in found if each[3] == "X-ray"])
    masks = root / "annotations" / "lungVAE-masks"
    for name in ("auntminnie-a", "normal-1"):
        save(masks / f"{name}_mask.png", lung_mask(32))
    return root


def make_brixia(root: Path) -> Path:
    """Semicolons, a byte order mark, DICOM names, scores of six zones without leading zeros."""
    header = ("Filename", "StudyId", "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset")
    header += ("Modality", "Subject")
    zones = ["000000", "001000", "333322", "111111", "200001", "222233", "000100", "323232"]
    rows = [
        (f"{1000 + i}.dcm", i, int(each), sum(map(int, each)), int(i in (6, 7)), "CR", f"S{i}")
        for i, each in enumerate(zones)
    ]
    write_table(root / "metadata_global_v2.csv", header, rows, delimiter=";", encoding="utf-8-sig")
    save_films(root / "dicom_clean", [f"{1000 + i}.png" for i in range(len(zones))])
    return root


def make_padchest(root: Path) -> Path:
    """Labels as Python writes lists, with stray spaces; films of 16 bits of two manufacturers."""
    header = ("", "ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "MethodProjection")
    header += ("Pediatric", "Manufacturer_DICOM", "Report", "Labels")
    found = [  # patient, projection, labels
        ("p1", "PA", "['cardiomegaly', 'pleural effusion']"),
        ("p1", "L", "['cardiomegaly']"),
        ("p2", "AP_horizontal", "['COPD signs', ' cardiomegaly ']"),
        ("p3", "AP", '["cardiomegaly", "Chilaiditi\'s sign"]'),
        ("p4", "PA", "['normal']"),
        ("p5", "PA", "[' normal']"),
        ("p6", "PA", "['normal ']"),
        ("p7", "PA", "['pseudocardiomegaly sign']"),  # neither
        ("p8", "PA", "nan"),
        ("p9", "COSTAL", "['normal']"),
        ("p10", "PA", "[]"),
        ("p11", "PA", "['normal', 'cardiomegaly']"),
    ]
    makers = ("ImagingDynamicsCompanyLtd", "PhilipsMedicalSystems")
    rows = [
        (
            i,
            f"2168_{i:02d}.png",
            i % 3,
            f"s{i}",
            patient,
            view,
            "Manual",
            "No",
            makers[i % 2],
            'con "comillas", y comas',
            labels,
        )
        for i, (patient, view, labels) in enumerate(found)
    ]
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    write_table(root / name, header, rows)
    for i, row in enumerate(rows):
        bits = 16 if i % 2 else 12  # as of two detectors
        save(root / str(row[2]) / row[1], picture(i).astype(np.uint16) << (bits - 8))
    return root


def make_vindr(root: Path) -> Path:
    """One row for each reader and box."""
    header = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")

    def rows(film: str, **readers: Sequence[str]) -> list[tuple]:
        return [
            (film, name, 0, reader, *(["", "", "", ""] if name == "No finding" else [1, 2, 3, 4]))
            for reader, names in readers.items()
            for name in names
        ]

    none = ["No finding"]
    table = [
        *rows("a0", R1=["Cardiomegaly"], R2=["Cardiomegaly", "Nodule/Mass"], R3=none),
        *rows("a1", R1=["Cardiomegaly", "Cardiomegaly"], R2=none, R3=none),  # one of three
        *rows("a2", R8=["Cardiomegaly"], R9=["Cardiomegaly"], R10=["Cardiomegaly"]),
        *rows("a3", R8=["Cardiomegaly"], R9=["Cardiomegaly"], R10=["Aortic enlargement"]),
        *rows("b0", R1=none, R2=none, R3=none),
        *rows("b1", R8=none, R9=none, R10=none),
        *rows("b2", R8=none, R9=none, R10=none),
        *rows("b3", R1=none, R2=["Nodule/Mass"], R3=none),  # neither for one of them
    ]
    write_table(root / "train.csv", header, table)
    save_films(root / "train", [f"{name}.png" for name in sorted({row[0] for row in table})])
    return root


MAKERS = {
    "nih": make_nih,
    "chexpert": make_chexpert,
    "rsna": make_rsna,
    "covid19_radiography": make_covid19_radiography,
    "covidx": make_covidx,
    "covid_chestxray": make_covid_chestxray,
    "brixia": make_brixia,
    "padchest": make_padchest,
    "vindr": make_vindr,
}
