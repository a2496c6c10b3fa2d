"""Nets, weights and photos of the reader's own: what `vggrepro evaluate` does.

Records lie apart from those of runs, in `own/`, and rest on no other record: an evaluation names
its weights by their digest. Posteriors are kept beside it, so that nets can be averaged. Nets are
trained in `own_training`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torchvision import models as torchvision_models

from vggrepro import UserError, check_known
from vggrepro.checkpoints import weights_digest
from vggrepro.configs import blocks
from vggrepro.data import ImageSet, Photos, cache, ilsvrc, sources
from vggrepro.data.images import StreamedImages, streamed
from vggrepro.device import Machine
from vggrepro.evaluators import check_classes, combine, evaluate, outcomes, windows
from vggrepro.files import expanded, open_regular
from vggrepro.inputs import inputs_named
from vggrepro.models import VGG
from vggrepro.study import paper, store
from vggrepro.study.experiments import Evaluation
from vggrepro.study.progress import Progress
from vggrepro.study.provenance import describe, forget_peak, options, provenance
from vggrepro.study.records import OwnEvalRecord, summarise
from vggrepro.study.run import load_posteriors, save_posteriors, used
from vggrepro.study.runner import BusyError, lock
from vggrepro.weights import State, net_of, read
from vggrepro.windows import OF_TORCHVISION, PAPER_CROP, PROTOCOLS, RESIZES, scaled

if TYPE_CHECKING:
    import pandas as pd

SCALES = (256, 384, 512)  # the paper's Q for a net of jittered S
MOST_Q = 4096  # of a photo that large the first layers' activations take gigabytes
CHUNK = 256  # photos at once, so that memory does not grow with their number
_PUBLISHED = {"A": "VGG11", "B": "VGG13", "D": "VGG16", "E": "VGG19"}
_TRAINING_PHOTOS = (
    "a score on the photos that a net was trained on says nothing about it: use ILSVRC's "
    "validation photos (--data imagenet)"
)


class Published(NamedTuple):
    """Weights of torchvision's: their name there, and the errors that their page states, %."""

    name: str
    top1_error: float
    top5_error: float


class Net(NamedTuple):
    """A net with weights, the name of their file, and whether they are torchvision's own."""

    model: VGG
    name: str
    digest: str
    said: dict[str, Any]  # by the file, or by the record of the run beside it
    published: Published | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which net is to be tested on which photos: the options of `vggrepro evaluate`."""

    weights: str
    config: str | None = None
    inputs: str | None = None
    photos: Photos
    ground_truth: Path | None = None


@dataclass(frozen=True)
class Way:
    """How nets are tested: all but which net and which photos."""

    evaluations: tuple[Evaluation, ...]
    resize: str
    machine: Machine
    results_dir: Path
    fresh: bool = False

    def __post_init__(self) -> None:
        check_known("--resize", self.resize, RESIZES)


# --- what is asked for --------------------------------------------------------------------


def evaluations(protocols: Sequence[str], scales: Sequence[int]) -> tuple[Evaluation, ...]:
    """Each protocol at each Q and, of several Q, their mean; of two Table 5 joins by " & ".

    Raises `UserError` for an unknown protocol, and a Q below the crop or beyond any memory.
    """
    for protocol in protocols:
        for part in protocol.split(" & "):
            check_known("protocol", part, (*PROTOCOLS, *OF_TORCHVISION))
    scales = tuple(dict.fromkeys(scales))
    if not all(PAPER_CROP <= q <= MOST_Q for q in scales):
        raise UserError(
            f"--scales: Q is the paper's, for crops of {PAPER_CROP} px, so from {PAPER_CROP} to "
            f"{MOST_Q}; for a net of smaller crops it shrinks with them"
        )
    every = [(q,) for q in scales] + ([scales] if len(scales) > 1 else [])
    return tuple(Evaluation(protocol, qs) for protocol in protocols for qs in every)


def net(asked: Asked) -> Net:
    """The net of a file of weights, or of `torchvision:VGG16_Weights.IMAGENET1K_V1`.

    Raises `UserError` for weights that are not there or do not fit, or without known inputs.
    """
    config, inputs = asked.config, asked.inputs
    if config is not None:
        blocks(config)  # an unknown one is told before anything is fetched
    if isinstance(inputs, str):
        inputs_named(inputs)
    if asked.weights.startswith("torchvision:"):
        _refuse_imagenette(asked)  # before anything is fetched
        path, of = _torchvision(asked.weights.removeprefix("torchvision:"), asked.photos.download)
        config, inputs = config or of, inputs or "torchvision"
    else:
        path = expanded(asked.weights)
    state, said = read(path)
    said = _of_a_run(path, state) | said
    model = net_of(state, said, path, config, inputs)
    if model.inputs is None:
        raise UserError(
            f"{path} does not say what inputs it was trained on: --inputs paper, caffe (the "
            "authors' weights) or torchvision, or mean and deviation written out"
        )
    return Net(
        model, _name(path), weights_digest(model.state_dict()), said, _published(path, model)
    )


def _name(path: Path) -> str:
    """What the net is called: by its file or, of a run, by its folders."""
    name = path.stem if path.name != "weights.pt" else "-".join(path.absolute().parts[-3:-1])
    return "".join(c if in_a_name(c) else "-" for c in name)


def in_a_name(c: str) -> bool:
    """Whether a record's name may have it: a letter of any script, but no ² or ½."""
    return c.isalpha() or c.isdecimal() or c in "_+.-"


