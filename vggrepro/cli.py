"""The command line: `vggrepro list, results, run, rerun, status, verify, compare, plan, ...`.

Nothing heavy is imported before a command needs it, so `--help` answers at once.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from vggrepro import UserError, check_known
from vggrepro.data import Photos, load
from vggrepro.files import expanded, make_writable
from vggrepro.process import in_order, printable
from vggrepro.recipe import Recipe
from vggrepro.study import programme, second_round, starts, store
from vggrepro.study import status as status_of
from vggrepro.study.budgets import BUDGETS, at_budget, budget_named, data_of
from vggrepro.study.experiments import FUSIONS, RUNS, comes_first
from vggrepro.study.store import MOST_PROCESSES, NO_CLONE, OWN, RECORDED, RERUN, Where
from vggrepro.windows import PAPER_CROP

# --- the options that several commands share ----------------------------------------------

MOST_SEED = 2**32 - 1
Budget = Annotated[str, typer.Option(help=f"How much of the protocol: {', '.join(BUDGETS)}.")]
Data = Annotated[str | None, typer.Option(help="Data set; the budget's first if not given.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder the data set is in.")]
# A shell leaves `~` as it is behind `--out=`.
A_PATH = {"parser": expanded, "metavar": "PATH"}
Results = Annotated[Path, typer.Option(help="Folder of records.", **A_PATH)]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        max=64,
        help=f"Processes that share the runs; 0: one for each core, at most {MOST_PROCESSES}, and "
        "one if there is a GPU.",
    ),
]
Study = Annotated[
    bool,
    typer.Option("--study", help="The recorded study: its runs and seeds on --data."),
]
Round = Annotated[
    int, typer.Option("--round", min=1, max=2, help="With --study: the first round or the second.")
]
Missing = Annotated[bool, typer.Option("--missing", help="Only commands of missing runs.")]
AnyResults = Annotated[
    Path | None, typer.Option(help="Folder of records; both if not given.", **A_PATH)
]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the start and of the batches.")]

# By the names of `Where`'s fields, which have their defaults.
_WHERE = {
    "data_dir": DataDir,
    "results_dir": Results,
    "cache_dir": Annotated[
        Path | None, typer.Option(help="Where decoded images are kept; all of it may be removed.")
    ],
    "device": Annotated[str, typer.Option(help="auto, cpu or cuda.")],
    "precision": Annotated[str, typer.Option(help="auto, bf16, float32 or, on a GPU, tf32.")],
    "threads": Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; all cores if not given.")
    ],
    "download": Annotated[bool, typer.Option("--download", help="Let torchvision fetch the data.")],
    "fresh": Annotated[bool, typer.Option("--fresh", help="Run again what is already recorded.")],
    "micro_batch": Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Images at once; gradients are summed up to the batch."),
    ],
    "compile": Annotated[bool, typer.Option("--compile", help="Train with torch.compile.")],
}
MACHINE = ("device", "precision", "threads")
EVERYWHERE = ("data_dir", "results_dir", "cache_dir", *MACHINE, "download", "fresh")


def works_somewhere(*options: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options of `_WHERE`; it gets them as one argument, `where`."""
    of_where = inspect.signature(Where).parameters
    added = [
        of_where[name].replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_WHERE[name])
        for name in options
    ]

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**given: object) -> None:
            where = Where(**{name: given.pop(name) for name in options})
            command(**given, where=where)

        own = inspect.signature(command).parameters.values()
        own = [parameter for parameter in own if parameter.name != "where"]
        called.__signature__ = inspect.Signature(own + added)
        return called

    return changed


def say(lines: Iterable[object]) -> None:
    """Print each line as soon as it is known."""
    for line in lines:
        typer.echo(line)


def not_both(context: typer.Context, first: str, *others: str) -> None:
    """Raise `UserError` if a parameter was given together with one of the others."""
    given = _given(context)
    for other in others:
        if first in given and other in given:
            both = f"{given[first]} and {given[other]}"
            raise UserError(f"{both} contradict each other: leave one of them out")


