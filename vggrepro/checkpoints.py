"""Checkpoints: weights and the state of an unfinished training, on disk and back.

Written atomically, read with `weights_only`, and never part of a record: the record keeps the
digest of the weights, so that a checkpoint can be checked against it.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vggrepro import UserError
from vggrepro.files import write_atomically


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
    _write(state, path)


def read(path: Path) -> dict[str, Any]:
    """What is in `path`, on the CPU: a state dict, or what `save` wrote.

    Raises `UserError` if the file is missing, truncated or not a checkpoint.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
        raise UserError(
            f"{path} is not a readable checkpoint (truncated or damaged): delete it and start "
            "the same command again; the training then begins anew"
        ) from error


def save(path: Path, address: str, parts: Mapping[str, Any], done: dict[str, Any]) -> None:
    """Write how far a training has come.

    `parts` have a `state_dict`; `done` holds plain values. Raises `UserError` on a full disk,
    and what was there before stays.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    _write({"address": address, "parts": states, "done": done}, path)


def resume(path: Path, address: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Load the states back into `parts` and return the plain values.

    Raises `UserError` for a damaged file, or one of another training than `address`.
    """
    content = read(path)
    if content.get("address") != address:
        raise UserError(
            f"{path} was left by another training (recipe, data, precision, threads, "
            "processor or start differ): go on as it was begun, or begin anew without it (--fresh)"
        )
    for name, part in parts.items():
        part.load_state_dict(content["parts"][name])
    return content["done"]


def _write(content: dict[str, Any], path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())
