"""How claims are decided and how often that is wrong: generated from the claims and their rules."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import bartlett

from vggrepro.pages.figures import WORD_COLOURS, ink, plt
from vggrepro.pages.report import DATA_NAMES, table_by
from vggrepro.pages.verdicts import DIRECTED, HOLDS, NAMES, Verdicts, linked, test_of, tested
from vggrepro.study import programme, rules, second_round, store
from vggrepro.study.budgets import at_budget, data_size
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Study, said
from vggrepro.study.experiments import FIXED_256, RUNS
from vggrepro.study.programme import CALIBRATED, Candidate, best, is_out
from vggrepro.study.rules import ALPHA, Claim, Interval, Rule, Sides, Word
from vggrepro.windows import scaled

EMPIRICAL = tuple(claim for claim in CLAIMS.values() if claim.sides)
PRIMARY = tuple(claim for claim in EMPIRICAL if claim.primary)
SECONDARY = tuple(claim for claim in EMPIRICAL if not claim.primary)
STUDIES, PAIRS = 4000, 2000
"""How many simulated studies a chance is counted in: of a wrong word, and of two nets' word."""
FAMILY = [claim for claim in second_round.PRIMARY.values() if claim.family == "nets"]
"""The second round's primary claims about nets."""


# --- as it was fixed ------------------------------------------------------------------------


def data_table() -> pd.DataFrame:
    """What each data set has, and what is decided on it."""
    table = {}
    for data in programme.DATA:
        e = at_budget("D-S256", programme.BUDGET, data)
        size = data_size(e)
        here = [c for c in EMPIRICAL if c.data == data and c.about_errors]
        table[DATA_NAMES[data]] = {
            "images trained on": f"{size.train:,}",
            "minival": f"{size.minival:,}",
            "val": f"{size.val:,}",
            "classes": size.classes,
            "crop": f"{e.crop} px",
            "S = 256 is": f"{scaled(FIXED_256[0], e.crop)} px",
            "width": f"{e.width:g}",
            "claims decided": f"{len(here)}, {sum(c.primary for c in here)} primary",
        }
    return pd.DataFrame(table)


def explained(
    texts: dict[str, str], name: str, of: Callable[[Claim], str] | None = None
) -> pd.DataFrame:
    """Rules or tests in words; with `of`, also how many claims of the first round each decides."""
    counts = Counter(map(of, CLAIMS.values())) if of else {}
    names = {key: NAMES.get(key, key) + (f" ({counts[key]})" if of else "") for key in texts}
    rows = {names[key]: text for key, text in texts.items()}
    marks = {r"`(\w+)`": r"<code>\1</code>", r"\*(.+?)\*": r"<em>\1</em>"}
    table = pd.Series(rows, name="what it is").replace(marks, regex=True).to_frame()
    return table.rename_axis(index=None, columns=f"{name} (claims)" if of else name)


def claims_table(found: Verdicts) -> pd.DataFrame:
    """Every claim as it was fixed, its controls and rivals, and what its seeds can find.

    *Found* is the smallest true difference that earns a word with `POWER`, at the level and with
    the spread by which the claim was decided.
    """
    rows = []
    for claim in sorted(CLAIMS.values(), key=lambda claim: not claim.primary):
        unit = "" if claim.about_errors else " %"
        on = [DATA_NAMES[claim.data]] if claim.about_errors else []
        on += ["at two lengths"] if claim.other_length else []
        decided = found.decisions[claim.key].decided_by if claim.sides else None
        smallest = decided and rules.smallest_found(decided, claim.rule, claim.matters)
        beside = [
            f"{kind}: {name} ({against(sides)})"
            for kind, pairs in (("control", claim.controls), ("rival", claim.rivals))
            for name, sides in pairs
        ]
        kinds = ["primary"] * claim.primary + ["sharpened"] * bool(claim.ours)
        rows.append(
            {
                "claim": linked(claim) + (f" ({', '.join(kinds)})" if kinds else ""),
                "decided by": "<br>".join([claim.rule, claim.test, *on]),
                "n": claim.seeds if claim.sides else "–",
                "matters": f"{claim.matters:g}{unit}" if claim.sides else "–",
                "paper": said(claim),
                "found": f"{smallest:+.2f}{unit}" if smallest else "–",
                "controls and rivals": "<br>".join(beside),
            }
        )
    return table_by("claim", rows)


