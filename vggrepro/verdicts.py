"""Decisions into what a reader sees: a chapter's verdicts and the scoreboard of all claims."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from IPython.display import Markdown

from vggrepro import UserError, results
from vggrepro.arithmetic import said
from vggrepro.claims import claim_named
from vggrepro.criteria import TESTS, Claim, Rule, Side, Sides
from vggrepro.decisions import (
    Decision,
    Study,
    control_interval,
    decide_all,
    differences_of,
    interval_of,
)
from vggrepro.experiments import short_name
from vggrepro.records import TrainRecord
from vggrepro.report import Column, recorded_columns
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
    if decision.difference is not None or decision.exact is not None:
        points = "" if _unit(claim) else " points"
        lines.append(f"- *difference:* {difference_here(decision)}{points}")
    lines.append(f"- *decided by:* {TESTS[claim.test]}")
    lines.append(f"- *smallest difference that matters:* {claim.matters:g}{_unit(claim)}")
    lines.append(f"- *not decided:* {claim.cannot}")
    return "\n".join(lines)


def shown_interval(interval: Interval, unit: str = "") -> str:
    """`+0.3 [-0.1, 0.7], n = 5`: estimate and 95 % interval."""
    low, high = interval.low, interval.high
    return f"{interval.estimate:+.1f}{unit} [{low:+.1f}, {high:+.1f}], n = {interval.n}"


# --- differences on every data set --------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A difference as recorded: points by seed, and the 95 % interval from two seeds on.

    Pilots are found only where nothing else is; they have no interval, since they decide nothing.
    """

    by_seed: Mapping[int, float]
    interval: Interval | None
    pilot: bool

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
        if by_seed:
            interval = (
                interval_of(study, claim, data)
                if own
                else control_interval(study, claim, sides, data)
            )
            return Found(by_seed, interval, pilot=False)
    return None


def differences_table(*keys: str, columns: Sequence[Column] | None = None) -> pd.DataFrame:
    """Claim by column of records: difference in top-1 error (points), 95 % interval and n.

    Below each claim come its controls and the same pair at another length of training. A number
    is bold in the column that decides. Pilots, and a single seed, have no interval. Without
    `columns`, the recorded study on its data sets. Raises `UserError` for an unknown claim and
    for one that is not about errors.
    """
    columns = recorded_columns() if columns is None else columns
    rows = []
    for claim in map(claim_named, keys):
        if not claim.about_errors:
            raise UserError(f"claim {claim.key!r} is about no error: show it by `verdict_box`")
        for sides, what, paper in _compared(claim):
            cells = {column.title: _difference(claim, sides, column) for column in columns}
            row = {"error of": _difference_name(sides), "claim or control": what, "paper": paper}
            rows.append(row | cells)
    return pd.DataFrame(rows).set_index("error of").rename_axis(index=None, columns="error of")


def _compared(claim: Claim) -> Iterator[tuple[Sides, str, str]]:
    """The claim's own sides first, then what is shown beside it; with the paper's difference."""
    yield claim.sides, claim.statement, said(claim)
    if claim.other_length:
        yield claim.other_length, "control: the same at another length of training", "–"
    for name, sides in claim.controls:
        yield sides, f"control: {name}", "–"


def _difference(claim: Claim, sides: Sides, column: Column) -> str:
    found = found_in(studies_of(column.results_dir, column.budget), claim, column.data, sides)
    if found is None:
        return "not run"
    shown = f"{found.mean:+.1f}, n = {len(found.by_seed)}" + (" (pilot)" if found.pilot else "")
    if found.interval:
        shown = shown_interval(found.interval)
    shown = shown.replace(", n = ", "<br>n = ")  # room on a phone
    decides = (column.results_dir, column.data) == (RECORDED, claim.data)
    return f"<b>{shown}</b>" if decides else shown


def _difference_name(sides: Sides) -> str:
    """`A − D`: second minus first, named by what they differ in."""
    first, second = sides
    if first.run != second.run:
        return f"{short_name(second.run)} − {short_name(first.run)}"
    protocols = first.evaluation.protocol != second.evaluation.protocol
    here, less = (_evaluation_name(side, protocols) for side in (second, first))
    return f"{short_name(first.run)}:<br>{here}<br>− {less}"  # room on a phone


