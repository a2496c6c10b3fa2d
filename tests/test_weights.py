"""Weights of others, and ours for others: what is read, what is refused, what inputs they take."""

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import models, transforms

import vggrepro as vgg
from tests.image_sets import noise
from vggrepro import UserError
from vggrepro.inputs import INPUTS, Inputs, inputs_named
from vggrepro.models import VGG
from vggrepro.weights import _width, save_weights
from vggrepro.windows import Window, cut_as_torchvision, rescaled_size, single_crop, ten_crop

SMALL = {"width": 1 / 16, "crop": 64, "hidden": 16}
THEIRS = {"A": models.vgg11, "B": models.vgg13, "D": models.vgg16, "E": models.vgg19}


def small(config="A", classes=4, **more):
    torch.manual_seed(1)
    return VGG(config, classes, **SMALL, **more).eval()


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["A", "C", "B-5x5", "D-7x7"])
def test_a_net_of_any_width_is_recognised(config):
    """Channels are rounded, so the widest layer alone does not say the share of all others."""
    for width in [percent / 100 for percent in range(1, 101)] + [1 / 16, 1 / 3, 2.0]:
        with torch.device("meta"):
            state = VGG(config, 2, width=width, crop=32, hidden=4).state_dict()
            again = VGG(config, 2, width=_width(state, config), crop=32, hidden=4).state_dict()
        shapes, found = ([tuple(t.shape) for t in one.values()] for one in (state, again))
        assert found == shapes, width


@pytest.mark.parametrize("width", [0.02, 0.12, 0.31])
def test_a_net_of_an_odd_width_comes_back(tmp_path, width):
    model = VGG("D", 3, width=width, crop=32, hidden=8)
    save_weights(model, tmp_path / "d.safetensors")
    again = vgg.load_weights(tmp_path / "d.safetensors")
    assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("config", THEIRS)
def test_torchvision_loads_a_net_of_full_width(config):
    with torch.device("meta"):
        theirs, ours = THEIRS[config](num_classes=7), VGG(config, 7)
        theirs.load_state_dict(ours.state_dict(), assign=True)
        ours.load_state_dict(theirs.state_dict(), assign=True)


def test_a_saved_net_says_what_it_is(tmp_path):
    inputs = Inputs((120.0, 110.0, 100.0), 60.0)
    model = small("A-LRN", input_divisor=60.0, inputs=inputs)
    vgg.save_weights(model, tmp_path / "net.safetensors", classes=["a", "b", "c", "d"])
    again = vgg.load_weights(tmp_path / "net.safetensors")
    assert (again.config, again.crop, again.inputs) == ("A-LRN", 64, inputs)
    images = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None]
    with torch.no_grad():  # alpha of LRN is that of the divisor, too
        torch.testing.assert_close(again(again.normalised(images)), model(model.normalised(images)))
    state = load_file(tmp_path / "net.safetensors")
    assert state.keys() == model.state_dict().keys()


@pytest.mark.parametrize("inputs", [None, "torchvision", "caffe"])
def test_a_net_gives_the_same_scores_after_a_file(tmp_path, inputs):
    model = small("A-LRN", input_divisor=60.0)
    if inputs:
        model.set_inputs(inputs)
    vgg.save_weights(model, tmp_path / "net.safetensors")
    again = vgg.load_weights(tmp_path / "net.safetensors")
    assert again.input_divisor == model.input_divisor
    x = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None].float() / 60
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x))


