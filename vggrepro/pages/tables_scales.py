"""Tables of the chapters on scales: Tables 3 and 4 beside ours, Q by Q, and score maps.

Scales are the paper's S and Q, for a crop of 224 px; what a column makes of them in pixels is
said beside them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro.pages.report import (
    Column,
    errors,
    mean_and_spread,
    paper_error,
    recorded,
)
from vggrepro.study import store
from vggrepro.study.experiments import (
    ROWS,
    RUNS,
    Evaluation,
    centre_crop,
    evaluations_of,
    one_scale,
    several_scales,
    single_scale,
    three_scales,
)
from vggrepro.windows import PAPER_CROP, scaled, score_map


def name_of(run: str) -> str:
    """`D, S = 384` or `D, S ∈ [256; 512]`; a longer control says so."""
    declared = RUNS[run]
    low, high = declared.train_scale
    scales = f"S = {low}" if low == high else f"S ∈ [{low}; {high}]"
    return f"{declared.config}, {scales}" + ", longer" * is_control(run)


def is_control(run: str) -> bool:
    """Whether a run goes on at a fixed S for as many epochs as jitter has."""
    low, high = RUNS[run].train_scale
    return RUNS[run].stage == "jitter" and low == high


# --- scale in training ---------------------------------------------------------------------


def training_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Table 3's rows beside ours, %: by dense evaluation as the paper, and by centre crop.

    A run that the paper does not have (the longer control) has no number of the paper's.
    """
    in_paper = {row.run for row in ROWS if row.table == 3}
    rows = {}
    for run in runs:
        cells = {"Q": str(single_scale(RUNS[run]))}
        cells["paper, dense"] = f"{paper_error(3, run):.1f}" if run in in_paper else "–"
        for column in columns:
            for evaluation in (one_scale(run), centre_crop(run)):
                head = f"{column.title}, {evaluation.protocol.replace('-', ' ')}"
                cells[head] = _cell(column, run, evaluation)
        rows[name_of(run)] = cells
    return _frame(rows)


def _cell(column: Column, run: str, evaluation: Evaluation) -> str:
    if evaluation not in evaluations_of(run):
        return "–"
    cell = recorded(column.results_dir, column.experiment(run), evaluation)
    return cell.replace(", n = ", "<br>n = ")  # room on a phone


