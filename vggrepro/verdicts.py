"""Decisions into what a reader sees: a chapter's verdicts and the scoreboard of all claims."""

import re
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
    lines = [f"**{claim.statement}** → **{decision.word}** ({kind}; {decision.reason})\n"]
    if decision.interval or decision.exact is not None:
        points = "" if _unit(claim) else " points"
        lines.append(f"- *difference:* {_here(decision)}{points}")
    lines.append(f"- *decided by:* {TESTS[claim.test]}")
    lines.append(f"- *smallest difference that matters:* {claim.matters:g}{_unit(claim)}")
    lines.append(f"- *not decided:* {claim.cannot}")
    return "\n".join(lines)


def shown_interval(interval: Interval, unit: str = "") -> str:
    """`+0.3 [-0.1, 0.7], n = 5`: estimate and 95 % interval."""
    low, high = interval.low, interval.high
    return f"{interval.estimate:+.1f}{unit} [{low:+.1f}, {high:+.1f}], n = {interval.n}"


def scoreboard() -> pd.DataFrame:
    """Every claim with its verdict, from the recorded study; linked where a chapter is there."""
    rows = []
    for decision in decide_all(RECORDED).values():
        claim = decision.claim
        said = claim.paper.difference
        rows.append(
            {
                "verdict": decision.word,
                "claim": linked(claim) + (" (primary)" if claim.primary else ""),
                "paper": "–" if said is None else f"{said:+.1f}{_unit(claim)}",
                "here": _here(decision),
                "why": decision.reason,
            }
        )
    return pd.DataFrame(rows).set_index("verdict").rename_axis(index=None, columns="verdict")


def _unit(claim: Claim) -> str:
    return " %" if claim.test in ("arithmetic", "measurement") else ""


def _here(decision: Decision) -> str:
    if decision.exact is not None:
        return f"{decision.exact:+.1f} %"
    return shown_interval(decision.interval, _unit(decision.claim)) if decision.interval else "–"


def linked(claim: Claim) -> str:
    """The claim's statement, linked to its chapter if that is there."""
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


def chapter_index() -> Markdown:
    """The chapters there are, each with its title and its first sentence."""
    lines = []
    for script in sorted((ROOT / "book").glob("[0-9]*.py")):
        title, text = _opening(script.read_text(encoding="utf-8"))
        lines.append(f"- [{title}]({script.stem}.html): {text}")
    return Markdown("\n".join(lines))


def _opening(script: str) -> tuple[str, str]:
    """Title and first sentence of a chapter's script."""
    first_cell = script.split("# %% [markdown]", 2)[1].split("# %%", 1)[0]
    lines = [line.removeprefix("#").strip() for line in first_cell.strip().splitlines()]
    title = lines[0].lstrip("# ")
    paragraph = " ".join(lines[1:]).strip()
    return title, re.split(r"(?<=[.?!]) ", paragraph, maxsplit=1)[0]
