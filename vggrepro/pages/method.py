"""How claims are decided, as tables and sentences: generated from the claims and their rules."""

from collections.abc import Callable, Sequence

import pandas as pd

from vggrepro.bench import workload
from vggrepro.pages.power import (
    DIRECTED,
    STUDIES,
    Wrong,
    planned,
    planned_df,
    wrong_among,
    wrong_words,
)
from vggrepro.pages.report import DATA_NAMES
from vggrepro.pages.verdicts import linked
from vggrepro.study import programme
from vggrepro.study.budgets import BEGINNING, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Study, said
from vggrepro.study.experiments import FIXED_256, FUSIONS, evaluations_of
from vggrepro.study.rules import (
    ALPHA,
    POWER,
    RULES,
    TESTS,
    Claim,
    Interval,
    Rule,
    Side,
    any_false,
    deciding,
    smallest_found,
)
from vggrepro.study.store import PILOTS, RECORDED, evaluations, trainings
from vggrepro.windows import scaled

EMPIRICAL = tuple(claim for claim in CLAIMS.values() if claim.sides)
PRIMARY = tuple(claim for claim in EMPIRICAL if claim.primary)
SECONDARY = tuple(claim for claim in EMPIRICAL if not claim.primary)
DECIDING = tuple(dict.fromkeys(claim.data for claim in EMPIRICAL))
"""The data sets that claims name."""


def planning() -> Study:
    """The pilots, from which the spread over seeds was known before the study was run."""
    return Study(RECORDED / PILOTS, BEGINNING, with_pilots=True)


# --- data sets ----------------------------------------------------------------------------


def data_table() -> pd.DataFrame:
    """What each data set has, and what is decided on it."""
    table = {}
    for data in DECIDING:
        e = at_budget("D-S256", "reduced", data)
        size = workload.data_size(e)
        here = [c for c in EMPIRICAL if c.data == data and c.test != "measurement"]
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


def controls_table() -> pd.DataFrame:
    """What else could make a difference, and the pair of nets that shows it."""
    rows = [
        {
            "claim": linked(claim),
            "kind": kind,
            "control": name,
            "sides": _against(*reversed(sides)),
        }
        for claim in EMPIRICAL
        for kind, named in (("control", claim.controls), ("rival", claim.rivals))
        for name, sides in named
    ]
    return _by_claim(rows)


def _against(side: Side, other: Side) -> str:
    if side.evaluation == other.evaluation:
        return f"{side.run} against {other.run}, {_tested(side)}"
    return f"{side.run}, {_tested(side)}, against {other.run}, {_tested(other)}"


def _tested(side: Side) -> str:
    first, *others = side.evaluation.test_scales
    return f"{side.evaluation.protocol}, {f'{1 + len(others)} Q' if others else f'Q = {first}'}"


def _by_claim(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows).set_index("claim").rename_axis(index=None, columns="claim")


# --- rules --------------------------------------------------------------------------------


def rules_table() -> pd.DataFrame:
    """How each rule reads an interval, and how many claims it decides."""
    return _explained(RULES, lambda claim: claim.rule, "rule")


def tests_table() -> pd.DataFrame:
    """What the interval of a claim is made from."""
    return _explained(TESTS, lambda claim: claim.test, "interval from")


def _explained(texts: dict[str, str], of: Callable[[Claim], str], name: str) -> pd.DataFrame:
    rows = [
        {name: f"{key} ({sum(of(claim) == key for claim in CLAIMS.values())})", "what it is": text}
        for key, text in texts.items()
    ]
    frame = pd.DataFrame(rows).replace(r"`(\w+)`", r"<code>\1</code>", regex=True)
    return frame.set_index(name).rename_axis(index=None, columns=f"{name} (claims)")


# --- claims -------------------------------------------------------------------------------


def claims_table() -> pd.DataFrame:
    """Every claim as it was fixed: where, by which rule and interval, at which n and threshold."""
    rows = []
    for claim in sorted(CLAIMS.values(), key=lambda claim: not claim.primary):
        arithmetic = claim.sides is None
        unit = "" if claim.about_errors else " %"
        on = [] if unit else [DATA_NAMES[claim.data]]
        on += ["at two lengths"] if claim.other_length else []
        rows.append(
            {
                "claim": linked(claim),
                "kind": "primary" if claim.primary else "–" if arithmetic else "secondary",
                "decided by": "<br>".join([claim.rule, claim.test, *on]),
                "n": "–" if arithmetic else claim.seeds,
                "matters": "–" if arithmetic else f"{claim.matters:g}{unit}",
                "paper": said(claim),
            }
        )
    return _by_claim(rows)


