"""Batches made ahead by threads while the device computes, and how many are done.

Threads are enough: PIL and JPEG decoding release the interpreter's lock, and nothing has to be
sent between processes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

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


@contextmanager
def counted(progress: bool | Callable, total: int, unit: str) -> Iterator[Callable]:
    """What to tell how many were done: `progress` itself if it can be called, or a bar, or nothing.

    The bar takes the last argument, so that what counts in kinds can say the kind first.
    """
    if callable(progress):
        yield progress
        return
    with tqdm(total=total, unit=unit, leave=False, disable=not progress) as bar:
        yield lambda *told: bar.update(told[-1])
