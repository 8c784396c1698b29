"""Files read by several threads; decoders and resizing let others run meanwhile."""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cxr_jax.cores import count_cores
from cxr_jax.errors import InputError
from cxr_jax.progress import told

MOST = 8  # threads: each holds a film and several copies of it

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_each(
    read: Callable[[Item], Result], items: Sequence[Item], what: str = ""
) -> Iterator[tuple[Item, Result | InputError]]:
    """Every item with what was read of it, or with the InputError that it raised, in order.

    Any other error ends the reading: the first one in the items' order, however fast others are.

    Args:
      what: is read, for a line about how far it is; "" for none.
    """

    def attempt(item: Item) -> Result | InputError:
        try:
            return read(item)
        except InputError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(min(MOST, count_cores())) as pool:
        found = pool.map(attempt, items)
        for number in told(what, len(items)):
            yield items[number], next(found)