def _frame(rows: dict[str, dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index")


def single_test_scales(run: str) -> tuple[int, ...]:
    """Every Q at which a run is evaluated densely by itself, ascending."""
    return tuple(
        sorted(
            evaluation.test_scales[0]
            for evaluation in evaluations_of(run)
            if evaluation.protocol == "dense" and len(evaluation.test_scales) == 1
        )
    )


def by_scale_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Error of each run (%) by dense evaluation at each single Q; the lowest mean is bold."""
    scales = sorted({q for run in runs for q in single_test_scales(run)})
    rows: dict[str, dict[str, str]] = {f"Q = {q}": {} for q in scales}
    for column in columns:
        for run in runs:
            means = mean_by_scale(column, run)
            for q in scales:
                cell = _cell(column, run, Evaluation("dense", (q,)))
                best = bool(means) and q == min(means, key=lambda scale: means[scale])
                head = f"{name_of(run)}<br>{column.title}"
                rows[f"Q = {q}"][head] = f"<b>{cell}</b>" if best else cell
    return _frame(rows)


def errors_by_scale(column: Column, run: str) -> dict[int, dict[int, float]]:
    """Top-1 errors in percent, by Q and by seed, of the seeds that have every Q.

    Other seeds would make a step in a curve that is none of the scale's.
    """
    found = {q: errors(column, run, Evaluation("dense", (q,))) for q in single_test_scales(run)}
    shared = set.intersection(*(set(by_seed) for by_seed in found.values())) if found else set()
    if not shared:
        return {}
    return {q: {seed: by_seed[seed] for seed in sorted(shared)} for q, by_seed in found.items()}


def mean_by_scale(column: Column, run: str) -> dict[int, float]:
    """The mean of those over seeds, by Q; empty without records."""
    found = errors_by_scale(column, run)
    return {q: float(np.mean(list(by_seed.values()))) for q, by_seed in found.items()}


def best_scale_sentence(column: Column, runs: Sequence[str]) -> str:
    """At which Q each run errs least, and how far that is from the Q of Section 4.1."""
    said = []
    for run in runs:
        means = mean_by_scale(column, run)
        if not means:
            said.append(f"{name_of(run)} is not run")
            continue
        best, own = min(means, key=lambda q: means[q]), single_scale(RUNS[run])
        seeds = len(next(iter(errors_by_scale(column, run).values())))
        text = f"{name_of(run)} errs least at Q = {best}"
        if best != own:
            text += f", {means[own] - means[best]:.1f} points less than at Q = {own}"
        said.append(f"{text} (n = {seeds})")
    return f"{column.title}: {'; '.join(said)}."


# --- scale in testing ----------------------------------------------------------------------


class Gain(NamedTuple):
    """What three Q gain over one: errors in percent of either, and their difference, by seed."""

    one: dict[int, float]
    three: dict[int, float]

    @property
    def points(self) -> list[float]:
        """One Q minus three, for each seed that has both; positive where three are better."""
        return [self.one[s] - self.three[s] for s in sorted(self.one.keys() & self.three.keys())]


def gain(column: Column, run: str, control: str | None = None) -> Gain:
    """Three Q against one, both dense; with `control` that protocol at one Q in place of three."""
    against = one_scale(run, control) if control else three_scales(run)
    return Gain(errors(column, run, one_scale(run)), errors(column, run, against))


def paper_gain(run: str) -> float | None:
    """Table 3's error minus Table 4's in points, which have one decimal; None for a control."""
    in_paper = {row.run for row in ROWS if row.table == 4}
    return round(paper_error(3, run) - paper_error(4, run), 1) if run in in_paper else None


def gains_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Tables 3 and 4 beside ours: error at one Q → at three Q (%), and the gain in points."""
    rows = {}
    for run in runs:
        cells = {"three Q": ", ".join(map(str, several_scales(RUNS[run])))}
        said = paper_gain(run)
        cells["paper"] = "–"
        if said is not None:
            one, three = paper_error(3, run), paper_error(4, run)
            cells["paper"] = f"{one:.1f} → {three:.1f}<br>{said:+.1f}"
        for column in columns:
            cells[column.title] = _gain_cell(column, run)
        rows[name_of(run)] = cells
    return _frame(rows)


def _gain_cell(column: Column, run: str) -> str:
    found = gain(column, run)
    points = found.points
    if not points:
        return "not run"
    shared = found.one.keys() & found.three.keys()
    one, three = (np.mean([side[seed] for seed in shared]) for side in found)
    spread = mean_and_spread(points)
    signed = spread if spread.startswith("-") else f"+{spread}"
    return f"{one:.1f} → {three:.1f}<br>{signed}" + " (pilot)" * column.experiment(run).pilot


# --- score maps ----------------------------------------------------------------------------


def score_maps_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Positions on the short side for every Q of `runs`: at the paper's crop, and in each column.

    Where records of that Q exist, also how many positions a val image has on average.
    """
    scales = sorted(
        {q for run in runs for q in (*single_test_scales(run), *several_scales(RUNS[run]))}
    )
    rows = {}
    for q in scales:
        cells = {"paper, 224 px crops": _short_side(q, PAPER_CROP)}
        for column in columns:
            crop = column.experiment(runs[0]).crop
            here = f"{_short_side(q, crop)} ({scaled(q, crop)} px)"
            cells[column.title] = here
            cells[f"{column.title}, per image"] = mean_positions(column, runs, q)
        rows[f"Q = {q}"] = cells
    return _frame(rows)


def _short_side(test_scale: int, crop: int) -> str:
    pixels = scaled(test_scale, crop)
    return str(score_map((pixels, pixels), pixels, crop)[0])


def mean_positions(column: Column, runs: Sequence[str], test_scale: int) -> str:
    """Positions of a val image's score map on average over images, as recorded with that Q."""
    evaluation = Evaluation("dense", (test_scale,))
    for run in runs:  # any of them will do: the maps are those of the images, not of the net
        found = store.evaluations(column.results_dir, column.experiment(run), evaluation)
        for record in found.values():
            sizes = ((map(int, size.split("x")), n) for size, n in record.positions.items())
            return f"{sum(math.prod(size) * n for size, n in sizes) / record.data.count:.1f}"
    return "–"