def against(sides: Sides) -> str:
    """`D-S256 against A-S256, centre crop, Q = 256`; one net tested in two ways is named once."""
    first, second = sides
    runs = second.run if first.run == second.run else f"{second.run} against {first.run}"
    return f"{runs}, {tested(sides)}"


def programme_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every run and fusion of the study: seeds recorded in a `store.frame`, of those planned."""
    ended = table[table.as_declared & (table["round"] == "first") & (table.status != "interrupted")]
    ended = ended[(ended.kind == "fusion") | (ended.kind == "train")]
    there = ended[ended.budget == programme.BUDGET].groupby(["data", "run"]).seed.nunique()
    cells = {
        (run, DATA_NAMES[data]): f"{there.get((data, run), 0)} of {planned}"
        for data in programme.DATA
        for run, planned in programme.seeds(data).items()
    }
    return pd.Series(cells).unstack(sort=False).fillna("–").rename_axis(index=None, columns="run")


# --- pilots ---------------------------------------------------------------------------------


def pilots(table: pd.DataFrame) -> pd.DataFrame:
    """Those rows of a `store.frame` that are pilots' top-1 errors by centre crop."""
    return table[table.path.str.startswith(store.PILOTS) & (table.protocol == "centre-crop")]


def pilots_table(table: pd.DataFrame) -> pd.DataFrame:
    """The pilots' top-1 errors by centre crop, %, by run and photos, of a `store.frame`."""
    found = pilots(table)
    errors = found.groupby([found.data.map(DATA_NAMES), "run"], sort=False).top1_error
    cells = errors.agg(lambda by_seed: ", ".join(f"{error:.1f}" for error in by_seed))
    return cells.unstack(0, sort=False).fillna("–").rename_axis(index=None, columns="run")


# --- do nets vary alike? --------------------------------------------------------------------


def alike_sentence(study: Study) -> str:
    """Whether one spread fits all nets on CIFAR-10, and the training that moves it most."""
    errors = study.pooled_errors("cifar10")
    p = bartlett(*(list(by_seed.values()) for by_seed in errors.values())).pvalue
    said = "they do not" if p < ALPHA else "nothing speaks against it"
    without = {
        (run, left): rules.pooled(
            errors | {run: {s: e for s, e in by_seed.items() if s != left}}
        ).sd
        for run, by_seed in errors.items()
        for left in by_seed
    }
    run, seed = min(without, key=without.get)
    return (
        f"**On CIFAR-10 {said}** (Bartlett's test, p = {p:.3f}). Without one training that was "
        f"slow to take off, {run} with seed {seed}, the pooled spread would be "
        f"{without[run, seed]:.2f} points instead of {rules.pooled(errors).sd:.2f}."
    )


# --- wrong verdicts -------------------------------------------------------------------------


def chance_sentence() -> str:
    """How many claims are tested, and the chance of at least one wrong verdict among them."""
    primary, secondary = (rules.any_false(len(claims)) for claims in (PRIMARY, SECONDARY))
    return (
        f"{len(EMPIRICAL)} of {len(CLAIMS)} claims rest on measurements. "
        f"**{len(PRIMARY)} are primary.** Tested one by one at {ALPHA:.0%}, independent and with "
        f"nothing to find in any, they would give at least one wrong verdict with a chance of "
        f"{primary:.0%}. Holm's procedure keeps the chance of a false *holds* or "
        f"*contradicted* among them at {ALPHA:.0%}, whatever is true and however they depend on "
        f"each other. **{len(SECONDARY)} are secondary** and not corrected: among them the chance "
        f"is about {secondary:.0%} if they are independent, and "
        f"{ALPHA * len(SECONDARY):.1f} wrong verdicts are to be expected where nothing is to be "
        "found. So a single secondary verdict is a lead."
    )


def typical(found: Verdicts) -> tuple[Interval, float] | None:
    """The interval of the primary claims between trainings, around zero, and what matters there.

    None while there are too few seeds to know a spread.
    """
    claim = next(c for c in PRIMARY if c.test == "between trainings")
    interval = found.decisions[claim.key].interval
    return (replace(interval, estimate=0.0), claim.matters) if interval else None


