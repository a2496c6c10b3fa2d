"""Differences in error as a chapter shows them: claims, their controls, and what stands beside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vggrepro import UserError
from vggrepro.pages.report import Column, at_chance, recorded_columns
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import claim_named
from vggrepro.study.decisions import Study, control_interval, differences_of, interval_of, said
from vggrepro.study.experiments import short_name
from vggrepro.study.rules import JITTER, Claim, Interval, Side, Sides, centre, one_q, table_3
from vggrepro.study.store import RECORDED


def shown_interval(interval: Interval, unit: str = "") -> str:
    """`+0.3 [-0.1, 0.7], n = 5`: estimate and 95 % interval."""
    low, high = interval.low, interval.high
    return f"{interval.estimate:+.1f}{unit} [{low:+.1f}, {high:+.1f}], n = {interval.n}"


def shown_by_seed(differences: Iterable[float]) -> str:
    """`-2.0, +0.1 and -73.8 by seed`."""
    *most, last = (f"{difference:+.1f}" for difference in differences)
    return f"{', '.join(most)} and {last} by seed" if most else f"{last}, n = 1"


@dataclass(frozen=True)
class Found:
    """A difference as recorded: points by seed, and the 95 % interval from two seeds on.

    Pilots are found only where nothing else is; they have no interval, since they decide nothing.
    Nor has a difference in which a net `stalled`: its error says that and no more.
    """

    by_seed: Mapping[int, float]
    interval: Interval | None
    pilot: bool
    stalled: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds, points."""
        return float(np.mean(list(self.by_seed.values())))


Studies = tuple[Study, Study]


def studies_of(results_dir: Path, budget: str = "reduced") -> Studies:
    """The records that may decide, then the same with the pilots."""
    return Study(results_dir, budget), Study(results_dir, budget, with_pilots=True)


def found_in(studies: Studies, claim: Claim, data: str, sides: Sides | None = None) -> Found | None:
    """The difference of a claim, or of the `sides` of one of its controls; None if not run."""
    own = sides is None or sides == claim.sides
    for study in studies:
        if own:
            by_seed = differences_of(study, claim, data)
        else:
            by_seed = study.differences(sides, data, claim.seeds, "top1_error")
        if by_seed and study.with_pilots:
            return Found(by_seed, None, pilot=True)
        if by_seed and stalled(study, data, sides or claim.sides, claim.seeds):
            return Found(by_seed, None, pilot=False, stalled=True)
        if by_seed:
            interval = (
                interval_of(study, claim, data)
                if own
                else control_interval(study, claim, sides, data)
            )
            return Found(by_seed, interval, pilot=False)
    return None


def stalled(study: Study, data: str, sides: Sides, seeds: int) -> dict[str, list[int]]:
    """The runs of both sides that are at chance, with those of the first `seeds` in which."""
    found = {}
    for run in dict.fromkeys(side.run for side in sides):
        idle = at_chance(study.results_dir, at_budget(run, study.budget, data))
        if few := [seed for seed in idle if seed < seeds]:
            found[run] = few
    return found


@dataclass(frozen=True)
class Beside:
    """A difference that a quoted sentence of the paper names and no claim has: it decides nothing.

    `sides` and `paper` are as in a claim.
    """

    name: str
    sides: Sides
    paper: float


BESIDE: dict[str, tuple[Beside, ...]] = {
    "depth-a-to-b": (
        Beside(
            "from A to E, as the paper's sentence has it",
            centre("E-S256", "A-S256"),
            table_3("E", "A").difference,
        ),
    ),
    "jitter-as-in-the-paper": tuple(
        Beside(
            f"jittered D against D at S = 256, each at its own Q, {how}",
            sides,
            table_3("D", "D", (JITTER, 256)).difference,
        )
        for how, sides in (
            ("centre crop", centre("D-jitter", "D-S256")),
            ("dense", (one_q("D-jitter"), one_q("D-S256"))),
        )
    ),
}
"""Shown below the claim of that key."""


def differences_table(*keys: str, columns: Sequence[Column] | None = None) -> pd.DataFrame:
    """Claim by column of records: difference in top-1 error (points), 95 % interval and n.

    Below each claim come its controls, the same pair at another length of training among them,
    its rivals, and what stands `BESIDE` it. A number is bold where it decides, or is a control of
    what decides there. Pilots have no interval; a single seed has one only by the pooled spread.
    Without `columns`, the recorded study on its data sets. Raises `UserError` for an unknown claim
    and for one that is not about errors.
    """
    columns = recorded_columns() if columns is None else columns
    compared = []
    for claim in map(claim_named, keys):
        if not claim.about_errors:
            raise UserError(f"claim {claim.key!r} is about no error: show it by `verdict_box`")
        shown = [sides for _, sides, _, _ in compared]  # two claims may have one rival
        compared += [
            (claim, *row)
            for row in _compared(claim)
            if row[0] not in shown or row[0] == claim.sides
        ]
    rows = []
    for (claim, sides, what, paper), name in zip(compared, _names(compared), strict=True):
        bold = not what.startswith("beside")
        cells = {column.title: _difference(claim, sides, column, bold) for column in columns}
        rows.append({"error of": name, "claim or control": what, "paper": paper} | cells)
    return pd.DataFrame(rows).set_index("error of").rename_axis(index=None, columns="error of")


