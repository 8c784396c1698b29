#!/usr/bin/env bash
# A TFDS builder that was made before its data were there never learns what is in them.
#
# Where several trainings start at once, each makes its builder, and one prepares the data while the
# others wait. A builder reads what lies in its folder when it is made. `download_and_prepare` of one
# that was made earlier finds the data, says that it reuses them, and returns; but the builder's
# `info` stays that of an empty folder: it has no splits, and none of the metadata that the other
# builder has written beside the records, and reading fails with a KeyError. A builder that is made
# anew, of the same class, folder and config, has both.
#
# Seen on 2026-11-30 with tensorflow-datasets 4.9.10, array_record 0.8.6, numpy 2.4.6 (Python 3.11).
#
# Fails if this changes. Run: bash findings/tfds_builder_of_data_that_another_prepared.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/late.py" <<'PYTHON'
import sys

import numpy as np
import tensorflow_datasets as tfds


class Films(tfds.core.GeneratorBasedBuilder):
    """Four films of a few pixels."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"label": tfds.features.Scalar(np.int64)}),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        self.info.metadata["hospital"] = "A"
        return {"train": iter([(number, {"label": number}) for number in range(4)])}

    def _generate_examples(self):
        raise NotImplementedError


def make():
    return Films(data_dir=sys.argv[1], file_format="array_record")


def read(builder) -> str:
    try:
        return f"{len(builder.as_data_source(split='train'))} films"
    except Exception as error:
        return type(error).__name__


late, early = make(), make()
early.download_and_prepare()
late.download_and_prepare()
anew = make()
for name, builder in {"wrote": early, "made before": late, "made anew": anew}.items():
    metadata = dict(builder.info.metadata or {})
    print(f"{name}: splits {list(builder.info.splits)}, metadata {metadata}, {read(builder)}")
PYTHON
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet tensorflow-datasets==4.9.10 array_record==0.8.6 \
  numpy==2.4.6 importlib_resources==7.1.0 protobuf==7.36.2 etils==1.15.0
seen=$("$folder/venv/bin/python" "$folder/late.py" "$folder/data" 2>/dev/null | grep splits)
echo "$seen"
expected="wrote: splits ['train'], metadata {'hospital': 'A'}, 4 films
made before: splits [], metadata {}, KeyError
made anew: splits ['train'], metadata {'hospital': 'A'}, 4 films"
[ "$seen" = "$expected" ] || { echo "this has changed" >&2; exit 1; }
