"""The page 'Use the library': every example on it is run, at a small size."""

import re
import shlex
from pathlib import Path

import jupytext
import pytest
import torch
from PIL import Image

import vggrepro as vgg
from tests.test_seven_lines import EXAMPLE, drawn  # noqa: F401
from vggrepro.configs import CONFIGS
from vggrepro.data import ilsvrc, synthetic
from vggrepro.models import VGG
from vggrepro.study import starts

PAGE = "\n".join(
    cell.source
    for cell in jupytext.read(Path(__file__).parents[1] / "book" / "use.py").cells
    if cell.cell_type == "markdown"
)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
PLAIN = ("--precision", "float32", "--threads", "1", "--device", "cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def example(containing):
    (code,) = [code for code in PYTHON if containing in code]
    return code


def replaced(text, *pairs):
    for as_written, here in pairs:
        assert text.count(as_written) == 1, as_written
        text = text.replace(as_written, here)
    return text


def test_all_examples_are_among_these():
    marks = ("vgg16(num_classes", "vgg.train(", "load_weights(", "CONFIGS[")
    assert sorted(map(example, marks)) == sorted(PYTHON)
    assert [command[0] for command in COMMANDS] == [
        *("train", "evaluate", "evaluate", "first-steps"),
    ]


def test_the_seven_lines_are_the_readmes():
    assert example("vgg.train(") == EXAMPLE


def test_two_commands(vggrepro, drawn, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    Path("PHOTOS").symlink_to(drawn)
    train, evaluate = COMMANDS[:2]
    small = ("--epochs", "1", "--width", "0.0625", "--crop", "32", "--hidden", "16")
    status, _, err = vggrepro(*train, *small, *PLAIN)
    assert status == 0, err
    status, out, err = vggrepro(*evaluate, *PLAIN, "--results-dir", "own")
    assert status == 0, err
    assert re.search(r"dense 224\+256\+288 +8 ", out)


def test_torchvision_loads_the_weights():
    def load_file(path):
        assert path == "d.safetensors"
        return VGG("D", 10).state_dict()

    code = replaced(example("vgg16("), ("from safetensors.torch import load_file\n", ""))
    with torch.device("meta"):  # names and shapes, without half a gigabyte
        code = replaced(code, ('"d.safetensors")', '"d.safetensors"), assign=True'))
        exec(code, {"load_file": load_file})


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights in the file that the page names, and two photos, where it says they are."""
    monkeypatch.chdir(tmp_path)
    model = VGG("D", 1000, width=1 / 16, crop=64, hidden=16)
    torch.save(model.state_dict(), "vgg16-397923af.pth")
    for i, wnid in enumerate(ilsvrc.CLASSES[:2]):
        path = Path("ILSVRC", "val", wnid, f"ILSVRC2012_val_{i:08}.JPEG")
        path.parent.mkdir(parents=True)
        Image.fromarray(synthetic.draw(0, "val", i).image).save(path)


def test_published_weights(published, capsys):
    exec(example("load_weights("), {})
    top1, top5 = map(float, capsys.readouterr().out.split())
    assert 0 <= top5 <= top1 <= 100


def test_published_weights_by_command(published, vggrepro, tmp_path):
    status, out, err = vggrepro(*COMMANDS[2], *PLAIN, "--results-dir", tmp_path / "own")
    assert status == 0, err
    assert len(list((tmp_path / "own").rglob("eval-*.json"))) == 2 * 4
    assert out.count("multi-crop ") == 4


def test_why_a_vgg_does_not_train(vggrepro, drawn, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    Path("PHOTOS").symlink_to(drawn)
    small = ("--steps", "2", "--batch", "4", "--width", "0.02", "--crop", "32")
    status, out, err = vggrepro(*COMMANDS[3], *small, *PLAIN, "--results-dir", "rerun")
    assert status == 0, err
    said = dict(re.findall(r"^(D-[a-z-]+) ([a-z ]+): ", out, re.MULTILINE))
    assert sorted(said) == sorted(COMMANDS[3][1:4])
    assert set(said.values()) <= set(starts.WRONG)
    assert all(f"*{word}*" in PAGE for word in starts.WRONG)


def test_a_net_of_ones_own(monkeypatch):
    monkeypatch.delitem(CONFIGS, "mine", raising=False)
    found = {}
    try:
        exec(example("CONFIGS["), found)
        assert found["model"](torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    finally:
        CONFIGS.pop("mine", None)


def test_the_reference_has_the_ten_names():
    names = re.findall(r"### vgg\.(\w+)", reference())
    assert names == list(vgg._LAZY) and len(names) == 10
    assert "model, images, protocol='dense', scales=256" in reference()


def reference():
    import nbformat

    notebook = nbformat.read(Path(__file__).parents[1] / "book" / "use.ipynb", 4)
    return notebook.cells[-1].outputs[0].data["text/markdown"]