def _of_a_run(path: Path, state: State) -> dict[str, Any]:
    """What the record beside a run's weights says of them, if it is theirs."""
    trained = path.with_name("train.json")
    if path.name != "weights.pt" or not trained.is_file():
        return {}
    record = store.read(trained)
    if record.weights_digest != weights_digest(state):
        return {}
    e = record.declared
    inputs = (record.pixel_mean, e["input_divisor"], False)
    return {name: e[name] for name in ("config", "crop", "input_divisor")} | {"inputs": inputs}


def _torchvision(name: str, download: bool) -> tuple[Path, str]:
    """The file of published weights, and the config they are of."""
    try:
        found = torchvision_models.get_weight(name)
        (config,) = (c for c, model in _PUBLISHED.items() if name.startswith(f"{model}_Weights"))
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"torchvision has no weights {name!r} of a net of Table 1: "
            f"{', '.join(f'{model}_Weights.IMAGENET1K_V1' for model in _PUBLISHED.values())}"
        ) from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / found.url.rsplit("/", 1)[1]
    if not path.is_file():
        if not download:
            raise UserError(f"{name} is not in {path.parent}: --download fetches it (500 MB)")
        try:
            found.get_state_dict(progress=True, check_hash=True)
        except Exception as error:  # URLError, RuntimeError, OSError
            raise UserError(f"{found.url} cannot be fetched: {error}") from error
    return path, config


def _published(path: Path, model: VGG) -> Published | None:
    """Whether these are weights that torchvision publishes: by the file's digest, not its name."""
    if model.config not in _PUBLISHED or model.classifier[-1].out_features != 1000:
        return None
    digest = _file_digest(path)
    for weights in torchvision_models.get_model_weights(_PUBLISHED[model.config].lower()):
        metrics = weights.meta["_metrics"]["ImageNet-1K"]
        if weights.url.rsplit("-", 1)[1].removesuffix(".pth") == digest[:8]:
            errors = (100 - metrics["acc@1"], 100 - metrics["acc@5"])
            return Published(str(weights), *(round(error, 3) for error in errors))
    return None


def photos(net: Net, asked: Asked) -> ImageSet:
    """The photos to test a net on, none of them its training photos as far as can be told.

    Raises `UserError` for photos that are not there, of other classes than the net's, or, for a
    net of ILSVRC's 1000 classes, for ILSVRC's training photos, which Imagenette's are.
    """
    of_ilsvrc = net.model.classifier[-1].out_features == len(ilsvrc.CLASSES)
    if of_ilsvrc:
        _refuse_imagenette(asked)
    if asked.ground_truth and asked.photos.name != "imagenet":
        raise UserError("--ground-truth is of ILSVRC's validation photos: --data imagenet")
    if asked.photos.name == "imagenet" and not of_ilsvrc:  # before a million photos are measured
        outputs = net.model.classifier[-1].out_features
        raise UserError(f"this net has {outputs} outputs, and ILSVRC has 1000 classes")
    found = _found(net, asked, of_ilsvrc)
    if net.said.get("classes", list(found.classes)) != list(found.classes):
        known, here = ", ".join(net.said["classes"]), ", ".join(found.classes)
        raise UserError(f"this net was trained on the classes {known}; these are {here}")
    check_classes(net.model, found)
    names = found.images.names if isinstance(found.images, StreamedImages) else ()
    if of_ilsvrc and (strange := [name for name in names if ilsvrc.is_of_training(name)]):
        raise UserError(
            f"{len(strange)} of these photos are ILSVRC training photos by their names "
            f"({Path(strange[0]).name}; Imagenette's are), and {_TRAINING_PHOTOS}"
        )
    return found


