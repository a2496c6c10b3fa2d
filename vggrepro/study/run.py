"""One run: its training, or its weights again, and its posteriors under every protocol asked for.

What is made of several runs, a fusion, is here too; what runs before what is in `runner`.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from vggrepro import UserError, checkpoints, distributed
from vggrepro.data import ImageSet, Photos
from vggrepro.data.cache import read_arrays, write_arrays
from vggrepro.device import Machine
from vggrepro.evaluators import Tested, combine, evaluate, outcomes, windows
from vggrepro.files import file_lock
from vggrepro.models import VGG, count_parameters, initialise, named_layers
from vggrepro.study import store
from vggrepro.study.budgets import CALIBRATION, at_budget, data_dir_option
from vggrepro.study.experiments import (
    FUSIONS,
    SECOND_ROUND,
    Evaluation,
    Experiment,
    evaluation_in,
    evaluations_of,
)
from vggrepro.study.progress import TRAINING, Part, Progress
from vggrepro.study.provenance import forget_peak, options, provenance
from vggrepro.study.records import (
    Array,
    DataUsed,
    EvalRecord,
    FusionRecord,
    Record,
    TrainRecord,
    summarise,
)
from vggrepro.study.store import Where
from vggrepro.study.workload import multiply_adds
from vggrepro.trainer import Training, images_per_epoch, train
from vggrepro.windows import scaled

# --- what a run works with ----------------------------------------------------------------


def used(images: ImageSet) -> DataUsed:
    """Which images a record is about."""
    return DataUsed(
        name=images.name, split=images.split, count=len(images), fingerprint=images.fingerprint
    )


# --- posteriors, kept beside the weights --------------------------------------------------


def save_posteriors(path: Path, key: list[str | int], tested: Tested) -> None:
    """Write what a protocol gave, and the images' targets.

    `key` names all that it depends on: weights, images, machine, processes. Raises
    `UserError` on a full disk.
    """
    about = {"key": key, "positions": tested.positions, "seconds": tested.seconds}
    arrays = {"posteriors": tested.posteriors, "targets": tested.targets}
    write_arrays(path, **arrays, about=json.dumps(about))


def load_posteriors(path: Path, key: list[str | int]) -> Tested | None:
    """What a protocol gave, or None if there is nothing that can be read and has that key."""
    try:
        kept = read_arrays(path)
        about = json.loads(str(kept["about"]))
    except Exception:  # missing, or whatever a damaged file makes NumPy and zipfile raise
        return None
    if about["key"] != key:
        return None
    return Tested(kept["posteriors"], about["positions"], about["seconds"], kept.get("targets"))


# --- a run --------------------------------------------------------------------------------


def build(experiment: Experiment, num_classes: int) -> VGG:
    """The net that an experiment declares, not yet initialised."""
    return VGG(
        experiment.config,
        num_classes,
        width=experiment.width,
        crop=experiment.crop,
        hidden=experiment.hidden,
        dropout=experiment.dropout,
        input_divisor=experiment.input_divisor,
    )


def _fill(model: VGG, state: dict[str, torch.Tensor], where: str) -> None:
    """Load `state` into a net; raises `UserError` if it is of a net with other layers."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # a message of many lines, a key on each
        raise UserError(
            f"{where} holds the weights of a net with other layers: the row of {model.config} in "
            "CONFIGS has changed since. --fresh runs it again, --results-dir keeps both"
        ) from error


class Net(NamedTuple):
    """A trained net and the digest of its weights."""

    model: VGG
    digest: str


def weights_in(path: Path, digest: str) -> dict[str, torch.Tensor]:
    """The weights in a file, which must have that digest; raises `UserError` if not."""
    state = checkpoints.read(path)
    if checkpoints.weights_digest(state) != digest:
        raise UserError(
            f"{path} does not hold the weights of the record beside it: delete it; the "
            "run is then trained again and compared with its record"
        )
    return state