def _compared(claim: Claim) -> Iterator[tuple[Sides, str, str]]:
    """The claim's own sides first, then what is shown beside it; with the paper's difference."""
    yield claim.sides, claim.statement, said(claim)
    for name, sides in controls_of(claim):
        yield sides, f"control: {name}", "–"
    for name, sides in claim.rivals:
        yield sides, f"another explanation: {name}", "–"
    for one in BESIDE.get(claim.key, ()):
        yield one.sides, f"beside, decides nothing: {one.name}", f"{one.paper:+.1f}"


def controls_of(claim: Claim) -> list[tuple[str, Sides]]:
    """The claim's controls by name, the same at another length of training among them."""
    if not claim.other_length:
        return list(claim.controls)
    return [("the same at another length of training", claim.other_length), *claim.controls]


def _difference(claim: Claim, sides: Sides, column: Column, bold: bool) -> str:
    found = found_in(studies_of(column.results_dir, column.budget), claim, column.data, sides)
    if found is None:
        return "not run"
    shown = shown_found(found).replace(", n = ", "<br>n = ")  # room on a phone
    decides = (column.results_dir, column.data) == (RECORDED, claim.data)
    return f"<b>{shown}</b>" if decides and bold else shown


def shown_found(found: Found) -> str:
    """`+0.3 [-0.1, 0.7], n = 5`; without an interval `+0.3, n = 1`, and whether it is a pilot.

    Seed by seed where a net stalled: a mean would hide in how many.
    """
    if found.stalled:
        return shown_by_seed(found.by_seed.values())
    if found.interval:
        return shown_interval(found.interval)
    return f"{found.mean:+.1f}, n = {len(found.by_seed)}" + (" (pilot)" if found.pilot else "")


def _names(compared: Sequence[tuple[Claim, Sides, str, str]]) -> list[str]:
    """What each difference is of; two of the same nets are told apart by how they are tested."""
    names = [
        _difference_name(sides, claim.less if sides == claim.sides else None)
        for claim, sides, _, _ in compared
    ]
    return [
        f"{name}<br>({tested(sides)})" if names.count(name) > 1 else name
        for name, (_, sides, _, _) in zip(names, compared, strict=True)
    ]


def _difference_name(sides: Sides, less: Sides | None = None) -> str:
    """`A − D`: second minus first, named by what they differ in."""
    first, second = sides
    if first.run != second.run:
        name = f"{short_name(second.run)} − {short_name(first.run)}"
    else:
        protocols = first.evaluation.protocol != second.evaluation.protocol
        here, subtracted = (_evaluation_name(side, protocols) for side in (second, first))
        name = f"{short_name(first.run)}:<br>{here}<br>− {subtracted}"  # room on a phone
    return f"{name}<br>less {_same_for(less, sides)}" if less else name


def _same_for(less: Sides, sides: Sides) -> str:
    """The other net's difference; with its own Q where those are not the ones named before."""
    run, several = short_name(less[0].run), less[0].evaluation
    if several == sides[0].evaluation:
        return f"the same for {run}"
    return f"that of {run} at {_evaluation_name(less[0], with_protocol=False)}"


def _evaluation_name(side: Side, with_protocol: bool) -> str:
    scales = f"Q = {', '.join(map(str, side.evaluation.test_scales))}"
    return f"{side.evaluation.protocol}, {scales}" if with_protocol else scales


def tested(sides: Sides) -> str:
    """How both sides are tested: `centre crop, Q = 256`, `dense, Q = 384 against 256, 384, 512`."""
    first, second = sides
    ways = [side.evaluation.protocol.replace("centre-crop", "centre crop") for side in sides]
    scales = [_evaluation_name(side, with_protocol=False) for side in sides]
    if first.or_else:
        scales = ["each at its best Q"] * 2
    elif first.run != second.run and scales[0] != scales[1]:
        scales = ["each at its own Q"] * 2
    if ways[0] != ways[1]:
        return f"{ways[1]}, {scales[1]} against {ways[0]}, {scales[0]}"
    if scales[0] != scales[1]:
        return f"{ways[0]}, {scales[1]} against {scales[0].removeprefix('Q = ')}"
    return f"{ways[0]}, {scales[0]}"


def beside_sentence(*keys: str) -> str:
    """What stands `BESIDE` these claims: the paper's difference and ours on the deciding photos."""
    studies, parts = studies_of(RECORDED), []
    for claim in map(claim_named, keys):
        for one in BESIDE.get(claim.key, ()):
            found = found_in(studies, claim, claim.data, one.sides)
            here = shown_found(found) if found else "not run"
            parts.append(f"{one.name}: {here} (paper {one.paper:+.1f})")
    return f"Beside the claims, and deciding nothing: {'; '.join(parts)}."
