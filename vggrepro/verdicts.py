"""Decisions into what a reader sees: a chapter's verdicts and the scoreboard of all claims."""

from collections import Counter
from typing import get_args

import pandas as pd
from IPython.display import Markdown

from vggrepro import results
from vggrepro.criteria import TESTS, Claim
from vggrepro.decisions import Decision, decide_all
from vggrepro.records import TrainRecord
from vggrepro.results import RECORDED, ROOT
from vggrepro.statistics import Interval, Word


def verdict_box(*keys: str) -> Markdown:
    """The verdicts of claims from the recorded study, with what decided each."""
    found = decide_all(RECORDED)
    return Markdown("\n\n".join(_verdict(found[key]) for key in keys))


def _verdict(decision: Decision) -> str:
    claim = decision.claim
    kind = "primary" if claim.primary else "secondary"
    lines = [f"**{claim.statement}** → **{decision.word}** ({kind})  ", f"{decision.reason}.  "]
    if decision.interval:
        unit = "%" if claim.test == "measurement" else "points"
        lines.append(f"Difference {shown_interval(decision.interval)} {unit}.  ")
    lines.append(f"Decided by: {TESTS[claim.test]}  ")
    lines.append(f"What this cannot decide: {claim.cannot}")
    return "\n".join(lines)


def shown_interval(interval: Interval) -> str:
    """`+0.3 [-0.1, 0.7], n = 5`: estimate and 95 % interval."""
    low, high = interval.low, interval.high
    return f"{interval.estimate:+.1f} [{low:+.1f}, {high:+.1f}], n = {interval.n}"


def scoreboard() -> pd.DataFrame:
    """Every claim with its verdict, from the recorded study; linked where a chapter is there."""
    rows = []
    for decision in decide_all(RECORDED).values():
        claim = decision.claim
        said = claim.paper.difference
        rows.append(
            {
                "verdict": decision.word,
                "claim": _linked(claim) + (" (primary)" if claim.primary else ""),
                "paper": "–" if said is None else f"{said:+.1f}",
                "here": shown_interval(decision.interval) if decision.interval else "–",
                "why": decision.reason,
            }
        )
    return pd.DataFrame(rows).set_index("verdict").rename_axis(index=None, columns="verdict")


def _linked(claim: Claim) -> str:
    if not (ROOT / "book" / f"{claim.chapter}.py").exists():
        return claim.statement
    return f'<a href="{claim.chapter}.html">{claim.statement}</a>'


def state_of_the_study() -> str:
    """What has been recorded and decided so far, in one paragraph."""
    words = Counter(decision.word for decision in decide_all(RECORDED).values())
    records = [results.read(path) for path in results.record_files(RECORDED)]
    trained = [record for record in records if isinstance(record, TrainRecord)]
    pilots = sum(record.pilot for record in trained)
    hours = sum(r.provenance.wall_seconds * r.provenance.threads for r in trained) / 3600
    said = ", ".join(f"{words[word]} {word}" for word in get_args(Word) if words[word])
    return (
        f"**State of the study:** {sum(words.values())} claims of the paper are written down: "
        f"{said}. So far {len(trained)} trainings are recorded ({pilots} of them pilots), "
        f"{hours:.1f} core-hours in all, with {len(records) - len(trained)} evaluations and "
        "measurements."
    )
