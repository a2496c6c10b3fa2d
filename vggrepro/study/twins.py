"""How far a training ends from itself on another processor: rounding, made larger by training."""

from itertools import combinations
from pathlib import Path

import numpy as np

from vggrepro.study import programme
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import FUSIONS, Experiment
from vggrepro.study.records import TrainRecord
from vggrepro.study.store import RECORDED, trainings, twins


def twins_sentence(results_dir: Path = RECORDED) -> str:
    """How far a training ends from itself on another processor, beside how far seeds lie apart."""
    apart, seeds_apart, children = [], [], 0
    for data in programme.DATA:
        for run in programme.seeds(data):
            if run in FUSIONS:
                continue
            e = at_budget(run, programme.BUDGET, data)
            errors = {s: r.curve[-1].minival_error for s, r in _ended(results_dir, e).items()}
            others = [t for t in twins(results_dir, e) if t.seed in errors]
            apart += [abs(t.curve[-1].minival_error - errors[t.seed]) for t in others]
            if others:
                seeds_apart += [abs(a - b) for a, b in combinations(errors.values(), 2)]
            children += _from_twins(results_dir, e)
    if not apart:
        return "Every training here was made on the kind of processor that its parent was made on."
    return (
        "Rounding differs between processors, and a training makes the difference grow. So a run "
        "that starts from another, and was made on another kind of processor than that, starts "
        "from a *twin* of it: the same training, made again where the run was made. That is so of "
        f"{children} training{'s' * (children != 1)} of this study. The {len(apart)} twins end "
        f"{', '.join(f'{one:.1f}' for one in apart)} points of minival error from the records of "
        f"the same seeds, {np.mean(apart):.1f} on average; two seeds of the same runs lie "
        f"{np.mean(seeds_apart):.1f} apart. What is paired by seed there is what a seed fixes, the "
        "start and the crops."
    )


def _ended(results_dir: Path, e: Experiment) -> dict[int, TrainRecord]:
    return {s: r for s, r in trainings(results_dir, e).items() if r.status == "ok"}


def _from_twins(results_dir: Path, e: Experiment) -> int:
    """How many trainings of a run started from other weights than their parent's record has."""
    if e.init_from is None:
        return 0
    parents = trainings(results_dir, at_budget(e.init_from, e.budget, e.data))
    return sum(
        s in parents and r.parent_weights != parents[s].weights_digest
        for s, r in _ended(results_dir, e).items()
    )
