"""The study on a page, as sentences and tables: claims, results, limits, cost. All generated."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import pandas as pd
from IPython.display import Markdown

from vggrepro.bench import workload
from vggrepro.pages.differences import Studies, found_in, shown_interval, studies_of
from vggrepro.pages.method import DECIDING, EMPIRICAL, PRIMARY, SECONDARY, at_its_level
from vggrepro.pages.power import planned
from vggrepro.pages.report import DATA_NAMES
from vggrepro.pages.spent import Spent, core_hours, spent
from vggrepro.pages.verdicts import but_not, difference_here, label, linked, paper_there, why
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision, Study
from vggrepro.study.records import Record
from vggrepro.study.rules import Claim, Word
from vggrepro.study.store import RECORDED

UNSEEDED: tuple[Word, ...] = ("too few seeds", "not run")
"""Words of claims that lack the seeds that were fixed."""
ABOUT_ERRORS = tuple(claim for claim in EMPIRICAL if claim.test != "measurement")


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# --- claims -------------------------------------------------------------------------------


def claims_sentence() -> str:
    """How many claims there are, of which kinds, and on which photos they are decided."""
    on = [
        f"{sum(claim.data == data for claim in ABOUT_ERRORS)} on {DATA_NAMES[data]}"
        for data in DECIDING
    ]
    timed = len(EMPIRICAL) - len(ABOUT_ERRORS)
    seeds = sorted({claim.seeds for claim in ABOUT_ERRORS})
    return (
        f"{len(CLAIMS)} claims, the paper's or sharpened from it, were written down before the "
        "runs that decide them. "
        f"{len(ABOUT_ERRORS)} are about differences in top-1 error, {joined(on)}, each with "
        f"{' or '.join(map(str, seeds))} seeds. {len(CLAIMS) - len(EMPIRICAL)} are arithmetic, and "
        f"{timed} {'is' if timed == 1 else 'are'} about measured time. {len(PRIMARY)} are primary "
        f"and corrected for being several; the {len(SECONDARY)} others that rest on measurements "
        "are secondary, decided one by one, and leads rather than findings."
    )


# --- results ------------------------------------------------------------------------------


def counts_table(decisions: Mapping[str, Decision]) -> pd.DataFrame:
    """How many claims earned each word, by kind."""
    counts = Counter((d.word, _kind(d.claim)) for d in decisions.values())
    kinds = ("primary", "secondary", "arithmetic")
    words: Sequence[Word] = get_args(Word)
    table = {word: {kind: counts[word, kind] or "–" for kind in kinds} for word in words}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(columns="verdict")


def photos_sentence() -> str:
    """What differs between the photos, by their numbers."""
    sizes = [workload.data_size(at_budget("D-S256", "reduced", data)) for data in DECIDING]
    crops = [at_budget("D-S256", "reduced", data).crop for data in DECIDING]
    parts = [
        f"{DATA_NAMES[data]} has {size.train:,} photos of {size.classes} classes to train on, in "
        f"crops of {crop} px"
        for data, size, crop in zip(DECIDING, sizes, crops, strict=True)
    ]
    return f"{'; '.join(parts)}."


def agreement(chapter: str) -> Markdown:
    """Whether the two data sets agree on a chapter's claims about errors, and how they differ."""
    claims = [claim for claim in ABOUT_ERRORS if claim.chapter == chapter]
    said = disagreement_sentence(studies_of(RECORDED), claims)
    return Markdown(f"**Do the two sets of photos agree?** {said}\n\n{photos_sentence()}")


def _kind(claim: Claim) -> str:
    return "arithmetic" if not claim.sides else "primary" if claim.primary else "secondary"


def primary_table(decisions: Mapping[str, Decision], studies: Studies) -> pd.DataFrame:
    """Every primary claim and its photos: word, difference here and in the paper, and why."""
    lines = [
        {
            "verdict": decision.word,
            "primary claim": f"{linked(decision.claim)} ({DATA_NAMES[decision.claim.data]})",
            "here": difference_here(decision),
            "paper": paper_there(decision.claim),
            "why": why(decision, studies),
        }
        for decision in decisions.values()
        if decision.claim.primary
    ]
    return pd.DataFrame(lines).set_index("verdict").rename_axis(index=None, columns="verdict")


def secondary_sentence(decisions: Mapping[str, Decision], studies: Studies) -> str:
    """The secondary claims by word, a line each; those without their seeds only counted."""
    lines = []
    for word in get_args(Word):
        found = [d for d in decisions.values() if d.word == word and d.claim in SECONDARY]
        if found and word in UNSEEDED:
            lines.append(f"- **{word}:** {len(found)} of {len(SECONDARY)}.")
        else:
            lines += [
                f"- **{word}:** {linked(d.claim)} {difference_here(d)}{but_not(d, studies)}"
                for d in found
            ]
    return "\n".join(lines)


