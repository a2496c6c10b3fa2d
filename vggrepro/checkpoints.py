"""Checkpoints: weights and the state of an unfinished training, on disk and back.

Written atomically, read with `weights_only`, and never part of a record: the record keeps the
digest of the weights, so that a checkpoint can be checked against it. The state of a training has
no record, so its file begins with a digest of the rest.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vggrepro import UserError
from vggrepro.files import open_regular, write_atomically

DIGEST = 32
"""Bytes of SHA-256 that a training's state begins with."""


class DamagedError(UserError):
    """A file that is not what was written: nothing in it can be used."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path} is not a readable checkpoint (truncated or damaged: {reason}): delete it and "
            "start the same command again; the training then begins anew"
        )


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and tensor bytes: the same weights have the same digest anywhere."""
    sha = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict, on the CPU and in the default memory format."""
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer())


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in `path`, on the CPU.

    Raises `UserError` if the file is missing, truncated or holds no weights.
    """
    try:
        with open_regular(path) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise ValueError("no weights")
        return state
    except FileNotFoundError as error:
        raise UserError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
        raise DamagedError(path, _short(error)) from error


def save(path: Path, address: str, parts: Mapping[str, Any], done: dict[str, Any]) -> None:
    """Write how far a training has come.

    `parts` have a `state_dict`; `done` holds plain values. Raises `UserError` on a full disk,
    and what was there before stays.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    buffer = io.BytesIO(bytes(DIGEST))
    buffer.seek(DIGEST)
    torch.save({"address": address, "parts": states, "done": done}, buffer)
    content = buffer.getbuffer()
    content[:DIGEST] = hashlib.sha256(content[DIGEST:]).digest()
    write_atomically(path, content)


def resume(path: Path, address: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Load the states back into `parts` and return the plain values.

    Raises `UserError` for a file of another training than `address`, and `DamagedError` for one
    that is not as it was written: `parts` then stay as they were.
    """
    try:
        with open_regular(path) as file:
            whole = memoryview(file.read())
    except OSError as error:  # it may be whole, and be read another time
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if hashlib.sha256(whole[DIGEST:]).digest() != whole[:DIGEST]:
            raise ValueError("its digest does not fit")
        stored = torch.load(io.BytesIO(whole[DIGEST:]), map_location="cpu", weights_only=True)
        found, states, done = stored["address"], stored["parts"], stored["done"]
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedError(path, _short(error)) from error
    if found != address:
        raise UserError(
            f"{path} was left by another training (recipe, data, start, precision, threads, "
            "processor or PyTorch differ): go on as it was begun, from a net built and initialised "
            "anew, or without it (--fresh, or delete it)"
        )
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return done


def _short(error: Exception) -> str:
    """The first line of an error: torch's go on for many."""
    return (str(error).splitlines() or [type(error).__name__])[0]
