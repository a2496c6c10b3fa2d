"""From a declaration to records: parents first, training, then every evaluation it needs.

What is recorded already is skipped, what was interrupted goes on, and two processes in one
folder never do the same run twice.
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from vggrepro import UserError, checkpoints, data, machine, results
from vggrepro.budgets import at_budget
from vggrepro.data import ImageSet
from vggrepro.evaluators import Tested, combine, evaluate, outcomes
from vggrepro.experiments import Evaluation, Experiment, evaluations_of, in_order, scaled
from vggrepro.machine import Machine
from vggrepro.models import VGG, count_parameters, initialise, named_layers
from vggrepro.records import Array, DataUsed, EvalRecord, TrainRecord, summarise
from vggrepro.trainer import Sets, Training, build, train


@dataclass(frozen=True)
class Where:
    """Where a run reads and writes, and on what it computes.

    Only `precision` and `threads` can change the bits of a result; records name both.
    """

    results_dir: Path
    data_dir: Path | None = None
    cache_dir: Path | None = None
    download: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    fresh: bool = False


def run(names: list[str], budget: str, data_name: str | None, seeds: list[int], where: Where):
    """Train and evaluate `names` and their parents for each seed, one seed of all before the next.

    Raises `UserError` for bad input, `KeyboardInterrupt` after an interrupted training has been
    recorded.
    """
    chosen = machine.choose(where.device, where.precision, where.threads)
    print(f"device: {machine.describe(chosen)}", file=sys.stderr)
    for seed in seeds:
        for name in in_order(names):
            experiment = at_budget(name, budget, data_name)
            # Only what was asked for is run again; its parents are reused.
            run_one(experiment, seed, replace(where, fresh=where.fresh and name in names), chosen)


def run_one(experiment: Experiment, seed: int, where: Where, chosen: Machine) -> None:
    """One run with one seed: its training record and all its evaluation records.

    Raises `UserError` if another process is at it.
    """
    folder = results.folder_of(where.results_dir, experiment, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", blocking=False).acquire()
    except Timeout as error:
        raise UserError(f"another process is working on {folder}; wait for it to end") from error
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        if where.fresh:
            for old in ("checkpoint.pt", "weights.pt"):
                (folder / old).unlink(missing_ok=True)
        Run(experiment, seed, where, chosen, folder).complete()


@dataclass
class Run:
    """One run in progress."""

    experiment: Experiment
    seed: int
    where: Where
    machine: Machine
    folder: Path

    def complete(self) -> None:
        """Do what is missing of the training and of the evaluations."""
        done = None if self.where.fresh else self._trained()
        missing = [e for e in evaluations_of(self.experiment.name) if not self._evaluated(e, done)]
        if done is not None and done.status == "diverged":
            self._say(f"recorded as diverged: {done.reason}")
            return
        if done is not None and not missing:
            self._say("already recorded")
            return
        model = self._with_weights(done)
        if model is not None:
            self._evaluate(model, missing)

    def _say(self, text: str) -> None:
        e = self.experiment
        tqdm.write(f"{e.budget}/{e.data}/{e.name} seed {self.seed}: {text}", file=sys.stderr)

    def _trained(self) -> TrainRecord | None:
        path = results.train_path(self.where.results_dir, self.experiment, self.seed)
        try:
            record = results.current(path, self.experiment)
        except results.NotRecordedError as missing:
            if path.exists():
                raise UserError(f"{path}: {missing}; --fresh runs it again") from missing
            return None
        if record.precision != self.machine.precision:
            raise UserError(
                f"{path} was recorded in {record.precision}, this would be {self.machine.precision}"
                f": use --precision {record.precision}, or --fresh, or another --results-dir"
            )
        return None if record.status == "interrupted" else record

    def _evaluated(self, evaluation: Evaluation, done: TrainRecord | None) -> bool:
        path = results.eval_path(self.where.results_dir, self.experiment, self.seed, evaluation)
        if done is None or not path.exists():
            return False
        return results.read(path).weights_digest == done.weights_digest

    def _load(self, split: str) -> ImageSet:
        e = self.experiment
        options = {"size": e.data_size} if e.data_size else {}
        if e.data == "synthetic":
            options["counts"] = e.counts
        return data.load(
            e.data,
            split,
            self.where.data_dir,
            cache_dir=self.where.cache_dir,
            download=self.where.download,
            **options,
        )

    def _sets(self) -> Sets:
        trained_on = self._load("train")
        pixels = data.pixel_statistics(trained_on, self.where.cache_dir)
        return Sets(trained_on, self._load("minival"), pixels)

    def _parent(self) -> tuple[dict[str, torch.Tensor], str] | None:
        """Weights of the parent run with the same seed, and their digest."""
        if self.experiment.init_from is None:
            return None
        e = self.experiment
        parent = at_budget(e.init_from, e.budget, e.data)
        record = results.current(
            results.train_path(self.where.results_dir, parent, self.seed), parent
        )
        if record.status != "ok":
            raise UserError(
                f"{e.name} starts from {parent.name}, which is recorded as {record.status}: "
                f"{record.reason}"
            )
        folder = results.folder_of(self.where.results_dir, parent, self.seed)
        of_parent = Run(parent, self.seed, replace(self.where, fresh=False), self.machine, folder)
        return of_parent._with_weights(record).state_dict(), record.weights_digest

    def _with_weights(self, done: TrainRecord | None) -> VGG | None:
        """The trained net: from its weights if they are there, else trained (again)."""
        path = self.folder / "weights.pt"
        if done is not None and path.exists():
            state = checkpoints.load_weights(path)
            if checkpoints.weights_digest(state) != done.weights_digest:
                raise UserError(
                    f"{path} does not hold the weights of the record beside it: delete it; the "
                    "run is then trained again and compared with its record"
                )
            model = build(self.experiment, len(self._load("minival").classes))
            model.load_state_dict(state)
            return model.to(self.machine.device, memory_format=torch.channels_last)
        model, record = self._train()
        if done is not None and record.weights_digest != done.weights_digest:
            raise UserError(
                f"{self.folder}: trained again because weights.pt was gone, and the weights are "
                "not those of the record (another machine, other threads or versions?). The "
                "record stays; use another --results-dir, or --fresh to replace it"
            )
        if done is None:
            path = results.train_path(self.where.results_dir, self.experiment, self.seed)
            results.write(record, path, overwrite=True)
        if record.status == "interrupted":
            raise KeyboardInterrupt(record.reason)
        if record.status == "diverged":
            self._say(record.reason)
            return None
        checkpoints.save_weights(model, self.folder / "weights.pt")
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)
        return model

    def _train(self) -> tuple[VGG, TrainRecord]:
        e, sets, parent = self.experiment, self._sets(), self._parent()
        model = build(e, len(sets.train.classes))
        weights, parent_digest = parent or (None, None)
        if e.inherit == "all":
            model.load_state_dict(weights)
        else:
            initialise(model, e.init, seed=self.seed, parent=weights)
        address = self._address(sets, parent_digest)
        each_epoch = len(sets.train) + len(sets.fit()) + len(sets.minival)
        with self._bar(e.epochs * each_epoch) as bar:
            training = train(
                model,
                e,
                self.seed,
                sets,
                self.machine,
                self.folder / "checkpoint.pt",
                address,
                lambda stage, images: bar.update(images),
            )
        return model, self._train_record(model, sets, training, parent_digest)

    def _address(self, sets: Sets, parent_digest: str | None) -> str:
        """SHA-256 over everything that can change the result of this training."""
        parts = [
            self.experiment.digest(),
            self.seed,
            self.machine.precision,
            torch.get_num_threads(),
            sets.train.fingerprint,
            sets.minival.fingerprint,
            parent_digest,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _bar(self, total: int) -> tqdm:
        e = self.experiment
        name = f"{e.name} {e.data} seed {self.seed}"
        return tqdm(total=total, desc=name, unit=" img", unit_scale=True, mininterval=1.0)

    def _common(self, wall_seconds: float, images_per_second: float) -> dict:
        e = self.experiment
        command = (
            f"vggrepro run {e.name} --budget {e.budget} --data {e.data} --seed {self.seed} "
            f"--precision {self.machine.precision} --threads {torch.get_num_threads()}"
        )
        return {
            "experiment": json.loads(json.dumps(asdict(e))),
            "seed": self.seed,
            "precision": self.machine.precision,
            "provenance": machine.provenance(
                self.machine,
                command,
                wall_seconds=wall_seconds,
                images_per_second=images_per_second,
            ),
        }

    def _train_record(
        self, model: VGG, sets: Sets, training: Training, parent_digest: str | None
    ) -> TrainRecord:
        first = named_layers(model)["conv1_1"].weight.detach().float().cpu().numpy()
        return TrainRecord(
            status=training.status,
            reason=training.reason,
            data=(_used(sets.train), _used(sets.minival)),
            parent_weights=parent_digest,
            parameters=count_parameters(model),
            pixel_mean=tuple(round(float(m), 4) for m in sets.pixels.mean),
            weights_digest=checkpoints.weights_digest(model.state_dict()),
            curve=tuple(training.curve),
            arrays={"first_layer_filters": Array.of(first.astype("float16"))},
            **self._common(training.seconds, training.images_per_second),
        )

    def _evaluate(self, model: VGG, evaluations: list[Evaluation]) -> None:
        """Each protocol at each scale once, then every evaluation as the mean it declares."""
        val, sets = self._load("val"), self._sets()
        inputs = sets.inputs(self.experiment, self.machine)
        digest = checkpoints.weights_digest(model.state_dict())
        needed = dict.fromkeys((e.protocol, q) for e in evaluations for q in e.test_scales)
        tested: dict[tuple[str, int], tuple[Tested, float]] = {}
        with self._bar(len(needed) * len(val)) as bar:
            for protocol, q in needed:
                bar.set_postfix_str(f"{protocol} Q={q}")
                started = bar.format_dict["elapsed"]
                found = evaluate(model, val, protocol, q, inputs, self.machine, bar.update)
                tested[protocol, q] = found, bar.format_dict["elapsed"] - started
        for evaluation in evaluations:
            parts = [tested[evaluation.protocol, q] for q in evaluation.test_scales]
            record = self._eval_record(evaluation, val, digest, parts)
            path = results.eval_path(self.where.results_dir, self.experiment, self.seed, evaluation)
            record = results.write(record, path, overwrite=True)
            self._say(f"{evaluation.name}: top-1 error {record.top1_error:.2f} %")

    def _eval_record(
        self,
        evaluation: Evaluation,
        val: ImageSet,
        digest: str,
        parts: list[tuple[Tested, float]],
    ) -> EvalRecord:
        together = combine([tested for tested, _ in parts])
        seconds = sum(seconds for _, seconds in parts)
        return EvalRecord(
            protocol=evaluation.protocol,
            test_scales=evaluation.test_scales,
            test_pixels=tuple(scaled(q, self.experiment.crop) for q in evaluation.test_scales),
            data=_used(val),
            positions=together.positions,
            weights_digest=digest,
            **summarise(*outcomes(together.posteriors, val.targets)),
            **self._common(seconds, len(val) / seconds if seconds else 0.0),
        )


def _used(images: ImageSet) -> DataUsed:
    return DataUsed(
        name=images.name, split=images.split, count=len(images), fingerprint=images.fingerprint
    )
