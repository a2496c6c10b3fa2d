"""`python -m tests.torture`: everything that can hurt a study, and what became of it, as one table.

Kills, full disks, flipped bits, edited records, hostile photos, wrong options. Each is tried in a
process of its own, forked from this one, which has imported all and computed nothing. What is
waited for are ends of processes; a hang is one that does not end within minutes.

Of a trial is expected that it `survived` (what was asked for is done, with the digests of a run
that nobody disturbed) or was `caught` (one clear line, exit status 1 or 2). A `wrong` one had
another result and said nothing.
"""

import argparse
import contextlib
import copy
import hashlib
import itertools
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image

from tests.image_folders import write_set
from tests.running import digests, folder
from vggrepro import cli
from vggrepro.bench import speed
from vggrepro.files import cores
from vggrepro.process import in_order
from vggrepro.study import first_steps, own, own_training, run, store
from vggrepro.study.budgets import BUDGETS
from vggrepro.study.records import NOT_REPEATABLE

ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds; on an idle core a trial takes one
OUTCOMES = ("survived", "caught", "wrong", "traceback", "hang")
Trial = tuple[str, str]
"""What became of a trial, and what it was."""

# --- one trial ------------------------------------------------------------------------------


def forked(work: Callable[[], None], out: Path) -> tuple[int | str, str]:
    """The exit status of a process that does `work`, "hang" if it does not end, and what it said.

    A process that a signal ended has minus its number as its status.
    """
    pid = os.fork()
    if pid == 0:
        status = 99
        with open(out, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            try:
                with in_order():
                    work()
                status = 0
            except SystemExit as end:
                status = end.code or 0
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(status)
    with open(os.pidfd_open(pid)) as process:  # thousands are tried: none stays open
        ended = select.select([process], [], [], LIMIT)[0]
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if ended else "hang", out.read_text(errors="replace")


def judged(status: int | str, said: str) -> str | None:
    """What a trial came to that did not end well; None if it did."""
    if status == "hang":
        return "hang"
    lines = [line for line in said.splitlines() if line.strip()]
    if status in (1, 2) and lines and "Traceback" not in said and "\x1b" not in said:
        return "caught"
    return None if status == 0 else "traceback"


class Bench:
    """A place for trials, with the records of an undisturbed run as reference."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.random = place, random.Random(seed)
        self.names = itertools.count()
        self.reference, self.cache = place / "reference", place / "cache"
        status, said = self.run(self.reference)
        assert status == 0, said
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = used.ru_utime + used.ru_stime
        self.digests = digests(self.reference, "A-S256")
        self.half_done = self.new()
        self.run(self.half_done, lambda: dying_at("fsync", 2, after=True))
        assert list(self.half_done.rglob("checkpoint.pt"))

    def at(self, place: Path, seed: str) -> "Bench":
        """The same reference for trials elsewhere, so that others can go on beside them."""
        place.mkdir()
        bench = copy.copy(self)
        bench.place, bench.random, bench.names = place, random.Random(seed), itertools.count()
        bench.cache = Path(shutil.copytree(self.cache, place / "cache"))
        return bench

    def new(self) -> Path:
        return self.place / f"trial{next(self.names)}"

    def copied(self, other: Path) -> Path:
        return Path(shutil.copytree(other, self.new()))

    def run(
        self,
        results: Path,
        before: Callable[[], None] = lambda: None,
        cache: Path | None = None,
        data: tuple[str, ...] = (),
    ) -> tuple[int | str, str]:
        """The smallest run there is, after `before` in the same process."""
        arguments = ["run", "A-S256", "--budget", "smoke", "--results-dir", str(results)]
        arguments += ["--cache-dir", str(cache or self.cache), "--threads", "1"]
        arguments += ["--device", "cpu", "--precision", "float32", *data]

        def work() -> None:
            before()
            cli.call(arguments)

        return forked(work, self.place / "said")

    def finished(self, results: Path, cache: Path | None = None) -> str:
        """What a run came to that goes on in `results`."""
        return self.as_reference(results, *self.run(results, cache=cache))

    def as_reference(self, results: Path, status: int | str, said: str) -> str:
        """What a run came to that ended with `status`."""
        ended = judged(status, said)
        if ended:
            return ended
        litter = [path for path in results.rglob(".writing-*")]
        same = digests(results, "A-S256") == self.digests and not litter
        return "survived" if same and not store.verify(store.record_files(results)) else "wrong"


# --- kills and full disks -------------------------------------------------------------------


def at_call(name: str, number: int, action: Callable[[], None], after: bool) -> None:
    """Let `action` come before or after the call of that number of fsync or rename."""
    owner = os if name == "fsync" else Path
    real, left = getattr(owner, name), [number]

    def called(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0 and not after:
            action()
        done = real(*arguments)
        if left[0] == 0 and after:
            action()
        return done

    setattr(owner, name, called)


def dying_at(name: str, number: int, after: bool) -> None:
    at_call(name, number, lambda: os.kill(os.getpid(), signal.SIGKILL), after)


def full() -> None:
    raise OSError(28, "No space left on device")


def kills(bench: Bench, count: int) -> Iterator[Trial]:
    """At random moments of computing time, five in a row before a run may end."""
    for _ in range(count // 5):
        results, killed = bench.new(), 0
        while killed < 5:
            moment = bench.random.uniform(0, bench.seconds)
            timer = lambda moment=moment: signal.setitimer(signal.ITIMER_PROF, moment)  # noqa: E731
            status, said = bench.run(results, timer)
            if status == 0:  # it was done already, or before that moment
                results = bench.new()
            elif status == -signal.SIGPROF:
                killed += 1
            else:
                yield judged(status, said) or "wrong", f"killed after {moment:.2f} s"
                break
        yield from [(bench.finished(results), "five kills")] * killed


def kills_at_calls(bench: Bench, every: int) -> Iterator[Trial]:
    """Before and after each fsync and each rename of a run."""
    for name, after in itertools.product(("fsync", "replace"), (False, True)):
        for number in range(1, 100, every):
            results = bench.new()
            status, _ = bench.run(results, lambda n=number: dying_at(name, n, after))  # noqa: B023
            if status == 0:
                break
            yield bench.finished(results), f"killed at {name} {number}, after: {after}"


def full_disks(bench: Bench, every: int) -> Iterator[Trial]:
    """No space at each fsync and each rename, and for files above a size."""

    def small_files(size: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    faults = [
        lambda name=name, number=number: at_call(name, number, full, False)
        for name in ("fsync", "replace")
        for number in range(1, 12, every)
    ]
    faults += [lambda size=2**k: small_files(size) for k in range(8, 20, every)]
    for fault in faults:
        results = bench.new()
        status, said = bench.run(results, fault)
        if status == 0:
            continue  # nothing as large, nor as many
        ended = judged(status, said)
        yield ended or "wrong", said
        yield bench.finished(results), "the disk has room again"


# --- flipped bits ---------------------------------------------------------------------------


def flips(bench: Bench, count: int) -> Iterator[Trial]:
    """In every file that is read back, at random places."""
    own = folder(Path(), "A-S256")
    read_back = [(bench.half_done, own / "checkpoint.pt", ())]
    evaluations = [path.name for path in (bench.reference / own).glob("eval-*.json")]
    for path in sorted((bench.reference / own).rglob("*")):
        if path.is_file() and path.name != ".lock":
            # Weights and posteriors are read when an evaluation is missing.
            without = evaluations if path.suffix in (".pt", ".npz") else ()
            read_back.append((bench.reference, path.relative_to(bench.reference), without))
    for start, file, without in read_back:
        for _ in range(count):
            results = bench.copied(start)
            for name in without:
                (results / own / name).unlink()
            flip(bench, results / file)
            yield bench.finished(results), f"flipped: {file}"
    for path in sorted(bench.cache.rglob("*")):
        for _ in range(count if path.is_file() and path.stat().st_size else 0):  # no lock
            cache = bench.copied(bench.cache)
            flip(bench, cache / path.relative_to(bench.cache))
            yield bench.finished(bench.new(), cache), f"flipped: {path.name}"


def flip(bench: Bench, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
    path.write_bytes(content)


# --- edited records -------------------------------------------------------------------------

EDITS = (None, -1, 0.5, 10**11, float("nan"), float("inf"), "", "../x", "\x1b[2J", [], {}, [[]] * 9)
READING = ("verify", "results", "list --budget smoke", "status", "compare", "plan")


def edits(bench: Bench, share: float) -> Iterator[Trial]:
    """Every field, every kind of edit, every command that reads; sealed again as well."""
    for path in sorted((bench.reference).rglob("*.json")):
        content = json.loads(path.read_text())
        for field, edit, seal in itertools.product(fields(content), EDITS, (False, True)):
            if bench.random.random() < share:
                yield from edited(bench, path, field, edit, seal)
    swapped = bench.copied(bench.reference)
    one, other = sorted(swapped.rglob("eval-*.json"))[:2]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    yield from read_by_all(bench, swapped, "swapped", must_be_seen=True)


def fields(content: object, where: tuple = ()) -> Iterator[tuple]:
    """Where the values of a record are; of lists, the first entry stands for all."""
    if isinstance(content, dict | list) and content:
        for key in content if isinstance(content, dict) else (0,):
            yield (*where, key)
            yield from fields(content[key], (*where, key))


def edited(bench: Bench, path: Path, field: tuple, edit: object, seal: bool) -> Iterator[Trial]:
    results = bench.copied(bench.reference)
    content = json.loads(path.read_text())
    part = content
    for key in field[:-1]:
        part = part[key]
    if part[field[-1]] == edit:
        return
    part[field[-1]] = edit
    if seal:
        for name, left_out in (
            ("result_digest", NOT_REPEATABLE),
            ("file_digest", {"file_digest"}),
        ):
            kept = {key: value for key, value in content.items() if key not in left_out}
            text = json.dumps(kept, sort_keys=True)
            content[name] = hashlib.sha256(text.encode()).hexdigest()
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (results / path.relative_to(bench.reference)).write_text(text)
    yield from read_by_all(
        bench, results, f"{path.name} {field} = {edit!r}, {seal}", must_be_seen=not seal
    )


def read_by_all(bench: Bench, results: Path, what: str, must_be_seen: bool) -> Iterator[Trial]:
    """Each command, in one process after the other, on records of which one was changed.

    A record that was sealed again may be one that someone has made: then it is only shown.
    """
    for command in READING:
        name, *arguments = command.split()
        arguments += [str(results)] * 2 if name == "compare" else ["--results-dir", str(results)]
        if name == "plan":
            arguments += ["--budget", "smoke", "--device", "this-machine"]
        ended = judged(*forked(lambda: cli.call([name, *arguments]), bench.place / "said"))  # noqa: B023
        # The paper's tables have net A by dense evaluation, so `list` does not look at its other.
        seen = must_be_seen and not (name == "list" and "centre" in what)
        yield ended or ("wrong" if seen else "survived"), f"{name}: {what}"
    shutil.rmtree(results)


# --- hostile photos -------------------------------------------------------------------------


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(content)


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def mode(name: str) -> Callable[[Path], None]:
    return lambda path: Image.new(name, (20, 20)).save(path, "TIFF")


PHOTOS: dict[str, Callable[[Path], None]] = {
    "empty": Path.touch,
    "text": lambda path: path.write_text("no photo"),
    "cut": changed(lambda content: content[:-30]),
    "a flipped bit": changed(lambda content: content[:60] + b"\1" + content[61:]),
    "more behind it": changed(lambda content: content + b"\0" * 1000),
    "a bomb": bomb,
    "one pixel": lambda path: Image.new("RGB", (1, 1)).save(path),
    "a line": lambda path: Image.new("RGB", (5000, 1)).save(path),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link up": lambda path: path.symlink_to("."),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "a socket's file": lambda path: os.mknod(path, 0o140600),
    **{f"mode {name}": mode(name) for name in ("1", "L", "P", "RGBA", "CMYK", "F", "I;16", "LAB")},
}
NAMES = (
    "x.png",
    "x\n\x1b[2J.png",
    "é漢\u202e.png",
    os.fsdecode(b"\xff\xfe.png"),
    "x" * 240 + ".png",
)


def class_renamed(root: Path, part: str) -> None:
    (root / part / "cat").rename(root / part / "dot")


def class_gone(root: Path, part: str) -> None:
    shutil.rmtree(root / part / "cat")


def class_empty(root: Path, part: str) -> None:
    (root / part / "bird").mkdir()


def class_a_file(root: Path, part: str) -> None:
    shutil.rmtree(root / part / "cat")
    (root / part / "cat").touch()


def the_other(root: Path, part: str) -> None:
    shutil.rmtree(root / part)
    shutil.copytree(root / ("val" if part == "train" else "train"), root / part)


def a_pipe(root: Path, part: str) -> None:
    shutil.rmtree(root / part)
    os.mkfifo(root / part)


def gone(root: Path, part: str) -> None:
    shutil.rmtree(root / part)


FOLDERS = (class_renamed, class_gone, class_empty, class_a_file, the_other, a_pipe, gone)


def small_folders() -> None:
    """Let the smallest budget take folders, too."""
    of_data = BUDGETS["smoke"].data
    of_data["folder"] = of_data["synthetic"]


def photos(bench: Bench, share: float) -> Iterator[Trial]:
    """Every kind of photo and folder, in train and in val: a run, and `check-data`."""

    def placed(make: Callable, name: str) -> Callable[[Path, str], None]:
        return lambda root, part: make(root / part / "cat" / name)

    kinds = {what: placed(make, "x.png") for what, make in PHOTOS.items()}
    kinds |= {repr(name): placed(PHOTOS["text"], name) for name in NAMES}
    kinds |= {make.__name__: make for make in FOLDERS}
    for (what, make), part in itertools.product(kinds.items(), ("train", "val")):
        if bench.random.random() >= share:
            continue
        root = write_set(bench.new())
        make(root, part)
        data = ("--data", "folder", "--data-dir", str(root))
        status, said = bench.run(bench.new(), small_folders, cache=bench.new(), data=data)
        yield judged(status, said) or "survived", f"{what} in {part}"
        checked = forked(lambda: cli.call(["check-data", str(root)]), bench.place / "said")  # noqa: B023
        agree = (checked[0] == 0) == (status == 0)
        ended = judged(*checked)
        yield (
            ended
            if ended != "caught" and ended
            else ("caught" if ended else "survived")
            if (agree)
            else "wrong",
            f"check-data: {what} in {part}",
        )


# --- wrong options --------------------------------------------------------------------------

ANY = ("", "x" * 5000, "\x1b[2J", "\udcff", "../..", "-", "--", "0x10", "é漢")
NUMBERS = ("-1", "0", "18446744073709551616", "1e400", "nan", "inf", "1.5", "x", "")
PATHS = (
    "",
    "/dev/null",
    "/dev/full",
    "/dev/zero",
    "/proc/self/mem",
    "~nosuchuser/x",
    "file",
    "pipe",
)


class ReachedError(Exception):
    """A command was about to compute: it has taken the value."""


def reached(*arguments: object, **named: object) -> None:
    raise ReachedError


def options(bench: Bench, share: float) -> Iterator[Trial]:
    """Wrong values of every parameter, from the command line's own description."""
    for command, group in sorted(typer.main.get_command(cli.app).commands.items()):
        names = {parameter.name for parameter in group.params}
        for parameter in group.params:
            # Not where they are by default: that is the checkout.
            elsewhere = "results_dir" in names and parameter.name != "results_dir"
            others = ["--results-dir", "rerun"] * elsewhere
            for value in wrong(parameter):
                if bench.random.random() < share:
                    yield given(bench, [command, *others], parameter, value)


def wrong(parameter: Any) -> tuple[str, ...]:
    if getattr(parameter, "is_flag", False) or parameter.name == "help":
        return ()
    kind = str(getattr(parameter, "bare_type", None) or parameter.type).lower()
    if "path" in kind:
        return (*PATHS, *ANY)
    return NUMBERS if "int" in kind or "float" in kind else ANY


REQUIRED = {
    "run": ["A-S256"],
    "rerun": ["02"],
    "check-data": ["set"],
    "compare": ["set", "set"],
    "train": ["A", "set", "--out", "out/weights.pt"],
}


def given(bench: Bench, command: list[str], parameter: Any, value: str) -> Trial:
    """A command with one wrong value, in an empty folder of its own."""
    here = bench.new()
    write_set(here / "set")
    (here / "file").touch()
    os.mkfifo(here / "pipe")
    arguments = REQUIRED.get(command[0], [])
    if parameter.param_type_name == "argument":
        arguments = [value, *arguments[1:]]
    else:
        arguments = [*arguments, parameter.opts[0], value]

    def work() -> None:
        os.chdir(here)
        os.environ["XDG_CACHE_HOME"] = str(here / "cache")
        for module, name in (
            *(
                (run, "train"),
                (speed, "lrn"),
                (speed, "speed"),
                (own_training, "train"),
                (own, "evaluate"),
            ),
            (first_steps.FirstSteps, "measured"),
        ):
            setattr(module, name, reached)
        with contextlib.suppress(ReachedError):
            cli.call([*command, *arguments])

    status, said = forked(work, bench.place / "said")
    shutil.rmtree(here)
    return judged(status, said) or "survived", f"{command[0]} {arguments[-2:]!r}: {said[-300:]}"


# --- all of it ------------------------------------------------------------------------------


def trials(bench: Bench, short: bool) -> dict[str, Iterator[Trial]]:
    """What is tried, by what it is called in the table."""
    return {
        "killed at a random moment": kills(bench, 5 if short else 100),
        "killed at an fsync or rename": kills_at_calls(bench, 5 if short else 1),
        "a full disk": full_disks(bench, 7 if short else 1),
        "a flipped bit": flips(bench, 1 if short else 8),
        "an edited record": edits(bench, 0.002 if short else 0.1),
        "hostile photos": photos(bench, 0.1 if short else 1),
        "a wrong option": options(bench, 0.05 if short else 1),
    }


def table(found: dict[str, Counter]) -> Iterator[str]:
    """Counts of outcomes, as Markdown."""
    yield f"| tried | times | {' | '.join(OUTCOMES)} |"
    yield f"|---|---:|{'---:|' * len(OUTCOMES)}"
    for name, counts in found.items():
        numbers = (counts[outcome] for outcome in OUTCOMES)
        yield f"| {name} | {counts.total()} | {' | '.join(map(str, numbers))} |"


def outcomes(bench: Bench, name: str, short: bool) -> Counter:
    """How often each outcome came of all trials of that name; bad ones are told."""
    counts, started = Counter(), time.perf_counter()
    for outcome, what in trials(bench, short)[name]:
        counts[outcome] += 1
        if outcome not in ("survived", "caught"):
            print(f"{outcome}: {name}: {what}", file=sys.stderr)
    seconds = time.perf_counter() - started
    print(f"{name}: {counts.total()} in {seconds:.0f} s", file=sys.stderr)
    return counts


def main() -> None:
    """Try everything, print the table; exit status 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a sample, in two minutes")
    parser.add_argument("--only", help="only what has this in its name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="put the table into this file")
    asked = parser.parse_args()
    found: dict[str, Counter] = {}
    with tempfile.TemporaryDirectory() as place:
        os.environ["TMPDIR"] = tempfile.tempdir = place  # also of what tracebacks are written to
        bench = Bench(Path(place), asked.seed)
        names = [name for name in trials(bench, True) if not asked.only or asked.only in name]
        # Forked, so that each has all of this; the longest first.
        with ProcessPoolExecutor(cores(), get_context("fork")) as pool:
            at = [bench.at(Path(place, str(i)), f"{asked.seed}, {n}") for i, n in enumerate(names)]
            works = {
                name: pool.submit(outcomes, one, name, asked.short)
                for name, one in reversed(list(zip(names, at, strict=True)))
            }
            for name in names:
                found[name] = works[name].result()
    lines = list(table(found))
    print("\n".join(lines))
    if asked.write:
        text = asked.write.read_text()
        before, _, rest = text.partition("<!-- torture -->\n")
        after = rest.partition("<!-- /torture -->")[2]
        how_much = "a sample (--short)" if asked.short else "all, and a tenth of all edits"
        title = f"Tried: {how_much}, seed {asked.seed}."
        marked = "\n".join(["<!-- torture -->", title, "", *lines, "<!-- /torture -->"])
        asked.write.write_text(before + marked + after)
    good = sum(counts["survived"] + counts["caught"] for counts in found.values())
    sys.exit(good < sum(counts.total() for counts in found.values()))


if __name__ == "__main__":
    main()