@dataclass
class Run:
    """One run in progress, or the net that it left."""

    experiment: Experiment
    seed: int
    where: Where
    machine: Machine
    bar: Progress = field(default_factory=Progress)

    @cached_property
    def folder(self) -> Path:
        """Where its records and its weights are."""
        return store.folder_of(self.where.results_dir, self.experiment, self.seed)

    def complete(self) -> str | None:
        """Do what is missing of the training and of the evaluations.

        Returns why there are no weights for others to start from, None if there are.
        """
        done = None if self.where.fresh else self.trained()
        missing = distributed.first(lambda: self._missing(done))
        if done is not None and done.status == "diverged":
            self.say(f"recorded as diverged: {done.reason}")
            return "recorded as diverged"
        if done is not None and not missing:
            self.say("already recorded")
            return None
        forget_peak(self.machine)
        net = self.with_weights(done)
        if net is None:
            return "recorded as diverged"
        test(self, [(self, net)], {e: {"weights_digest": net.digest} for e in missing})
        return None

    def say(self, text: str) -> None:
        """Tell the user something about this run or fusion, above the progress bar."""
        if distributed.rank() == 0:
            e = self.experiment
            place = f"{e.budget}/{e.data}/{e.name} seed {self.seed}"
            tqdm.write(f"{place}: {text}", file=sys.stderr)

    def trained(self) -> TrainRecord | None:
        """The record of the training, None if there is none or it was interrupted.

        Raises `UserError` if it was made under another declaration, in another precision or, with
        photos of the reader's own, on other photos.
        """
        return distributed.first(self._trained)

    def _trained(self) -> TrainRecord | None:
        path = self.folder / "train.json"
        record = self.current(path)
        if record is None:
            return None
        if record.precision != self.machine.precision:
            raise UserError(
                f"{path} was recorded in {record.precision}, this would be {self.machine.precision}"
                f": use --precision {record.precision}, or --fresh, or another --results-dir"
            )
        if record.status == "interrupted":
            return None
        self._same_photos(path, record.data[0])
        return record

    def current(self, path: Path) -> Record | None:
        """The record at `path`, None if there is none.

        Raises `UserError` if it was made under another declaration and is not to be replaced.
        """
        try:
            return store.current(path, self.experiment)
        except store.NotRecordedError as missing:
            if path.exists() and not self.where.fresh:
                raise UserError(f"{path}: {missing}; --fresh runs it again") from missing
            return None

    def _same_photos(self, path: Path, recorded: DataUsed) -> None:
        """Raise `UserError` if a folder of photos is not the one that a record is about.

        A published set has the same photos everywhere, or cannot be loaded at all.
        """
        if self.experiment.data != "folder":
            return
        found = getattr(self.photos, recorded.split).fingerprint
        if found != recorded.fingerprint:
            raise UserError(
                f"{path} is about other photos than those in {self.where.data_dir}: choose "
                "another --results-dir, or --fresh to run it again with these"
            )

    def _missing(self, done: TrainRecord | None) -> list[Evaluation]:
        if self.experiment.budget in CALIBRATION:
            return []  # a recipe is chosen on minival: val is not looked at
        return [e for e in evaluations_of(self.experiment.name) if not self._evaluated(e, done)]

    def _evaluated(self, evaluation: Evaluation, done: TrainRecord | None) -> bool:
        path = self.folder / evaluation.file
        if done is None or not path.exists():
            return False
        record = store.read(path)
        self._same_photos(path, record.data)
        return record.weights_digest == done.weights_digest

    @cached_property
    def photos(self) -> Photos:
        """The run's photos; `load` reads them."""
        e, where = self.experiment, self.where
        options = {"size": e.data_size} if e.data_size else {}
        if e.data == "synthetic":
            options["counts"] = e.counts
        return Photos(e.data, where.data_dir, where.cache_dir, where.download, **options)

    def load(self, part: str) -> ImageSet:
        """One split of the photos, or their `pixels`; rank 0 fills the cache for the others."""
        return distributed.first_then_others(lambda: getattr(self.photos, part))

    def _parent(self) -> Net | None:
        """The net of the parent run with the same seed."""
        if self.experiment.init_from is None:
            return None
        parent = self.of(self.experiment.init_from, self.seed)
        record = parent.trained()  # it has been run before, `runner` sees to that
        with ExitStack() as held:  # another of its children may be training it again
            lock = file_lock(parent.folder / ".lock")
            distributed.first(lambda: bool(held.enter_context(lock)))
            return parent.with_weights(record, twin=True)

    def of(self, name: str, seed: int) -> "Run":
        """Another run at the same budget, on the same data, to be read rather than run again."""
        experiment = at_budget(name, self.experiment.budget, self.experiment.data)
        other = Run(experiment, seed, replace(self.where, fresh=False), self.machine, self.bar)
        other.photos = self.photos
        return other

    def with_weights(self, done: TrainRecord | None, *, twin: bool = False) -> Net | None:
        """The trained net: from its weights if they are there, else trained (again).

        None if it diverges. With `twin`, where another machine's rounding leads will do as well
        (`store.twin_path`). Raises `UserError` if the weights are not those of the record
        `done`, `KeyboardInterrupt` after an interrupted training has been recorded.
        """
        kept = distributed.first(lambda: self._kept(done, twin))
        if kept is not None:
            state = distributed.first_then_others(lambda: weights_in(*kept))
            model = build(self.experiment, len(self.load("train").classes))
            _fill(model, state, str(kept[0]))
            return Net(model, kept[1])
        model, record = self._train()
        distributed.first(lambda: self._keep(model, record, done, twin))
        if record.status == "interrupted":
            raise KeyboardInterrupt(record.reason)
        if record.status == "diverged":
            self.say(record.reason)
            return None
        return Net(model, record.weights_digest)

    def _kept(self, done: TrainRecord | None, twin: bool) -> tuple[Path, str] | None:
        """The file with the weights of the record or, failing that, of a twin, and their digest."""
        if done is None:
            return None
        digests = {self.folder / "weights.pt": done.weights_digest}
        if twin:
            twins = store.twins(self.where.results_dir, self.experiment, self.seed)
            digests |= {self._twin_weights(t): t.weights_digest for t in twins}
        return next(((path, d) for path, d in digests.items() if path.exists()), None)

    def _twin_weights(self, twin: TrainRecord) -> Path:
        return self.folder / f"weights-{twin.weights_digest[:8]}.pt"

    def _keep(self, model: VGG, record: TrainRecord, done: TrainRecord | None, twin: bool) -> None:
        """Write the record unless it is there, and the weights if there are any."""
        if done is not None and record.status == "interrupted":
            return  # trained again, not yet to its end
        path = self.folder / "train.json"
        weights = self.folder / "weights.pt"
        if done is not None and record.weights_digest != done.weights_digest:
            if not (twin and record.provenance.elsewhere(done.provenance)):
                raise UserError(
                    f"{self.folder}: trained again because weights.pt was gone, and these are not "
                    "the weights of the record (another machine, other threads, processes or "
                    "versions?). It stays; use another --results-dir, or --fresh to replace it"
                )
            path = store.twin_path(path, record.weights_digest)
            weights = self._twin_weights(record)
            self.say(f"trained again on another machine than recorded: kept as {path.name}")
        if done is None or not path.exists():
            store.write(record, path)
        (self.folder / store.BEGUN_ANEW).unlink(missing_ok=True)
        if record.status == "ok":
            checkpoints.save_weights(model, weights)
            (self.folder / "checkpoint.pt").unlink(missing_ok=True)

    def _train(self) -> tuple[VGG, TrainRecord]:
        e, parent = self.experiment, self._parent()
        # What is wrong with val is said before the training, and before hours of statistics.
        tested = () if e.budget in CALIBRATION else ("val",)
        for part in ("train", "minival", *tested, "pixels"):
            self.load(part)
        model = build(e, len(self.photos.classes))
        weights = parent and parent.model.state_dict()
        if e.inherit == "all":
            _fill(model, weights, f"{e.init_from}, which {e.name} starts from,")
        else:
            initialise(model, e.init, seed=self.seed, parent=weights)
        count = e.epochs * images_per_epoch(self.photos)
        with self._part(TRAINING, count, "img") as update:
            training = train(
                model,
                self.photos,
                e,
                self.seed,
                device=self.machine,
                checkpoint=self.folder / "checkpoint.pt" if self.where.checkpoints else None,
                progress=lambda stage, images: update(images, found=stage == "resumed"),
            )
        if training.status == "interrupted":
            training.reason += "; the same command without --fresh goes on from there"
        return model, self._train_record(model, training, parent and parent.digest)

    def _part(
        self, part: Part, count: int, unit: str
    ) -> AbstractContextManager[Callable[..., None]]:
        task, work = (self.experiment.name, self.seed), multiply_adds(self.experiment, part)
        return self.bar.part(task, part, work, count, unit)

    def _train_record(
        self, model: VGG, training: Training, parent_digest: str | None
    ) -> TrainRecord:
        photos = self.photos
        first = named_layers(model)["conv1_1"].weight.detach().float().cpu().numpy()
        return TrainRecord(
            status=training.status,
            reason=training.reason,
            data=(used(photos.train), used(photos.minival)),
            parent_weights=parent_digest,
            parameters=count_parameters(model),
            pixel_mean=tuple(round(float(m), 4) for m in photos.pixels.mean),
            weights_digest=checkpoints.weights_digest(model.state_dict()),
            curve=tuple(training.curve),
            arrays={"first_layer_filters": Array.of(first.astype("float16"))},
            **self.made(training.seconds, training.images),
        )

    @property
    def command(self) -> str:
        """What makes the same record again."""
        e, world = self.experiment, distributed.world()
        # The ranks may have been spread over machines; the result is that of as many on one.
        torchrun = f"torchrun --nproc-per-node {world} -m " if world > 1 else ""
        return (
            f"{torchrun}vggrepro run {e.name} --budget {e.budget} --data {e.data}"
            f"{data_dir_option(e.data)} --seed {self.seed} {options(self.machine)}"
        )

    def made(self, seconds: float, images: int) -> dict[str, Any]:
        """The fields that every record of this run has, made of so many images."""
        return {
            "experiment": json.loads(json.dumps(asdict(self.experiment))),
            "seed": self.seed,
            "precision": self.machine.precision,
            "provenance": provenance(self.machine, self.command, seconds, images),
        }

    def keep(self, evaluation: Evaluation, tested: Tested, **rests_on: Any) -> None:
        """Write the record of an evaluation or, with `parents`, of a fusion, and say its error.

        Of the second round nobody sees an error before it is complete (`second_round`).
        """
        val, e = self.photos.val, self.experiment  # on rank 0 alone
        record = (FusionRecord if "parents" in rests_on else EvalRecord)(
            protocol=evaluation.protocol,
            test_scales=evaluation.test_scales,
            test_pixels=tuple(scaled(q, e.crop) for q in evaluation.test_scales),
            data=used(val),
            positions=tested.positions,
            **summarise(*outcomes(tested.posteriors, val.targets)),
            **rests_on,
            **self.made(tested.seconds, len(val)),
        )
        store.write(record, self.folder / evaluation.file)
        hidden = e.name in SECOND_ROUND
        found = "recorded" if hidden else f"top-1 error {record.top1_error:.2f} %"
        self.say(f"{evaluation.name}: {found}")

    def tested(self, net: Net, parts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Tested]:
        """What each (protocol, Q) gives for this run's net, kept from earlier or found now.

        On rank 0; the others need not have what was kept.
        """
        val = self.load("val")
        key = [net.digest, val.fingerprint, *self.machine.key()]
        if distributed.world() > 1:  # as it was before there were several processes
            key.append(distributed.world())
        kept = self.folder / "posteriors"
        paths = {(protocol, q): kept / f"{protocol}-{q}.npz" for protocol, q in parts}
        tested: dict[tuple[str, int], Tested] = {}

        def look() -> list[tuple[str, int]]:
            tested.update({part: load_posteriors(path, key) for part, path in paths.items()})
            return [part for part, found in tested.items() if found is None]

        missing = distributed.first(look)
        if not missing:
            return tested
        net.model.set_pixel_mean(self.load("pixels").mean)
        crop = self.experiment.crop
        for protocol, q in missing:
            count = len(windows(protocol, val, scaled(q, crop), crop))
            with self._part((protocol, q), count, "windows") as update:
                found = evaluate(net.model, val, protocol, q, device=self.machine, progress=update)
            distributed.first(partial(save_posteriors, paths[protocol, q], key, found))
            tested[protocol, q] = found
        return tested