def does_nothing(context: typer.Context, here: str, *names: str) -> None:
    """Raise `UserError` if one of these parameters was given, which say nothing `here`."""
    given = _given(context)
    for name in names:
        if name in given:
            raise UserError(f"{given[name]} does nothing {here}: leave it out")


def _given(context: typer.Context) -> dict[str, str]:
    """The parameters that were typed, and what a message calls them."""
    return {
        one.name: one.opts[0] if one.param_type_name == "option" else f"the names of {one.name}"
        for one in context.command.params
        # Of an argument that may be left out, nothing is also from the command line.
        if context.params.get(one.name) not in (None, (), [])
        and context.get_parameter_source(one.name).name == "COMMANDLINE"
    }


# --- the commands -------------------------------------------------------------------------

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rerun the experiments of the VGG paper and look at what was recorded.",
)

BENCHMARKS = ("speed", "lrn")
OF_TRAIN = ("--epochs", "--batch-size", "--learning-rate", "--lr", "--width", "--crop", "--start")


@app.command("list")
def list_rows(
    context: typer.Context,
    budget: Budget = programme.BUDGET,
    data: Data = None,
    results_dir: Results = RECORDED,
    missing: Missing = False,
    data_dir: DataDir = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="With --missing: seeds 0 to n - 1.")
    ] = 1,
) -> None:
    """Every row of the paper's tables: the value there, and what is recorded.

    Then the runs and fusions that no table has: controls, and what you have added.
    """
    data = data_of(budget, data)
    if not missing:
        does_nothing(context, "without --missing", "seeds", "data_dir")
    if results_dir.exists() or not (missing or results_dir == RECORDED):
        store.check_folder(results_dir)
    if missing:
        if data == "synthetic":
            does_nothing(context, "with drawn images", "data_dir")
        say(status_of.missing_commands(results_dir, budget, data, data_dir, seeds))
        return
    from vggrepro.pages import report

    say(report.listed(results_dir, budget, data))
    if results_dir == RECORDED:
        say(status_of.elsewhere(RECORDED, RERUN))


@app.command()
def results(
    results_dir: Results = RECORDED,
    csv: Annotated[bool, typer.Option("--csv", help="Every record's row instead, as CSV.")] = False,
) -> None:
    """All recorded errors: mean, spread and number of seeds of each run under each protocol.

    With --csv the table that `vggrepro.results()` gives: a row for every record.
    """
    table = store.frame(results_dir)
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
    elif (errors := store.by_run(table)).empty:
        kinds = ", ".join(f"{n} {kind}" for kind, n in table.kind.value_counts().items())
        found = f"{kinds} (--csv lists them)" if kinds else "no records to show"
        typer.echo(f"no errors are recorded in {results_dir}; there are {found}")
    else:
        typer.echo(errors.to_string())