def wrong_table(known: tuple[Interval, float]) -> pd.DataFrame:
    """Simulated chances of a wrong word, at the edge where it is likeliest."""
    interval, matters = known
    rows = []
    for rule, at, wrong in WRONG:
        counted = words(intervals(at * matters, interval, STUDIES), rule, matters)
        row = {
            "rule": rule,
            "true difference": f"{at * matters:+g}" if at else "0",
            "wrong words": ", ".join(wrong),
            "simulated": f"{100 * sum(counted[word] for word in wrong) / STUDIES:.1f} %",
            "allowed": f"{100 * ALPHA:g} %",
        }
        rows.append(row)
    return table_by("rule", rows)


def simulation_sentence(known: tuple[Interval, float]) -> str:
    """What the simulated studies are like, and what Holm's procedure guards among them."""
    interval, matters = known
    none, edge = (
        wrong_among(len(PRIMARY), true, interval, matters, words)
        for true, words in ((0.0, DIRECTED), (matters, ("holds and matters", "negligible")))
    )
    return (
        f"Simulated with the rules' own code, {STUDIES:,} studies a line. Each has {interval.n} "
        f"seeds, a standard error of {interval.standard_error:.2f} points and {interval.df:g} "
        f"degrees of freedom, as the primary claims between trainings have, where {matters:g} "
        f"points matter, and is decided alone, at {ALPHA:.0%}. {len(PRIMARY)} such claims decided "
        f"together have at least one false *holds* or *contradicted* in {none:.0%} of studies "
        "where there is nothing to find. Holm's procedure does not guard the words about what "
        "matters as well: where every difference is just what matters, at least one is called "
        f"more, or *negligible*, in {edge:.0%}."
    )


# --- simulated studies ----------------------------------------------------------------------


def words(
    made: Iterable[Interval], rule: Rule, matters: float, level: float = ALPHA
) -> Counter[Word]:
    """How many of these studies, each with one interval, earn each word."""
    return Counter(rules.verdict(one, rule, matters, level).word for one in made)


def intervals(true: float, expected: Interval, size: int | tuple[int, ...]) -> np.ndarray:
    """An array of simulated intervals of that size when the true difference is `true`.

    `expected` gives the standard error, the degrees of freedom and the number of seeds: errors
    are normal, so a study's estimate is normal and its variance chi-square, independently.
    """
    rng = np.random.default_rng(0)
    estimates = rng.normal(true, expected.standard_error, size)
    errors = expected.standard_error * np.sqrt(rng.chisquare(expected.df, size) / expected.df)
    made = np.frompyfunc(lambda e, s: Interval(float(e), float(s), expected.df, expected.n), 2, 1)
    return made(estimates, errors)


#: A rule, a true difference in units of what matters, and the words that are wrong there: where
#: that is likeliest. Of the last two each is wrong on one side of the edge only.
WRONG: tuple[tuple[Rule, float, tuple[Word, ...]], ...] = (
    ("lower", 0, DIRECTED),
    ("lower", 1, ("holds and matters", "negligible")),
    ("not worse", -1, ("holds", "negligible")),
    ("not worse", 0, ("contradicted", "negligible")),
    ("same", 1, ("holds",)),
    ("same", 1, ("contradicted",)),
)


def wrong_among(
    claims: int,
    true: float,
    expected: Interval,
    matters: float,
    wrong: Collection[Word],
    studies: int = 1000,
) -> float:
    """Share of simulated studies in which one or more of so many claims earn a word of `wrong`.

    Each has the true difference `true` and the rule "lower", and Holm's procedure gives each its
    level, as it does for the primary claims.
    """
    found = 0
    for study in intervals(true, expected, (studies, claims)):
        by_claim = {str(i): one for i, one in enumerate(study)}
        steps = rules.holm({i: rules.p_value(one, "lower", matters) for i, one in by_claim.items()})
        found += any(
            rules.verdict(one, "lower", matters, steps[i].level).word in wrong
            for i, one in by_claim.items()
        )
    return found / studies


INTERVAL_RULES: tuple[Rule, ...] = ("lower", "not worse", "same")

# --- how an interval is called --------------------------------------------------------------

