"""What the rest takes: decoding and opening photos, memory of a run, starting the program."""

import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from vggrepro import UserError, data
from vggrepro.bench.bench_data import Photos, Plan, spread
from vggrepro.bench.turns import elapsed
from vggrepro.device import Machine, choose
from vggrepro.evaluators import evaluate
from vggrepro.models import initialise
from vggrepro.study.experiments import RUNS, several_scales
from vggrepro.study.records import Measured
from vggrepro.trainer import Sets, build, train

SAMPLE_SECONDS = 0.02
STARTS = {
    "--help": ("-m", "vggrepro", "--help"),
    "a chapter": ("-c", "from vggrepro.pages import figures, report, verdicts"),
}


def decoding(photos: Photos, plan: Plan) -> list[Measured]:
    """Seconds to decode a data set into an empty cache, and to open it again from there."""

    def load() -> None:
        for split in data.SPLITS:
            photos.load(split)

    of = {"data": photos.name}
    once = (round(elapsed(load), 2),)
    again = tuple(round(elapsed(load), 3) for _ in range(plan.rounds))
    return [
        Measured(name="decoding", unit="s", of=of, values=once),
        Measured(name="opening", unit="s", of=of, values=again),
    ]


def starting(plan: Plan) -> list[Measured]:
    """Seconds until a new process has printed the help, or has imported what a chapter imports."""
    return [
        Measured(
            name="starting",
            unit="s",
            of={"what": what},
            values=tuple(round(_run(arguments), 3) for _ in range(plan.starts)),
        )
        for what, arguments in STARTS.items()
    ]


def _run(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


# --- memory ---------------------------------------------------------------------------------


def memory(photos: Photos, chosen: Machine, threads: int, plan: Plan) -> list[Measured]:
    """Peak anonymous memory of a run at `reduced`, MiB, in a process of its own.

    One epoch on all training images with the measurements after it, then dense evaluation and
    crops at the largest Q on some of val. Memory-mapped pixels are not anonymous: the system
    may take them back. Nothing is measured where there is no /proc, as on macOS.
    """
    if _anonymous(multiprocessing.current_process().pid) is None:
        return []
    arguments = (photos, chosen.device.type, chosen.precision, threads, plan.memory_images)
    process = multiprocessing.get_context("spawn").Process(target=_reduced_run, args=arguments)
    process.start()
    peak = 0.0
    while process.exitcode is None:
        peak = max(peak, _anonymous(process.pid) or 0.0)
        process.join(SAMPLE_SECONDS)
    if process.exitcode:
        raise UserError(f"the run whose memory was to be measured ended with {process.exitcode}")
    return [Measured(name="memory", unit="MiB", of={"run": "D-S256"}, values=(round(peak, 1),))]


def _anonymous(pid: int | None) -> float | None:
    """Anonymous memory of a process now, MiB; None if the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) / 1024 if found else None


def _reduced_run(photos: Photos, device: str, precision: str, threads: int, images: int) -> None:
    """What a run does, once: runs in the child."""
    chosen = choose(device, precision, threads)
    trained_on, val = photos.load("train"), photos.load("val")
    pixels = data.pixel_statistics(trained_on, photos.scratch / "cache")
    sets = Sets(spread(trained_on, images), photos.load("minival"), pixels)
    experiment = replace(photos.experiment("D-S256"), epochs=1)
    model = build(experiment, len(trained_on.classes))
    initialise(model, experiment.init, seed=0)
    train(model, experiment, 0, sets, chosen, photos.scratch / "checkpoint.pt", "bench")
    inputs = sets.inputs(experiment, chosen)
    some = spread(val, min(256, images))
    for protocol in ("dense", "multi-crop"):
        evaluate(model, some, protocol, several_scales(RUNS["D-jitter"])[-1], inputs, chosen)
