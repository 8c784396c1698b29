"""Warnings of the libraries that read films, while threads read.

pydicom's quote what stands in a header, so none of them may be shown. Pillow's of a picture too
large becomes an error. Python's own `warnings.catch_warnings` is not made for threads: whoever
leaves last would bring back the filters of whoever came second.
"""

import threading
import warnings

from PIL import Image


class _Guard:
    """A context that threads may share: the first sets the filters, the last takes them back."""

    def __init__(self):
        self._lock, self._inside, self._caught = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                for module in (r"pydicom(\.|$)", r"cxr_jax\.datasets\.cxr_folder\.dicom"):
                    warnings.filterwarnings("ignore", module=module)
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(*raised)


guard = _Guard()
