"""Files that are there as a whole or not at all, locks, and how many cores there are.

Needs nothing but Python until a lock is asked for: the tools use it before anything is installed.
"""

import errno
import os
import secrets
import shutil
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vggrepro import UserError

if TYPE_CHECKING:
    from filelock import FileLock

WRITING = ".writing-"  # begins the name of a file that is not complete yet


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expanded(path: str | os.PathLike) -> Path:
    """The path with `~` replaced. Raises `UserError` where there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~nosuchuser
        raise UserError(f"{path} cannot be: {error}") from error


def open_regular(path: str | os.PathLike, *, links: bool = True) -> BinaryIO:
    """A regular file, opened for reading; with `links`, what a link leads to.

    Raises `OSError` for anything else: a pipe or a device may never end.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    flags |= 0 if links else getattr(os, "O_NOFOLLOW", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return file


def as_plain(number: Any) -> Any:
    """One of NumPy's numbers as Python's: the `default` of `json.dumps`."""
    if not hasattr(number, "item"):
        raise TypeError(f"{type(number).__name__} cannot be written as JSON")
    return number.item()


def beside(module: str) -> dict[str, Any]:
    """What is written down in the TOML file beside a module, which has its name."""
    return tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))


def make_writable(folder: Path) -> None:
    """Make the folder and see that a file can be made in it, before the work that is to end there.

    Raises `UserError` if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=WRITING):
            pass
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f"cannot write to {folder}: {reason}. Give permission or free some space, or choose "
            "another folder."
        ) from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new, never a part.

    Raises `UserError` if the disk is full or the folder cannot be written; what was there stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile, whose files no one else may read: here the umask says who may.
        temporary = path.with_name(f"{WRITING}{secrets.token_hex(8)}")
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. What was there before is as it was: free "
            "some space or choose another folder, and start the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # also when Ctrl-C came in between


def file_lock(path: Path, timeout: float = -1) -> "FileLock":
    """A lock that the system releases when its process dies; waits `timeout` seconds, -1: for ever.

    Taking it raises `OSError` on a file system without locks: filelock's own way out, a file that
    is there or not, would stay after a kill and block for ever.
    """
    from filelock import FileLock

    return FileLock(path, timeout=timeout, fallback_to_soft=False)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written below `folder`, which nobody else writes to.

    Who calls it holds the lock that all who write there hold.
    """
    for left in list(folder.rglob(f"{WRITING}*")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
