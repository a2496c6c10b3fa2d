"""`vggrepro bench speed`: everything in `targets`, measured within five minutes."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from vggrepro import UserError, data
from vggrepro.bench import bench_torchvision
from vggrepro.bench.bench_data import Photos, Plan, check
from vggrepro.bench.bench_evaluation import evaluation
from vggrepro.bench.bench_lrn import step_costs
from vggrepro.bench.bench_profile import profile
from vggrepro.bench.bench_system import decoding, memory, starting
from vggrepro.bench.bench_training import PAPER_WIDTH, RUN, geometry_of, share_of_peak, training
from vggrepro.data import cache
from vggrepro.device import Machine
from vggrepro.study.provenance import provenance
from vggrepro.study.records import BenchRecord, Measured
from vggrepro.trainer import Sets

NETS = ("A", "A-LRN", "B", "C", "D", "E")


def speed(
    machine: Machine,
    name: str = "imagenette",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    plan: Plan | None = None,
) -> BenchRecord:
    """Measure every quantity that a target of `targets` rests on, and a step of each net.

    Photos are decoded into a folder of their own in `cache_dir`, which is removed at the end:
    about 1.4 GB for Imagenette. Raises `UserError` for photos that are not there, or a folder
    that cannot be written.
    """
    check(name, data_dir)
    started = time.perf_counter()
    root = Path(cache_dir or cache.default_cache_dir())
    with cache.writing(root):
        folder = tempfile.TemporaryDirectory(prefix="bench-", dir=root)
    with folder as scratch:
        photos = Photos(name, data_dir, Path(scratch))
        measured, settings = _measure(machine, photos, plan or Plan())
    where = "" if data_dir is None else " --data-dir DATA"
    return BenchRecord(
        name="speed",
        settings=settings,
        measured=tuple(measured),
        provenance=provenance(
            machine,
            f"vggrepro bench speed --data {name}{where} --precision {machine.precision} "
            f"--threads {torch.get_num_threads()}",
            wall_seconds=time.perf_counter() - started,
            images_per_second=0.0,
        ),
    )


def _measure(
    machine: Machine, photos: Photos, plan: Plan
) -> tuple[list[Measured], dict[str, str | int | float]]:
    measured = []
    with tqdm(total=9, unit="part", leave=False) as bar:

        def part(what: str, measure: Callable[[], list[Measured]]) -> None:
            bar.set_description(what)
            measured.extend(measure())
            bar.update()

        # First, so that photos that are missing are missed at once.
        part("decoding photos", lambda: decoding(photos, plan))
        trained_on, val = photos.load("train"), photos.load("val")
        batch = photos.experiment(RUN).batch_size
        if len(trained_on) < batch:
            raise UserError(
                f"bench speed needs {batch} training images for one batch; there are "
                f"{len(trained_on)} (a tenth is held out): add photos, or use --data synthetic"
            )
        part("starting the program", lambda: starting(plan))
        part("memory of a run", lambda: memory(photos, machine, torch.get_num_threads(), plan))
        pixels = data.pixel_statistics(trained_on, photos.scratch / "cache")
        sets = Sets(trained_on, photos.load("minival"), pixels)
        for full, what in ((False, "a quarter of the width"), (True, "full width")):
            part(
                f"training at {what}",
                lambda full=full: training(photos, sets, machine, plan, full_width=full),
            )
        part("the convolution peak", lambda: share_of_peak(sets, photos, machine, plan))
        part("testing", lambda: evaluation(photos, sets, val, machine, plan))
        geometry = geometry_of(photos.experiment(RUN), len(trained_on.classes))
        with tqdm(total=plan.rounds_at_full_width, leave=False, unit="round") as rounds:
            part(
                "a step of each net",
                lambda: step_costs(NETS, geometry, machine, plan.rounds_at_full_width, rounds),
            )
        wide = geometry_of(replace(photos.experiment(RUN), **PAPER_WIDTH), geometry.classes)
        part("where a step's time goes", lambda: profile((geometry, wide), machine))
    settings = {
        "data": photos.name,
        "train_images": len(trained_on),
        "train_fingerprint": trained_on.fingerprint,
        "val_images": len(val),
        "val_fingerprint": val.fingerprint,
        "precision": machine.precision,
        "threads": torch.get_num_threads(),
        "workers": bench_torchvision.WORKERS,
        "rounds": plan.rounds,
        "rounds_at_full_width": plan.rounds_at_full_width,
        "seconds": plan.seconds,
        "seconds_at_full_width": plan.seconds_at_full_width,
    }
    return measured, settings