def _refuse_imagenette(asked: Asked) -> None:
    if asked.photos.name == "imagenette":
        raise UserError(f"Imagenette's photos are ILSVRC training photos, and {_TRAINING_PHOTOS}")


def _found(net: Net, asked: Asked, of_ilsvrc: bool) -> ImageSet:
    photos = asked.photos
    if photos.data_dir is not None and photos.name == "imagenet":
        truth = asked.ground_truth
        return ilsvrc.val(photos.data_dir, ground_truth=truth, cache_dir=photos.cache_dir)
    if photos.data_dir is None or photos.name != "folder" or _set_aside(net, asked):
        photos.check()
        return photos.val
    root = expanded(photos.data_dir).resolve()
    root = next((root / part for part in ("val", "test") if (root / part).is_dir()), root)
    if of_ilsvrc:
        ilsvrc.check_classes(sources.class_names(root), root)
    found = streamed(sources.list_images(root), photos.cache_dir)
    found = replace(found, name="folder", fingerprint=_of_bytes(found))
    return ilsvrc.among_a_thousand(found) if of_ilsvrc else found


def _of_bytes(found: ImageSet) -> str:
    """A fingerprint that knows other photos of the same names and sizes: bitmaps have one size."""
    paths = [found.images.root / name for name in found.images.names]
    sha = hashlib.sha256(found.fingerprint.encode())
    for digest in cache.in_threads(_file_digest, paths, "reading photos"):
        sha.update(digest.encode())
    return sha.hexdigest()


def _file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises `UserError` for one that cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _set_aside(net: Net, asked: Asked) -> bool:
    """Whether a fifth of the photos is tested: all would be those that `train` has used, too."""
    return "photos" in net.said and _unsplit(asked)


def _unsplit(asked: Asked) -> bool:
    """Whether the photos are a folder of classes, without train and val."""
    photos = asked.photos
    here = photos.name == "folder" and photos.data_dir is not None
    return here and not sources.is_split(expanded(photos.data_dir))


def evaluate_lines(asked: Asked, way: Way) -> Iterator[str]:
    """Test a net and tell of it."""
    tested = net(asked)
    images = photos(tested, asked)
    yield (
        f"{tested.name}: config {tested.model.config}, {len(images)} photos of "
        f"{len(images.classes)} classes; {describe(way.machine)}"
    )
    if _set_aside(tested, asked):
        yield "of a folder without a split, the fifth of every class that `train` sets aside"
        if tested.said["photos"] != images.fingerprint:
            yield "these are not the photos of its training; some of them may have been"
    elif _unsplit(asked):
        yield (
            "of a folder without a split, all photos: if the net was trained on some of them, its "
            "error is too small"
        )
    yield from told(test(tested, images, way), tested.published)


# --- testing ------------------------------------------------------------------------------


def _write_record(
    way: Way,
    about: dict[str, Any],
    evaluation: Evaluation,
    nets: Sequence[tuple[Path, Evaluation]],
    seconds: float = 0.0,
) -> Path:
    """Write the record of kept posteriors: the mean of each net's in its folder, and over nets.

    One that is there stays, unless with `fresh`.
    """
    scales = evaluation.test_scales
    what = (
        f"--config {about['config']} --weights WEIGHTS --resize {about['resize']} "
        f'--protocol "{evaluation.protocol}" --scales {" ".join(map(str, scales))}'
    )
    if parents := about.get("parents"):
        what = "--fuse " + " ".join(f"{parent}.json" for parent in parents)
    command = f"vggrepro evaluate {what} {options(way.machine)}"
    record = OwnEvalRecord(
        **about,
        protocol=evaluation.protocol,
        test_scales=scales,
        test_pixels=tuple(scaled(q, about["crop"]) for q in scales),
        **summarise(*_outcomes(nets, about["data"].count)),
        provenance=provenance(way.machine, command, seconds, about["data"].count),
    )
    path = way.results_dir.joinpath(*record.place)
    if way.fresh or not path.exists():
        store.write(record, path)
    return path


