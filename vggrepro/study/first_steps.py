"""A net's first steps: the signal before them, the loss in each of them, the signal after.

What is measured is declared in `starts`. One record for each net and start, so that what a
killed command has done is not done again.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from vggrepro import UserError, checkpoints, cost
from vggrepro.augmentations import centre_crops
from vggrepro.data import Photos
from vggrepro.device import Machine, choose
from vggrepro.models import VGG, initialise, named_layers
from vggrepro.recipe import single_scale
from vggrepro.signal import measure, rms
from vggrepro.study import starts, store
from vggrepro.study.experiments import Experiment
from vggrepro.study.provenance import describe
from vggrepro.study.records import FirstStepsRecord, Signal
from vggrepro.study.run import Run, build, common, photos_of, say, used
from vggrepro.study.runner import lock
from vggrepro.study.starts import PARENT
from vggrepro.study.where import Where
from vggrepro.trainer import batches, rescaled, seed_dropout, sgd, step
from vggrepro.windows import PAPER_CROP, scaled

IMAGES = 16  # of which the signal is taken


@dataclass(frozen=True)
class Steps:
    """What the first steps came to: the finite losses, and why there are no more of them."""

    losses: tuple[float, ...]
    reason: str | None = None


def run(experiments: list[Experiment], seed: int, count: int, where: Where) -> list[Path]:
    """Measure each net and start that is not recorded yet; returns where the records are.

    What another starts from comes before it, as in `starts.chosen`. `count` is the number of
    steps. A start that diverges is recorded as such, and what starts from it is left out; so is
    what another process is at. Raises `UserError` for bad input or a record of one of these nets
    with other sizes, before anything is measured; and at the end if something was left out.
    """
    chosen = choose(where.device, where.precision, where.threads)
    print(f"device: {describe(chosen)}", file=sys.stderr)
    todo = [e for e in experiments if where.fresh or not recorded(e, seed, count, where, chosen)]
    _check_other_seeds(experiments, seed, count, where, chosen)
    if todo:
        photos_of(todo[0], where).check()  # before a folder is made that looks like a begun run
    left_out, known = [], {e.name: e for e in experiments}
    shown = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=sum(_work(e, count) for e in todo), bar_format=shown, mininterval=1.0) as bar:
        for experiment in todo:
            bar.set_description_str(f"{experiment.name}, seed {seed}")
            folder = store.folder_of(where.results_dir, experiment, seed)
            this = Run(experiment, seed, where, chosen, folder)
            problem = _run_one(this, known.get(experiment.init_from), count, bar)
            if problem:
                left_out.append(problem)
    if left_out:
        raise UserError(f"all done but what could not be: {'; '.join(left_out)}")
    return [store.first_steps_path(where.results_dir, e, seed) for e in experiments]


def recorded(
    experiment: Experiment, seed: int, count: int, where: Where, chosen: Machine
) -> FirstStepsRecord | None:
    """The record if there is one.

    Raises `UserError` if it was made with other sizes, steps or precision.
    """
    path = store.first_steps_path(where.results_dir, experiment, seed)
    try:
        record = store.current(path, experiment)
    except store.NotRecordedError as missing:
        if path.exists():
            raise UserError(
                f"{path}: {missing}; --fresh measures again, or choose another --results-dir"
            ) from missing
        return None
    if (record.steps, record.precision) != (count, chosen.precision):
        raise UserError(
            f"{path} holds {record.steps} steps in {record.precision}, this would be {count} in "
            f"{chosen.precision}: --fresh measures again, or choose another --results-dir"
        )
    return record


def _check_other_seeds(
    experiments: list[Experiment], seed: int, count: int, where: Where, chosen: Machine
) -> None:
    """Raise `UserError` if another seed of a net was measured with other sizes.

    All seeds of a net stand in one table, so that this would be known only after the measuring.
    """
    for e in experiments:
        ours = starts.sizes(asdict(e), count, chosen.precision)
        folder = store.folder_of(where.results_dir, e, seed).parent
        for path in sorted(folder.glob("seed*/first-steps.json")):
            record = store.read(path)
            theirs = starts.sizes(record.experiment, record.steps, record.precision)
            differing = [option for option in ours if theirs[option] != ours[option]]
            if differing and record.seed != seed:
                raise UserError(
                    f"{path} was made with {_said(theirs, differing)}, this would be with "
                    f"{_said(ours, differing)}: choose another --results-dir, or the same sizes"
                )


def _said(sizes: dict[str, Any], options: list[str]) -> str:
    return " ".join(f"{option} {sizes[option]}" for option in options)


def _work(experiment: Experiment, count: int) -> float:
    """Multiply-adds, for the time left: of the steps, and of the signal at the paper's crop."""
    sizes = {"width": experiment.width, "hidden": experiment.hidden}
    of_steps = count * experiment.batch_size
    # float32 takes several times as long as bfloat16, where there is any.
    return of_steps * cost.multiply_adds(
        experiment.config, crop=experiment.crop, **sizes
    ) + 4 * IMAGES * cost.multiply_adds(experiment.config, crop=PAPER_CROP, **sizes)


