"""`vggrepro evaluate` and `train`: photos, nets and weights of the reader's own."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import models, transforms
from torchvision.models.vgg import cfgs, make_layers

import vggrepro as vgg
from vggrepro import evaluators
from vggrepro.data import Photos, ilsvrc, synthetic
from vggrepro.device import choose
from vggrepro.study import own, own_training, starts, store
from vggrepro.study.budgets import at_budget
from vggrepro.weights import load_weights

pytestmark = pytest.mark.usefixtures("own_cache")
THEIRS = {"A": models.vgg11, "B": models.vgg13, "D": models.vgg16, "E": models.vgg19}
PLACES = (3, 65, 999)
NORMALISE = transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six drawn photos in three folders that are named by WordNet id, of a thousand."""
    folder = tmp_path_factory.mktemp("photos")
    for i, place in enumerate(PLACES):
        (folder / ilsvrc.CLASSES[place]).mkdir()
        for k in range(2):
            path = folder / ilsvrc.CLASSES[place] / f"ILSVRC2012_val_{10 * i + k:08}.JPEG"
            Image.fromarray(synthetic.draw(0, "val", 10 * i + k).image).save(path)
    return folder


def pictures(root):
    """The photos in the order of their classes and names, as PIL reads them."""
    return [Image.open(path).convert("RGB") for path in sorted(root.glob("*/*.JPEG"))]