# --- evaluations and fusions --------------------------------------------------------------


def test(
    run: Run, nets: Iterable[tuple[Run, Net]], evaluations: dict[Evaluation, dict[str, Any]]
) -> None:
    """Test nets, each protocol at each scale once, and write the mean that an evaluation declares.

    It is the record of `run`, of one net or of a fusion, with the fields that go with it.
    """
    found: dict[Evaluation, list[Tested]] = {evaluation: [] for evaluation in evaluations}
    for this, net in nets:
        own = {evaluation: evaluation_in(evaluation, this.experiment.name) for evaluation in found}
        tested = this.tested(net, [part for e in own.values() for part in e.parts])
        if distributed.rank() == 0:
            for evaluation, here in own.items():
                found[evaluation].append(combine([tested[part] for part in here.parts]))
    run.load("val")

    def write() -> None:
        for evaluation, rests_on in evaluations.items():
            run.keep(evaluation, combine(found[evaluation]), **rests_on)

    distributed.first(write)


def fuse(fusion: Run) -> None:
    """Make the records of a fusion that are missing, or all of them with `fresh`.

    `fusion` says which, with which seed and where, as for a run; its nets are trained already.
    """
    declared = FUSIONS[fusion.experiment.name]
    nets = [fusion.of(*member) for member in declared.members(fusion.seed)]
    trained = [net.trained() for net in nets]
    weights = [record.weights_digest for record in trained]
    parents = {e: dict(zip(_names(nets, e), weights, strict=True)) for e in declared.evaluations}
    todo = distributed.first(lambda: [e for e in parents if not _made(fusion, e, parents[e])])
    if not todo:
        fusion.say("already recorded")
        return
    digest = hashlib.sha256(json.dumps(weights).encode()).hexdigest()
    rests_on = {e: {"weights_digest": digest, "parents": parents[e]} for e in todo}
    of_each = zip(nets, trained, strict=True)
    test(fusion, ((net, net.with_weights(record)) for net, record in of_each), rests_on)


def _names(nets: list[Run], evaluation: Evaluation) -> list[str]:
    """What of each net takes part: `D-jitter/seed0/dense-384`."""
    runs = [(net.experiment.name, net.seed) for net in nets]
    return [f"{run}/seed{seed}/{evaluation_in(evaluation, run).name}" for run, seed in runs]


def _made(fusion: Run, evaluation: Evaluation, parents: dict[str, str]) -> bool:
    path = fusion.folder / evaluation.file
    return not fusion.where.fresh and path.exists() and store.read(path).parents == parents
