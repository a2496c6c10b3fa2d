"""One call on a machine with a GPU: install, test, measure, train, and pack the records.

    python tools/gpu_session.py --wheels WHEELS --data-dir DATA --out OUT --minutes 9.5
    python tools/gpu_session.py --device cpu --budget smoke --out OUT --minutes 5
    python tools/gpu_session.py --predict h200      # writes tools/gpu_prediction.csv, before it all

The first is for a bare machine with PyTorch and no network; the second goes through the same steps
on a processor, so that nothing is tried there for the first time. Needs nothing but Python until
it has installed what is missing. A part that fails is told and does not stop the others. See
`tools/README.md`.
"""

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

if not re.match(r"3\.(1[1-9]|[2-9]\d)", sys.version):
    sys.exit("Python 3.11 or newer is needed")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package need not be installed, nor what it needs

from vggrepro import UserError  # noqa: E402
from vggrepro.files import make_writable, write_atomically  # noqa: E402
from vggrepro.process import in_order, unheard  # noqa: E402

PREDICTION = ROOT / "tools" / "gpu_prediction.csv"
NEEDED = ("pydantic", "typer", "filelock>=4.2", "platformdirs", "tqdm", "numpy", "pillow", "scipy")
NEEDED += ("pandas", "torchvision", "pytest", "hypothesis")
WANTED = ("timm",)
"""Measured against if it is there, or among the wheels."""
SHARES = {"tests": 0.25, "bench": 0.45}
"""Of the time that is left when a part begins, the most that it may take; the rest trains."""
PACKING = 10.0  # seconds kept for packing the records
MOST_MINUTES = 10_000


def missing(names: tuple[str, ...]) -> list[str]:
    """Which of these packages are not installed, or older than `name>=1.2` asks for."""

    def is_there(wanted: str) -> bool:
        name, _, least = wanted.partition(">=")
        try:
            found = version(name)
        except PackageNotFoundError:
            return False
        numbers = [[int(n) for n in one.split(".")[:2]] for one in (found, least) if one]
        return numbers[0] >= numbers[-1]

    return [name for name in names if not is_there(name)]


def install(wheels: Path | None, log: Path) -> int:
    """Install what is missing from a folder of wheels, and nothing that is there."""
    needed = missing(NEEDED)
    wanted = [name for name in missing(WANTED) if wheels and list(wheels.glob(f"{name}-*.whl"))]
    if needed and not wheels:
        print(f"not installed: {', '.join(needed)}; carry their wheels and name the folder")
        return 1
    if not needed and not wanted:
        return 0
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels)]
    return run([*command, *needed, *wanted], log, None)


def restore(history: Path) -> None:
    """Make this folder the checkout of a packed bare clone, so that records name its commit.

    Where git knows the folder already, it stays as it is. Raises `UserError` for anything else
    than a packed clone.
    """
    if (ROOT / ".git").exists():
        return
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        clone = Path(folder) / "git"
        try:
            with tarfile.open(history) as tar:
                tar.extractall(clone, filter="data")
            here = ("git", f"--git-dir={clone}", f"--work-tree={ROOT}")
            for command in (("config", "core.bare", "false"), ("reset", "-q")):
                subprocess.run([*here, *command], cwd=ROOT, check=True, capture_output=True)
        except (tarfile.TarError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"{history} is not the archive of a bare clone; tools/README.md says how it is made"
            ) from error
        clone.rename(ROOT / ".git")  # as a whole, or the next call would find a part of it


