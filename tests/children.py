"""What child processes of tests do: they begin at once, since nothing heavy is imported here."""

import mmap
import os
import signal
import threading
import time

from vggrepro import UserError
from vggrepro.files import file_lock

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


def stay(folder, name):
    """Say that it has begun, and at the end, which it comes to when it is told to end."""
    try:
        (folder / f"{name}.begun").touch()
        threading.Event().wait(60)
    finally:
        (folder / f"{name}.ended").touch()


def refuse(name):
    raise UserError(f"{name} is refused")


def be_killed(name):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(photos, device, precision, threads, images):
    raise SystemExit(3)


def hold(folder):
    """Hold a lock until the process ends, and say so in a file beside it."""
    with file_lock(folder / f"{os.getpid()}.lock"):
        print("what a helper prints is not needed", flush=True)
        (folder / f"{os.getpid()}.held").touch()
        threading.Event().wait()
