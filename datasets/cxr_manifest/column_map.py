"""What the columns of a table of films mean: one explicit field for each question.

A *template* is a column's name, or text with columns in braces: `images/{Image Index}`. `{finding}`
stands for the positive class wherever a label or its column is named. *Words* say which values of a
cell are meant, see `words`.
"""

import dataclasses
import re
from collections.abc import Mapping

FINDING = "{finding}"
NEGATIVE = "negative"  # the class of all films without the finding
STEM = "stem"  # in the mask's template: the film's own name without its ending
TABLE_SPLIT = "table_split"  # in templates: the split of the table that the row stands in
DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t", "space": " "}
ENCODINGS = ("utf-8", "latin-1", "utf-16")
FILES = "{files}"  # in place of a table: the lines are the names of the root's own files
HEADER = ("yes", "no")
EXTRA_CELLS = ("refuse", "ignore")
LABEL_KINDS = ("value", "list", "python list")
UNCERTAIN = ("leave out", "positive", "negative")
ROWS = ("agree", "any")
_PART = re.compile(r"\{([^{}]*)\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """How a table is read. Empty fields are not used; configs/base.py has the same fields.

    Attributes:
      tables: files of the root, one after the other; or `{files}`, the names of its own files.
      table_splits: the split of each of them.
      delimiter, encoding, header: of the tables; a `.gz` is unpacked.
      columns: their names, where there is no header or a wrong one.
      row_pattern: regular expression of a whole line, whose named groups are the columns.
      extra_cells: what is done with cells beyond the header.
      path: template of the film's file; folders before it and its ending may be missing.
      mask: template of its lung mask's file.
      patient: template; patient_pattern: expression with one group that cuts the patient out of it.
      source: template; deep films of one source have one scale.
      label: template of the label's cell.
      label_kind: what a cell holds: one value, a list joined by `label_separator`, or a list as
        Python writes it.
      label_width: cells are filled with zeros on the left to so many characters.
      label_pattern: expression with one group that cuts the value out of the cell.
      positive, negative, uncertain: words.
      negative_label: template of another cell, which says what is negative.
      uncertain_as: what a film of an uncertain label is.
      rows: several rows of a film must agree, or any positive one makes it positive.
      reader: column of who read the film; each reader's rows are taken together.
      min_readers: who must find a positive; where fewer do, it is left out.
      view, keep: columns; views, keep_values: words for the films that are kept.
      split: column; split_train, split_validation, split_test: words.
      train_list, validation_list, test_list: files with one film's name a line.
    """

    tables: tuple[str, ...] = ()
    table_splits: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = "utf-8"
    header: str = "yes"
    columns: tuple[str, ...] = ()
    row_pattern: str = ""
    extra_cells: str = "refuse"
    path: str = ""
    mask: str = ""
    patient: str = ""
    patient_pattern: str = ""
    source: str = ""
    label: str = ""
    label_kind: str = "value"
    label_separator: str = ""
    label_width: int = 0
    label_pattern: str = ""
    positive: tuple[str, ...] = (FINDING,)
    negative: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    uncertain_as: str = "leave out"
    negative_label: str = ""
    rows: str = "agree"
    reader: str = ""
    min_readers: int = 1
    view: str = ""
    views: tuple[str, ...] = ()
    keep: str = ""
    keep_values: tuple[str, ...] = ()
    split: str = ""
    split_train: tuple[str, ...] = ("train", "training")
    split_validation: tuple[str, ...] = ("val", "valid", "validation")
    split_test: tuple[str, ...] = ("test", "testing")
    train_list: str = ""
    validation_list: str = ""
    test_list: str = ""

    @property
    def split_words(self) -> dict[str, tuple[str, ...]]:
        """{split: the words for it in column `split`}."""
        return {
            "train": self.split_train,
            "validation": self.split_validation,
            "test": self.split_test,
        }

    @property
    def split_lists(self) -> dict[str, str]:
        """{split: the file that lists its films}, of those that are given."""
        lists = {
            "train": self.train_list,
            "validation": self.validation_list,
            "test": self.test_list,
        }
        return {split: name for split, name in lists.items() if name}

    @property
    def templates(self) -> dict[str, str]:
        """{field: template} of all that is read of a row."""
        names = ("path", "mask", "patient", "source", "label", "negative_label")
        names += ("reader", "view", "keep", "split")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def is_template(text: str) -> bool:
    """Whether every brace in it has its partner."""
    return not set("{}") & set(_PART.sub("", text))


def columns_of(template: str) -> list[str]:
    """The columns that a template names."""
    return _PART.findall(template) if "{" in template else [template] * bool(template)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with the row's values in place of its columns."""
    if "{" not in template:
        return values[template]
    return _PART.sub(lambda part: values[part[1]], template)
