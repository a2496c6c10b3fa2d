"""Posteriors of a trained net, kept beside its weights so that no protocol is run twice.

Several Q, combinations and fusions are means of the same arrays. What is kept is float32, and
so is what a protocol gives, so a record is the same whether it was made from the one or the
other. Nothing here is part of a record: what is stale, damaged or gone is computed again.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from vggrepro.evaluators import Tested
from vggrepro.files import write_atomically


def path_of(folder: Path, protocol: str, test_scale: int) -> Path:
    """Where a run's posteriors under a protocol at one Q are kept."""
    return folder / "posteriors" / f"{protocol}-{test_scale}.npz"


def save(path: Path, key: list[str | int], tested: Tested) -> None:
    """Write what a protocol gave.

    `key` names all that it depends on: weights, images, machine, processes. Raises
    `UserError` on a full disk.
    """
    buffer = io.BytesIO()
    about = {"key": key, "positions": tested.positions, "seconds": tested.seconds}
    np.savez(buffer, posteriors=tested.posteriors, about=np.array(json.dumps(about)))
    write_atomically(path, buffer.getbuffer())


def load(path: Path, key: list[str | int]) -> Tested | None:
    """What a protocol gave, or None if there is nothing that can be read and has that key."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if about["key"] != key:
                return None
            return Tested(kept["posteriors"], about["positions"], about["seconds"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