def test_a_home_folder_is_written_to_as_it_is_read_from(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    vgg.save_weights(small("A"), "~/net.safetensors")
    assert (tmp_path / "net.safetensors").is_file()
    vgg.load_weights("~/net.safetensors")


@pytest.mark.parametrize("kind", ["pth", "legacy", "safetensors", "wrapped", "parallel"])
def test_state_dicts_of_others(tmp_path, kind):
    model = small("D")
    state, path = model.state_dict(), tmp_path / "weights.any"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif kind == "parallel":
        torch.save({"model": {f"module.{name}": t for name, t in state.items()}}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "pth")
    again = vgg.load_weights(path, "D", "caffe")
    assert again.crop == 64 and not again.training
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, state[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "not a regular file"),
        (os.mkdir, "Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to("none.pth"), "there are no weights at"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
)
def test_what_is_no_file_holds_no_weights(tmp_path, make, message):
    make(tmp_path / "w.pth")
    assert message in refused(tmp_path / "w.pth")


class Code:
    def __reduce__(self):
        return Path.touch, (Path("was-run"),)


def refused(path, config="A"):
    with pytest.raises(UserError) as error:
        vgg.load_weights(path, config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = small("A").state_dict()

    def saved(content):
        torch.save(content, "w.pth")
        return Path("w.pth")

    assert "no weights at" in refused("none.pth")
    assert "they fit D" in refused(saved(small("D").state_dict()), "A")
    assert "features.0.bias is too much" not in refused(saved(small("D").state_dict()), "B")
    assert "choose one of A, A-LRN" in refused(saved(state), None)
    assert "unknown config" in refused(saved(state), "vgg16")
    bn = {"features.1.running_mean": torch.zeros(4), **state}
    assert "batch normalisation" in refused(saved(bn))
    features = {name: t for name, t in state.items() if name.startswith("features")}
    assert "with a classifier" in refused(saved(features))
    square = {**state, "classifier.6.weight": state["classifier.6.weight"][:, :, None, None]}
    assert "no matrix classifier.6.weight" in refused(saved(square))
    broken = {**state, "classifier.6.bias": torch.full((4,), float("nan"))}
    assert "no numbers" in refused(saved(broken))
    assert "no state dict" in refused(saved({"epoch": 3}))
    assert "no state dict" in refused(saved({"w": torch.ones(2).to_sparse()}))
    assert "the same name" in refused(saved({**state, "module.classifier.6.bias": torch.ones(4)}))
    thin = {**state, "classifier.0.weight": torch.ones(16, 3)}
    assert "fewer than the 32 channels" in refused(saved(thin))
    assert "features.0.weight" in refused(saved({**state, "features.0.weight": torch.ones(())}))
    Path("w.pth").write_bytes(Path("w.pth").read_bytes()[:100])
    assert "damaged" in refused("w.pth")
    Path("w.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    assert "as data alone" in refused("w.pth")
    torch.save({"w": Code()}, "w.pth")
    assert "as data alone" in refused("w.pth")
    assert not Path("was-run").exists()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"model_state_dict": state, "epoch": 3},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_what_trainers_wrap_around_weights_is_taken_off(tmp_path, wrapped):
    model = small("A")
    torch.save(wrapped(model.state_dict()), tmp_path / "w.pth")
    again = vgg.load_weights(tmp_path / "w.pth", "A").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("length", [int.from_bytes(b"PK", "little"), 0x280 + 0x10000])
def test_a_long_header_is_not_taken_for_a_pickle(tmp_path, length):
    """Its length stands first in the file, and may look like what PyTorch's files begin with."""
    model, path = small("A", input_divisor=60.0), tmp_path / "a.safetensors"
    save_weights(model, path, note="")
    short = int.from_bytes(path.read_bytes()[:8], "little")
    save_weights(model, path, note="x" * (length - short), of=np.float32(0.5))
    save_weights(model, path, note="x" * (length - short))
    assert path.read_bytes()[:2] == length.to_bytes(8, "little")[:2]
    assert vgg.load_weights(path).input_divisor == 60.0


# --- inputs -------------------------------------------------------------------------------


def test_inputs_of_torchvision_and_of_the_authors():
    picture = noise(64, 64)
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    model = small(inputs="torchvision")
    theirs = models.VGG16_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)
    expected = theirs(Image.fromarray(picture))
    torch.testing.assert_close(model.normalised(images)[0], expected, rtol=1e-5, atol=1e-6)
    model.set_inputs("caffe")
    bgr = picture[:, :, ::-1].astype(np.float32) - (103.939, 116.779, 123.68)
    expected = torch.from_numpy(bgr).permute(2, 0, 1).float()
    torch.testing.assert_close(model.normalised(images)[0], expected)
    model.set_inputs(Inputs(*INPUTS["paper"]))
    torch.testing.assert_close(model.normalised(images)[0], expected.flip(0))
    assert not {"pixel_mean", "pixel_deviation"} & model.state_dict().keys()


def test_inputs_by_name_or_written_out():
    assert inputs_named("120,110,100") == Inputs((120, 110, 100))
    assert inputs_named("1,2,3/4,5,6/bgr") == Inputs((1, 2, 3), (4, 5, 6), True)
    for wrong in ("imagenet", "1,2", "1,2,3/0", "1,2,3/4,5", "1,2,3/4/5", "nan,1,2", ""):
        with pytest.raises(UserError, match="choose one of paper, caffe, torchvision"):
            inputs_named(wrong)
    for of_unit_pixels in ("0.485,0.456,0.406/0.229,0.224,0.225", "0.5,0.5,0.5"):
        with pytest.raises(UserError, match="times 255"):
            inputs_named(of_unit_pixels)
    assert inputs_named("0,0,0/255").deviation == 255


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"pixel_mean": mean}
            for mean in ((120,), (1, 2), (1, 2, 3, 4), 5, "abc", (math.nan,) * 3)
        ),
        *({"inputs": (mean, 1.0)} for mean in ((0.485, 0.456, 0.406), (1, 2), 3)),
        *({"inputs": ((1, 2, 3), deviation)} for deviation in ((0, 1, 1), 0, math.inf, None)),
        {"inputs": 5},
        {"input_divisor": math.inf},
        {"input_divisor": "60"},
        {"dropout": None},
        {"num_classes": 1.5},
    ],
    ids=str,
)
def test_numbers_that_can_be_no_inputs_are_refused(given):
    with pytest.raises(UserError):
        VGG("A", **{"num_classes": 4, **SMALL, **given})


# --- resize and crops ---------------------------------------------------------------------

SIZES = [(40, 48), (333, 500), (500, 375), (71, 97), (256, 256), (129, 64)]


def sorted_as_ours(mirrored):
    """torchvision takes the corners of the mirror, which are those of the image the other way."""
    return [mirrored[i] for i in (1, 0, 3, 2, 4)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [64, 91, 256])
def test_resized_to_the_pixel_as_torchvision_does(size, scale):
    picture = noise(*size)
    expected = np.asarray(transforms.Resize(scale)(Image.fromarray(picture)))
    height, width = rescaled_size(*size, scale)
    (whole,) = cut_as_torchvision(picture, [Window(scale, 0, 0, width, height)])
    np.testing.assert_array_equal(whole, expected)
    crop, ten = transforms.CenterCrop(61), transforms.TenCrop(61)
    resized = Image.fromarray(expected)
    found = cut_as_torchvision(picture, single_crop(size, scale, 61))
    np.testing.assert_array_equal(found[0], np.asarray(crop(resized)))
    found = cut_as_torchvision(picture, ten_crop(size, scale, 61))
    for ours, theirs in zip(found[:5], ten(resized)[:5], strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs))
    for ours, theirs in zip(found[5:], sorted_as_ours(ten(resized)[5:]), strict=True):
        np.testing.assert_array_equal(ours[:, ::-1], np.asarray(theirs))
