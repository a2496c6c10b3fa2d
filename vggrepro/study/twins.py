"""How far a training ends from itself on another processor: rounding, made larger by training."""

from itertools import combinations
from pathlib import Path

import numpy as np

from vggrepro.study import programme, store

WHERE = ["data", "run", "seed"]


def twins_sentence(results_dir: Path = store.RECORDED) -> str:
    """How far a training ends from itself on another processor, beside how far seeds lie apart."""
    table = store.frame(results_dir)
    study = (table["round"] == "first") & (table.budget == programme.BUDGET) & table.as_declared
    ended = table[study & (table.kind == "train") & (table.status == "ok")]
    again = ended.path.str.contains("/train-")
    first = ended[~again].set_index(WHERE)
    twins = ended[again & ended.set_index(WHERE).index.isin(first.index)].set_index(WHERE)
    apart = (twins.minival_error - first.minival_error.loc[twins.index]).abs()
    seeds_apart = [
        abs(one - other)
        for run in twins.index.droplevel("seed").unique()
        for one, other in combinations(first.minival_error.loc[run], 2)
    ]
    started = first.dropna(subset="init_from").reset_index()
    parents = first.weights_digest.rename("parent").reset_index()
    both = started.merge(parents, left_on=["data", "init_from", "seed"], right_on=WHERE)
    children = int((both.parent_weights != both.parent).sum())
    if twins.empty:
        return "Every training here was made on the kind of processor that its parent was made on."
    return (
        "Rounding differs between processors, and a training makes the difference grow. So a run "
        "that starts from another, and was made on another kind of processor than that, starts "
        "from a *twin* of it: the same training, made again where the run was made. That is so of "
        f"{children} training{'s' * (children != 1)} of this study. The {len(twins)} twins end "
        f"{', '.join(f'{one:.1f}' for one in apart)} points of minival error from the records of "
        f"the same seeds, {np.mean(apart):.1f} on average; two seeds of the same runs lie "
        f"{np.mean(seeds_apart):.1f} apart. What is paired by seed there is what a seed fixes, the "
        "start and the crops."
    )