def history_sentence() -> str:
    """What of the claims was fixed when: before the pilots, and after them before what decides."""
    (n,) = {claim.seeds for claim in EMPIRICAL if claim.test != "measurement"}
    return (
        "Claims, rules and thresholds were committed before the first pilot (`d2cb20b`) and have "
        "not changed since. After pilots, and before any run that decides, two things did: n, "
        f"which had been five unless a claim said otherwise, became {n} for claims decided on "
        f"{DATA_NAMES[DECIDING[0]]}. And controls were added, for the nets with 1×1 layers, which "
        "also share in the pooled spread, and for LRN at half the length (`89bf953`, `bd3ca18`). "
        "Then claims and n were frozen (`c74b9dc`). One thing was changed after that, for want of "
        "hours: when one seed of everything was recorded, and no claim had its seeds, n of the "
        f"claims decided on {DATA_NAMES[DECIDING[1]]} was cut from five to {n} as well, and what "
        "the primary claims need was put first among the further seeds. Later some controls were "
        "renamed rivals, and “longer training alone” became a rival of the claim that jitter beats "
        "S = 384 too. Depth got one more control when its claims had their seeds: A as long in one "
        "go from random weights, which is not pooled. Else only words have changed. "
        "`git log --follow vggrepro/study/claims.py` has it all."
    )


def programme_table() -> pd.DataFrame:
    """Every run and fusion of the study: how many seeds are recorded, of how many planned."""
    table: dict[str, dict[str, str]] = {}
    for data in DECIDING:
        for run, planned_seeds in programme.seeds(data).items():
            done = _recorded_seeds(run, data, planned_seeds)
            table.setdefault(run, {})[DATA_NAMES[data]] = f"{done} of {planned_seeds}"
    return pd.DataFrame.from_dict(table, orient="index").fillna("–").rename_axis(columns="run")


def _recorded_seeds(run: str, data: str, count: int) -> int:
    """How many of the first `count` seeds have ended, well or not."""
    e = at_budget(run, programme.BUDGET, data)
    if run in FUSIONS:
        found = [set(evaluations(RECORDED, e, one)) for one in evaluations_of(run)]
        return len(set.intersection(*found) & set(range(count)))
    ended = {s for s, r in trainings(RECORDED, e).items() if r.status != "interrupted"}
    return len(ended & set(range(count)))


# --- what can be found --------------------------------------------------------------------


def spread_table(study: Study) -> pd.DataFrame:
    """The spread of one training on each data set, and what it lets two nets' difference show.

    Planned by that of `study`; the last line is what the recorded study turned out to have.
    """
    table, recorded = {}, Study(RECORDED, programme.BUDGET)
    for data in DECIDING:
        spread = study.spread(data)
        n = max(c.seeds for c in EMPIRICAL if c.data == data and c.test == "between trainings")
        row = {"spread of a training": "no spread yet", "n": n}
        if spread.df:
            se = spread.sd * (2 / n) ** 0.5
            interval = Interval(0.0, se, planned_df(data), n)
            row = {
                "spread of a training": f"{spread.sd:.2f} ({spread.df} df)",
                "n": n,
                "planned df": interval.df,
                "half-width": f"{interval.half_width:.2f}",
                "found": f"{interval.detectable:.2f}",
                "found by the strictest primary": f"{strictest(interval).detectable:.2f}",
            }
        since = recorded.spread(data)
        row["spread in the study itself"] = f"{since.sd:.2f} ({since.df} df)" if since.df else "–"
        table[DATA_NAMES[data]] = row
    return pd.DataFrame(table).fillna("–")


def strictest(interval: Interval, rule: Rule = "lower") -> Interval:
    """The interval that decides at the level Holm gives the smallest p of all primary claims."""
    return deciding(interval, rule, ALPHA / len(PRIMARY))


def at_its_level(claim: Claim, interval: Interval) -> Interval:
    """The interval that decides the claim; a primary one's as if its p were the smallest."""
    return strictest(interval, claim.rule) if claim.primary else deciding(interval, claim.rule)


def detectable_table(study: Study) -> pd.DataFrame:
    """The smallest true difference that each claim's number of seeds finds, beside what matters."""
    rows = []
    for claim in sorted(EMPIRICAL, key=lambda claim: not claim.primary):
        unit = " %" if claim.test == "measurement" else ""
        expected = planned(study, claim)
        level = at_its_level(claim, expected) if expected else None
        rows.append(
            {
                "claim": linked(claim) + (" (primary)" if claim.primary else ""),
                "n": claim.seeds,
                "matters": f"{claim.matters:g}{unit}",
                "paper": said(claim),
                "found": _found(claim, level, unit),
            }
        )
    return _by_claim(rows)


