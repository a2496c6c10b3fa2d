"""The options that several commands share, each with its help."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vggrepro import UserError
from vggrepro.study import workers
from vggrepro.study.budgets import BUDGETS
from vggrepro.study.results import RERUN
from vggrepro.study.where import Where

_BUDGETS = ", ".join(BUDGETS)
Budget = Annotated[str, typer.Option(help=f"How much of the protocol: {_BUDGETS}.")]
Data = Annotated[str | None, typer.Option(help="Data set; the budget's first if not given.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder the data set is in.")]
CacheDir = Annotated[Path | None, typer.Option(help="Where decoded images are kept.")]
Results = Annotated[Path, typer.Option(help="Folder of records.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run again what is already recorded.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, bf16, float32 or, on a GPU, tf32.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help=f"Processes that share the runs; 0: one for each core, at most {workers.MOST}, and "
        "one if there is a GPU.",
    ),
]
MicroBatch = Annotated[
    int | None, typer.Option(min=1, help="Images at once; gradients are summed up to the batch.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Train with torch.compile.")]
Study = Annotated[
    bool,
    typer.Option("--study", help="The recorded study: its runs and seeds on --data."),
]
Round = Annotated[
    int, typer.Option("--round", min=1, max=2, help="With --study: the first round or the second.")
]
Missing = Annotated[bool, typer.Option("--missing", help="Only commands of missing runs.")]
AnyResults = Annotated[Path | None, typer.Option(help="Folder of records; both if not given.")]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision fetch the data.")]

# By the names of `Where`'s fields, which have their defaults.
_WHERE = {
    "data_dir": DataDir,
    "results_dir": Results,
    "cache_dir": CacheDir,
    "device": Device,
    "precision": Precision,
    "threads": Threads,
    "download": Download,
    "fresh": Fresh,
}


def works_somewhere(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of `_WHERE`; it gets them as one argument, `where`."""
    own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def called(**given: object) -> None:
        where = Where(**{name: given.pop(name) for name in _WHERE})
        command(**given, where=where)

    called.__signature__ = inspect.Signature(
        [parameter for parameter in own if parameter.name != "where"]
        + [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=RERUN if name == "results_dir" else getattr(Where, name),
                annotation=kind,
            )
            for name, kind in _WHERE.items()
        ]
    )
    return called


def not_both(context: typer.Context, first: str, *others: str) -> None:
    """Raise `UserError` if a parameter was given together with one of the others."""
    if _given(context, first):
        for other in others:
            if _given(context, other):
                one, two = (_shown(context, name) for name in (first, other))
                raise UserError(f"{one} and {two} contradict each other: leave one of them out")


def does_nothing(context: typer.Context, here: str, *names: str) -> None:
    """Raise `UserError` if one of these parameters was given, which say nothing `here`."""
    for name in names:
        if _given(context, name):
            raise UserError(f"{_shown(context, name)} does nothing {here}: leave it out")


def _given(context: typer.Context, name: str) -> bool:
    # Of an argument that may be left out, nothing is also from the command line.
    return bool(
        context.get_parameter_source(name).name == "COMMANDLINE"
        and context.params[name] not in (None, (), [])
    )


def _shown(context: typer.Context, name: str) -> str:
    (parameter,) = [one for one in context.command.params if one.name == name]
    return parameter.opts[0] if parameter.param_type_name == "option" else f"the names of {name}"
