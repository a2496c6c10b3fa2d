"""Decisions into what a reader sees: a chapter's verdicts and the scoreboard of all claims."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

import pandas as pd
from IPython.display import Markdown

from vggrepro.pages.differences import (
    Studies,
    controls_of,
    found_in,
    shown_by_seed,
    shown_found,
    shown_interval,
    stalled,
    studies_of,
    tested,
)
from vggrepro.pages.power import DIRECTED
from vggrepro.pages.report import DATA_NAMES
from vggrepro.pages.spent import core_hours
from vggrepro.study import programme, store
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision, Study, decide_all, differences_of, said
from vggrepro.study.experiments import short_name
from vggrepro.study.records import TrainRecord
from vggrepro.study.rules import Claim, Rule, Side, Sides, Word
from vggrepro.study.store import RECORDED, ROOT

METHOD = "method.html#from-errors-to-an-interval"
"""Where each kind of interval is explained."""


def verdict_box(*keys: str) -> Markdown:
    """The verdicts of claims from the recorded study, with what decided each and its controls."""
    found, studies = decide_all(RECORDED), studies_of(RECORDED)
    return Markdown("\n\n".join(_verdict(found[key], studies) for key in keys))


def _verdict(decision: Decision, studies: Studies) -> str:
    claim = decision.claim
    kind = "primary; " if claim.primary else "secondary; " if claim.sides else ""
    reason = decision.reason + but_stalled(claim)
    lines = [f"**{claim.statement}** → **{decision.word}** ({kind}{reason})\n"]
    if decision.difference is not None or decision.exact is not None:
        points = "" if _unit(claim) else ", points of top-1 error"
        lines.append(f"- *difference{points}:* {difference_here(decision)}")
    lines.append(f"- *decided by:* {_decided_by(decision)}")
    lines += [f"- *{name}:* {text}" for name, text in _beside(decision, studies)]
    if decision.log_loss and not but_stalled(claim):
        loss = decision.log_loss
        lines.append(
            f"- *log-loss, decides nothing:* {loss.estimate:+.3f} [{loss.low:+.3f}, "
            f"{loss.high:+.3f}] nats"
        )
    if claim.sides:
        lines.append(f"- *smallest difference that matters:* {claim.matters:g}{_unit(claim)}")
    lines.append(f"- *not decided:* {claim.cannot}")
    return "\n".join(lines)


def _decided_by(decision: Decision) -> str:
    """Photos, protocol and n; and the interval that decides, if it is not the 95 % one shown."""
    claim = decision.claim
    if not claim.sides:
        return f"[{claim.test}]({METHOD}) at the paper's geometry"
    kind = f"interval from [{claim.test}]({METHOD})"
    if claim.test == "measurement":
        return f"{claim.seeds} rounds, {kind}"
    text = f"{DATA_NAMES[claim.data]}, {_protocol(claim)}, {claim.seeds} seeds, {kind}"
    if decision.p is None or decision.decided_by is None:
        return text
    if other := deciding_interval(decision):
        text += f"; {other}"
    return text + (f", adjusted p {_p(decision.step.adjusted_p)}" if decision.step else "")


def deciding_interval(decision: Decision) -> str:
    """`the 99 % interval [-0.2, +1.9]` if that decides and not the 95 % one shown; else nothing."""
    decided = decision.decided_by
    if decision.p is None or decided is None or not decision.claim.sides:
        return ""
    if round(decided.confidence, 6) == round(decision.interval.confidence, 6):
        return ""
    level = f"{100 * decided.confidence:.1f}".removesuffix(".0")
    return f"the {level} % interval [{decided.low:+.1f}, {decided.high:+.1f}]"


def why(decision: Decision, studies: Studies) -> str:
    """What decided, in few words: interval, reason, and what speaks against it."""
    other = deciding_interval(decision)
    by = f"decided by {other}: " if other and not but_stalled(decision.claim) else ""
    return by + decision.reason + but_not(decision, studies)


def _protocol(claim: Claim) -> str:
    return tested(claim.sides).replace("centre crop", "centre crop and flip")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _beside(decision: Decision, studies: Studies) -> list[tuple[str, str]]:
    """Each control and each rival of a claim with its difference, and what speaks against it."""
    claim, lines = decision.claim, []
    # Beside any other word the sign of a control means nothing.
    sign = decision.difference if decision.word in DIRECTED else None
    for name, sides in controls_of(claim):
        found = found_in(studies, claim, claim.data, sides)
        text = shown_found(found) if found else "not run"
        if found and sign and found.mean * sign < 0:
            text += ", **the other sign**"
        lines.append((f"control, {name}", text))
    for name, sides in claim.rivals:
        found = found_in(studies, claim, claim.data, sides)
        text = shown_found(found) if found else "not run"
        if found and sign and _as_large(found.mean, sign):
            text += ", **as large**"
        lines.append((f"another explanation, {name}", text))
    return lines


def _as_large(rival: float, difference: float) -> bool:
    return rival * difference > 0 and abs(rival) >= abs(difference)


def controls_against(decision: Decision, studies: Studies) -> list[str]:
    """Controls, of as many seeds as were fixed, that do not show what the claim says of its sides.

    Only of a claim that holds: none for any other.
    """
    claim = decision.claim
    return [
        name
        for name, mean in _fully_seeded(decision, studies, controls_of(claim))
        if not _as_claimed(claim, mean)
    ]


def rivals_for(decision: Decision, studies: Studies) -> list[str]:
    """Other explanations, likewise, that come out as large as a claim that holds."""
    rivals = _fully_seeded(decision, studies, decision.claim.rivals)
    return [name for name, mean in rivals if _as_large(mean, decision.difference)]


def _fully_seeded(
    decision: Decision, studies: Studies, pairs: Iterable[tuple[str, Sides]]
) -> Iterator[tuple[str, float]]:
    claim = decision.claim
    if decision.word not in ("holds", "holds and matters") or not claim.sides:
        return
    for name, sides in pairs:
        found = found_in(studies, claim, claim.data, sides)
        if found and not found.pilot and len(found.by_seed) >= claim.seeds:
            yield name, found.mean


def _as_claimed(claim: Claim, difference: float) -> bool:
    if claim.rule == "same":
        return abs(difference) < claim.matters
    return difference > (-claim.matters if claim.rule == "not worse" else 0)


def but_stalled(claim: Claim) -> str:
    """`, with D-glorot at chance in seed 2`: nets whose error says only that they stalled."""
    if not claim.about_errors:
        return ""
    found = stalled(Study(RECORDED, programme.BUDGET), claim.data, claim.sides, claim.seeds)
    parts = [
        f"{run} at chance in seed {', '.join(map(str, seeds))}" for run, seeds in found.items()
    ]
    return f", with {'; '.join(parts)}" if parts else ""


def but_not(decision: Decision, studies: Studies) -> str:
    """`, but not so in its control NAME`, `, but as much comes from NAME`, or nothing.

    Whatever the word, nets that stalled are named: a mean over them hides how many did.
    """
    text = but_stalled(decision.claim)
    if against := controls_against(decision, studies):
        text += f", but not so in its control: {'; '.join(against)}"
    if rivals := rivals_for(decision, studies):
        text += f", but as much comes from {'; '.join(rivals)}"
    return text


def in_short(*keys: str) -> Markdown:
    """A chapter's answers in one line: each claim with its word and its difference."""
    found, studies = decide_all(RECORDED), studies_of(RECORDED)
    parts = [
        f"*{found[key].claim.statement.removesuffix('.')}*: {_word(found[key])}"
        f"{but_not(found[key], studies)}."
        for key in keys
    ]
    return Markdown(f"**In short:** {' '.join(parts)}")