def disagreement_sentence(studies: Studies, claims: Sequence[Claim] = ABOUT_ERRORS) -> str:
    """Where the two data sets differ in sign, both intervals beyond zero."""
    first, second = DECIDING
    compared, apart = 0, []
    for claim in claims:
        found = [found_in(studies, claim, data) for data in (first, second)]
        intervals = [one.interval for one in found if one and one.interval]
        if len(intervals) < 2:
            continue
        compared += 1
        if intervals[0].low > 0 > intervals[1].high or intervals[1].low > 0 > intervals[0].high:
            here, there = (shown_interval(interval) for interval in intervals)
            apart.append(
                f"- {linked(claim)} {DATA_NAMES[first]}: {here}; {DATA_NAMES[second]}: {there}."
            )
    if not compared:
        return "No difference has an interval on both sets of photos yet."
    text = (
        f"{compared} of {len(claims)} differences have an interval on both sets of photos; "
        f"{len(apart) or 'none'} of them lies beyond zero on one side here and on the other there"
    )
    return text + (":\n\n" + "\n".join(apart) if apart else ".")


# --- limits -------------------------------------------------------------------------------


def undecided_sentence(decisions: Mapping[str, Decision]) -> str:
    """How many claims lack seeds, and each that is open with all its seeds, with its reason."""
    words = Counter(decision.word for decision in decisions.values())
    counted = [
        f"{words[word]} {one if words[word] == 1 else text}"
        for word, one, text in (
            ("too few seeds", "lacks seeds", "lack seeds"),
            ("not run", "is not run", "are not run"),
        )
        if words[word]
    ]
    lines = [
        f"- {linked(d.claim)} {difference_here(d)} ({d.reason})."
        for d in decisions.values()
        if d.word == "inconclusive"
    ]
    text = f"Of {len(decisions)} claims {joined(counted)}. " if counted else ""
    if not lines:
        return f"{text}No claim that has all its seeds is open."
    return f"{text}Open with all their seeds:\n\n" + "\n".join(lines)


def hardly_sentence(study: Study) -> str:
    """The claims whose planned seeds find nothing as small as what matters: found, matters."""
    expected = {claim: planned(study, claim) for claim in ABOUT_ERRORS}
    found = {claim.key: at_its_level(claim, e).detectable for claim, e in expected.items() if e}
    if not found:
        return "Too little is recorded to know what the planned seeds can find."
    hardly = [
        f"{label(c)} ({found[c.key]:.1f} against {c.matters:g})"
        for c in ABOUT_ERRORS
        if c.key in found and found[c.key] > c.matters
    ]
    text = (
        "With the seeds fixed beforehand and the spread over seeds of the pilots, the smallest "
        "difference that is found is larger than the smallest that matters for "
        f"{len(hardly) or 'none'} of {len(found)} claims"
    )
    if not hardly:
        return text + "."
    return (
        f"{text}, in points: {joined(hardly)}. There *inconclusive* is the likeliest word, unless "
        "the truth is far from zero."
    )


# --- cost ---------------------------------------------------------------------------------


def cost_table(records: Sequence[Record]) -> pd.DataFrame:
    """Core-hours by purpose and data set, with the number of trainings and of evaluations."""
    by_purpose = spent(records)
    if not by_purpose:
        return pd.DataFrame({"not run": []})
    lines = {
        ", ".join(filter(None, (purpose, DATA_NAMES.get(data, data)))): _cost(one)
        for (data, purpose), one in by_purpose.items()
    }
    lines["in all"] = _cost(sum(by_purpose.values(), start=Spent()))
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(columns="core-hours for")


def _cost(one: Spent) -> dict[str, str]:
    failed = f", {one.failed} failed" if one.failed else ""
    return {
        "trainings": f"{one.training:.2f} ({one.trainings}{failed})" if one.trainings else "–",
        "evaluations": f"{one.evaluating:.2f} ({one.evaluations})" if one.evaluations else "–",
        "measurements": f"{one.other:.2f}" if one.other else "–",
        "in all": f"{one.hours:.2f}",
    }


def machine_sentence(records: Sequence[Record]) -> str:
    """On which processors, and how many core-hours each."""
    hours: Counter[str] = Counter()
    for record in records:
        hours[f"{record.provenance.processor} ({record.provenance.device})"] += core_hours(record)
    if not hours:
        return "Nothing is recorded."
    machines = joined([name for name, _ in hours.most_common()])
    return f"The records were made on {machines}."