def test(net: Net, images: ImageSet, way: Way) -> list[Path]:
    """The records of all evaluations of a net; what is recorded stays, what was begun goes on.

    Raises `UserError` for a Q below the crop, a full disk, or if another process is at it.
    """
    about = {
        "name": net.name,
        "config": net.model.config,
        "crop": net.model.crop,
        "classes": len(images.classes),
        "inputs": net.model.inputs,
        "resize": way.resize,
        "precision": way.machine.precision,
        "weights_digest": net.digest,
        "data": used(images),
    }
    folder = way.results_dir / OwnEvalRecord.model_construct(**about).folder
    with ExitStack() as held:
        if not lock(folder, held):
            raise BusyError(f"another process is working on {folder}; wait for it to end")
        paths = {e: folder / e.file for e in way.evaluations}
        todo = [e for e, path in paths.items() if way.fresh or not path.exists()]
        parts = dict.fromkeys(part for evaluation in todo for part in evaluation.parts)
        # Relative work is enough for the bar: the pixels of all windows of some photos.
        some, crop = images.subset(images.evenly(10)), net.model.crop
        seen = {(p, q): windows(p, some, scaled(q, crop), crop) for p, q in parts}
        work = {part: sum(w.height * w.width for _, w in found) for part, found in seen.items()}
        task, seconds = (net.name, None), {}
        forget_peak(way.machine)
        with Progress({task: sum(work.values())}) as bar:
            for part, area in work.items():
                with bar.part(task, part, area, len(images), "img") as update:
                    seconds[part] = _keep(net.model, images, part, way, folder, update)
            bar.finish(task)
        for evaluation in todo:
            spent = sum(seconds[part] for part in evaluation.parts)
            _write_record(way, about, evaluation, [(folder, evaluation)], spent)
    return list(paths.values())


def _chunks(count: int) -> list[range]:
    """So many photos, some at a time."""
    return [range(count)[start : start + CHUNK] for start in range(0, count, CHUNK)]


def _keep(
    model: VGG,
    images: ImageSet,
    part: tuple[str, int],
    way: Way,
    folder: Path,
    update: Callable[..., None],
) -> float:
    """Keep what a net says of the photos under one protocol at one Q, a file for each chunk.

    What a killed command left is gone on with, and what was damaged is made again. Returns the
    seconds that all of it took.
    """
    seconds = 0.0
    for some in _chunks(len(images)):
        place = _place(folder, part, some)
        tested = None if way.fresh else load_posteriors(*place)
        found = tested is not None
        if not found:
            tested = evaluate(
                model,
                images.subset(np.array(some)),
                *part,
                resize=way.resize,
                device=way.machine,
                progress=False,
            )
            save_posteriors(*place, tested)
        seconds += tested.seconds
        update(len(some), found=found)
    return seconds


def _place(folder: Path, part: tuple[str, int], some: range) -> tuple[Path, list[int]]:
    """The file of a chunk, and the key of what is in it."""
    protocol, test_scale = part
    path = folder / "posteriors" / f"{protocol}-{test_scale}" / f"{some.start}.npz"
    return path, [some.start, some.stop]


def _outcomes(nets: Sequence[tuple[Path, Evaluation]], count: int) -> list[np.ndarray]:
    """Per image, of the mean over nets of the mean over a net's Q: `evaluators.outcomes`."""
    found = []
    for some in _chunks(count):
        of_nets = []
        for folder, evaluation in nets:
            kept = [load_posteriors(*_place(folder, part, some)) for part in evaluation.parts]
            if None in kept:
                raise UserError(
                    f"what {folder / evaluation.file} rests on is gone or damaged: evaluate that "
                    "net again with --fresh"
                )
            of_nets.append(combine(kept))
        mean = combine(of_nets)
        found.append(outcomes(mean.posteriors, mean.targets))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


# --- averaging nets -----------------------------------------------------------------------