def _run_one(this: Run, parent: Experiment | None, count: int, bar: tqdm) -> str | None:
    """Measure one net from one start and record it; returns why not, if it cannot be."""
    experiment, seed, folder = this.experiment, this.seed, this.folder
    work, started = _work(experiment, count), bar.n
    with ExitStack() as held:
        problem = _hindrance(this, parent, count, held)
        if problem:
            say(experiment, seed, f"left out: {problem}")
            bar.update(work)
            return problem
        if not this.where.fresh and recorded(experiment, seed, count, this.where, this.machine):
            bar.update(work)  # another command has done it meanwhile
            return None
        inherited = _weights_of(parent, this, count) if parent else None
        clock = time.perf_counter()
        model, found = _measured(this, inherited, count, lambda: bar.update(work * 0.9 / count))
        seconds = time.perf_counter() - clock
        images = len(found["losses"]) * experiment.batch_size
        record = FirstStepsRecord(
            **found,
            weights_digest=checkpoints.weights_digest(model.state_dict()),
            **_common(this, count, seconds, images / seconds),
        )
        path = store.first_steps_path(this.where.results_dir, experiment, seed)
        store.write(record, path)
        if experiment.name == PARENT and record.status == "ok":
            checkpoints.save_weights(model, folder / "weights.pt")
    bar.update(started + work - bar.n)
    last = f"loss {record.losses[0]:.3g} -> {record.losses[-1]:.3g}" if record.losses else ""
    say(experiment, seed, record.reason or f"{last} in {count} steps")
    return None


def _common(this: Run, count: int, seconds: float, images_per_second: float) -> dict:
    """The fields that every record has; the command is that of the first steps."""
    e = this.experiment
    fields = common(e, this.seed, this.machine, seconds, images_per_second)
    command = (
        f"vggrepro first-steps {e.name} --data {e.data} --steps {count} --crop {e.crop} "
        f"--batch {e.batch_size} --width {e.width:g} --seed {this.seed} "
        f"--precision {this.machine.precision} --threads {torch.get_num_threads()}"
    )
    provenance = fields["provenance"].model_copy(update={"command": command})
    return {**fields, "provenance": provenance}


def _hindrance(this: Run, parent: Experiment | None, count: int, held: ExitStack) -> str | None:
    """Why this net cannot be measured now; if it can, it is ours until `held` ends."""
    if not lock(this.folder, held):
        return f"another process is at {this.experiment.name}"
    if parent is None:
        return None
    record = recorded(parent, this.seed, count, this.where, this.machine)
    if record is None or record.status != "ok":
        state = "diverged" if record else "is not recorded yet"
        return f"{this.experiment.name} starts from {parent.name}, which {state}"
    return None


