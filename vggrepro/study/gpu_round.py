"""The nets of the second round once more on one GPU, with the paper's channels.

A column of its own, declared before any training of it. Nothing is changed but width, the rate at
which nets of that width leave chance and, on Imagenette, the size of the photos (the paper's
geometry at 128 px in place of 64); there is one length. Sides, tests, margins and families are
those of the second round (`second_round`), and nothing is decided before all seeds of a set of
photos are recorded on one kind of machine.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vggrepro.study import second_round
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Experiment
from vggrepro.study.rules import Claim


class Part(NamedTuple):
    """What is trained on one set of photos, at which budget and with which seeds."""

    budget: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]

    def sides(self, data: str) -> list[Experiment]:
        """The declarations of its runs."""
        return [at_budget(run, self.budget, data) for run in self.runs]


_AT_50 = tuple(run for run in second_round.RUNS["cifar10"] if run.endswith("-50"))
#: By set of photos. Seeds are as many as the predicted minutes allow, fixed before the first call.
PARTS = {
    "cifar10": Part("gpu-32", _AT_50, (0, 1, 2, 3, 4)),
    "imagenette": Part("gpu-128", second_round.RUNS["imagenette"], (0, 1, 2)),
}
CLAIMS: dict[str, Claim] = {
    key: replace(claim, other_length=None, seeds=len(PARTS[claim.data].seeds), cannot=cannot)
    for cannot in ["One length, one card, and ten classes in place of a thousand."]
    for key, claim in second_round.CLAIMS.items()
}


def complete(results_dir: Path, data: str) -> bool:
    """Whether all seeds of a set of photos are there, by one clean commit on one machine's kind."""
    units = second_round.units_of(results_dir, PARTS[data].sides(data), PARTS[data].seeds)
    return all(unit.complete for unit in units) and len({unit.kinds for unit in units}) == 1


def status_lines(results_dir: Path) -> Iterator[str]:
    """How many seeds are complete, and nothing else of them."""
    for data, part in PARTS.items():
        units = second_round.units_of(results_dir, part.sides(data), part.seeds)
        if any(unit.kinds for unit in units):
            done = sum(unit.complete for unit in units)
            yield f"  GPU round on {data}: {done} of {len(units)} seeds complete"
