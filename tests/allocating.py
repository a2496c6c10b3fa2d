"""A process that takes a known amount of memory, for the test of how memory is measured."""

import mmap
import time

MIB = 2**20


def allocate(photos, device, precision, threads, images):
    """`images` MiB of anonymous memory, and as much of a memory-mapped file, read.

    It is held until `photos.cache_dir / "seen"` says that it has been seen.
    """
    file, size = photos.cache_dir / "mapped.bin", images * MIB
    with open(file, "wb") as opened:
        opened.truncate(size)
    with open(file, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        taken = bytearray(size)
        for page in range(0, size, mmap.PAGESIZE):  # memory is only taken when it is touched
            taken[page] = 1 + mapped[page]
        (photos.cache_dir / "taken").touch()
        while not (photos.cache_dir / "seen").exists():
            time.sleep(0.01)


def fail(photos, device, precision, threads, images):
    raise SystemExit(3)