def _word(decision: Decision) -> str:
    claim = decision.claim
    if decision.word == "too few seeds":
        points = _unit(claim) or " points"
        seen = f"{decision.n} of {claim.seeds} seeds"
        return f"too few seeds ({decision.difference:+.1f}{points}, {seen})"
    here = difference_here(decision)
    return decision.word + (f" ({here})" if here != "–" else "")


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
    rows, studies = [], studies_of(RECORDED)
    for decision in decide_all(RECORDED).values():
        claim = decision.claim
        rows.append(
            {
                "verdict": decision.word,
                "claim": linked(claim) + (" (primary)" if claim.primary else ""),
                "here": f"{difference_here(decision)}<br><small>{why(decision, studies)}</small>",
                "paper": paper_there(claim),
            }
        )
    return pd.DataFrame(rows).set_index("verdict").rename_axis(index=None, columns="verdict")


def paper_there(claim: Claim) -> str:
    """The paper's own difference; where it gives none, what it has instead."""
    if claim.paper.difference is not None:
        return said(claim)
    return f"–<br><small>{claim.paper.where.removesuffix('.')}</small>"


def marked(table: pd.DataFrame) -> pd.DataFrame:
    """A table by verdict, with the mark of its word before it: the colours of the figures."""
    return table.rename(
        index=lambda word: f'<span class="verdict {word.replace(" ", "-")}">{word}</span>'
    )


def _unit(claim: Claim) -> str:
    return "" if claim.about_errors else " %"


def difference_here(decision: Decision) -> str:
    """What was found: the difference with its interval and n, – if nothing was.

    Seed by seed where a net stalled: a mean and its interval would say nothing.
    """
    claim, unit = decision.claim, _unit(decision.claim)
    if but_stalled(claim):
        study = Study(RECORDED, programme.BUDGET)
        return shown_by_seed(differences_of(study, claim, claim.data).values())
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
    records = [store.read(path) for path in store.record_files(RECORDED)]
    trained = [record for record in records if isinstance(record, TrainRecord)]
    pilots = sum(record.pilot for record in trained)
    hours = sum(map(core_hours, trained))
    counted = ", ".join(f"{word}: {words[word]}" for word in get_args(Word) if words[word])
    return (
        f"**State of the study:** {len(CLAIMS)} claims, the paper's or sharpened from it, are "
        f"written down; {counted}. So far {len(trained)} trainings are recorded ({hours:.1f} "
        f"core-hours; {pilots} of them pilots and candidates for the recipe), and "
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