@app.command()
@works_somewhere("micro_batch", "compile", *EVERYWHERE)
def run(
    context: typer.Context,
    where: Where,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names in `vggrepro list` without table and protocol: D-jitter for "
            "table3/D-jitter or table5/D-jitter/dense."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs and fusions.")] = False,
    recorded_study: Study = False,
    study_round: Round = 1,
    budget: Budget = "quick",
    data: Data = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MOST_SEED, help="Just this seed.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0 to n - 1.")] = 1,
) -> None:
    """Train and evaluate runs, fuse them, and run what they need. Recorded ones are skipped.

    With --study, the runs and seeds of the recorded study on --data, at its own budget; with
    --study --round 2 the units of the second round that this kind of machine can do.
    Ctrl-C, a kill or a power cut loses at most one epoch: the same command goes on. Several
    commands in one folder share the runs; `torchrun --nproc-per-node N -m vggrepro run ...`
    shares each batch among N devices.
    """
    not_both(context, "recorded_study", "runs", "every", "budget", "seeds")
    not_both(context, "every", "runs")
    not_both(context, "seed", "seeds")
    if not recorded_study:
        does_nothing(context, "without --study", "study_round")
    if study_round == 2:
        not_both(context, "study_round", "seed")
    known = [*RUNS, *FUSIONS]
    names = known if every else list(runs or [])
    if recorded_study:
        budget, data = programme.BUDGET, data_of(programme.BUDGET, data)
        names = list(programme.seeds(data) if study_round == 1 else second_round.runs(data))
    if not names:
        raise UserError(f"name a run, or use --all or --study; there are: {', '.join(known)}")
    for name in names:
        at_budget(name, budget, data)  # bad names fail before anything is loaded
        if told := comes_first(name, names):
            typer.echo(told, err=True)
    from vggrepro.study import runner

    wanted = runner.asked(names, [seed] if seed is not None else range(seeds))
    if recorded_study and study_round == 1:
        wanted = programme.tasks(data, seed)
    elif recorded_study:
        wanted = second_round.tasks(where.results_dir, data, runner.kind_here(where))
        if not wanted:
            left = "is left for this commit and this kind of machine"
            typer.echo(f"nothing of the second round on {data} {left}")
            return
    runner.run_tasks(wanted, budget, data, where)


@app.command()
@works_somewhere(*EVERYWHERE)
def rerun(
    where: Where,
    chapter: Annotated[str, typer.Argument(help="A chapter (02, lrn, 02_lrn) or `all`.")],
    budget: Budget = "quick",
    data: Data = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="Seeds of each run.")] = None,
    processes: Workers = 1,
) -> None:
    """Run what a chapter needs, then execute the chapter with it into `_build/rerun/`."""
    from vggrepro.pages import render, reruns

    data = data_of(budget, data)
    scripts = render.chapters() if chapter == "all" else [render.find_chapter(chapter)]
    reruns.rerun(scripts, budget, data, seeds or budget_named(budget).seeds, where, processes)


@app.command()
def status(
    results_dir: AnyResults = None,
) -> None:
    """What is recorded and what is missing, for the recorded study and the latest rerun."""
    if results_dir:
        store.check_folder(results_dir)
    for folder in [results_dir] if results_dir else [RECORDED, RERUN]:
        say(status_of.status_lines(folder))


@app.command()
def verify(
    results_dir: AnyResults = None,
) -> None:
    """Recompute digests and errors of every record; exit 1 if one does not hold."""
    folders = [results_dir] if results_dir else [f for f in (RECORDED, RERUN, OWN) if f.is_dir()]
    paths = [path for folder in folders for path in store.record_files(folder)]
    if not paths:
        why = "" if results_dir or RECORDED.is_dir() else f": {NO_CLONE}"
        where = ", ".join(map(str, folders)) or "results or rerun"
        raise UserError(f"no records in {where}{why}")
    found = store.verify(paths)
    for problem in found:
        typer.echo(problem, err=True)
    if found:
        raise UserError(f"{len(found)} problems in {len(paths)} records")
    typer.echo(f"{len(paths)} records, all as they were written")


@app.command("check-data")
@works_somewhere("cache_dir")
def check_data(
    where: Where,
    data_dir: Annotated[Path, typer.Argument(help="Folder with train/ and val/.")],
    data: Annotated[str, typer.Option(help="Data set that it should be.")] = "folder",
) -> None:
    """Open every photo and list all that is wrong with a data folder, before any training.

    What is broken, passed over or no image, classes that differ, photos that train and val or two
    classes share.
    """
    from vggrepro.data.check import check

    found = check(data_dir, data, where.cache_dir)
    for note in found.notes:
        typer.echo(f"note: {printable(note)}")
    for problem in found.problems:
        typer.echo(printable(problem))
    if found.problems:
        raise UserError(f"{len(found.problems)} problems in {data_dir}")
    named = ", ".join(found.classes[:10]) + ", …" * (len(found.classes) > 10)
    typer.echo(f"{len(found.classes)} classes: {printable(named)}")
    typer.echo(f"{found.photos} photos, ready to be trained on")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A folder of records, such as results.")],
    second: Annotated[Path, typer.Argument(help="Another one, such as rerun.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is the same to the last bit.")
    ] = False,
) -> None:
    """Two folders of records side by side: which numbers moved, which verdicts changed."""
    from vggrepro.pages import comparison

    say(comparison.lines(first, second, everything))