def fuse(paths: Sequence[Path], way: Way) -> Path:
    """The record of several nets whose posteriors are averaged (Section 4.4).

    All were tested on the same photos under one protocol, each at its own Q. Raises `UserError`
    for fewer than two, other photos or protocols, or posteriors that are gone or damaged.
    """
    records = {path.absolute(): _to_fuse(path.absolute()) for path in paths}
    if len(records) < 2:
        raise UserError("--fuse averages nets: name the records of at least two evaluations")
    (start, first), *_ = records.items()
    for path, record in records.items():
        if record.data != first.data or record.classes != first.classes:
            raise UserError(f"{path} is about other photos than {start}")
        if record.protocol != first.protocol:
            raise UserError(f"{path} is of {record.protocol}, {start} of {first.protocol}")
    scales = {record.test_scales for record in records.values()}
    evaluation = Evaluation(first.protocol, first.test_scales if len(scales) == 1 else ())
    parents = {f"{p.parent.name}/{p.stem}": r.weights_digest for p, r in records.items()}
    about = {
        "name": "+".join(record.name for record in records.values()),
        "config": "+".join(record.config for record in records.values()),
        "crop": first.crop,
        "classes": first.classes,
        "inputs": None,
        "resize": "+".join(dict.fromkeys(record.resize for record in records.values())),
        "precision": "+".join(dict.fromkeys(record.precision for record in records.values())),
        "weights_digest": hashlib.sha256(json.dumps(parents).encode()).hexdigest(),
        "data": first.data,
        "parents": parents,
    }
    nets = [(path.parent, record.evaluation) for path, record in records.items()]
    return _write_record(way, about, evaluation, nets)


def _to_fuse(path: Path) -> OwnEvalRecord:
    record = store.read(path)
    if not isinstance(record, OwnEvalRecord) or record.parents:
        raise UserError(f"{path} is no record of one net that `vggrepro evaluate` has tested")
    return record


# --- what is told -------------------------------------------------------------------------


def told(paths: Sequence[Path], published: Published | None = None) -> Iterator[str]:
    """The table of these records, and where they are."""
    yield table(paths, published).to_string(index=False)
    if published is not None:
        yield (
            f"{published.name}: its page says {_errors(*published[1:])} "
            "(--protocol single-crop --scales 256 --resize torchvision)"
        )
    yield "errors in percent; written to:"
    yield from map(str, paths)


def table(paths: Sequence[Path], published: Published | None = None) -> "pd.DataFrame":
    """Top-1 and top-5 errors in percent, by protocol and Q, with what the paper has there.

    The paper's numbers are for ILSVRC's classes; `published` is what torchvision states of these
    weights, at one crop of Q = 256.
    """
    import pandas as pd

    rows = []
    for record in map(store.read, paths):
        row = {
            "net": record.name,
            "protocol": record.protocol,
            "Q": "+".join(map(str, record.test_scales)) or "own",
            "photos": record.data.count,
            "top-1": f"{record.top1_error:.2f}",
            # Of ten classes five are half.
            "top-5": f"{record.top5_error:.2f}" if record.classes > 10 else "-",
        }
        if record.classes == len(ilsvrc.CLASSES) and record.crop == PAPER_CROP:
            row["the paper"] = _of_the_paper(record)
            if published is not None:
                way = (record.protocol, record.test_scales, record.resize)
                here = way == ("single-crop", (256,), "torchvision")
                row["their page"] = _errors(*published[1:]) if here else "-"
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def _errors(top1: float, top5: float) -> str:
    return f"{top1:.2f} / {top5:.2f}"


def _of_the_paper(record: OwnEvalRecord) -> str:
    """The paper's top-1 and top-5 errors of that net, protocol and Q, for each S that it has."""
    wanted = (record.config, record.protocol, ",".join(map(str, record.test_scales)))
    rows = [
        row
        for number in (3, 4, 5)
        for row in paper.table(number)
        if (row.net, row.protocol, row.test_scales) == wanted
    ]
    values = {(row.train_scale, row.metric): row.value for row in rows}
    texts = (
        f"{_errors(values[s, 'top1_error'], values[s, 'top5_error'])} (S = {s})"
        for s in dict.fromkeys(row.train_scale for row in rows)
    )
    return ", ".join(texts) or "-"
