"""Which photos `vggrepro bench speed` reads: as the library does, and as a folder of files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vggrepro import UserError, data
from vggrepro.data import ImageSet
from vggrepro.data.sources import IMAGENETTE_FOLDERS
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Experiment

KNOWN = ("imagenette", "folder", "synthetic")
SIZE = "160px"


@dataclass(frozen=True)
class Photos:
    """A data set, where it lies, and the folder in which the measurements keep what they make."""

    name: str
    data_dir: Path | None
    scratch: Path
    counts: tuple[int, int] = (2000, 500)
    """How many images are drawn if the data set is `synthetic`."""

    def load(self, split: str) -> ImageSet:
        """One split, as the library reads it: decoded once into a cache of its own."""
        return data.load(
            self.name,
            split,
            self.data_dir,
            cache_dir=self.scratch / "cache",
            size=SIZE,
            counts=self.counts,
        )

    def experiment(self, run: str) -> Experiment:
        """The declaration of a run at `reduced` on these photos."""
        known = "imagenette" if self.name == "synthetic" else self.name
        return replace(at_budget(run, "reduced", known), data=self.name)

    def folder(self, split: str) -> Path:
        """The class folders of `train` or `val`. Drawn images are written there as JPEG files."""
        if self.name == "synthetic":
            return self._drawn(split)
        root = Path(self.data_dir)
        if self.name == "imagenette":
            root /= IMAGENETTE_FOLDERS[SIZE]
        found = root / split
        return found if found.is_dir() else root / "test"

    def _drawn(self, split: str) -> Path:
        root = self.scratch / "files" / split
        if not root.exists():
            images = self.load(split)
            for i, (image, target) in enumerate(zip(images.images, images.targets, strict=True)):
                folder = root / images.classes[target].replace(" ", "-")
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i:05d}.jpg", quality=90)
        return root


def check(name: str, data_dir: Path | None) -> None:
    """Raise `UserError` unless photos of that name can be looked for."""
    if name not in KNOWN:
        raise UserError(f"bench speed runs on {', '.join(KNOWN)}; not on {name!r}")
    if name != "synthetic" and data_dir is None:
        raise UserError(
            f"bench speed needs photos: name the folder of {name} with --data-dir; or measure on "
            "drawn images with --data synthetic, which decides no target"
        )
    data.check(name, data_dir, size=SIZE)


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, evenly spread over a set and its classes, shuffled."""
    return images.subset(np.random.default_rng(0).permutation(images.evenly(count)))


@dataclass(frozen=True)
class Plan:
    """How long and how often things are measured. The defaults keep the whole below 5 minutes."""

    rounds: int = 5
    rounds_at_full_width: int = 3
    seconds: float = 2.5
    """Of one turn, about."""
    seconds_at_full_width: float = 4.0
    starts: int = 5
    memory_images: int = 10**6
    """At most so many training images for the run whose memory is measured."""