@app.command()
def plan(
    context: typer.Context,
    budget: Budget = "full",
    data: Data = None,
    device: Annotated[
        str | None, typer.Option(help="A card, or this-machine; lists them if not given.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, max=1024, help="How many of it.")] = 1,
    share: Annotated[
        float | None, typer.Option(help="Share of its peak that is reached, if not the usual.")
    ] = None,
    recorded_study: Study = False,
    results_dir: Results = RECORDED,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's own training time.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Recorded trainings against what was expected.")
    ] = False,
) -> None:
    """Work, memory and hours of a budget on a device, before it is run."""
    of_a_plan = ("recorded_study", "device", "devices", "share", "budget", "data")
    not_both(context, "paper", "check", *of_a_plan, "results_dir")
    not_both(context, "check", *of_a_plan)
    not_both(context, "recorded_study", "budget")
    if device is None and not (paper or check):
        others = (name for name in of_a_plan if name != "device")
        here = "without --device (`vggrepro plan` alone lists them)"
        does_nothing(context, here, *others, "results_dir")
    from vggrepro.bench import planner

    if device not in (None, planner.THIS_MACHINE):
        does_nothing(context, f"with --device {device}", "results_dir")
    if paper:
        say(planner.paper_lines())
    elif check:
        say(planner.check_lines(results_dir))
    elif device is None:
        typer.echo(planner.devices_table().to_string(na_rep="-"))
    else:
        counts = None
        if recorded_study:
            budget, data = programme.BUDGET, data_of(programme.BUDGET, data)
            counts = programme.seeds(data)
        say(planner.lines(budget, data, device, devices, share, results_dir, counts))


@app.command("first-steps")
@works_somewhere(*EVERYWHERE)
def first_steps(
    where: Where,
    nets: Annotated[
        list[str] | None, typer.Argument(help="A net and its start, such as D-he; all if none.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10**6, help="Steps to train.")] = starts.STEPS,
    crop: Annotated[
        int, typer.Option(min=32, max=512, help="Side of the crops, px.")
    ] = starts.CROP,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images in a step.")] = starts.BATCH,
    width: Annotated[float, typer.Option(help="Channels and units, as a share, to 8.")] = 1.0,
    seed: Seed = 0,
    data: Annotated[str, typer.Option(help=f"Images: {', '.join(starts.DATA)}.")] = "synthetic",
) -> None:
    """Does it train? The signal at every layer of a net, and the loss in its first steps.

    Nets A, D and E at full width on pixels of 0 to 255, from every start of Section 3.1: before
    the first step, the size of activations and gradients at every layer; then the loss of each
    step; then the signal again. At the end stands what is wrong with each net, if anything is, and
    which start and rate to take. All of them take hours on one core; what is recorded
    is skipped, so a command that was stopped goes on.
    """
    experiments = starts.chosen(nets or [], data, crop=crop, batch_size=batch, width=width)
    from vggrepro.study import first_steps as measuring

    paths = measuring.run(experiments, seed, steps, where)
    typer.echo(measuring.table(paths).to_string())
    say(f"\n{starts.advice(store.read(path))}" for path in paths)


@app.command()
@works_somewhere("cache_dir", *MACHINE, "micro_batch", "fresh")
def train(
    where: Where,
    config: Annotated[str, typer.Argument(help="A net of Table 1: A, A-LRN, B, C, D, E.")],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTOS", help="A folder for each class, or those in train and val."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Weights, with the record and the curves beside.", **A_PATH)
    ],
    epochs: Annotated[int, typer.Option(help="Passes over the photos.")] = 30,
    start: Annotated[
        str, typer.Option(help="he, glorot, normal-std or normal-variance (Section 3.1).")
    ] = "he",
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Before it is divided by ten; if not given 0.01, or 0.001 from He's start at more "
            "than half of the paper's width, where 0.01 overshoots."
        ),
    ] = None,
    schedule: Annotated[str, typer.Option(help="plateau (by minival) or steps.")] = "plateau",
    train_scale: Annotated[str, typer.Option(help="S, 256 or for jitter 256-512.")] = "256",
    weight_decay: Annotated[float, typer.Option(help="On all weights.")] = 5e-4,
    dropout: Annotated[float, typer.Option(help="After fc6 and fc7.")] = 0.5,
    width: Annotated[float, typer.Option(help="Channels, as a share of the paper's.")] = 1.0,
    crop: Annotated[int, typer.Option(help="Side of the crops, px, from 32.")] = 224,
    hidden: Annotated[int, typer.Option(help="Units in fc6 and fc7.")] = 4096,
) -> None:
    """Train a net of Table 1 on your own photos.

    Writes weights that torchvision can load if they have its size, the record of the training and
    its curves. Ctrl-C loses at most one epoch: the same command goes on. On a laptop take
    `--width 0.25 --crop 64 --hidden 256`.
    """
    from vggrepro.study import own, own_training

    try:
        low, *high = map(int, train_scale.split("-"))
        scale = (low, *high) if high else (low, low)
    except ValueError:
        scale = ()
    if len(scale) != 2 or not PAPER_CROP <= scale[0] <= scale[1] <= own.MOST_Q:
        raise UserError(
            f"--train-scale: S such as 256, or 256-512 for jitter, from {PAPER_CROP} to "
            f"{own.MOST_Q}, not {train_scale!r}; for smaller crops it shrinks with them"
        )
    if learning_rate is None:
        learning_rate = own_training.usual_rate(start, width)
    asked = own_training.ToTrain(
        config=config,
        start=start,
        size={"width": width, "crop": crop, "hidden": hidden, "dropout": dropout},
        recipe=Recipe(
            train_scale=scale,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
        ),
        photos=Photos("folder", folder, where.cache_dir),
        out=out,
        seed=seed,
        machine=where.machine(),
        fresh=where.fresh,
    )
    say(own_training.train_lines(asked))