def narrow(config, hidden=32):
    """torchvision's net with a sixteenth of the channels, for 224 px and a thousand classes."""
    torch.manual_seed(2)
    layers = [c if c == "M" else c // 16 for c in cfgs[config]]
    net = models.VGG(make_layers(layers), init_weights=False)
    net.classifier = nn.Sequential(
        *(nn.Linear(32 * 49, hidden), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
        nn.Linear(hidden, 1000),
    )
    return sharpened(net)


def sharpened(net):
    """With logits that differ by about 2, so that classes are told apart and none is certain."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        net.eval()
        net.classifier[-1].weight *= 2 / net(torch.randn(4, 3, 224, 224)).std()
    return net


def saved(net, folder):
    torch.save(net.state_dict(), folder / "theirs.pth")
    return folder / "theirs.pth"


@torch.no_grad()
def crops_by_torchvision(net, root, crops):
    """Logits (photos, crops, 1000) of a plain loop over torchvision's transforms."""
    prepare = transforms.Compose([transforms.Resize(256), crops])
    tensor = transforms.Compose([transforms.ToTensor(), NORMALISE])
    found = []
    for picture in pictures(root):
        cut = prepare(picture)
        batch = torch.stack([tensor(one) for one in (cut if isinstance(cut, tuple) else [cut])])
        found.append(net(batch))
    return torch.stack(found)


@torch.no_grad()
def naive_dense(net, root, scale):
    """Posteriors (photos, 1000): the classifier at every place of the map, one by one."""
    found = []
    for picture in pictures(root):
        resized = transforms.Resize(scale)(picture)
        width, height = (side // 32 * 32 for side in resized.size)
        left, top = (resized.width - width) // 2, (resized.height - height) // 2
        x = NORMALISE(transforms.ToTensor()(resized.crop((left, top, left + width, top + height))))
        views = []
        for view in (x, x.flip(-1)):
            features = net.features(view[None])[0]
            places = [
                net.classifier(features[:, i : i + 7, j : j + 7].flatten())
                for i in range(features.shape[1] - 6)
                for j in range(features.shape[2] - 6)
            ]
            views.append(torch.stack(places).mean(0).softmax(-1))
        found.append((views[0] + views[1]) / 2)
    return torch.stack(found)


def posteriors_of(config, weights, root, folder, protocols, resize="torchvision"):
    """The posteriors that `vggrepro evaluate` keeps, by protocol."""
    photos = Photos("folder", root)
    asked = own.Asked(weights=str(weights), config=config, inputs="torchvision", photos=photos)
    machine = choose("cpu", "float32", 1)
    way = own.Way(own.evaluations(protocols, [256]), resize, machine, folder)
    net = own.net(asked)
    paths = own.test(net, own.photos(net, asked), way)
    return paths, [torch.from_numpy(kept_beside(path)) for path in paths]


def kept_beside(path):
    """The posteriors that the record of one protocol at one Q rests on, in order."""
    files = (path.parent / "posteriors" / path.stem[5:]).glob("*.npz")
    in_order = sorted(files, key=lambda file: int(file.stem))
    return np.concatenate([np.load(file)["posteriors"] for file in in_order])


def check_logits(posteriors, logits):
    """A soft-max forgets a constant only: without it, logits agree to a ten-thousandth."""
    found = posteriors.double().log()
    found -= found.mean(-1, keepdim=True)
    expected = logits.double() - logits.double().mean(-1, keepdim=True)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.fixture
def scores(monkeypatch):
    """What the net gives while it is tested: (windows, classes), a tensor for each batch."""
    plain, seen = evaluators.to_dense, []

    def watched(*arguments, **options):
        dense = plain(*arguments, **options)
        dense.register_forward_hook(lambda _, __, scores: seen.append(scores.mean((-2, -1))))
        return dense

    monkeypatch.setattr(evaluators, "to_dense", watched)
    return seen


@pytest.mark.parametrize("config", THEIRS)
def test_torchvisions_nets_and_transforms(config, root, tmp_path, scores):
    net = narrow(config)
    names = ["single-crop", "ten-crop", "dense"]
    _, found = posteriors_of(config, saved(net, tmp_path), root, tmp_path, names)
    single = crops_by_torchvision(net, root, transforms.CenterCrop(224))
    check_logits(found[0], single[:, 0])
    ten = crops_by_torchvision(net, root, transforms.TenCrop(224))
    torch.testing.assert_close(found[1], ten.softmax(-1).mean(1), rtol=1e-4, atol=1e-9)
    # The left corners of a mirror are the right ones of the photo.
    ten = ten[:, [0, 1, 2, 3, 4, 6, 5, 8, 7, 9]]
    expected = torch.cat([single.flatten(0, 1), ten.flatten(0, 1)])
    logits = torch.cat(scores)[: len(expected)]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    torch.testing.assert_close(found[2], naive_dense(net, root, 256), rtol=1e-4, atol=1e-9)
    assert found[2].max() > 0.003  # three times chance


def test_a_net_of_full_size(root, tmp_path):
    torch.manual_seed(0)
    net = sharpened(models.vgg11())
    few = tmp_path / "few"
    for name in [path.parent.name for path in sorted(root.glob("*/*00.JPEG"))]:
        shutil.copytree(root / name, few / name)
    paths, found = posteriors_of("A", saved(net, tmp_path), few, tmp_path, ["single-crop"])
    check_logits(found[0], crops_by_torchvision(net, few, transforms.CenterCrop(224))[:, 0])
    record = store.read(paths[0])
    expected = pd.Series(record.outcomes()[0])
    first = found[0].argmax(1).numpy()
    targets = np.repeat([PLACES[0]], 2)
    np.testing.assert_array_equal(expected, first == targets)


# --- the command --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(narrow("A"), tmp_path_factory.mktemp("weights"))


def asked(weights, root, results_dir, *more):
    return [
        *("evaluate", "--config", "A", "--weights", weights, "--inputs", "torchvision"),
        *("--data", "folder", "--data-dir", root, "--results-dir", results_dir),
        *("--precision", "float32", "--threads", "1", *more),
    ]


def test_evaluate_says_what_it_found_and_does_nothing_twice(
    vggrepro, weights, root, tmp_path, monkeypatch
):
    protocols = ("--protocol", "dense", "--protocol", "multi-crop & dense", "--scales", "256")
    command = asked(weights, root, tmp_path, *protocols, "288")
    status, out, _ = vggrepro(*command)
    assert status == 0
    assert "6 photos of 1000 classes" in out
    assert re.search(r"dense +256 +6 +\d+\.\d\d +\d+\.\d\d +29.60 / 10.40 \(S = 256\)", out)
    assert re.search(r"multi-crop & dense +256\+288 ", out)
    paths = store.record_files(tmp_path)
    assert len(paths) == 6 and store.verify(paths) == []
    assert vggrepro("verify", "--results-dir", tmp_path)[0] == 0

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(own, "evaluate", never)
    again = vggrepro(*command)
    assert (again[0], again[1]) == (0, out)


def test_a_stopped_evaluation_goes_on(vggrepro, weights, root, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "CHUNK", 2)
    assert vggrepro(*asked(weights, root, tmp_path / "whole", "--scales", "256"))[0] == 0
    plain, seen = own.evaluate, []

    def at_most_two(model, images, *rest, **options):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(images))
        return plain(model, images, *rest, **options)

    monkeypatch.setattr(own, "evaluate", at_most_two)
    command = asked(weights, root, tmp_path / "parts", "--scales", "256")
    assert vggrepro(*command)[0] == 130
    assert store.record_files(tmp_path / "parts") == []
    first, second = sorted((tmp_path / "parts").rglob("*.npz"))
    (first.parent / ".writing-0123").write_bytes(b"half")  # killed while it wrote
    damaged = bytearray(second.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    second.write_bytes(damaged)
    seen.clear()
    assert vggrepro(*command)[0] == 0
    assert seen == [2, 2]  # the one that was missing and the one that was damaged
    assert not list((tmp_path / "parts").rglob(".writing-*"))
    whole, parts = (store.record_files(tmp_path / name) for name in ("whole", "parts"))
    digests = [store.read(paths[0]).result_digest for paths in (whole, parts)]
    assert digests[0] == digests[1]


def test_nets_are_averaged(vggrepro, weights, root, tmp_path):
    other = tmp_path / "other.pth"
    torch.save(narrow("D", hidden=16).state_dict(), other)
    vggrepro(*asked(weights, root, tmp_path / "own", "--scales", "256"))
    (first,) = store.record_files(tmp_path / "own")
    command = asked(other, root, tmp_path / "own", "--scales", "256")
    command[2] = "D"
    second = Path(vggrepro(*command)[1].splitlines()[-1])
    without = ("--results-dir", tmp_path / "own")
    status, out, _ = vggrepro("evaluate", *without, "--fuse", second, first)
    assert status == 0
    fused = Path(out.splitlines()[-1])
    record = store.read(fused)
    assert record.name == "other+theirs" and len(record.parents) == 2
    names = (f"{path.parent.name}/{path.name}" for path in (second, first))
    assert record.provenance.command.startswith(f"vggrepro evaluate --fuse {' '.join(names)} ")
    assert store.verify(store.record_files(tmp_path / "own")) == []
    kept = [kept_beside(path) for path in (first, second)]
    mean = np.mean(kept, axis=0, dtype=np.float64)
    own_class = mean[np.arange(6), np.repeat(PLACES, 2)]
    assert record.log_loss == pytest.approx(-np.log(own_class).mean(), rel=1e-2)
    rank = (mean >= own_class[:, None]).sum(1)
    assert record.top5_error == pytest.approx(100 * np.mean(rank > 5))

    status, _, err = vggrepro("evaluate", *without, "--fuse", first)
    assert (status, "at least two" in err) == (1, True)
    assert "one net" in vggrepro("evaluate", *without, "--fuse", first, fused)[2]
    assert "--weights and --fuse contradict" in vggrepro(*command, "--fuse", first)[2]
    (chunk,) = (first.parent / "posteriors" / "dense-256").iterdir()
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    for change in (lambda: chunk.write_bytes(content), chunk.unlink):
        change()
        assert "gone or damaged" in vggrepro("evaluate", *without, "--fuse", first, second)[2]


def test_a_record_elsewhere_is_not_believed(vggrepro, weights, root, tmp_path):
    vggrepro(*asked(weights, root, tmp_path / "own", "--scales", "256"))
    (path,) = store.record_files(tmp_path / "own")
    (moved := tmp_path / "moved-0123" / path.name).parent.mkdir()
    shutil.copy(path, moved)
    (problem,) = store.problems(moved)
    assert "not of this place" in problem


def test_a_record_that_was_edited_is_not_believed(vggrepro, weights, root, drawn, tmp_path):
    vggrepro(*asked(weights, root, tmp_path / "own", "--scales", "256"))
    vggrepro(*to_train(drawn, tmp_path / "d.safetensors", "--epochs", "1"))
    (tested,) = store.record_files(tmp_path / "own")
    for path, field, value in (
        (tested, "top1_error", 1.0),
        (tested, "resize", "torchvision"),
        (tmp_path / "d.json", "width", 1.0),
        (tmp_path / "d.json", "recipe", {"epochs": 0}),
    ):
        content = json.loads(path.read_text())
        as_it_was = path.read_bytes()
        path.write_text(json.dumps(content | {field: value}, indent=1, sort_keys=True) + "\n")
        assert len(store.verify([path])) == 1, field
        path.write_bytes(as_it_was)
        assert store.verify([path]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--config": "Z"}, "unknown config 'Z'"),
        ({"--config": "D"}, "does not hold weights of config D"),
        ({"--weights": "none.pth"}, "there are no weights at none.pth"),
        ({"--weights": "torchvision:VGG11_Weights.IMAGENET1K_V1"}, "--download"),
        ({"--weights": "torchvision:ResNet18_Weights.IMAGENET1K_V1"}, "of a net of Table 1"),
        ({"--inputs": "cafe"}, "unknown inputs 'cafe'"),
        ({"--inputs": None}, "does not say what inputs"),
        ({"--resize": "cubic"}, "unknown --resize 'cubic'"),
        ({"--protocol": "denze"}, "unknown protocol 'denze'"),
        ({"--scales": "200"}, "for crops of 224 px, so from 224 to 4096"),
        ({"--scales": "100000"}, "so from 224 to 4096"),
        ({"--scales": "0"}, "so from 224 to 4096"),
        ({"--scales": "-256"}, "so from 224 to 4096"),
        ({"--data": "imagenette"}, "Imagenette's photos are ILSVRC training photos"),
        (
            {"--weights": "torchvision:VGG11_Weights.IMAGENET1K_V1", "--data": "imagenette"},
            "Imagenette's photos are ILSVRC training photos",
        ),
        ({"--data": "imagenet", "--data-dir": None}, "needs a data folder"),
        ({"--data": "synthetic"}, "does nothing for synthetic"),
        ({"--data": "synthetic", "--data-dir": None}, "1000 outputs"),
        ({"--data-dir": "nowhere"}, "nowhere"),
        ({"--data-dir": "~nosuchuser/x"}, "~nosuchuser/x cannot be"),
        ({"--ground-truth": "val.txt"}, "--data imagenet"),
        ({"--weights": None}, "name the weights"),
    ],
)
def test_wrong_inputs_get_one_line(vggrepro, weights, root, tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    command = [*asked(weights, root, tmp_path), "--resize", "isotropic", "--protocol", "dense"]
    command += ["--scales", "256"]
    for option, value in change.items():
        if option in command:
            at = command.index(option)
            command[at : at + 2] = [] if value is None else [option, value]
        else:
            command += [option, value]
    status, _, err = vggrepro(*command)
    assert status == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("vggrepro: ") and message in last


@pytest.mark.parametrize("option", ["--weights", "--fuse", "--ground-truth"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_gets_one_line(vggrepro, weights, root, tmp_path, option, make):
    make(tmp_path / "it")
    command = asked(weights, root, tmp_path / "own", option, tmp_path / "it")
    if option == "--fuse":
        command = ["evaluate", "--fuse", tmp_path / "it", tmp_path / "it"]
    if option == "--ground-truth":
        (tmp_path / "flat").mkdir()
        shutil.copy(next(root.glob("*/*.JPEG")), tmp_path / "flat")
        command += ["--data", "imagenet", "--data-dir", tmp_path / "flat"]
    status, _, err = vggrepro(*command)
    assert status == 1 and len(err.strip().splitlines()) == 1
    assert re.search("not a regular file|Is a directory", err)


def test_photos_of_ilsvrcs_training_are_refused_by_their_names(vggrepro, weights, root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "photos")
    photo = next(copy.glob("*/*.JPEG"))
    photo.rename(photo.with_name(f"{photo.parent.name}_10026.JPEG"))
    status, _, err = vggrepro(*asked(weights, copy, tmp_path / "own"))
    assert status == 1 and "1 of these photos are ILSVRC training photos" in err
    (copy / "cats").mkdir()
    shutil.copy(next(copy.glob("*/*.JPEG")), copy / "cats")
    assert "has 'cats', which is none of them" in vggrepro(*asked(weights, copy, tmp_path))[2]


def test_weights_of_a_run_say_what_they_are(vggrepro, study, smoke, tmp_path):
    trained = store.read(study / "smoke" / "synthetic" / "A-S256" / "seed0" / "train.json")
    weights = study / "smoke" / "synthetic" / "A-S256" / "seed0" / "weights.pt"
    net = own.net(own.Asked(weights=str(weights), photos=Photos("synthetic")))
    assert (net.model.config, net.model.crop, net.name) == ("A", 32, "A-S256-seed0")
    assert net.digest == trained.weights_digest
    assert net.model.inputs.mean == pytest.approx(trained.pixel_mean)
    assert net.model.inputs.deviation == trained.experiment["input_divisor"]
    alone = shutil.copy(weights, tmp_path / "weights.pt")
    (problem,) = vggrepro("evaluate", "--weights", alone, "--data", "synthetic")[2].splitlines()
    assert "does not say of which net it is" in problem


def test_published_weights_are_known_by_their_digest(weights, monkeypatch):
    net = load_weights(weights, "A", "torchvision")
    assert own._published(weights, net) is None

    class Same:
        def __init__(self, file, name):
            pass

        def hexdigest(self):
            return models.VGG11_Weights.IMAGENET1K_V1.url.split("-")[-1][:8] + 56 * "0"

    monkeypatch.setattr(own.hashlib, "file_digest", Same)
    assert own._published(weights, net) == ("VGG11_Weights.IMAGENET1K_V1", 30.98, 11.372)


def test_the_papers_and_their_pages_errors_stand_where_they_were_measured_alike(
    weights, root, tmp_path
):
    published = own.Published("VGG11_Weights.IMAGENET1K_V1", 30.98, 11.372)
    names = ["single-crop", "dense"]
    for resize, said in (("torchvision", "30.98 / 11.37"), ("isotropic", "-")):
        paths, _ = posteriors_of("A", weights, root, tmp_path, names, resize)
        table = own.table(paths, published)
        assert table["their page"].tolist() == [said, "-"]
        assert table["the paper"].tolist() == ["-", "29.60 / 10.40 (S = 256)"]


def test_memory_holds_one_chunk_of_photos(weights, root, tmp_path, monkeypatch):
    """However many photos there are, the net is given so many at once."""
    plain, seen = own.evaluate, []

    def watched(model, images, *rest, **options):
        seen.append(len(images))
        return plain(model, images, *rest, **options)

    monkeypatch.setattr(own, "CHUNK", 4)
    monkeypatch.setattr(own, "evaluate", watched)
    _, (found,) = posteriors_of("A", weights, root, tmp_path, ["dense"])
    assert seen == [4, 2] and found.shape == (6, 1000)
    assert F.mse_loss(found.sum(1), torch.ones(6)) < 1e-9


# --- training -----------------------------------------------------------------------------


def draw(folder, part, count):
    """Drawn photos of four classes."""
    for i in range(count):
        image, target = synthetic.draw(0, part, i)
        if target < 4:
            path = folder / synthetic.CLASSES[target] / f"{part}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Forty photos of four classes, without a split, and files that are no photos."""
    folder = tmp_path_factory.mktemp("drawn")
    draw(folder, "train", 100)
    (folder / synthetic.CLASSES[0] / "notes.txt").touch()
    (folder / synthetic.CLASSES[1] / "moving.gif").touch()
    return folder


TINY = ("--width", "0.0625", "--crop", "32", "--hidden", "16", "--batch-size", "8")
PLAIN = ("--precision", "float32", "--threads", "1", "--device", "cpu")


def to_train(folder, out, *more):
    return ["train", "D", folder, "--out", out, "--epochs", "2", *TINY, *PLAIN, *more]


def test_two_commands_train_and_test(vggrepro, drawn, tmp_path):
    out = tmp_path / "made" / "d.safetensors"
    status, said, err = vggrepro(*to_train(drawn, out))
    assert status == 0 and err.count("passed over 2 of the files (.gif, .txt)") == 1
    assert "40 photos of 4 classes (" in said and "val is a fifth of every class" in said
    assert "28 to train on, 4 to lower the learning rate by (minival), 8 to test on" in said
    assert "epochs 2, batch size 8, learning rate 0.01" in said and "start he, seed 0" in said
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "d.json",
        "d.png",
        "d.safetensors",
    ]
    assert Image.open(out.with_suffix(".png")).size[0] > 500
    record = store.read(out.with_suffix(".json"))
    assert (record.recipe["epochs"], len(record.curve), record.start) == (2, 2, "he")
    assert store.verify([out.with_suffix(".json")]) == []

    # The command that it names tests what was set aside, and nothing that it was trained on.
    words = said.strip().splitlines()[-1].split("vggrepro ")[1].split()
    status, said, _ = vggrepro(*words, *PLAIN, "--results-dir", tmp_path / "own")
    assert status == 0 and "8 photos of 4 classes" in said
    assert "the fifth of every class that `train` sets aside" in said
    assert "not the photos of its training" not in said
    (path, *_) = store.record_files(tmp_path / "own")
    tested = store.read(path)
    assert tested.data == record.data[2]
    assert tested.weights_digest == record.weights_digest
    vggrepro("verify", "--results-dir", tmp_path)

    status, _, err = vggrepro(*to_train(drawn, out))
    assert status == 1 and "is there already: --fresh" in err
    before = out.read_bytes()
    named = shlex.split(record.provenance.command)[1:]
    named[2], named[4] = drawn, out
    assert vggrepro(*named, "--fresh")[0] == 0
    assert out.read_bytes() == before
    shutil.copytree(drawn, tmp_path / "more")
    Image.new("RGB", (40, 40)).save(tmp_path / "more" / synthetic.CLASSES[0] / "new.png")
    words[-1] = str(tmp_path / "more")
    said = vggrepro(*words, *PLAIN, "--results-dir", tmp_path / "own")[1]
    assert "these are not the photos of its training" in said

    shutil.copytree(drawn, tmp_path / "less", ignore=shutil.ignore_patterns(synthetic.CLASSES[0]))
    words[-1] = str(tmp_path / "less")
    status, _, err = vggrepro(*words, *PLAIN, "--results-dir", tmp_path / "own")
    assert status == 1 and "the classes bracket, cross, pair, trio; these are" in err

    # A file that was saved from Python does not say what was set aside.
    by_hand = tmp_path / "by-hand.safetensors"
    vgg.save_weights(vgg.load_weights(out), by_hand)
    words[words.index("--weights") + 1], words[-1] = by_hand, tmp_path / "more"
    said = vggrepro(*words, *PLAIN, "--results-dir", tmp_path / "own")[1]
    assert "41 photos of 4 classes" in said and "its error is too small" in said


def test_the_usual_rate_is_one_at_which_such_nets_were_seen_to_train():
    wide = {name.split("-", 1)[1] for name in starts.LEARNED if "-he-" in name}
    assert {starts.STARTS[name].learning_rate for name in wide} == {
        own_training.usual_rate("he", 1.0)
    }
    narrow = at_budget("D-he", "reduced", "imagenette")
    assert own_training.usual_rate("he", narrow.width) == narrow.learning_rate
    assert own_training.usual_rate("glorot", 1.0) == at_budget("A-glorot", "full").learning_rate


def test_a_split_of_ones_own_is_kept(vggrepro, tmp_path):
    draw(tmp_path / "photos" / "train", "train", 60)
    draw(tmp_path / "photos" / "val", "val", 20)
    out = tmp_path / "d.safetensors"
    status, said, _ = vggrepro(*to_train(tmp_path / "photos", out, "--epochs", "1"))
    assert status == 0 and "8 to test on (val)" in said and "a fifth" not in said


def stopped_in(epoch, patch):
    """Ctrl-C in that epoch of a training."""
    from vggrepro import trainer

    plain = trainer.train_one_epoch

    def stopped(*arguments):
        if arguments[5] == epoch:
            raise KeyboardInterrupt
        return plain(*arguments)

    patch.setattr(trainer, "train_one_epoch", stopped)


def test_a_stopped_training_goes_on(vggrepro, drawn, tmp_path, monkeypatch):
    from vggrepro import trainer

    assert vggrepro(*to_train(drawn, tmp_path / "whole" / "d.safetensors"))[0] == 0
    plain = trainer.train_one_epoch
    out = tmp_path / "parts" / "d.safetensors"
    with monkeypatch.context() as patch:
        stopped_in(1, patch)
        status, _, err = vggrepro(*to_train(drawn, out))
    assert status == 130 and "goes on" in err and not out.exists()
    monkeypatch.setattr(trainer, "train_one_epoch", lambda *a: [plain(*a), a[5] == 1 or 1 / 0][0])
    assert vggrepro(*to_train(drawn, out))[0] == 0
    records = [store.read(tmp_path / name / "d.json") for name in ("whole", "parts")]
    assert records[0].result_digest == records[1].result_digest
    assert not (tmp_path / "parts" / "d.training").exists()


def test_what_was_stopped_with_fresh_goes_on_without_it(vggrepro, drawn, tmp_path, monkeypatch):
    out = tmp_path / "d.safetensors"
    assert vggrepro(*to_train(drawn, out, "--seed", "1"))[0] == 0
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        stopped_in(1, patch)
        status, _, err = vggrepro(*to_train(drawn, out, "--fresh"))
    assert status == 130 and "without --fresh goes on" in err and out.read_bytes() == before
    # Another training is still refused; the stopped one goes on, and replaces the net.
    status, _, err = vggrepro(*to_train(drawn, out, "--seed", "1"))
    assert status == 1 and "left by another training" in err and out.read_bytes() == before
    with monkeypatch.context() as patch:
        stopped_in(0, patch)  # never reached
        assert vggrepro(*to_train(drawn, out))[0] == 0
    assert store.read(tmp_path / "d.json").seed == 0 and out.read_bytes() != before


def test_what_ends_after_the_weights_goes_on(vggrepro, drawn, tmp_path, monkeypatch):
    out = tmp_path / "d.safetensors"

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(own_training, "_train_record", stopped)
        assert vggrepro(*to_train(drawn, out))[0] == 130
    assert out.exists() and not (tmp_path / "d.json").exists()
    assert vggrepro(*to_train(drawn, out))[0] == 0
    assert store.read(tmp_path / "d.json").status == "ok"


def test_nothing_of_the_readers_is_removed_or_replaced(vggrepro, drawn, tmp_path):
    photos = tmp_path / "birds.training"
    shutil.copytree(drawn, photos)
    status, _, err = vggrepro(*to_train(photos, tmp_path / "birds.safetensors"))
    assert status == 1 and "in the way" in err and len(list(photos.glob("*/*.png"))) == 40
    picture = tmp_path / "cat.png"
    picture.touch()
    status, _, err = vggrepro(*to_train(drawn, tmp_path / "cat.safetensors"))
    assert status == 1 and "cat.png is there already" in err and picture.stat().st_size == 0
    # What a killed process was writing is in nobody's way.
    (tmp_path / "d.training").mkdir()
    (tmp_path / "d.training" / ".writing-1").touch()
    assert vggrepro(*to_train(drawn, tmp_path / "d.safetensors", "--epochs", "1"))[0] == 0
    assert not (tmp_path / "d.training").exists()


def test_a_home_folder_is_known_behind_an_equals_sign(vggrepro, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d.safetensors").touch()
    status, _, err = vggrepro("train", "D", drawn, "--out=~/d.safetensors", *TINY, *PLAIN)
    assert status == 1 and f"{tmp_path / 'd.safetensors'} is there already" in err
    status, _, err = vggrepro("verify", "--results-dir=~/records")
    assert status == 1 and str(tmp_path / "records") in err


def test_names_in_any_script_are_recorded(vggrepro, drawn, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(drawn, photos)
    (photos / synthetic.CLASSES[0]).rename(photos / "gros\u00a0chat")  # a space, and not printable
    out = tmp_path / "vögel犬٣.safetensors"
    status, said, err = vggrepro(*to_train(photos, out, "--epochs", "1"))
    assert status == 0, err
    assert r"gros\xa0chat" in store.read(out.with_suffix(".json")).classes
    assert store.verify([out.with_suffix(".json")]) == []
    words = shlex.split(said.strip().splitlines()[-1].split("vggrepro ")[1])
    status, _, err = vggrepro(*words, *PLAIN, "--results-dir", tmp_path / "own")
    assert status == 0, err
    status, _, err = vggrepro(*to_train(photos, tmp_path / "d².safetensors"))
    assert status == 1 and "name a file such as" in err
    square = shutil.copy(out, tmp_path / "d²½.safetensors")
    command = ("evaluate", "--weights", square, "--data-dir", photos, *PLAIN)
    status, _, err = vggrepro(*command, "--results-dir", tmp_path / "own")
    assert status == 0, err


def test_other_photos_of_the_same_names_and_sizes_are_other_photos(vggrepro, tmp_path):
    """Bitmaps of one shape have one size."""
    for folder, shade in (("first", 0), ("second", 120)):
        for name in "ab":
            path = tmp_path / folder / name / "photo.bmp"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (40, 40), (shade, ord(name), 0)).save(path)
    model = vgg.VGG("A", 2, width=0.0625, crop=32, hidden=16, input_divisor=60)
    vgg.initialise(model, "he", seed=0)
    model.set_pixel_mean((120.0, 119.0, 118.0))
    vgg.save_weights(model, tmp_path / "net.safetensors")
    losses = set()
    for folder in ("first", "second"):
        status, said, err = vggrepro(
            *("evaluate", "--weights", tmp_path / "net.safetensors", "--data-dir"),
            *(tmp_path / folder, *PLAIN, "--results-dir", tmp_path / "own", "--scales", "256"),
        )
        assert status == 0, err
        losses.add(store.read(Path(said.splitlines()[-1])).log_loss)
    assert len(losses) == 2


@pytest.mark.parametrize(("minival_error", "said"), [(75.0, True), (74.0, False)])
def test_a_training_that_ends_at_chance_says_so(
    vggrepro, drawn, tmp_path, monkeypatch, minival_error, said
):
    whole = own_training._train_record

    def ended(asked, model, training):
        record = whole(asked, model, training)
        last = replace(record.curve[-1], minival_error=minival_error)
        return record.model_copy(update={"curve": (*record.curve[:-1], last)})

    monkeypatch.setattr(own_training, "_train_record", ended)
    status, out, err = vggrepro(*to_train(drawn, tmp_path / "d.safetensors", "--epochs", "1"))
    assert status == 0, err
    assert ("no better than chance" in out) == said


def test_a_training_that_diverges_leaves_its_record(vggrepro, drawn, tmp_path):
    out = tmp_path / "d.safetensors"
    status, _, err = vggrepro(*to_train(drawn, out, "--learning-rate", "1e6"))
    assert status == 1 and "a smaller --learning-rate" in err and not out.exists()
    assert store.read(tmp_path / "d.json").status == "diverged"

    assert vggrepro(*to_train(drawn, out, "--fresh"))[0] == 0
    before = [(tmp_path / f"d{suffix}").read_bytes() for suffix in own_training.WRITTEN]
    status, _, err = vggrepro(*to_train(drawn, out, "--learning-rate", "1e6", "--fresh"))
    assert status == 1 and f"{out} stays as it was" in err
    assert [(tmp_path / f"d{suffix}").read_bytes() for suffix in own_training.WRITTEN] == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--start", "xavier"], "unknown --start 'xavier'"),
        (["--epochs", "0"], "epochs must be"),
        (
            ["--train-scale", "big"],
            "S such as 256, or 256-512 for jitter, from 224 to 4096, not 'big'",
        ),
        (["--train-scale", "512-256"], "not '512-256'"),
        (["--train-scale", "8"], "not '8'"),
        (["--train-scale", "256-10000"], "not '256-10000'"),
        (["--width", "0"], "width must be"),
        (["--crop", "16"], "crop must be"),
        (["--dropout", "1"], "dropout must be"),
        *((["--epochs", value], "epochs must be") for value in ("-1", "1000000")),
        *((["--batch-size", value], "batch_size must be") for value in ("0", "-8", "1000000")),
        *(
            ([f"--{name}", value], f"{name.replace('-', '_')} must be")
            for name in ("learning-rate", "weight-decay", "width", "dropout")
            for value in ("nan", "inf", "-1", "1e300")
        ),
        *((["--crop", value], "crop must be") for value in ("0", "-64", "100000")),
        *((["--hidden", value], "hidden must be") for value in ("0", "-1", "100000")),
        (["--out", "d.pth"], "name a file such as d.safetensors"),
    ],
)
def test_wrong_options_of_train_get_one_line(vggrepro, drawn, tmp_path, more, message):
    status, _, err = vggrepro(*to_train(drawn, tmp_path / "d.safetensors", *more))
    assert status == 1 and len(err.strip().splitlines()) == 1
    assert err.startswith("vggrepro: ") and message in err


def test_photos_that_cannot_be_trained_on(vggrepro, drawn, tmp_path):
    out = tmp_path / "d.safetensors"
    assert "unknown config 'vgg16'" in (err := vggrepro("train", "vgg16", drawn, "--out", out)[2])
    assert "VGG-11, 13, 16, 19 are A, B, D, E" in err
    assert "does not exist" in vggrepro(*to_train(tmp_path / "none", out))[2]
    (tmp_path / "one" / "cat").mkdir(parents=True)
    assert "holds no images" in vggrepro(*to_train(tmp_path / "one", out))[2]
    shutil.copytree(drawn / synthetic.CLASSES[0], tmp_path / "one" / "cat", dirs_exist_ok=True)
    assert "one class only" in vggrepro(*to_train(tmp_path / "one", out))[2]
    assert "has no class folders" in vggrepro(*to_train(drawn / synthetic.CLASSES[0], out))[2]
    assert list(tmp_path.glob("d.*")) == []