# (estimate, half-width) in units of what matters: far, near, across, inside, on either side.
SHAPES = (
    *((2.0, 0.6), (0.9, 0.5), (0.45, 0.3), (0.1, 0.5)),
    *((0.4, 1.0), (-0.3, 1.0), (-0.45, 0.3), (-1.6, 0.7)),
)


def called() -> Figure:
    """The same intervals under each rule, with the word that the rule gives each."""
    fig, axes = plt.subplots(3, 1, figsize=(5.8, 6.9), sharex=True)
    for ax, rule in zip(axes, INTERVAL_RULES, strict=True):
        ax.axvspan(-1, 1, color="0.92", zorder=0)
        ax.axvline(0, color="0.3", linewidth=1)
        for place, (estimate, half_width) in enumerate(reversed(SHAPES)):
            # Of many degrees of freedom, so wide that the rule's own interval is as drawn.
            unit = Interval(estimate, 1.0, 10**6, 5)
            interval = replace(
                unit, standard_error=half_width / rules.deciding(unit, rule).half_width
            )
            word = rules.verdict(interval, rule, matters=1.0).word
            colour = WORD_COLOURS[word]
            ax.errorbar(estimate, place, xerr=half_width, fmt="o", color=colour, capsize=3)
            ax.text(3.1, place, word, color=ink(colour), va="center")
        ax.set_title(f"rule “{rule}”", loc="left")
        ax.set_yticks([])
        ax.set_xlim(-2.6, 5.2)
        ax.set_xticks([-2, -1, 0, 1, 2], ["−2", "−matters", "0", "matters", "2"])
    axes[-1].set_xlabel("difference, in units of what matters")
    return fig


def simulated(known: tuple[Interval, float]) -> Figure:
    """Share of simulated studies that earn each word, by the true difference; a panel a rule."""
    fig, axes = plt.subplots(3, 1, figsize=(5.8, 6.3), sharex=True)
    expected, matters = known
    truths = matters * np.linspace(-2.5, 2.5, 41)
    for ax, rule in zip(axes, INTERVAL_RULES, strict=True):
        counts = [words(intervals(true, expected, 400), rule, matters) for true in truths]
        said = list(dict.fromkeys(word for count in counts for word in count))
        shares = [[100 * c[word] / c.total() for c in counts] for word in said]
        colours = [WORD_COLOURS[word] for word in said]
        ax.stackplot(truths, shares, colors=colours, labels=said, alpha=0.8)
        for edge in (-matters, 0, matters):
            ax.axvline(edge, color="white", linewidth=1, linestyle=":")
        ax.set(ylabel="studies, %", ylim=(0, 100))
        ax.set_title(f"rule “{rule}”", loc="left")
        ax.margins(x=0)
    axes[-1].set_xlabel("true difference, points of top-1 error")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


# --- the second round -----------------------------------------------------------------------


def second_claims_table() -> pd.DataFrame:
    """Every claim of the second round as it was fixed."""
    rows = [
        {
            "claim": linked(claim),
            "kind": f"primary, {claim.family}" if claim.primary else "secondary",
            "sides": _compared(claim),
            "decided by": f"{claim.rule}, {test_of(claim)}",
            "matters": f"{claim.matters:g}" + (" nats" if claim.metric == "log_loss" else ""),
            "paper": said(claim),
        }
        for claim in second_round.CLAIMS.values()
    ]
    return table_by("claim", rows)


def _compared(claim: Claim) -> str:
    """Both pairs of a claim that has two, and what is subtracted from its difference."""
    said = [against(sides) for sides in (claim.sides, claim.also) if sides]
    less = f"<br>less {against(claim.less)}" if claim.less else ""
    return "<br>and ".join(said) + less