@app.command()
@works_somewhere("cache_dir", *MACHINE, "fresh")
def evaluate(
    context: typer.Context,
    where: Where,
    more: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="MORE")] = None,
    config: Annotated[
        str | None, typer.Option(help="A net of Table 1, if the file does not say.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="A file, or torchvision:VGG16_Weights.IMAGENET1K_V1 and its like."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(help="paper, caffe, torchvision, or mean/deviation as R,G,B/R,G,B."),
    ] = None,
    resize: Annotated[str, typer.Option(help="isotropic or torchvision.")] = "isotropic",
    data: Annotated[str, typer.Option(help="imagenet, folder, cifar10 …")] = "folder",
    data_dir: DataDir = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="Labels of ILSVRC's photos, if they lie in one folder.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="dense, multi-crop, single-crop …; dense if none.")
    ] = None,
    scales: Annotated[
        list[int] | None, typer.Option(help="Q, one or more: --scales 256 384 512.")
    ] = None,
    fuse: Annotated[
        list[str] | None, typer.Option(help="Records of several nets, to be averaged: --fuse A B.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch published weights.")] = False,
    results_dir: Results = OWN,
) -> None:
    """Test any weights of a net of Table 1 on any photos, under any protocol.

    Published weights, those of `vggrepro train`, those of a run. Errors are printed beside the
    paper's where it has them and recorded; what is recorded is not done again, and what was
    stopped goes on.
    """
    not_both(context, "weights", "fuse")
    if fuse:
        of_a_test = ("config", "inputs", "resize", "data", "data_dir", "ground_truth", "protocol")
        does_nothing(context, "with --fuse", *of_a_test, "scales", "download", "cache_dir")
    # An option takes one value; what follows it belongs to it all the same.
    numbers = [int(text) for text in more or [] if text.isdecimal()]
    others = [text for text in more or [] if not text.isdecimal()]
    if (numbers and not scales) or (others and not fuse):
        raise UserError(f"nothing is known of {' '.join(more)}: see `vggrepro evaluate --help`")
    if not (weights or fuse):
        raise UserError("name the weights to test with --weights, or records to average: --fuse")
    from vggrepro.study import own

    way = own.Way(
        own.evaluations(protocol or ["dense"], [*(scales or []), *numbers] or own.SCALES),
        resize,
        where.machine(),
        results_dir,
        where.fresh,
    )
    if fuse:
        averaged = [expanded(path) for path in (*fuse, *others)]
        say(own.told([own.fuse(averaged, way)]))
        return
    asked = own.Asked(
        weights=weights,
        config=config,
        inputs=inputs,
        photos=Photos(data, data_dir, where.cache_dir, download),
        ground_truth=ground_truth,
    )
    say(own.evaluate_lines(asked, way))


