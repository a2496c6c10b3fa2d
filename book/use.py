# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Use the library
#
# Your own photos, your own nets, weights that others have published: by command or in Python. Nothing
# here needs the recorded study, and every example on this page is run by a test.
#
# ## Two commands
#
# `make install` puts them into `.venv/bin`. `PHOTOS` is a folder with a folder of photos for each
# class, or with those in `train` and `val`:
#
# ```bash
# vggrepro train D PHOTOS --epochs 30 --start he --out d.safetensors
# vggrepro evaluate --weights d.safetensors --data-dir PHOTOS --protocol dense --scales 224 256 288
# ```
#
# `train` says what it found and writes three files: the weights, `d.json`, the record of the training
# with its recipe, and `d.png`, its curves. Without a split a fifth of every class is set aside, chosen by
# the pixels and so the same everywhere; `evaluate` tests on that, and weights from elsewhere on all
# photos, as it says. Ctrl-C loses at most one epoch, and the same command goes on. The whole net at 224 px wants a GPU; on a laptop add
# `--width 0.25 --crop 64 --hidden 256`. If it does not learn, [measure why](#why-does-my-vgg-not-train).
#
# At full size the weights are torchvision's, too:
#
# ```python
# import torchvision
# from safetensors.torch import load_file
#
# net = torchvision.models.vgg16(num_classes=10)
# net.load_state_dict(load_file("d.safetensors"))
# ```
#
# ## Seven lines
#
# The same in Python. Every default is the paper's (Section 3.1); its rate is ten times too much for
# this start at full width, as [](10_initialisation.ipynb) measures:
#
# ```python
# import vggrepro as vgg
#
# photos = vgg.load("folder", "PHOTOS")
# model = vgg.VGG("D", num_classes=len(photos.classes), input_divisor=60)
# vgg.initialise(model, "he", seed=0)
# vgg.train(model, photos, vgg.Recipe(epochs=30, batch_size=64, learning_rate=0.001), seed=0)
# tested = vgg.evaluate(model, photos.val, "dense", scales=(224, 256, 288))
# print(tested.top1_error)
# ```
#
# ## Published weights
#
# Numbers of VGG nets differ by points with how they are tested: torchvision reports one crop of one
# size, the paper a dense evaluation over several. So test the weights as you want to compare them:
#
# ```python
# import vggrepro as vgg
# from vggrepro.data import ilsvrc
#
# model = vgg.load_weights("vgg16-397923af.pth", "D", inputs="torchvision")
# images = ilsvrc.val("ILSVRC")
# tested = vgg.evaluate(model, images, "dense", scales=(256, 384, 512))
# print(tested.top1_error, tested.top5_error)
# ```
#
# or by command, which writes a record of each protocol at each Q and shows the paper's error beside it:
#
# ```bash
# vggrepro evaluate --config D --weights vgg16-397923af.pth --inputs torchvision \
#     --data imagenet --data-dir ILSVRC --protocol dense --protocol multi-crop --scales 256 384 512
# ```
#
# - **Weights** are state dicts, of torchvision or of this project, as pickles or safetensors, and read as
#   data alone. In place of a file, `torchvision:` with a name such as `VGG16_Weights.IMAGENET1K_V1`
#   fetches those, if `--download` allows it.
# - **Inputs** are part of the weights: `torchvision` (mean and three deviations), `caffe` (the authors'
#   weights: blue, green, red, minus their mean), `paper` (0 to 255 minus the mean), or written out as
#   `R,G,B/R,G,B`. With the wrong ones a net still answers, and worse.
# - **Photos** of ILSVRC's validation set lie in class folders, or all in one with a file of labels
#   (`--ground-truth`). A folder with some of the classes, named by WordNet id, is scored among all thousand.
#   Imagenette's photos are ILSVRC *training* photos, so they are refused for such weights.
# - **What their page reports** is `--protocol single-crop --scales 256 --resize torchvision`: to the
#   pixel what torchvision's transforms do. `--resize isotropic`, the default, is the paper's.
# - **Several nets** are averaged from their records: `--fuse RECORD RECORD`.
#
# ## Why does my VGG not train?
#
# ```bash
# vggrepro first-steps D-he-scaled D-he-scaled-slow D-glorot --data folder --data-dir PHOTOS
# ```
#
# trains net D from three starts for a moment (at full width some minutes each on two cores;
# `--width 0.25` is shorter) and ends in a sentence for each: whether it *learns*, or is *saturated*,
# *diverges*, *overshoots*, is *dead*, *fades* or just sits *at chance*, and which start and rate to take.
# [Chapter 10](10_initialisation.ipynb) has the rule and what was measured for it. In short:
#
# - `train` starts as `D-he-scaled` does. At full width nets D and E overshot from there at the paper's
#   rate, and learned at a tenth of it, so that is its `--learning-rate` above half of the paper's width.
# - Net A learned from Glorot's start on pixels from 0 to 255 at the paper's rate; in Python that is
#   `input_divisor=1`, the default, and `"glorot"`. B lies between A and D.
# - A fixed deviation, whichever way the paper's number is read, served none of them, and neither did PyTorch's
#   own start.
#
# ## A net of your own
#
# A net is a row: five blocks of layers, `64` for a 3x3 convolution with 64 channels, `1-256` for a 1x1,
# `64-LRN` with normalisation. The three fully-connected layers follow.
#
# ```python
# import vggrepro as vgg
# from vggrepro.configs import CONFIGS, row
#
# CONFIGS["mine"] = row("32 32 | 64 64 | 1-64 128 128 | 256 256 | 256 256")
# model = vgg.VGG("mine", num_classes=10, crop=64, hidden=256)
# ```
#
# It trains and is tested like the others. To make it part of the study, with runs and claims, see
# `CONTRIBUTING.md`.
#
# ## The ten names

# %% tags=["remove-input"]
import ast
import re
import textwrap
from pathlib import Path

from IPython.display import Markdown

import vggrepro

WIDTH = 80


def described(name: str, module: str, attribute: str) -> str:
    """How a public name is called, and its docstring, read from its source."""
    module = {"vggrepro.data": "vggrepro.data.images"}.get(module, module)
    path = Path(vggrepro.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    node = next(n for n in nodes if getattr(n, "name", None) == attribute)
    inside = node.body if isinstance(node, ast.ClassDef) else [node]
    made = next((n for n in inside if getattr(n, "name", "") in ("__init__", attribute)), None)
    if made is None:  # a dataclass
        arguments = ", ".join(
            f"{n.target.id}={ast.unparse(n.value)}" for n in inside if isinstance(n, ast.AnnAssign)
        )
    else:
        for argument in ast.walk(made.args):
            argument.annotation = None
        arguments = ast.unparse(made.args).removeprefix("self, ")
    said = {ast.get_docstring(n): None for n in (node, made or node)}
    text = re.sub(r"^ {4}(\w+): ", r"- `\1`: ", "\n\n".join(said), flags=re.MULTILINE)
    text = text.replace(":\n- ", ":\n\n- ")
    call = f"vgg.{name}({arguments})"
    if len(call) > WIDTH:
        pairs = re.sub(r", (?=\d)", ",\0", arguments)  # a default of several numbers is not split
        lines = textwrap.fill(pairs, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
        call = f"vgg.{name}(\n{lines}\n)".replace("\0", " ")
    return f"### vgg.{name}\n\n```python\n{call}\n```\n\n{text}"


Markdown("\n\n".join(described(name, *where) for name, where in vggrepro._LAZY.items()))
