"""Weights in files: torchvision's, this project's and other people's state dicts.

They are read as data alone: pickles with `weights_only`, or safetensors. What `save_weights`
writes also says which net it is of and what inputs that takes, so that it can be loaded by its
name alone; to `torchvision` it is a state dict like its own.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from vggrepro import UserError
from vggrepro.configs import CONFIGS, DOWNSAMPLING, blocks
from vggrepro.files import as_plain, expanded, open_regular, write_atomically
from vggrepro.inputs import Inputs
from vggrepro.models import LRN, VGG

State = dict[str, Tensor]
_LAST = "classifier.6.weight"
_WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")  # of DataParallel and of torch.compile


def load_weights(
    path: str | Path, config: str | None = None, inputs: Inputs | str | None = None
) -> VGG:
    """The net whose weights are in a file, in eval mode.

    `config` is a name in `CONFIGS`, `inputs` as for `VGG`; files of `save_weights` say both.
    Width, crop, hidden units and classes follow from the shapes, and the crop is then the
    smallest that fits. Raises `UserError` for what is not the weights of such a net.
    """
    return net_of(*read(path), path, config, inputs)


def net_of(
    state: State,
    said: Mapping[str, Any],
    where: str | Path,
    config: str | None = None,
    inputs: Inputs | str | None = None,
) -> VGG:
    """`load_weights` of what `read` found in a file, with `where` to name it."""
    config = config or said.get("config")
    if config is None:
        known = ", ".join(CONFIGS)
        raise UserError(f"{where} does not say of which net it is: choose one of {known}")
    model = _built(state, config, said, str(where))
    if inputs is not None:
        model.set_inputs(inputs)
    elif said.get("inputs"):
        model.set_inputs(Inputs(*said["inputs"]))
    return model.eval()


def save_weights(model: VGG, path: str | Path, **said: Any) -> None:
    """Write a net as safetensors: its state dict, what it is, and what else is `said` of it.

    Raises `UserError` where the file cannot be written; what was there before stays.
    """
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    said |= {"config": model.config, "crop": model.crop, "inputs": model.inputs}
    # Those of the inputs say neither how LRN was made nor, without a mean, how pixels are divided.
    alphas = [layer.alpha for layer in model.features if isinstance(layer, LRN)]
    said |= {"input_divisor": model.input_divisor, "lrn_alpha": alphas[0] if alphas else None}
    written = json.dumps(said, sort_keys=True, default=as_plain)
    content = save(state, metadata={"vggrepro": written})
    write_atomically(expanded(path), content)


def read(path: str | Path) -> tuple[State, dict[str, Any]]:
    """The state dict in a file, and what `save_weights` said of it, empty for other files.

    Wrappings of trainers (`{"state_dict": …}`, `module.`, `_orig_mod.`) are taken off. Raises
    `UserError` for a file that is not there or holds no weights.
    """
    path = expanded(path)
    try:
        with open_regular(path) as file:
            is_safetensors = file.read(9)[8:] == b"{"  # behind the length of its header
        if is_safetensors:
            with safe_open(path, framework="pt") as file:
                said = json.loads((file.metadata() or {}).get("vggrepro", "{}"))
                content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        else:
            content, said = torch.load(path, map_location="cpu", weights_only=True), {}
    except FileNotFoundError as error:
        raise UserError(f"there are no weights at {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises a dozen kinds for a damaged file
        raise UserError(
            f"{path} holds no weights that can be read as data alone (a state dict by torch.save, "
            "or safetensors): it is damaged, or a whole model, whose code would have to be trusted"
        ) from error
    while isinstance(content, Mapping) and (
        inner := [content[name] for name in _WRAPPINGS if isinstance(content.get(name), Mapping)]
    ):
        content = inner[0]
    if not isinstance(content, Mapping) or not all(map(_is_plain, content.values())):
        raise UserError(f"{path} holds no state dict, but something else")
    state = {_PREFIX.sub("", str(name)): tensor.float() for name, tensor in content.items()}
    if len(state) < len(content):
        raise UserError(f"{path} has weights of the same name with and without a prefix")
    return state, said


def _is_plain(value: object) -> bool:
    return torch.is_tensor(value) and value.layout == torch.strided and not value.is_meta


def _built(state: State, config: str, said: Mapping[str, Any], where: str) -> VGG:
    """A net as large as the weights, with these in it."""
    if any("running_mean" in name for name in state):
        raise UserError(
            f"{where} is of a net with batch normalisation, which Table 1 does not have"
        )
    for name in ("classifier.0.weight", _LAST):
        if name not in state or state[name].ndim != 2:
            raise UserError(
                f"{where} has no matrix {name}: names and shapes must be those of torchvision's "
                "VGG, with a classifier"
            )
    classes, hidden = state[_LAST].shape
    width = _width(state, config)
    last = blocks(config, width)[-1][-1].channels
    fc6 = state["classifier.0.weight"].shape[1]
    crop = said.get("crop", DOWNSAMPLING * math.isqrt(fc6 // last))
    if not crop:
        raise UserError(
            f"{where} does not hold weights of config {config}: classifier.0.weight has {fc6} "
            f"inputs, fewer than the {last} channels before it"
        )
    shape = {"width": width, "crop": crop, "hidden": hidden}
    shape["input_divisor"] = said.get("input_divisor", 1.0)
    with torch.device("meta"):
        nets = {name: VGG(name, classes, **shape) for name in CONFIGS}
    model = nets[config]
    if differing := _differing(model, state):
        fitting = " or ".join(name for name, net in nets.items() if not _differing(net, state))
        others = f"; they fit {fitting}" if fitting else ""
        raise UserError(f"{where} does not hold weights of config {config}: {differing}{others}")
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise UserError(f"{where} has weights that are no numbers: it is not a whole classifier")
    for layer in model.features:
        if isinstance(layer, LRN):
            layer.alpha = said.get("lrn_alpha") or layer.alpha
    model.load_state_dict(state, assign=True)  # no weight is drawn only to be replaced
    return model


def _width(state: State, config: str) -> float:
    """A share of the channels of Table 1 that rounds to those of every layer in `state`.

    The plain ratio of the widest layers, where nothing would: it is of another net.
    """
    convolutions = [name for name in state if re.fullmatch(r"features\.\d+\.weight", name)]
    convolutions.sort(key=lambda name: int(name.split(".")[1]))
    known = [conv.channels for block in blocks(config) for conv in block]
    found = [len(state[name]) for name in convolutions if state[name].ndim]
    layers = list(zip(found, known, strict=False))  # of another net there may be fewer or more
    ratio = max(found, default=1) / max(known)
    # A net has at least one channel, however narrow.
    low = max(((n - 0.5) / channels for n, channels in layers if n > 1), default=0.0)
    high = min(((n + 0.5) / channels for n, channels in layers), default=0.0)
    return (low + high) / 2 if low < high else ratio


def _differing(model: VGG, state: State) -> str:
    """The first thing in which weights are not those of a net, nothing if there is none."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            return f"there is no {name}"
        if state[name].shape != tensor.shape:
            return f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
    return next((f"{name} is too much" for name in state if name not in expected), "")