# Typer brings its own copy of Click or imports it, depending on its version.
UsageError = typer.BadParameter.__base__


@app.command()
@works_somewhere("data_dir", "cache_dir", "results_dir", *MACHINE, "fresh")
def bench(
    context: typer.Context,
    where: Where,
    what: Annotated[
        str, typer.Argument(help="speed: training and testing; lrn: net A with and without LRN.")
    ] = "speed",
    data: Annotated[
        str, typer.Option(help="Photos for speed: imagenette, cifar10, folder or synthetic.")
    ] = "imagenette",
) -> None:
    """Measure time and memory, in turns, with nothing else running. Takes a few minutes."""
    check_known("benchmark", what, BENCHMARKS)
    if what == "lrn":
        here = "in `bench lrn`, which needs no photos"
        does_nothing(context, here, "data", "data_dir", "cache_dir")
    path = store.bench_path(where.results_dir, what)
    if path.exists() and not where.fresh:
        raise UserError(f"{path} already holds a record; --fresh measures again and replaces it")
    machine = where.machine()
    from vggrepro.bench import speed

    if what == "lrn":
        lines, measure = speed.lrn_lines, functools.partial(speed.lrn, machine)
    else:
        from vggrepro.pages.costs import speed_lines as lines

        load(data, where.data_dir, cache_dir=where.cache_dir)
        measure = functools.partial(speed.speed, machine, data, where.data_dir, where.cache_dir)
    make_writable(path.parent)  # known before all is measured, not after it
    try:
        record = measure()
    except KeyboardInterrupt:
        text = "stopped; nothing measured is kept, and the same command begins anew"
        raise KeyboardInterrupt(text) from None
    say(lines(store.write(record, path)))
    typer.echo(f"written to {path}")


def call(arguments: list[str]) -> None:
    """Run a command. Ends in `SystemExit` for help and for wrong usage (2), else raises."""
    command = typer.main.get_command(app)
    try:
        # Not `app()`: that turns Ctrl-C into a return value, and its message is lost.
        with command.make_context("vggrepro", arguments) as context:
            if empty := [
                one for one in arguments if not one or (one[:2] == "--" and one[-1] == "=")
            ]:
                raise UserError(f"there is an argument without a value: {empty[0] or repr('')}")
            command.invoke(context)
    except UsageError as error:
        error.message = printable(error.message)
        error.show()
        option = getattr(error, "option_name", None)
        if option in OF_TRAIN and error.ctx.command.name in ("run", "rerun"):
            print(
                f"A run's recipe is declared, and its budget shortens it; {option} is an option of "
                "`vggrepro train`, which trains a net on photos of your own.",
                file=sys.stderr,
            )
        sys.exit(error.exit_code)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)


def main() -> None:
    """Entry point: one message, and an exit status as `in_order` gives it."""
    with in_order():
        call(sys.argv[1:])
