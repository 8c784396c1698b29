"""From which side a DICOM film shows the patient, and how it lies on the screen.

View: ViewPosition, else ViewCodeSequence, else PatientOrientation, of which a frontal film's runs
between left and right. Side: rows of a film as it is looked at run towards the patient's left
(`L`), columns towards the feet (`F`); FieldOfViewHorizontalFlip is no matter, since it tells how
the pixels came to lie as PatientOrientation has them.
"""

import re
from collections.abc import Sequence

import numpy as np

Turn = tuple[bool, bool, bool]  # exchange rows and columns, mirror, turn upside down

FRONTAL, OTHER, UNKNOWN = "frontal", "other", "unknown"  # views
# Words of ViewPosition; lateral, oblique and decubitus are no frontal views.
_FRONTAL_WORDS = {"AP", "PA", "FRONTAL", "FRONT"}
_OTHER_WORDS = {
    *("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LATL", "LATR", "PROFILE", "LLD", "RLD"),
    *("RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE", "DECUB", "DECUBITUS"),
}
# Codes of CID 4010 in SNOMED CT, and as SNOMED RT before.
_FRONTAL_CODES = {
    *("399348003", "R-10206", "272479007", "R-40888", "R-10214", "399033003", "R-10202"),
}
_OTHER_CODES = {
    *("399173006", "R-10236", "399198007", "R-10232", "399067008", "R-102CD", "30730003", "G-A145"),
    *("399182000", "R-102C1", "399184004", "R-10238", "399236003", "R-10234", "399135007"),
    *("R-10220", "399356000", "R-40985", "399006002", "R-10212", "399038007", "R-10210"),
    *("399160007", "R-10204", "399312000", "R-10208", "399059000", "R-10216"),
}
_ACROSS, _ALONG = {"L", "R"}, {"F", "H"}  # of a frontal film's two directions


def name_view(position: str, codes: Sequence[str], orientation: Sequence[str]) -> str:
    """FRONTAL, OTHER or UNKNOWN.

    Args:
      position: ViewPosition.
      codes: the code of each item of ViewCodeSequence.
      orientation: PatientOrientation, of rows and columns.
    """
    words = set(re.split(r"[^A-Z]+", position.upper()))
    if words & _OTHER_WORDS:
        return OTHER
    if words & _FRONTAL_WORDS:
        return FRONTAL
    if set(codes) & _OTHER_CODES:
        return OTHER
    if set(codes) & _FRONTAL_CODES:
        return FRONTAL
    directions = {each[:1] for each in orientation}
    if directions & {"A", "P"} and directions & _ALONG:
        return OTHER
    return UNKNOWN


def find_turn(orientation: Sequence[str]) -> Turn | None:
    """How a film is brought upright: (exchange rows and columns, mirror, turn upside down).

    None where it is not told, or no frontal film's. Of a direction the first letter counts, which
    is the nearest axis.
    """
    directions = [each[:1] for each in orientation]
    if len(directions) != 2:
        return None
    exchange = directions[0] in _ALONG
    row, column = directions[::-1] if exchange else directions
    if row not in _ACROSS or column not in _ALONG:
        return None
    return exchange, row == "R", column == "H"


def turn_back(pixels: np.ndarray, turn: Turn) -> np.ndarray:
    """Pixels of an upright film as it is stored: what `turn_upright` does, undone."""
    exchange, mirror, upside_down = turn
    pixels = pixels[::-1] if upside_down else pixels
    pixels = pixels[:, ::-1] if mirror else pixels
    return np.ascontiguousarray(pixels.T if exchange else pixels)


def turn_upright(pixels: np.ndarray, turn: Turn) -> np.ndarray:
    """Pixels [height, width], upright; see `find_turn`."""
    exchange, mirror, upside_down = turn
    pixels = pixels.T if exchange else pixels
    pixels = pixels[:, ::-1] if mirror else pixels
    return np.ascontiguousarray(pixels[::-1] if upside_down else pixels)