def _evaluation_name(side: Side, with_protocol: bool) -> str:
    scales = f"Q = {', '.join(map(str, side.evaluation.test_scales))}"
    return f"{side.evaluation.protocol}, {scales}" if with_protocol else scales


# --- in few words -------------------------------------------------------------------------

CLAIMED: dict[Rule, str] = {"same": ": no change", "not worse": ": no worse"}
"""What a claim says of its sides where it is not that the error falls."""


def label(claim: Claim) -> str:
    """`A → D`: from the side with the higher error, as the paper has it, to the other.

    Derived from the sides: what stands for both comes first, then what they differ in.
    """
    first, second = claim.sides
    if first.run != second.run:
        text = f"{short_name(second.run)} → {short_name(first.run)}"
    else:
        text = f"{short_name(first.run)}: {_way(second, first)} → {_way(first, second)}"
    if first.or_else:
        text += ", each at its best Q"
    if claim.less:
        text += f", less {short_name(claim.less[0].run)}"
    return text + CLAIMED.get(claim.rule, "")


def _way(side: Side, other: Side) -> str:
    """A side's test in few words, as far as the other side's differs."""
    if side.evaluation.protocol != other.evaluation.protocol:
        return side.evaluation.protocol
    first, *more = side.evaluation.test_scales
    return f"{1 + len(more)} Q" if more else f"Q = {first}"


# --- all claims ---------------------------------------------------------------------------


def scoreboard() -> pd.DataFrame:
    """Every claim with its verdict, from the recorded study; linked where a chapter is there."""
    rows = []
    for decision in decide_all(RECORDED).values():
        claim = decision.claim
        rows.append(
            {
                "verdict": decision.word,
                "claim": linked(claim) + (" (primary)" if claim.primary else ""),
                "paper": said(claim),
                "here": difference_here(decision),
                "why": decision.reason,
            }
        )
    return pd.DataFrame(rows).set_index("verdict").rename_axis(index=None, columns="verdict")


def _unit(claim: Claim) -> str:
    return "" if claim.about_errors else " %"


def difference_here(decision: Decision) -> str:
    """What was found: the difference with its interval and n, – if nothing was."""
    unit = _unit(decision.claim)
    if decision.here:
        return decision.here
    if decision.exact is not None:
        return f"{decision.exact:+.1f} %"
    if decision.interval:
        return shown_interval(decision.interval, unit)
    if decision.difference is not None:
        return f"{decision.difference:+.1f}{unit}, n = {decision.n}"
    return "–"


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
        f"{said}. So far {len(trained)} trainings are recorded ({pilots} of them pilots and "
        f"candidates for the recipe), {hours:.1f} core-hours in all, with "
        f"{len(records) - len(trained)} evaluations and measurements."
    )


def chapter_index() -> Markdown:
    """The chapters there are, each with its title and its first sentence."""
    lines = []
    for script in sorted((ROOT / "book").glob("[0-9]*.py")):
        title, text = _opening(script.read_text(encoding="utf-8"))
        lines.append(f"- [{title}]({script.stem}.html): {text}")
    return Markdown("\n".join(lines))


def chapter_title(chapter: str) -> str:
    """The title of a chapter by its file's name, or the name if there is no such script."""
    script = ROOT / "book" / f"{chapter}.py"
    return _opening(script.read_text(encoding="utf-8"))[0] if script.exists() else chapter


def _opening(script: str) -> tuple[str, str]:
    """Title and first sentence of a chapter's script."""
    first_cell = script.split("# %% [markdown]", 2)[1].split("# %%", 1)[0]
    lines = [line.removeprefix("#").strip() for line in first_cell.strip().splitlines()]
    title = lines[0].lstrip("# ")
    paragraph = " ".join(lines[1:]).strip()
    return title, re.split(r"(?<=[.?!]) ", paragraph, maxsplit=1)[0]