def _weights_of(parent: Experiment, this: Run, count: int) -> tuple[dict[str, torch.Tensor], str]:
    """Weights of the net from which `this` starts, and their digest.

    Trained again if only the record is there: then they have to be those of the record.
    """
    folder = store.folder_of(this.where.results_dir, parent, this.seed)
    record = recorded(parent, this.seed, count, this.where, this.machine)
    path = folder / "weights.pt"
    if not path.exists():
        run_again = Run(parent, this.seed, this.where, this.machine, folder)
        model, _ = _measured(run_again, None, count, lambda: None)
        checkpoints.save_weights(model, path)
    weights = checkpoints.read(path)
    digest = checkpoints.weights_digest(weights)
    if digest != record.weights_digest:
        raise UserError(
            f"{path} does not hold the weights of the record beside it: delete it and start the "
            "same command again, or measure the parent anew with --fresh"
        )
    return weights, digest


def _measured(
    this: Run,
    inherited: tuple[dict[str, torch.Tensor], str] | None,
    count: int,
    progress: Callable[[], None],
) -> tuple[VGG, dict]:
    """The net after its first steps, and all of the record that was measured."""
    e, photos = this.experiment, this.photos
    classes = len(photos.classes)
    weights, digest = inherited or (None, None)

    def started(crop: int) -> VGG:
        torch.manual_seed(this.seed)
        model = build(replace(e, crop=crop), classes)  # as PyTorch starts it, biases and all
        model.set_pixel_mean(photos.pixels.mean)
        if e.init != "pytorch":
            initialise(model, e.init, seed=this.seed, parent=weights)
        return model.to(this.machine.device, memory_format=torch.channels_last)

    before = []
    # Net A's fc6 fits one size of crop only.
    for crop in (e.crop,) if inherited else (e.crop, PAPER_CROP):
        before.append(signal_of(started(crop), e, photos, this.machine))
    model = started(e.crop)
    taken = take_steps(model, e, this.seed, photos, this.machine, count, progress)
    reason, after = taken.reason, None
    if reason is None:
        after = signal_of(model, e, photos, this.machine)
        if not all(map(math.isfinite, (*after.activation, *after.gradient, *after.weight))):
            reason, after = f"the net's signal was no longer finite after step {count}", None
    return model, {
        "status": "diverged" if reason else "ok",
        "reason": reason,
        "data": (used(photos.train),),
        "classes": classes,
        "parent_weights": digest,
        "pixel_mean": tuple(round(float(m), 4) for m in photos.pixels.mean),
        "before": tuple(before),
        "after": after,
        "steps": count,
        "losses": taken.losses,
    }


def signal_of(model: VGG, experiment: Experiment, photos: Photos, chosen: Machine) -> Signal:
    """The signal at every layer for evenly spread training images, by centre crop, in float32."""
    some, q = photos.train.evenly(IMAGES), scaled(single_scale(experiment), model.crop)
    x = model.normalised(chosen.send(centre_crops(photos.train, some, q, model.crop)))
    x = x.contiguous(memory_format=torch.channels_last)
    targets = chosen.send(torch.from_numpy(photos.train.targets[some]))
    found = measure(model, named_layers(model), x, targets)
    fields = {
        name: tuple(_short(getattr(layer, name)) for layer in found.values())
        for name in ("activation", "gradient", "weight", "weight_gradient")
    }
    return Signal(
        crop=model.crop,
        images=len(some),
        input=_short(rms(x)),
        layers=tuple(found),
        **fields,
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
) -> Steps:
    """Train for `count` steps as Section 3.1 does, and note the loss of each before its update."""
    optimizer, losses = sgd(model, experiment), []
    cut = rescaled(photos, experiment, model)
    for epoch in itertools.count():
        seed_dropout(seed, epoch)
        model.train()
        with closing(batches(cut, experiment, seed, epoch)) as of_epoch:
            for batch in of_epoch:
                loss = float(step(model, optimizer, batch, chosen)[0]) / batch.size
                if not math.isfinite(loss):
                    reason = f"the loss was no longer finite at step {len(losses) + 1}"
                    return Steps(tuple(losses), reason)
                losses.append(_short(loss))
                progress()
                if len(losses) == count:
                    return Steps(tuple(losses))
    raise AssertionError("unreachable: epochs do not end")


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