def run(command: list, log: Path, seconds: float | None) -> int:
    """Run a command with its output in `log`; 124 if it takes longer than `seconds`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with log.open("w", encoding="utf-8") as output:
        with unheard():
            process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            process.terminate()  # not at once: what is trained is at its last epoch
            process.wait()


def parts(options: argparse.Namespace) -> dict[str, list]:
    """The command of every part after the installation, in their order."""
    here, pytest = ROOT / "tools", [sys.executable, "-m", "pytest", "-m", "gpu", "-q"]
    on = ["--device", options.device, "--work", options.work, "--budget", options.budget]
    on += ["--data-dir", options.data_dir] if options.data_dir else []
    return {
        # Without the project's own options, which need plugins that are not carried.
        "tests": [*pytest, "-o", "addopts=", "-p", "no:cacheprovider", "tests/test_gpu.py"],
        "bench": [sys.executable, here / "gpu_bench.py", *on],
        "trainings": [sys.executable, here / "gpu_trainings.py", *on],
    }


def check_device(device: str) -> None:
    """Raise `UserError` if PyTorch or the device is not there, before anything is begun."""
    if missing(("torch",)):
        raise UserError("PyTorch is not installed here: install it first, a session does not")
    from vggrepro.device import choose

    choose(device, "float32")  # to ask the card for more would keep some of its memory


def session(options: argparse.Namespace) -> int:
    """All parts, as long as there is time; 0 if each did what it should.

    Whatever stops it, the records so far are packed.
    """
    began = time.monotonic()
    check_device(options.device)
    make_writable(options.out)
    make_writable(options.work)
    if options.history:
        restore(options.history)
    done = {"install": _timed(lambda: install(options.wheels, options.out / "install.txt"))}
    try:
        if not done["install"]["status"]:
            _run_parts(options, began, done)
    finally:
        predicted = _predicted()
        for part, said in done.items():
            said["predicted"] = predicted.get(part, predicted.get(f"{part} {options.budget}"))
        told = json.dumps(done, indent=1)
        write_atomically(options.out / "parts.json", told.encode())
        pack(options.work, options.out / "records.tar.gz")
    # pytest ends with 5 or 0 where all tests are skipped.
    return int(any(said["status"] not in (0, 5) for said in done.values()))


def _run_parts(options: argparse.Namespace, began: float, done: dict[str, dict]) -> None:
    """Run what comes after the installation, and note how each part ended."""
    for part, command in parts(options).items():
        if part in options.skip:
            continue
        left = 60 * options.minutes - PACKING - (time.monotonic() - began)
        limit = max(0.0, left * SHARES.get(part, 1.0))
        if part == "trainings":
            command = [*command, "--seconds", f"{limit:.0f}"]
        log = options.out / f"{part}.txt"
        done[part] = _timed(lambda c=command, n=log, s=limit: run(c, n, s))
        print(f"{part}: {done[part]}", flush=True)
        said = log.read_text(encoding="utf-8", errors="replace")
        print("".join(said.splitlines(keepends=True)[-15:]))


def _timed(part) -> dict[str, float]:
    began = time.monotonic()
    status = part()
    return {"status": status, "seconds": round(time.monotonic() - began, 1)}


def _predicted() -> dict[str, float]:
    if not PREDICTION.exists():
        return {}
    with PREDICTION.open(newline="") as file:
        return {row["part"]: float(row["seconds"]) for row in csv.DictReader(file)}


def pack(work: Path, archive: Path) -> None:
    """The records in `work` as one archive; weights and posteriors stay."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in sorted(work.rglob("*.json")):
            tar.add(path, path.relative_to(work))
    write_atomically(archive, packed.getbuffer())


def predict(card: str, path: Path = PREDICTION) -> None:
    """Write what the planner expects of each part and of each training on a card."""
    from tools.gpu_bench import seconds_of
    from tools.gpu_trainings import PARTS
    from vggrepro.bench import planner
    from vggrepro.study import workload
    from vggrepro.study.budgets import at_budget

    rate = planner.on_device(planner.device_named(card)).seconds
    rows = {"install": 10.0, "tests": 60.0, "bench": seconds_of("gpu-32")}
    of_each = {}
    for name, data in (("gpu-32", "cifar10"), ("gpu-128", "imagenette")):
        seconds = {}
        for run in PARTS[name].runs:
            experiment = at_budget(run, name, data)
            work = workload.training(experiment) + workload.evaluation(experiment)
            seconds[f"training {run}"] = rate(work)
        rows[f"trainings {name}"] = len(PARTS[name].seeds) * sum(seconds.values())
        of_each |= seconds
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "seconds", "card"])
        for part, seconds in {**rows, **of_each}.items():
            writer.writerow([part, f"{seconds:.1f}", card])


def path(text: str) -> Path:
    """A path, from wherever a part is run."""
    return Path(text).expanduser().resolve()


def folder(text: str) -> Path:
    """A folder that is there."""
    if not (found := path(text)).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {found}")
    return found


def archive(text: str) -> Path:
    """A tar archive that is there."""
    if not ((found := path(text)).is_file() and tarfile.is_tarfile(found)):
        raise argparse.ArgumentTypeError(f"there is no tar archive {found}")
    return found


def minutes(text: str) -> float:
    """How long a session may take."""
    if not PACKING / 60 < (number := float(text)) <= MOST_MINUTES:
        allowed = f"more than the {PACKING:.0f} seconds of packing, and at most {MOST_MINUTES}"
        raise argparse.ArgumentTypeError(f"{text} minutes cannot be: give {allowed}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--predict", metavar="CARD", help="write the planner's prediction, and end")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--budget", default="gpu-32", choices=("gpu-32", "gpu-128", "smoke"))
    parser.add_argument("--wheels", type=folder, help="folder of wheels of what is missing")
    parser.add_argument(
        "--history", type=archive, help="archive of a bare clone, for records' commit"
    )
    parser.add_argument("--data-dir", type=folder)
    parser.add_argument(
        "--work",
        type=path,
        default=ROOT / "rerun" / "gpu",
        help="where records and weights are kept between calls",
    )
    parser.add_argument("--out", type=path, default="gpu-out")
    parser.add_argument("--minutes", type=minutes, default=9.5)
    parser.add_argument("--skip", nargs="*", default=(), choices=("tests", "bench", "trainings"))
    options = parser.parse_args(arguments)
    if options.predict:
        predict(options.predict)
        return 0
    return session(options)


if __name__ == "__main__":
    with in_order():
        sys.exit(main())
