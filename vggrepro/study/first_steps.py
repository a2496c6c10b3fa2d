"""A net's first steps: the signal before them, the loss in each of them, the signal after.

What is measured is declared in `starts`. One record for each net and start, so that what a
killed command has done is not done again.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from vggrepro import UserError, checkpoints
from vggrepro.augmentations import centre_crops
from vggrepro.data import Photos
from vggrepro.device import Machine
from vggrepro.models import VGG, initialise, named_layers
from vggrepro.recipe import single_scale
from vggrepro.signal import LayerSignal, measure, rms
from vggrepro.study import starts, store
from vggrepro.study.experiments import Experiment
from vggrepro.study.progress import Progress
from vggrepro.study.provenance import describe
from vggrepro.study.records import FirstStepsRecord, Signal
from vggrepro.study.run import Run, build, used, weights_in
from vggrepro.study.runner import complain, lock
from vggrepro.study.starts import PARENT
from vggrepro.study.store import Where
from vggrepro.trainer import batches, rescaled, seed_dropout, sgd, step
from vggrepro.windows import PAPER_CROP, scaled

IMAGES = 16  # of which the signal is taken


@dataclass(kw_only=True)
class FirstSteps(Run):
    """One net from one start, to be measured in its first `count` steps.

    `parent` is the net whose layers it takes, if it starts from one.
    """

    count: int
    parent: "FirstSteps | None"

    @property
    def path(self) -> Path:
        """Where its record belongs."""
        return self.folder / "first-steps.json"

    @property
    def command(self) -> str:
        """What makes the same record again."""
        e = self.experiment
        return (
            f"vggrepro first-steps {e.name} --data {e.data} --steps {self.count} --crop {e.crop} "
            f"--batch {e.batch_size} --width {e.width:g} --seed {self.seed} "
            f"--precision {self.machine.precision} --threads {torch.get_num_threads()}"
        )

    def recorded(self) -> FirstStepsRecord | None:
        """The record if there is one.

        Raises `UserError` if it, or that of another seed, was made with other sizes: all seeds of
        a net stand in one table, so that it would be known only after the measuring. With `fresh`
        it may be, but for those of other seeds, which are never replaced.
        """
        ours = starts.sizes(asdict(self.experiment), self.count, self.machine.precision)
        unlike = {}
        for path in sorted(self.folder.parent.glob("seed*/first-steps.json")):
            record = store.read(path)
            theirs = starts.sizes(record.experiment, record.steps, record.precision)
            if theirs != ours and not (self.where.fresh and path == self.path):
                unlike[path] = theirs
        if unlike:
            path, theirs = next(iter(unlike.items()))
            there, here = (
                " ".join(f"{name} {made[name]}" for name in ours if theirs[name] != ours[name])
                for made in (theirs, ours)
            )
            others = " ".join(str(one.parent) for one in unlike if one != self.path)
            todo = [f"remove {others}"] if others else []
            todo += ["--fresh measures again"] if self.path in unlike else []
            raise UserError(
                f"{path} was made with {there}, this would be with {here}: {', then '.join(todo)}, "
                "or choose another --results-dir, or the same sizes"
            )
        return self.current(self.path)

    def measure(self, step: Callable[[], None]) -> str | None:
        """Measure and record it, telling `step` of every step; returns why not, if it cannot be."""
        name, parent = self.experiment.name, self.parent
        with ExitStack() as held:
            if not lock(self.folder, held):
                return f"another process is at {name}"
            started = parent and parent.recorded()
            if parent and (not started or started.status != "ok"):
                why = "diverged" if started else "is not recorded"
                return f"{name} starts from {parent.experiment.name}, which {why}"
            if not self.where.fresh and self.recorded():
                return None  # another command has done it meanwhile
            model, record = self.measured(step)
            store.write(record, self.path)
            if name == PARENT and record.status == "ok":
                checkpoints.save_weights(model, self.folder / "weights.pt")
        losses = record.losses
        last = f"loss {losses[0]:.3g} -> {losses[-1]:.3g}" if losses else ""
        self.say(record.reason or f"{last} in {self.count} steps")
        return None

    def weights(self) -> tuple[dict[str, torch.Tensor], str]:
        """The weights that another net starts from, and their digest.

        Trained again if only the record is there: then they have to be those of the record.
        """
        record, path = self.recorded(), self.folder / "weights.pt"
        if not path.exists():
            checkpoints.save_weights(self.measured(lambda: None)[0], path)
        return weights_in(path, record.weights_digest), record.weights_digest

    def measured(self, step: Callable[[], None]) -> tuple[VGG, FirstStepsRecord]:
        """The net after its first steps, and their record."""
        e, photos, machine, clock = self.experiment, self.photos, self.machine, time.perf_counter()
        weights, digest = self.parent.weights() if self.parent else (None, None)

        def started(crop: int) -> VGG:
            torch.manual_seed(self.seed)
            # As PyTorch starts it, biases and all.
            model = build(replace(e, crop=crop), len(photos.classes))
            model.set_pixel_mean(photos.pixels.mean)
            if e.init != "pytorch":
                initialise(model, e.init, seed=self.seed, parent=weights)
            return model.to(machine.device, memory_format=torch.channels_last)

        # Net A's fc6 fits one size of crop only.
        crops = (e.crop,) if self.parent else (e.crop, PAPER_CROP)
        before = tuple(signal_of(started(crop), e, photos, machine) for crop in crops)
        model = started(e.crop)
        losses, reason = take_steps(model, e, self.seed, photos, machine, self.count, step)
        after = None if reason else signal_of(model, e, photos, machine)
        if after and not np.isfinite([after.activation, after.gradient, after.weight]).all():
            reason = f"the net's signal was no longer finite after step {self.count}"
            after = None
        seconds = time.perf_counter() - clock
        return model, FirstStepsRecord(
            status="diverged" if reason else "ok",
            reason=reason,
            data=(used(photos.train),),
            classes=len(photos.classes),
            parent_weights=digest,
            pixel_mean=tuple(round(float(m), 4) for m in photos.pixels.mean),
            before=before,
            after=after,
            steps=self.count,
            losses=losses,
            weights_digest=checkpoints.weights_digest(model.state_dict()),
            **self.made(seconds, len(losses) * e.batch_size),
        )


def run(experiments: list[Experiment], seed: int, count: int, where: Where) -> list[Path]:
    """Measure each net and start that is not recorded yet; returns where the records are.

    What another starts from comes before it, as in `starts.chosen`. `count` is the number of
    steps. A start that diverges is recorded as such, and what starts from it is left out; so is
    what another process is at. Raises `UserError` for bad input or a record of one of these nets
    with other sizes, before anything is measured; and at the end if something was left out.
    """
    chosen = where.machine()
    print(f"device: {describe(chosen)}", file=sys.stderr)
    nets: dict[str, FirstSteps] = {}
    for e in experiments:
        parent = nets.get(e.init_from)
        nets[e.name] = FirstSteps(e, seed, where, chosen, count=count, parent=parent)
    todo = [net for net in nets.values() if not net.recorded() or where.fresh]
    if todo:
        todo[0].photos.check()  # before a folder is made that looks like a begun run
    left_out = []
    with Progress({(net.experiment.name, seed): count for net in todo}) as bar:
        for net in todo:
            task = (net.experiment.name, seed)
            with bar.part(task, "first steps", count, count, "steps") as update:
                if problem := net.measure(update):
                    net.say(f"left out: {problem}")
                    left_out.append(problem)
            bar.finish(task)
    complain(left_out)
    return [net.path for net in nets.values()]


def signal_of(model: VGG, experiment: Experiment, photos: Photos, chosen: Machine) -> Signal:
    """The signal at every layer for evenly spread training images, by centre crop, in float32."""
    some, q = photos.train.evenly(IMAGES), scaled(single_scale(experiment), model.crop)
    x = model.normalised(chosen.send(centre_crops(photos.train, some, q, model.crop)))
    x = x.contiguous(memory_format=torch.channels_last)
    targets = chosen.send(torch.from_numpy(photos.train.targets[some]))
    found = measure(model, named_layers(model), x, targets)
    at_each = {
        name: tuple(_short(getattr(layer, name)) for layer in found.values())
        for name in LayerSignal._fields
    }
    return Signal(
        crop=model.crop,
        images=len(some),
        input=_short(rms(x)),
        layers=tuple(found),
        **at_each,
    )


def _short(value: float) -> float:
    """Six digits are enough for a figure."""
    return float(f"{value:.6g}")


def take_steps(
    model: VGG,
    experiment: Experiment,
    seed: int,
    photos: Photos,
    chosen: Machine,
    count: int,
    progress: Callable[[], None] = lambda: None,
) -> tuple[tuple[float, ...], str | None]:
    """Train for `count` steps as Section 3.1 does, and note the loss of each before its update.

    The finite losses, and why there are no more of them.
    """
    optimizer, losses = sgd(model, experiment), []
    cut = rescaled(photos, experiment, model)
    for epoch in itertools.count():
        seed_dropout(seed, epoch)
        model.train()
        for batch in batches(cut, experiment, seed, epoch):
            loss = float(step(model, optimizer, batch, chosen)[0]) / batch.size
            if not math.isfinite(loss):
                return tuple(losses), f"the loss was no longer finite at step {len(losses) + 1}"
            losses.append(_short(loss))
            progress()
            if len(losses) == count:
                return tuple(losses), None


def table(paths: list[Path]) -> pd.DataFrame:
    """What became of each of these first steps, for a terminal: a row for each record."""
    rows = {}
    for r in map(store.read, paths):
        rows[f"{r.run} seed {r.seed}"] = {
            "logits": f"{r.signal_at(r.experiment['crop']).activation[-1]:.2g}",
            "step/weight": f"{r.first_step:.2g}",
            "first loss": f"{r.losses[0]:.3g}" if r.losses else "–",
            "last": f"{r.last_loss:.3g}" if r.status == "ok" else "–",
            "outcome": r.outcome,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