def _found(claim: Claim, level: Interval | None, unit: str) -> str:
    if _once(claim):
        return "cannot be decided as planned"
    if level is None:
        return "no spread yet"
    smallest = smallest_found(level, claim.rule, claim.matters)
    return f"{smallest:+.2f}" if claim.rule == "not worse" else f"{smallest:.2f}{unit}"


def _once(claim: Claim) -> bool:
    """Whether a side of a claim is planned with one seed although more are needed to decide it."""
    return any(side.run in programme.ONCE.get(claim.data, ()) for side in claim.sides or ())


def detectable_sentence() -> str:
    """What "found" means, with its numbers."""
    return (
        f"*Found* is the smallest true difference that earns a word in {POWER:.0%} of all studies: "
        "one whose interval lies beyond zero; for *same*, beyond what matters; for *not worse*, "
        "the gain from which that is found. It is for planning: it takes the spread over seeds "
        "from the pilots, and the number of seeds fixed for each claim. Primary "
        f"claims are taken at the strictest of Holm's levels, {ALPHA:.0%} / {len(PRIMARY)}. *No "
        "spread yet*: an interval of differences by seed needs two pilot seeds of both sides, and "
        "there were fewer. *Cannot be decided as planned*: a side is the end of a chain that is "
        "trained once."
    )


# --- wrong verdicts -----------------------------------------------------------------------


def chance_sentence() -> str:
    """How many claims are tested, and the chance of at least one wrong verdict among them."""
    return (
        f"There are {len(CLAIMS)} claims: {len(CLAIMS) - len(EMPIRICAL)} by arithmetic, which "
        f"cannot be wrong by chance, and {len(EMPIRICAL)} that rest on measurements. "
        f"**{len(PRIMARY)} are primary.** Tested one by one at {ALPHA:.0%}, independent and with "
        f"nothing to find in any, they would give at least one wrong verdict with a chance of "
        f"{any_false(len(PRIMARY)):.0%}. Holm's procedure keeps the chance of a false *holds* or "
        f"*contradicted* among them at {ALPHA:.0%}, whatever is true and however they depend on "
        f"each other. **{len(SECONDARY)} are "
        f"secondary** and not corrected: among them the chance is about "
        f"{any_false(len(SECONDARY)):.0%} if they are independent, and "
        f"{ALPHA * len(SECONDARY):.1f} wrong verdicts are to be expected "
        "where nothing is to be found. So a single secondary verdict is a lead."
    )


def typical(study: Study) -> tuple[Interval, float] | None:
    """The planned interval of a primary claim between trainings, and what matters there.

    None while too little is recorded to know a spread.
    """
    claim = next(c for c in PRIMARY if c.test == "between trainings")
    expected = planned(study, claim)
    return (expected, claim.matters) if expected else None


def wrong_table(study: Study) -> pd.DataFrame:
    """Simulated chances of a wrong word, at the edge where it is likeliest."""
    known = typical(study)
    if known is None:
        return pd.DataFrame({"not run": []})
    rows = [_shown_wrong(case) for case in wrong_words(*known)]
    return pd.DataFrame(rows).set_index("rule").rename_axis(index=None, columns="rule")


def _shown_wrong(case: Wrong) -> dict[str, str]:
    return {
        "rule": case.rule,
        "true difference": f"{case.true:+g}" if case.true else "0",
        "wrong words": ", ".join(case.wrong),
        "simulated": f"{100 * case.share:.1f} %",
        "allowed": f"{100 * ALPHA:g} %",
    }


def simulation_sentence(study: Study) -> str:
    """What the simulated studies are like."""
    known = typical(study)
    if known is None:
        return "Not simulated: too little is recorded to know the spread over seeds."
    interval, matters = known
    return (
        f"Simulated with the rules' own code: {STUDIES:,} studies a line, so that a share near "
        f"{ALPHA:.0%} is known to within {196 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5:.1f} "
        f"points. Each study has {interval.n} seeds, a standard error of "
        f"{interval.standard_error:.2f} points and {interval.df} degrees of freedom, as planned "
        f"for the claims between trainings on {DATA_NAMES[PRIMARY[0].data]}, where {matters:g} "
        f"points matter, and is decided alone, at {ALPHA:.0%}. {_together(interval, matters)}"
    )


def _together(interval: Interval, matters: float) -> str:
    none, edge = (
        wrong_among(len(PRIMARY), true, interval, matters, words)
        for true, words in ((0.0, DIRECTED), (matters, ("holds and matters", "negligible")))
    )
    return (
        f"{len(PRIMARY)} such claims decided together, by Holm's procedure, have at least one "
        f"false *holds* or *contradicted* in {none:.0%} of studies where there is nothing to "
        "find. It does not guard the words about what matters as well: where every difference is "
        f"just what matters, at least one is called more, or *negligible*, in {edge:.0%}."
    )
