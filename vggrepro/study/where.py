"""Where a command works: folders, device, and what of the machine it may use. Nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path

from vggrepro.study.progress import Progress


@dataclass(frozen=True)
class Where:
    """Where a run reads and writes, on what it computes, and where its progress is shown.

    Only `device`, `precision`, `threads`, `micro_batch`, `compile` and the number of processes can
    change the bits of a result; records name them all.
    """

    results_dir: Path
    data_dir: Path | None = None
    cache_dir: Path | None = None
    download: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    fresh: bool = False
    micro_batch: int | None = None
    compile: bool = False
    progress: Progress | None = field(default=None, compare=False)  # None: a bar of its own

    def options(self) -> list[str]:
        """The same as options of `vggrepro run`."""
        named = {
            "--results-dir": self.results_dir,
            "--data-dir": self.data_dir,
            "--cache-dir": self.cache_dir,
            "--device": self.device,
            "--precision": self.precision,
            "--threads": self.threads,
            "--micro-batch": self.micro_batch,
        }
        found = [str(part) for item in named.items() if item[1] is not None for part in item]
        flags = {"--download": self.download, "--fresh": self.fresh, "--compile": self.compile}
        return found + [name for name, wanted in flags.items() if wanted]
