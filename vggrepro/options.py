"""The options that several commands share, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

from vggrepro.budgets import BUDGETS

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
    typer.Option("--workers", min=0, help="Processes that share the runs; 0: one for each core."),
]
MicroBatch = Annotated[
    int | None, typer.Option(min=1, help="Images at once; gradients are summed up to the batch.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Train with torch.compile.")]
Study = Annotated[
    bool,
    typer.Option("--study", help="The recorded study: its runs and seeds on --data."),
]
Missing = Annotated[bool, typer.Option("--missing", help="Only commands of missing runs.")]
AnyResults = Annotated[Path | None, typer.Option(help="Folder of records; both if not given.")]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision fetch the data.")]
