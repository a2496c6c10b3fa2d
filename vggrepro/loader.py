"""Batches made ahead by threads, while the device computes.

Threads are enough: PIL and JPEG decoding release the interpreter's lock, and nothing has to be
sent between processes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Batch = TypeVar("Batch")


def ahead(
    make: Callable[[Item], Batch], items: Iterable[Item], *, workers: int = 1, depth: int = 3
) -> Iterator[Batch]:
    """`make(item)` for each item, in order, up to `workers + depth` of them made in advance.

    An error in `make` is raised where its batch would have come. Nothing is left running when
    the consumer stops early.
    """
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(make, item) for item in islice(items, workers + depth))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(make, item) for item in islice(items, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
