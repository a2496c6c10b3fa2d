"""The library by itself: the README's example, and what its face promises beside it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vggrepro as vgg
from tests.image_sets import CPU, coloured_set, small_net
from vggrepro.data import synthetic

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLE = README.split("## Seven lines")[1].split("```python\n")[1].split("```")[0]
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Class folders of drawn photos: forty of four classes to train on, eight to test on."""
    root = tmp_path_factory.mktemp("drawn")
    for part, count in (("train", 100), ("val", 20)):
        for i in range(count):
            image, target = synthetic.draw(0, part, i)
            if target < 4:
                folder = root / part / synthetic.CLASSES[target]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i}.png")
    return root


def at_a_small_size(drawn):
    """The example, on drawn photos, with a small net and one epoch."""
    code = EXAMPLE
    for as_written, here in (
        ('"PHOTOS"', repr(str(drawn))),
        ("input_divisor=60", "input_divisor=60, width=1 / 16, crop=32, hidden=16"),
        ("epochs=30", "epochs=1"),
    ):
        assert code.count(as_written) == 1
        code = code.replace(as_written, here)
    return code


def test_the_seven_lines_of_the_readme(drawn, capsys):
    assert len([line for line in EXAMPLE.splitlines() if line]) == 7
    found = {}
    exec(at_a_small_size(drawn), found)
    shown = capsys.readouterr()
    tested, val = found["tested"], found["photos"].val
    assert float(shown.out) == tested.top1_error
    assert shown.err != ""  # bars
    first = tested.posteriors.argmax(1)
    assert tested.top1_error == pytest.approx(100 * np.mean(first != val.targets))
    assert tested.posteriors.shape == (len(val), 4) == (8, 4)
    assert sum(tested.positions.values()) == 3 * 8
    fresh = vgg.VGG("D", 4, width=1 / 16, crop=32, hidden=16)
    assert found["model"].state_dict().keys() == fresh.state_dict().keys()  # torchvision's
    mean = np.concatenate([image.reshape(-1, 3) for image in found["photos"].train.images]).mean(0)
    np.testing.assert_allclose(found["model"].pixel_mean.cpu(), mean, rtol=1e-5)


def test_the_face_is_quick_and_whole():
    code = """if True:
        import sys, vggrepro
        brought = {"torch", "pandas", "numpy"} & set(sys.modules)
        assert not brought, brought
        names = {"VGG", "load", "train", "evaluate", "Recipe", "initialise", "to_dense", "results"}
        assert names <= set(dir(vggrepro))
        assert all(callable(getattr(vggrepro, name)) for name in names)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vgg.nothing  # noqa: B018


def error(model, images, **how):
    return vgg.evaluate(model, images, device=CPU, **{"progress": False, **how}).posteriors


def test_weights_alone_are_refused_and_the_mean_can_be_given_in_two_ways():
    trained, images = small_net(crop=32), coloured_set(6, split="val")
    sizes = {"width": 1 / 16, "crop": 32, "hidden": 16, "input_divisor": 60.0}
    bare = vgg.VGG("A", 4, **sizes)
    bare.load_state_dict(trained.state_dict())
    with pytest.raises(vgg.UserError, match=r"VGG\(\.\.\., pixel_mean=.*or call set_pixel_mean"):
        error(bare, images)
    bare.set_pixel_mean(trained.pixel_mean.tolist())
    built = vgg.VGG("A", 4, **sizes, pixel_mean=trained.pixel_mean.tolist())
    built.load_state_dict(trained.state_dict())
    for model in (bare, built):
        np.testing.assert_array_equal(error(model, images), error(trained, images))


def test_q_is_the_papers_or_in_pixels_and_several_are_averaged():
    model, images = small_net(crop=32), coloured_set(6, split="val")
    papers = [error(model, images, scales=q) for q in (256, 384)]
    pixels = [error(model, images, scales=q, pixels=True) for q in (37, 55)]
    np.testing.assert_array_equal(papers, pixels)
    both = error(model, images, scales=(256, 384))
    np.testing.assert_allclose(both, np.mean(papers, axis=0), atol=1e-7)
    assert not np.array_equal(*papers)


def test_a_bar_by_default_and_none_if_not_wanted(capsys):
    model, images = small_net(crop=32), coloured_set(6, split="val")
    error(model, images, progress=True)
    assert capsys.readouterr().err != ""
    error(model, images, progress=False)
    assert capsys.readouterr().err == ""


def test_a_net_of_other_classes_is_refused():
    model, images = small_net(crop=32, classes=3), coloured_set(6, split="val")
    with pytest.raises(vgg.UserError, match=r"3 outputs.*4 classes.*num_classes=len"):
        error(model, images)


def test_the_best_device_is_the_default(monkeypatch):
    model, images = small_net(crop=32), coloured_set(6, split="val")
    found = vgg.evaluate(model, images, progress=False).posteriors
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert next(model.parameters()).device.type == best
    chosen = vgg.evaluate(model, images, device=best, progress=False).posteriors
    np.testing.assert_array_equal(found, chosen)
