"""Warnings of the libraries that read films, while threads read.

pydicom's quote what stands in a header, so none of them may be shown or logged. Pillow's of a
picture too large becomes an error. Python's own `warnings.catch_warnings` is not made for threads:
whoever leaves last would bring back the filters of whoever came second.
"""

import logging
import threading
import warnings

from PIL import Image

_LOGGER = logging.getLogger("pydicom")  # it logs all that it warns of
_SILENT = logging.CRITICAL + 1


class _Guard:
    """A context that threads may share: the first sets the filters, the last takes them back."""

    def __init__(self):
        self._lock, self._inside = threading.Lock(), 0
        self._caught, self._level = None, logging.NOTSET

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                for module in (r"pydicom(\.|$)", r"cxr_jax\.datasets\.cxr_folder\.dicom"):
                    warnings.filterwarnings("ignore", module=module)
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                self._level = _LOGGER.level
                _LOGGER.setLevel(_SILENT)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _LOGGER.setLevel(self._level)
                self._caught.__exit__(*raised)


guard = _Guard()
