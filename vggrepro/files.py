"""Files that are there as a whole or not at all, and how many cores there are to make them."""

import os
import secrets
import tempfile
from pathlib import Path

from vggrepro import UserError


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_writable(folder: Path) -> None:
    """Make the folder and see that a file can be made in it, before the work that is to end there.

    Raises `UserError` if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-"):
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
        temporary = path.with_name(f".writing-{secrets.token_hex(8)}")
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
