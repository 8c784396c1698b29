"""Column maps of public sets: data alone. Nothing is downloaded; films are had from publishers.

Columns and values were checked against the public sources named at each preset; the sets themselves
were not at hand. Every field may be overridden (`data.manifest`), and must be where a copy of the
set has other names. Licences are summed up in a few words and not checked again: the publisher's
own text decides.
"""

import dataclasses
from collections.abc import Mapping

from cxr_jax.datasets.cxr_manifest.column_map import FILES, FINDING


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A public set.

    Attributes:
      title: its name.
      url: where to get it.
      licence: in a few words.
      citation: what to cite.
      fields: of `ColumnMap`.
    """

    title: str
    url: str
    licence: str
    citation: str
    fields: Mapping[str, object]


# Columns: mlmed/torchxrayvision (datasets.py, NIH_Dataset). The headers
# `OriginalImage[Width,Height]` and `OriginalImagePixelSpacing[x,y]` hold commas; where they are
# quoted, rows have more cells than the header, but all columns read here stand before them.
NIH = Preset(
    title="NIH ChestX-ray14",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    licence="free use; name the NIH Clinical Center and the publication",
    citation="Wang et al., CVPR 2017, doi:10.1109/CVPR.2017.369",
    fields=dict(
        tables=("Data_Entry_2017.csv",),
        extra_cells="ignore",
        path="Image Index",
        patient="Patient ID",
        label="Finding Labels",
        label_kind="list",
        label_separator="|",
        negative=("No Finding",),
        view="View Position",
        views=("PA", "AP"),
        train_list="train_val_list.txt",
        test_list="test_list.txt",
    ),
)

# Columns and the patient in the path: mlmed/torchxrayvision (CheX_Dataset). The published
# validation films, read by radiologists, are the test films here.
CHEXPERT = Preset(
    title="CheXpert",
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    licence="Stanford University Dataset Research Use Agreement: research only, no passing on",
    citation="Irvin et al., AAAI 2019, arXiv:1901.07031",
    fields=dict(
        tables=("train.csv", "valid.csv"),
        table_splits=("train", "test"),
        path="Path",
        patient="Path",
        patient_pattern=r"(patient\d+)",
        label=FINDING,
        positive=("1",),
        negative=("0",),
        uncertain=("-1",),
        view="Frontal/Lateral",
        views=("Frontal",),
    ),
)

# Columns, and rows for each box: mlmed/torchxrayvision (RSNA_Pneumonia_Dataset). A `patientId` is
# one film; which of them are of one NIH patient the table does not say.
RSNA = Preset(
    title="RSNA Pneumonia Detection Challenge",
    url="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    licence="the challenge's rules: academic and other non-commercial use; the films are the NIH's",
    citation="Shih et al., Radiology: Artificial Intelligence 2019, doi:10.1148/ryai.2019180041",
    fields=dict(
        tables=("stage_2_train_labels.csv",),
        path="patientId",
        patient="patientId",
        label="Target",
        positive=("1",),
        negative=("0",),
    ),
)

# Folders: public programs that read CLASS/images and CLASS/masks beside CLASS.metadata.xlsx. The
# sheets name no more than the folders do, so the files themselves are the table. No patients.
COVID19_RADIOGRAPHY = Preset(
    title="COVID-19 Radiography Database",
    url="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    licence="of the films' own sources; see the set's README",
    citation=(
        "Chowdhury et al., IEEE Access 2020, doi:10.1109/ACCESS.2020.3010287, and Rahman et al., "
        "Computers in Biology and Medicine 2021, doi:10.1016/j.compbiomed.2021.104319"
    ),
    fields=dict(
        tables=(FILES,),
        row_pattern=r"(?:.*/)?(?P<class>[^/]+)/images/(?P<file>[^/]+)",
        path="{class}/images/{file}",
        mask="{class}/masks/{file}",
        label="class",
        negative=("Normal",),
    ),
)

# Lines: lindawangg/COVID-Net (labels/*.txt): patient, file, label and, in COVIDx4, source; of
# COVIDx7 `COVID 1 COVID(1).png COVID-19 sirm` is one, so a patient ends where a file's name begins.
COVIDX = Preset(
    title="COVIDx CXR",
    url="https://github.com/lindawangg/COVID-Net/blob/master/docs/COVIDx.md",
    licence="of the films' own sources; the lists are in a repository under AGPL-3.0",
    citation="Wang, Lin and Wong, Scientific Reports 2020, doi:10.1038/s41598-020-76550-z",
    fields=dict(
        tables=("train.txt", "test.txt"),
        table_splits=("train", "test"),
        header="no",
        row_pattern=(
            r"(?P<patient>.+?)\s+(?P<file>\S+\.(?i:png|jpe?g))\s+(?P<label>\S+)"
            r"(?:\s+(?P<source>\S+))?"
        ),
        path="{table_split}/{file}",
        patient="patient",
        source="source",
        label="label",
        negative=("negative", "normal"),
    ),
)

# Columns and values: ieee8023/covid-chestxray-dataset (README.md, SCHEMA.md) and
# mlmed/torchxrayvision (COVID19_Dataset); masks, of some films: annotations/lungVAE-masks there.
COVID_CHESTXRAY = Preset(
    title="COVID-19 Image Data Collection",
    url="https://github.com/ieee8023/covid-chestxray-dataset",
    licence="of each film its own, in column `license`",
    citation="Cohen et al., arXiv:2006.11988; of the masks Selvan et al., arXiv:2005.10052",
    fields=dict(
        tables=("metadata.csv",),
        path="{folder}/{filename}",
        mask="annotations/lungVAE-masks/{stem}_mask.png",
        patient="patientid",
        label="finding",
        label_kind="list",
        label_separator="/",
        negative=("No Finding",),
        keep="modality",
        keep_values=("X-ray",),
        view="view",
        views=("PA", "AP", "AP Supine"),
    ),
)

# Columns: public programs that read metadata_global_v2.csv; `Subject` was seen in one that reads
# the first version, whose delimiter is a comma, and is taken to be in the second. Which score is
# positive nobody says: `positive` and `negative` must be set. Films of the consensus (column
# `ConsensusTestset`) may share patients with others, so films are split by patient unless that
# column is asked for.
BRIXIA = Preset(
    title="BrixIA COVID-19",
    url="https://brixia.github.io/",
    licence="CC BY-NC-SA 4.0 (scores); the films by registration at the project's page",
    citation="Signoroni et al., Medical Image Analysis 2021, doi:10.1016/j.media.2021.102046",
    fields=dict(
        tables=("metadata_global_v2.csv",),
        delimiter=";",
        path="Filename",
        patient="Subject",
        label="BrixiaScoreGlobal",
        positive=("-",),  # to be set
        negative=("-",),
        split_train=("0",),
        split_test=("1",),
    ),
)

# Columns and values: mlmed/torchxrayvision (PC_Dataset) and public programs. Films of 16 bits come
# from two manufacturers, hence the source.
PADCHEST = Preset(
    title="PadChest",
    url="https://bimcv.cipf.es/bimcv-projects/padchest/",
    licence="PadChest Dataset Research Use Agreement: research only",
    citation="Bustos et al., Medical Image Analysis 2020, doi:10.1016/j.media.2020.101797",
    fields=dict(
        tables=("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",),
        path="ImageID",
        patient="PatientID",
        source="Manufacturer_DICOM",
        label="Labels",
        label_kind="python list",
        negative=("normal",),
        view="Projection",
        views=("PA", "AP", "AP_horizontal"),
    ),
)

# Columns: public programs that read the train.csv of the VinBigData challenge, with one row for
# each reader and box, or for a reader's "No finding". No patients.
VINDR = Preset(
    title="VinDr-CXR",
    url="https://www.kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection",
    licence="by agreement: research and education only, no passing on",
    citation="Nguyen et al., Scientific Data 2022, doi:10.1038/s41597-022-01498-w",
    fields=dict(
        tables=("train.csv",),
        path="image_id",
        label="class_name",
        negative=("No finding",),
        rows="any",
        reader="rad_id",
        min_readers=2,
    ),
)

PRESETS = {
    "nih": NIH,
    "chexpert": CHEXPERT,
    "rsna": RSNA,
    "covid19_radiography": COVID19_RADIOGRAPHY,
    "covidx": COVIDX,
    "covid_chestxray": COVID_CHESTXRAY,
    "brixia": BRIXIA,
    "padchest": PADCHEST,
    "vindr": VINDR,
}