def second_power_table() -> pd.DataFrame:
    """Simulated chances of a word, by the spreads of the two nets and the true difference."""
    n, matters = second_round.UNITS, FAMILY[0].matters
    levels = (ALPHA / len(FAMILY), ALPHA)

    def share(true: float, spreads: tuple[float, float], words: Sequence[str]) -> str:
        found = (welch_words(true, spreads, matters, n, level) for level in levels)
        low, high = sorted(100 * sum(one[w] for w in words) / one.total() for one in found)
        return f"{low:.1f} %" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f} %"

    rows = [
        {
            "spreads of the two nets": " and ".join(f"{sd:g}" for sd in spreads),
            "no difference: called one": share(0.0, spreads, DIRECTED),
            "no difference: called negligible": share(0.0, spreads, ["negligible"]),
            "0.7 found": share(0.7, spreads, HOLDS),
            "1.0 found": share(1.0, spreads, HOLDS),
        }
        for spreads in SPREADS
    ]
    return table_by("spreads of the two nets", rows)


#: Spreads of two nets that the first round makes likely: alike, unlike, and one slow to take off.
SPREADS = ((0.25, 0.25), (0.35, 0.25), (0.35, 0.35), (1.1, 0.3))


@cache
def welch_words(
    true: float,
    spreads: tuple[float, float],
    matters: float,
    seeds: int,
    level: float,
    studies: int = PAIRS,
) -> Counter[Word]:
    """Words of simulated pairs of nets, each with so many seeds and a spread of its own."""
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, sd, (studies, seeds)) for sd in spreads)
    return words(map(rules.welch, first, second + true), "lower", matters, level)


# --- twins ----------------------------------------------------------------------------------


def twins_sentence(results_dir: Path = store.RECORDED) -> str:
    """How far a training ends from itself on another processor, beside how far seeds lie apart."""
    where = ["data", "run", "seed"]
    table = store.frame(results_dir)
    study = (table["round"] == "first") & (table.budget == programme.BUDGET) & table.as_declared
    ended = table[study & (table.kind == "train") & (table.status == "ok")]
    again = ended.path.str.contains("/train-")
    first = ended[~again].set_index(where)
    twins = ended[again & ended.set_index(where).index.isin(first.index)].set_index(where)
    apart = (twins.minival_error - first.minival_error.loc[twins.index]).abs()
    seeds_apart = [
        abs(one - other)
        for run in twins.index.droplevel("seed").unique()
        for one, other in combinations(first.minival_error.loc[run], 2)
    ]
    children = int(first.parent_weights.isin(twins.weights_digest).sum())
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


# --- candidates for the recipe --------------------------------------------------------------


def candidates_table(found: list[Candidate], frozen: Candidate) -> pd.DataFrame:
    """What each candidate changes and reached, one line each, then the recipe that was frozen."""
    winner, rows = best(found), []
    for candidate in (*found, frozen):
        e, mark = candidate.experiment, " (smallest worst)" if candidate is winner else ""
        row = {
            "recipe": candidate.about + mark,
            "rate, batch,<br>dropout, epochs": f"{e.learning_rate:g}, {e.batch_size},<br>"
            f"{e.dropout:g}, {e.epochs}",
        }
        row |= {RUNS[net].config: _cell(candidate, net, winner) for net in CALIBRATED}
        rows.append(row | {"worst": _worst(candidate)})
    return table_by("recipe", rows)


def _worst(candidate: Candidate) -> str:
    if candidate.complete:
        return f"{candidate.worst:.1f}"
    return f"≥ {candidate.worst:.1f}" if candidate.errors else "–"


def _cell(candidate: Candidate, net: str, winner: Candidate | None) -> str:
    if net not in candidate.errors:
        return "not needed" if is_out(candidate, winner) else "not run"
    minival, train = candidate.errors[net]
    return "diverged" if minival == float("inf") else f"{minival:.1f}<br>({train:.1f})"


def candidates_sentence(found: list[Candidate]) -> str:
    """Which candidate is the best so far, and what became of the others."""
    complete = [candidate for candidate in found if candidate.complete]
    winner = best(found)
    out = [candidate for candidate in found if is_out(candidate, winner)]
    if len(complete) + len(out) < 2:
        return f"{len(complete)} of {len(found)} recipes have been run: nothing to compare yet."
    text = (
        f"The winner is “{winner.about}”: its worst net errs {winner.worst:.1f} %, the smallest "
        "such error."
    )
    if out:
        text += f" {len(out)} of {len(found)} lost before all its nets were trained."
    left = len(found) - len(complete) - len(out)
    were = "was" if left == 1 else "were"
    return text + (f" {left} of {len(found)} {were} never trained to the end." if left else "")
